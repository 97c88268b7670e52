"""Reading settings: which keys a rule knows, and what their values must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from gradnoise import _checks

LINEAR = ("sgd", "momentum", "nesterov")  # update rules that are linear in the gradient
ADAPTIVE = ("adam", "adamw", "rmsprop")
BOTH = {
    "learning_rate": "η > 0, required",
    "batch_size": "B, a whole number, required",
    "weight_decay": "≥ 0: coefficient of the L2 term in the gradient; for adamw of the decoupled decay; see 'decay_form'",
    "decay_form": "'times_learning_rate' (default): a step takes ηλθ off; 'independent': it takes λθ off, apart from the gradient",
    "num_steps": "length of the run",
    "warmup_steps": "length of the warm-up",
    "ema_decay": "ρ in [0, 1) of the parameter average y <- ρy + (1-ρ)θ",
}
LINEAR_KEYS = {
    "optimizer": f"one of {', '.join(map(repr, LINEAR))}; 'sgd' if left out",
    "momentum": "μ in [0, 1)",
    "nesterov": "True or False",
} | BOTH
ADAPTIVE_KEYS = {
    "optimizer": f"one of {', '.join(map(repr, ADAPTIVE))}, required",
    "b1": "β₁ in [0, 1); required by adam and adamw, 0 for rmsprop",
    "b2": "β₂ in (0, 1), required",
    "decay": "β₂ under optax's name for rmsprop",
    "eps": "ε ≥ 0, required",
    "eps_in_sqrt": "False: √v + ε (Adam, PyTorch); True: √(v + ε) (optax.rmsprop's default)",
    "clip_norm": "threshold of the clipping of the gradient's norm",
} | BOTH
DECAY_FORMS = ("times_learning_rate", "independent")
_INTERVALS = {
    "momentum": (0.0, 1.0, "left"),
    "weight_decay": (0.0, math.inf, "both"),
    "ema_decay": (0.0, 1.0, "left"),
    "b1": (0.0, 1.0, "left"),
    "b2": (0.0, 1.0, "neither"),
    "decay": (0.0, 1.0, "neither"),
    "eps": (0.0, math.inf, "both"),
    "clip_norm": (0.0, math.inf, "neither"),
}


def is_adaptive(settings: Any) -> bool:
    """Whether the optimizer divides the gradient by its own size."""
    return isinstance(settings, Mapping) and settings.get("optimizer", "sgd") in ADAPTIVE


def linear_settings(settings: Any, rule: str = "linear") -> dict[str, Any]:
    """Return checked settings of SGD, momentum or Nesterov."""
    _mapping(settings)
    name = settings.get("optimizer", "sgd")
    adaptive = [key for key in ("b1", "b2", "beta1", "beta2", "betas", "eps") if key in settings]
    if name not in LINEAR or adaptive:
        sign = f"settings has {adaptive[0]!r}" if name in LINEAR else f"settings['optimizer'] is {_checks.shown(name)}"
        msg = (
            f"{sign}, but the {rule} rule holds for {', '.join(LINEAR)} only. Adam and RMSprop divide the noise by its own size: "
            "they need the square-root rule (learning rate x √κ, 1 - b1 and 1 - b2 x κ, eps / √κ)."
        )
        raise ValueError(msg)
    return _checked(settings, rule, LINEAR_KEYS, ("learning_rate", "batch_size"))


def adaptive_settings(settings: Any, rule: str) -> dict[str, Any]:
    """Return checked settings of Adam, AdamW or RMSprop."""
    _mapping(settings)
    name = settings.get("optimizer")
    if name not in ADAPTIVE:
        msg = (
            f"settings['optimizer'] must be one of {', '.join(map(repr, ADAPTIVE))} for the {rule} rule, got {_checks.shown(name)}. "
            "SGD and momentum need the linear rule; for sign or spectral updates (Muon) no rule is known."
        )
        raise ValueError(msg)
    second = "decay" if name == "rmsprop" and "decay" in settings else "b2"
    needed = ["learning_rate", "batch_size", second, "eps"] + (["b1"] if name != "rmsprop" else [])
    out = _checked(settings, rule, ADAPTIVE_KEYS, needed)
    if name == "rmsprop" and out.get("b1", 0.0) != 0:
        msg = f"settings['b1'] must be 0 or left out for rmsprop, got {out['b1']:g}. With a first moment it is 'adam'."
        raise ValueError(msg)
    if name != "rmsprop" and "decay" in out:
        msg = f"settings has 'decay', which only rmsprop has; {name} calls it 'b2'."
        raise ValueError(msg)
    if {"b2", "decay"} <= set(out):
        msg = "settings must have 'b2' or 'decay', not both: they are two names of one number."
        raise ValueError(msg)
    return out


def memories(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the averaging coefficients β in use, by key; rmsprop's b1 = 0 is no memory."""
    return {key: settings[key] for key in ("b1", "b2", "decay") if key in settings and (key != "b1" or settings[key])}


