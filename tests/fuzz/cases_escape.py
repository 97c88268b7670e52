"""Escape, passage, displacement and heavy tails: quadratures, series, other nodes, expansions matched at random points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from hypothesis import strategies as st
from matrices import MILD, SEEDS, definite, turned
from outcome import refuses
from scipy import integrate, special

from gradnoise import theory


def some(**values: Any) -> Any:
    return st.fixed_dictionaries(values)


@st.composite
def barriers(draw: Any, kind: str | None) -> dict[str, Any]:
    """A minimum and a saddle; with noise of its own along the way out where the rest is alike."""
    r, d, seed = np.random.default_rng(draw(SEEDS)), draw(st.integers(2 if kind == "along" else 1, 3)), draw(SEEDS)
    down, up, across = r.uniform(0.3, 3), r.uniform(0.3, 3), r.uniform(0.3, 3, d - 1)
    unit = draw(MILD)
    along = 1.0 if kind is None else r.uniform(0.5, 2)
    rest = across if kind == "along" else r.uniform(0.3, 3, d - 1)
    spread = np.full(d - 1, along) if kind == "isotropic" else r.uniform(0.5, 2, d - 1)
    return {
        "low": turned(np.r_[up, across] * unit, seed), "top": turned(np.r_[-down, rest] * unit, seed), "D": None if kind is None else turned(np.r_[along, spread], seed),
        "along": along, "barrier": draw(st.floats(0.5, 8)), "temperature": draw(st.floats(0.1, 2)), "rate": draw(st.floats(0.01, 1)) / unit, "mu": draw(st.sampled_from([0.0, 0.5, 0.9])),
    }  # fmt: skip


def our_rate(low: Any, top: Any, D: Any, along: float, barrier: float, temperature: float, rate: float, mu: float) -> Any:  # fmt: skip
    del along
    found = theory.kramers_rate(low, top, barrier=barrier, temperature=temperature, diffusion=D, learning_rate=rate, momentum=mu)  # fmt: skip
    return found.rate / np.abs(low).max(), found.log_rate - math.log(np.abs(low).max()) + 100, found.inertia, found.validity, found.barrier_ratio  # fmt: skip


def right_rate(low: Any, top: Any, D: Any, along: float, barrier: float, temperature: float, rate: float, mu: float) -> Any:  # fmt: skip
    """Growth at the saddle from mass λ² + λ = |h|, times the ratio of the two Gaussian integrals."""
    del D
    down = -np.linalg.eigvalsh(top)[0]
    mass = rate * mu / (1 - mu) ** 2
    growth = max(np.roots([mass, 1.0, -down]).real) if mu else down
    size = growth / 2 / math.pi * math.sqrt(np.linalg.det(low) / -np.linalg.det(top)) / np.abs(low).max()
    ratio = barrier / temperature / along
    return size * math.exp(-ratio), math.log(size) - ratio + 100, growth / down, rate * np.linalg.eigvalsh(low)[-1], ratio  # fmt: skip


@st.composite
def askew(draw: Any) -> dict[str, Any]:
    """Noise whose own directions are not the path's, or none along it, or another transverse curvature at the saddle."""
    a, which = draw(barriers("along")), draw(st.integers(0, 3))
    vectors = np.linalg.eigh(a["top"])[1]
    out, across = vectors[:, 0], vectors[:, 1]
    mixed = np.outer(out, across) + np.outer(across, out)
    if which == 0:
        return a | {"D": a["D"] + 0.1 * mixed}
    if which == 1:
        return a | {"low": a["low"] + 0.1 * mixed * np.linalg.eigvalsh(a["low"])[0], "D": a["D"] + np.outer(out, out)}
    if which == 2:
        return a | {
            "low": a["low"] + np.outer(across, across) * np.abs(a["low"]).max(),
            "D": a["D"] + np.outer(out, out),
        }
    return a | {"D": 0 * a["D"]}


PIECES = {"minimum_curvature": MILD, "saddle_curvature": MILD, "barrier": MILD, "share": st.floats(0, 1), "batch_size": st.integers(1, 9)}  # fmt: skip


