"""SVAG: smaller steps with amplified noise, the way from an algorithm to its own SDE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradnoise.scaling.records import Condition, Scaled
from gradnoise.scaling.root_rule import constants, rescaled
from gradnoise.scaling.settings import (
    adaptive_settings,
    is_adaptive,
    is_independent,
    linear_settings,
    scaled_decay,
    scaled_steps,
)
from gradnoise.theory import svag_coefficients


def svag(settings: Mapping[str, Any], l: float) -> Scaled:
    r"""Return settings under which svag gradients follow the same SDE with l times as many, smaller steps.

    Equation::

        ĝ = c₊g₁ + c₋g₂,   Cov ĝ = l C/B                    l: covariance factor, for every rule
        sgd              η → η/l                             time t = kη
        momentum         η → η/l²,  1−μ → (1−μ)/l            time t = k√η
        adam, rmsprop    η → η/√l,  1−β → (1−β)/l,  ε → ε√l  time t = kη²

    Parameters
    ----------
    settings
        As for `linear` (sgd, momentum, nesterov) or `square_root` (adam, adamw, rmsprop). "batch_size" is kept: each of the
        two batches has it. "num_steps" and "warmup_steps" × l; "ema_decay" ρ^{1/l}; adamw's "weight_decay" ÷ √l, which the learning
        rate multiplies; with "decay_form": "independent" every rule's ÷ l.
    l
        ≥ 1, any real number.

    Returns
    -------
    Scaled
        Mapping of the new settings, with `.coefficients` (c₊, c₋), `.invariants`, `.inverse()`.

    Raises
    ------
    ValueError, TypeError
        If l < 1, settings are missing, unknown or malformed, or the gradient is clipped (clipping undoes the covariance).

    Notes
    -----
    Assumptions: g₁, g₂ independent. The law at time t tends to that of the SDE at the **practical** η, with an error in
    1/l; cost 2l times. Limit: l = 1 is the algorithm itself. Keeping the momentum while dividing η by l is wrong: its memory
    must shrink with the step. In Malladi et al.'s convention l = ℓ².

    References
    ----------
    Li, Malladi & Arora (2021); Malladi et al. (2022) for the adaptive rules (`docs/derivations/svag.md` and `docs/derivations/adaptive_sde.md`); momentum derived here from the SDE of
    Li, Tai & E (2019), see `sde.momentum`.

    Examples
    --------
    >>> new = svag({"learning_rate": 0.8, "batch_size": 128}, 4)
    >>> new["learning_rate"], new["batch_size"], round(new.coefficients[0], 6)
    (0.2, 128, 1.822876)
    >>> adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "batch_size": 256}
    >>> new = svag(adam, 4)
    >>> new["learning_rate"], new["b1"], new["b2"], new["eps"]
    (0.0005, 0.975, 0.99975, 2e-08)
    """
    coefficients = svag_coefficients(l)
    if is_adaptive(settings):
        old, new, kept = _adaptive(settings, l)
    else:
        old, new, kept = _linear(settings, l)
    return Scaled("svag", float(l), old, new, kept, _no_conditions, coefficients)


def _linear(settings: Mapping[str, Any], l: float) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    old = linear_settings(settings, "svag")
    eta, size, mu = old["learning_rate"], old["batch_size"], old.get("momentum", 0.0)
    new = old | scaled_steps(old, 1 / l) | scaled_decay(old, 1 / l)
    alone = old["weight_decay"] if is_independent(old) else None
    if "ema_decay" in old:
        new["ema_decay"] = old["ema_decay"] ** (1 / l)
    if mu == 0:
        kept = {"learning_rate*l/batch_size": eta / size}
        if alone is not None:
            kept["weight_decay/learning_rate"] = alone / eta
        return old, new | {"learning_rate": eta / l}, kept
    new |= {"learning_rate": eta / l**2, "momentum": 1 - (1 - mu) / l}
    kept = {
        "sqrt(learning_rate)*l/batch_size": eta**0.5 / size,
        "(1-momentum)/sqrt(learning_rate)": (1 - mu) / eta**0.5,
    }
    if alone is not None:
        kept["weight_decay/sqrt(learning_rate)"] = alone / eta**0.5
    return old, new, kept


def _adaptive(settings: Mapping[str, Any], l: float) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    old = adaptive_settings(settings, "svag")
    if "clip_norm" in old:
        msg = f"settings['clip_norm'] must be left out, got {old['clip_norm']:g}: clipping the combined gradient undoes its covariance."
        raise ValueError(msg)
    kept = {"learning_rate*sqrt(l/batch_size)": old["learning_rate"] / old["batch_size"] ** 0.5}
    return old, rescaled(old, 1 / l, "linear"), kept | constants(old)


def _no_conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Condition]:
    del old, new  # any l >= 1 may be used
    return {}
