"""Stochastic gradient Langevin dynamics, its bias predicted before it runs: constant or falling steps, any sampling."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Unpack

import numpy as np

from gradnoise import _checks, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.plans.falling_plan import TOLD, DecreasingPlan
from gradnoise.infer.plans.langevin_step import check_edge, largest_step, rates_of, within_budget
from gradnoise.infer.plans.own_law import OwnLaw, own_law
from gradnoise.infer.plans.place import Place, check_independent
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.infer.verdicts.readable import number, percent
from gradnoise.oracles import minibatch
from gradnoise.processes import Decreasing
from gradnoise.processes import langevin as langevin_process
from gradnoise.processes.langevin_dynamics import checked_schedule
from gradnoise.theory.linear.chain import longest_memory

FEW = 50  # examples times batch size below which the law of shuffled epochs is only roughly what is predicted


@sampler
def langevin(
    problem: Any,
    *,
    batch_size: int,
    step_size: float | None = None,
    max_variance_error: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    schedule: str | Decreasing = "constant",
    sampling: str = "with_replacement",
    drop_last: bool = True,
    **settings: Unpack[Settings],
) -> Plan:
    """Sample with stochastic gradient Langevin dynamics (SGLD), θ ← θ - (ε/2) N P ĝ + √ε P^½ V.

    Its law at a finite step is wider than the posterior by what the minibatch noise and the step add; both are predicted, with
    curvature and noise averaged over that wider law itself.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement", "without_replacement" or "shuffled" (epochs, whose noise nearly cancels: a smaller bias).
    drop_last
        Shuffled epochs only. True: the last N mod B examples of an epoch are left out. False: they are a smaller batch, as
        data loaders give by default; far smaller than B it adds more noise than it spares.
    step_size
        ε (of the first step, where steps fall); None: the largest at which no variance is wrong by more than
        `max_variance_error`.
    max_variance_error
        Budget for the relative error of every variance. Only used if `step_size` is None.
    preconditioner
        P: None (identity; ε in parameter²), "curvature" (the predicted posterior covariance, so that ε is a number and every
        direction relaxes at the rate ε/2), or a matrix (D, D).
    schedule
        "constant", or `processes.Decreasing(offset, power)`: ε_t = ε (1 + t/offset)^(-power). The kept draws are then weighted
        equally in `.draws`; `settings["weights"]` holds their steps' shares, and `settings["step_weighted_covariance"]` the law
        of the average that uses them.
    num_draws, num_chains, key, at, thin, burn_in, mode, law, num_law_draws, progress, simulation
        As in `constant_sgd`. Falling steps are thinned so that the run is worth `num_draws` independent draws.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs; where the step is beyond the edge, or the noise has no stationary variance.

    References
    ----------
    Welling and Teh (2011); Mandt, Hoffman, Blei (2017), §5.1, corrected in `theory.langevin_covariance`; shuffled epochs:
    Shaw and Whalley (2025), arXiv 2501.16055.
    """
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    dropped = _checks.drop_last(drop_last, kind)
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, kind)
    epsilon = None if step_size is None else _checks.positive("step_size", step_size)
    budget = _checks.positive("max_variance_error", max_variance_error)
    falling = None if isinstance(schedule, str) else checked_schedule(schedule)
    if isinstance(schedule, str):
        _checks.one_of("schedule", schedule, ("constant",))
    if falling is not None:
        check_independent(kind, "the law of epochs with a falling schedule is not known.")
    wish = _preconditioner(preconditioner, problem.num_params)
    where = place_of(problem, settings)
    matrix = where.covariance if isinstance(wish, str) else wish
    noise: dict[str, Any] = {"num_examples": problem.num_examples, "batch_size": size, "sampling": kind}
    if kind == "shuffled":
        noise["drop_last"] = dropped

    def made(step: float, rough: bool = False, start: Array | None = None) -> Plan:
        return _at_step(problem, where, step, wish, matrix, noise, rough=rough, start=start)

    if epsilon is None:
        step = largest_step(where, matrix, budget, noise)
        tuned = within_budget(made, where, step, matrix, budget, noise)
    else:
        check_edge(epsilon, where, matrix, noise)
        tuned = made(epsilon)
    if epsilon is None:
        step = tuned.settings["step_size"]
        tuned = dataclasses.replace(tuned, warnings=tuned.warnings + _no_gain(where, step, matrix, noise, budget))
    if falling is None:
        return tuned
    process = _process(problem, tuned.settings["step_size"], matrix, noise, falling)
    schedule = f"falling, offset {falling.offset:g}, power {falling.power:g}"
    tuned = dataclasses.replace(tuned, process=process, settings={**tuned.settings, "schedule": schedule})
    return DecreasingPlan.of(tuned, falling, matrix, noise)


def _at_step(
    problem: Any,
    where: Place,
    epsilon: float,
    wish: str | Array | None,
    matrix: Array | None,
    noise: dict[str, Any],
    *,
    rough: bool,
    start: Array | None,
) -> Plan:
    """Plan at one constant step."""
    own = _own(problem, where, epsilon, matrix, noise, rough=rough, start=start)
    settings = {
        "batch_size": noise["batch_size"],
        "step_size": epsilon,
        "preconditioner": "identity" if wish is None else wish if isinstance(wish, str) else "matrix",
        "schedule": "constant",
        "sampling": noise["sampling"],
        "learning_rate": epsilon * problem.num_examples / 2,
    } | ({"drop_last": noise["drop_last"]} if "drop_last" in noise else {})
    process = _process(problem, epsilon, matrix, noise, None)
    name = "SGLD" if wish is None else f"preconditioned SGLD ({settings['preconditioner']})"
    wide = float(theory.variance_errors(own.covariance, where.law.covariance)[-1]) > TOLD
    told: tuple[str, ...] = (bias_sentence(where, own, epsilon, matrix, noise),) if wide else ()
    told += _of_small_epochs(noise)
    return _plan(name, problem, process, where, own, settings, told, sampling=noise["sampling"])


def _of_small_epochs(noise: dict[str, Any]) -> tuple[str, ...]:
    """Say where an epoch's batches differ too much for the split of their noise: the figures are of `tests/infer/test_langevin.py`."""
    worth = noise["num_examples"] * noise["batch_size"]
    if noise["sampling"] != "shuffled" or worth >= FEW:
        return ()
    return (
        f"Epochs this small (N·B = {worth}, below {FEW}) differ in curvature from batch to batch more than this prediction allows for: on "
        "linear regressions of that size variances were 0.88 to 1.08 times the predicted ones, and the mean up to 0.08 standard deviations off.",
    )