def piecewise(heat: float, **a: Any) -> Any:
    rate = heat * 2 * a["batch_size"] * a["barrier"] / min(a["minimum_curvature"], a["saddle_curvature"])
    logarithm = theory.piecewise_escape_time(**a, learning_rate=rate, log=True)
    return theory.piecewise_escape_time(**a, learning_rate=rate), logarithm + 100


def right_piecewise(heat: float, minimum_curvature: float, saddle_curvature: float, barrier: float, share: float, batch_size: int) -> Any:  # fmt: skip
    """Each part of the climb over its own temperature ηh/2B."""
    rate = heat * 2 * batch_size * barrier / min(minimum_curvature, saddle_curvature)
    climb = share * barrier * 2 * batch_size / rate / minimum_curvature
    climb += (1 - share) * barrier * 2 * batch_size / rate / saddle_curvature
    value = math.exp(climb) * 2 * math.pi / minimum_curvature
    return value, math.log(value) + 100


@st.composite
def loss_escapes(draw: Any) -> dict[str, Any]:
    h, bottom = draw(MILD), draw(MILD)
    others = np.random.default_rng(draw(SEEDS)).uniform(0, 1, draw(st.integers(0, 3))) * h
    return {
        "minimum_loss": bottom, "saddle_loss": bottom * draw(st.floats(1.1, 5)), "escape_curvature": h, "saddle_curvature": draw(MILD), "learning_rate": draw(st.floats(0.02, 0.9)) / h,
        "batch_size": draw(st.integers(2, 9)), "transverse_curvatures": others, "exponent": draw(st.sampled_from(["trace", "printed"])), "well": draw(st.sampled_from(["gaussian", "student"])),
    }  # fmt: skip


def our_escape(**a: Any) -> Any:
    return theory.escape_rate(**a), math.exp(theory.escape_rate(**a, log=True))


def right_escape(minimum_loss: float, saddle_loss: float, escape_curvature: float, saddle_curvature: float, learning_rate: float, batch_size: int, transverse_curvatures: Any, exponent: str, well: str) -> Any:  # fmt: skip
    """Gaussian well, or the integral of the power law itself."""
    x = batch_size / learning_rate / escape_curvature
    count = len(transverse_curvatures) if exponent == "printed" else transverse_curvatures.sum() / escape_curvature
    rate = math.sqrt(escape_curvature * saddle_curvature) / 2 / math.pi
    rate *= (minimum_loss / saddle_loss) ** (x + 0.5 - count / 2)
    if well == "student":
        mass = integrate.quad(lambda u: math.exp(-(x + 1) * math.log1p(u * u)), -math.inf, math.inf, epsabs=1e-13, epsrel=1e-11)[0]  # fmt: skip
        rate /= mass * math.sqrt(x / math.pi)
    return rate, rate


def path(c: float) -> Any:
    """A quartic double well above a floor: minimum at −1 of curvature 1, saddle at 0."""
    return lambda x: (1 - x * x) ** 2 / 8 + c, lambda x: -(1 - x * x) * x / 2


def gain(c: float, curvatures: Any, unit: float, mirrored: bool) -> float:
    loss, slope = path(c)
    sign = -1 if mirrored else 1
    return theory.transverse_gain(lambda x: loss(sign * x / unit), lambda x: sign * slope(sign * x / unit) / unit, minimum=-unit * sign, saddle=0.0, escape_curvature=1 / unit**2, transverse_curvatures=np.array(curvatures) / unit**2)  # fmt: skip


def right_gain(c: float, curvatures: Any, unit: float, mirrored: bool) -> float:
    """In the path's own unit: α(x) by another solver, its integral carried along."""
    del unit, mirrored
    loss, slope = path(c)
    total = 0.0
    for k in curvatures:
        first = 3e-4
        start = 1 + (1 - k) / (2 * c * (1 + k)) * first**2

        def change(x: float, y: Any, k: float = k) -> Any:
            level, rise, a = loss(x), slope(x), y[0]
            return [2 / rise * (k * a * (1 - a) + rise**2 / (2 * level) * (a - k)), rise / level / a]

        found = integrate.solve_ivp(change, (-1 + first, -1e-4), [start, 0.0], method="LSODA", rtol=1e-9, atol=1e-11)
        total += k / 2 * (found.y[1, -1] + math.log(loss(-1 + first) / c) + math.log(loss(0.0) / loss(-1e-4)))
    return total


