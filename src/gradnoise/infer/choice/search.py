"""The search behind a choice: the cheapest in prospect is planned first, and nothing that a bound on its cost already rules out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import eigh

from gradnoise import theory
from gradnoise._types import Array
from gradnoise.infer.choice.candidates import Candidate
from gradnoise.infer.plans.langevin_step import fewest_steps
from gradnoise.infer.verdicts.readable import number
from gradnoise.theory.langevin.kinetic_tuning import least_memory
from gradnoise.theory.tuning.optimal import SILENT

STEP_OVERHEAD = 32  # example gradients that a step costs beside its batch: random numbers, loop
MATRICES = 2  # matrices (D, D) that a step multiplies by, each as dear as D example gradients of a linear model
MOST_TOLERANCE = 0.99  # of iterate averaging, whose errors are shares of a variance
TIE = 1e-3  # relative difference of costs that decides nothing: the order of the candidates does
LENGTHY = ("langevin", "iterate_averaging")  # their cost is not known before a plan, only a bound
SCHEME = "BAOAB"  # what `sghmc` takes by default

Setting = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Prospects:
    """Bounds on the cost of an effective draw, before any plan is made.

    A sampler within the budget has at most (1 + budget) times the target's variances, and the noise of its gradients alone makes
    the long-run covariance H⁻¹SH⁻¹ whatever the step, so that no direction forgets faster than N λ_max(H⁻¹S)/(1 + budget).

    Attributes
    ----------
    law
        The variational law, whose H and C count.
    num_examples, num_params, budget, sampling, drop_last
        N, D, `max_variance_error`, `sampling` and `drop_last` of the choice.
    strengths
        Eigenvalues of H⁻¹C (D,), ascending.
    """

    law: Any
    num_examples: int
    num_params: int
    budget: float
    sampling: str
    drop_last: bool
    strengths: Array

    def at_once(self, method: str, settings: dict[str, Any]) -> float:
        """Return the fewest example gradients a draw, from the eigenvalues alone."""
        size, bound = settings["batch_size"], float(self._noise(settings["batch_size"])[-1])
        exact = method in ("corrected_langevin", "sghmc") or settings.get("preconditioner") == "full"
        steps = bound if exact else bound / (1 + self.budget)
        if method == "corrected_langevin" and self.sampling != "shuffled":
            rate = settings["fraction"] * 2 / (1 + bound)
            steps = max((2 - rate) / rate, (1 + (1 - rate) ** 2) / (1 - (1 - rate) ** 2))
        if method == "iterate_averaging":
            steps = max(steps, float(self.num_examples // size))
        return max(steps, 1.0) * step_cost(self.num_params, size)

    def closer(self, method: str, settings: dict[str, Any]) -> float:
        """Return the same from the method's own tuning, where that costs less than a plan; 0 where there is no such bound."""
        size = settings["batch_size"]
        if method == "langevin":
            noise = {"num_examples": self.num_examples, "batch_size": size, "sampling": self.sampling}
            noise |= {} if self.drop_last else {"drop_last": False}
            matrix = self.law.covariance if settings.get("preconditioner") == "curvature" else None
            return fewest_steps(self.law, matrix, self.budget, noise) * step_cost(self.num_params, size)
        if method == "sghmc" and self.sampling != "shuffled":
            found = least_memory(self._noise(size), SCHEME, settings["max_noise_share"])
            return max(found, 1.0) * step_cost(self.num_params, size) if math.isfinite(found) else 0.0
        return 0.0

    def ruled_out(self, method: str) -> str:
        """Say why no step of a method can be within the budget, where the eigenvalues alone tell."""
        low, high = float(self.strengths[0]), float(self.strengths[-1])
        if method == "constant_sgd" and self.sampling != "shuffled" and low < SILENT:
            count = int((self.strengths < SILENT).sum())
            return f"there is no gradient noise in {count} of {self.num_params} directions, and SGD has no other"
        spare = min(self.budget, MOST_TOLERANCE)  # what averages may miss the sandwich by
        sandwich = low * (1 + spare) < 1 - self.budget or high * (1 - spare) > 1 + self.budget
        if method == "iterate_averaging" and self.sampling != "shuffled" and sandwich:
            return f"not planned: variances would be about {low:.3g} to {high:.3g} times the target's, those of the sandwich"
        return ""

    def _noise(self, size: int) -> Array:
        """Eigenvalues of N H⁻¹S, S of `size` examples; none that shuffled batches are sure to leave."""
        if self.sampling == "shuffled":
            return np.zeros_like(self.strengths)
        unit = theory.batch_noise(np.eye(1), batch_size=size, sampling=self.sampling, num_examples=self.num_examples)
        return np.asarray(self.num_examples * float(unit[0, 0]) * self.strengths)


