"""Stochastic gradient Fisher scoring (Ahn, Korattikara, Welling 2012), tuned exactly in discrete time."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from gradnoise import _checks, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.plans.chain_plan import from_chain
from gradnoise.infer.plans.own_law import own_law
from gradnoise.infer.plans.place import check_independent
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.oracles import minibatch
from gradnoise.processes import langevin
from gradnoise.theory.tuning.optimal import NoSetting

KINDS = ("full", "diagonal", "diagonal_closed", "scalar")
SHARE = 0.1  # of the mean gradient noise: injected where nothing else is asked for


@sampler
def fisher_scoring(
    problem: Any,
    *,
    batch_size: int,
    step_size: float | None = None,
    injected: ArrayLike | None = None,
    kind: str = "full",
    sampling: str = "with_replacement",
    **settings: Unpack[Settings],
) -> Plan:
    """Sample with θ ← θ - ε G ĝ + √ε G E w, w ~ N(0, I): constant SGD with a preconditioner and noise added to the gradient.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement" or "without_replacement". "shuffled" is refused: its noise nearly cancels over an epoch.
    step_size
        ε > 0; G is tuned to it, so that it matters only through `injected`. None: the best learning rate of plain SGD.
    injected
        E Eᵀ (D, D), gradient²·ε; None: a tenth of the mean gradient noise in every direction, 0.1 ε Tr(S)/D · I.
    kind
        G: "full" (the law is the posterior), "diagonal" (least KL), "diagonal_closed" (the paper's), "scalar".
    num_draws, num_chains, key, at, thin, burn_in, mode, law, num_law_draws, progress, simulation
        As in `constant_sgd`.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs; for a step beyond the stability edge, before anything is simulated.

    References
    ----------
    Mandt, Hoffman, Blei (2017), §5.2: G = (2/N)(εS + EEᵀ)⁻¹, here with the discrete-time term (ε/N)H that makes it exact.
    """
    _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
    check_independent(
        sampling,
        "within an epoch the noise of shuffled batches cancels, and the preconditioner is tuned to noise that does not.",
    )
    form = _checks.one_of("kind", kind, KINDS)
    epsilon = None if step_size is None else _checks.positive("step_size", step_size)
    added = None if injected is None else _checks.symmetric("injected", injected, problem.num_params, definite="semi")
    where = place_of(problem, settings)
    noise: dict[str, Any] = {"num_examples": problem.num_examples, "batch_size": size, "sampling": sampling}
    of = where.hessian, where.gradient_covariance
    if epsilon is None:
        epsilon = _best_rate(*of, noise)
    if added is None:
        per_step = theory.batch_noise(of[1], batch_size=size, sampling=sampling, num_examples=problem.num_examples)
        added = SHARE * epsilon * float(np.trace(per_step)) / len(per_step) * np.eye(len(per_step))
    gain = theory.fisher_scoring_preconditioner(*of, step_size=epsilon, injected=added, kind=form, **noise)
    stability = theory.stability_fraction(where.hessian, learning_rate=epsilon, preconditioner=gain)
    if stability >= 1:
        msg = (
            f"kind={form!r} gives a step {stability:.3g} times the stability edge, where nothing is stationary. Use kind='full', a "
            "smaller batch_size, or more injected noise."
        )
        raise Refused(msg)
    covered = epsilon * gain @ added @ gain
    update: dict[str, Any] = {
        "learning_rate": epsilon,
        "preconditioner": gain,
        "injected": _checks.symmetrised(covered),
    }
    update |= {"batch_size": size, "sampling": sampling}
    plain = theory.linear_chain(*of, **update, num_examples=problem.num_examples)
    own = own_law(problem, where, plain.covariance, step="step_size", **update)
    chain = theory.linear_chain(own.hessian, own.gradient_covariance, **update, num_examples=problem.num_examples)
    process = langevin(
        minibatch(size, sampling), learning_rate=epsilon, preconditioner=gain, injected_covariance=update["injected"]
    )
    return from_chain(
        f"Fisher scoring ({form})",
        problem,
        process,
        chain,
        where._replace(mean=own.mean),
        drift_matters=True,
        settings={
            "batch_size": size,
            "step_size": epsilon,
            "kind": form,
            "injected_trace": float(np.trace(added)),
            "stability": stability,
        },
    )


def _best_rate(hessian: Array, gradient_covariance: Array, noise: dict[str, Any]) -> float:
    """Learning rate of plain SGD; `Refused` where there is too little noise for one."""
    try:
        return theory.optimal_learning_rate(gradient_covariance, hessian=hessian, **noise)
    except NoSetting as none:
        msg = (
            f"batch_size must be smaller, got {noise['batch_size']:,}: its gradient noise is too small for any step below the stability edge to "
            "make the posterior's width. Give a step_size, or use infer.corrected_langevin."
        )
        raise Refused(msg) from none