def bowl(**a: Any) -> Any:
    found = theory.bowl_passage_time(**a)
    return found, math.exp(theory.bowl_passage_time(**a, log=True))


def right_bowl(curvature: float, learning_rate: float, batch_size: int, loss_ratio: float, num_directions: int) -> Any:
    """The printed double integral in r = s: D = T(1 + s²)/2 per curvature, e^ψ = (1 + s²)^{1/T}."""
    heat, n = learning_rate * curvature / batch_size, num_directions

    def inner(r: float) -> float:
        return integrate.quad(lambda z: z ** (n - 1) * ((1 + z * z) / (1 + r * r)) ** (-1 / heat) / (heat * (1 + z * z) / 2), 0, r, epsrel=1e-9)[0]  # fmt: skip

    value = integrate.quad(lambda r: r ** (1 - n) * inner(r), 0, math.sqrt(loss_ratio - 1), epsrel=1e-8)[0] / curvature
    return value, value


def steep(T: float, start: float) -> float:
    """Out of the kink L = |θ|: the logarithm beside 1/T."""
    return theory.diffusion_passage_time(np.sign, lambda x: T + 0 * x, start=start, target=1.0, low=-1.0, log=True)


def right_steep(T: float, start: float) -> float:
    """∫ e^{y/T}(2 − e^{−1/T}) − 1 dy from start to 1."""
    return 1 / T + math.log((2 - math.exp(-1 / T)) * T * -math.expm1((start - 1) / T) - (1 - start) * math.exp(-1 / T))


@st.composite
def hops(draw: Any) -> dict[str, Any]:
    unit = draw(MILD)
    low, target = -unit * draw(st.floats(0.5, 1.5)), unit * draw(st.floats(0.5, 1.5))
    return {
        "h": draw(MILD), "rate": draw(st.floats(0.1, 1.9)), "sd": unit * draw(st.floats(0.3, 1)), "low": low, "target": target, "start": low + draw(st.floats(0, 0.95)) * (target - low),
    }  # fmt: skip


def our_hops(h: float, rate: float, sd: float, low: float, target: float, start: float) -> float:
    eta = rate / h
    return theory.chain_passage_time(lambda x: h * x, lambda x: (sd / eta) ** 2 * (1 + (x / target) ** 2), learning_rate=eta, start=start, target=target, low=low, num_points=121)  # fmt: skip


def right_hops(h: float, rate: float, sd: float, low: float, target: float, start: float) -> float:
    """Simpson's nodes, and an atom at `low`."""
    del h
    x = np.linspace(low, target, 401)
    w = integrate.simpson(np.eye(401), x=x)
    points = np.r_[x, low, start]
    spread = sd * np.sqrt(1 + (points / target) ** 2)
    mean = points * (1 - rate)
    kernel = np.exp(-(((x - mean[:, None]) / spread[:, None]) ** 2) / 2) / spread[:, None] / math.sqrt(2 * math.pi) * w
    atom = special.ndtr((low - mean) / spread)
    whole = np.c_[kernel[:-1], atom[:-1]]
    tau = np.linalg.solve(np.eye(402) - whole, np.ones(402))
    return float(1 + kernel[-1] @ tau[:-1] + atom[-1] * tau[-1])


@st.composite
def shifts(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=0.7, scale=MILD))
    d, r = len(H), np.random.default_rng(draw(SEEDS))
    F, dD = r.standard_normal((d, d, d)), r.standard_normal((d, d, d))
    F = sum(F.transpose(p) for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))) * np.abs(H).max()  # fmt: skip
    given = draw(st.sampled_from(["both", "third", "diffusion"]))
    return {
        "hessian": H, "diffusion": draw(definite(dim=d, spread=0.7, scale=st.just(1.0))), "temperature": draw(MILD), "third_derivative": None if given == "diffusion" else F,
        "diffusion_gradient": None if given == "third" else dD + dD.transpose(1, 0, 2),
    }  # fmt: skip


def shift(**a: Any) -> Any:
    return theory.most_likely_shift(**a) + a["temperature"] / np.abs(a["hessian"]).max()


