"""What a choice of sampler was made from, as a record and as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.verdicts.readable import number, percent

WIDTH = 120  # of a line of the table


@dataclass(frozen=True, eq=False)
class Candidate:
    """One setting of one sampler.

    Attributes
    ----------
    method, settings
        As for `infer.plan`.
    plan
        Its `Plan`, or None where there is none.
    error
        `Plan.expected_error`; infinite without a plan.
    cost
        Example gradients for one effective draw, a step's overhead counted as 32 + 2 D; infinite without a plan.
    reason
        Why there is no plan; "" otherwise.
    """

    method: str
    settings: dict[str, Any]
    plan: Plan | None = field(repr=False)
    error: float
    cost: float
    reason: str = ""

    @property
    def name(self) -> str:
        """Method and preconditioner."""
        kind = self.settings.get("preconditioner")
        return self.method if kind is None else f"{self.method}({kind})"

    def __str__(self) -> str:
        named = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        if self.plan is None:
            return f"{self.method}({named}): {self.reason}"
        return f"{self.method}({named}): {self.numbers}"

    @property
    def numbers(self) -> str:
        """Error and cost."""
        return f"variances within {percent(self.error)}, {number(self.cost)} example gradients a draw"


@dataclass(frozen=True, eq=False)
class Choice:
    """The sampler chosen, and every candidate it was chosen from.

    Attributes
    ----------
    best
        The cheapest candidate within the budget.
    candidates
        All of them: the admissible by cost, then the others by error, last those without a plan. Printed, the best setting of
        every method and preconditioner stands for it.
    max_variance_error
        The budget.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    max_variance_error: float

    @property
    def plan(self) -> Plan:
        """The plan of the best candidate."""
        assert self.best.plan is not None
        return self.best.plan

    @property
    def reason(self) -> str:
        """Why this one, in a sentence."""
        planned = sum(c.plan is not None for c in self.candidates)
        return (
            f"{self.best}; the cheapest of {len(self.candidates)} settings within the budget of {percent(self.max_variance_error)} "
            f"({planned} planned)."
        )

    def __str__(self) -> str:
        return table(self.candidates, self.max_variance_error, chosen=self.best)


def table(candidates: Iterable[Candidate], budget: float, chosen: Candidate | None = None) -> str:
    """One line for every method and preconditioner, its best setting, under three heads; `candidates` come best first."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        best.setdefault(candidate.name, candidate)
    within = [c for c in best.values() if c.error <= budget]
    outside = [c for c in best.values() if c.plan is not None and c.error > budget]
    lines = [f"Within the budget of {percent(budget)}:", *(_line(c, c is chosen) for c in within)]
    if outside:
        lines += ["Outside it:", *(_line(c, chosen=False) for c in outside)]
    reasons: dict[str, list[str]] = {}
    for c in best.values():
        if c.plan is None:
            reasons.setdefault(c.reason, []).append(c.name)
    if reasons:
        said = (f"  {', '.join(names)}: {why}" for why, names in reasons.items())
        lines += ["Impossible, or not planned:", *(textwrap.shorten(s, WIDTH - 2, placeholder=" …") for s in said)]
        lines[-len(reasons) :] = [f"  {line}" for line in lines[-len(reasons) :]]
    return "\n".join(lines)


def _line(candidate: Candidate, chosen: bool) -> str:
    named = ", ".join(f"{k} {v}" for k, v in candidate.settings.items() if k != "preconditioner")
    return f"{'*' if chosen else ' '} {candidate.name}, {named}: {candidate.numbers}"
