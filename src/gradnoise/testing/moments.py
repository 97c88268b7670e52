"""Agreement of a sample with the covariance, or the mean, that a formula predicts."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.testing.verdict import (
    InsensitiveSample,
    Passed,
    advice,
    chains_of,
    declare,
    enough,
    quantile,
    rates,
    shift_seen,
    z_limit,
)


def assert_covariance(
    sample: ArrayLike,
    predicted: ArrayLike,
    *,
    mean: ArrayLike | None = None,
    false_fail: float = 1e-6,
    detects: float = 0.05,
    miss: float = 1e-3,
) -> Passed:
    r"""Assert that a sample has the predicted covariance, with declared error rates.

    With Y the sample whitened by the prediction, M_c = (1/T) Σ_t Y_ct Y_ctᵀ for chain c and M their mean over chains::

        z_ij = (M_ij − δ_ij) / sqrt(Var_c(M_c,ij)/n),     |z_ij| < t_{n−1}(1 − false_fail/(D(D+1)))

    for all D(D+1)/2 entries. Whitening is in the eigenbasis of the predicted correlation matrix, so that narrow and
    wide directions are tested alike. The refusal: with s the largest relative standard error of a variance, an error
    of about s·(limit + t_{n−1}(1 − miss)) is seen with probability 1 − miss in any of these directions; it must be
    at most `detects`.

    Parameters
    ----------
    sample
        (chains, snapshots, D) or (chains, D). Chains are independent and follow one law; snapshots of one chain may
        be correlated in any way.
    predicted
        Covariance Σ (D, D), positive definite; unit of sample².
    mean
        The known centre (D,). None: unknown; the sample is centred on its mean m over chains and snapshots, and
        d_c d_cᵀ/(n−1), d_c = (mean of chain c) − m, is added to M_c, which makes the mean of M_c exactly unbiased
        whatever the correlation of snapshots. Pass the rest point where it is known: a biased mean then shows.
    false_fail
        Probability, over all entries together, that a right prediction fails.
    detects, miss
        An error of `detects` (relative) in a variance is overlooked with probability at most `miss`.

    Returns
    -------
    Passed
        Worst z, its limit, the smallest detectable error, and measured over predicted at the worst entry.

    Raises
    ------
    AssertionError
        If an entry is beyond the limit.
    InsensitiveSample
        If the sample cannot see an error of `detects`. It says how many chains or snapshots would do.
    ValueError, TypeError
        If an argument is malformed: NaN, one chain, a prediction that is not positive definite.

    Notes
    -----
    Assumptions: chains independent; fourth moments exist. A chain's second moment is positively skewed, which
    would make the left tail of z several times too heavy at these limits. Hall's transformation of the t-statistic
    (J. R. Statist. Soc. B 54 (1992) 221, eq. 2.1: T + γT²/(3√n) + γ²T³/(27n) + γ/(6√n)) removes it, with the
    skewness γ = 2·sd of a gamma variable of mean 1 (exact for Gaussian, independent snapshots).
    Measured with one Gaussian snapshot a chain at false_fail = 1e-4: 2.4e-4 (300 chains), 1.7e-4 (4 096), against
    7.2e-4 and 2.1e-4 without it.

    Known limit: n chains with one snapshot each of a Gaussian law have s = √(2/n).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.array([[2.0, 0.6], [0.6, 1.0]])
    >>> sample = rng.multivariate_normal([0.0, 0.0], sigma, size=(4096, 16))
    >>> assert_covariance(sample, sigma, mean=[0.0, 0.0]).smallest_detectable < 0.05
    True
    >>> assert_covariance(sample, 1.05 * sigma, mean=[0.0, 0.0])
    Traceback (most recent call last):
    ...
    AssertionError: sample does not have the predicted covariance: ...
    """
    false_fail, detects, miss = rates(false_fail, detects, miss)
    chains = chains_of(sample)
    n, snapshots, dim = chains.shape
    frame = _frame("predicted", predicted, dim)
    entries = dim * (dim + 1) // 2
    limit = z_limit(false_fail, entries, n)

    second, error = _second_moments(chains, frame, mean)
    variances = np.diagonal(second)
    relative = np.divide(np.diagonal(error), variances, out=np.zeros(dim), where=variances > 0)
    spread = float(relative.max()) * math.sqrt(n)
    seen = partial(_ratio_seen, spread, entries=entries, false_fail=false_fail, miss=miss)
    smallest = seen(n)
    if smallest > detects:
        msg = (
            f"sample cannot see a relative error of {detects:g} in a variance: {n} chains x {snapshots} snapshots show {smallest:.3g} "
            f"(relative standard error {relative.max():.3g}). {advice(enough(seen, n, detects), n)}"
        )
        raise InsensitiveSample(msg)

    declare(false_fail)
    z = _scores(second - np.eye(dim), error)
    i, j = _worst(z)
    where = frame.named(i) if i == j else f"the covariance of {frame.named(i)} and {frame.named(j)}"
    if abs(z[i, j]) >= limit:
        msg = (
            f"sample does not have the predicted covariance: {where} measured {second[i, j]:.5g} ± {error[i, j]:.2g} "
            f"instead of {float(i == j):g} (whitened), z = {z[i, j]:.2f}, limit {limit:.2f} for {entries} entries, n = {n} chains; "
            f"measured over predicted per direction from {variances.min():.4g} to {variances.max():.4g}."
        )
        raise AssertionError(msg)
    return Passed(float(z[i, j]), limit, smallest, float(second[i, j]), float(error[i, j]), where, entries)


def assert_mean(
    sample: ArrayLike,
    predicted: ArrayLike,
    covariance: ArrayLike | None = None,
    *,
    false_fail: float = 1e-6,
    detects: float = 0.05,
    miss: float = 1e-3,
) -> Passed:
    r"""Assert that a sample has the predicted mean, with declared error rates.

    ``z_i = (mean over chains of the whitened chain mean)_i / standard error``, |z_i| < t_{n−1}(1 − false_fail/(2D)).

    Parameters
    ----------
    sample
        (chains, snapshots, D) or (chains, D), as in `assert_covariance`.
    predicted
        Mean (D,).
    covariance
        Covariance (D, D) that sets the unit, one standard deviation, of `detects`; None: the sample's own.
    false_fail
        Probability, over all D directions together, that a right prediction fails.
    detects, miss
        A shift of `detects` standard deviations along a direction is overlooked with probability at most `miss`.

    Returns
    -------
    Passed
        Its `ratio` and `standard_error` are the shift at the worst direction, in standard deviations.

    Raises
    ------
    AssertionError, InsensitiveSample, ValueError, TypeError
        As `assert_covariance`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sample = rng.normal([1.0, -2.0], [1.0, 3.0], size=(1024, 40, 2))
    >>> assert_mean(sample, [1.0, -2.0]).entries
    2
    >>> assert_mean(sample, [1.0, -1.8])
    Traceback (most recent call last):
    ...
    AssertionError: sample does not have the predicted mean: ...
    """
    false_fail, detects, miss = rates(false_fail, detects, miss)
    chains = chains_of(sample)
    n, snapshots, dim = chains.shape
    centre = _checks.vector("predicted", predicted, dim)
    frame = _own_frame(chains) if covariance is None else _frame("covariance", covariance, dim)
    limit = z_limit(false_fail, dim, n)

    values = frame.whiten(chains.mean(1) - centre)
    shift, error = values.mean(0), values.std(0, ddof=1) / math.sqrt(n)
    spread = float(error.max()) * math.sqrt(n)
    seen = partial(shift_seen, spread, entries=dim, false_fail=false_fail, miss=miss)
    smallest = seen(n)
    if smallest > detects:
        msg = (
            f"sample cannot see a mean shifted by {detects:g} standard deviations: {n} chains x {snapshots} snapshots show {smallest:.3g}. "
            f"{advice(enough(seen, n, detects), n)}"
        )
        raise InsensitiveSample(msg)

    declare(false_fail)
    z = _z(shift, error)
    i = int(np.abs(z).argmax())
    if abs(z[i]) >= limit:
        msg = (
            f"sample does not have the predicted mean: along {frame.named(i)} it is off by {shift[i]:.5g} ± {error[i]:.2g} standard deviations, "
            f"z = {z[i]:.2f}, limit {limit:.2f} for {dim} directions, n = {n} chains."
        )
        raise AssertionError(msg)
    return Passed(float(z[i]), limit, smallest, float(shift[i]), float(error[i]), frame.named(i), dim)


class _Frame(NamedTuple):
    """Directions of a covariance: sample -> sample @ whitener has covariance I."""

    whitener: Array  # (D, D)
    variances: Array  # (D,), of the correlation matrix
    loudest: Array  # (D,), the coordinate that weighs most in each direction

    def whiten(self, values: Array) -> Array:
        return values @ self.whitener

    def named(self, i: int) -> str:
        return f"direction {i} (correlation eigenvalue {self.variances[i]:.3g}, mostly coordinate {self.loudest[i]})"


def _frame(name: str, covariance: ArrayLike, dim: int) -> _Frame:
    matrix = _checks.symmetric(name, covariance, dim)
    scale = np.diagonal(matrix)
    if scale.min() <= 0:
        msg = f"{name} must be positive definite, but its diagonal entry {int(scale.argmin())} is {scale.min():.6g}."
        raise ValueError(msg)
    scale = np.sqrt(scale)
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] <= dim * np.finfo(np.float64).eps:
        msg = f"{name} must be positive definite, but the smallest eigenvalue of its correlation matrix is {values[0]:.3g}."
        raise ValueError(msg)
    return _Frame(vectors / np.sqrt(values) / scale[:, None], values, np.abs(vectors).argmax(0))


def _own_frame(chains: Array) -> _Frame:
    rows = chains.reshape(-1, chains.shape[2])
    if len(rows) <= rows.shape[1]:
        msg = f"sample must hold more than D = {rows.shape[1]} points when covariance is not given, got {len(rows)}."
        raise ValueError(msg)
    return _frame("the sample's covariance", np.atleast_2d(np.cov(rows, rowvar=False)), rows.shape[1])


def _second_moments(chains: Array, frame: _Frame, mean: ArrayLike | None) -> tuple[Array, Array]:
    """Mean over chains of the whitened second moment (D, D), and its standard error."""
    n, snapshots, dim = chains.shape
    centre = chains.mean((0, 1)) if mean is None else _checks.vector("mean", mean, dim)
    total, squares = np.zeros((dim, dim)), np.zeros((dim, dim))
    block = max(1, 2**22 // (dim * dim + snapshots * dim))
    for start in range(0, n, block):
        y = frame.whiten(chains[start : start + block] - centre)
        excess = y.transpose(0, 2, 1) @ y / snapshots - np.eye(dim)
        if mean is None:
            d = y.mean(1)
            excess += d[:, :, None] * d[:, None, :] / (n - 1)
        total += excess.sum(0)
        squares += (excess**2).sum(0)
    off = total / n
    variance = np.maximum(squares / n - off**2, 0.0) * n / (n - 1)
    return off + np.eye(dim), np.sqrt(variance / n)


def _scores(off: Array, error: Array) -> Array:
    """z-scores of the entries, variances corrected for skewness by Hall's transformation with γ/√n = 2·error."""
    z = _z(off, error)
    finite = np.flatnonzero(np.isfinite(np.diagonal(z)))
    t, s = z[finite, finite], error[finite, finite]
    z[finite, finite] = t + 2 * s * t**2 / 3 + 4 * s**2 * t**3 / 27 + s / 3
    return z


def _z(off: Array, error: Array) -> Array:
    """Return off/error; without any spread between chains a difference is infinitely many standard errors."""
    infinite = np.where(off == 0, 0.0, np.copysign(np.inf, off))
    return np.divide(off, error, out=infinite, where=error > 0)


def _worst(z: Array) -> tuple[int, int]:
    i, j = divmod(int(np.abs(np.tril(z)).argmax()), len(z))
    return j, i


def _ratio_seen(spread: float, n: int, *, entries: int, false_fail: float, miss: float) -> float:
    """Smallest relative error of a variance seen with probability 1 - miss; `spread`: relative sd over n chains.

    A variance 1 + δ too large is the harder side, because its standard error grows with it. It shows as
    M = (1 + δ)(1 − qs), s = spread/√n, and Hall's z passes the limit where x = M − 1 has x(1 − x/3) ≥ limit·s.
    """
    error = spread / math.sqrt(n)
    needed = z_limit(false_fail, entries, n) * error
    lost = quantile(miss, n) * error
    if needed >= 0.75 or lost >= 1:
        return math.inf
    x = 1.5 * (1 - math.sqrt(1 - 4 * needed / 3))
    return (1 + x) / (1 - lost) - 1
