"""Scaling rules with every setting they know: what a rule claims to keep is evaluated by its name, before and after."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from hypothesis import strategies as st
from matrices import MILD, SEEDS
from outcome import refuses

from gradnoise import scaling

RATES = st.floats(-5, -1).map(lambda x: float(10**x))
FACTORS = st.sampled_from([1, 2, 3, 4, 8, 0.5, 0.25, 1.5])
STEPS = st.integers(0, 10_000)


@st.composite
def extras(draw: Any, settings: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Add some of these settings, and a form to a decay."""
    for name, strategy in names.items():
        if draw(st.booleans()):
            settings = settings | {name: draw(strategy)}
    if "weight_decay" in settings and draw(st.booleans()):
        settings["decay_form"] = draw(st.sampled_from(["independent", "times_learning_rate"]))
    return settings


SHARED = {
    "weight_decay": st.floats(1e-5, 0.01),
    "num_steps": STEPS,
    "warmup_steps": STEPS,
    "ema_decay": st.floats(0.5, 0.999),
}
ASKED = {
    "num_examples": st.one_of(st.none(), st.integers(1, 10**6)),
    "gradient_noise_scale": st.one_of(st.none(), MILD),
}


@st.composite
def descents(draw: Any, **more: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["sgd", "momentum", "nesterov"]))
    base = {"learning_rate": draw(RATES), "batch_size": draw(st.integers(1, 64)) * 4}
    if kind != "sgd" or draw(st.booleans()):
        base |= {"optimizer": kind}
    if kind != "sgd":
        base |= {"momentum": draw(st.floats(0.05, 0.98))}
    settings = draw(extras(base, SHARED | ({"nesterov": st.just(True)} if kind == "momentum" else {})))
    return {"settings": settings} | {name: draw(s) for name, s in more.items()}


@st.composite
def adaptives(draw: Any, clip: bool = True, **more: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["adam", "adamw", "rmsprop"]))
    second = draw(st.sampled_from(["b2", "decay"])) if kind == "rmsprop" else "b2"
    base = {"optimizer": kind, "learning_rate": draw(RATES), "batch_size": draw(st.integers(1, 64)) * 4, second: draw(st.floats(0.9, 0.9999)), "eps": draw(st.floats(1e-9, 1e-2))}  # fmt: skip
    if kind != "rmsprop":
        base["b1"] = draw(st.floats(0.88, 0.99))
    clipped = {"clip_norm": MILD} if clip else {}
    settings = draw(extras(base, SHARED | clipped | {"eps_in_sqrt": st.booleans()}))
    return {"settings": settings} | {name: draw(s) for name, s in more.items()}


def numbers(settings: Any) -> list[float]:
    """Logarithms, as a batch of thousands stands beside a rate of 1e-5; −50 for 0."""
    values = [float(settings[name]) for name in sorted(settings) if not isinstance(settings[name], str)]
    return [math.log(v) if v > 0 else -50.0 for v in values]


def kept(scaled: Any, l: float = 1.0) -> Any:
    """The invariants as the rule gives them; their names are formulas."""
    return np.array([1.0] * (2 * len(scaled.invariants)) if _hold(scaled, l) else [0.0])


def _hold(scaled: Any, l: float) -> bool:
    for name, value in scaled.invariants.items():
        for settings, factor in ((scaled.original, 1.0), (scaled.settings, l)):
            numbers = {"momentum": 0.0} | dict(settings) | {"l": factor, "sqrt": math.sqrt, "log": math.log}
            if settings.get("eps_in_sqrt", False):
                numbers["eps"] = math.sqrt(settings["eps"])
            found = eval(name.replace("-log(", "-1*log("), {}, numbers)
            if not math.isclose(found, value, rel_tol=1e-6, abs_tol=0.0 if value else 1e-300):
                return False
    return True


def steps_of(settings: Any, factor: float) -> dict[str, int]:
    """Rounded up, where the quotient is not whole to a billionth."""
    return {n: math.ceil(round(settings[n] / factor, 9)) for n in ("num_steps", "warmup_steps") if n in settings}


def decay_of(settings: Any, kappa: float, with_rate: float) -> dict[str, float]:
    if "weight_decay" not in settings:
        return {}
    alone = settings.get("decay_form") == "independent"
    return {"weight_decay": settings["weight_decay"] * (kappa if alone else with_rate)}


