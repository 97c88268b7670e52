"""The stationary law with curvature and noise averaged over itself: where noise depends on the state, values at the mode miss it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import derivatives, theory
from gradnoise._types import Array

TOLERANCE = 0.003  # relative change of variances in the last iteration
LIMIT = 40
PATIENCE = 8  # iterations after which a law that still changes by 30 % is taken to run away
RUNAWAY = 100.0  # times the trace at the start: there is no stationary variance
WORK = 3e8  # rows times draws times D² of one iteration: about a tenth of a second


class Closure(NamedTuple):
    """A Gaussian N(mean, covariance) that is stationary with the H and C averaged over itself.

    Attributes
    ----------
    mean, covariance
        (D,) and (D, D), in units of the parameters.
    hessian
        H averaged over it (D, D).
    gradient_covariance
        C averaged over it (D, D), per example.
    persistent
        The part of it that each example contributes whatever the state, Cov_n E_θ g_n(θ) (D, D): what an epoch cancels.
    """

    mean: Array
    covariance: Array
    hessian: Array
    gradient_covariance: Array
    persistent: Array


def closure(problem: Any, mode: Array, start: Array, *, shuffled: bool = False, **settings: Any) -> Closure | None:
    """Iterate: average H, C and ∇L over the law, move its mean to E∇L = 0, take the exact discrete-time law of these.

    For a quadratic loss and independent batches the fixed point is the exact stationary covariance, state-dependent noise
    included (C̄ depends on the law's second moments alone). Shuffled epochs: what an example's gradient is on average over the
    law cancels over an epoch, the rest changes from epoch to epoch and is taken as independent; this split is approximate.

    Parameters
    ----------
    problem
        The problem.
    mode, start
        Where to start: the mode (D,) and a covariance (D, D).
    shuffled
        The law of shuffled epochs (mean over positions), else of independent batches.
    **settings
        learning_rate, batch_size, momentum.

    Returns
    -------
    Closure | None
        None where the iteration leaves the stable region or does not settle, or where there is no noise: such a law is then not predicted.
    """
    if not np.diag(start).min() > 0:
        return None
    normals = _normals(problem.num_examples, len(mode))
    mean, covariance = mode, start
    for iteration in range(LIMIT):
        values, vectors = np.linalg.eigh(covariance)
        points = mean + normals @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        over = derivatives.averages(problem, points)
        assert over.gradient_covariance is not None
        persistent = _persistent(problem, points) if shuffled else over.gradient_covariance
        try:
            new = _law(over.hessian, over.gradient_covariance, persistent, problem.num_examples, shuffled, settings)
        except ValueError:  # beyond the edge, or negative curvature
            return None
        if not np.isfinite(new).all() or np.trace(new) > RUNAWAY * np.trace(start):
            return None
        mean = mean - np.linalg.solve(over.hessian, over.gradient)
        change = float(np.max(np.abs(np.diag(new) / np.diag(covariance) - 1)))
        if change < TOLERANCE:
            return Closure(mean, new, over.hessian, over.gradient_covariance, persistent)
        if iteration >= PATIENCE and change > 0.3:
            return None
        covariance = (new + covariance) / 2 if change < 0.2 else new  # the last steps oscillate undamped
    return None


def _law(
    hessian: Array, noise: Array, persistent: Array, num_examples: int, shuffled: bool, settings: dict[str, Any]
) -> Array:
    if not shuffled:
        return theory.stationary_covariance(hessian, noise, **settings)
    epochs = theory.stationary_covariance(
        hessian, persistent, sampling="shuffled", num_examples=num_examples, **settings
    )
    changing = _semidefinite(noise - persistent)
    return epochs + theory.stationary_covariance(
        hessian, changing, sampling="without_replacement", num_examples=num_examples, **settings
    )


def _persistent(problem: Any, points: Array) -> Array:
    """Covariance over examples of their gradients averaged over the points, (D, D)."""
    total = np.zeros((problem.num_examples, points.shape[1]))
    for point in points:
        total += derivatives.example_gradients(problem, point)
    return np.cov(total.T / len(points), bias=True).reshape(points.shape[1], points.shape[1])


def _semidefinite(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _normals(num_examples: int, size: int) -> Array:
    """Mirrored normals with covariance exactly I, so that averages of quadratics are exact."""
    count = int(min(256, max(32, size + 8, WORK / (2 * num_examples * size**2))))
    half = np.random.default_rng(0).standard_normal((max(count, size + 1), size))
    half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    return np.concatenate([half, -half])
