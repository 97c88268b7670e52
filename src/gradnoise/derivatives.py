"""Derivatives of a problem's mean loss at a flat vector of parameters, in float64, by blocks of examples.

The problem is an argument of the compiled functions (closed over, its data would be folded as constants), so a second
problem of the same functions and shapes compiles nothing. Data stay as they are; each block is cast as it is read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise import _checks, _tree
from gradnoise._types import AnyArray, Array, ArrayLike, Pytree

DENSE = 1000  # up to this many parameters Hessians and covariances are formed and factored
_BLOCK_NUMBERS = 1 << 17  # example gradients of a block: 1 MB, so that they stay in the cache
_LEAST_ROWS = 256  # below, adding up D x D matrices costs more than the products in them
_MOST_NUMBERS = 1 << 23  # 64 MB
_ALIKE, _NEAR = (
    1e-5,
    1e-2,
)  # relative differences (of losses; of curvature and noise) beyond what rounding to float32 makes
_OWNERS: weakref.WeakKeyDictionary[Any, Any] = (
    weakref.WeakKeyDictionary()
)  # a record -> the problem that it was made of
_DIRECTIONS = 64  # columns of a Hessian pushed through the model at once


class Differentiable(Protocol):
    """What is needed of a `Problem`."""

    @property
    def data(self) -> Pytree: ...
    @property
    def init(self) -> Pytree: ...
    @property
    def num_examples(self) -> int: ...
    @property
    def num_params(self) -> int: ...
    def flatten(self, params: Pytree) -> AnyArray: ...
    def example_loss(self, params: Pytree, example: Pytree) -> Any: ...


class Averages(NamedTuple):
    """Averages over draws θ of a law: of ∇L (D,), of ∇²L (D, D) and of C(θ) (D, D)."""

    gradient: Array
    hessian: Array
    gradient_covariance: Array


def as_vector(name: str, problem: Differentiable, params: Any) -> Array:
    """Return params, a vector (D,) or a record that has one (`Mode.vector`) as a finite float64 vector."""
    params = getattr(params, "vector", params)
    return _checks.vector(name, problem.flatten(params), problem.num_params)


def vouch(record: Any, problem: Differentiable) -> None:
    """Remember that a `Mode` or a law was made of this very problem, so that nothing need be read again to know it."""
    _OWNERS[record] = weakref.ref(problem)


def check_mode(name: str, problem: Differentiable, mode: Any) -> None:
    """Raise where a `Mode` is of another problem of the same shapes: loss, gradient or curvature there are not what it says."""
    if mode in _OWNERS and _OWNERS[mode]() is problem:
        return
    value, slope = loss_and_gradient(problem, mode.vector)
    off = []
    if abs(value - mode.loss) > _ALIKE * (1 + abs(value)):
        off.append(f"the loss there is {value:.6g}, not {mode.loss:.6g}")
    if mode.hessian is not None:
        curvature = hessian(problem, mode.vector)
        squared = float(slope @ np.linalg.solve(mode.hessian, slope))
        away = float(np.sqrt(problem.num_examples * max(squared, 0.0)))
        if away > 0.1 + 2 * mode.distance:
            off.append(f"it is {away:.3g} posterior standard deviations from a minimum")
        if _apart(curvature, mode.hessian, mode.hessian) > _NEAR:
            off.append("the curvature there is another")
    if off:
        msg = f"{name} must be a mode of this problem, but {' and '.join(off)}: it was found for other data, prior or hyperparameters. Give gn.find_mode(problem), or leave it out."
        raise ValueError(msg)
    vouch(mode, problem)


def check_law(problem: Differentiable, law: Any) -> None:
    """Raise where a law (`measure.GaussianLaw`) is of another problem of the same shapes: gradient, curvature or noise at its mode differ."""
    if law in _OWNERS and _OWNERS[law]() is problem:
        return
    slope, curvature = gradient_and_hessian(problem, law.mode)
    noise, scale, other = gradient_moments(problem, law.mode)[1], law.mode_hessian, law.mode_gradient_covariance
    off = ["curvature"] * (_apart(curvature, scale, scale) > _NEAR)
    off += ["gradient noise"] * (_apart(noise, other, np.abs(other) + np.diag(np.diag(scale)) * 1e-9) > _NEAR)
    if law.mode_gradient is not None:
        change = slope - law.mode_gradient
        off += ["gradient"] * (problem.num_examples * float(change @ np.linalg.solve(scale, change)) > _NEAR)
    if off:
        msg = f"law must be measure.gaussian_law of this problem, but the {' and the '.join(off)} at its mode are not this problem's: it was measured for other data, prior or hyperparameters. Measure it again, or leave it out."
        raise ValueError(msg)
    vouch(law, problem)


def _apart(ours: Array, theirs: Array, scale: Array) -> float:
    """Largest entry of a difference in units of the diagonal of `scale`, both by rows and by columns."""
    unit = np.sqrt(np.maximum(np.diag(scale), 1e-300))
    return float(np.abs((ours - theirs) / np.outer(unit, unit)).max())


def check_dense(problem: Differentiable) -> None:
    """Raise where D x D matrices would be too large, or `problem` is none."""
    _checks.problem(problem)
    if problem.num_params > DENSE:
        msg = f"problem must have at most {DENSE} parameters for dense matrices (D, D), got {problem.num_params}."
        raise ValueError(msg)


def loss(problem: Differentiable, vector: ArrayLike) -> float:
    """Return the mean loss L(θ)."""
    return float(_call(_loss, problem, vector))


def losses(problem: Differentiable, vectors: ArrayLike) -> Array:
    """Return L at each of M vectors (M, D), shape (M,)."""
    out: Array = _call(_losses, problem, vectors, ndim=2)
    return out


def gradient(problem: Differentiable, vector: ArrayLike) -> Array:
    """Return ∇L(θ), shape (D,)."""
    return loss_and_gradient(problem, vector)[1]


def loss_and_gradient(problem: Differentiable, vector: ArrayLike) -> tuple[float, Array]:
    """Return L(θ) and ∇L(θ), shape (D,)."""
    value, slope = _call(_loss_and_gradient, problem, vector)
    return float(value), slope


def hessian(problem: Differentiable, vector: ArrayLike) -> Array:
    """Return ∇²L(θ), shape (D, D)."""
    return gradient_and_hessian(problem, vector)[1]


def gradient_and_hessian(problem: Differentiable, vector: ArrayLike) -> tuple[Array, Array]:
    """Return ∇L(θ) (D,) and ∇²L(θ) (D, D)."""
    slope, curvature = _call(_gradient_and_hessian, problem, vector)
    return slope, curvature


def hessian_product(problem: Differentiable, vector: ArrayLike, direction: ArrayLike) -> Array:
    """Return ∇²L(θ) v for one direction v (D,)."""
    direction = _checks.vector("direction", direction, problem.num_params)
    out: Array = _call(_hessian_product, problem, vector, direction)
    return out


def example_losses(problem: Differentiable, vector: ArrayLike) -> Array:
    """Return the example losses l_n at θ, shape (N,); their mean is L(θ)."""
    out: Array = _call(_example_losses, problem, vector)
    return out


def example_gradients(problem: Differentiable, vector: ArrayLike) -> Array:
    """Return the gradients of all example losses l_n at θ, shape (N, D); their mean is ∇L(θ)."""
    out: Array = _call(_example_gradients, problem, vector)
    return out


def gradient_moments(problem: Differentiable, vector: ArrayLike) -> tuple[Array, Array]:
    """Return mean ∇L (D,) and covariance C = (1/N) Σ (g_n - ∇L)(g_n - ∇L)ᵀ (D, D) of the example gradients."""
    mean, covariance = _call(_gradient_moments, problem, vector)
    return mean, covariance


def average_curvature(problem: Differentiable, vectors: ArrayLike) -> tuple[Array, Array]:
    """Return ∇L (D,) and ∇²L (D, D) averaged over M vectors (M, D)."""
    slope, curvature = _call(_average_curvature, problem, vectors, ndim=2)
    return slope, curvature


def averages(problem: Differentiable, vectors: ArrayLike) -> Averages:
    """Return ∇L, ∇²L and C(θ), each the value at one θ, averaged over M vectors (M, D)."""
    return Averages(*_call(_averages, problem, vectors, ndim=2))


def _call(function: Callable[..., Any], problem: Differentiable, vector: ArrayLike, *more: Array, ndim: int = 1) -> Any:
    point = np.asarray(vector, np.float64)
    if point.ndim != ndim or point.shape[-1] != problem.num_params:
        wanted = f"({'M, ' * (ndim == 2)}D = {problem.num_params}{',' * (ndim == 1)})"
        msg = f"{'vectors' if ndim == 2 else 'vector'} must have shape {wanted}, got {point.shape}."
        raise ValueError(msg)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(problem, point, *more))


def _rows(num_examples: int, width: int) -> int:
    """Rows of a block whose rows need `width` numbers each."""
    return min(num_examples, max(_LEAST_ROWS, _BLOCK_NUMBERS // width), max(1, _MOST_NUMBERS // width))


def _mean(problem: Any, rows: int, term: Callable[[Any, Any], Any]) -> Any:
    """Return (1/N) of the sum over blocks of `term(block, mask)`; the last block reaches back, its seen rows masked."""
    total = problem.num_examples

    def block(i: Any) -> Any:
        start = jnp.minimum(i * rows, total - rows)
        read = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, rows), problem.data)
        mask = (start + jnp.arange(rows) >= i * rows).astype(jnp.float64)
        return term(_tree.cast(read, jnp.float64), mask)

    if rows == total:
        out = term(_tree.cast(problem.data, jnp.float64), jnp.ones(total))
    else:
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(block, 0))
        out = lax.fori_loop(0, -(-total // rows), lambda i, sums: jax.tree.map(jnp.add, sums, block(i)), zero)
    return jax.tree.map(lambda leaf: leaf / total, out)


def _functions(problem: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `total(θ, block, mask)`, the masked sum of example losses, and `each(θ, example)`, one of them."""
    light = _with_float64(problem)

    def each(vector: Any, example: Any) -> Any:
        return light.example_loss(_tree.unflatten(vector, problem.init), example)

    def total(vector: Any, block: Any, mask: Any) -> Any:
        return jnp.sum(mask * jax.vmap(each, (None, 0))(vector, block))

    return total, each


