"""Plan: a sampler tuned and predicted, but not run: its bias, its memory and its cost are known beforehand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from gradnoise import _checks, measure, theory
from gradnoise._types import Array
from gradnoise.engine import Divergence, record, simulate
from gradnoise.infer.plans.length import Cost, Length, plan_length
from gradnoise.infer.plans.place import Place
from gradnoise.infer.plans.progress import announce
from gradnoise.infer.plans.simulation import Simulation, check_run
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.doubts import doubts_of, remedy_for
from gradnoise.infer.verdicts.expectation import Expectation, expected
from gradnoise.infer.verdicts.judges import keeping
from gradnoise.infer.verdicts.ratios import axes, distance
from gradnoise.infer.verdicts.rounding import UNSEEN, Rounding, rounding_of
from gradnoise.infer.verdicts.sandwich import Widths, widths_at
from gradnoise.infer.verdicts.shape import Shape, expected_shape
from gradnoise.infer.verdicts.verdict import Verdict, judge, kl_limit
from gradnoise.infer.verdicts.verification import verified
from gradnoise.theory import LinearChain

SHIFT_TOLD = 0.1  # standard deviations that the mean must be off to be mentioned


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sampler will do: made by `infer.plan`, run by `run`.

    Attributes
    ----------
    method
        Name for people.
    problem, process
        What will be simulated.
    where
        Centre, curvature and noise that it was tuned with (`plans.place.Place`).
    predicted_mean, predicted_covariance
        Law of the draws, (D,) and (D, D), predicted exactly in discrete time for a quadratic loss.
    target
        Covariance (D, D) that the draws should have.
    start
        Covariance (D, D) of the iterates at the first step; that of the draws, but for averages of windows.
    iact
        Worst integrated autocorrelation time over all directions, linear and quadratic, in steps.
    relaxation_time
        Steps in which the slowest direction forgets a factor e.
    window
        A draw is the mean of so many iterates (iterate averaging); 1: it is an iterate.
    chain
        The linear chain behind the prediction; None where there is none (shuffled epochs, decreasing steps).
    drift_matters
        Whether the law leans on a noise covariance that is the same everywhere.
    settings
        Step sizes and the like, by name.
    warnings
        What is known to be wrong with it, in plain sentences with the numbers.
    thrown
        Says of a plan, all of whose chains diverged, why; None: what is usual.
    """

    method: str
    problem: Any = field(repr=False)
    process: Any = field(repr=False)
    where: Place = field(repr=False)
    predicted_mean: Array = field(repr=False)
    predicted_covariance: Array = field(repr=False)
    target: Array = field(repr=False)
    start: Array = field(repr=False)
    iact: float
    relaxation_time: float
    drift_matters: bool
    window: int = 1
    chain: LinearChain | None = field(default=None, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    thrown: Callable[[Plan], str] | None = field(default=None, repr=False)

    @property
    def variance_errors(self) -> Array:
        """Relative errors of the variance over all directions, ascending (D,): `theory.variance_errors`."""
        return theory.variance_errors(self.predicted_covariance, self.target)

    @property
    def worst_variance_error(self) -> float:
        """The larger of the two ends of `variance_errors`, in size."""
        return float(np.abs(self.variance_errors).max())

    @property
    def mean_error(self) -> float:
        """How far the mean is predicted to be from the target's in the worst direction, in standard deviations of the target."""
        return distance(self.predicted_mean - self.where.law.mean, self.target)

    @functools.cached_property
    def noise_sensitivity(self) -> float:
        """How far a variance would move, relatively, if the noise were everywhere that at the mode: 0 if it is constant.

        The largest |variance error| between the law with C at the mode and the law with C̄, at one and the same step. NaN where
        there is no linear chain.
        """
        if self.chain is None:
            return math.nan
        law = self.where.law
        other = self.process.linear(self.where.hessian, law.mode_gradient_covariance, self.problem.num_examples)
        moved = other.average(self.window) if self.window > 1 else other.covariance
        return float(np.abs(theory.variance_errors(moved, self.predicted_covariance)).max())

    @property
    def expected_error(self) -> float:
        """Worst relative error to expect of a second moment about the target's mean.

        The largest of the errors of variance plus `mean_error`², which is what a mean that is off adds in its direction, and
        `noise_sensitivity`² for noise that drifts.

        Using C̄ for C(θ) is correct to first order. The error is of second order: about `noise_sensitivity`². Breast cancer, batch
        32, against NUTS: constant SGD 0.85 expected, 0.75 measured; corrected Langevin 0.04 and 0.14, where the Gaussian law that
        it aims at is itself 0.27 off (tests/infer/test_choice.py).
        """
        sensitivity, shift = self.noise_sensitivity, self.predicted_mean - self.where.law.mean
        about = theory.variance_errors(self.predicted_covariance + np.outer(shift, shift), self.target)
        worst = max(-float(self.variance_errors[0]), float(about[-1]))
        return worst + (0.0 if math.isnan(sensitivity) else sensitivity**2)

    @property
    def direction_errors(self) -> Array:
        """Relative error of the variance along each eigenvector of the target (D,), the widest direction first."""
        values, vectors = axes(self.target)
        along = np.einsum("di,de,ei->i", vectors, self.predicted_covariance, vectors, optimize=True)
        return np.asarray((along / values - 1)[::-1])

    @functools.cached_property
    def widths(self) -> Widths:
        """Sandwich against posterior variance, by parameter, and whether a right model would have it so."""
        return widths_at(self.problem, self.where.law)

    @functools.cached_property
    def nearness(self) -> measure.Nearness:
        """How far the Gaussian law, the target, is from the posterior itself: `measure.nearness`."""
        law = self.where.law
        return measure.nearness(self.problem, law.mean, law.covariance) if law.nearness is None else law.nearness

    @functools.cached_property
    def shape(self) -> Shape | None:
        """How far from Gaussian the draws will be because a few examples make most of the noise; None where it is not predicted."""
        if self.window > 1 or "batch_size" not in self.settings:
            return None
        where, size = self.where, self.settings["batch_size"]
        return expected_shape(self.problem, where.mean, self.target, self.chain, size, where.hessian)

    @functools.cached_property
    def doubts(self) -> tuple[str, ...]:
        """What mean and covariance do not tell beforehand, in sentences: a shape that is not Gaussian, noise that rests on a quadratic loss."""
        return tuple(doubts_of(self.shape, self.nearness, self.drift_matters, kl_limit(len(self.target))))

    def expectation(self) -> Expectation:
        """How far every eigendirection of the target is expected to be off, and the verdict before anything is run."""
        predicted, target = (self.predicted_mean, self.predicted_covariance), (self.where.law.mean, self.target)
        names = self.problem.parameter_names
        return expected(self.method, names, predicted, target, self.widths, self._foreseen())

    @property
    def kl_to_target(self) -> float:
        """KL(sampler ‖ target), nats: the direction that tuning minimises."""
        return theory.gaussian_kl(self.predicted_covariance, self.target, self.predicted_mean, self.where.law.mean)

    @property
    def kl_from_target(self) -> float:
        """KL(target ‖ sampler), nats: the direction in which papers report it."""
        return theory.gaussian_kl(self.target, self.predicted_covariance, self.where.law.mean, self.predicted_mean)

    def effective_draws(self, num_steps: int, num_chains: int = 1) -> float:
        """Independent draws that so many steps after burn-in are worth in the worst direction, for means and for variances."""
        steps, chains = _checks.integer("num_steps", num_steps), _checks.integer("num_chains", num_chains)
        return chains * steps / max(self.iact, 1.0)

    def length(self, num_draws: int, thin: int | None = None, burn_in: int | None = None) -> Length:
        """Return the steps that `num_draws` draws a chain take: thinned by the worst autocorrelation time unless told otherwise."""
        if self.window > 1 and thin is not None and thin != self.window:
            msg = f"thin must be None or the window {self.window}: every window is one draw, got {thin}."
            raise ValueError(msg)
        return plan_length(
            self.iact, self.relaxation_time, num_draws=num_draws, thin=thin, burn_in=burn_in, window=self.window
        )

    def cost(self, num_draws: int = 1000, num_chains: int = 4) -> Cost:
        """Return the steps a chain and the example gradients in all that so many draws a chain take."""
        chains = _checks.integer("num_chains", num_chains)
        steps = self.length(num_draws).num_steps
        each = self.settings["batch_size"] * (2 if self.settings.get("control_variate") else 1)
        gradients = steps * chains * each
        return Cost(steps, gradients, gradients / self.problem.num_examples)

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
        """Run from the predicted law and judge the outcome.

        Parameters
        ----------
        num_draws, num_chains, key
            Draws a chain, chains, seed.
        thin, burn_in
            Steps between draws and before the first; None: as predicted.
        progress
            As in `simulate`; True also prints the planned steps.
        simulation
            dtype, checkpoint, workers, threads: as in `simulate`; dtype None: float32, or float64 where rounding would be seen.
        """
        check_run(
            num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation=simulation,
            progress=progress, own=self.run,
        )  # fmt: skip
        length = self.length(num_draws, thin, burn_in)
        self._check_enough(length, num_chains)
        if simulation.get("dtype") is None and self.rounding("float32").added > UNSEEN:
            simulation["dtype"] = "float64"
        planned = f"{length.num_steps:,} steps (burn-in {length.burn_in:,}, one draw every {length.thin:,})"
        announce(f"{self.method}: {num_chains} chains of {planned}", progress)
        keep = record.averages(self.window) if self.window > 1 else record.draws(length.thin)
        run = simulate(
            self.problem,
            self.process,
            num_steps=length.num_steps,
            num_chains=num_chains,
            key=key,
            init=(self.problem.unflatten(self.where.mean), self.start),
            burn_in=length.burn_in,
            record=[keep, record.moments()],
            progress=progress,
            on_divergence="keep",
            **simulation,
        )
        return self._posterior(run, length, num_chains)

    def extend(self, made: Posterior, num_draws: int, *, progress: Any = True) -> Posterior:
        """Go on with the run behind `made` for so many more draws a chain (see `Posterior.extend`)."""
        more = made.draws.shape[1] + _checks.integer("num_draws", num_draws)
        length = self.length(more, made.settings["thin"], made.settings["burn_in"])
        run = made.run.extend(length.num_steps - made.run.num_steps, progress=progress, on_divergence="keep")
        return self._of(length)._posterior(run, length, made.settings["num_chains"])

    def _of(self, length: Length) -> Plan:
        """Return the plan of a run of this length: this one, unless the law depends on the length."""
        del length
        return self

    def _check_enough(self, length: Length, num_chains: int) -> None:
        """Refuse a run of too few states for the covariance that it will be judged by."""
        dim, states = len(self.predicted_mean), num_chains * (length.num_steps - length.burn_in) // self.window
        if states <= dim:
            what = "draws" if self.window > 1 else "steps after burn-in"
            msg = (
                f"num_draws must be larger: {states} {what} of all chains together are no more than D = {dim}, too few for a "
                "covariance to judge the run by."
            )
            raise ValueError(msg)

    def rounding(self, dtype: Any) -> Rounding:
        """Return what a run in this dtype would add to the variances by rounding the params."""
        names = self.problem.parameter_names
        return rounding_of(self.predicted_mean, self.start, self.relaxation_time, dtype, names)

    def _posterior(self, run: Any, length: Length, num_chains: int) -> Posterior:
        if not len(run.chains):
            lost = Divergence(run)
            if self.thrown is not None:
                lost.args = (f"{str(lost).split(' The usual cause')[0]} {self.thrown(self)}",)
            raise lost
        with keeping(run):
            draws = run.averages if self.window > 1 else run.draws
        verdict, effective = verified(self, run, draws, length.num_steps - length.burn_in, num_chains)
        used = {**length._asdict(), "at": self.where.at, "num_chains": num_chains, **self.settings}
        return Posterior(
            self.method,
            draws,
            self.problem.parameter_names,
            self.predicted_mean,
            self.predicted_covariance,
            effective,
            verdict,
            used,
            run,
            plan=self,
            problem=self.problem,
        )

    def law_nearness(self) -> measure.Nearness | None:
        """How near the law that is the target is to the posterior; None where another is the target."""
        tempered = self.where.at == "tempered"  # then the law's nearness is that to the tempered posterior
        return self.nearness if tempered or np.array_equal(self.target, self.where.law.covariance) else None

    def judged(self, simulated: tuple[Array, Array] | None, effective_draws: float, **found: Any) -> Verdict:
        """Judge after a run, from what its judges found."""
        return judge(
            dim=len(self.predicted_mean),
            noise_drift=self.where.law.noise_drift,
            drift_matters=self.drift_matters,
            simulated=simulated,
            predicted=(self.predicted_mean, self.predicted_covariance),
            target=(self.where.law.mean, self.target),
            effective_draws=effective_draws,
            remedy=remedy_for(self.method, self.settings),
            **found,
        )

    def _foreseen(self) -> Verdict:
        """Judge before the run."""
        return self.judged(None, math.nan, shape=self.shape, widths=self.widths, nearness=self.law_nearness())

    def __str__(self) -> str:
        low, high = self.variance_errors[[0, -1]]
        said = f"variances {1 + low:.3g} to {1 + high:.3g} times the target's"
        level = self._foreseen().level
        moved = self.mean_error
        off = f", the mean {moved:.2g} standard deviations off" if moved > SHIFT_TOLD else ""
        told = f"{self.method}: expected {level}, {said}{off} (KL {self.kl_to_target:.3g})"
        cost = f"one effective draw every {max(self.iact, 1.0):.3g} steps, burn-in {self.length(1).burn_in:,}"
        return " ".join([f"{told}; {cost}.", *self.warnings])
