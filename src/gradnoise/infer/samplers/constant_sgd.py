"""Constant SGD as a posterior sampler (Mandt, Hoffman, Blei 2017), tuned exactly in discrete time."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.large.large_plan import LargePlan, plan_large_sgd
from gradnoise.infer.plans.adaptation import adapted
from gradnoise.infer.plans.chain_plan import from_chain
from gradnoise.infer.plans.place import Place, check_independent, check_moves
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.infer.plans.targets import over_the_sandwich, tempered
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.oracles import minibatch
from gradnoise.processes import compose
from gradnoise.rules import preconditioned_sgd, rule
from gradnoise.theory.tuning.optimal import NoSetting

FARTHEST = 1e10  # times the posterior's variance that a target may be, or one over it: beyond, float64 does not resolve the step
SILENT = 1e-9  # C relative to H below which a direction has no gradient noise
UNLIKE = 1e4  # ratio of two parameters' scales from which on float32 does not hold both
KINDS = ("full", "diagonal", "diagonal_closed", "scalar", "sqrt")


@sampler
def constant_sgd(
    problem: Any,
    *,
    batch_size: int,
    preconditioner: str | ArrayLike | None = None,
    target: str | ArrayLike = "posterior",
    temperature: float = 1.0,
    momentum: float = 0.0,
    time: str = "discrete",
    sampling: str = "with_replacement",
    adapt: bool = False,
    **settings: Unpack[Settings],
) -> Plan | LargePlan:
    """Sample with SGD alone, its step tuned so that the stationary law is closest to the posterior.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement" or "without_replacement". "shuffled" is refused: its noise nearly cancels over an epoch.
    preconditioner
        "full" (the law is the target), "diagonal", "scalar", "sqrt" (closest of their kind in KL), "diagonal_closed" (2B/(N C_kk)),
        or a matrix (D, D) that contains the learning rate. None: "full"; above 1000 parameters "diagonal_closed".
    num_draws, num_chains, key
        Draws a chain, chains, seed. Draws are kept every `thin` steps.
    at
        Where H and C are taken: averaged over the Gaussian variational law ("posterior"), over Laplace ("laplace"), or at
        the "mode".
    target
        "posterior", "sandwich" (H⁻¹CH⁻¹/N of the mode; H and C for tuning are averaged over it, unless `at` says otherwise), or a covariance (D, D); other than "posterior" only with "full".
    temperature
        T of the tempered posterior T(NH)⁻¹; other than 1 only with "full".
    momentum, time
        As in `theory.optimal_preconditioner`.
    thin, burn_in
        None: the worst predicted autocorrelation time, and five relaxation times.
    mode, law
        From `find_mode` and `measure.gaussian_law`, where they are known already. Above 1000 parameters `mode` must be given
        (trained params will do), and `preconditioner` must be None, "diagonal_closed" or "scalar": the step is cut where it would be
        unstable, the law is predicted along the ten stiffest directions only, and the verdict says so (`large.large_plan.plan_large_sgd`).
    num_law_draws
        Draws that the variational law is found with; None: by the rule of `measure.gaussian_law`.
    adapt
        Whether H and C are re-estimated over the sampler's own iterates while it burns in, at absolute step marks, and the
        step tuned anew (see `plans.adaptation.adapted`): for models whose noise drifts.
    progress
        As in `simulate`; True also prints the planned steps.
    simulation
        dtype, checkpoint, workers, threads: as in `simulate`.

    Returns
    -------
    Posterior
        With a verdict: not trustworthy where the noise drifts by more than 10 % or the simulation is not as predicted.

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs; `Refused` for a step beyond the stability edge, directions without noise or
        shuffled batches, before anything is simulated.
    """
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
    check_independent(
        sampling,
        "within an epoch the noise of shuffled batches cancels, and soft directions keep about 1 % of their variance "
        "(theory.stationary_covariance shows it). Use infer.corrected_langevin, or draw batches independently.",
    )
    if sampling == "without_replacement" and size == problem.num_examples:
        msg = (
            f"batch_size must be < num_examples = {size} without replacement: the gradient of all data has no noise, and constant "
            "SGD has no other. Use infer.corrected_langevin."
        )
        raise Refused(msg)
    mu = _checks.momentum(momentum)
    heat = _checks.within("temperature", temperature, 1e-6, 1e6)
    large = problem.num_params > derivatives.DENSE
    kind = KINDS[0] if preconditioner is None and not large else preconditioner
    wish, aim = _wishes("diagonal_closed" if kind is None else kind, target, time, heat, problem.num_params)
    _checks.flag("adapt", adapt)
    if large:
        _refuse_for_large(
            at=settings.get("at", "posterior") != "posterior",
            target=not (isinstance(aim, str) and aim == "posterior"),
            temperature=heat != 1,
            momentum=mu != 0,
            time=time != "discrete",
            adapt=adapt,
        )
        return plan_large_sgd(
            problem,
            batch_size=size,
            preconditioner=kind,
            mode=settings.get("mode"),
            sampling=sampling,
            key=settings.get("key", 0),
        )
    where = place_of(problem, settings)
    if isinstance(aim, str) and aim == "sandwich" and where.at == "posterior":
        where, aim = over_the_sandwich(problem, where)
    elif isinstance(aim, str) and heat != 1.0 and where.at == "posterior":
        where = tempered(problem, where, heat)

    def tuned(where: Place) -> Plan:
        return _tuned(problem, where, wish, aim, heat, time, size, mu, sampling)

    return adapted(tuned, where, key=settings.get("key", 0)) if adapt else tuned(where)


def _refuse_for_large(**given: bool) -> None:
    wrong = [name for name, other in given.items() if other]
    if wrong:
        msg = f"{', '.join(wrong)} must be left at the default above {derivatives.DENSE} parameters, where only a diagonal step is tuned."
        raise ValueError(msg)


def _tuned(
    problem: Any,
    where: Place,
    wish: str | Array,
    aim: str | Array,
    heat: float,
    time: str,
    size: int,
    mu: float,
    sampling: str,
) -> Plan:
    goal = _target(where, aim, heat, problem.num_examples)
    common: dict[str, Any] = {
        "batch_size": size,
        "momentum": mu,
        "sampling": sampling,
        "num_examples": problem.num_examples,
    }
    step = _preconditioner(where, wish, goal, time, common)
    chain = _chain(where, step, wish, time, common)
    made = rule(preconditioned_sgd, learning_rate=1.0, preconditioner=step, **({"momentum": mu} if mu else {}))
    kind = wish if isinstance(wish, str) else "matrix"
    return from_chain(
        f"constant SGD ({kind} preconditioner)",
        problem,
        compose(minibatch(size, sampling), made),
        chain,
        where,
        drift_matters=True,
        target=goal,
        thrown=_why_thrown if isinstance(wish, str) else None,
        settings={
            "batch_size": size,
            "preconditioner": kind,
            "momentum": mu,
            "learning_rate": float(np.trace(step) / len(step)),
            "stability": theory.stability_fraction(where.hessian, learning_rate=1.0, momentum=mu, preconditioner=step),
        },
    )


def _wishes(
    preconditioner: str | ArrayLike, target: str | ArrayLike, time: str, temperature: float, dim: int
) -> tuple[str | Array, str | Array]:
    """Check preconditioner, target and time, alone and together, before anything is computed."""
    _checks.one_of("time", time, ("discrete", "continuous"))
    aim: str | Array
    if isinstance(target, str):
        aim = _checks.one_of("target", target, ("posterior", "sandwich"))
    else:
        aim = _checks.symmetric("target", target, dim, definite="positive")
    if not isinstance(preconditioner, str):
        return _checks.symmetric("preconditioner", preconditioner, dim, definite="positive"), aim
    kind = _checks.one_of("preconditioner", preconditioner, KINDS)
    other = not isinstance(aim, str) or aim == "sandwich" or temperature != 1.0
    if other and (kind != "full" or time != "discrete"):
        msg = f"preconditioner must be 'full' and time 'discrete' with another target or temperature, got {kind!r} and {time!r}."
        raise ValueError(msg)
    return kind, aim


def _target(where: Place, target: str | Array, temperature: float, num_examples: int) -> Array | None:
    """Covariance (D, D) to reach, or None for the posterior itself."""
    if not isinstance(target, str):
        return temperature * target
    inverse = np.linalg.inv(where.hessian)
    if target == "sandwich":
        return _checks.symmetrised(temperature * inverse @ where.gradient_covariance @ inverse / num_examples)
    return None if temperature == 1.0 else _checks.symmetrised(temperature * inverse / num_examples)


def _preconditioner(
    where: Place, preconditioner: str | Array, goal: Array | None, time: str, common: dict[str, Any]
) -> Array:
    """Step matrix that contains the learning rate, (D, D)."""
    if not isinstance(preconditioner, str):
        return preconditioner
    relative = np.linalg.eigvals(np.linalg.solve(where.hessian, where.gradient_covariance)).real
    if silent := int((relative < SILENT).sum()):
        msg = (
            f"preconditioner={preconditioner!r} cannot be tuned: there is no gradient noise in {silent} of {len(relative)} directions (the prior holds them, or there are fewer examples than "
            "parameters). SGD has no other noise, so it cannot reach the posterior's variance there. Use infer.corrected_langevin."
        )
        raise Refused(msg)
    if goal is None:
        try:
            return theory.optimal_preconditioner(
                where.hessian, where.gradient_covariance, kind=preconditioner, time=time, **common
            )
        except NoSetting as none:
            raise Refused(str(none)) from none
    ratios = np.linalg.eigvals(common["num_examples"] * where.hessian @ goal).real
    if not (ratios.min() > 1 / FARTHEST and ratios.max() < FARTHEST):
        msg = f"target and temperature must ask for variances within {FARTHEST:g} times the posterior's, got {ratios.min():.3g} to {ratios.max():.3g} times."
        raise Refused(msg)
    return theory.preconditioner_for(goal, where.hessian, where.gradient_covariance, **common)


def _chain(where: Place, step: Array, wish: str | Array, time: str, common: dict[str, Any]) -> theory.LinearChain:
    """Predicted chain; a step beyond the edge is refused in the words of the arguments it came from."""
    stability = theory.stability_fraction(
        where.hessian, learning_rate=1.0, momentum=common["momentum"], preconditioner=step
    )
    if stability >= 1:
        if isinstance(wish, str):
            came = f"preconditioner={wish!r} with time={time!r} gives a step"
            cure = "Use time='discrete', which is always stable with 'full', or a smaller batch_size."
            if time == "discrete":
                cure = "Use preconditioner='full', a smaller batch_size, or a target nearer to the posterior."
        else:
            came, cure = "preconditioner is a step", "Make it smaller: it contains the learning rate."
        msg = f"{came} {stability:.3g} times the stability edge, where nothing is stationary. {cure}"
        raise Refused(msg)
    check_moves("momentum" if isinstance(wish, str) else "preconditioner", where.hessian, step, common["momentum"])
    return theory.linear_chain(
        where.hessian, where.gradient_covariance, learning_rate=1.0, preconditioner=step, **common
    )


def _why_thrown(plan: Plan) -> str:
    """Say what makes chains diverge at a step that was tuned here: not its size where the law lies."""
    law = plan.where.law
    scales = np.sqrt(np.diag(plan.where.hessian))
    if scales.max() > UNLIKE * scales.min():
        cause = (
            f"the columns are badly scaled (curvatures differ by a factor {(scales.max() / scales.min()) ** 2:.2g}), so that rounding "
            "alone moves the chains: use datasets.standardise"
        )
    else:
        cause = (
            f"the noise of a batch and the curvature change with the distance from the mode (over the posterior the noise is "
            f"{law.noise_drift:.3g} times that at the mode), and single batches throw chains to where the step is too large: use "
            "infer.corrected_langevin, infer.sample or a larger batch_size"
        )
    return f"The step was tuned for these data and is {plan.settings['stability']:.2g} of the stability edge around the mode; but {cause}."
