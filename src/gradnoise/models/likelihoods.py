"""Log densities of the ready-made models, with their constants; predictions and draws of the response.

An example is a mapping with `inputs` (D,), `targets` () and, where given, `weight` w and `offset`. All functions get
`hyperparams` last and are compared by identity (or, networks, by value): problems that share them share compiled code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from gradnoise._types import Pytree

_LOG_2PI = math.log(2 * math.pi)
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


def _by_scores(log_likelihood: Any) -> Any:
    """Mark a log-likelihood that reads params through the scores z = inputs @ params alone (`measure.dense.score_averages`)."""
    log_likelihood.by_scores = True
    return log_likelihood


@jax.custom_jvp
def softplus(z: Any) -> Any:
    """Return log(1 + eᶻ); the derivative by hand lets XLA vectorise it (2950 against 4130 ns a step)."""
    return jnp.logaddexp(0.0, z)


@softplus.defjvp
def _softplus_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    return softplus(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]


def normal_log_prior(params: Pytree, hyperparams: Any) -> Any:
    """Return Σ ½ log(τ/2π) - ½ τ θ² over all parameters; where τ = 0 the prior is flat and adds nothing."""

    def one(leaf: Any) -> Any:
        precision = jnp.broadcast_to(jnp.asarray(hyperparams["prior_precision"], leaf.dtype), leaf.shape)
        constant = jnp.where(precision > 0, jnp.log(jnp.where(precision > 0, precision, 1.0)) - _LOG_2PI, 0.0)
        return 0.5 * jnp.sum(constant - precision * leaf**2)

    return sum(one(leaf) for leaf in jax.tree.leaves(params))


def _weighted(example: Any, value: Any) -> Any:
    return example["weight"] * value if "weight" in example else value


def _normal(target: Any, mean: Any, hyperparams: Any) -> Any:
    scale = hyperparams["observation_scale"]
    return -0.5 * ((target - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * _LOG_2PI


def _categorical(target: Any, z: Any) -> Any:
    return jnp.sum(jax.nn.one_hot(target, z.shape[-1], dtype=z.dtype) * z) - jax.nn.logsumexp(z)


def _score(inputs: Any, params: Any) -> Any:
    """Return x·θ; inputs may be wider than params by columns of zeros (`arguments.aligned`)."""
    missing = inputs.shape[-1] - params.shape[0]
    return inputs @ (jnp.pad(params, (0, missing)) if missing else params)


@_by_scores
def linear_log_likelihood(params: Any, example: Any, hyperparams: Any) -> Any:
    """Return w [-½ ((y - x·θ)/s)² - log s - ½ log 2π]."""
    return _weighted(example, _normal(example["targets"], _score(example["inputs"], params), hyperparams))


@_by_scores
def robust_log_likelihood(params: Any, example: Any, hyperparams: Any) -> Any:
    """Return w [(f^β - 1)/β - ∫f^{1+β}dy/(1+β) + 1], f the density of N(x·θ, s²): minus the β-divergence's loss."""
    beta, scale = hyperparams["beta"], hyperparams["observation_scale"]
    log_density = _normal(example["targets"], _score(example["inputs"], params), hyperparams)
    log_integral = -beta * (jnp.log(scale) + 0.5 * _LOG_2PI) - 0.5 * jnp.log1p(beta)
    return _weighted(example, jnp.expm1(beta * log_density) / beta - jnp.exp(log_integral) / (1 + beta) + 1)


@_by_scores
def logistic_log_likelihood(params: Any, example: Any, hyperparams: Any) -> Any:
    """Return w [y z - log(1 + eᶻ)], z = x·θ."""
    del hyperparams
    z = _score(example["inputs"], params)
    return _weighted(example, example["targets"] * z - softplus(z))


@_by_scores
def softmax_log_likelihood(params: Any, example: Any, hyperparams: Any) -> Any:
    """Return w [z_y - log Σ_k exp z_k], z = x·θ."""
    del hyperparams
    return _weighted(example, _categorical(example["targets"], example["inputs"] @ params))