def matched_shift(hessian: Any, diffusion: Any, temperature: float, third_derivative: Any, diffusion_gradient: Any) -> Any:  # fmt: skip
    """Density e^{−W/T}, W = ½yUy + ⅙Ψyyy + T g·y, in the stationary equation: each order matched at random points."""
    d, h = len(hessian), np.abs(hessian).max()
    H, D = hessian / h, diffusion
    F = np.zeros((d, d, d)) if third_derivative is None else third_derivative / h
    dD = np.zeros((d, d, d)) if diffusion_gradient is None else diffusion_gradient
    one = np.eye(d)
    U = np.linalg.inv(np.linalg.solve(np.kron(H, one) + np.kron(one, H), 2 * D.reshape(-1)).reshape(d, d))
    triples = [(i, j, k) for i in range(d) for j in range(i, d) for k in range(j, d)]
    points = np.random.default_rng(0).standard_normal((40, d))

    def tensor(at: tuple[int, int, int]) -> Any:
        out = np.zeros((d, d, d))
        i, j, k = at
        for p in ((i, j, k), (i, k, j), (j, i, k), (j, k, i), (k, i, j), (k, j, i)):
            out[p] = 1
        return out

    def cubic(psi: Any, y: Any) -> float:
        slope = np.einsum("ijk,j,k->i", psi, y, y) / 2
        return float(-(H @ y) @ slope + 2 * (U @ y) @ D @ slope)

    right = [(F @ y @ y / 2) @ (U @ y) - (U @ y) @ (dD @ y) @ (U @ y) for y in points]
    left = [[cubic(tensor(t), y) for t in triples] for y in points]
    weights = np.linalg.lstsq(np.array(left), np.array(right), rcond=None)[0]
    psi = sum(w * tensor(t) for w, t in zip(weights, triples, strict=True))
    # what is linear in y at order 1: ΔL + ∇L·∇ln p + ∂∂D + 2∂D·∇ln p + D:(∇∇ln p) + 2 D:(∇W ∇(g·y))
    linear = np.einsum("iik->k", F) - 2 * U @ np.einsum("ijj->i", dD) - np.einsum("ij,ijk->k", D, psi)
    linear = linear - np.einsum("ij,ijk->k", U, dD)
    g = np.linalg.solve(H - 2 * U @ D, linear)
    return (-np.linalg.solve(U, g) + 1) * temperature / h


def stable(time: str) -> Any:
    def call(r: float, **a: Any) -> float:
        return theory.stable_scale(**a, learning_rate=r / a["curvature"], time=time)

    return call


def series(r: float, curvature: float, noise_scale: float, alpha: float, batch_size: int) -> float:
    """A sum of independent α-stable terms: scales add to the power α."""
    total = (np.abs(1 - r) ** (alpha * np.arange(2000))).sum()
    one = r / curvature * noise_scale / batch_size * batch_size ** (1 / alpha)
    return float(one * total ** (1 / alpha))


def filtered(r: float, curvature: float, noise_scale: float, alpha: float, batch_size: int) -> float:
    """The same with e^{−ηhs} for the powers, over all s ≥ 0."""
    total = integrate.quad(lambda s: math.exp(-alpha * r * s), 0, math.inf, epsrel=1e-11)[0]
    return float(r / curvature * noise_scale / batch_size * (batch_size * total) ** (1 / alpha))


STABLE = {"curvature": MILD, "noise_scale": MILD, "alpha": st.floats(0.6, 2.0), "batch_size": st.integers(1, 20)}


@st.composite
def bulks(draw: Any) -> dict[str, Any]:
    return {"curvature": draw(MILD), "r": draw(st.floats(0.05, 0.4)), "batch_size": draw(st.floats(0.8, 20))}


def bulk(curvature: float, r: float, batch_size: float) -> Any:
    kinds = ("gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional")
    return [theory.bulk_exponent(curvature=curvature, learning_rate=r / curvature, batch_size=batch_size, noise=k) for k in kinds]  # fmt: skip


