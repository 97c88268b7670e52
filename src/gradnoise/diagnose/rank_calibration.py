"""Simulation-based calibration: ranks of the truth among posterior draws, and whether they are uniform."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike
from gradnoise.diagnose.chains import finite

FEWEST_EXPECTED = 5  # data sets a bin, below which the chi-square law is not to be trusted


@dataclass(frozen=True, eq=False)
class CalibrationTest:
    """Uniformity of ranks, parameter by parameter.

    Attributes
    ----------
    mean_z
        z-score of the mean rank (D,): positive where draws lie too low, negative where they lie too high.
    spread_z
        z-score of the mean squared distance from the middle rank (D,): negative where draws are too wide, positive where they
        are too narrow.
    spread_ratio
        That mean square over its value for uniform ranks (D,); compare `expected_rank_spread`.
    chi_square_p
        p-value of Pearson's chi-square over equal bins of ranks (D,).
    limit
        The |z| allowed, for `false_fail` shared by the D parameters.
    false_fail
        Probability of each of the three tests (mean, spread, chi-square) failing for calibrated draws.
    num_sets, num_draws
        Data sets and draws a data set.
    """

    mean_z: Array
    spread_z: Array
    spread_ratio: Array = field(repr=False)
    chi_square_p: Array
    limit: float
    false_fail: float = field(repr=False)
    num_sets: int
    num_draws: int

    @property
    def passed(self) -> bool:
        """Whether no parameter fails any of the three tests."""
        worst = max(float(np.abs(self.mean_z).max()), float(np.abs(self.spread_z).max()))
        return worst < self.limit and float(self.chi_square_p.min()) > self.false_fail / len(self.mean_z)


def rank_statistics(draws: ArrayLike, truth: ArrayLike, *, key: int = 0) -> AnyArray:
    r"""Return the rank of the true parameters among posterior draws: how many draws lie below, 0 … L.

    If θ is drawn from the prior, data from the model and draws from the *exact* posterior (independently), every rank is
    uniform on 0 … L.

    Parameters
    ----------
    draws
        (sets, L, D): L draws for each data set; thin them until they are independent.
    truth
        (sets, D): the parameters that made each data set.
    key
        Seed that orders ties.

    Returns
    -------
    Array
        int (sets, D).

    Notes
    -----
    Talts, Betancourt, Simpson, Vehtari, Gelman (2018), "Validating Bayesian inference algorithms with simulation-based
    calibration", arXiv 1804.06788.

    Examples
    --------
    >>> rank_statistics([[[0.1], [0.5], [0.9]], [[2.0], [3.0], [4.0]]], [[0.6], [1.0]]).ravel()
    array([2, 0])
    """
    cube = finite("draws", draws, ("set", "draw", "D"))
    true = finite("truth", truth, ("set", "D"))
    if true.shape != (cube.shape[0], cube.shape[2]):
        msg = f"truth must have shape (sets, D) = {(cube.shape[0], cube.shape[2])} like draws, got {true.shape}."
        raise ValueError(msg)
    below, equal = (cube < true[:, None]).sum(1), (cube == true[:, None]).sum(1)
    return np.asarray(below + np.random.default_rng(_checks.integer("key", key, low=0)).integers(0, equal + 1))


def calibration_test(
    ranks: ArrayLike, num_draws: int, *, false_fail: float = 1e-3, num_bins: int | None = None
) -> CalibrationTest:
    r"""Test whether ranks are uniform on 0 … L: mean, spread and shape of each parameter's.

    ``z_mean = (mean r - L/2)/√(v/n)``, v = L(L+2)/12; ``z_spread = (mean s - v)/√(Var s/n)``, s = (r - L/2)²,
    Var s = E(r - L/2)⁴ - v²; ``X² = Σ_b (n_b - n/k)²/(n/k)`` over k bins.

    Parameters
    ----------
    ranks
        int (sets, D), from `rank_statistics`.
    num_draws
        L, draws behind each rank.
    false_fail
        Probability, for each of the three tests over all D parameters together (Bonferroni), that calibrated draws fail.
    num_bins
        k, a divisor of L + 1; None: the largest up to 20 that leaves 5 data sets a bin.

    Returns
    -------
    CalibrationTest

    Examples
    --------
    Every rank equally often, in mirrored pairs: as uniform as can be.

    >>> calibration_test(np.tile(np.arange(10), 20)[:, None], num_draws=9).passed
    True
    >>> calibration_test(np.tile([3, 4, 5, 6], 50)[:, None], num_draws=9).passed  # draws too wide
    False
    """
    last = _checks.integer("num_draws", num_draws)
    rate = _checks.within("false_fail", false_fail, 0.0, 1.0, closed="neither")
    table = finite("ranks", ranks, ("set", "D"))
    if (table != np.round(table)).any() or table.min() < 0 or table.max() > last:
        msg = f"ranks must be whole numbers between 0 and num_draws = {last}, got {table.min():g} to {table.max():g}."
        raise ValueError(msg)
    count, dim = table.shape
    bins = _bins(count, last + 1, num_bins)
    away = table - last / 2
    uniform = np.arange(last + 1) - last / 2
    variance, fourth = float((uniform**2).mean()), float((uniform**4).mean())
    scale = math.sqrt(max(fourth - variance**2, 1e-300) / count)  # L = 1: both ranks are equally far
    counts = np.stack([np.bincount(c.astype(int) * bins // (last + 1), minlength=bins) for c in table.T])
    statistic = ((counts - count / bins) ** 2).sum(1) / (count / bins)
    return CalibrationTest(
        away.mean(0) / math.sqrt(variance / count),
        ((away**2).mean(0) - variance) / scale,
        (away**2).mean(0) / variance,
        np.asarray(stats.chi2.sf(statistic, bins - 1)),
        float(stats.norm.isf(rate / (2 * dim))),
        rate,
        count,
        last,
    )


def expected_rank_spread(variance_ratio: float) -> float:
    r"""Return what `spread_ratio` tends to for Gaussian draws whose variance is `variance_ratio` times the posterior's.

    ``(6/π) arcsin(1/(1 + v))``: 1 at v = 1, below 1 for draws too wide, up to 3 for a point.

    Examples
    --------
    >>> expected_rank_spread(1.0), expected_rank_spread(2.0)
    (1.0, 0.649...)
    """
    return 6 / math.pi * math.asin(1 / (1 + _checks.positive("variance_ratio", variance_ratio)))


def _bins(count: int, ranks: int, wanted: int | None) -> int:
    if wanted is not None:
        bins = _checks.integer("num_bins", wanted, low=2)
        if ranks % bins:
            msg = f"num_bins must divide num_draws + 1 = {ranks}, got {bins}."
            raise ValueError(msg)
    else:
        fitting = [k for k in range(2, 21) if ranks % k == 0 and count >= FEWEST_EXPECTED * k]
        bins = max(fitting, default=0)
    if not bins or count < FEWEST_EXPECTED * bins:
        msg = f"ranks must come from at least {FEWEST_EXPECTED} data sets a bin, got {count} data sets and num_draws + 1 = {ranks} ranks."
        raise ValueError(msg)
    return bins
