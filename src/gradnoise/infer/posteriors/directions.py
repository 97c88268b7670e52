"""Variances against each other, direction by direction."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gradnoise._types import Array
from gradnoise.infer.verdicts.ratios import along_directions, axes
from gradnoise.results import Estimate


class Direction(NamedTuple):
    """One eigendirection of the target: what was predicted there and what came.

    Attributes
    ----------
    name
        The parameter with the largest weight in it.
    target_sd
        Standard deviation of the target along it, in units of the parameters.
    predicted
        Predicted variance over the target's.
    achieved
        The run's variance over the target's, with its standard error √(2/n)·value for n effective draws.
    mean_shift
        Mean of the run minus that of the target, in the target's standard deviations, with its standard error.
    """

    name: str
    target_sd: float
    predicted: float
    achieved: Estimate
    mean_shift: Estimate

    @property
    def kept(self) -> bool:
        """Whether the run kept to the prediction: within 20 % of it and four standard errors."""
        return bool(abs(self.achieved.value - self.predicted) < 0.2 * self.predicted + 4 * self.achieved.standard_error)


def directions_of(
    *,
    names: tuple[str, ...],
    achieved: tuple[Array, Array],
    predicted: Array | None,
    target: tuple[Array, Array],
    effective_draws: float,
) -> tuple[Direction, ...]:
    """Return one record an eigenvector of the target, the widest first."""
    values, vectors = axes(target[1])
    ratios = along_directions(achieved[1], target[1], vectors)
    planned = ratios if predicted is None else along_directions(predicted, target[1], vectors)
    sd = np.sqrt(values)
    shifts = vectors.T @ (achieved[0] - target[0]) / sd
    return tuple(
        Direction(
            names[int(np.abs(vectors[:, i]).argmax())],
            float(sd[i]),
            float(planned[i]) if predicted is not None else math.nan,
            Estimate(float(ratios[i]), float(ratios[i] * math.sqrt(2 / effective_draws)), round(effective_draws)),
            Estimate(float(shifts[i]), float(math.sqrt(ratios[i] / effective_draws)), round(effective_draws)),
        )
        for i in reversed(range(len(values)))
    )
