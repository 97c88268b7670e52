"""How long a sampler must run, from its predicted memory, and what that costs."""

from __future__ import annotations

import math
from typing import NamedTuple

from gradnoise import _checks
from gradnoise.infer.plans.simulation import checked_thin
from gradnoise.infer.verdicts.readable import number

BURN_IN = 5  # relaxation times


class Length(NamedTuple):
    """How long to run.

    Attributes
    ----------
    thin, burn_in, num_steps
        Steps between draws, before the first, and in all, of each chain.
    iact
        Worst integrated autocorrelation time, linear and quadratic, steps.
    """

    thin: int
    burn_in: int
    num_steps: int
    iact: float


def plan_length(
    iact: float,
    relaxation_time: float,
    *,
    num_draws: int,
    thin: int | None = None,
    burn_in: int | None = None,
    window: int = 1,
) -> Length:
    """Thin by the worst autocorrelation time, forget the start for five relaxation times; windows are kept whole."""
    draws = _checks.integer("num_draws", num_draws)
    step = max(1, math.ceil(iact - 1e-9)) if thin is None else checked_thin(thin)
    forget = math.ceil(BURN_IN * relaxation_time / window) * window
    forget = forget if burn_in is None else _checks.integer("burn_in", burn_in, low=0)
    step = window if window > 1 else step
    return Length(step, forget, forget + draws * step, iact)


class Cost(NamedTuple):
    """Work of a run.

    Attributes
    ----------
    steps
        Steps of every chain, burn-in included.
    gradients
        Example gradients of all chains together.
    passes
        The same in passes over the data.
    """

    steps: int
    gradients: int
    passes: float

    def __str__(self) -> str:
        return f"{self.steps:,} steps a chain, {number(self.gradients)} example gradients in all ({number(self.passes)} passes over the data)"
