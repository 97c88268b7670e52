"""A multilayer perceptron as a problem."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.models import arguments
from gradnoise.models import likelihoods as densities
from gradnoise.problem import Problem
from gradnoise.stream import seed_of


def mlp(
    X: ArrayLike,
    y: ArrayLike,
    widths: int | tuple[int, ...] = (64,),
    likelihood: str = "softmax",
    *,
    activation: str = "tanh",
    prior_scale: float = 1.0,
    observation_scale: float = 1.0,
    num_classes: int | None = None,
    weights: ArrayLike | None = None,
    key: Any = 0,
) -> Problem:
    """Return a multilayer perceptron with hidden layers of the given widths; all weights and biases ~ N(0, prior_scale²).

    Parameters
    ----------
    X, y, weights, num_classes
        As in `softmax_regression` (`likelihood` "softmax") or `linear_regression` ("linear", standard deviation
        `observation_scale`).
    widths, activation
        Sizes of the hidden layers (a number alone is one layer), and "tanh" or "relu".
    key
        int or JAX key of the initial weights, normal with variance 1/fan-in (2/fan-in for "relu"); biases start at 0.

    Examples
    --------
    >>> mlp(np.zeros((5, 3)), [0, 1, 2, 0, 1], widths=(4,)).num_params
    31
    """
    network = densities.Network(_checks.one_of("activation", activation, densities.ACTIVATIONS))
    inputs, _ = arguments.design(X, False, None)
    hyperparams: dict[str, Any] = {"prior_precision": arguments.precision(1, prior_scale, False, None)[0]}
    if _checks.one_of("likelihood", likelihood, ("softmax", "linear")) == "softmax":
        targets, outputs = arguments.classes(y, len(inputs), num_classes)
    else:
        scale = arguments.scale("observation_scale", observation_scale)
        targets, outputs = arguments.held("y", y, inputs, scale), 1
        hyperparams["observation_scale"] = scale
    sizes = [inputs.shape[1], *_checks.integers("widths", widths), outputs]
    gain = 2.0 if activation == "relu" else 1.0
    random = np.random.default_rng(seed_of(key))
    init, dtype = {}, arguments.kept(inputs, targets)
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = random.normal(size=(fan_in, fan_out)) * math.sqrt(gain / fan_in)
        init[f"layer{layer}"] = {"weight": weight.astype(dtype), "bias": np.zeros(fan_out, dtype)}
    return Problem(
        densities.NetworkLogLikelihood(network, likelihood),
        arguments.data(inputs, targets, weights),
        init,
        densities.normal_log_prior,
        hyperparams=hyperparams,
        predict=densities.NetworkPredict(network, likelihood),
        sample=densities.NetworkSample(network, likelihood),
    )
