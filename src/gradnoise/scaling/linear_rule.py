"""Linear scaling rule: SGD, momentum and Nesterov."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradnoise import _checks
from gradnoise.scaling.records import TOLERANCE, Condition, Conditions, Scaled, batch_conditions
from gradnoise.scaling.settings import is_independent, linear_settings, scaled_decay, scaled_steps, whole_batch


def linear(
    settings: Mapping[str, Any],
    factor: float,
    *,
    stability_edge: float | None = None,
    num_examples: int | None = None,
    gradient_noise_scale: float | None = None,
) -> Scaled:
    r"""Linear scaling rule for SGD, momentum and Nesterov: B → κB, η → κη, momentum kept, the same number of epochs.

    Equation::

        dθ = −∇L dt + (η C/B)^{1/2} dW,   t = kη            (the SDE knows η and B only through η/B)

    Parameters
    ----------
    settings
        Mapping with "learning_rate" η and "batch_size" B; optional "optimizer" ("sgd", "momentum", "nesterov"),
        "momentum" μ, "nesterov", "num_steps" and "warmup_steps" (divided by κ, rounded up, so that they are the same in
        epochs), "ema_decay" (ρ^κ), "weight_decay" λ: the L2 term λθ in the gradient, as in torch.optim.SGD, kept since η multiplies it.
        With "decay_form": "independent" a step takes λθ off by itself, θ ← θ − ηm − λθ: × κ.
    factor
        κ > 0; κB must be a whole number.
    stability_edge
        η at which the quadratic diverges, from `theory.stability_edge` with the same momentum: asks for the
        condition κη < edge, and for how much the discrete stationary variance changes.
    num_examples
        N: asks for the condition B ≪ N.
    gradient_noise_scale
        tr C/|∇L|²: asks for the condition that a batch stays below it, necessary for the SDE (`max_learning_rate_for_sde`
        at C = √2).

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
    Limit: κ = 1 changes nothing; κη ≪ edge leaves every stationary variance as it was.
    Adaptive rules divide the noise by its own size, so this rule changes their SDE: they need the square-root rule.

    References
    ----------
    `docs/derivations/sgd_sde.md` (Li, Malladi & Arora 2021; Goyal et al. 2017), `docs/derivations/adaptive_sde.md` for the contrast.

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
    old = linear_settings(settings)
    edge = None if stability_edge is None else _checks.positive("stability_edge", stability_edge)
    count = None if num_examples is None else _checks.integer("num_examples", num_examples)
    scale = None if gradient_noise_scale is None else _checks.positive("gradient_noise_scale", gradient_noise_scale)
    new = old | {"learning_rate": kappa * old["learning_rate"], "batch_size": whole_batch(old["batch_size"], kappa)}
    new |= scaled_steps(old, kappa) | scaled_decay(old, kappa)
    if "ema_decay" in old:
        new["ema_decay"] = old["ema_decay"] ** kappa
    return Scaled("linear", kappa, old, new, _invariants(old), _conditions(edge, batch_conditions(count, scale)))


def _invariants(settings: Mapping[str, Any]) -> dict[str, float]:
    """η/B, momentum, and the stationary covariance's scale η/(B(1 − μ))."""
    eta, size, mu = settings["learning_rate"], settings["batch_size"], settings.get("momentum", 0.0)
    kept = {"learning_rate/batch_size": eta / size, "momentum": mu}
    if is_independent(settings):
        kept["weight_decay/batch_size"] = settings["weight_decay"] / size
    return kept | {"learning_rate/(batch_size*(1-momentum))": eta / (size * (1 - mu))}


def _conditions(edge: float | None, batch: Conditions) -> Conditions:
    def conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Condition]:
        stability = {} if edge is None else _stability(old, new, edge)
        return stability | batch(old, new)

    return conditions


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
