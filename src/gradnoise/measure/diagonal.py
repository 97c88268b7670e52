"""Curvature and noise where matrices (D, D) do not fit: the noise's diagonal and the leading directions of P H."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.sparse.linalg import LinearOperator, eigsh

from gradnoise import _checks, _tree, derivatives
from gradnoise._types import Array
from gradnoise.problem import Problem
from gradnoise.stream import seed_of

BLOCK = 2**20  # numbers of example gradients held at once: what a cache holds is twice as quick as more


@dataclass(frozen=True, eq=False)
class NoiseDiagonal:
    """Gradient and the diagonal of its noise at a point, estimated from a random part of the data.

    Attributes
    ----------
    vector
        θ (D,).
    gradient
        Mean of the example gradients (D,).
    variance
        diag C (D,), per example, with the n/(n-1) of a sample where not all are read.
    num_rows
        n, examples read.
    """

    vector: Array = field(repr=False)
    gradient: Array = field(repr=False)
    variance: Array = field(repr=False)
    num_rows: int


@dataclass(frozen=True, eq=False)
class LeadingDirections:
    """Leading eigenpairs of P^½ H P^½, P = diag(p), and the noise along them.

    Attributes
    ----------
    rates
        r_i (k,), descending: a step θ ← θ - P g shrinks direction i by 1 - r_i; stable below 2.
    vectors
        Orthonormal v_i, columns (D, k), in the coordinates P^{-½}θ.
    noise_covariance
        Vᵀ P^½ C P^½ V (k, k), per example.
    """

    rates: Array
    vectors: Array = field(repr=False)
    noise_covariance: Array = field(repr=False)

    @property
    def noise(self) -> Array:
        """Its diagonal v_iᵀ P^½ C P^½ v_i (k,)."""
        return np.asarray(np.diag(self.noise_covariance))


def noise_diagonal(problem: Problem, params: Any, *, num_rows: int = 8192, key: Any = 0) -> NoiseDiagonal:
    """Return the gradient and the diagonal of the noise, at any number of parameters.

    Parameters
    ----------
    problem
        The problem.
    params
        Params or a vector (D,).
    num_rows
        Examples to read, drawn without replacement; all of them if N is smaller. The relative standard error of an entry is
        about √(κ/num_rows), κ the excess kurtosis of that entry's gradient plus two.
    key
        Seed of the examples.
    """
    vector, rows = _vector(problem, params), _rows(problem, num_rows, key)
    mean, square = _moments(problem, vector, rows, _block(problem))
    count = len(jax.tree.leaves(rows)[0])
    mean, square = np.asarray(mean, np.float64), np.asarray(square, np.float64)
    part = count / (count - 1) if count < problem.num_examples else 1.0
    spread = np.maximum(square - mean**2, 0.0) * part
    return NoiseDiagonal(np.asarray(vector, np.float64), mean, spread, count)


def leading_directions(
    problem: Problem, params: Any, *, preconditioner: Any, count: int = 10, num_rows: int = 8192, key: Any = 0
) -> LeadingDirections:
    """Return the stiffest directions of P H by Lanczos (ARPACK) on Hessian products over a random part of the data.

    Parameters
    ----------
    problem, params, num_rows, key
        As in `noise_diagonal`.
    preconditioner
        p (D,), positive: the diagonal of P.
    count
        k, below D.
    """
    scale = _checks.vector("preconditioner", preconditioner, problem.num_params)
    if not scale.min() > 0:
        msg = f"preconditioner must be positive, got an entry {scale.min():.3g}."
        raise ValueError(msg)
    size = problem.num_params
    wanted = _checks.integer("count", count, high=size - 1)
    vector, rows = _vector(problem, params), _rows(problem, num_rows, key)
    root = np.sqrt(scale)

    def apply(v: Array) -> Array:
        direction = jnp.asarray(root * np.asarray(v).ravel(), vector.dtype)
        return root * np.asarray(_product(problem, vector, rows, direction), np.float64)

    start = np.random.default_rng(seed_of(key)).standard_normal(size)
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    values, vectors = eigsh(operator, k=wanted, which="LA", v0=start, tol=1e-3)
    order = np.argsort(values)[::-1]
    turned = root[:, None] * vectors[:, order]
    along = _along(problem, vector, rows, jnp.asarray(turned, vector.dtype), _block(problem))
    return LeadingDirections(np.asarray(values[order]), vectors[:, order], np.asarray(along, np.float64))


def _vector(problem: Problem, params: Any) -> Any:
    dtype = jax.dtypes.canonicalize_dtype(jax.tree.leaves(problem.init)[0].dtype)
    return jnp.asarray(derivatives.as_vector("params", problem, params), dtype)


def _rows(problem: Problem, num_rows: Any, key: Any) -> Any:
    count = min(_checks.integer("num_rows", num_rows, low=2), problem.num_examples)
    chosen = np.random.default_rng(seed_of(key)).permutation(problem.num_examples)[:count]
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[np.sort(chosen)]), problem.data)


def _block(problem: Problem) -> int:
    """Rows at once."""
    return max(64, BLOCK // problem.num_params)


def _each(problem: Problem) -> Any:
    return lambda vector, example: problem.example_loss(_tree.unflatten(vector, problem.init), example)


def _blocks(rows: Any, block: int, sums: Any) -> Any:
    """Mean over rows: sums(some rows) is a sum over them; whole blocks in a loop, the rest by itself."""
    count = len(jax.tree.leaves(rows)[0])
    size = min(block, count)

    def part(i: Any) -> Any:
        return sums(jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, i * size, size), rows))

    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(part, 0))
    total = lax.fori_loop(0, count // size, lambda i, so_far: jax.tree.map(jnp.add, so_far, part(i)), zero)
    if count % size:
        rest = jax.tree.map(lambda leaf: leaf[count - count % size :], rows)
        total = jax.tree.map(jnp.add, total, sums(rest))
    return jax.tree.map(lambda leaf: leaf / count, total)


@jax.jit(static_argnums=3)
def _moments(problem: Problem, vector: Any, rows: Any, block: int) -> Any:
    slopes = jax.vmap(jax.grad(_each(problem)), (None, 0))

    def sums(part: Any) -> Any:
        g = slopes(vector, part)
        return g.sum(0), (g * g).sum(0)

    return _blocks(rows, block, sums)


@jax.jit(static_argnums=4)
def _along(problem: Problem, vector: Any, rows: Any, directions: Any, block: int) -> Any:
    slopes = jax.vmap(jax.grad(_each(problem)), (None, 0))

    def sums(part: Any) -> Any:
        onto = slopes(vector, part) @ directions
        return onto.sum(0), onto.T @ onto

    mean, square = _blocks(rows, block, sums)
    return square - jnp.outer(mean, mean)


def mean_curvature(problem: Problem, params: Any, *, num_probes: int = 16, num_rows: int = 8192, key: Any = 0) -> float:
    """Return Tr H / D by Hutchinson's estimate: the mean of zᵀHz/D over random signs z, over a random part of the data."""
    vector, rows = _vector(problem, params), _rows(problem, num_rows, key)
    random, size = np.random.default_rng(seed_of(key)), problem.num_params
    signs = random.choice([-1.0, 1.0], (_checks.integer("num_probes", num_probes), size)).astype(vector.dtype)
    return float(
        np.mean([np.dot(z, np.asarray(_product(problem, vector, rows, jnp.asarray(z)))) / size for z in signs])
    )


@jax.jit
def _product(problem: Problem, vector: Any, rows: Any, direction: Any) -> Any:
    each = jax.vmap(_each(problem), (None, 0))

    def sums(part: Any) -> Any:
        return jax.jvp(jax.grad(lambda v: jnp.sum(each(v, part))), (vector,), (direction,))[1]

    return _blocks(rows, _block(problem), sums)
