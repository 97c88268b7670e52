"""What all assertions share: the limit a z-score must pass, the smallest error it can see, the refusal, the record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

OUT_OF_REACH = 2**60  # pieces that nobody can draw


class InsensitiveSample(ValueError):
    """The sample is too small, or varies too much from chain to chain, to see the error it is asked to detect."""


@dataclass(frozen=True)
class Passed:
    """What a passed assertion saw.

    Attributes
    ----------
    worst_z
        The z-score of largest size; a p-value-equivalent one where the test statistic is a chi-square.
    limit
        The size of z at which the assertion would have failed.
    smallest_detectable
        The smallest error that this sample shows with probability 1 - miss, in the unit of `detects`.
    ratio
        Measured over predicted at the worst entry (for a mean: the shift in standard deviations).
    standard_error
        Standard error of `ratio`.
    where
        The worst entry, in words.
    entries
        How many numbers were tested together.
    """

    worst_z: float
    limit: float
    smallest_detectable: float
    ratio: float
    standard_error: float
    where: str
    entries: int


_DECLARED: list[float] = []  # of this process


def declare(false_fail: float) -> float:
    """Count a statistical check of your own towards the false-fail budget of the session, and return its probability.

    The assertions of this package declare themselves, each time that they compare (not where they refuse, nor inside `assert_fails`).

    Parameters
    ----------
    false_fail
        Probability that the check fails although all is right, in (0, 1).

    Returns
    -------
    float
        The same number, for use as the check's level.

    Examples
    --------
    >>> before = len(declared())
    >>> level = declare(1e-7)
    >>> declared()[before:]
    (1e-07,)
    """
    _DECLARED.append(_checks.within("false_fail", false_fail, 0.0, 1.0, closed="neither"))
    return _DECLARED[-1]


def declared() -> tuple[float, ...]:
    """Return the false-fail probabilities of all checks of this process so far: their sum bounds the chance that any fails wrongly.

    Examples
    --------
    >>> sum(declared()) >= 0
    True
    """
    return tuple(_DECLARED)


def forget(count: int) -> None:
    """Drop what was declared after the first `count`: a check that is meant to fail spends nothing."""
    del _DECLARED[count:]


def rates(false_fail: float, detects: float, miss: float) -> tuple[float, float, float]:
    """Check the three promises; probabilities in (0, 1), `detects` > 0."""
    return (
        _checks.within("false_fail", false_fail, 0.0, 1.0, closed="neither"),
        _checks.positive("detects", detects),
        _checks.within("miss", miss, 0.0, 1.0, closed="neither"),
    )


def z_limit(false_fail: float, entries: int, n: int) -> float:
    """Two-sided Student-t limit with n - 1 degrees of freedom, `false_fail` shared by `entries` numbers (Bonferroni)."""
    return float(stats.t.isf(false_fail / (2 * entries), float(n - 1)))


def shift_seen(spread: float, n: int, *, entries: int, false_fail: float, miss: float) -> float:
    """Return the smallest shift of a mean that shows with probability 1 - miss: (limit + t quantile of miss)·spread/√n.

    `spread` is the standard deviation over the n independent pieces.
    """
    return (z_limit(false_fail, entries, n) + quantile(miss, n)) * spread / math.sqrt(n)


def enough(smallest: Callable[[int], float], n: int, detects: float) -> int:
    """Return the least number of independent pieces (chains) k > n with ``smallest(k) <= detects``; `OUT_OF_REACH` or more: none."""
    low, high = n, 2 * n
    while smallest(high) > detects:
        low, high = high, 2 * high
        if high >= OUT_OF_REACH:
            return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest(middle) <= detects else (middle, high)
    return high


def advice(need: int, n: int) -> str:
    """Say what would do: more chains, or more snapshots in each."""
    if need >= OUT_OF_REACH:
        return "No number of chains that can be run would do."
    factor = f"{need / n:.2g}" if need < 100 * n else f"{need / n:.0f}"
    return f"About {need} chains would do, or {factor} times the snapshots, two relaxation times apart."


def quantile(miss: float, n: int) -> float:
    """How many standard errors an estimate falls short with probability `miss`; at least 0."""
    return max(0.0, float(stats.t.isf(miss, float(n - 1))))


def chains_of(sample: ArrayLike) -> Array:
    """Return the sample as float64 (chains, snapshots, D); at least two chains, all numbers finite."""
    try:
        array = np.asarray(sample, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"sample must be an array of numbers, got {_checks.shown(sample)}."
        raise TypeError(msg) from error
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3 or 0 in array.shape:
        msg = f"sample must have shape (chains, snapshots, D) or (chains, D), got {np.shape(sample)}."
        raise ValueError(msg)
    if array.shape[0] < 2:
        msg = f"sample must hold at least two independent chains along its first axis, got shape {np.shape(sample)}. One chain gives no standard error."
        raise ValueError(msg)
    bad = np.asarray(~np.isfinite(array).all(axis=(1, 2)))
    if bad.any():
        msg = f"sample must be finite, but {int(bad.sum())} of {len(bad)} chains hold NaN or infinity (first: chain {int(bad.argmax())})."
        raise ValueError(msg)
    return array