def step_cost(num_params: int, size: int) -> int:
    """Count the example gradients that a step of `size` examples is worth."""
    return size + STEP_OVERHEAD + MATRICES * num_params


def prospects(problem: Any, law: Any, budget: float, sampling: str, drop_last: bool) -> Prospects:
    """Measure the noise of the gradients against the curvature, once for all candidates."""
    strengths = np.maximum(eigh(law.gradient_covariance, law.hessian, eigvals_only=True), 0.0)
    return Prospects(law, problem.num_examples, problem.num_params, budget, sampling, drop_last, strengths)


def searched(
    settings: Sequence[Setting],
    ahead: Prospects,
    planned: Callable[[str, dict[str, Any]], Candidate],
    tell: Callable[[str], None],
) -> list[Candidate]:
    """Plan the settings in the order of the least that they can cost until what was found cannot be undercut.

    The outcome does not hang on last bits: costs within `TIE` of each other are the same, and then the earlier setting wins.

    Parameters
    ----------
    settings
        Methods and settings, the preferred first.
    ahead
        Bounds on their costs.
    planned
        Makes a candidate from a method and its settings.
    tell
        Takes a line for every candidate planned.

    Returns
    -------
    list[Candidate]
        In the order of `settings`; the others with the bound as their reason.
    """
    done = {
        i: Candidate(method, given, None, math.inf, math.inf, why)
        for i, (method, given) in enumerate(settings)
        if (why := ahead.ruled_out(method))
    }
    least = {i: ahead.at_once(method, given) for i, (method, given) in enumerate(settings) if i not in done}
    refined: set[int] = set()
    best: int | None = None
    while least:
        bound = min(least.values())
        i = next(k for k, cost in least.items() if cost <= bound * (1 + TIE))
        if best is not None and not undercuts(least[i], i, done[best].cost, best):
            if bound >= done[best].cost:
                break
            done[i] = _left(*settings[i], least.pop(i))
            continue
        if i not in refined:
            refined.add(i)
            closer = ahead.closer(*settings[i])
            if closer > least[i]:
                least[i] = closer
                continue
        del least[i]
        method, given = settings[i]
        tell(f"{method}, {', '.join(f'{k} {v}' for k, v in given.items())}")
        found = done[i] = planned(method, given)
        if not found.error <= ahead.budget or (
            best is not None and not undercuts(found.cost, i, done[best].cost, best)
        ):
            continue
        assert found.plan is not None
        if found.plan.doubts:  # variances within the budget, and draws that are expected to be off all the same
            why = found.plan.doubts[0].removesuffix(".")
            done[i] = replace(found, plan=None, error=math.inf, cost=math.inf, reason=why)
        else:
            best = i
    return [done[i] if i in done else _left(*settings[i], least[i]) for i in range(len(settings))]


def undercuts(cost: float, place: int, other: float, other_place: int) -> bool:
    """Whether a candidate is to be preferred: cheaper by more than `TIE`, or as dear and earlier."""
    if cost > other * (1 + TIE):
        return False
    return cost < other / (1 + TIE) or place < other_place


def _left(method: str, settings: dict[str, Any], least: float) -> Candidate:
    why = f"cannot be cheaper than {number(least)}" if method in LENGTHY else f"takes {number(least)} or more"
    why = f"not planned: {why} example gradients a draw"
    return Candidate(method, settings, None, math.inf, math.inf, why)