def whole(settings: Any, factor: float) -> bool:
    return (Fraction(settings["batch_size"]) * Fraction(factor)).denominator == 1


def conditions(found: Any) -> Any:
    return np.array([v for name in sorted(found.validity) for v in (found.validity[name].value, found.validity[name].limit)]), float(found.valid)  # fmt: skip


def linear(settings: Any, factor: float, **asked: Any) -> Any:
    new = scaling.linear(settings, factor, **asked)
    return numbers(new), numbers(new.inverse()), kept(new), *conditions(new)


def size_conditions(old: Any, new: Any, num_examples: Any, gradient_noise_scale: Any) -> dict[str, tuple[float, float]]:
    size, out = max(old["batch_size"], new["batch_size"]), {}
    if num_examples is not None:
        out["batch_share"] = (size / num_examples, scaling.TOLERANCE)
    if gradient_noise_scale is not None:
        out["signal"] = (size / gradient_noise_scale, 1.0)
    return out


def told(expected: dict[str, tuple[float, float]]) -> Any:
    return np.array([v for name in sorted(expected) for v in expected[name]]), float(all(a < b for a, b in expected.values()))  # fmt: skip


def right_linear(settings: Any, factor: float, stability_edge: Any, num_examples: Any, gradient_noise_scale: Any) -> Any:  # fmt: skip
    new = dict(settings) | {"learning_rate": settings["learning_rate"] * factor, "batch_size": settings["batch_size"] * factor}  # fmt: skip
    new |= steps_of(settings, factor) | decay_of(settings, factor, 1.0)
    if "ema_decay" in settings:
        new["ema_decay"] = math.exp(factor * math.log(settings["ema_decay"]))
    expected = size_conditions(settings, new, num_examples, gradient_noise_scale)
    if stability_edge is not None:
        used = max(new["learning_rate"], settings["learning_rate"]) / stability_edge
        expected["stability"] = (used, 1.0)
        if used < 1 and not settings.get("nesterov") and settings.get("optimizer") != "nesterov":
            mu = settings.get("momentum", 0.0)
            h = np.array([[2 * (1 + mu) / stability_edge]])
            before, after = (ref.sgd_law(h, h, s["learning_rate"], 1 / s["batch_size"], mu)[0, 0] for s in (settings, new))  # fmt: skip
            expected["stiffest_variance"] = (abs(after / before - 1), scaling.TOLERANCE)
    count = 3 + (settings.get("decay_form") == "independent")
    return numbers(new), numbers(settings), np.ones(2 * count), *told(expected)


def square_root(settings: Any, factor: float, **asked: Any) -> Any:
    new = scaling.square_root(settings, factor, **asked)
    return numbers(new), numbers(new.inverse()), kept(new), *conditions(new)


def rescaled(settings: Any, kappa: float, moments: str) -> dict[str, Any]:
    root = math.sqrt(kappa)
    new = dict(settings) | {"learning_rate": settings["learning_rate"] * root}
    new |= steps_of(settings, kappa) | decay_of(settings, kappa, root if settings["optimizer"] == "adamw" else 1.0)
    for name in ("b1", "b2", "decay"):
        if name in settings:
            lost = 1 - settings[name]
            new[name] = math.exp(kappa * math.log1p(-lost)) if moments == "power" else 1 - kappa * lost
    new["eps"] = settings["eps"] / (kappa if settings.get("eps_in_sqrt") else root)
    if "ema_decay" in settings:
        new["ema_decay"] = math.exp(kappa * math.log(settings["ema_decay"]))
    if "clip_norm" in settings:
        new["clip_norm"] = settings["clip_norm"] / root
    return new


def held(settings: Any) -> int:
    memories = sum(name in settings for name in ("b1", "b2", "decay"))
    alone = settings.get("decay_form") == "independent"
    decoupled = settings["optimizer"] == "adamw" and "weight_decay" in settings and not alone
    return memories + alone + decoupled


def right_root(settings: Any, factor: float, moments: str, num_examples: Any, gradient_noise_scale: Any) -> Any:
    new = rescaled(settings, factor, moments) | {"batch_size": settings["batch_size"] * factor}
    expected = size_conditions(settings, new, num_examples, gradient_noise_scale)
    lost = max(1 - s[n] for s in (settings, new) for n in ("b1", "b2", "decay") if n in s)
    expected["memory"] = (lost, 0.25)
    alone = settings.get("decay_form") == "independent"
    both = alone or (settings["optimizer"] == "adamw" and "weight_decay" in settings)
    return numbers(new), numbers(settings), np.ones(2 * (2 + held(settings) + both)), *told(expected)


