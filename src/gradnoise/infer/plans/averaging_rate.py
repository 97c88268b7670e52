"""The learning rate of iterate averaging: what a quadratic loss admits, and within it the rate at which its errors balance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, theory
from gradnoise._types import Array
from gradnoise.infer.plans.curvature_change import FAR, CurvatureChange, curvature_change
from gradnoise.infer.plans.own_law import own_law
from gradnoise.infer.plans.place import Place
from gradnoise.infer.verdicts.ratios import distance
from gradnoise.infer.verdicts.readable import number, percent
from gradnoise.infer.verdicts.refused import Refused

HALVINGS = 8
BALANCED = 0.2  # relative difference of the two errors at which the rate is left alone
ALMOST = 1.05  # times the tolerance: what fewer rows find no worse is tried on all
LOOSE = 0.95  # tolerance at which the smallest rate is looked for, to tell what would do


def effective_curvature(where: Place, matrix: Array | None) -> Array:
    """Curvature (D, D) in the coordinates in which the preconditioner is the identity."""
    if matrix is None:
        return where.hessian
    root = np.linalg.cholesky(matrix)
    inner = root.T @ where.hessian @ root
    return _checks.symmetrised(inner)


def rates_within(where: Place, matrix: Array | None, batch_size: int, tolerance: float) -> theory.AveragingRange:
    """Admissible range of learning rates; `Refused` with the numbers where it is empty."""
    curvature = effective_curvature(where, matrix)
    examples = where.law.num_examples
    found = theory.averaging_range(curvature, num_examples=examples, batch_size=batch_size, tolerance=tolerance)
    if found.admissible:
        return found
    values = np.linalg.eigvalsh(curvature)
    needed = float(values.sum() + values[-1]) / (2 * float(values[0])) / tolerance / tolerance
    upper = (
        f"and above {found.high:.3g} the noise that grows with the distance (or the stability edge) spoils the stiffest"
        if found.high > 0
        else "and the examples that a window leaves out make every direction too wide at any rate"
    )
    least = f"On these data no tolerance below about {_least(curvature, examples, batch_size)} can be met"
    if matrix is None:
        alike = np.eye(len(curvature))
        least += f", with preconditioner='curvature' none below about {_least(alike, examples, batch_size)}"
    msg = (
        f"num_examples must be about {_examples(needed)} or more for iterate averaging within {100 * tolerance:.3g} % at condition number "
        f"{values[-1] / values[0]:,.3g}, got {examples:,}: the softest direction needs a learning rate of at least {found.low:.3g}, {upper}. "
        f"{least}, and more is needed where the loss is not quadratic. Take another sampler."
    )
    raise Refused(msg)


def _examples(needed: float) -> str:
    return f"{needed:,.0f}" if needed < 1e9 else number(needed)


def _least(curvature: Array, examples: int, batch_size: int) -> str:
    """Smallest tolerance that leaves a range of rates, for inputs of Gaussian shape and a quadratic loss, rounded up."""
    for hundredth in range(1, 100):
        if theory.averaging_range(
            curvature, num_examples=examples, batch_size=batch_size, tolerance=hundredth / 100
        ).admissible:
            return f"{hundredth / 100:g}"
    return "1"


class Settled(NamedTuple):
    """What SGD at one rate does: its mean, H over its own law and its chain, and the errors of the means of windows."""

    rate: float
    mean: Array
    hessian: Array
    chain: theory.LinearChain
    narrow: float = math.nan
    wide: float = math.nan
    shift: float = math.nan

    @property
    def worst(self) -> float:
        return max(self.narrow, self.wide)


def settled(
    problem: Any, where: Place, rate: float, noise: dict[str, Any], *, start: Array | None = None, rough: bool = False
) -> Settled:
    """Mean and chain of the iterates, with H and C averaged over their own law."""
    update: dict[str, Any] = {**noise, "learning_rate": rate}
    plain = theory.linear_chain(where.hessian, where.gradient_covariance, num_examples=problem.num_examples, **update)
    own = own_law(problem, where, plain.covariance, step="learning_rate", start=start, rough=rough, **update)
    chain = theory.linear_chain(own.hessian, own.gradient_covariance, num_examples=problem.num_examples, **update)
    return Settled(rate, own.mean, own.hessian, chain)


def _errors(problem: Any, where: Place, found: Settled, window: int, noise: dict[str, Any]) -> Settled:
    """Add how narrow and how wide the means of windows are, about the target's mean and with what changing curvature adds."""
    ideal = sandwich(where) * problem.num_examples / (window * noise["batch_size"])
    change = change_of(problem, found, noise)
    if change.unstable:
        raise Refused(unstable_step(found.rate, change.reach))
    shift, width = found.mean - where.law.mean, found.chain.average(window)
    narrow = -float(theory.variance_errors(width, ideal)[0])
    wide = float(theory.variance_errors(width + np.outer(shift, shift), ideal)[-1]) + change.missed
    return found._replace(narrow=narrow, wide=wide, shift=distance(shift, ideal))


