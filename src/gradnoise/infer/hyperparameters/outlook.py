"""Where variational EM will settle and whether its steps can, known before it runs; and what to do about what runs away."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import derivatives
from gradnoise._types import AnyArray, Array
from gradnoise.infer.minima.hyperparameters import FARTHEST, Joint, fixed_point, relaxation_rates
from gradnoise.infer.verdicts.refused import Refused

STIFFEST = 1.0  # largest rate of the scalar step that is left alone: half of the stability edge
EDGE = 2.0
FORGOTTEN = 50  # relaxation times that a run should have
BEYOND = 7.0  # of a log, a factor of 1100: so far outside of start and fixed point it has run away
CURES = {
    (
        "prior_precision",
        True,
    ): "a precision that rises: the data do not tell these parameters from 0; keep their prior as it was given",
    (
        "prior_precision",
        False,
    ): "a precision that falls: nothing holds the parameters (separable classes, or steps that diverge); give their prior by hand",
    (
        "observation_scale",
        True,
    ): "a noise scale that rises: the steps diverge; use preconditioner='diagonal', a smaller batch_size or standardised inputs",
    (
        "observation_scale",
        False,
    ): "a noise scale that falls: the model fits every example (N near D or below); fix the scale",
}


class Outlook(NamedTuple):
    """What is known before the run.

    Attributes
    ----------
    rate
        "scalar", "diagonal", a number or a matrix: the step that will be taken.
    aim
        Its fixed point η (h,); None where none was found or sought (more than 1000 parameters).
    slowest, stiffest
        Smallest and largest eigenvalue of P H there: stable below 2. NaN where unknown.
    reason
        Why this step, where it was chosen.
    """

    rate: Any
    aim: Array | None = None
    slowest: float = math.nan
    stiffest: float = math.nan
    reason: str = ""


def look_ahead(joint: Joint, rate: Any, *, batch_size: int, sampling: str, num_steps: int) -> Outlook:
    """Return the step to take (`rate`, or None: scalar, diagonal where that is stiff or slow) and where it settles.

    Raises
    ------
    Refused
        Where the step is unstable at its own fixed point, so that it cannot settle there.
    """
    if joint.base.num_params > derivatives.DENSE:
        return Outlook("scalar" if rate is None else rate)
    found = _outlook(joint, "scalar" if rate is None else rate, batch_size, sampling)
    fine = found.aim is not None and found.stiffest <= STIFFEST and found.slowest * num_steps >= FORGOTTEN
    if rate is None and not fine:
        other = _outlook(joint, "diagonal", batch_size, sampling)
        if other.aim is not None:
            found = other._replace(reason=_why(found))
    if found.stiffest >= EDGE:
        raise Refused(_unstable(joint, found, batch_size))
    return found


def _outlook(joint: Joint, rate: Any, batch_size: int, sampling: str) -> Outlook:
    law: dict[str, Any] = {"batch_size": batch_size, "sampling": sampling, "rate": rate}
    aim = fixed_point(joint, **law)
    if aim is None:
        return Outlook(rate)
    rates = relaxation_rates(joint, aim, **law)
    return Outlook(rate, aim, float(rates[0]), float(rates[-1]))


def _why(scalar: Outlook) -> str:
    if scalar.aim is None:
        return "The diagonal step was taken: no fixed point of the scalar one was found."
    return (
        f"The diagonal step was taken: where the scalar one settles, its rates would go from {scalar.slowest:.2g} to {scalar.stiffest:.2g} a "
        "step (1 is half of the stability edge)."
    )


def _unstable(joint: Joint, found: Outlook, batch_size: int) -> str:
    where = f"the fixed point ({_named(joint, found.aim)}), {found.stiffest / EDGE:.3g} times the stability edge"
    if not isinstance(found.rate, str):
        return f"preconditioner or learning_rate is a step that is unstable at {where}: make it smaller."
    fitting = int(batch_size * STIFFEST / found.stiffest)
    size = f"batch_size <= {fitting}" if fitting >= 2 else "a batch_size below 2, which cannot estimate the noise,"
    others = [f"learn {name} too" for name in ("observation_scale",) if _fixed(joint, name)]
    return (
        f"batch_size = {batch_size} gives the {found.rate} step a rate of {found.stiffest:.3g} at {where}, so that nothing settles there: the "
        f"model's noise is larger than the gradients', or the inputs are badly scaled. {' or '.join([*others, f'use {size}']).capitalize()}."
    )


def _fixed(joint: Joint, name: str) -> bool:
    return isinstance(joint.base.hyperparams, dict) and name in joint.base.hyperparams and name not in joint.names


def _named(joint: Joint, log: Any) -> str:
    return ", ".join(f"{name} = {value:.3g}" for name, value in zip(joint.names, joint.values(log), strict=True))


def ran_away(log: AnyArray, aim: Array | None) -> Array:
    """Return which hyperparameters ran away: in some chain they are far outside the range from start to fixed point, (chain, h) -> (h,)."""
    low, high = (
        (-FARTHEST / 2, FARTHEST / 2) if aim is None else (np.minimum(aim, 0) - BEYOND, np.maximum(aim, 0) + BEYOND)
    )
    inside = (np.asarray(log, np.float64) >= low) & (np.asarray(log, np.float64) <= high)
    return np.asarray(~inside.all(0))


def told_away(joint: Joint, log: AnyArray, gone: Array, ahead: Outlook) -> str:
    """Say which hyperparameters (chain, h) went which way, why and what to do."""
    furthest = np.nan_to_num(np.asarray(log, np.float64), nan=FARTHEST, posinf=FARTHEST, neginf=-FARTHEST)
    end = np.clip(furthest[np.abs(furthest).argmax(0), np.arange(len(joint.names))], -FARTHEST, FARTHEST)
    moves = [
        f"{name} went from {start:.3g} {'up' if move > 0 else 'down'} to {start * math.exp(move):.3g}"
        for name, start, move, lost in zip(joint.names, joint.start, end, gone, strict=True)
        if lost
    ]
    if ahead.aim is not None:
        cure = (
            f"The data hold them, at {_named(joint, ahead.aim)}; the steps do not (stiffest rate {ahead.stiffest:.2g} there, 2 is the edge "
            "without the noise of the curvature itself): use preconditioner='diagonal', a smaller batch_size or standardised inputs."
        )
        return f"{'; '.join(moves)}. {cure}"
    cures = [_cure(name, move > 0) for name, move, lost in zip(joint.names, end, gone, strict=True) if lost]
    return f"{'; '.join(moves)}: {'; '.join(dict.fromkeys(cures))}."


def _cure(name: str, up: bool) -> str:
    return CURES.get(
        (name.split("[")[0], up),
        f"the density grows for ever as {name} {'rises' if up else 'falls'}; keep it as it was given",
    )
