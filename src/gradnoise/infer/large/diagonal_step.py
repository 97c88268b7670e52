"""Diagonal steps of constant SGD where matrices (D, D) do not fit: the closed forms, cut to what is stable."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise._types import Array
from gradnoise.measure.products.leading_directions import LeadingDirections, leading_directions

KINDS = ("diagonal_closed", "scalar")
STIFFEST = 1.0  # largest r = eigenvalue of P H allowed: half of the stability edge
DIRECTIONS = 10
ROUNDS = 4  # of capping: the stiffest direction changes when entries are capped


def checked_kind(preconditioner: Any) -> str:
    """Return the kind of step; None is "diagonal_closed"."""
    if preconditioner is None:
        return KINDS[0]
    if isinstance(preconditioner, str) and preconditioner in KINDS:
        return preconditioner
    why = "where no matrix (D, D) is formed"
    if isinstance(preconditioner, str) and preconditioner == "diagonal":
        why = "where no matrix (D, D) is formed: the best diagonal step ('diagonal') needs all of H and C, the closed form 2B/(N C_kk) ('diagonal_closed') the variances C_kk alone"
    msg = f"preconditioner must be {' or '.join(map(repr, KINDS))} (or None: the first) above {derivatives.DENSE} parameters, {why}; got {_checks.shown(preconditioner)}."
    raise ValueError(msg)


def wanted_step(variance: Array, kind: str, batch_size: int, num_examples: int) -> Array:
    """Return 2B/(N C_kk) (D,), or 2BD/(N Tr C) in every entry."""
    if not variance.max() > 0:
        msg = "mode must be a point with gradient noise, but every example has the same gradient there."
        raise ValueError(msg)
    spread = variance if kind == "diagonal_closed" else np.full_like(variance, variance.mean())
    return np.asarray(2 * batch_size / num_examples / np.maximum(spread, 1e-12 * variance.max()))


def stable_step(problem: Any, start: Array, wanted: Array, key: Any) -> tuple[Array, LeadingDirections]:
    """Return the stable step of least KL, its stiffest rate at most STIFFEST, with its leading directions."""
    steps = [_capped(problem, start, wanted, key), _scaled(problem, start, wanted, key)]
    step = min(steps, key=lambda p: excess_kl(p, wanted))
    found = leading_directions(problem, start, preconditioner=step, count=min(DIRECTIONS, len(step) - 1), key=key)
    if found.rates[0] > STIFFEST:
        scale = STIFFEST / float(found.rates[0])
        step = step * scale
        found = LeadingDirections(found.rates * scale, found.vectors, found.noise_covariance * scale)
    return step, found


def excess_kl(step: Array, wanted: Array) -> float:
    """½ Σ (p/w - 1 - ln p/w): nats of corollary 3's KL above those of the wanted step."""
    ratio = step / wanted
    return float(np.sum(ratio - 1 - np.log(ratio))) / 2


def _capped(problem: Any, start: Array, wanted: Array, key: Any) -> Array:
    """Cap entries at one value until the stiffest rate is near STIFFEST."""
    cap = float(np.median(wanted))
    step = np.minimum(wanted, cap)
    for _ in range(ROUNDS):
        stiffest = _stiffest(problem, start, step, key)
        if 0.5 * STIFFEST <= stiffest <= STIFFEST or (stiffest < STIFFEST and cap >= wanted.max()):
            break
        cap *= 0.95 * STIFFEST / stiffest  # exact where all entries are capped
        step = np.minimum(wanted, cap)
    return step


def _scaled(problem: Any, start: Array, wanted: Array, key: Any) -> Array:
    """Clip entries at their median and scale all to STIFFEST."""
    step = np.minimum(wanted, np.median(wanted))
    return step * min(1.0, 0.95 * STIFFEST / _stiffest(problem, start, step, key))


def _stiffest(problem: Any, start: Array, step: Array, key: Any) -> float:
    return float(leading_directions(problem, start, preconditioner=step, count=1, key=key).rates[0])


def cut_reason(step: Array, wanted: Array, capped: float, kind: str) -> tuple[str, ...]:
    """Say what stability took from the step."""
    if capped == 0:
        return ()
    share = f"for {100 * capped:.3g} % of the parameters, to {np.median((step / wanted)[step < wanted]):.2g} times it in the median"
    plain = f" All entries are now {step.max():.3g}: this is plain SGD at that learning rate."
    told = (
        f"The step that would match the posterior is beyond stability and was cut {share}: soft directions will be narrower than "
        "the posterior's, the stiffest may be wider."
    )
    return (told + plain * bool(kind != "scalar" and step.min() == step.max()),)
