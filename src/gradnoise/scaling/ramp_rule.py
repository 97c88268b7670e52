"""Batch-size ramp: what a decay of the learning rate does, done by larger batches instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradnoise import _checks
from gradnoise.scaling.linear_rule import linear
from gradnoise.scaling.records import Scaled
from gradnoise.scaling.root_rule import square_root
from gradnoise.scaling.settings import is_adaptive, memories


def ramp(settings: Mapping[str, Any], decay: float, *, critical_batch_size: float | None = None) -> Scaled:
    r"""Replace a decay η → η/a of the learning rate by larger batches: the same SDE in fewer steps.

    Equation: κ = ⌊min(aB, B_crit)⌋/B, at least 1; SGD η → ηκ/a, B → κB; Adam η → η√κ/a, B → κB and the rest of the
    square-root rule. With κ = a: η, aB (SGD); η/√a, aB (Adam).

    Parameters
    ----------
    settings
        Before the decay; as for `linear` (sgd, momentum, nesterov) or `square_root` (adam, adamw, rmsprop). An independent
        "weight_decay" is taken not to follow the schedule.
    decay
        a ≥ 1, what the schedule divides the learning rate by at this point. Where aB is not whole the batch is the whole number below, and
        the learning rate does the rest.
    critical_batch_size
        B_crit: the batch does not grow beyond it, and the rest of the decay is done by the learning rate.

    Returns
    -------
    Scaled
        Mapping of the new settings; `.original` are the settings with the decayed learning rate and the old batch, whose law they have.

    Raises
    ------
    ValueError, TypeError
        If settings are malformed, a < 1, or κ(1 − β) > 1 for a β of Adam.

    Notes
    -----
    Assumptions: as for `linear` and `square_root`; the batch stays below the critical one. Limit: a = 1 changes nothing; B already above
    B_crit: the learning rate alone decays. Where the noise dominates, a quadratic's stationary loss is the same up to the factor
    (1 − η/edge)/(1 − η/(a·edge)).

    References
    ----------
    Smith, Kindermans, Ying, Le (2018), Don't decay the learning rate, increase the batch size; for Adam `docs/derivations/averages.md` (Seesaw, 2025).

    Examples
    --------
    >>> new = ramp({"learning_rate": 0.1, "batch_size": 32}, 5)
    >>> new["learning_rate"], new["batch_size"]
    (0.1, 160)
    >>> adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "batch_size": 256}
    >>> new = ramp(adam, 2)
    >>> round(new["learning_rate"] * 2**0.5, 9), new["batch_size"], round(new["b2"], 9)
    (0.001, 512, 0.998)
    """
    divisor = _checks.within("decay", decay, 1.0, math.inf)
    rule = square_root if is_adaptive(settings) else linear
    old = rule(settings, 1).original  # checked
    size = old["batch_size"]
    most = math.inf if critical_batch_size is None else _checks.positive("critical_batch_size", critical_batch_size)
    kappa = max(math.floor(min(divisor * size, most) * (1 + 1e-12)) / size, 1.0)  # 1.1 · 10 is whole
    for key, beta in memories(old).items():
        if kappa * (1 - beta) > 1 + 1e-12:
            msg = (
                f"decay must be <= {1 / (1 - beta):.6g} for {key} = {beta:g}, got {divisor:g}: κ(1 − {key}) = {kappa * (1 - beta):.4g} > 1 "
                f"leaves no memory. Use critical_batch_size <= {math.floor(size / (1 - beta) * (1 + 1e-12))}, or a smaller decay."
            )
            raise ValueError(msg)
    return rule(old | {"learning_rate": old["learning_rate"] / divisor}, kappa)
