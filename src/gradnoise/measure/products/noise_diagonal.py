"""Curvature and noise where matrices (D, D) do not fit: the noise's diagonal and the leading directions of P H."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
    vector, rows = checked_vector(problem, params), drawn_rows(problem, num_rows, key)
    mean, square = _moments(problem, vector, rows, block_size(problem))
    count = len(jax.tree.leaves(rows)[0])
    mean, square = np.asarray(mean, np.float64), np.asarray(square, np.float64)
    part = count / (count - 1) if count < problem.num_examples else 1.0
    spread = np.maximum(square - mean**2, 0.0) * part
    return NoiseDiagonal(np.asarray(vector, np.float64), mean, spread, count)


def checked_vector(problem: Problem, params: Any) -> Any:
    """Return params as a vector (D,) in the problem's own floating type."""
    dtype = jax.dtypes.canonicalize_dtype(jax.tree.leaves(problem.init)[0].dtype)
    return jnp.asarray(derivatives.as_vector("params", problem, params), dtype)


def drawn_rows(problem: Problem, num_rows: Any, key: Any) -> Any:
    """Return the numbers of `num_rows` rows, drawn without replacement; all rows where there are no more."""
    count = min(_checks.integer("num_rows", num_rows, low=2), problem.num_examples)
    chosen = np.random.default_rng(seed_of(key)).permutation(problem.num_examples)[:count]
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[np.sort(chosen)]), problem.data)


def block_size(problem: Problem) -> int:
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
def along_rows(problem: Problem, vector: Any, rows: Any, directions: Any, block: int) -> Any:
    """Return each row's gradient along the directions (K, D): shape (rows, K)."""
    slopes = jax.vmap(jax.grad(_each(problem)), (None, 0))

    def sums(part: Any) -> Any:
        onto = slopes(vector, part) @ directions
        return onto.sum(0), onto.T @ onto

    mean, square = _blocks(rows, block, sums)
    return square - jnp.outer(mean, mean)


def mean_curvature(problem: Problem, params: Any, *, num_probes: int = 16, num_rows: int = 8192, key: Any = 0) -> float:
    """Return Tr H / D by Hutchinson's estimate: the mean of zᵀHz/D over random signs z, over a random part of the data."""
    vector, rows = checked_vector(problem, params), drawn_rows(problem, num_rows, key)
    random, size = np.random.default_rng(seed_of(key)), problem.num_params
    signs = random.choice([-1.0, 1.0], (_checks.integer("num_probes", num_probes), size)).astype(vector.dtype)
    return float(
        np.mean([np.dot(z, np.asarray(curvature_product(problem, vector, rows, jnp.asarray(z)))) / size for z in signs])
    )


@jax.jit
def curvature_product(problem: Problem, vector: Any, rows: Any, direction: Any) -> Any:
    """Return H times a direction (D,), H of the mean loss over the rows plus the prior's."""
    each = jax.vmap(_each(problem), (None, 0))

    def sums(part: Any) -> Any:
        return jax.jvp(jax.grad(lambda v: jnp.sum(each(v, part))), (vector,), (direction,))[1]

    return _blocks(rows, block_size(problem), sums)
