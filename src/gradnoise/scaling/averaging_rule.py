"""The rule for averages of the parameters, and what it leaves over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.scaling.records import Condition, Scaled
from gradnoise.scaling.settings import whole_batch


def ema(settings: Mapping[str, Any], factor: float, *, form: str = "power") -> Scaled:
    r"""Scaling rule for an exponential average of the parameters, y ← ρy + (1−ρ)θ.

    Equation: B → κB, ρ → ρ^κ; form="linear": 1−ρ → κ(1−ρ).

    Parameters
    ----------
    settings
        Mapping with "ema_decay" ρ in (0, 1) and "batch_size" B; nothing else.
    factor
        κ > 0; κB must be a whole number.
    form
        "power": ρ^κ; "linear": 1−ρ → κ(1−ρ), the same to first order, an error where κ(1−ρ) > 1.

    Returns
    -------
    Scaled
        Mapping of the new settings.

    Raises
    ------
    ValueError, TypeError
        If settings are missing, unknown or malformed, or κ(1−ρ) > 1 with form="linear".

    Notes
    -----
    To be used together with the optimizer's own rule; `linear` and `square_root` apply it themselves to "ema_decay". The
    average then spans the same number of examples. Assumptions: θ moves little in κ steps; what is left over is `ema_shift`.
    Limit: κ = 1 changes nothing.

    References
    ----------
    Busbridge et al. (2023), the EMA scaling rule; `docs/derivations/averages.md`.

    Examples
    --------
    >>> round(ema({"ema_decay": 0.999, "batch_size": 32}, 8)["ema_decay"], 6)
    0.992028
    """
    kappa = _checks.positive("factor", factor)
    form = _checks.one_of("form", form, ("power", "linear"))
    if not isinstance(settings, Mapping) or set(settings) != {"ema_decay", "batch_size"}:
        msg = f"settings must be a mapping with 'ema_decay' and 'batch_size', got {_checks.shown(settings)}."
        raise ValueError(msg)
    rho = _checks.within("settings['ema_decay']", settings["ema_decay"], 0.0, 1.0, closed="neither")
    size = _checks.integer("settings['batch_size']", settings["batch_size"])
    old = {"ema_decay": rho, "batch_size": size}
    if form == "linear" and kappa * (1 - rho) > 1:
        msg = f"factor must be <= {1 / (1 - rho):.6g} for ema_decay = {rho:g}, got {kappa:g}. Use form='power'."
        raise ValueError(msg)
    decay = rho**kappa if form == "power" else 1 - kappa * (1 - rho)
    new = {"ema_decay": decay, "batch_size": whole_batch(size, kappa)}
    kept = {"-log(ema_decay)/batch_size": -float(np.log(rho)) / size}
    if form == "linear":
        kept = {"(1-ema_decay)/batch_size": (1 - rho) / size}
    return Scaled("ema", kappa, old, new, kept, _no_conditions)


def ema_shift(gradient: ArrayLike, *, learning_rate: float, decay: float, factor: int) -> Array:
    r"""Difference of the average after κ small steps and after the one step that the EMA rule puts in their place.

    Equation: y_κ − y = −η (κ − (1−ρ^κ)/(1−ρ)) ∇L, about −ηκ(κ−1)(1−ρ)/2 ∇L.

    =============  ======  =====  ======================================
    argument       symbol  shape  scale
    =============  ======  =====  ======================================
    gradient       ∇L      (D,)   gradient, mean loss
    learning_rate  η       ()     parameter²/loss, of the small steps
    decay          ρ       ()     of the small steps
    factor         κ       ()     steps replaced by one, a whole number
    returns        –       (D,)   parameter
    =============  ======  =====  ======================================

    Assumptions: SGD under the linear rule with a constant gradient; y ← ρy + (1−ρ)θ with the θ *before* the step.
    Limit: κ = 1 gives 0.

    Reference: Busbridge et al. (2023); `docs/derivations/averages.md`; closed form derived here.

    >>> ema_shift([1.0, -2.0], learning_rate=0.1, decay=0.9, factor=2)
    array([-0.01,  0.02])
    """
    mean = _checks.vector("gradient", gradient)
    rate = _checks.positive("learning_rate", learning_rate)
    rho = _checks.within("decay", decay, 0.0, 1.0, closed="left")
    kappa = _checks.integer("factor", factor)
    return -rate * (kappa - (1 - rho**kappa) / (1 - rho)) * mean


def _no_conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Condition]:
    del old, new
    return {}