def svag(settings: Any, l: float) -> Any:
    new = scaling.svag(settings, l)
    return numbers(new), numbers(new.inverse()), kept(new, l), float(len(new.validity))


def right_svag(settings: Any, l: float) -> Any:
    alone = settings.get("decay_form") == "independent"
    if settings.get("optimizer") in ("adam", "adamw", "rmsprop"):
        return numbers(rescaled(settings, 1 / l, "linear")), numbers(settings), np.ones(2 * (2 + held(settings))), 0.0
    new = dict(settings) | steps_of(settings, 1 / l) | decay_of(settings, 1 / l, 1.0)
    if "ema_decay" in settings:
        new["ema_decay"] = math.exp(math.log(settings["ema_decay"]) / l)
    mu = settings.get("momentum", 0.0)
    new["learning_rate"] = settings["learning_rate"] / (l * l if mu else l)
    if mu:
        new["momentum"] = 1 - (1 - mu) / l
    return numbers(new), numbers(settings), np.ones(2 * ((2 if mu else 1) + alone)), 0.0


def ramp(settings: Any, decay: float, critical: float | None) -> Any:
    size = None if critical is None else settings["batch_size"] * critical
    return numbers(scaling.ramp(settings, decay, critical_batch_size=size))


def right_ramp(settings: Any, decay: float, critical: float | None) -> Any:
    """As much of η → η/decay by batches as whole batches and the critical one allow."""
    size = settings["batch_size"]
    kappa = max(math.floor(size * min(decay, critical or math.inf) * (1 + 1e-12)) / size, 1.0)
    slower = settings | {"learning_rate": settings["learning_rate"] / decay}
    if settings.get("optimizer") in ("adam", "adamw", "rmsprop"):
        if kappa * max(1 - settings[n] for n in ("b1", "b2", "decay") if n in settings) > 1 + 1e-12:
            return refuses("decay")
        return numbers(rescaled(slower, kappa, "linear") | {"batch_size": size * kappa})
    new = slower | {"learning_rate": slower["learning_rate"] * kappa, "batch_size": size * kappa} | steps_of(settings, kappa) | decay_of(settings, kappa, 1.0)  # fmt: skip
    if "ema_decay" in settings:
        new["ema_decay"] = settings["ema_decay"] ** kappa
    return numbers(new)


def ema(ema_decay: float, size: int, factor: float, form: str) -> Any:
    new = scaling.ema({"ema_decay": ema_decay, "batch_size": size}, factor, form=form)
    return numbers(new), kept(new), float(new.valid)


def right_ema(ema_decay: float, size: int, factor: float, form: str) -> Any:
    if factor * (1 - ema_decay) > 1 and form == "linear":
        return refuses("factor")
    new = math.exp(factor * math.log(ema_decay)) if form == "power" else 1 - factor * (1 - ema_decay)
    return numbers({"batch_size": size * factor, "ema_decay": new}), np.ones(2), 1.0


def shift_by_steps(gradient: Any, learning_rate: float, decay: float, factor: int) -> Any:
    """κ steps of η and ρ, then one of κη and ρ^κ."""
    theta = y = np.zeros(len(gradient))
    for _ in range(factor):
        y, theta = decay * y + (1 - decay) * theta, theta - learning_rate * gradient
    return y  # the one step reads θ before it moves: 0


def norm_by_steps(noise_trace: float, squared_gradient: float, learning_rate: float, share: float, l: float) -> float:
    """|θ|² after steps θ ← (1 − ηλ)θ − ηg of svag, g ⟂ θ: the fixed point of R ← (1 − ηλ)²R + η²(G + lN), η divided by l."""
    rate = learning_rate / l
    decay = share * 2 / rate
    kept = 1 - rate * decay
    return rate**2 * (squared_gradient + l * noise_trace) / (1 - kept * kept)


def our_norm(noise_trace: float, squared_gradient: float, learning_rate: float, share: float, l: float) -> float:
    return scaling.scale_invariant_norm(noise_trace=noise_trace, squared_gradient=squared_gradient, learning_rate=learning_rate, weight_decay=share * 2 * l / learning_rate, l=l)  # fmt: skip


