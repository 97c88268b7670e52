"""How noisy control variates are: the covariance of gradient differences over a law, and where they stop paying."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from scipy.optimize import brentq

from gradnoise import _checks, derivatives
from gradnoise._types import Array
from gradnoise.problem import Problem
from gradnoise.stream import seed_of
from gradnoise.theory import noise_factor

_WIDEST = 1e6  # multiples of a law beyond which nobody asks


@dataclass(frozen=True, eq=False)
class BreakEven:
    """Noise of control variates against a plain minibatch of equal cost (twice the rows), averaged over a law.

    Attributes
    ----------
    ratio
        Tr(H⁻¹ C_d f(B)) / Tr(H⁻¹ C f(2B)): below 1 control variates have less noise. f is 1/B, or (N-B)/(B(N-1)).
    distance
        Multiple of the law's standard deviations around the anchor at which the ratio is 1: nearer control variates win.
        Infinite where they win everywhere, 0 where nowhere.
    batch_size
        Batch size B below which they win over this law: N(c-2d)/(2(c-d)) without replacement, with c, d the traces of C
        and C_d; with replacement B does not matter: infinite or 0.
    equivalent_batch_size
        Rows of a plain minibatch with the noise of control variates at B.
    gradient_covariance, difference_covariance
        C and C_d (D, D), per example, averaged over the law.
    """

    ratio: float
    distance: float
    batch_size: float
    equivalent_batch_size: float
    gradient_covariance: Array
    difference_covariance: Array

    def __bool__(self) -> bool:
        """Whether control variates have less noise at equal cost."""
        return self.ratio < 1


def difference_covariance(problem: Problem, anchor: Any, law: Any, *, num_draws: int = 128, key: Any = 0) -> Array:
    """Covariance over examples of g_n(θ) - g_n(θ*), averaged over a law of θ: the C of control variates, (D, D), per example.

    Equation: C_d = E_θ Cov_n(g_n(θ) - g_n(θ*)). For squares ½(x·θ - y)² it is the K(Σ) + ... of `theory.least_squares_noise`
    without the noise at the optimum.

    Parameters
    ----------
    problem
        The problem; at most 1000 parameters.
    anchor
        θ*: a `Mode`, params or a vector (D,).
    law
        Anything with `mean` (D,) and `covariance` (D, D), such as `measure.gaussian_law(problem, mode)`; or vectors (M, D).
    num_draws, key
        Draws of a Gaussian law (mirrored, and whitened where there are 2D of them: exact for a quadratic loss), and seed.
    """
    derivatives.check_dense(problem)
    centre = derivatives.as_vector("anchor", problem, anchor)
    return derivatives.averages(_tilted(problem, centre), _vectors(problem, law, num_draws, key)).gradient_covariance


def break_even(
    problem: Problem,
    anchor: Any,
    law: Any,
    *,
    batch_size: int,
    sampling: str = "with_replacement",
    num_draws: int = 128,
    key: Any = 0,
) -> BreakEven:
    """Compare the noise of control variates at `batch_size` with that of a plain minibatch at equal cost, over a law.

    Parameters
    ----------
    problem, anchor
        As in `difference_covariance`.
    law
        With `mean`, `covariance` and `hessian` (D, D), in whose units noise is measured: `measure.gaussian_law(...)`.
    batch_size, sampling
        B of the control variate; the plain minibatch has min(2B, N) rows.
    num_draws, key
        As in `difference_covariance`.

    Raises
    ------
    ValueError, TypeError
        On bad arguments; for shuffled batches, whose noise is not independent from step to step.
    """
    total = problem.num_examples
    ours = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=total)
    plain = 2 * int(batch_size) if sampling == "with_replacement" else min(2 * int(batch_size), total)
    theirs = noise_factor(batch_size=plain, sampling=sampling, num_examples=total)
    centre = derivatives.as_vector("anchor", problem, anchor)
    tilted, inverse = _tilted(problem, centre), np.linalg.inv(law.hessian)
    noise, differences = _both(problem, tilted, _vectors(problem, law, num_draws, key))
    c, d = (float(np.trace(inverse @ matrix)) for matrix in (noise, differences))
    offsets = _vectors(problem, law, num_draws, key) - law.mean

    def excess(log_multiple: float) -> float:
        far, near = _both(problem, tilted, centre + math.exp(log_multiple) * offsets)
        return math.log(np.trace(inverse @ near) * ours) - math.log(max(np.trace(inverse @ far) * theirs, 1e-300))

    return BreakEven(
        ratio=d * ours / (c * theirs) if theirs else math.inf,
        distance=_crossing(excess) if theirs and d > 0 else (math.inf if theirs else 0.0),
        batch_size=_largest_batch(c, d, total, sampling),
        equivalent_batch_size=_rows_of(d * ours / c, total, sampling),
        gradient_covariance=noise,
        difference_covariance=differences,
    )


def _both(problem: Problem, tilted: Problem, vectors: Array) -> tuple[Array, Array]:
    return tuple(derivatives.averages(made, vectors).gradient_covariance for made in (problem, tilted))  # type: ignore[return-value]


def _crossing(excess: Callable[[float], float]) -> float:
    """Multiple at which the log ratio crosses 0; it grows from -∞ as the square of the multiple."""
    low, high = -1.0, 1.0
    while excess(low) > 0:
        low -= 3.0
        if low < -math.log(_WIDEST):
            return 0.0
    while excess(high) < 0:
        high += 3.0
        if high > math.log(_WIDEST):
            return math.inf
    return math.exp(brentq(excess, low, high, xtol=1e-4))


def _largest_batch(c: float, d: float, total: int, sampling: str) -> float:
    if c <= 2 * d:
        return 0.0
    return math.inf if sampling == "with_replacement" else total * (c - 2 * d) / (2 * (c - d))


def _rows_of(factor: float, total: int, sampling: str) -> float:
    """Invert `noise_factor`."""
    if factor <= 0:
        return math.inf if sampling == "with_replacement" else float(total)
    return 1 / factor if sampling == "with_replacement" else total / (1 + factor * (total - 1))


def _vectors(problem: Problem, law: Any, num_draws: Any, key: Any) -> Array:
    """Draws (M, D) of a law: its mean plus mirrored normals, whitened where there are enough."""
    if not hasattr(law, "covariance"):
        vectors = _checks.array("law", law)
        if vectors.ndim != 2 or vectors.shape[1] != problem.num_params:
            msg = f"law must have mean and covariance, or be vectors (M, {problem.num_params}), got shape {vectors.shape}."
            raise ValueError(msg)
        return vectors
    half = -(-_checks.integer("num_draws", num_draws, low=2) // 2)
    dim = problem.num_params
    points = scipy.stats.qmc.MultivariateNormalQMC(np.zeros(dim), rng=np.random.default_rng(seed_of(key)))
    z = np.asarray(points.random(1 << (half - 1).bit_length()))[:half]
    if half >= dim:
        z = np.linalg.solve(np.linalg.cholesky(z.T @ z / half), z.T).T
    root = np.linalg.cholesky(_checks.symmetric("law.covariance", law.covariance, dim, definite="positive"))
    offsets = np.concatenate([z, -z]) @ root.T
    return np.asarray(_checks.vector("law.mean", law.mean, dim) + offsets)


def _tilted(problem: Problem, anchor: Array) -> Problem:
    """Return the problem whose example gradients are g_n(θ) - g_n(θ*), up to a vector that all examples share."""
    likelihood, prior = _tilt(problem.log_likelihood, problem.log_prior, problem.hyperparams is not None)
    both = (problem.hyperparams, problem.unflatten(anchor))
    return Problem(likelihood, problem.data, problem.init, prior, hyperparams=both)


@functools.lru_cache(maxsize=64)  # one function object a model, or JAX compiles again
def _tilt(likelihood: Any, prior: Any, with_hyperparams: bool) -> tuple[Any, Any]:
    def value(params: Any, example: Any, both: Any) -> Any:
        more = (both[0],) if with_hyperparams else ()
        slope = jax.grad(likelihood)(both[1], example, *more)
        tilt = sum(jnp.vdot(s, p) for s, p in zip(jax.tree.leaves(slope), jax.tree.leaves(params), strict=True))
        return likelihood(params, example, *more) - tilt

    def shared(params: Any, both: Any) -> Any:
        return prior(params, both[0]) if with_hyperparams else prior(params)

    return value, None if prior is None else shared
