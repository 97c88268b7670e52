"""The shape of draws: what mean and covariance do not show, by skewness and kurtosis along several directions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise._types import Array


class Shape(NamedTuple):
    """How far draws are from Gaussian.

    Attributes
    ----------
    divergence
        Nats that skewness γ and excess kurtosis κ add beside mean and covariance, Σ (γ²/12 + κ²/48) over directions, less what
        sampling error alone makes of it: the larger of the sums over the target's eigendirections and over the parameters.
    error
        Standard error of that for Gaussian draws.
    skewness, kurtosis
        The largest in size (excess kurtosis), over both sets of directions.
    """

    divergence: float
    error: float
    skewness: float
    kurtosis: float

    def sentence(self) -> str:
        """Say it in words."""
        return (
            f"The draws are not Gaussian: skewness up to {self.skewness:.2g}, excess kurtosis up to {self.kurtosis:.2g}, about "
            f"{self.divergence:.2g} nats that mean and covariance do not show"
        )


def shape_of(draws: Any, target: Array, effective_draws: float) -> Shape:
    """Measure the shape of draws (chain, draw, D) about their own mean.

    Parameters
    ----------
    draws
        (chain, draw, D).
    target
        Covariance (D, D) whose eigenvectors are looked along, beside the parameters.
    effective_draws
        Independent draws that these are worth.

    Reference: Comon (1994), "Independent component analysis", eq. 3.10 (Edgeworth expansion of the negentropy).
    """
    flat = np.asarray(draws, np.float64).reshape(-1, draws.shape[-1])
    count = max(min(effective_draws, len(flat)), 1.0)
    flat = flat - flat.mean(0)
    vectors, dim = np.linalg.eigh(target)[1], flat.shape[1]
    both = [_moments(flat @ vectors), _moments(flat)]
    sums = [float(((g**2 - 6 / count) / 12 + (k**2 - 24 / count) / 48).sum()) for g, k in both]
    skewness, kurtosis = (max((x for pair in both for x in pair[i]), key=abs) for i in (0, 1))
    return Shape(max(sums), math.sqrt(2 * dim) / (math.sqrt(2) * count), float(skewness), float(kurtosis))


def _moments(values: Array) -> tuple[Array, Array]:
    """Skewness and excess kurtosis of columns; 0 for a column that does not move."""
    spread = values.std(0)
    z = values / np.where(spread > 0, spread, 1.0)
    moving = spread > 0
    return np.where(moving, (z**3).mean(0), 0.0), np.where(moving, (z**4).mean(0) - 3, 0.0)
