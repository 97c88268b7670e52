"""Iterate averaging as a sampler (Mandt, Hoffman, Blei 2017, §6.2): every draw is the mean of one window of SGD iterates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Unpack

import numpy as np
from scipy.linalg import eigvalsh

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.large.large_plan import LargePlan, plan_large_sgd
from gradnoise.infer.plans.averaging_rate import balanced, change_of, rates_within, sandwich, settled, unstable_step
from gradnoise.infer.plans.chain_plan import averaged, from_chain
from gradnoise.infer.plans.curvature_change import CurvatureChange
from gradnoise.infer.plans.place import Place, check_independent
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.infer.verdicts.ratios import without_rounding
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.oracles import minibatch
from gradnoise.processes import compose
from gradnoise.rules import preconditioned_sgd, rule
from gradnoise.theory.tuning.optimal import SILENT

MISMATCH = 0.05  # relative difference of C and H in a direction from which on the plan says so


@sampler
def iterate_averaging(
    problem: Any,
    *,
    batch_size: int,
    window: int | None = None,
    learning_rate: float | None = None,
    tolerance: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    target: str = "posterior",
    sampling: str = "with_replacement",
    **settings: Unpack[Settings],
) -> Plan | LargePlan:
    """Sample with the means of consecutive windows of constant SGD, whose covariance is about H⁻¹CH⁻¹/(window·B), whatever the step.

    That is the sandwich covariance when a window is one pass over the data, and the posterior's only where C = H: for a
    well-specified likelihood. A range of learning rates does it: large enough for a window to forget the last one in the
    softest direction, small enough for the noise that grows with the distance from the mode to add little.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement" or "without_replacement". "shuffled" is refused with the variance that it would give.
    window
        Iterates a draw is the mean of; None: one pass, ⌊N/B⌋.
    learning_rate
        η; None: where the two errors balance, that of means too narrow and that of means too wide or off the target's, within the
        admissible range, `theory.averaging_range`.
    tolerance
        Relative error that a second moment about the target's mean may have in any direction.
    preconditioner
        P: None (identity), "curvature" (H⁻¹: the range depends on D alone, not on the condition number) or a matrix (D, D).
        Above 1000 parameters, where `mode` must be given: "diagonal_closed" (None) or "scalar", as in `constant_sgd`.
    target
        "posterior" or "sandwich": what the plan's errors and the verdict are measured against.
    num_draws, num_chains, key, at, burn_in, mode, law, num_law_draws, progress, simulation
        As in `constant_sgd`; each window is one draw.
    thin
        None, or the window.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs; where N is too small for the condition number, with the N that would do, or for the
        skewness of the loss, with the errors of the best rate.
    """
    _checks.problem(problem)
    examples = problem.num_examples
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    size = _checks.integer("batch_size", batch_size, high=examples)
    length = examples // size if window is None else _checks.integer("window", window, low=2)
    if length < 2:
        msg = f"batch_size must be at most N/2 = {examples // 2} for a window of one pass, got {size}: a single iterate is no average."
        raise Refused(msg)
    rate = None if learning_rate is None else _checks.positive("learning_rate", learning_rate)
    delta = _checks.within("tolerance", tolerance, 0.0, 1.0, closed="neither")
    aim = _checks.one_of("target", target, ("posterior", "sandwich"))
    if problem.num_params > derivatives.DENSE:
        return _large(problem, size, length, rate, preconditioner, kind, settings)
    wish = _wish(preconditioner, problem.num_params)
    where = place_of(problem, settings)
    _require_noise(where)
    matrix = _matrix(where, wish)
    noise: dict[str, Any] = {"batch_size": size, "preconditioner": matrix, "sampling": kind}
    reach = None if rate is not None else rates_within(where, matrix, size, delta)
    if rate is None and reach is not None:
        rate = math.sqrt(reach.low * reach.high)
    assert rate is not None
    if kind == "shuffled":  # its mean epoch is computed for the message
        check_independent(kind, _no_epochs(where, rate, matrix, size))
    if reach is None:
        found = settled(problem, where, rate, noise)
    else:
        found = balanced(problem, where, reach, length, delta, noise)
    rate, mean, chain = found.rate, found.mean, found.chain
    made = rule(preconditioned_sgd, learning_rate=rate, preconditioner=np.eye(len(mean)) if matrix is None else matrix)
    goal = sandwich(where) if aim == "sandwich" else where.law.covariance
    iterates = from_chain(
        "iterate averaging",
        problem,
        compose(minibatch(size, kind), made),
        chain,
        where._replace(mean=mean),
        target=goal,
        drift_matters=False,
        settings={
            "batch_size": size,
            "window": length,
            "learning_rate": rate,
            "preconditioner": "identity" if wish is None else wish if isinstance(wish, str) else "matrix",
            "target": aim,
            "stability": theory.stability_fraction(where.hessian, learning_rate=rate, preconditioner=matrix),
        },
    )
    plan = averaged(iterates, length)
    told = _warnings(where, aim, length * size, examples) + _of_curvature(change_of(problem, found, noise), rate)
    return dataclasses.replace(plan, warnings=told)


def _large(
    problem: Any, size: int, window: int, rate: float | None, kind: Any, sampling: str, settings: Settings
) -> LargePlan:
    at = settings.get("at", "posterior")
    if rate is not None or at != "posterior" or sampling == "shuffled":
        msg = f"learning_rate and at must be left alone and sampling independent above {derivatives.DENSE} parameters, got {rate}, {at!r}, {sampling!r}."
        raise ValueError(msg)
    wanted = "diagonal_closed" if kind is None else kind
    return plan_large_sgd(
        problem,
        batch_size=size,
        preconditioner=wanted,
        mode=settings.get("mode"),
        sampling=sampling,
        window=window,
        key=settings.get("key", 0),
    )


def _wish(preconditioner: Any, dim: int) -> str | Array | None:
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        return _checks.one_of("preconditioner", preconditioner, ("curvature",))
    return _checks.symmetric("preconditioner", preconditioner, dim, definite="positive")


def _matrix(where: Place, wish: str | Array | None) -> Array | None:
    """Preconditioner (D, D): what was given, or H⁻¹."""
    return _checks.symmetrised(np.linalg.inv(where.hessian)) if isinstance(wish, str) else wish


def _require_noise(where: Place) -> None:
    """Refuse directions whose averages would not vary at all."""
    relative = eigvalsh(where.gradient_covariance, where.hessian)
    if silent := int((relative < SILENT * relative[-1]).sum()):
        msg = (
            f"iterate averaging has no gradient noise in {silent} of {len(relative)} directions (the prior holds them, or there are fewer "
            "examples than parameters), and no other: averages would not vary there. Use infer.corrected_langevin."
        )
        raise Refused(msg)


def _no_epochs(where: Place, rate: float, matrix: Array | None, batch_size: int) -> str:
    """Say what epochs would give."""
    epochs = theory.epoch_average_covariance(
        where.hessian,
        where.gradient_covariance,
        learning_rate=rate,
        batch_size=batch_size,
        num_examples=where.law.num_examples,
        preconditioner=matrix,
    )
    low, high = 100 * without_rounding(1 + theory.variance_errors(epochs, where.law.covariance))[[0, -1]]
    return (
        "within an epoch the noise of shuffled "
        f"batches cancels, so that the mean of an epoch would have {'only ' * bool(high < 100)}{low:.3g} to {high:.3g} % of the "
        "posterior's variance. Use infer.langevin, or draw batches independently."
    )


def _warnings(where: Place, aim: str, seen: int, num_examples: int) -> tuple[str, ...]:
    """How far C is from H, where the posterior is wanted, and a window that is not one pass."""
    said = []
    ratios = without_rounding(eigvalsh(where.gradient_covariance, where.hessian))
    if aim == "posterior" and max(abs(ratios[0] - 1), abs(ratios[-1] - 1)) > MISMATCH:
        said.append(
            f"Averages have the posterior's covariance only where the gradient covariance equals the curvature; here it is {ratios[0]:.3g} to "
            f"{ratios[-1]:.3g} times it over all directions, and so are the variances: they are those of the sandwich (target='sandwich')."
        )
    if abs(num_examples / seen - 1) > MISMATCH:
        said.append(
            f"A window sees {seen:,} examples, not one pass of {num_examples:,}: variances are about {num_examples / seen:.3g} times those of a pass."
        )
    return tuple(said)


def _of_curvature(change: CurvatureChange, rate: float) -> tuple[str, ...]:
    """Say where the law of a rate that was given leaves out what changing curvature does."""
    if change.unstable:
        return (unstable_step(rate, change.reach).replace("must be smaller than", "is too large, at"),)
    if change.missed > MISMATCH:
        return (
            f"The curvature changes by a factor {(1 + change.slope) / (1 - change.slope):.3g} over two standard deviations of the iterates: "
            f"variances may be larger than predicted by a further {100 * change.missed:.0f} %.",
        )
    return ()
