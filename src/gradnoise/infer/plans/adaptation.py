"""Curvature and noise measured where the sampler really goes, at absolute step marks, and the step tuned anew from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise import derivatives, theory
from gradnoise._types import Array
from gradnoise.engine import record, simulate
from gradnoise.infer.plans.place import Place
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.verdicts.judges import Judges
from gradnoise.stream import seed_of

STATES = 2048  # iterates that each re-estimate averages over; fewer for large data, see WORK
WORK = 1e10  # rows times states times D² of one re-estimate: a second or two
CHAINS = 64
MARKS = 8
SETTLED = 0.0005  # nats a parameter between two predictions in a row


def adapted(retune: Callable[[Place], Plan], where: Place, *, key: Any = 0) -> Plan:
    """Re-estimate H and C over the sampler's own iterates until its prediction no longer changes.

    The rule: 64 chains (65 of 64 parameters) run from the predicted law. At the marks t_k = t_1·2^(k-1), with t_1 twice the burn-in, H̄ and C̄ are
    averaged over 2048 iterates of the last half before the mark (fewer where N·D² is large, at least 32), and the step is
    tuned anew from the mean of the old and the new values. It ends when two predictions in a row differ by at most 0.0005 nats
    a parameter (KL of the covariances), or at the eighth mark: then the plan carries a warning.

    Parameters
    ----------
    retune
        Makes the plan from a `Place`.
    where
        Where tuning starts.
    key
        Seed of the trial runs.

    Returns
    -------
    Plan
        Its `settings["noise_marks"]` lists (step, Tr C̄) of every mark, `settings["noise_settled"]` says whether it settled.
    """
    seed, plan, marks = seed_of(key), retune(where), []
    problem, size = plan.problem, len(where.mean)
    chains = CHAINS + (size == CHAINS)  # (64, 64) would read as a covariance
    init: Any = (problem.unflatten(where.mean), plan.start)
    reached, mark = 0, 2 * max(plan.length(1).burn_in, 1)
    for _ in range(MARKS):
        steps = mark - reached
        every = max(1, steps // 2 // max(1, _states(problem, size) // chains))
        run = simulate(
            problem,
            plan.process,
            num_steps=steps,
            num_chains=chains,
            key=seed + reached,
            init=init,
            burn_in=steps // 2,
            record=record.draws(every),
            progress=False,
            on_divergence="keep",
        )
        if len(run.diverged) == chains:
            msg = (
                f"adapt=True met {chains} of {chains} diverged chains before step {mark}: the start is too far from where the sampler "
                "settles. Use a smaller step (a larger batch_size, or infer.corrected_langevin)."
            )
            raise ValueError(msg)
        judges = Judges(run)
        found = judges.ask("the tuning anew", functools.partial(_again, retune, problem, where, run, plan), None)
        if found is None:  # the trial runs told nothing: the plan before stands, and says so
            failed = judges.failed[0].replace("No verdict", f"Not adapted beyond step {reached:,}", 1)
            return dataclasses.replace(plan, warnings=(*plan.warnings, failed))
        where, plan, change = found
        marks.append((mark, float(np.trace(where.gradient_covariance))))
        reached = mark
        if change <= SETTLED:
            break
        init, mark = np.asarray(run.draws)[np.arange(chains) % len(run.chains), -1], 2 * mark
    return _told(plan, marks, change)


def _again(
    retune: Callable[[Place], Plan], problem: Any, where: Place, run: Any, plan: Plan
) -> tuple[Place, Plan, float]:
    """Return the place measured over a run, the plan tuned there, and the change of its prediction, nats a parameter."""
    there = _measured(problem, where, np.asarray(run.draws, np.float64))
    new = retune(there)
    return there, new, theory.gaussian_kl(new.predicted_covariance, plan.predicted_covariance) / len(where.mean)


def _states(problem: Any, size: int) -> int:
    return int(min(STATES, max(32, WORK / (problem.num_examples * size**2))))


def _measured(problem: Any, where: Place, draws: Array) -> Place:
    """Return the place halfway to the H̄ and C̄ averaged over draws (chain, draw, D); the law that judges stays as it was."""
    flat = draws.reshape(-1, draws.shape[-1])
    count = min(len(flat), _states(problem, draws.shape[-1]))
    over = derivatives.averages(problem, flat[np.linspace(0, len(flat) - 1, count).astype(int)])
    return where._replace(
        hessian=(where.hessian + over.hessian) / 2,  # without the half the step overshoots and the two laws alternate
        gradient_covariance=(where.gradient_covariance + over.gradient_covariance) / 2,
        at="iterates",
    )


def _told(plan: Plan, marks: list[tuple[int, float]], change: float) -> Plan:
    settled = change <= SETTLED
    late = (
        f"The noise did not settle: at the last mark, step {marks[-1][0]:,}, the prediction still changed by {change:.2g} nats a "
        f"parameter (limit {SETTLED:g}).",
    )
    return dataclasses.replace(
        plan,
        settings={**plan.settings, "noise_marks": tuple(marks), "noise_settled": settled},
        warnings=plan.warnings if settled else (*plan.warnings, *late),
    )
