"""What a run will cost, before it runs."""

from __future__ import annotations

from typing import NamedTuple

from gradnoise.infer.readable import number


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