@_by_scores
def poisson_log_likelihood(params: Any, example: Any, hyperparams: Any) -> Any:
    """Return w [y z - eᶻ - log y!], z = x·θ + offset."""
    del hyperparams
    z = _score(example["inputs"], params) + example.get("offset", 0.0)
    return _weighted(example, example["targets"] * z - jnp.exp(z) - jax.scipy.special.gammaln(example["targets"] + 1))


def _predictor(params: Any, inputs: Any) -> Any:
    """Return x·θ for inputs (..., D), with or without the intercept's column of ones."""
    if inputs.shape[-1] + 1 == params.shape[0]:
        return inputs @ params[:-1] + params[-1]
    return inputs @ params


def linear_predict(params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return the mean response (...) for inputs (..., D)."""
    del hyperparams
    return _predictor(params, inputs)


def logistic_predict(params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return P(y = 1) (...) for inputs (..., D)."""
    del hyperparams
    return jax.nn.sigmoid(_predictor(params, inputs))


def softmax_predict(params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return class probabilities (..., K) for inputs (..., D)."""
    del hyperparams
    return jax.nn.softmax(_predictor(params, inputs))


def poisson_predict(params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return the expected count (...) for inputs (..., D) at exposure 1, or for ``{"inputs": (..., D), "offset": (...)}``."""
    del hyperparams
    if isinstance(inputs, dict):
        return jnp.exp(_predictor(params, inputs["inputs"]) + inputs["offset"])
    return jnp.exp(_predictor(params, inputs))


def linear_sample(key: Any, params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return one draw of the response for each input."""
    mean = _predictor(params, inputs)
    return mean + hyperparams["observation_scale"] * jax.random.normal(key, mean.shape, mean.dtype)


def logistic_sample(key: Any, params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return one draw of the label, 0 or 1, for each input."""
    return jax.random.bernoulli(key, logistic_predict(params, inputs, hyperparams)).astype(params.dtype)


def softmax_sample(key: Any, params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return one draw of the class for each input."""
    del hyperparams
    return jax.random.categorical(key, _predictor(params, inputs))


def poisson_sample(key: Any, params: Any, inputs: Any, hyperparams: Any) -> Any:
    """Return one draw of the count for each input, which is as in `poisson_predict`."""
    return jax.random.poisson(key, poisson_predict(params, inputs, hyperparams)).astype(params.dtype)


@dataclass(frozen=True)
class Network:
    """Outputs (..., K) of a multilayer perceptron with parameters ``{"layer0": {"weight", "bias"}, ...}``."""

    activation: str

    def __call__(self, params: Any, inputs: Any) -> Any:
        """Apply the layers in turn, the activation between them."""
        *hidden, last = (params[f"layer{i}"] for i in range(len(params)))
        for layer in hidden:
            inputs = ACTIVATIONS[self.activation](inputs @ layer["weight"] + layer["bias"])
        return inputs @ last["weight"] + last["bias"]


@dataclass(frozen=True)
class NetworkLogLikelihood:
    """Log-likelihood of a network's outputs: "softmax" (class numbers) or "linear" (one normal response)."""

    network: Any
    likelihood: str

    def __call__(self, params: Any, example: Any, hyperparams: Any) -> Any:
        """Return the weighted log-likelihood of one example."""
        z = self.network(params, example["inputs"])
        if self.likelihood == "softmax":
            return _weighted(example, _categorical(example["targets"], z))
        return _weighted(example, _normal(example["targets"], z[0], hyperparams))


@dataclass(frozen=True)
class NetworkPredict:
    """Class probabilities (..., K) or mean response (...) of a network."""

    network: Any
    likelihood: str

    def __call__(self, params: Any, inputs: Any, hyperparams: Any) -> Any:
        """Return predictions for inputs (..., D)."""
        del hyperparams
        z = self.network(params, inputs)
        return jax.nn.softmax(z) if self.likelihood == "softmax" else z[..., 0]


@dataclass(frozen=True)
class NetworkSample:
    """Draws of a network's response."""

    network: Any
    likelihood: str

    def __call__(self, key: Any, params: Any, inputs: Any, hyperparams: Any) -> Any:
        """Return one draw for each input (..., D)."""
        z = self.network(params, inputs)
        if self.likelihood == "softmax":
            return jax.random.categorical(key, z)
        return z[..., 0] + hyperparams["observation_scale"] * jax.random.normal(key, z.shape[:-1], z.dtype)
