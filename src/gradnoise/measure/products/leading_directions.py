"""The stiffest directions of a loss, by Lanczos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from gradnoise import _checks
from gradnoise._types import Array
from gradnoise.measure.products.noise_diagonal import (
    along_rows,
    block_size,
    checked_vector,
    curvature_product,
    drawn_rows,
)
from gradnoise.problem import Problem
from gradnoise.stream import seed_of


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
    vector, rows = checked_vector(problem, params), drawn_rows(problem, num_rows, key)
    root = np.sqrt(scale)

    def apply(v: Array) -> Array:
        direction = jnp.asarray(root * np.asarray(v).ravel(), vector.dtype)
        return root * np.asarray(curvature_product(problem, vector, rows, direction), np.float64)

    start = np.random.default_rng(seed_of(key)).standard_normal(size)
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    values, vectors = eigsh(operator, k=wanted, which="LA", v0=start, tol=1e-3)
    order = np.argsort(values)[::-1]
    turned = root[:, None] * vectors[:, order]
    along = along_rows(problem, vector, rows, jnp.asarray(turned, vector.dtype), block_size(problem))
    return LeadingDirections(np.asarray(values[order]), vectors[:, order], np.asarray(along, np.float64))
