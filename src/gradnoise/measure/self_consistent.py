"""The stationary law with curvature and noise averaged over itself: where noise depends on the state, values at the mode miss it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array, ArrayLike

TOLERANCE = 0.003  # relative change of variances in the last iteration
LIMIT = 40
PATIENCE = 8  # iterations after which a law that still changes by 30 % is taken to run away
RUNAWAY = 100.0  # times the trace at the start: there is no stationary variance
WORK = 3e8  # rows times draws times D² of one iteration: about a tenth of a second


class SelfConsistentLaw(NamedTuple):
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


class _Update(NamedTuple):
    """θ ← θ - η P m + ξ."""

    learning_rate: float
    batch_size: int
    momentum: float
    preconditioner: Array | None
    injected: Array | None
    sampling: str
    num_examples: int


def stationary_law(
    problem: Any,
    mode: Any,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    sampling: str = "with_replacement",
    preconditioner: ArrayLike | None = None,
    injected: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> SelfConsistentLaw | None:
    """Return the stationary law of SGD or Langevin dynamics with curvature and noise averaged over that law itself.

    Iterated: average H, C and ∇L over the law, move its mean to E∇L = 0, take the exact discrete-time law of these. For a
    quadratic loss and independent batches the fixed point is the exact stationary covariance, state-dependent noise included
    (C̄ depends on the law's second moments alone). Shuffled epochs: what an example's gradient is on average over the law
    cancels over an epoch, the rest changes from epoch to epoch and is taken as independent; this split is approximate.

    Parameters
    ----------
    problem
        A `Problem` of at most 1000 parameters.
    mode
        Where the mean starts: a `Mode`, params or a vector (D,).
    learning_rate, momentum, preconditioner
        η, μ, P of m ← μm + ĝ; θ ← θ - ηPm + ξ, P (D, D) or None for the identity.
    batch_size, sampling
        B, and "with_replacement", "without_replacement" or "shuffled" (the mean over the positions of an epoch).
    injected
        Cov ξ (D, D), parameter²; None: no injected noise.
    start
        Covariance (D, D) to start from; None: the law for H and C at the mode.

    Returns
    -------
    SelfConsistentLaw | None
        None where the iteration leaves the stable region or does not settle, or where there is no noise: such a law is then
        not predicted.

    Examples
    --------
    Two rows, batch 1: the noise at the mode alone gives 0.003657, its growth with the distance (1 - 0.1·h_n) the rest.

    >>> from gradnoise import models
    >>> problem = models.linear_regression(
    ...     [[1.0], [2.0]], [1.0, 1.0], prior_scale=float("inf"), observation_scale=1.0, intercept=False
    ... )
    >>> law = stationary_law(problem, [0.6], learning_rate=0.1, batch_size=1)
    >>> float(law.covariance[0, 0].round(5))  # 0.0016/0.415
    0.00386
    """
    derivatives.check_dense(problem)
    centre, size = derivatives.as_vector("mode", problem, mode), problem.num_params
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    update = _Update(
        _checks.positive("learning_rate", learning_rate),
        _checks.batch_size(batch_size, problem.num_examples, kind),
        _checks.momentum(momentum),
        None if preconditioner is None else _checks.symmetric("preconditioner", preconditioner, size, definite="positive"),
        None if injected is None else _checks.symmetric("injected", injected, size, definite="semi"),
        kind,
        problem.num_examples,
    )  # fmt: skip
    if start is not None:
        begin = _checks.symmetric("start", start, size, definite="semi")
    else:
        _, noise = derivatives.gradient_moments(problem, centre)
        begin = _law(derivatives.hessian(problem, centre), noise, noise, update)
    return _settle(problem, centre, begin, update) if np.diag(begin).min() > 0 else None


def _settle(problem: Any, mean: Array, start: Array, update: _Update) -> SelfConsistentLaw | None:
    normals, covariance = mirrored_normals(problem.num_examples, len(mean)), start
    for iteration in range(LIMIT):
        values, vectors = np.linalg.eigh(covariance)
        points = mean + normals @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        over = derivatives.averages(problem, points)
        shuffled = update.sampling == "shuffled"
        persistent = _persistent(problem, points) if shuffled else over.gradient_covariance
        try:
            new = _law(over.hessian, over.gradient_covariance, persistent, update)
        except ValueError:  # beyond the edge, or negative curvature
            return None
        if not np.isfinite(new).all() or np.trace(new) > RUNAWAY * np.trace(start):
            return None
        mean = mean - np.linalg.solve(over.hessian, over.gradient)
        change = float(np.max(np.abs(np.diag(new) / np.diag(covariance) - 1)))
        if change < TOLERANCE:
            return SelfConsistentLaw(mean, new, over.hessian, over.gradient_covariance, persistent)
        if iteration >= PATIENCE and change > 0.3:
            return None
        covariance = (new + covariance) / 2 if change < 0.2 else new  # the last steps oscillate undamped
    return None


def _law(hessian: Array, noise: Array, persistent: Array, update: _Update) -> Array:
    """Exact discrete-time covariance for constant H and C, injected noise added."""
    common: dict[str, Any] = update._asdict()
    injected = common.pop("injected")
    if update.sampling == "shuffled":
        total = theory.stationary_covariance(hessian, persistent, **common)
        rest = {**common, "sampling": "without_replacement"}
        total = total + theory.stationary_covariance(hessian, _semidefinite(noise - persistent), **rest)
    else:
        total = theory.stationary_covariance(hessian, noise, **common)
    if injected is None:
        return total
    silent = {**common, "sampling": "with_replacement"}
    return total + theory.linear_chain(hessian, np.zeros_like(noise), injected=injected, **silent).covariance


def _persistent(problem: Any, points: Array) -> Array:
    """Covariance over examples of their gradients averaged over the points, (D, D)."""
    total = np.zeros((problem.num_examples, points.shape[1]))
    for point in points:
        total += derivatives.example_gradients(problem, point)
    return np.cov(total.T / len(points), bias=True).reshape(points.shape[1], points.shape[1])


def _semidefinite(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def mirrored_normals(num_examples: int, size: int) -> Array:
    """Mirrored normals with covariance exactly I, so that averages of quadratics are exact."""
    count = int(min(256, max(32, size + 8, WORK / (2 * num_examples * size**2))))
    half = np.random.default_rng(0).standard_normal((max(count, size + 1), size))
    half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    return np.concatenate([half, -half])
