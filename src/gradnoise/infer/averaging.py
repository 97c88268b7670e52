"""Iterate averaging as a sampler (Mandt, Hoffman, Blei 2017, §6.2): every draw is the mean of one window of SGD iterates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Unpack

import numpy as np
from scipy.linalg import eigvalsh

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.large import LargePlan, plan_large_sgd
from gradnoise.infer.linear_plans import averaged, from_chain
from gradnoise.infer.planned import Plan, distance
from gradnoise.infer.posterior import Posterior
from gradnoise.infer.sampler import Place, Refused, Simulation, check_independent, check_run, place
from gradnoise.infer.settled import own_law
from gradnoise.oracles import minibatch
from gradnoise.processes import compose
from gradnoise.rules import preconditioned_sgd, rule

MISMATCH = 0.05  # relative difference of C and H in a direction from which on the plan says so
HALVINGS = 6
BALANCED = 0.2  # relative difference of the two errors at which the rate is left alone


def iterate_averaging(
    problem: Any,
    *,
    batch_size: int,
    window: int | None = None,
    learning_rate: float | None = None,
    tolerance: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    target: str = "posterior",
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
    check_run(num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation=simulation)
    plan = plan_iterate_averaging(
        problem,
        batch_size=batch_size,
        window=window,
        learning_rate=learning_rate,
        tolerance=tolerance,
        preconditioner=preconditioner,
        target=target,
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


def plan_iterate_averaging(
    problem: Any,
    *,
    batch_size: int,
    window: int | None = None,
    learning_rate: float | None = None,
    tolerance: float = 0.05,
    preconditioner: str | ArrayLike | None = None,
    target: str = "posterior",
    at: str = "posterior",
    sampling: str = "with_replacement",
    mode: Any = None,
    law: Any = None,
    num_law_draws: int | None = None,
    key: Any = 0,
) -> Plan | LargePlan:
    """Choose window and rate, and predict the law of the means; arguments as in `iterate_averaging`, `key` for the variational law."""
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
        return _large(problem, size, length, rate, preconditioner, at, kind, mode, key)
    wish = _wish(preconditioner, problem.num_params)
    where = place(problem, at, mode=mode, law=law, num_law_draws=num_law_draws, key=key)
    matrix = _matrix(where, wish)
    noise: dict[str, Any] = {"batch_size": size, "preconditioner": matrix, "sampling": kind}
    reach = None if rate is not None else _range(where, matrix, size, delta, by_curvature=isinstance(wish, str))
    if rate is None and reach is not None:
        rate = math.sqrt(reach.low * reach.high)
    assert rate is not None
    if kind == "shuffled":  # its mean epoch is computed for the message
        check_independent(kind, _no_epochs(where, rate, matrix, size))
    if reach is None:
        mean, chain = _settled(problem, where, rate, noise)
    else:
        rate, mean, chain = _best(problem, where, reach, length, delta, noise)
    made = rule(preconditioned_sgd, learning_rate=rate, preconditioner=np.eye(len(mean)) if matrix is None else matrix)
    goal = _sandwich(where) if aim == "sandwich" else where.law.covariance
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
    return dataclasses.replace(plan, warnings=_warnings(where, aim, length * size, examples))


def _large(
    problem: Any, size: int, window: int, rate: float | None, kind: Any, at: str, sampling: str, mode: Any, key: Any
) -> LargePlan:
    if rate is not None or at != "posterior" or sampling == "shuffled":
        msg = f"learning_rate and at must be left alone and sampling independent above {derivatives.DENSE} parameters, got {rate}, {at!r}, {sampling!r}."
        raise ValueError(msg)
    wanted = "diagonal_closed" if kind is None else kind
    return plan_large_sgd(
        problem, batch_size=size, preconditioner=wanted, mode=mode, sampling=sampling, window=window, key=key
    )


def _wish(preconditioner: Any, dim: int) -> str | Array | None:
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        return _checks.one_of("preconditioner", preconditioner, ("curvature",))
    return _checks.symmetric("preconditioner", preconditioner, dim, definite="positive")


def _matrix(where: Place, wish: str | Array | None) -> Array | None:
    """Preconditioner (D, D): what was given, or H⁻¹."""
    return np.asarray(np.linalg.inv(where.hessian), dtype=np.float64) if isinstance(wish, str) else wish


def _effective_curvature(where: Place, matrix: Array | None) -> Array:
    """Curvature (D, D) in the coordinates in which the preconditioner is the identity."""
    if matrix is None:
        return where.hessian
    root = np.linalg.cholesky(matrix)
    inner = root.T @ where.hessian @ root
    return np.asarray((inner + inner.T) / 2)


def _range(
    where: Place, matrix: Array | None, batch_size: int, tolerance: float, *, by_curvature: bool
) -> theory.AveragingRange:
    """Admissible range of learning rates; `Refused` with the numbers where it is empty."""
    curvature = _effective_curvature(where, matrix)
    examples = where.law.num_examples
    found = theory.averaging_range(curvature, num_examples=examples, batch_size=batch_size, tolerance=tolerance)
    if found.admissible:
        return found
    values = np.linalg.eigvalsh(curvature)
    needed = float(values.sum() + values[-1]) / (2 * tolerance**2 * float(values[0]))
    msg = (
        f"num_examples must be about {needed:,.0f} or more for iterate averaging within {100 * tolerance:.3g} % at condition number "
        f"{values[-1] / values[0]:,.3g}, got {examples:,}: the softest direction needs a learning rate of at least {found.low:.3g}, and above "
        f"{found.high:.3g} the noise that grows with the distance (or the stability edge) spoils the stiffest. "
        f"{'Take' if by_curvature else 'Take preconditioner=' + repr('curvature') + ','} a larger tolerance, or another sampler."
    )
    raise Refused(msg)


def _settled(problem: Any, where: Place, rate: float, noise: dict[str, Any]) -> tuple[Array, theory.LinearChain]:
    """Mean and chain of the iterates, with H and C averaged over their own law."""
    update: dict[str, Any] = {**noise, "learning_rate": rate}
    plain = theory.linear_chain(where.hessian, where.gradient_covariance, num_examples=problem.num_examples, **update)
    own = own_law(problem, where, plain.covariance, step="learning_rate", **update)
    chain = theory.linear_chain(own.hessian, own.gradient_covariance, num_examples=problem.num_examples, **update)
    return own.mean, chain


def _best(
    problem: Any, where: Place, reach: theory.AveragingRange, window: int, tolerance: float, noise: dict[str, Any]
) -> tuple[float, Array, theory.LinearChain]:
    """Balance the rate in its range: too small a one makes narrow means; too large a one wide ones, or moves their mean.

    The range assumes a quadratic loss and Gaussian inputs. Elsewhere the noise grows faster, and the third derivative moves the
    mean of the iterates in proportion to the rate, while the width of the draws stays: errors are those of second moments about
    the target's mean.
    """
    ideal = _sandwich(where) * problem.num_examples / (window * noise["batch_size"])
    low, high, best = reach.low, reach.high, None
    for _ in range(HALVINGS):
        rate = math.sqrt(low * high)
        try:
            mean, chain = _settled(problem, where, rate, noise)
        except Refused:  # no stationary variance: too large a rate
            high = rate
            continue
        shift, width = mean - where.law.mean, chain.average(window)
        narrow = -float(theory.variance_errors(width, ideal)[0])
        wide = float(theory.variance_errors(width + np.outer(shift, shift), ideal)[-1])
        if best is None or max(narrow, wide) < max(best[0]):
            best = ((narrow, wide), distance(shift, ideal), (rate, mean, chain))
        if abs(wide - narrow) <= BALANCED * max(narrow, wide):
            break
        low, high = (low, rate) if wide > narrow else (rate, high)
    if best is not None and max(best[0]) <= tolerance:
        return best[2]
    least = (
        f"at the best of the learning rates {reach.low:.3g} to {reach.high:.3g}, that inputs of Gaussian shape and a quadratic loss would "
        f"allow, second moments are off by {-best[0][0]:+.2g} to {best[0][1]:+.2g}, the mean by {best[1]:.2g} standard deviations: the noise "
        "here grows faster with the distance from the mode, or the loss is skewed around it"
        if best is not None
        else f"there is no stationary variance down to a learning rate of {high:.3g}, because the noise here grows faster with the "
        "distance from the mode than inputs of Gaussian shape would make it"
    )
    msg = f"tolerance must be larger than {tolerance:g} for iterate averaging on these data: {least}. Take more examples, a larger batch_size or another sampler."
    raise Refused(msg)


def _sandwich(where: Place) -> Array:
    inverse = np.linalg.inv(where.hessian)
    full = inverse @ where.gradient_covariance @ inverse / where.law.num_examples
    return np.asarray((full + full.T) / 2)


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
    ratios = 1 + theory.variance_errors(epochs, where.law.covariance)
    return (
        "within an epoch the noise of shuffled "
        f"batches cancels, so that the mean of an epoch would have only {100 * ratios[0]:.3g} to {100 * ratios[-1]:.3g} % of the "
        "posterior's variance. Use infer.langevin, or draw batches independently."
    )


def _warnings(where: Place, aim: str, seen: int, num_examples: int) -> tuple[str, ...]:
    """How far C is from H, where the posterior is wanted, and a window that is not one pass."""
    said = []
    ratios = eigvalsh(where.gradient_covariance, where.hessian)
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