def right_bulk(curvature: float, r: float, batch_size: float) -> Any:
    """Variance 2L*/(a(2φ − 3)) of L^{−φ} against the exact ones, curvature 1 and L* = 1: noise 2 + mθ² per example; then Itô's density.

    The SDE with that noise: ln p = −(1 + B/(η·coefficient of θ²)) ln(noise).
    """
    del curvature
    out = []
    for m in (2.0, 1.0):  # θ²: Gaussian inputs x(xθ − ε) have variance 2θ² + 2, the loss's own 2L = 2 + θ²
        variance = r * 2 / batch_size / (2 - r - r * m / batch_size)
        out.append((2 / variance + 3) / 2)
    return [*out, 1 + batch_size / r / 2, 1 + batch_size / r]


@st.composite
def valleys(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.0, scale=MILD))
    batch = draw(st.integers(1, 20))
    return {"hessian": H, "minimum_loss": draw(MILD), "batch_size": batch, "learning_rate": draw(st.floats(0.02, 0.8)) * 2 * min(batch, 1) / np.trace(H)}  # fmt: skip


def decided(a: dict[str, Any]) -> bool:
    """Whether the mean loss is finite, beyond rounding."""
    steps = a["learning_rate"] * np.linalg.eigvalsh(a["hessian"])
    return all((steps / (2 - c * steps)).sum() / a["batch_size"] < 1 - 1e-6 for c in (0, 1))


def valley(time: str) -> Any:
    def call(**a: Any) -> Any:
        found = theory.loss_power_law(**a, time=time)
        return found.mean_loss, found.covariance, found.exponent, float(found.normalisable)

    return call


def right_valley(time: str) -> Any:
    """E L solves L = L* + ½ tr HΣ(L), linear in L."""

    def right(hessian: Any, minimum_loss: float, batch_size: int, learning_rate: float) -> Any:
        d, top = len(hessian), np.linalg.eigvalsh(hessian)[-1]
        unit = ref.sgd_law(hessian, 2 * hessian, learning_rate, 1 / batch_size) if time == "discrete" else learning_rate / batch_size * np.eye(d)  # fmt: skip
        loss = minimum_loss / (1 - np.trace(hessian @ unit) / 2)
        phi = 1 + batch_size / (learning_rate * top) - (batch_size / 2 if time == "discrete" else 0)
        return loss, loss * unit, phi, float(d < 2 * phi)

    return right


CASES = quick([
    *(Case(f"kramers_rate, noise {kind}", barriers(kind), our_rate, right_rate) for kind in (None, "isotropic", "along")),
    Case("kramers_rate, noise askew", askew(), our_rate, lambda **_: refuses("diffusion")),
    Case("piecewise_escape_time", some(**PIECES, heat=st.floats(0.05, 5)), piecewise, right_piecewise),
    Case("escape_rate", loss_escapes(), our_escape, right_escape, 1e-6),
    Case("transverse_gain", some(c=st.floats(0.03, 0.3), curvatures=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=2), unit=MILD, mirrored=st.booleans()), gain, right_gain, 1e-4, few=2),
    Case("transverse_gain of equal curvatures", some(c=st.floats(0.03, 0.3)), lambda c: gain(c, [1.0, 1.0], 1.0, False), lambda c: math.log((1 / 8 + c) / c), 1e-6),
    Case("bowl_passage_time", some(curvature=MILD, r=st.floats(0.05, 0.9), batch_size=st.integers(1, 4), loss_ratio=st.floats(1.1, 2.5), num_directions=st.integers(1, 3)),
         lambda r, **a: bowl(**a, learning_rate=r / a["curvature"]), lambda r, **a: right_bowl(**a, learning_rate=r / a["curvature"]), 1e-4),
    Case("diffusion_passage_time, steep", some(T=st.floats(-6, -1).map(lambda x: 10**x), start=st.floats(0, 0.5)), steep, right_steep, 1e-6),
    Case("chain_passage_time", hops(), our_hops, right_hops, 1e-5),
    Case("most_likely_shift", shifts(), shift, matched_shift, 1e-5),
    Case("stable_scale", some(**STABLE, r=st.floats(0.05, 1.9)), stable("discrete"), series, 1e-6),
    Case("stable_scale continuous", some(**STABLE, r=st.floats(0.05, 1.9)), stable("continuous"), filtered, 1e-6),
    Case("bulk_exponent", bulks(), bulk, right_bulk, 1e-6),
    *(Case(f"loss_power_law {t}", valleys().filter(decided), valley(t), right_valley(t), 1e-6) for t in ("discrete", "continuous")),
])  # fmt: skip