def _process(
    problem: Any, epsilon: float, matrix: Array | None, noise: dict[str, Any], falling: Decreasing | None
) -> Any:
    return langevin_process(
        minibatch(noise["batch_size"], noise["sampling"], noise.get("drop_last", True)),
        learning_rate=epsilon * problem.num_examples / 2,
        num_examples=problem.num_examples,
        preconditioner=matrix,
        schedule=falling,
    )


def _preconditioner(preconditioner: Any, dim: int) -> str | Array | None:
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        return _checks.one_of("preconditioner", preconditioner, ("curvature",))
    return _checks.symmetric("preconditioner", preconditioner, dim, definite="positive")


def _own(
    problem: Any,
    where: Place,
    epsilon: float,
    matrix: Array | None,
    noise: dict[str, Any],
    *,
    rough: bool,
    start: Array | None,
) -> OwnLaw:
    """Law of the iterates with H and C averaged over it."""
    plain = theory.langevin_covariance(
        where.hessian, where.gradient_covariance, step_size=epsilon, preconditioner=matrix, **noise
    )
    injected = epsilon * (np.eye(len(plain)) if matrix is None else matrix)
    return own_law(
        problem,
        where,
        plain,
        step="step_size",
        learning_rate=epsilon * noise["num_examples"] / 2,
        batch_size=noise["batch_size"],
        sampling=noise["sampling"],
        drop_last=noise.get("drop_last", True),
        preconditioner=matrix,
        injected=injected,
        rough=rough,
        start=start,
    )


