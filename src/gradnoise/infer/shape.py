"""The shape of draws: what mean and covariance do not show, by skewness and kurtosis along several directions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise._types import Array


ODD, EVEN = 36 / (8 * math.sqrt(3) - 9), 24 / (16 * math.sqrt(3) - 27)


class Shape(NamedTuple):
    """How far draws are from Gaussian.

    Attributes
    ----------
    divergence
        Nats beside mean and covariance, by Hyvärinen's estimate of the negentropy: 7.41 (E x e^{−x²/2})² + 33.7 (E e^{−x²/2} − 1/√2)²
        of standardised x, summed over directions, less what sampling error alone makes of it; the larger of the sums over the
        target's eigendirections and over the parameters. Tails do not inflate it, as they do sums of moments.
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

    Reference: Hyvärinen (1998), "New approximations of differential entropy for ICA and projection pursuit", eq. 7-8.
    """
    flat = np.asarray(draws, np.float64).reshape(-1, draws.shape[-1])
    count = max(min(effective_draws, len(flat)), 1.0)
    flat = flat - flat.mean(0)
    vectors, dim = np.linalg.eigh(target)[1], flat.shape[1]
    both = [_standardised(flat @ vectors), _standardised(flat)]
    sums = [float((_negentropy(x) - 1 / count).sum()) for x in both]
    moments = np.concatenate([np.stack([(x**3).mean(0), (x**4).mean(0) - 3]) for x in both], axis=1)
    skewness, kurtosis = (float(row[np.abs(row).argmax()]) for row in moments)
    return Shape(max(sums), math.sqrt(dim) / count, skewness, kurtosis)


def _standardised(values: Array) -> Array:
    """Columns that move, in standard deviations."""
    spread = values.std(0)
    return values[:, spread > 0] / spread[spread > 0]


def _negentropy(x: Array) -> Array:
    """Nats by which the entropy of each column falls short of a normal's; 1/n on average for n draws of a normal."""
    bell = np.exp(-(x**2) / 2)
    odd, even = (x * bell).mean(0), bell.mean(0) - math.sqrt(0.5)
    return np.asarray(ODD * odd**2 + EVEN * even**2)
