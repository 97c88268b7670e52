"""Stationarity: the second half of the trajectories against the first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise._types import ArrayLike
from gradnoise.diagnose.chains import trajectories_of
from gradnoise.results import Estimate, mean_of


@dataclass(frozen=True)
class Stationarity:
    """Second half against first half, per coordinate.

    Attributes
    ----------
    mean_shift
        Difference of the means, in standard deviations (D,).
    variance_growth
        Relative difference of the variances, (second − first)/mean of both (D,).
    """

    mean_shift: Estimate
    variance_growth: Estimate

    @property
    def worst_z(self) -> float:
        """Largest |z| over both and all coordinates: compare with a Student-t limit for 2·D numbers."""
        return float(max(np.abs(self.mean_shift.z(0)).max(), np.abs(self.variance_growth.z(0)).max()))


def stationarity(trajectories: ArrayLike) -> Stationarity:
    r"""Compare the second half of every chain with its first half.

    Per chain c: ``d_c = mean₂ − mean₁`` over sd, and ``v_c = (mean square₂ − mean square₁)/variance``, squares about
    the common mean; values and standard errors are those of the mean over chains.

    Parameters
    ----------
    trajectories
        (chains, steps) or (chains, steps, D), at least two independent chains of four steps.

    Returns
    -------
    Stationarity
        Both differences as estimates; zero within their errors for stationary chains.

    Notes
    -----
    Chains that start from one point and forget it slowly show both; chains spread over the target from the start
    but stuck do not: that is what `integrated_autocorrelation_time` sees.

    Examples
    --------
    Two chains whose second halves are higher by 1 and 3: the mean shift is 2 ± 1, in units of the standard deviation.

    >>> shift = stationarity([[0, 2, 1, 3], [-1, -2, 0, 3]]).mean_shift
    >>> float(shift.value[0] / shift.standard_error[0])
    2.0
    """
    array = trajectories_of(trajectories, steps=4)
    centred = array - array.mean((0, 1))
    variance = (centred**2).mean((0, 1))
    if (variance == 0).any():
        msg = f"trajectories must vary, but coordinate {int((variance == 0).argmax())} is constant."
        raise ValueError(msg)
    half = array.shape[1] // 2
    first, second = centred[:, :half], centred[:, -half:]
    shift = (second.mean(1) - first.mean(1)) / np.sqrt(variance)
    growth = ((second**2).mean(1) - (first**2).mean(1)) / variance
    return Stationarity(mean_of(shift), mean_of(growth))
