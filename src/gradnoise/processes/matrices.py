"""Matrices diag(d) + U M Uᵀ that multiply vectors without being formed: preconditioners and noise roots of large problems."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import Array


@_tree.record()
class Structured:
    """The symmetric matrix diag(d) + U M Uᵀ of shape (D, D); multiplying costs D·k.

    Attributes
    ----------
    diagonal
        d (D,).
    basis
        U (D, k), orthonormal columns.
    core
        M (k, k), symmetric.
    """

    diagonal: Any
    basis: Any
    core: Any

    def __matmul__(self, vector: Any) -> Any:
        return self.diagonal * vector + self.basis @ (self.core @ (self.basis.T @ vector))

    def dense(self) -> Array:
        """Return the matrix itself (D, D), float64."""
        basis = np.asarray(self.basis, np.float64)
        low_rank = _checks.symmetrised(basis @ np.asarray(self.core, np.float64) @ basis.T)
        return np.asarray(np.diag(np.asarray(self.diagonal, np.float64)) + low_rank)


def symmetric_root(covariance: Array) -> Array:
    """Symmetric square root of a positive semidefinite matrix; rounding below zero is cut."""
    values, vectors = np.linalg.eigh(covariance)
    return _checks.symmetrised((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def times(matrix: Any, vector: Any) -> Any:
    """Return matrix @ vector for a scalar, the diagonal of a diagonal matrix (D,), a matrix (D, D) or a `Structured` one."""
    if isinstance(matrix, Structured) or jnp.ndim(matrix) == 2:
        return matrix @ vector
    return matrix * vector


def dense(matrix: Any, size: int) -> Array:
    """Return any of them as a matrix (size, size), float64."""
    if isinstance(matrix, Structured):
        return matrix.dense()
    array = np.asarray(matrix, np.float64)
    if array.ndim == 2:
        return array
    return np.diag(np.broadcast_to(array, size))


def check_size(name: str, matrix: Any, size: int) -> None:
    """Raise if the matrix does not fit `size` parameters."""
    if isinstance(matrix, Structured):
        _checks.vector(f"diagonal of {name}", matrix.diagonal, size)
    elif np.ndim(matrix) == 1:
        _checks.vector(name, matrix, size)
    elif np.ndim(matrix) == 2:
        _checks.square(name, matrix, size)