def change_of(problem: Any, found: Settled, noise: dict[str, Any]) -> CurvatureChange:
    """How the curvature changes over the law of the iterates."""
    matrix = noise["preconditioner"]
    return curvature_change(problem, found.mean, found.chain, found.hessian, rate=found.rate, preconditioner=matrix)


def unstable_step(rate: float, reach: float) -> str:
    """Say that iterates of this rate visit places where it is unstable."""
    return (
        f"learning_rate must be smaller than {rate:.3g}: within {FAR:g} standard deviations of the iterates the curvature grows to "
        f"{reach:.3g} over the learning rate, beyond the stability edge of 2, where they are thrown out again and again; no Gaussian law "
        "foretells that."
    )


def balanced(
    problem: Any, where: Place, reach: theory.AveragingRange, window: int, tolerance: float, noise: dict[str, Any]
) -> Settled:
    """Balance the rate in its range: too small a one makes narrow means; too large a one wide ones, or moves their mean.

    The range assumes a quadratic loss and Gaussian inputs. Elsewhere the noise grows faster, and the third derivative moves the
    mean of the iterates in proportion to the rate, while the width of the draws stays: errors are those of second moments about
    the target's mean. The search reads the rows that will do, its outcome all of them.
    """
    size = noise["batch_size"]
    curvature, examples = effective_curvature(where, noise["preconditioner"]), where.law.num_examples
    widest = theory.averaging_range(curvature, num_examples=examples, batch_size=size, tolerance=max(LOOSE, tolerance))
    low, high, rate, why = widest.low, reach.high, math.sqrt(reach.low * reach.high), ""
    best: Settled | None = None
    last: Settled | None = None
    for _ in range(HALVINGS):
        start = None if last is None else last.chain.covariance * rate / last.rate
        try:
            last = settled(problem, where, rate, noise, start=start, rough=True)
            found = _errors(problem, where, last, window, noise)
        except Refused as refusal:  # no stationary variance: too large a rate
            high, why = rate, str(refusal)
            rate = math.sqrt(low * high)
            continue
        if best is None or found.worst < best.worst:
            best = found
        if abs(found.wide - found.narrow) <= BALANCED * found.worst:
            break
        low, high = (low, rate) if found.wide > found.narrow else (rate, high)
        rate = math.sqrt(low * high)
    if best is not None and best.worst <= tolerance * ALMOST:
        exact = settled(problem, where, best.rate, noise, start=best.chain.covariance)
        best = _errors(problem, where, exact, window, noise)
        if best.worst <= tolerance:
            return best
    raise Refused(_none_will_do(best, high, tolerance, why))


def _none_will_do(best: Settled | None, high: float, tolerance: float, why: str) -> str:
    if best is None:
        return (
            f"tolerance = {tolerance:g} cannot be met by iterate averaging on these data: there is no rate down to {high:.3g} whose law could be "
            f"predicted ({why.split(': ', 1)[-1].rstrip('.')}). Take a larger batch_size or another sampler."
        )
    least = math.ceil(105 * best.worst) / 100
    would = f"tolerance={least:g} would do" if least < 1 else "no tolerance below 1 would do"
    return (
        f"tolerance must be larger than {tolerance:g} for iterate averaging on these data: at the best learning rate, {best.rate:.3g}, "
        f"second moments are off by {percent(-best.narrow)} to {percent(best.wide)}, the mean by {best.shift:.2g} standard deviations: the "
        "noise here grows faster with the distance from the mode than inputs of Gaussian shape and a quadratic loss would make it, or the loss "
        f"is skewed around the mode. With this preconditioner and batch_size {would}; otherwise take more examples or another sampler."
    )


def sandwich(where: Place) -> Array:
    """H⁻¹CH⁻¹/N (D, D), what the mean of one pass has."""
    inverse = np.linalg.inv(where.hessian)
    full = inverse @ where.gradient_covariance @ inverse / where.law.num_examples
    return _checks.symmetrised(full)
