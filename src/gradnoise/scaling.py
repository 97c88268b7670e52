"""Scaling rules: which settings keep the law of training when the batch size changes.

Closed forms only; `advice` puts them into words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gradnoise import _checks

LINEAR = ("sgd", "momentum", "nesterov")  # update rules that are linear in the gradient
SETTINGS = {
    "optimizer": f"one of {', '.join(map(repr, LINEAR))}; 'sgd' if left out",
    "learning_rate": "η > 0, required",
    "batch_size": "B, a whole number, required",
    "momentum": "μ in [0, 1)",
    "nesterov": "True or False",
    "weight_decay": "coefficient of the L2 term in the gradient, ≥ 0",
    "num_steps": "length of the run",
    "warmup_steps": "length of the warm-up",
}
TOLERANCE = 0.05  # relative change of a predicted variance that still counts as "the same"


@dataclass(frozen=True)
class Condition:
    """One assumption of a rule as a number.

    Attributes
    ----------
    value
        The number, dimensionless.
    limit
        The assumption holds where `value` is below it.
    meaning
        What it measures, in words.
    """

    value: float
    limit: float
    meaning: str

    @property
    def holds(self) -> bool:
        """Whether `value` is below `limit`."""
        return self.value < self.limit


@dataclass(frozen=True, repr=False, eq=False)
class Scaled(Mapping[str, Any]):
    """New settings, readable as a mapping, with what they keep and when they may be trusted.

    Attributes
    ----------
    rule
        Name of the rule.
    factor
        κ = new batch size / old batch size.
    original
        The settings before.
    settings
        The settings after; also ``scaled["learning_rate"]``, ``dict(scaled)``.
    stability_edge, num_examples
        As given to the rule.
    """

    rule: str
    factor: float
    original: dict[str, Any]
    settings: dict[str, Any]
    stability_edge: float | None
    num_examples: int | None

    def __getitem__(self, name: str) -> Any:
        return self.settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)

    @property
    def invariants(self) -> dict[str, float]:
        """What is the same before and after: η/B, momentum, and the stationary covariance's scale η/(B(1 − μ))."""
        eta, size, mu = _numbers(self.original)
        kept = {"learning_rate/batch_size": eta / size, "momentum": mu}
        return kept | {"learning_rate/(batch_size*(1-momentum))": eta / (size * (1 - mu))}

    @property
    def validity(self) -> dict[str, Condition]:
        """Conditions of the rule, those that the given arguments can tell."""
        out: dict[str, Condition] = {}
        if self.stability_edge is not None:
            out |= _stability(self.original, self.settings, self.stability_edge)
        if self.num_examples is not None:
            share = [_numbers(s)[1] / self.num_examples for s in (self.original, self.settings)]
            meaning = "larger of B/N before and after: without replacement the noise is C/B·(N−B)/(N−1), not C/B"
            out["batch_share"] = Condition(max(share), TOLERANCE, meaning)
        return out

    @property
    def valid(self) -> bool:
        """Whether every condition in `validity` holds."""
        return all(condition.holds for condition in self.validity.values())

    def inverse(self) -> Scaled:
        """Return the way back: exactly the original settings."""
        return Scaled(self.rule, 1 / self.factor, self.settings, self.original, self.stability_edge, self.num_examples)

    def __repr__(self) -> str:
        changed = [f"{k}: {self.original[k]:g} -> {v:g}" for k, v in self.settings.items() if v != self.original[k]]
        return f"Scaled({self.rule}, factor={self.factor:g}, {', '.join(changed)})"


def linear(
    settings: Mapping[str, Any],
    factor: float,
    *,
    stability_edge: float | None = None,
    num_examples: int | None = None,
) -> Scaled:
    r"""Linear scaling rule for SGD, momentum and Nesterov: B → κB, η → κη, momentum kept, the same number of epochs.

    ::

        dθ = −∇L dt + (η C/B)^{1/2} dW,   t = kη            (the SDE knows η and B only through η/B)

    Parameters
    ----------
    settings
        Mapping with "learning_rate" η and "batch_size" B; optional "optimizer" ("sgd", "momentum", "nesterov"),
        "momentum" μ, "nesterov", "weight_decay" (kept), "num_steps" and "warmup_steps" (divided by κ, rounded up,
        so that they are the same in epochs).
    factor
        κ > 0; κB must be a whole number.
    stability_edge
        η at which the quadratic diverges, from `theory.stability_edge` with the same momentum: asks for the
        condition κη < edge, and for how much the discrete stationary variance changes.
    num_examples
        N: asks for the condition B ≪ N.

    Returns
    -------
    Scaled
        Mapping of the new settings, with `.invariants`, `.validity`, `.valid`, `.inverse()`.

    Raises
    ------
    ValueError, TypeError
        If settings are missing, unknown or malformed, κ ≤ 0, κB is not whole, or the optimizer is adaptive.

    Notes
    -----
    Assumptions: small step (κη well below the edge); noise C/B (with replacement, or B ≪ N). In discrete time the
    stationary variance along curvature λ is ηC/(B(1−μ)λ)/(2(1 − η/edge_λ)), edge_λ = 2(1+μ)/λ, so that the rule changes
    it by (1 − η/edge)/(1 − κη/edge) in the stiffest direction (SGD and heavy ball): `validity["stiffest_variance"]`.
    Adaptive rules divide the noise by its own size, so this rule changes their SDE: they need the square-root rule.

    References
    ----------
    `papers/sde_scaling.md` §2.1 (Li, Malladi & Arora 2021; Goyal et al. 2017), §3.7 for the contrast.

    Examples
    --------
    >>> new = linear({"learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}, 4, stability_edge=1.9)
    >>> new["learning_rate"], new["batch_size"], new["momentum"]
    (0.4, 128, 0.9)
    >>> new.valid, {name: round(condition.value, 3) for name, condition in new.validity.items()}
    (False, {'stability': 0.211, 'stiffest_variance': 0.2})
    >>> dict(new.inverse()) == {"learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}
    True
    """
    kappa = _checks.positive("factor", factor)
    old = _checked(settings)
    edge = None if stability_edge is None else _checks.positive("stability_edge", stability_edge)
    count = None if num_examples is None else _checks.integer("num_examples", num_examples)
    new = old | {
        "learning_rate": kappa * old["learning_rate"],
        "batch_size": _whole_batch(old["batch_size"], kappa),
    }
    for name in ("num_steps", "warmup_steps"):
        if name in old:
            new[name] = math.ceil(round(old[name] / kappa, 9))
    return Scaled("linear", kappa, old, new, edge, count)


