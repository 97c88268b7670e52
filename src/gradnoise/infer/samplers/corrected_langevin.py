"""Corrected Langevin: the injected noise is exactly what the minibatch noise lacks. The recommended sampler."""

from __future__ import annotations

from typing import Any, Unpack

from gradnoise import _checks, derivatives, theory
from gradnoise.infer.large.large_plan import LargePlan, plan_large_langevin
from gradnoise.infer.large.structured_step import KINDS, dense_structure
from gradnoise.infer.plans.adaptation import adapted
from gradnoise.infer.plans.chain_plan import from_chain
from gradnoise.infer.plans.place import Place, check_independent
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.oracles import minibatch
from gradnoise.processes import langevin
from gradnoise.processes.langevin_dynamics import Langevin


@sampler
def corrected_langevin(
    problem: Any,
    *,
    batch_size: int,
    fraction: float = 0.5,
    preconditioner: str | None = None,
    rank: int = 10,
    sampling: str = "with_replacement",
    adapt: bool = False,
    **settings: Unpack[Settings],
) -> Plan | LargePlan:
    """Sample θ ← θ - Pĝ + ξ with P = ηA⁻¹ and Cov ξ = (1 - (1-η)²)(NA)⁻¹ - P(C/B)P: exact at a finite step on a quadratic.

    Every direction relaxes at the same rate η = fraction·η_max, whatever the conditioning, and directions that the data
    leave to the prior are sampled too.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement" or "without_replacement".
    fraction
        Share of the largest admissible η, in (0, 1). Smaller is slower and depends less on the noise being constant.
    preconditioner, rank
        "full" (H⁻¹: the law is the posterior's at any step), or for many parameters "diagonal" (1/H_kk) or "low_rank" (the `rank`
        stiffest directions of H, one step for the rest): the correction is then right for that part of H and C alone, and the
        bias that is left, of the order of the step, is predicted. None: "full"; above 1000 parameters "low_rank".
    num_draws, num_chains, key, at, thin, burn_in, mode, law, num_law_draws, adapt, progress, simulation
        As in `constant_sgd`.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs.
    """
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
    check_independent(sampling, "the correction assumes noise that is independent from step to step.")
    large = problem.num_params > derivatives.DENSE
    usual = "low_rank" if large else "full"
    kind = usual if preconditioner is None else _checks.one_of("preconditioner", preconditioner, KINDS)
    if kind == "low_rank":
        _checks.integer("rank", rank, high=problem.num_params - 1)
    share = _checks.within("fraction", fraction, 1e-9, 1.0, closed="left")
    _checks.flag("adapt", adapt)
    if large:
        at = settings.get("at", "posterior")
        if kind == "full" or at != "posterior" or adapt:
            msg = f"preconditioner must be 'diagonal' or 'low_rank' (None), at and adapt left alone above {derivatives.DENSE} parameters, got {kind!r}, {at!r}, {adapt}."
            raise ValueError(msg)
        return plan_large_langevin(
            problem,
            batch_size=size,
            preconditioner=kind,
            rank=rank,
            fraction=share,
            mode=settings.get("mode"),
            sampling=sampling,
            key=settings.get("key", 0),
        )
    where = place_of(problem, settings)

    def tuned(where: Place) -> Plan:
        if kind != "full":
            return _structured(problem, where, share, size, sampling, kind, rank)
        return _tuned(problem, where, share, size, sampling)

    return adapted(tuned, where, key=settings.get("key", 0)) if adapt else tuned(where)


def _tuned(problem: Any, where: Place, share: float, size: int, sampling: str) -> Plan:
    common: dict[str, Any] = {"batch_size": size, "num_examples": problem.num_examples, "sampling": sampling}
    tuned = theory.corrected_langevin_tuning(where.hessian, where.gradient_covariance, fraction=share, **common)
    chain = theory.linear_chain(
        where.hessian,
        where.gradient_covariance,
        learning_rate=1.0,
        preconditioner=tuned.preconditioner,
        injected=tuned.injected_covariance,
        **common,
    )
    process = langevin(
        minibatch(size, sampling),
        learning_rate=1.0,
        preconditioner=tuned.preconditioner,
        injected_covariance=tuned.injected_covariance,
    )
    return from_chain(
        "corrected Langevin",
        problem,
        process,
        chain,
        where,
        drift_matters=False,
        settings={"batch_size": size, "fraction": share, "eta": tuned.eta, "eta_max": tuned.eta_max},
    )


def _structured(problem: Any, where: Place, share: float, size: int, sampling: str, kind: str, rank: int) -> Plan:
    examples = problem.num_examples
    noise = theory.batch_noise(where.gradient_covariance, batch_size=size, sampling=sampling, num_examples=examples)
    made = dense_structure(where.hessian, noise, kind=kind, rank=rank, num_examples=examples, fraction=share)
    process = Langevin(minibatch(size, sampling), 1.0, made.preconditioner, made.root)
    chain = process.linear(where.hessian, where.gradient_covariance, examples)
    assert isinstance(chain, theory.LinearChain)
    name = "diagonal" if kind == "diagonal" else f"rank {rank}"
    settings = {"batch_size": size, "fraction": share, "eta": made.eta, "eta_max": made.eta_max, "preconditioner": kind}
    return from_chain(
        f"corrected Langevin ({name})", problem, process, chain, where, drift_matters=False, settings=settings
    )
