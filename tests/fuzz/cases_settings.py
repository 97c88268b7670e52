"""Scaling rules, SDE records and diagnostics: exact fractions, ODE solvers, loops, invariances."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from case import Case
from hypothesis import strategies as st
from matrices import BATCHES, MILD, SCALES, SEEDS, SHARES, definite, semidefinite, vector
from outcome import refuses
from scipy import integrate, linalg, stats

from gradnoise import diagnose, scaling, sde

FACTORS = st.one_of(st.integers(1, 16), st.sampled_from([0.5, 0.25, 1.5, 3.3]))
RATES = st.floats(-6, 1).map(lambda x: float(10**x))
DECAYS = st.floats(0.0, 0.999)


@st.composite
def sgd_settings(draw: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"learning_rate": draw(RATES), "batch_size": draw(st.integers(1, 64)) * 4}
    if draw(st.booleans()):
        settings["momentum"] = draw(st.floats(0.0, 0.99))
    if draw(st.booleans()):
        settings["weight_decay"] = draw(RATES)
    if draw(st.booleans()):
        settings["ema_decay"] = draw(st.floats(0.5, 0.9999))
    return {"settings": settings, "factor": draw(FACTORS)}


@st.composite
def adam_settings(draw: Any) -> dict[str, Any]:
    settings = {
        "optimizer": draw(st.sampled_from(["adam", "adamw"])), "learning_rate": draw(RATES), "batch_size": draw(st.integers(1, 64)) * 4,
        "b1": draw(st.floats(0.5, 0.99)), "b2": draw(st.floats(0.9, 0.9999)), "eps": draw(st.floats(-10, -4).map(lambda x: 10**x)),
    }  # fmt: skip
    if settings["optimizer"] == "adamw":
        settings["weight_decay"] = draw(RATES)
    return {"settings": settings, "factor": draw(FACTORS)}


def whole(settings: Any, factor: float) -> bool:
    size = settings["batch_size"] * factor  # 20 times 3.3 is 66, whatever binary makes of 3.3
    return abs(size - round(size)) <= 1e-9 * size


NAMES = ("learning_rate", "batch_size", "momentum", "weight_decay", "ema_decay", "b1", "b2", "eps")


def listed(settings: Any) -> list[float]:
    return [settings[name] for name in NAMES if name in settings]


def linear(settings: Any, factor: float) -> Any:
    return tuple(listed(scaling.linear(settings, factor)))


def right_linear(settings: Any, factor: float) -> Any:
    if not whole(settings, factor):
        return refuses("factor")
    new = settings | {
        "learning_rate": settings["learning_rate"] * factor,
        "batch_size": settings["batch_size"] * factor,
    }
    if "ema_decay" in settings:
        new["ema_decay"] = math.exp(factor * math.log(settings["ema_decay"]))
    return tuple(listed(new))


def square_root(settings: Any, factor: float) -> Any:
    return tuple(listed(scaling.square_root(settings, factor)))


def right_root(settings: Any, factor: float) -> Any:
    if not whole(settings, factor):
        return refuses("factor")
    if factor * max(1 - settings["b1"], 1 - settings["b2"]) > 1:
        return refuses("factor", "b1", "b2")
    new = settings | {
        "learning_rate": settings["learning_rate"] * factor**0.5, "batch_size": settings["batch_size"] * factor,
        "b1": 1 - factor * (1 - settings["b1"]), "b2": 1 - factor * (1 - settings["b2"]), "eps": settings["eps"] / factor**0.5,
    }  # fmt: skip
    if "weight_decay" in settings and settings["optimizer"] == "adamw":
        new["weight_decay"] = settings["weight_decay"] * factor**0.5
    return tuple(listed(new))


def back(rule: Any) -> Any:
    """There and back: the settings as they were."""

    def call(settings: Any, factor: float) -> Any:
        return tuple(listed(rule(settings, factor).inverse()))

    return call


def same_settings(settings: Any, factor: float) -> Any:
    if not whole(settings, factor):
        return refuses("factor")
    if "b1" in settings and factor * max(1 - settings["b1"], 1 - settings["b2"]) > 1:
        return refuses("factor", "b1", "b2")
    return tuple(listed(settings))


def svag(settings: Any, l: float) -> Any:
    new = scaling.svag(settings, l)
    return new["learning_rate"], sum(new.coefficients), sum(c * c for c in new.coefficients)


def right_svag(settings: Any, l: float) -> Any:
    power = 0.5 if "b1" in settings else 2.0 if settings.get("momentum", 0.0) > 0 else 1.0
    return settings["learning_rate"] / l**power, 1.0, l


@st.composite
def fields(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=2.0))
    d = len(H)
    return {
        "hessian": H, "C": draw(semidefinite(d)), "learning_rate": 0.99 * draw(SHARES) / np.linalg.norm(H, 2), "batch_size": draw(BATCHES),
        "x": draw(vector(d)),
    }  # fmt: skip


def sgd_fields(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    law = sde.sgd(lambda z: hessian @ z, C, learning_rate=learning_rate, batch_size=batch_size)
    return law.drift(0.0, x), law.covariance(0.0, x) + 0.0


def right_fields(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    return -hessian @ x, learning_rate * C / batch_size


def exact_sde(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    law = sde.sgd_exact(hessian, C, learning_rate=learning_rate, batch_size=batch_size)
    mean, covariance = law.transition(law.time_step)
    return mean @ x, covariance


def one_step(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    """What one step of SGD does to mean and covariance: the SDE's transition over a step is that exactly."""
    return x - learning_rate * hessian @ x, learning_rate**2 * C / batch_size


