"""Reading the user's gradient, Hessian and gradient covariance: a constant matrix or a function of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

VectorField = Callable[[Array], Array]
MatrixField = Callable[[Array], Array]
Matrix = ArrayLike | MatrixField


def vector_field(name: str, value: Any) -> VectorField:
    """Return `value` as a function (..., D) -> (..., D)."""
    if not callable(value):
        msg = f"{name} must be a function from params (..., D) to (..., D), got {_checks.shown(value)}."
        raise TypeError(msg)

    def field(x: Array) -> Array:
        found = np.asarray(value(x), np.float64)
        if found.shape != x.shape:
            msg = f"{name} must return the shape of its argument {x.shape}, got {found.shape}."
            raise ValueError(msg)
        return found

    return field


def covariance_root(covariance: Matrix, factor: float) -> MatrixField:
    """Return x -> symmetric root of factor·C(x), (..., D) -> (..., D, D)."""
    if not callable(covariance):
        fixed = _root(_checks.symmetric("gradient_covariance", covariance, definite="semi") * factor)
        return lambda x: np.broadcast_to(fixed, (*x.shape, len(fixed)))
    return lambda x: _root(np.asarray(covariance(x), np.float64) * factor)


def covariance_diagonal(covariance: Matrix) -> VectorField:
    """Return x -> diag C(x), (..., D) -> (..., D)."""
    if not callable(covariance):
        fixed = np.diag(_checks.symmetric("gradient_covariance", covariance, definite="semi"))
        return lambda x: np.broadcast_to(fixed, x.shape)
    return lambda x: np.diagonal(np.asarray(covariance(x), np.float64), axis1=-2, axis2=-1)


def curvature(hessian: Matrix | None, order: int) -> Callable[[Array, Array], Array]:
    """Return (x, v) -> H(x) v; needed at order 2."""
    if hessian is None:
        msg = f"hessian must be given when order={order}, got None: a matrix (D, D) or a function of params."
        raise ValueError(msg)
    if not callable(hessian):
        fixed = _checks.symmetric("hessian", hessian)
        return lambda _x, v: v @ fixed
    return lambda x, v: np.einsum("...ij,...j->...i", np.asarray(hessian(x), np.float64), v)


def scale_rows(rows: Array, root: Array) -> Array:
    """Return diag(rows)·root for stacks, (..., D) and (..., D, D)."""
    return rows[..., None] * root


def stacked(noise: Array, at: int, parts: int) -> Array:
    """Put a (..., D, D) diffusion into rows `at` of a (..., parts·D, D) one that is zero elsewhere."""
    size = noise.shape[-1]
    out = np.zeros((*noise.shape[:-2], parts * size, size))
    out[..., at * size : (at + 1) * size, :] = noise
    return out


def pieces(state: Array, parts: int) -> list[Array]:
    """Cut the state (..., S) into its parts."""
    state = np.asarray(state, np.float64)
    if state.ndim == 0 or state.shape[-1] % parts:
        msg = f"state must have shape (..., {parts}·D), got {state.shape}."
        raise ValueError(msg)
    return np.split(state, parts, axis=-1)


def _root(matrix: Array) -> Array:
    if matrix.shape[-1] == 1:
        return np.sqrt(matrix)
    values, vectors = np.linalg.eigh(matrix)
    found: Array = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return found