def _checked(settings: Any) -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        msg = f"settings must be a mapping such as {{'learning_rate': 0.1, 'batch_size': 32}}, got {_checks.shown(settings)}."
        raise TypeError(msg)
    _check_optimizer(settings)
    missing = [name for name in ("learning_rate", "batch_size") if name not in settings]
    unknown = [name for name in settings if name not in SETTINGS]
    if missing:
        msg = f"settings must have {' and '.join(map(repr, missing))}, got {_checks.shown(dict(settings))}."
        raise ValueError(msg)
    if unknown:
        known = "; ".join(f"{name!r}: {text}" for name, text in SETTINGS.items())
        msg = f"settings has {', '.join(map(repr, unknown))}, which the linear rule does not know how to scale. It knows {known}."
        raise ValueError(msg)
    out = dict(settings)
    out["learning_rate"] = _checks.positive("settings['learning_rate']", out["learning_rate"])
    out["batch_size"] = _checks.integer("settings['batch_size']", out["batch_size"])
    if "momentum" in out:
        out["momentum"] = _checks.within("settings['momentum']", out["momentum"], 0.0, 1.0, closed="left")
    if "weight_decay" in out:
        out["weight_decay"] = _checks.within("settings['weight_decay']", out["weight_decay"], 0.0, math.inf)
    if not isinstance(out.get("nesterov", False), bool):
        msg = f"settings['nesterov'] must be True or False, got {_checks.shown(out['nesterov'])}."
        raise TypeError(msg)
    for name in ("num_steps", "warmup_steps"):
        if name in out:
            out[name] = _checks.integer(f"settings['{name}']", out[name], low=0)
    return out


def _check_optimizer(settings: Mapping[str, Any]) -> None:
    name = settings.get("optimizer", "sgd")
    adaptive = [key for key in ("b1", "b2", "beta1", "beta2", "betas", "eps") if key in settings]
    if name in LINEAR and not adaptive:
        return
    sign = f"settings has {adaptive[0]!r}" if name in LINEAR else f"settings['optimizer'] is {_checks.shown(name)}"
    msg = (
        f"{sign}, but the linear rule holds for {', '.join(LINEAR)} only. Adam and RMSprop divide the noise by its own size: "
        "they need the square-root rule (learning rate x √κ, 1 - b1 and 1 - b2 x κ, eps / √κ)."
    )
    raise ValueError(msg)


def _whole_batch(size: int, kappa: float) -> int:
    scaled = size * kappa
    if round(scaled) < 1 or abs(scaled - round(scaled)) > 1e-9 * scaled:
        near = " or ".join(str(Fraction(b, size)) for b in (math.floor(scaled), math.ceil(scaled)) if b > 0)
        msg = f"factor must make batch_size a whole number, got {size} x {kappa:g} = {scaled:g}. Use {near}."
        raise ValueError(msg)
    return round(scaled)


def _numbers(settings: Mapping[str, Any]) -> tuple[float, int, float]:
    return settings["learning_rate"], settings["batch_size"], settings.get("momentum", 0.0)


def _stability(old: Mapping[str, Any], new: Mapping[str, Any], edge: float) -> dict[str, Condition]:
    before, after = old["learning_rate"] / edge, new["learning_rate"] / edge
    meaning = "larger learning rate over the edge at which the quadratic diverges"
    out = {"stability": Condition(max(before, after), 1.0, meaning)}
    nesterov = new.get("nesterov", False) or new.get("optimizer") == "nesterov"
    if max(before, after) < 1 and not nesterov:
        change = abs((1 - before) / (1 - after) - 1)
        meaning = "relative change of the exact stationary variance in the stiffest direction"
        out["stiffest_variance"] = Condition(change, TOLERANCE, meaning)
    return out