def most(settings: Any, edge: float) -> float:
    return scaling.max_kappa(settings, stability_edge=settings["learning_rate"] * edge)


def right_most(settings: Any, edge: float) -> float:
    alone = 1 / settings["weight_decay"] if settings.get("decay_form") == "independent" else math.inf
    if "eps" in settings:
        return min(1 / max(1 - settings[n] for n in ("b1", "b2", "decay") if n in settings), alone)
    return min(edge, alone)


def closeness(a: Any, b: Any) -> float:
    return scaling.equilibrium_closeness(scaling.Equilibrium(*a), scaling.Equilibrium(*b))


TRIPLES = st.builds(lambda s: np.random.default_rng(s).uniform(0.5, 3, 3), SEEDS)
SIGNAL = {"noise_trace": MILD, "squared_gradient": MILD}
CLOSE = st.floats(1.01, 3)

CASES = quick([
    Case("linear, every setting", descents(factor=FACTORS, stability_edge=st.one_of(st.none(), RATES), **ASKED), linear, right_linear),
    Case("square_root, every setting", adaptives(factor=FACTORS, moments=st.sampled_from(["linear", "power"]), **ASKED), square_root, right_root),
    Case("svag, every setting", st.one_of(descents(l=st.floats(1, 9)), adaptives(clip=False, l=st.floats(1, 9))), svag, right_svag),
    Case("ramp", st.one_of(descents(decay=st.floats(1, 9), critical=st.one_of(st.none(), st.floats(1, 9))), adaptives(decay=st.floats(1, 9), critical=st.one_of(st.none(), st.floats(1, 9)))), ramp, right_ramp),
    Case("scaling.ema", st.fixed_dictionaries({"ema_decay": st.floats(0.5, 0.999), "size": st.integers(1, 50).map(lambda n: 4 * n), "factor": FACTORS, "form": st.sampled_from(["power", "linear"])}), ema, right_ema),
    Case("ema_shift", st.fixed_dictionaries({"gradient": st.builds(lambda s, d: np.random.default_rng(s).standard_normal(d), SEEDS, st.integers(1, 3)), "learning_rate": RATES, "decay": st.floats(0, 0.95), "factor": st.integers(2, 20)}),
         scaling.ema_shift, shift_by_steps),
    Case("equilibrium_closeness", st.fixed_dictionaries({"a": TRIPLES, "b": TRIPLES}), closeness, lambda a, b: math.exp(np.abs(np.log(a / b)).max()), 1e-9),
    Case("max_factor_for_linear", st.fixed_dictionaries(SIGNAL | {"closeness": CLOSE}),
         lambda **a: (scaling.max_factor_for_linear(**a), scaling.max_factor_for_linear(**a, form="weak")),
         lambda noise_trace, squared_gradient, closeness: (lambda c: (c + c * noise_trace / squared_gradient - noise_trace / squared_gradient, c + c * noise_trace / squared_gradient))(closeness**2), 1e-9),
    Case("max_learning_rate_for_sde, closeness", st.fixed_dictionaries({"noise_per_time": MILD, "squared_gradient": MILD, "closeness": CLOSE}), scaling.max_learning_rate_for_sde,
         lambda noise_per_time, squared_gradient, closeness: (closeness - 1) * (closeness + 1) * noise_per_time / squared_gradient, 1e-9),
    Case("scale_invariant_norm", st.fixed_dictionaries(SIGNAL | {"learning_rate": MILD, "share": st.floats(0.01, 0.95), "l": st.sampled_from([1.0, 1.7, 6.0])}), our_norm, norm_by_steps, 1e-9),
    Case("scale_invariant_norm of the SDE", st.fixed_dictionaries(SIGNAL | {"learning_rate": MILD, "weight_decay": MILD}), lambda **a: scaling.scale_invariant_norm(**a, l=math.inf),
         lambda noise_trace, squared_gradient, learning_rate, weight_decay: learning_rate * noise_trace / 2 / weight_decay, 1e-9),
    Case("max_kappa", st.one_of(descents(edge=st.floats(0.5, 30)), adaptives(edge=st.floats(0.5, 30))), most, right_most, 1e-9),
])  # fmt: skip
