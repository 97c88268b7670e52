"""Integrated autocorrelation time and effective sample size, from many independent chains."""

from __future__ import annotations

import numpy as np

from gradnoise._types import Array, ArrayLike
from gradnoise.diagnose.chains import functional
from gradnoise.results import Estimate


def integrated_autocorrelation_time(
    trajectories: ArrayLike,
    direction: ArrayLike | None = None,
    *,
    quadratic: bool = False,
    mean: ArrayLike | None = None,
) -> Estimate:
    r"""Integrated autocorrelation time of a functional f of the state, from the spread of chain means.

    ::

        τ = T · Var(mean of f over a chain) / Var(f)          → 1 + 2 Σ_{j≥1} ρ_j

    with no window, no cut-off and no fit: independent chains show directly how much an average of T steps varies.

    Parameters
    ----------
    trajectories
        (chains, steps) or (chains, steps, D): independent stationary chains, at least two. T = steps; where draws
        are thinned, τ counts kept draws.
    direction
        a (D,): f = aᵀθ, or (aᵀ(θ − mean))² if `quadratic`; a symmetric matrix A (D, D), quadratic only:
        f = (θ − mean)ᵀA(θ − mean); None: every coordinate by itself.
    quadratic
        The memory of second moments instead of means.
    mean
        Centre (D,) of quadratic functionals; None: the mean over chains and steps.

    Returns
    -------
    Estimate
        τ in steps and its standard error (jackknife over chains); scalars for one functional, else (D,). `n` is the
        number of chains.

    Notes
    -----
    Assumptions: chains independent and stationary (start them from the law, or drop the burn-in). At finite T the
    value falls short of the limit by the fraction (Σ_j |j| ρ_j)/(T Σ_j ρ_j), about one relaxation time over T; AR(1) with
    coefficient r: τ_T = (1+r)/(1−r) − 2r(1−r^T)/(T(1−r)²). Var(f) is unbiased: the variance of the common mean is
    added back. The relative standard error is about √(2/(chains − 1)) where T is long.

    Examples
    --------
    Two steps, four chains: τ = 2·(4/3)/(4/3) = 2, since a chain that never moves has no second independent value.

    >>> float(integrated_autocorrelation_time([[1, 1], [-1, -1], [1, 1], [-1, -1]]).value)
    2.0
    """
    values = functional(trajectories, direction, quadratic=quadratic, mean=mean)
    steps = values.shape[1]
    means, squares = values.mean(1), ((values - values.mean((0, 1))) ** 2).mean(1)
    means = means - means.mean(0)  # against rounding, the squares are taken about the common mean too
    n = len(means)

    def ratio(count: int, mean_sum: Array, mean_squares: Array, square_sum: Array) -> Array:
        of_means = (mean_squares - mean_sum**2 / count) / (count - 1)
        single = square_sum / count - (mean_sum / count) ** 2 + of_means / count
        return np.asarray(steps * np.divide(of_means, single, out=np.full_like(single, np.nan), where=single > 0))

    totals = (means.sum(0), (means**2).sum(0), squares.sum(0))
    value = ratio(n, *totals)
    if np.isnan(value).any():
        msg = "trajectories must vary, but a functional is the same at every step of every chain."
        raise ValueError(msg)
    if n == 2:  # leaving one out leaves nothing to compare: the law of a variance with one degree of freedom
        error = value * np.sqrt(2.0)
    else:
        left_out = ratio(n - 1, totals[0] - means, totals[1] - means**2, totals[2] - squares)
        error = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0))
    if value.size == 1:
        return Estimate(float(value[0]), float(error[0]), n)
    return Estimate(value, error, n)


def effective_sample_size(
    trajectories: ArrayLike,
    direction: ArrayLike | None = None,
    *,
    quadratic: bool = False,
    mean: ArrayLike | None = None,
) -> Estimate:
    """Effective sample size of all chains together: ESS = chains · T / τ.

    Parameters
    ----------
    trajectories, direction, quadratic, mean
        As in `integrated_autocorrelation_time`.

    Returns
    -------
    Estimate
        Number of independent draws that would give a mean of f with the same variance; above chains·T where
        neighbours are anticorrelated.

    Examples
    --------
    >>> float(effective_sample_size([[1, 1], [-1, -1], [1, 1], [-1, -1]]).value)
    4.0
    """
    time = integrated_autocorrelation_time(trajectories, direction, quadratic=quadratic, mean=mean)
    chains, steps = np.shape(trajectories)[:2]
    if np.min(time.value) <= 0:
        msg = "trajectories have chain means without any spread, so the effective sample size is not finite."
        raise ValueError(msg)
    value = chains * steps / time.value
    return Estimate(value, value * time.standard_error / time.value, time.n)