def _plan(
    method: str, problem: Any, process: Any, where: Place, own: OwnLaw, settings: dict[str, Any],
    warnings: tuple[str, ...], *, sampling: str,
) -> Plan:  # fmt: skip
    """Plan with a constant step. Epochs forget no slower than full batches: their noise adds spread, hardly any memory."""
    shuffled = sampling == "shuffled"
    chain = theory.linear_chain(
        own.hessian,
        np.zeros_like(own.hessian) if shuffled else own.gradient_covariance,
        learning_rate=float(process.learning_rate),
        preconditioner=process.preconditioner,
        injected=np.eye(len(own.mean)) * process.root**2
        if not np.ndim(process.root)
        else _checks.symmetrised(process.root @ process.root.T),
        batch_size=settings["batch_size"],
        sampling="with_replacement" if shuffled else sampling,
        num_examples=problem.num_examples,
    )
    iact = longest_memory(chain)
    return Plan(
        method=method,
        problem=problem,
        process=process,
        where=where,
        predicted_mean=own.mean,
        predicted_covariance=own.covariance,
        target=where.law.covariance,
        start=own.covariance,
        iact=_through_all_positions(iact, _steps_per_epoch(problem.num_examples, settings)) if shuffled else iact,
        relaxation_time=chain.relaxation_time,
        drift_matters=False,
        chain=None if shuffled else chain,
        settings=settings,
        warnings=warnings,
    )


def _steps_per_epoch(num_examples: int, settings: dict[str, Any]) -> int:
    whole, rest = divmod(num_examples, int(settings["batch_size"]))
    return whole + int(rest > 0 and not settings["drop_last"])


def _through_all_positions(iact: float, per_epoch: int) -> float:
    """Return the steps between draws, prime to those of an epoch: draws see every position, over which the law is averaged."""
    step = max(1, math.ceil(iact - 1e-9))
    while math.gcd(step, per_epoch) > 1:
        step += 1
    return float(step)


def _no_gain(
    where: Place, epsilon: float, matrix: Array | None, noise: dict[str, Any], budget: float
) -> tuple[str, ...]:
    """Say where corrected Langevin, without bias, needs no more steps."""
    if noise["sampling"] == "shuffled":
        return ()
    rate = epsilon * noise["num_examples"] / 2 * float(rates_of(where, matrix)[0])
    tuned = theory.corrected_langevin_tuning(where.hessian, where.gradient_covariance, **noise)
    ours, theirs = (2 - rate) / rate, (2 - tuned.eta) / tuned.eta
    if ours <= theirs:
        return ()
    return (
        f"Within {percent(budget)} it takes {number(ours)} steps for an independent draw; corrected Langevin takes "
        f"{number(theirs)} and has no bias: there is no gain in SGLD here.",
    )


def bias_sentence(where: Place, own: OwnLaw, epsilon: float, matrix: Array | None, noise: dict[str, Any]) -> str:
    """Say how much too wide SGLD will be, and how much of that the minibatch noise and the step add, in plain words."""
    target = where.law.covariance
    root = np.linalg.cholesky(np.linalg.inv(target))
    values, vectors = np.linalg.eigh(root.T @ own.covariance @ root)
    widest = root @ vectors[:, -1]  # widestᵀ target widest = 1
    full_batch = theory.langevin_covariance(
        own.hessian, np.zeros_like(target), step_size=epsilon, num_examples=noise["num_examples"], batch_size=1,
        preconditioner=matrix,
    )  # fmt: skip
    step = float(widest @ full_batch @ widest) - 1
    if values[-1] <= 1:
        return f"SGLD at this step on this data will be no wider than the posterior in any direction (variance {values[-1]:.3g} times at most)."
    return (
        f"SGLD at this step on this data will be {values[-1]:.3g} times too wide in its widest direction (minibatch noise adds "
        f"{number(round(values[-1] - 1 - step, 6))}, the step {number(round(step, 6))})."
    )
