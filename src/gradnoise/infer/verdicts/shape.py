"""The shape of draws: what mean and covariance do not show, by skewness and kurtosis along several directions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import derivatives, theory
from gradnoise._types import Array

AFFORDABLE = 1 << 24  # numbers in all example gradients
TINY = 1e-24  # variance, relative to the largest, that is rounding
ALIKE = 1e-6  # spread of rates below which every direction is a mode
MOST = 0.5  # nats a direction: the expansion in cumulants holds for small ones
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

    def sentence(self, when: str = "are") -> str:
        """Say it in words; `when`: "are" or "will be"."""
        return (
            f"The draws {when} not Gaussian: skewness {_reach(self.skewness)}, excess kurtosis {_reach(self.kurtosis)}, about "
            f"{self.divergence:.2g} nats that mean and covariance do not show"
        )


def _reach(moment: float) -> str:
    return f"{'up' if moment >= 0 else 'down'} to {moment:.2g}"


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
    skewness, kurtosis = (float(max(row, key=abs, default=0.0)) for row in moments)  # nothing moves: no shape
    return Shape(max(sums), math.sqrt(dim) / count, skewness, kurtosis)


def _standardised(values: Array) -> Array:
    """Columns that move, in standard deviations."""
    spread = values.std(0)
    return np.asarray(values[:, spread > 0] / spread[spread > 0])


def _negentropy(x: Array) -> Array:
    """Nats by which the entropy of each column falls short of a normal's; 1/n on average for n draws of a normal."""
    bell = np.exp(-(x**2) / 2)
    odd, even = (x * bell).mean(0), bell.mean(0) - math.sqrt(0.5)
    return np.asarray(ODD * odd**2 + EVEN * even**2)


def expected_shape(
    problem: Any, mean: Array, target: Array, chain: Any, batch_size: int, hessian: Array
) -> Shape | None:
    """Predict the shape that the noise of minibatches gives the iterates of a chain without momentum; None where there is no such.

    Along the left eigenvectors of the transition, or, where all modes forget alike, along the target's and the parameters: the
    cumulants of example gradients at `mean`, by `theory.stationary_shape`.
    """
    size = len(mean)
    if chain is None or chain.transition.shape != (size, size) or problem.num_examples * size > AFFORDABLE:
        return None
    rates, modes = np.linalg.eig(chain.transition.T)
    rates, alike = 1 - rates.real, np.ptp(rates.real) < ALIKE
    step = np.linalg.solve(hessian.T, (np.eye(size) - chain.transition).T).T
    moves = derivatives.example_gradients(problem, mean) @ step.T
    innovation = chain.covariance - chain.transition @ chain.covariance @ chain.transition.T
    found = []
    for directions in (np.linalg.eigh(target)[1], np.eye(size)) if alike else (modes.real,):
        along = (moves - moves.mean(0)) @ directions
        variance = along.var(0)
        moving = variance > TINY * max(float(variance.max()), TINY)
        if not moving.any():
            continue
        total = np.einsum("di,de,ei->i", directions, innovation, directions, optimize=True)
        x = along[:, moving] / np.sqrt(variance[moving])
        found.append(
            theory.stationary_shape(
                np.clip(rates[moving], 1e-12, 2 - 1e-12),
                (x**3).mean(0),
                (x**4).mean(0) - 3,
                batch_size=batch_size,
                noise_share=np.clip(variance / batch_size / np.maximum(total, 1e-300), 0.0, 1.0)[moving],
            )
        )
    if not found:
        return Shape(0.0, 0.0, 0.0, 0.0)
    sums = [float(np.minimum(f.skewness**2 / 12 + f.kurtosis**2 / 48, MOST).sum()) for f in found]
    skewness, kurtosis = (np.concatenate([f[i] for f in found]) for i in (0, 1))
    return Shape(max(sums), 0.0, float(max(skewness, key=abs, default=0.0)), float(max(kurtosis, key=abs, default=0.0)))
