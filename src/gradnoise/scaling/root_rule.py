"""Square-root scaling rule: RMSprop, Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gradnoise import _checks
from gradnoise.scaling.records import Condition, Conditions, Scaled, batch_conditions
from gradnoise.scaling.settings import (
    adaptive_settings,
    is_independent,
    memories,
    scaled_decay,
    scaled_steps,
    whole_batch,
)

MEMORY_LIMIT = 0.25  # of 1 − β: the SDE's relative error in E x² is 0.06 at 0.08 and 0.19 at 0.32 (sde_scaling.md §7.6)


def square_root(
    settings: Mapping[str, Any],
    factor: float,
    *,
    moments: str = "linear",
    num_examples: int | None = None,
    gradient_noise_scale: float | None = None,
) -> Scaled:
    r"""Square-root scaling rule for RMSprop, Adam and AdamW: B → κB, the same number of epochs.

    Equation::

        η → √κ η,   1−β₁ → κ(1−β₁),   1−β₂ → κ(1−β₂),   ε → ε/√κ;   time t = kη², steps → steps/κ

    Parameters
    ----------
    settings
        Mapping with "optimizer" ("adam", "adamw", "rmsprop"), "learning_rate" η, "batch_size" B, "b1" β₁ (not rmsprop),
        "b2" β₂ (for rmsprop also "decay") and "eps" ε. Optional "eps_in_sqrt" (True: √(v + ε), so ε → ε/κ),
        "weight_decay" λ, "num_steps", "warmup_steps" (÷ κ), "ema_decay" (ρ^κ), "clip_norm" (÷ √κ, where noise dominates).
        λ is read as optax.adamw and PyTorch's AdamW do, θ ← θ − η(m̂/(√v̂ + ε) + λθ): × √κ. "decay_form": "independent" says that the
        learning rate does not multiply it, θ ← θ − η m̂/(√v̂ + ε) − λθ (the paper's form): × κ. For adam and rmsprop λ is the L2 term
        in the gradient and kept, unless it is independent.
    factor
        κ > 0; κB must be a whole number.
    moments
        "linear": 1−β → κ(1−β), an error where κ(1−β) > 1; "power": β → β^κ, the same to first order, never leaves (0, 1).
    num_examples
        N: asks for the condition B ≪ N.
    gradient_noise_scale
        tr C/|∇L|²: asks for the condition that noise dominates at the larger batch.

    Returns
    -------
    Scaled
        Mapping of the new settings, with `.invariants` (σ₀, ε₀, c₁, c₂ of the SDE; also the timescale of a decoupled decay), `.validity`, `.valid`, `.inverse()`.

    Raises
    ------
    ValueError, TypeError
        If settings are missing, unknown or malformed, κ ≤ 0, κB is not whole, κ > `max_kappa(settings)`, or an independent decay
        would take all of the parameters off in a step.

    Notes
    -----
    Assumptions: noise dominates the gradient in every coordinate (early training breaks it, and so do huge batches);
    1−β small. With σ = 1/√B the SDE holds σ₀ = ησ, ε₀ = ηε, c_i = (1−β_i)/η² alone. Limit: κ = 1 changes nothing, and two
    rules in a row are one with the product of the factors. Linear scaling of η would multiply σ₀ by √κ: another SDE.

    References
    ----------
    Malladi, Lyu, Panigrahi & Arora (2022), the square-root scaling rules for RMSprop and Adam; Loshchilov & Hutter (2019) for the
    decoupled decay, which they write independent of the learning rate; its scaling, clipping and averages derived in
    `docs/derivations/adaptive_sde.md`, `decoupled_decay_and_signs.md` and `averages.md` there.

    Examples
    --------
    >>> adam = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "batch_size": 256}
    >>> new = square_root(adam, 4)
    >>> {name: new[name] for name in ("learning_rate", "b1", "b2", "eps", "batch_size")}
    {'learning_rate': 0.002, 'b1': 0.6, 'b2': 0.996, 'eps': 5e-09, 'batch_size': 1024}
    >>> new.valid  # β₁ = 0.6 remembers two or three steps: far from an SDE
    False
    """
    kappa = _checks.positive("factor", factor)
    moments = _checks.one_of("moments", moments, ("linear", "power"))
    old = adaptive_settings(settings, "square-root")
    count = None if num_examples is None else _checks.integer("num_examples", num_examples)
    scale = None if gradient_noise_scale is None else _checks.positive("gradient_noise_scale", gradient_noise_scale)
    new = rescaled(old, kappa, moments) | {"batch_size": whole_batch(old["batch_size"], kappa)}
    conditions = _conditions(batch_conditions(count, scale))
    kept = {"learning_rate/sqrt(batch_size)": old["learning_rate"] / math.sqrt(old["batch_size"])}
    kept |= constants(old, moments)
    if is_independent(old):  # 1/timescale of the decay, in examples
        kept["weight_decay/batch_size"] = old["weight_decay"] / old["batch_size"]
    elif old["optimizer"] == "adamw" and "weight_decay" in old:
        kept["learning_rate*weight_decay/batch_size"] = old["learning_rate"] * old["weight_decay"] / old["batch_size"]
    return Scaled("square_root", kappa, old, new, kept, conditions)


def rescaled(old: Mapping[str, Any], kappa: float, moments: str) -> dict[str, Any]:
    """Return the settings for noise σ/√κ, batch size left as it is: also svag's, with κ = 1/l."""
    root = math.sqrt(kappa)
    new = dict(old) | {"learning_rate": root * old["learning_rate"]} | scaled_steps(old, kappa)
    new |= {key: _memory(key, beta, kappa, moments) for key, beta in memories(old).items()}
    new["eps"] = old["eps"] / (kappa if old.get("eps_in_sqrt", False) else root)
    new |= scaled_decay(old, kappa, root if old["optimizer"] == "adamw" else 1.0)
    if "ema_decay" in old:
        new["ema_decay"] = old["ema_decay"] ** kappa
    if "clip_norm" in old:
        new["clip_norm"] = old["clip_norm"] / root
    return new


