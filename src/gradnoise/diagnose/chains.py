"""Trajectories as checked arrays, and the scalar functionals that are taken of them."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def finite(name: str, value: ArrayLike, axes: tuple[str, ...]) -> Array:
    """Return `value` as a finite, non-empty float64 array with the named axes."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{name} must be an array of numbers, got {_checks.shown(value)}."
        raise TypeError(msg) from error
    if array.ndim != len(axes) or array.size == 0:
        msg = f"{name} must have shape ({', '.join(axes)}), got {array.shape}."
        raise ValueError(msg)
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0]
        place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, where, strict=True))
        msg = f"{name} must be finite, but {place} is {array[tuple(where)]}."
        raise ValueError(msg)
    return array


def trajectories_of(trajectories: ArrayLike, *, chains: int = 2, steps: int = 2) -> Array:
    """Return trajectories as (chains, steps, D); D = 1 where there was no last axis."""
    axes = ("chain", "step", "D")[: max(2, np.ndim(trajectories))]
    array = finite("trajectories", trajectories, axes)
    if array.shape[0] < chains or array.shape[1] < steps:
        msg = f"trajectories must hold at least {chains} independent chains of {steps} steps, got shape {array.shape}."
        raise ValueError(msg)
    return array if array.ndim == 3 else array[:, :, None]


def functional(
    trajectories: ArrayLike, direction: ArrayLike | None, *, quadratic: bool, mean: ArrayLike | None
) -> Array:
    """Return the functionals (chains, steps, K), each up to a power of two: K = D coordinates, or one for a direction or a form."""
    array, quadratic = trajectories_of(trajectories), _checks.flag("quadratic", quadratic)
    dim = array.shape[2]
    if quadratic:
        array = array - (array.mean((0, 1)) if mean is None else _checks.vector("mean", mean, dim))
    if direction is None:
        array = _near_one(array, (0, 1))
        return array**2 if quadratic else array
    array = _near_one(array, None)
    if quadratic and np.ndim(direction) == 2:
        form = _near_one(_checks.symmetric("direction", direction, dim), None)
        return np.asarray(((array @ form) * array).sum(2, keepdims=True))
    along = _near_one(array @ _near_one(_checks.vector("direction", direction, dim)[:, None], None), None)
    return along**2 if quadratic else along


def _near_one(array: Array, axes: tuple[int, ...] | None) -> Array:
    """Return the array times the power of two that brings its largest entry (along `axes`) near 1: squares are then floats."""
    _, exponents = np.frexp(np.abs(array).max(axis=axes, keepdims=True))
    return np.asarray(np.ldexp(array, -exponents))