def is_independent(settings: Mapping[str, Any]) -> bool:
    """Whether the weight decay is a step of its own that the learning rate does not multiply."""
    return "weight_decay" in settings and settings.get("decay_form") == "independent"


def scaled_decay(settings: Mapping[str, Any], kappa: float, factor: float = 1.0) -> dict[str, float]:
    """Return the decay for steps worth κ of the old ones: times `factor` where η multiplies it, times κ where it stands alone."""
    if "weight_decay" not in settings:
        return {}
    old = settings["weight_decay"]
    if not is_independent(settings):
        return {"weight_decay": factor * old}
    if kappa * old >= 1:
        msg = (
            f"factor must be below {1 / old:.6g} for weight_decay = {old:g} with decay_form='independent', got {kappa:g}: "
            f"one step would take {kappa * old:.4g} >= 1 of the parameters off."
        )
        raise ValueError(msg)
    return {"weight_decay": kappa * old}


def scaled_steps(settings: Mapping[str, Any], factor: float) -> dict[str, int]:
    """Return lengths counted in steps, divided by the factor, rounded up."""
    names = [name for name in ("num_steps", "warmup_steps") if name in settings]
    return {name: math.ceil(round(settings[name] / factor, 9)) for name in names}


def whole_batch(size: int, kappa: float) -> int:
    """Return the new batch size, or say which factors give a whole one."""
    scaled = size * kappa
    if round(scaled) < 1 or abs(scaled - round(scaled)) > 1e-9 * scaled:
        near = " or ".join(str(Fraction(b, size)) for b in (math.floor(scaled), math.ceil(scaled)) if b > 0)
        msg = f"factor must make batch_size a whole number, got {size} x {kappa:g} = {scaled:g}. Use {near}."
        raise ValueError(msg)
    return round(scaled)


def _mapping(settings: Any) -> None:
    if not isinstance(settings, Mapping):
        msg = f"settings must be a mapping such as {{'learning_rate': 0.1, 'batch_size': 32}}, got {_checks.shown(settings)}."
        raise TypeError(msg)


def _checked(settings: Mapping[str, Any], rule: str, known: Mapping[str, str], needed: Any) -> dict[str, Any]:
    missing = [name for name in needed if name not in settings]
    unknown = [name for name in settings if name not in known]
    if missing:
        msg = f"settings must have {' and '.join(map(repr, missing))}, got {_checks.shown(dict(settings))}."
        raise ValueError(msg)
    if unknown:
        keys = "; ".join(f"{name!r}: {text}" for name, text in known.items())
        msg = f"settings has {', '.join(map(repr, unknown))}, which the {rule} rule does not know how to scale. It knows {keys}."
        raise ValueError(msg)
    read = {key: _read(key, value) for key, value in settings.items()}
    if is_independent(read) and read["weight_decay"] >= 1:
        msg = f"settings['weight_decay'] must be below 1 with decay_form='independent' (a step takes λθ off), got {read['weight_decay']:g}."
        raise ValueError(msg)
    return read


def _read(key: str, value: Any) -> Any:
    name = f"settings['{key}']"
    if key in _INTERVALS:
        low, high, closed = _INTERVALS[key]
        return _checks.within(name, value, low, high, closed=closed)
    if key == "decay_form":
        return _checks.one_of(name, value, DECAY_FORMS)
    if key in ("nesterov", "eps_in_sqrt") and not isinstance(value, bool):
        msg = f"{name} must be True or False, got {_checks.shown(value)}."
        raise TypeError(msg)
    read: dict[str, Callable[[], Any]] = {
        "learning_rate": lambda: _checks.positive(name, value),
        "batch_size": lambda: _checks.integer(name, value),
        "num_steps": lambda: _checks.integer(name, value, low=0),
        "warmup_steps": lambda: _checks.integer(name, value, low=0),
    }
    return read[key]() if key in read else value
