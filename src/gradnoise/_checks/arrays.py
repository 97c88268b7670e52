"""Checks of vectors and matrices: shape, finite entries, symmetry and definiteness up to rounding."""

from __future__ import annotations

import numpy as np

from gradnoise._checks.scalars import LARGEST, SMALLEST, shown
from gradnoise._types import Array, ArrayLike

# What a matrix may differ from its transpose by and still be the same one: sums of float32, taken in another order on another
# processor, differ by about 1e-6 of the two rows' sizes; products of float64 by less than 1e-8 of the largest entry.
ROUNDING, SMALL_ROUNDING = 1e-5, 1e-8
# Definiteness is judged on the matrix with unit diagonal, so that no choice of units decides it. There the eigenvalues of a
# (D, D) matrix are known to about D times the precision: float64's for "positive", as what follows inverts the matrix; float32's
# for "semi", as sums of float32 leave that much below zero. A diagonal entry below SMALL_ROUNDING of the largest is taken as such.
SINGULAR, NEGATIVE = 4 * float(np.finfo(np.float64).eps), 4 * float(np.finfo(np.float32).eps)


def array(name: str, value: ArrayLike) -> Array:
    """Return `value` as a finite float64 array of any shape."""
    return _finite(name, value)


def vector(name: str, value: ArrayLike, size: int | None = None) -> Array:
    """Return `value` as a finite float64 vector, of shape (size,) where given."""
    array = _finite(name, value)
    if array.ndim != 1 or (size is not None and array.shape != (size,)):
        msg = f"{name} must have shape ({'D' if size is None else size},), got {array.shape}."
        raise ValueError(msg)
    if not array.size and size is None:
        msg = f"{name} must not be empty."
        raise ValueError(msg)
    return array


def square(
    name: str, value: ArrayLike, size: int | None = None, *, like: str | None = None, largest: float = LARGEST
) -> Array:
    """Return `value` as a finite float64 square matrix (D, D); `like` names the argument that `size` was read from."""
    array = _finite(name, value, largest)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        msg = f"{name} must be a square matrix (D, D), got shape {array.shape}."
        raise ValueError(msg)
    if size is not None and array.shape[0] != size:
        if like is not None:  # which of the two is wrong cannot be known
            msg = f"{name} and {like} must have the same shape, got {array.shape} and {(size, size)}."
        else:
            msg = f"{name} must have shape ({size}, {size}) like the other matrices, got {array.shape}."
        raise ValueError(msg)
    return array


def symmetric(
    name: str, value: ArrayLike, size: int | None = None, *, definite: str = "any", like: str | None = None
) -> Array:
    """Return `value` as a symmetric float64 matrix; `definite` is "any", "semi" (eigenvalues >= 0 up to rounding) or "positive".

    Neither answer depends on the units of the parameters: D⁻¹ᐟ²AD⁻¹ᐟ², D the diagonal of A, has its eigenvalues judged.
    """
    array = square(name, value, size, like=like, largest=1e300)  # what uses it says what it needs
    sizes, gaps = np.abs(array), np.abs(array - array.T)
    scale, rows = float(sizes.max()), np.sqrt(np.maximum(sizes.max(0), sizes.max(1)))
    if (gaps > ROUNDING * np.outer(rows, rows) + SMALL_ROUNDING * scale).any():
        msg = (
            f"{name} must be symmetric, but differs from its transpose by {gaps.max():.3g} (largest entry {scale:.3g})."
        )
        raise ValueError(msg)
    array = symmetrised(array)
    if definite == "positive":
        _positive(name, array)
    elif definite == "semi" and scale > 0:
        unit = array / scale
        low = _lowest(unit, np.maximum(np.abs(np.diag(unit)), SMALL_ROUNDING))
        if low < -NEGATIVE * len(array):
            msg = f"{name} must have no negative eigenvalue, but its smallest is {_shown_lowest(array, low)}."
            raise ValueError(msg)
    return array


def symmetrised(matrices: ArrayLike) -> Array:
    """Return (..., D, D) equal to its transpose to the last bit, as no product of matrices is on every processor."""
    half = np.asarray(matrices, np.float64) / 2  # halves first: entries near the largest float must not overflow
    return np.asarray(half + np.swapaxes(half, -1, -2))


def _positive(name: str, array: Array) -> None:
    diagonal = np.diag(array)
    if 0 < diagonal.min() < SMALLEST:
        msg = f"{name} must have a diagonal of at least {SMALLEST:g}, so that float64 holds its inverse, got {diagonal.min():g}. Change its unit."
        raise ValueError(msg)
    low = -np.inf if diagonal.min() <= 0 else _lowest(array, diagonal)
    if low > SINGULAR * len(array):
        return
    if low > -SINGULAR * len(array):
        msg = (
            f"{name} must be positive definite, but it is singular up to rounding: scaled to a unit diagonal its smallest eigenvalue is {low:.3g}. "
            "The usual cause is columns that repeat each other."
        )
        raise ValueError(msg)
    msg = f"{name} must be positive definite, but its smallest eigenvalue is {_shown_lowest(array, low)}."
    raise ValueError(msg)


def _lowest(array: Array, diagonal: Array) -> float:
    """Return the smallest eigenvalue of the matrix scaled by the roots of `diagonal` (> 0); -inf where that overflows."""
    roots = np.sqrt(diagonal)
    with np.errstate(over="ignore"):
        scaled = array / roots[:, None] / roots
    return float(np.linalg.eigvalsh(scaled)[0]) if np.isfinite(scaled).all() else -np.inf


def _shown_lowest(array: Array, scaled: float) -> str:
    """Say the smallest eigenvalue; where its sign is lost to the range of the entries, the one of the scaled matrix."""
    low = float(np.linalg.eigvalsh(array)[0])
    return f"{low:.6g}" if low <= 0 else f"{scaled:.6g} (scaled to a unit diagonal)"


def _finite(name: str, value: ArrayLike, largest: float = LARGEST) -> Array:
    try:
        array = None if np.iscomplexobj(value) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # words; rows of different lengths; beyond float64
        msg = f"{name} must be an array of numbers, got {shown(value)}."
        raise TypeError(msg) from error
    if array is None:  # NumPy would drop the imaginary part with a mere warning
        msg = f"{name} must be real, got complex numbers: {shown(value)}."
        raise TypeError(msg)
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        msg = f"{name} must be finite, but entry {first} is {array[first]}."
        raise ValueError(msg)
    if array.size and max(array.max(), -array.min()) > largest:
        first = tuple(int(i) for i in np.argwhere(np.abs(array) > largest)[0])
        msg = f"{name} must hold numbers of at most {largest:g} in size, but entry {first} is {array[first]}. Change its unit."
        raise ValueError(msg)
    return array