def _with_float64(problem: Any) -> Any:
    """Return the problem with all leaves but its data in float64 (hyperparameters are what counts)."""
    data = problem.data
    cast = _tree.cast(problem, jnp.float64)
    object.__setattr__(cast, "data", data)
    return cast


@jax.jit
def _loss(problem: Any, vector: Any) -> Any:
    total, _ = _functions(problem)
    return _mean(problem, _rows(problem.num_examples, 1), lambda b, mask: total(vector, b, mask))


@jax.jit
def _losses(problem: Any, vectors: Any) -> Any:
    return lax.map(lambda vector: _loss(problem, vector), vectors)


@jax.jit
def _loss_and_gradient(problem: Any, vector: Any) -> Any:
    total, _ = _functions(problem)
    rows = _rows(problem.num_examples, problem.num_params)
    return _mean(problem, rows, lambda b, mask: jax.value_and_grad(total)(vector, b, mask))


@jax.jit
def _gradient_and_hessian(problem: Any, vector: Any) -> Any:
    total, _ = _functions(problem)
    size = problem.num_params

    def term(block: Any, mask: Any) -> Any:
        slope, push = jax.linearize(lambda v: jax.grad(total)(v, block, mask), vector)
        if size <= _DIRECTIONS:
            return slope, jax.vmap(push)(jnp.eye(size))
        return slope, lax.map(push, jnp.eye(size), batch_size=_DIRECTIONS)

    slope, curvature = _mean(problem, _rows(problem.num_examples, size), term)
    return slope, (curvature + curvature.T) / 2


