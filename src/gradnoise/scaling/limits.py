"""How far a rule reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradnoise import _checks
from gradnoise.scaling.settings import adaptive_settings, is_adaptive, is_independent, linear_settings, memories


def max_kappa(settings: Mapping[str, Any], *, stability_edge: float | None = None) -> float:
    r"""Return the largest factor by which a rule may multiply the batch size.

    Equation::

        square_root   κ ≤ 1/(1 − min β)          beyond, an average would have no memory left
        linear        κ < edge/η                 beyond, the quadratic diverges
        both          κ < 1/λ                    with a weight decay λ that is independent of the learning rate

    Parameters
    ----------
    settings
        As for `square_root` (adam, adamw, rmsprop) or `linear` (sgd, momentum, nesterov).
    stability_edge
        η at which the quadratic diverges, from `theory.stability_edge`; needed by the linear rule.

    Returns
    -------
    float
        κ, not rounded to whole batches.

    Raises
    ------
    ValueError, TypeError
        If the settings are malformed, or the linear rule is asked without an edge.

    Notes
    -----
    Necessary, not sufficient: accuracy is lost earlier (`Scaled.validity`, `max_factor_for_linear`). Assumptions: as for the
    rule. Limit: β → 1, or η → 0, has no bound; 1 where the settings are at the bound already.

    References
    ----------
    Malladi et al. (2022), `docs/derivations/adaptive_sde.md`; `theory.stability_edge` for the linear rule.

    Examples
    --------
    >>> adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "batch_size": 256}
    >>> round(max_kappa(adam), 9)
    10.0
    >>> max_kappa({"learning_rate": 0.1, "batch_size": 32}, stability_edge=1.6)
    16.0
    """
    if is_adaptive(settings):
        adaptive = adaptive_settings(settings, "square-root")
        return min(1 / (1 - min(memories(adaptive).values())), _decay_limit(adaptive))
    old = linear_settings(settings)
    if stability_edge is None:
        msg = "stability_edge must be given for the linear rule, got None: only stability limits it. See theory.stability_edge."
        raise ValueError(msg)
    return min(_checks.positive("stability_edge", stability_edge) / float(old["learning_rate"]), _decay_limit(old))


def _decay_limit(settings: Mapping[str, Any]) -> float:
    """1/λ of a decay that stands alone: beyond, a step takes more than all of the parameters off."""
    alone = settings["weight_decay"] if is_independent(settings) else 0.0
    return 1 / alone if alone else math.inf
