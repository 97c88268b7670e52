"""Averages over a law for models that read their parameters through scores z = x·θ alone: D times fewer operations than D by D matrices a draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives
from gradnoise._types import Array, ArrayLike

_BLOCK_NUMBERS = (
    1 << 17
)  # scores of a block, rows times draws times outputs squared: 1 MB, so that they stay in the cache
_LEAST_ROWS = 64
ROUNDING = 1e-14  # share of a squared gradient that sums in float64 do not resolve


def reads_scores(problem: Any) -> bool:
    """Whether the log-likelihood reads one array of params (D,) or (D, K) through inputs (N, D) @ params, and nothing else of them."""
    if not getattr(getattr(problem, "log_likelihood", None), "by_scores", False):
        return False
    shape, data = np.shape(problem.init), problem.data
    wide = np.shape(data["inputs"]) if isinstance(data, dict) and "inputs" in data else ()
    return len(shape) in (1, 2) and len(wide) == 2 and wide[1] == shape[0]


def average_curvature(problem: Any, points: ArrayLike) -> tuple[Array, Array]:
    """Return ∇L (D,) and ∇²L (D, D) averaged over M points (M, D), as `derivatives.average_curvature` does."""
    if not reads_scores(problem):
        return derivatives.average_curvature(problem, points)
    slope, curvature, _ = _over(problem, points)
    return slope, curvature


def averages(problem: Any, points: ArrayLike) -> derivatives.Averages:
    """Return ∇L, ∇²L and C(θ), each the value at one θ, averaged over M points (M, D), as `derivatives.averages` does."""
    if not reads_scores(problem):
        return derivatives.averages(problem, points)
    return derivatives.Averages(*_over(problem, points))


def losses(problem: Any, points: ArrayLike) -> Array:
    """Return L at each of M points (M, D), shape (M,), as `derivatives.losses` does."""
    if not reads_scores(problem):
        return derivatives.losses(problem, points)
    with jax.enable_x64(True):
        return np.asarray(_losses(problem, np.asarray(points, np.float64)))


def _over(problem: Any, points: ArrayLike) -> tuple[Array, Array, Array]:
    with jax.enable_x64(True):
        slope, curvature, square, means = map(np.asarray, _averages(problem, np.asarray(points, np.float64)))
    return slope, curvature, _less(square, means)


def _less(square: Array, means: Array) -> Array:
    """Return E gg' less the mean gradients' own part (D, D); directions in which that leaves rounding alone have no noise."""
    noise = square - means
    unit = np.sqrt(np.maximum(np.diag(square), 1e-300))
    values, vectors = np.linalg.eigh(noise / np.outer(unit, unit))
    if values[0] > ROUNDING:
        return noise
    kept = np.where(values > ROUNDING, values, 0.0)
    out = (vectors * kept) @ vectors.T * np.outer(unit, unit)
    return _checks.symmetrised(out)


def _loss_of_scores(problem: Any) -> Callable[[Any, Any], Any]:
    """Return the loss of one example (without its share of the prior) as a function of its scores z: x = 1 and θ = z say the same."""
    light = derivatives._with_float64(problem)

    def loss(z: Any, example: Any) -> Any:
        return -light._log_likelihood(z[None], {**example, "inputs": jnp.ones(1)})

    return loss


def _of_prior(problem: Any) -> Callable[[Any], Any]:
    light = derivatives._with_float64(problem)
    return lambda vector: -light._log_prior(_tree.unflatten(vector, problem.init)) / problem.num_examples


def _rows(problem: Any, numbers: int) -> int:
    return int(min(problem.num_examples, max(_LEAST_ROWS, _BLOCK_NUMBERS // numbers)))


@jax.jit
def _averages(problem: Any, points: Any) -> Any:
    """One pass over the rows, all points at once: H = Xᵀ E[∂²l/∂z²] X, C = Xᵀ E[(∂l/∂z)²] X and what the mean gradients are of it."""
    shape, size = np.shape(problem.init), problem.num_params
    outputs = shape[1] if len(shape) == 2 else 1
    count = len(points)
    thetas = points.reshape(count, *shape)
    loss = _loss_of_scores(problem)
    pair = "abcd"[: 2 * (len(shape) - 1)]  # outputs of a matrix over scores: none, or two
    first, second = pair[:1], pair[1:]

    def term(block: Any, mask: Any) -> Any:
        inputs = block["inputs"]
        z = jnp.einsum(f"rd,kd{first}->rk{first}", inputs, thetas)
        at = jax.vmap(jax.vmap(jax.grad(loss), (0, None)), (0, 0))(z, block) * mask.reshape(-1, 1, *(1,) * len(first))
        bent = jax.vmap(jax.vmap(jax.hessian(loss), (0, None)), (0, 0))(z, block).mean(1)
        bent = bent * mask.reshape(-1, *(1,) * len(pair))
        square = jnp.einsum(f"rk{first},rk{second}->r{pair}", at, at) / count
        gram = [jnp.einsum(f"rd,r{pair},re->d{first}e{second}", inputs, w, inputs) for w in (bent, square)]
        return jnp.einsum(f"rk{first},rd->kd{first}", at, inputs), gram[0], gram[1]

    rows = _rows(problem, count * outputs**2)
    slopes, curvature, noise = derivatives._mean(problem, rows, term)
    slopes = slopes.reshape(count, size)
    curvature, noise = (m.reshape(size, size) for m in (curvature, noise))
    means = slopes.T @ slopes / count
    slope = slopes.mean(0)
    if problem.log_prior is not None:
        prior = _of_prior(problem)
        slope = slope + jax.lax.map(jax.grad(prior), points).mean(0)
        bent = jax.lax.scan(lambda total, p: (total + jax.hessian(prior)(p), None), jnp.zeros((size, size)), points)[0]
        curvature = curvature + bent / count
    return slope, (curvature + curvature.T) / 2, (noise + noise.T) / 2, (means + means.T) / 2


@jax.jit
def _losses(problem: Any, points: Any) -> Any:
    shape, count = np.shape(problem.init), len(points)
    outputs = shape[1] if len(shape) == 2 else 1
    thetas, loss, out = points.reshape(count, *shape), _loss_of_scores(problem), "a"[: len(shape) - 1]

    def term(block: Any, mask: Any) -> Any:
        z = jnp.einsum(f"rd,kd{out}->rk{out}", block["inputs"], thetas)
        return mask @ jax.vmap(jax.vmap(loss, (0, None)), (0, 0))(z, block)

    total = derivatives._mean(problem, _rows(problem, count * outputs), term)
    if problem.log_prior is None:
        return total
    return total + jax.lax.map(_of_prior(problem), points)
