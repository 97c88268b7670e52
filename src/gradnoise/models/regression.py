"""Linear, logistic, softmax and Poisson regression as problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise._types import ArrayLike
from gradnoise.models import arguments
from gradnoise.models import likelihoods as densities
from gradnoise.models.residuals import residual_scale
from gradnoise.problem import Problem


def linear_regression(
    X: ArrayLike,
    y: ArrayLike,
    prior_scale: float = 1.0,
    observation_scale: float | None = None,
    *,
    intercept: bool = True,
    intercept_prior_scale: float | None = None,
    weights: ArrayLike | None = None,
    names: tuple[str, ...] | None = None,
) -> Problem:
    """Return the problem y_n ~ N(x_n·θ, s²), θ ~ N(0, prior_scale²).

    Parameters
    ----------
    X, y
        Inputs (N, D) and targets (N,). float32 and float64 are kept; nothing is standardised. Whole numbers are kept exactly, and
        y beside a float32 X stays float64 where float32 would round it by more than 1e-3 of the observation scale.
    prior_scale
        Standard deviation of the coefficients' prior; ``inf`` is a flat prior.
    observation_scale
        s; None estimates it (`residual_scale`); it is kept in ``hyperparams["observation_scale"]``.
    intercept
        Append a column of ones as the last column.
    intercept_prior_scale
        Prior scale of the intercept; None is `prior_scale`.
    weights
        Optional w_n >= 0 (N,), which multiply the examples' log-likelihoods; N stays the number of rows.
    names
        Names of the columns of X.

    Examples
    --------
    >>> problem = linear_regression([[0.0], [1.0], [2.0]], [0.1, 0.9, 2.2], observation_scale=0.5)
    >>> problem
    Problem(linear_log_likelihood, num_examples=3, num_params=2)
    >>> problem.names
    ('x0', 'intercept')
    """
    inputs, labels = arguments.design(X, intercept, names)
    data = arguments.data(inputs, arguments.column("y", y, len(inputs)), weights)
    precision = arguments.precision(inputs.shape[1], prior_scale, intercept, intercept_prior_scale)
    if observation_scale is None:
        scale = residual_scale(inputs, data["targets"], precision, data.get("weight"))
    else:
        scale = arguments.scale("observation_scale", observation_scale)
    data["targets"] = arguments.held("y", data["targets"], inputs, scale)
    hyperparams = {"prior_precision": precision, "observation_scale": scale}
    return _regression(
        densities.linear_log_likelihood, densities.linear_predict, densities.linear_sample, data, hyperparams, labels
    )


def logistic_regression(
    X: ArrayLike,
    y: ArrayLike,
    prior_scale: float = 1.0,
    *,
    intercept: bool = True,
    intercept_prior_scale: float | None = None,
    weights: ArrayLike | None = None,
    names: tuple[str, ...] | None = None,
) -> Problem:
    """Return the problem P(y_n = 1) = 1/(1 + exp(-x_n·θ)), θ ~ N(0, prior_scale²); y in {0, 1}.

    k successes in n trials are two rows: y = 1 with weight k, and y = 0 with weight n - k. Other arguments as in `linear_regression`.
    """
    inputs, labels = arguments.design(X, intercept, names)
    targets = arguments.held("y", y, inputs)
    bad = (targets != 0) & (targets != 1)
    if bad.any():
        first = targets[bad][0]
        other = (
            "Proportions of n trials are two rows each: y = 1 with the successes as weight, y = 0 with the failures."
            if ((targets >= 0) & (targets <= 1)).all()
            else "datasets.load encodes other labels; more than two classes need softmax_regression."
        )
        msg = f"y must hold 0 and 1 only, got {first:g} in row {int(bad.argmax())}. {other}"
        raise ValueError(msg)
    hyperparams = {
        "prior_precision": arguments.precision(inputs.shape[1], prior_scale, intercept, intercept_prior_scale)
    }
    data = arguments.data(inputs, targets, weights)
    return _regression(
        densities.logistic_log_likelihood,
        densities.logistic_predict,
        densities.logistic_sample,
        data,
        hyperparams,
        labels,
    )


def softmax_regression(
    X: ArrayLike,
    y: ArrayLike,
    prior_scale: float = 1.0,
    *,
    num_classes: int | None = None,
    intercept: bool = True,
    intercept_prior_scale: float | None = None,
    weights: ArrayLike | None = None,
    names: tuple[str, ...] | None = None,
) -> Problem:
    """Return the problem P(y_n = k) ∝ exp(x_n·θ_k), θ (D, K) ~ N(0, prior_scale²); y in {0, …, K-1}.

    `num_classes` None counts the classes, which must then all occur. With a flat prior the loss does not change when one
    vector is added to all θ_k, so that there is no single mode. Other arguments as in `linear_regression`.
    """
    inputs, labels = arguments.design(X, intercept, names)
    targets, classes = arguments.classes(y, len(inputs), num_classes)
    precision = arguments.precision(inputs.shape[1], prior_scale, intercept, intercept_prior_scale)
    names = tuple(f"{label}:{k}" for label in labels for k in range(classes))
    init = np.zeros((inputs.shape[1], classes), inputs.dtype)
    return Problem(
        densities.softmax_log_likelihood,
        arguments.data(inputs, targets, weights),
        init,
        densities.normal_log_prior,
        hyperparams={"prior_precision": precision[:, None]},
        predict=densities.softmax_predict,
        sample=densities.softmax_sample,
        names=names,
    )


def poisson_regression(
    X: ArrayLike,
    y: ArrayLike,
    prior_scale: float = 1.0,
    *,
    offset: ArrayLike | None = None,
    intercept: bool = True,
    intercept_prior_scale: float | None = None,
    weights: ArrayLike | None = None,
    names: tuple[str, ...] | None = None,
) -> Problem:
    """Return the problem y_n ~ Poisson(exp(x_n·θ + offset_n)), θ ~ N(0, prior_scale²); counts y.

    `offset` (N,) is the log of an exposure (time at risk, area); `predict` and `sample` are for exposure 1, or for inputs
    ``{"inputs": X, "offset": offset}``. A rate is a count over an exposure: give the count as y. Other arguments as in
    `linear_regression`.
    """
    inputs, labels = arguments.design(X, intercept, names)
    targets = arguments.held("y", y, inputs)
    bad = (targets < 0) | (targets != np.floor(targets))
    if bad.any():
        way = "A rate is a count over an exposure: give the count as y, with offset=np.log(exposure)."
        msg = f"y must hold counts 0, 1, 2, …, got {targets[bad][0]:g} in row {int(bad.argmax())}. {way}"
        raise ValueError(msg)
    data = arguments.data(inputs, targets, weights)
    if offset is not None:
        data["offset"] = arguments.exposures(offset, inputs)
    hyperparams = {
        "prior_precision": arguments.precision(inputs.shape[1], prior_scale, intercept, intercept_prior_scale)
    }
    return _regression(
        densities.poisson_log_likelihood, densities.poisson_predict, densities.poisson_sample, data, hyperparams, labels
    )


def _regression(log_likelihood: Any, predict: Any, sample: Any, data: Any, hyperparams: Any, names: Any) -> Problem:
    inputs = data["inputs"]
    return Problem(
        log_likelihood,
        data,
        np.zeros(inputs.shape[1], arguments.kept(inputs, data["targets"])),
        densities.normal_log_prior,
        hyperparams=hyperparams,
        predict=predict,
        sample=sample,
        names=names,
        align=arguments.aligned,
    )
