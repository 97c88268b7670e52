"""Numbers in sentences."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """Return a number to two digits, or to the whole, without an exponent where a reader wants none."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "unknown"
    value, size = value + 0.0, abs(value)  # no "-0"
    if size >= 1e6 or 0 < size < 1e-4:
        return f"{value:.1e}"
    return f"{value:,.0f}" if size >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """Return a relative error in percent, or as a factor where percent say nothing."""
    if share >= 10:
        return f"a factor {number(1 + share)}"
    return f"{number(100 * share)} %"


def apart(value: float, limit: float) -> str:
    """Write a number with three digits, or with as many more as show on which side of a limit, or of its inverse, it lies.

    >>> apart(1.2345, 1.1), apart(1.10004, 1.1)
    ('1.23', '1.10004')
    """
    for digits in range(3, 17):
        text = f"{value:.{digits}g}"
        if all((float(text) > one) == (value > one) for one in (limit, 1 / limit)):
            break
    return text