def ou(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    """Covariance after some time of dX = −HX dt + noise, by an ODE solver."""
    d, unit = len(hessian), np.abs(C).max() * learning_rate / batch_size
    H, Q = hessian / np.abs(hessian).max(), C / np.abs(C).max()

    def slope(_: float, flat: Any) -> Any:
        S = flat.reshape(d, d)
        return (-H @ S - S @ H + Q).reshape(-1)

    found = integrate.solve_ivp(slope, (0, 1.3), np.zeros(d * d), rtol=1e-10, atol=1e-12).y[:, -1].reshape(d, d)
    return linalg.expm(-H * 1.3) @ x, found * unit / np.abs(hessian).max()


def our_ou(hessian: Any, C: Any, learning_rate: float, batch_size: int, x: Any) -> Any:
    law = sde.LinearSDE(-hessian, C * learning_rate / batch_size, learning_rate)
    mean, covariance = law.transition(1.3 / np.abs(hessian).max())
    return mean @ x, covariance


@st.composite
def trajectories(draw: Any) -> dict[str, Any]:
    r = np.random.default_rng(draw(SEEDS))
    chains, steps, d = draw(st.integers(3, 6)), draw(st.integers(4, 40)), draw(st.integers(1, 3))
    unit = draw(st.one_of(SCALES, st.just(1e-160), st.just(1e150)))
    return {"trajectories": (np.cumsum(r.standard_normal((chains, steps, d)), 1) + r.standard_normal((chains, 1, d))) * unit, "unit": unit}  # fmt: skip


def autocorrelation_time(trajectories: Any, unit: float) -> Any:
    del unit
    return np.atleast_1d(diagnose.integrated_autocorrelation_time(trajectories).value)


def spread_of_means(trajectories: Any, unit: float) -> Any:
    x = trajectories / unit
    chains, steps, _ = x.shape
    means = x.mean(1)
    between = means.var(0, ddof=1)
    centre = x.mean((0, 1))
    within = ((x - centre) ** 2).mean((0, 1)) + between / chains
    return steps * between / within


def mean_and_error(trajectory: Any, length: int) -> Any:
    found = diagnose.batch_means(trajectory, length)
    return found.value, found.standard_error


def by_batches(trajectory: Any, length: int) -> Any:
    k = len(trajectory) // length
    rows = trajectory[len(trajectory) - k * length :].reshape(k, length, -1).mean(1)
    return rows.mean(0), rows.std(0, ddof=1) / math.sqrt(k)


@st.composite
def one_chain(draw: Any) -> dict[str, Any]:
    r = np.random.default_rng(draw(SEEDS))
    length = draw(st.integers(1, 6))
    x = r.standard_normal((draw(st.integers(2 * length, 40)), draw(st.integers(1, 3)))) * draw(SCALES)
    return {"trajectory": x, "length": length}


@st.composite
def ranked(draw: Any) -> dict[str, Any]:
    r = np.random.default_rng(draw(SEEDS))
    sets, L, d = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    return {"draws": r.standard_normal((sets, L, d)), "truth": r.standard_normal((sets, d))}


def ranks_by_loops(draws: Any, truth: Any) -> Any:
    return np.array([[sum(float(v) < t for v in draws[s, :, k]) for k, t in enumerate(row)] for s, row in enumerate(truth)])  # fmt: skip


CASES = [
    Case("linear", sgd_settings(), linear, right_linear, 1e-9),
    Case("linear and back", sgd_settings(), back(scaling.linear), same_settings, 1e-12),
    Case("square_root", adam_settings(), square_root, right_root, 1e-9),
    Case("square_root and back", adam_settings(), back(scaling.square_root), same_settings, 1e-12),
    Case("svag sgd", sgd_settings().flatmap(lambda a: st.floats(1, 64).map(lambda l: {"settings": a["settings"], "l": l})), svag, right_svag, 1e-9),
    Case("svag adam", adam_settings().flatmap(lambda a: st.floats(1, 64).map(lambda l: {"settings": a["settings"], "l": l})), svag, right_svag, 1e-9),
    Case("sde.sgd", fields(), sgd_fields, right_fields, 1e-7),
    Case("sde.sgd_exact", fields(), exact_sde, one_step, 1e-6),
    Case("sde.LinearSDE.transition", fields(), our_ou, ou, 1e-6),
    Case("integrated_autocorrelation_time", trajectories(), autocorrelation_time, spread_of_means, 1e-6),
    Case("batch_means", one_chain(), mean_and_error, by_batches, 1e-9),
    Case("rank_statistics", ranked(), diagnose.rank_statistics, ranks_by_loops, 0.0),
    Case("kl_floor", st.fixed_dictionaries({"dim": st.integers(1, 300), "n_eff": SCALES}), diagnose.kl_floor,
         lambda dim, n_eff: float(Fraction(dim * (dim + 1), 4) / Fraction(n_eff)), 1e-9),
    Case("expected_rank_spread", st.fixed_dictionaries({"variance_ratio": MILD}), diagnose.expected_rank_spread,
         lambda variance_ratio: rank_variance(variance_ratio), 1e-6),
    Case("sde.sign_variance", st.fixed_dictionaries({"curvature": MILD, "standard_deviation": MILD, "learning_rate": RATES, "batch_size": BATCHES}), sde.sign_variance,
         lambda curvature, standard_deviation, learning_rate, batch_size: sign_by_balance(curvature, standard_deviation, learning_rate, batch_size), 1e-6),
    Case("max_learning_rate_for_sde", st.fixed_dictionaries({"noise_per_time": SCALES, "squared_gradient": SCALES}), scaling.max_learning_rate_for_sde,
         lambda noise_per_time, squared_gradient: noise_per_time / squared_gradient, 1e-6),
]  # fmt: skip


def rank_variance(ratio: float) -> float:
    """12·Var of the rank share Φ((truth − m)/s): truth standard normal about m₀, draws' variance `ratio` times."""
    # Var P(draw < truth) with draw = N(0, ratio), truth = N(0, 1): by quadrature
    value = integrate.quad(lambda t: stats.norm.pdf(t) * (stats.norm.cdf(t / math.sqrt(ratio)) - 0.5) ** 2, -9, 9, points=[0.0], limit=400)[0]  # fmt: skip
    return 12 * value


def sign_by_balance(curvature: float, standard_deviation: float, learning_rate: float, batch_size: int) -> float:
    """dθ = −√(2/π)(hθ/s) dt + √η dW: η/(2·slope), s the noise of a batch."""
    slope = 2 * stats.norm.pdf(0) * curvature / (standard_deviation / math.sqrt(batch_size))
    return learning_rate / (2 * slope)
