"""The prior's own curvature: whether it is proper, independent, quadratic, and how far from normalised."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives
from gradnoise._types import Array
from gradnoise.problem import Problem

DIAGONAL = 1e-9  # relative size off the diagonal below which a prior counts as independent
CONSTANT = 1e-9  # relative change of the curvature below which a prior counts as quadratic
PROBES = 4  # points at which its curvature is compared
LEAST = 1e-12  # smallest eigenvalue of the prior's precision, relative to the largest, that is not flat


class PriorCurvature(NamedTuple):
    """Positive scale (D,) to divide the Hessian by, and whether it is the prior's whole (diagonal) curvature."""

    scale: Array
    independent: bool


def prior_curvature(problem: Problem, vector: Array) -> PriorCurvature:
    """Return the prior's curvature at θ; ValueError where the prior is flat."""
    size, names = problem.num_params, problem.parameter_names
    if problem.log_prior is None:
        msg = "problem must have a proper log_prior: with a flat one there is no evidence. Give a finite prior_scale."
        raise ValueError(msg)
    z = np.random.default_rng(0).standard_normal(size)
    with jax.enable_x64(True):
        rows, along = (np.asarray(_product(problem, vector, v)) for v in (np.ones(size), z))
    flat = (rows == 0) & (along == 0)
    if flat.any():
        msg = f"problem must have a proper log_prior, but it is flat along {int(flat.sum())} parameters (first: {names[int(flat.argmax())]}). Give a finite prior_scale."
        raise ValueError(msg)
    positive = bool((rows > 0).all())
    independent = positive and bool(np.abs(along - rows * z).max() <= DIAGONAL * np.abs(rows).max())
    return PriorCurvature(rows if positive else np.ones(size), independent)


def prior_offset(problem: Problem, vector: Array, prior: PriorCurvature) -> float | None:
    """Return ln ∫ exp(log_prior) for a quadratic log prior, 0 if it is normalised; None for any other.

    With Λ = -∇² ln p and g = ∇ ln p at any θ, the normalised Gaussian is -(D/2) ln 2π + ½ ln det Λ - ½ gᵀΛ⁻¹g there.
    """
    size = problem.num_params
    if not _quadratic(problem, vector, prior.scale) or not (prior.independent or size <= derivatives.DENSE):
        return None
    with jax.enable_x64(True):
        value, slope = jax.tree.map(np.asarray, _value_and_slope(problem, vector))
        if prior.independent:
            logdet, square = float(np.log(prior.scale).sum()), float((slope**2 / prior.scale).sum())
        else:
            precision = np.asarray(_matrix(problem, vector))
            values, vectors = np.linalg.eigh(_checks.symmetrised(precision))
            if values[0] <= LEAST * values[-1]:
                msg = f"problem must have a proper log_prior, but its precision has an eigenvalue {values[0]:.3g}: it does not fall in every direction. Give it a finite scale there."
                raise ValueError(msg)
            logdet, square = float(np.log(values).sum()), float(((vectors.T @ slope) ** 2 / values).sum())
    return float(value) - (logdet - square - size * math.log(2 * math.pi)) / 2


def _quadratic(problem: Problem, vector: Array, scale: Array) -> bool:
    """Whether the curvature is the same at θ, at 0 and at points 1, 3 and 9 prior standard deviations off."""
    random = np.random.default_rng(1)
    size = len(vector)
    direction = random.standard_normal(size)
    away = [3.0**k * random.standard_normal(size) / np.sqrt(scale) for k in range(PROBES - 1)]
    with jax.enable_x64(True):
        here = np.asarray(_product(problem, vector, direction))
        others = [
            np.asarray(_product(problem, point, direction)) for point in (np.zeros(size), *(vector + a for a in away))
        ]
    return all(bool(np.abs(other - here).max() <= CONSTANT * np.abs(here).max()) for other in others)


def _negative(problem: Any) -> Any:
    light = _tree.cast(problem.hyperparams, jnp.float64)

    def negative(theta: Any) -> Any:
        hyper = () if problem.hyperparams is None else (light,)
        return -problem.log_prior(_tree.unflatten(theta, problem.init), *hyper)

    return negative


@jax.jit
def _product(problem: Any, vector: Any, direction: Any) -> Any:
    return jax.jvp(jax.grad(_negative(problem)), (vector,), (direction,))[1]


@jax.jit
def _value_and_slope(problem: Any, vector: Any) -> Any:
    value, slope = jax.value_and_grad(_negative(problem))(vector)
    return -value, -slope


@jax.jit
def _matrix(problem: Any, vector: Any) -> Any:
    return jax.hessian(_negative(problem))(vector)
