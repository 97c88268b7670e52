"""Checks of single numbers, and how a value is shown in a message."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

# Sizes that squares or ratios can be taken of: what lies outside overflows, or divides by zero, a line further on.
LARGEST, SMALLEST = 1e150, 1e-300
MOST = 2**64 - 1


def shown(value: object, limit: int = 80) -> str:
    """Return `repr(value)` cut to `limit` characters; arrays by shape and dtype."""
    if isinstance(value, np.ndarray) and value.size > 9:
        return f"an array of shape {value.shape}, dtype {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def real(name: str, value: Any) -> float:
    """Return `value` as a finite float whose square is one too."""
    number = _number(name, value)
    if abs(number) > LARGEST:
        msg = f"{name} must be at most {LARGEST:g} in size, so that float64 holds its square, got {shown(value)}. Change its unit."
        raise ValueError(msg)
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not (
        isinstance(value, numbers.Real) or (hasattr(value, "dtype") and np.ndim(value) == 0)
    ):
        msg = f"{name} must be a finite number, got {shown(value)}."
        raise TypeError(msg)
    if np.iscomplexobj(value) or getattr(getattr(value, "dtype", None), "kind", "f") in "mMSUO":  # dates, text
        msg = f"{name} must be a real number, got {shown(value)}."
        raise TypeError(msg)
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond float64
        number = math.inf
    if not math.isfinite(number):
        msg = f"{name} must be a finite number, got {shown(value)}."
        raise ValueError(msg)
    return number


def positive(name: str, value: Any) -> float:
    """Return `value` as a finite float > 0."""
    number = real(name, value)
    if number <= 0:
        msg = f"{name} must be > 0, got {shown(value)}."
        raise ValueError(msg)
    return _not_tiny(name, number)


def _not_tiny(name: str, number: float) -> float:
    if 0 < abs(number) < SMALLEST:
        msg = f"{name} must be 0 or at least {SMALLEST:g} in size, so that float64 holds its inverse, got {number:g}. Change its unit."
        raise ValueError(msg)
    return number


def within(name: str, value: Any, low: float, high: float, *, closed: str = "both") -> float:
    """Return `value` as a float in the interval from `low` to `high`; `closed` is "both", "left", "right" or "neither"."""
    number = _number(name, value)
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        brackets = (
            ("[" if closed in ("both", "left") else "(")
            + f"{low:g}, {high:g}"
            + ("]" if closed in ("both", "right") else ")")
        )
        msg = f"{name} must lie in {brackets}, got {shown(value)}."
        raise ValueError(msg)
    number = real(name, value)
    zero_is_allowed = low < 0 < high or (low == 0 and closed in ("both", "left"))
    return number if zero_is_allowed else _not_tiny(name, number)  # nothing divides by what may be 0


def squarable(name: str, value: Any) -> float:
    """Return `value` as a float > 0 whose square, and the inverse of that, are normal floats."""
    return within(name, value, 1 / LARGEST, LARGEST)


def momentum(value: Any) -> float:
    """Return the momentum as a float in [0, 1)."""
    return within("momentum", value, 0.0, 1.0, closed="left")


def integer(name: str, value: Any, *, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int with low <= value (<= high)."""
    if isinstance(value, bool) or not (
        isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
    ):
        msg = f"{name} must be a whole number, got {shown(value)}."
        raise TypeError(msg)
    number = int(value)
    if number < low or (high is not None and number > high):
        wanted = f">= {low}" if high is None else f"between {low} and {high}"
        msg = f"{name} must be {wanted}, got {shown(number)}."
        raise ValueError(msg)
    if number > MOST:
        msg = f"{name} must be at most 2**64 - 1, got {shown(number)}."
        raise ValueError(msg)
    return number


def integers(name: str, value: Any, *, low: int = 1) -> tuple[int, ...]:
    """Return whole numbers >= low as a tuple; one number alone is a tuple of one."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (integer(name, value, low=low),)
    return tuple(integer(name, number, low=low) for number in value)


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; a word like "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{name} must be True or False, got {shown(value)}."
        raise TypeError(msg)
    return bool(value)
