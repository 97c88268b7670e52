"""Langevin with falling steps: how long a run must be, and the law of the draws it keeps."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from gradnoise import _checks, theory
from gradnoise._types import Array
from gradnoise.infer.plans.length import BURN_IN, Length
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.simulation import Simulation, checked_thin
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.processes import Decreasing

MOST_STEPS = 1 << 23  # of a chain: the recursion of the covariance is run step by step
TYPICAL_DRAWS = 1000
TOLD = 0.05  # relative error of a variance from which on the plan says so


@dataclass(frozen=True, eq=False)
class DecreasingPlan(Plan):
    """Plan of a run whose steps fall: its law depends on its length, so `run` predicts it anew for the draws that are kept.

    `predicted_covariance`, `iact` and the biases are those of a run of 1000 draws a chain (fewer where steps fall too fast).

    Attributes
    ----------
    schedule
        How the steps fall.
    preconditioner
        P (D, D), or None.
    noise
        num_examples, batch_size, sampling.
    """

    schedule: Decreasing = field(default=Decreasing(1.0, 1.0), repr=False)
    preconditioner: Array | None = field(default=None, repr=False)
    noise: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, plan: Plan, schedule: Decreasing, preconditioner: Array | None, noise: dict[str, Any]
    ) -> DecreasingPlan:
        """Return the plan with falling steps. Its first step is that of `plan`."""
        held = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
        made = cls(**{**held, "chain": None}, schedule=schedule, preconditioner=preconditioner, noise=noise)
        return made._of(made._longest(TYPICAL_DRAWS))

    def length(self, num_draws: int, thin: int | None = None, burn_in: int | None = None) -> Length:
        """Return the steps that are worth `num_draws` independent draws a chain, kept at equal distances."""
        draws = _checks.integer("num_draws", num_draws)
        worth, forgotten = self._clocks()
        forget = int(np.searchsorted(forgotten, BURN_IN)) + 1
        forget = forget if burn_in is None else _checks.integer("burn_in", burn_in, low=0)
        if thin is not None:
            gap = checked_thin(thin)
        else:
            done = worth[min(forget, len(worth) - 1)]
            steps = int(np.searchsorted(worth, done + draws)) + 1 - forget
            gap = max(1, math.ceil(steps / draws))
        total = forget + gap * draws
        if total > MOST_STEPS:
            reach = max(0, int(worth[-1] - worth[min(forget, len(worth) - 1)]))
            msg = (
                f"num_draws must be at most {reach:,} with these falling steps, got {draws:,}: {MOST_STEPS:,} steps are not worth more "
                "independent draws. Let the steps fall more slowly (larger offset, smaller power) or run more chains."
            )
            raise ValueError(msg)
        iact = (total - forget) / max(float(worth[total - 1] - (worth[forget - 1] if forget else 0.0)), 1e-9)
        return Length(gap, forget, total, iact)

    def _of(self, length: Length) -> DecreasingPlan:
        """Return the plan with the law of the draws that a run of this length keeps."""
        steps = self._steps(length.num_steps)
        law = theory.scheduled_langevin_covariance(
            self.where.hessian,
            self.where.gradient_covariance,
            step_sizes=steps,
            preconditioner=self.preconditioner,
            start=self.start,
            burn_in=length.burn_in,
            every=length.thin,
            **self.noise,
        )
        kept = steps[length.burn_in + length.thin - 1 :: length.thin]
        told = {
            "step_weighted_covariance": law.step_weighted,
            "weights": kept / kept.sum(),
            "last_step_size": steps[-1],
        }
        return dataclasses.replace(
            self,
            predicted_covariance=law.draws,
            iact=length.iact,
            settings={**self.settings, **told},
            warnings=self._warnings(law, length),
        )

    def run(
        self,
        *,
        num_draws: int = 1000,
        num_chains: int = 4,
        key: Any = 0,
        thin: int | None = None,
        burn_in: int | None = None,
        progress: Any = True,
        **simulation: Unpack[Simulation],
    ) -> Posterior:
        """Run as `Plan.run` does; the law is predicted for just the draws that are kept."""
        length = self.length(num_draws, thin, burn_in)
        run: dict[str, Any] = {"num_draws": num_draws, "num_chains": num_chains, "key": key, "progress": progress}
        return super(DecreasingPlan, self._of(length)).run(
            thin=length.thin, burn_in=length.burn_in, **run, **simulation
        )

    def _warnings(self, law: theory.ScheduledLangevin, length: Length) -> tuple[str, ...]:
        widest, weighted = (float(theory.variance_errors(s, self.target)[-1]) for s in (law.draws, law.step_weighted))
        if max(widest, weighted) <= TOLD:
            return ()
        return (
            f"SGLD with these falling steps on this data will have {1 + widest:.3g} times the posterior's variance in its widest direction "
            f"over {length.num_steps:,} steps, {1 + weighted:.3g} times if draws are weighted by their steps.",
        )

    def _longest(self, num_draws: int) -> Length:
        """Return the length of so many draws, or of the most that there can be."""
        worth, forgotten = self._clocks()
        forget = min(int(np.searchsorted(forgotten, BURN_IN)) + 1, len(worth) - 1)
        most = int(0.9 * (worth[-1] - worth[forget]))
        if most < 1:
            msg = (
                f"schedule must fall more slowly (larger offset, smaller power), got offset {self.schedule.offset:g} and power "
                f"{self.schedule.power:g}: {MOST_STEPS:,} steps from {self.settings['step_size']:.3g} on last {forgotten[-1]:.3g} relaxation "
                "times of the softest direction, not enough for one independent draw."
            )
            raise ValueError(msg)
        return self.length(min(num_draws, most))

    def _steps(self, count: int) -> Array:
        """First `count` step sizes ε_t."""
        return np.asarray(self.settings["step_size"] * self.schedule.factor(np.arange(count)))

    def _clocks(self) -> tuple[Array, Array]:
        """Independent draws that the first t steps are worth, and relaxation times that they last: sums over steps (MOST_STEPS,)."""
        matrix = np.eye(len(self.target)) if self.preconditioner is None else self.preconditioner
        values = np.linalg.eigvals(matrix @ self.where.hessian).real * self.noise["num_examples"] / 2
        slow = self._steps(MOST_STEPS) * values.min()  # stable throughout, as the first step is
        return np.cumsum(slow / (2 - slow)), np.cumsum(-np.log1p(-np.minimum(slow, 0.999)))
