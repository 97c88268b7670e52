"""Uniformity of counts: draws of an index, of a permutation, of a cell."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import optimize, stats

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.testing.verdict import InsensitiveSample, Passed, declare, rates

FEWEST_EXPECTED = 20  # below this many expected counts a cell, the chi-square tail at 1e-6 is not to be trusted


def assert_uniform(counts: ArrayLike, *, false_fail: float = 1e-6, detects: float = 0.05, miss: float = 1e-3) -> Passed:
    """Assert that independent draws fall into k cells with equal probability (Pearson's chi-square).

    ``X² = Σ_i (n_i − n/k)²/(n/k) < χ²_{k−1}(1 − false_fail)``. If one cell has probability (1 + δ)/k and the others
    share the rest, X² has noncentrality nδ²/(k − 1); the smallest δ seen with probability 1 − miss must be at
    most `detects`.

    Parameters
    ----------
    counts
        How often each cell was drawn (k,), k ≥ 2. For permutations of m things: one cell for each of the m! orders,
        or for each value at one place. Draws must be independent: not the rows of one shuffled epoch.
    false_fail
        Probability that uniform draws fail.
    detects, miss
        A relative error of `detects` in the probability of one cell is overlooked with probability at most `miss`.

    Returns
    -------
    Passed
        `worst_z` and `limit` are the normal scores with the same tail probability as X² and its limit; `ratio` is
        the worst cell's count over n/k.

    Raises
    ------
    AssertionError
        If X² is beyond the limit.
    InsensitiveSample
        If there are too few draws to see an error of `detects`, or fewer than 20 a cell.
    ValueError, TypeError
        If counts are negative, fractional, or fewer than two.

    Examples
    --------
    >>> assert_uniform([50_120, 49_930, 49_950]).smallest_detectable < 0.05
    True
    >>> assert_uniform([52_000, 49_000, 49_000])
    Traceback (most recent call last):
    ...
    AssertionError: counts are not uniform: chi-square 120.0 with 2 degrees of freedom, limit 27.6; cell 0 holds 1.0400 of its share.
    """
    false_fail, detects, miss = rates(false_fail, detects, miss)
    cells = _checks.vector("counts", counts)
    k, n = cells.size, float(cells.sum())
    if k < 2 or cells.min() < 0 or (cells != np.round(cells)).any():
        msg = f"counts must be at least two nonnegative whole numbers, got {_checks.shown(counts)}."
        raise ValueError(msg)
    limit = float(stats.chi2.isf(false_fail, k - 1))
    noncentrality = _noncentrality(limit, k - 1, miss)
    smallest = math.sqrt(noncentrality * (k - 1) / n) if n else math.inf
    if smallest > detects or n < FEWEST_EXPECTED * k:
        need = max(math.ceil(noncentrality * (k - 1) / detects**2), FEWEST_EXPECTED * k)
        msg = (
            f"counts cannot see a relative error of {detects:g} in one of {k} cells: {n:.0f} draws show {smallest:.3g}. "
            f"{need} draws would do."
        )
        raise InsensitiveSample(msg)

    declare(false_fail)
    ratio = cells * k / n
    statistic = float(n / k * np.sum((ratio - 1) ** 2))
    i = int(np.abs(ratio - 1).argmax())
    if statistic >= limit:
        msg = f"counts are not uniform: chi-square {statistic:.1f} with {k - 1} degrees of freedom, limit {limit:.1f}; cell {i} holds {ratio[i]:.4f} of its share."
        raise AssertionError(msg)
    z = float(stats.norm.isf(stats.chi2.sf(statistic, k - 1)))
    error = math.sqrt((k - 1) / n)
    return Passed(z, float(stats.norm.isf(false_fail)), smallest, float(ratio[i]), error, f"cell {i}", k)


@functools.cache  # many tests ask for one sensitivity
def _noncentrality(limit: float, freedom: int, miss: float) -> float:
    """Return the noncentrality at which X² stays below `limit` with probability `miss`; 0 if it does so less often."""

    def excess(value: float) -> float:
        return float(stats.ncx2.cdf(limit, freedom, value)) - miss

    if excess(1e-12) <= 0:
        return 0.0
    high = limit
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 1e-12, high))
