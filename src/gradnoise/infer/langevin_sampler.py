"""Stochastic gradient Langevin dynamics, its bias predicted before it runs: constant or falling steps, any sampling."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np
from scipy.optimize import brentq

from gradnoise import _checks, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.decreasing import TOLD, DecreasingPlan
from gradnoise.infer.planned import Plan
from gradnoise.infer.posterior import Posterior
from gradnoise.infer.sampler import Place, Simulation, check_independent, check_run, place
from gradnoise.infer.settled import OwnLaw, own_law
from gradnoise.oracles import minibatch
from gradnoise.processes import Decreasing
from gradnoise.processes import langevin as langevin_process
from gradnoise.processes.overdamped import checked_schedule

RETRIES = 6


def langevin(
    problem: Any,
    *,
    batch_size: int,
    step_size: float | None = None,
    max_variance_error: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    schedule: str | Decreasing = "constant",
    num_draws: int = 1000,
    num_chains: int = 4,
    key: Any = 0,
    at: str = "posterior",
    sampling: str = "with_replacement",
    thin: int | None = None,
    burn_in: int | None = None,
    mode: Any = None,
    law: Any = None,
    num_law_draws: int | None = None,
    progress: Any = True,
    **simulation: Unpack[Simulation],
) -> Posterior:
    """Sample with stochastic gradient Langevin dynamics (SGLD), θ ← θ - (ε/2) N P ĝ + √ε P^½ V.

    Its law at a finite step is wider than the posterior by what the minibatch noise and the step add; both are predicted, with
    curvature and noise averaged over that wider law itself.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement", "without_replacement" or "shuffled" (epochs, whose noise nearly cancels: a smaller bias).
    step_size
        ε (of the first step, where steps fall); None: the largest at which no variance is wrong by more than
        `max_variance_error`.
    max_variance_error
        Budget for the relative error of every variance; used without a `step_size` alone.
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
    check_run(num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation=simulation)
    plan = plan_langevin(
        problem,
        batch_size=batch_size,
        step_size=step_size,
        max_variance_error=max_variance_error,
        preconditioner=preconditioner,
        schedule=schedule,
        at=at,
        sampling=sampling,
        mode=mode,
        law=law,
        num_law_draws=num_law_draws,
        key=key,
    )
    return plan.run(
        num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, progress=progress, **simulation
    )


def plan_langevin(
    problem: Any,
    *,
    batch_size: int,
    step_size: float | None = None,
    max_variance_error: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    schedule: str | Decreasing = "constant",
    at: str = "posterior",
    sampling: str = "with_replacement",
    mode: Any = None,
    law: Any = None,
    num_law_draws: int | None = None,
    key: Any = 0,
) -> Plan:
    """Choose the step and predict the law; arguments as in `langevin`, `key` for the variational law."""
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    size = _checks.batch_size(batch_size, problem.num_examples, kind)
    epsilon = None if step_size is None else _checks.positive("step_size", step_size)
    budget = _checks.positive("max_variance_error", max_variance_error)
    falling = None if isinstance(schedule, str) else checked_schedule(schedule)
    if isinstance(schedule, str):
        _checks.one_of("schedule", schedule, ("constant",))
    if falling is not None:
        check_independent(kind, "the law of epochs with a falling schedule is not known.")
    wish = _preconditioner(preconditioner, problem.num_params)
    where = place(problem, at, mode=mode, law=law, num_law_draws=num_law_draws, key=key)
    matrix = where.covariance if isinstance(wish, str) else wish
    noise: dict[str, Any] = {"num_examples": problem.num_examples, "batch_size": size, "sampling": kind}
    chosen = epsilon is None
    if epsilon is None:
        epsilon = _largest_step(where, matrix, budget, noise)
    own = _own(problem, where, epsilon, matrix, noise)
    for _ in range(RETRIES if chosen and at == "posterior" else 0):  # noise that grows with the law
        worst = _worst(own.covariance, where)
        if worst <= budget:
            break
        epsilon *= 0.98 * budget / worst
        own = _own(problem, where, epsilon, matrix, noise)
    told = _warnings(where, own, epsilon, matrix, noise, chosen=chosen, budget=budget)
    settings = {
        "batch_size": size,
        "step_size": epsilon,
        "preconditioner": "identity" if wish is None else wish if isinstance(wish, str) else "matrix",
        "schedule": "constant" if falling is None else f"falling, offset {falling.offset:g}, power {falling.power:g}",
        "sampling": kind,
        "learning_rate": epsilon * problem.num_examples / 2,
    }
    process = langevin_process(
        minibatch(size, kind),
        learning_rate=epsilon * problem.num_examples / 2,
        num_examples=problem.num_examples,
        preconditioner=matrix,
        schedule=falling,
    )
    made = _plan("SGLD" if wish is None else f"preconditioned SGLD ({settings['preconditioner']})", problem, process, where,
                 own, settings, told, sampling=kind)  # fmt: skip
    return made if falling is None else DecreasingPlan.of(made, falling, matrix, noise)