@jax.jit
def _hessian_product(problem: Any, vector: Any, direction: Any) -> Any:
    total, _ = _functions(problem)

    def term(block: Any, mask: Any) -> Any:
        return jax.jvp(lambda v: jax.grad(total)(v, block, mask), (vector,), (direction,))[1]

    return _mean(problem, _rows(problem.num_examples, problem.num_params), term)


@jax.jit
def _example_losses(problem: Any, vector: Any) -> Any:
    _, each = _functions(problem)
    data = _tree.cast(problem.data, jnp.float64)
    return jax.vmap(each, (None, 0))(vector, data)


@jax.jit
def _example_gradients(problem: Any, vector: Any) -> Any:
    _, each = _functions(problem)
    data = _tree.cast(problem.data, jnp.float64)
    return jax.vmap(jax.grad(each), (None, 0))(vector, data)


@jax.jit
def _gradient_moments(problem: Any, vector: Any) -> Any:
    return _moments_about(problem, vector, _loss_and_gradient(problem, vector)[1])


def _moments_about(problem: Any, vector: Any, centre: Any) -> Any:
    """Return `centre`, the mean of the example gradients, and their covariance (second pass)."""
    _, each = _functions(problem)

    def term(block: Any, mask: Any) -> Any:
        off = (jax.vmap(jax.grad(each), (None, 0))(vector, block) - centre) * mask[:, None]
        return off.T @ off

    spread = _mean(problem, _rows(problem.num_examples, problem.num_params), term)
    return centre, (spread + spread.T) / 2


def _average(term: Callable[[Any], Any], vectors: Any) -> Any:
    """Return the mean of `term` over the vectors, one at a time."""
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(term, vectors[0]))
    sums = lax.scan(lambda total, vector: (jax.tree.map(jnp.add, total, term(vector)), None), zero, vectors)[0]
    return jax.tree.map(lambda leaf: leaf / len(vectors), sums)


@jax.jit
def _average_curvature(problem: Any, vectors: Any) -> Any:
    return _average(lambda vector: _gradient_and_hessian(problem, vector), vectors)


@jax.jit
def _averages(problem: Any, vectors: Any) -> Any:
    def term(vector: Any) -> Any:
        slope, curvature = _gradient_and_hessian(problem, vector)
        return slope, curvature, _moments_about(problem, vector, slope)[1]

    return _average(term, vectors)