def _memory(key: str, beta: float, kappa: float, moments: str) -> float:
    if moments == "power":
        return float(beta**kappa)
    lost = kappa * (1 - beta)
    if lost > 1 + 1e-12:
        msg = (
            f"factor must be <= {1 / (1 - beta):.6g} for {key} = {beta:g}, got {kappa:g}: κ(1 − {key}) = {lost:.4g} > 1 leaves no memory. "
            "Use a smaller factor, or moments='power' (β^κ)."
        )
        raise ValueError(msg)
    return max(1 - lost, 0.0)


def constants(settings: Mapping[str, Any], moments: str = "linear") -> dict[str, float]:
    """Return ε₀, c₁, c₂ of the SDE, and the decoupled decay per unit of time."""
    eta = settings["learning_rate"]
    outside = math.sqrt(settings["eps"]) if settings.get("eps_in_sqrt", False) else settings["eps"]
    out = {"learning_rate*eps": eta * outside}
    for key, beta in memories(settings).items():
        if moments == "linear":
            out[f"(1-{key})/learning_rate**2"] = (1 - beta) / eta**2
        else:
            out[f"-log({key})/learning_rate**2"] = -math.log(beta) / eta**2
    if is_independent(settings):
        out["weight_decay/learning_rate**2"] = settings["weight_decay"] / eta**2
    elif settings["optimizer"] == "adamw" and "weight_decay" in settings:
        out["weight_decay/learning_rate"] = settings["weight_decay"] / eta
    return out


def _conditions(batch: Conditions) -> Conditions:
    def conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Condition]:
        lost = max(1 - beta for s in (old, new) for beta in memories(s).values())
        meaning = "largest 1 − β before and after: the averages must be long, and the SDE's error is about as large"
        return {"memory": Condition(lost, MEMORY_LIMIT, meaning)} | batch(old, new)

    return conditions