def _preconditioner(preconditioner: Any, dim: int) -> str | Array | None:
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        return _checks.one_of("preconditioner", preconditioner, ("curvature",))
    return _checks.symmetric("preconditioner", preconditioner, dim, definite="positive")


def _worst(covariance: Array, where: Place) -> float:
    return float(np.abs(theory.variance_errors(covariance, where.law.covariance)).max())


def _largest_step(where: Place, matrix: Array | None, budget: float, noise: dict[str, Any]) -> float:
    """Largest ε at which no variance is wrong by more than the budget, with the noise of the posterior."""
    values = np.linalg.eigvals(where.hessian if matrix is None else matrix @ where.hessian).real
    edge = 4 / (noise["num_examples"] * float(values.max()))

    def over(log_step: float) -> float:
        error = theory.langevin_error(
            where.hessian, where.gradient_covariance, step_size=math.exp(log_step), preconditioner=matrix, **noise
        )
        return float(np.abs(error.relative).max()) - budget

    top = math.log(edge * (1 - 1e-6))
    low = top - 1.0
    while over(low) > 0:
        low -= 1.0
    return math.exp(low if over(top) <= 0 else brentq(over, low, top, xtol=1e-6))


def _own(problem: Any, where: Place, epsilon: float, matrix: Array | None, noise: dict[str, Any]) -> OwnLaw:
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
        preconditioner=matrix,
        injected=injected,
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
        else process.root @ process.root.T,
        batch_size=settings["batch_size"],
        sampling="with_replacement" if shuffled else sampling,
        num_examples=problem.num_examples,
    )
    iact = max(chain.worst_iact(), chain.worst_iact(quadratic=True))
    return Plan(
        method=method,
        problem=problem,
        process=process,
        where=where,
        predicted_mean=own.mean,
        predicted_covariance=own.covariance,
        target=where.law.covariance,
        start=own.covariance,
        iact=_through_all_positions(iact, problem.num_examples // settings["batch_size"]) if shuffled else iact,
        relaxation_time=chain.relaxation_time,
        drift_matters=False,
        chain=None if shuffled else chain,
        settings=settings,
        warnings=warnings,
    )


def _through_all_positions(iact: float, per_epoch: int) -> float:
    """Return the steps between draws, prime to those of an epoch: draws see every position, over which the law is averaged."""
    step = max(1, math.ceil(iact - 1e-9))
    while math.gcd(step, per_epoch) > 1:
        step += 1
    return float(step)


def _warnings(
    where: Place, own: OwnLaw, epsilon: float, matrix: Array | None, noise: dict[str, Any], *, chosen: bool, budget: float
) -> tuple[str, ...]:  # fmt: skip
    said = []
    if _worst(own.covariance, where) > TOLD:
        said.append(bias_sentence(where, own, epsilon, matrix, noise))
    if chosen and noise["sampling"] != "shuffled":
        slow = float(np.linalg.eigvals(where.hessian if matrix is None else matrix @ where.hessian).real.min())
        rate = epsilon * noise["num_examples"] / 2 * slow
        tuned = theory.corrected_langevin_tuning(where.hessian, where.gradient_covariance, **noise)
        ours, theirs = (2 - rate) / rate, (2 - tuned.eta) / tuned.eta
        if ours > theirs:
            said.append(
                f"Within {100 * budget:.3g} % it takes {ours:,.0f} steps for an independent draw; corrected Langevin takes "
                f"{theirs:,.0f} and has no bias: there is no gain in SGLD here."
            )
    return tuple(said)


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
    return (
        f"SGLD at this step on this data will be {values[-1]:.3g} times too wide in its widest direction (minibatch noise adds "
        f"{round(values[-1] - 1 - step, 6):.2g}, the step {round(step, 6):.2g})."
    )
