"""Estimates with their errors, averages of iterates, adaptive rules, changing steps, currents: loops, enumeration, equations that must hold."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from cases_laws import MU, noise_of, settings, state_of, without
from cases_rows import batches_of, labels, optimum
from cases_theory import currents, lyapunov
from hypothesis import strategies as st
from matrices import BATCHES, MILD, SCALES, SEEDS, definite, semidefinite, vector
from outcome import refuses
from scipy import linalg, stats

from gradnoise import theory


def some(**values: Any) -> Any:
    return st.fixed_dictionaries(values)


def all_numbers(found: Any) -> Any:
    three = (found.squared_gradient, found.noise_trace, found.gradient_noise_scale)
    return *(np.array([e.value, e.standard_error]) for e in three), found.resolution


def gradient_table(seed: int, count: int, dim: int, unit: float, signal: float) -> Any:
    return (np.random.default_rng(seed).standard_normal((count, dim)) + signal) * unit


TABLE = st.builds(gradient_table, SEEDS, st.integers(3, 9), st.integers(1, 4), SCALES, st.floats(1, 4))


def signal_and_noise(g: Any, size: int) -> tuple[float, float]:
    """|G|² by pairs of different rows, tr C from the sample variance: both unbiased."""
    pairs = [g[i] @ g[j] for i, j in itertools.permutations(range(len(g)), 2)]
    return sum(pairs) / len(pairs), size * float(g.var(0, ddof=1).sum())


def jackknifed(gradients: Any, batch_size: int) -> Any:
    signal, noise = signal_and_noise(gradients, batch_size)
    left_out = [signal_and_noise(np.delete(gradients, k, 0), batch_size) for k in range(len(gradients))]
    signals, noises = (np.array(v) for v in zip(*left_out, strict=True))

    def error(values: Any) -> float:
        return math.sqrt((len(values) - 1) * values.var())

    ratio = np.array([math.inf, math.inf])
    if signal > 0:
        ratio = np.array([noise / signal, error(noises - noise / signal * signals) / signal])
    return np.array([signal, error(signals)]), np.array([noise, error(noises)]), ratio, signal / error(signals)


@st.composite
def norms(draw: Any) -> dict[str, Any]:
    r, b, unit = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 20)), draw(SCALES)
    return {"small": r.uniform(1, 2, 6) * unit, "big": r.uniform(0.5, 1.5, 6) * unit, "b": b, "B": b + draw(st.integers(1, 50))}  # fmt: skip


def our_norms(small: Any, big: Any, b: int, B: int) -> Any:
    return all_numbers(theory.two_batch_estimates(small, big, small_batch_size=b, big_batch_size=B))


def right_norms(small: Any, big: Any, b: int, B: int) -> Any:
    """|g|² = |G|² + S/b at both sizes, pair by pair; the ratio's error is that of noise − ratio·signal."""
    pairs = np.linalg.solve(np.array([[1, 1 / b], [1, 1 / B]]), np.array([small, big]))
    (signal, noise), errors = pairs.mean(1), pairs.std(1, ddof=1) / math.sqrt(len(small))
    ratio = np.array([math.inf, math.inf])
    if signal > 0:
        left = pairs[1] - noise / signal * pairs[0]
        ratio = np.array([noise / signal, stats.sem(left) / signal])
    return np.array([signal, errors[0]]), np.array([noise, errors[1]]), ratio, signal / errors[0]


def online(g: Any, batch: int) -> Any:
    first, mean = g[:, 0], g.mean(1)
    found = theory.online_gradient_covariance(first, mean, batch_size=batch)
    return found.value, found.standard_error


def right_online(g: Any, batch: int) -> Any:
    """B/(B − 1) (first − mean)(…)ᵀ, one a step."""
    each = np.array([np.outer(row[0] - row.mean(0), row[0] - row.mean(0)) for row in g]) * batch / (batch - 1)
    return each.mean(0), each.std(0, ddof=1) / math.sqrt(len(each))


def amplified(gradients: Any, l: float, size: int) -> Any:
    C = gradients.T @ gradients / len(gradients)
    return theory.svag_noise(C, l, batch_size=size, sampling="without_replacement", num_examples=len(gradients))


def right_amplified(gradients: Any, l: float, size: int) -> Any:
    """c₊g₁ + c₋g₂ over all pairs of disjoint batches."""
    if 2 * size > len(gradients):
        return refuses("batch_size")
    c = np.roots([2.0, -2.0, 1 - l]).real
    rows = range(len(gradients))
    found = [
        c[0] * gradients[list(a)].mean(0) + c[1] * gradients[list(b)].mean(0)
        for a in itertools.combinations(rows, size)
        for b in itertools.combinations([k for k in rows if k not in a], size)
    ]
    return np.cov(np.array(found).T, bias=True).reshape(gradients.shape[1], -1)


@st.composite
def centred(draw: Any) -> Any:
    g = np.random.default_rng(draw(SEEDS)).standard_normal((draw(st.integers(2, 5)), draw(st.integers(1, 2))))
    return (g - g.mean(0)) * draw(MILD)


def shape_of(l: float) -> Any:
    m = theory.svag_moments(l)
    return m.skewness, m.excess_kurtosis


# averages of iterates


@st.composite
def passes(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.0, scale=MILD))
    examples = draw(st.integers(5, 400))
    return {"hessian": H, "num_examples": examples, "batch_size": draw(st.integers(1, examples // 2)), "learning_rate": float(draw(st.floats(0.05, 0.95)) * 2 / np.linalg.eigvalsh(H)[-1])}  # fmt: skip


def window_factor(r: float, window: int, time: str) -> float:
    """Variance of a mean of T values of memory (1 − r)ᵏ, or e^{−rs}, over its limit."""
    if time == "discrete":
        rho = (1 - r) ** np.arange(window)
        return float((window * rho[0] + 2 * ((window - np.arange(1, window)) * rho[1:]).sum()) / window * r / (2 - r))
    weight = np.polynomial.legendre.leggauss(60)
    edges = np.linspace(0, min(1.0, 60 / (r * window)), 9)
    total = 0.0
    for a, b in itertools.pairwise(edges):
        s = a + (weight[0] + 1) / 2 * (b - a)
        total += float(((1 - s) * np.exp(-r * window * s)) @ weight[1]) * (b - a) / 2
    return r * window * total


def averaging(**a: Any) -> Any:
    whole = {t: theory.averaging_errors(**a, time=t) for t in ("discrete", "continuous")}
    return whole["discrete"] + 2, whole["continuous"] + 2, theory.averaging_factors(a["hessian"], learning_rate=a["learning_rate"], window=9, time="continuous")  # fmt: skip


def right_averaging(hessian: Any, num_examples: int, batch_size: int, learning_rate: float) -> Any:
    """A window of whole batches; the noise of a Gaussian posterior's spread adds η/2B (tr H + h)."""
    h, T = np.linalg.eigvalsh(hessian), num_examples // batch_size
    wide = 1 + learning_rate / 2 / batch_size * (h.sum() + h)
    found = [np.array([window_factor(learning_rate * k, T, t) for k in h]) * wide * num_examples / T / batch_size + 1 for t in ("discrete", "continuous")]  # fmt: skip
    return (*found, np.array([window_factor(learning_rate * k, 9, "continuous") for k in h]))


def rate_range(tolerance: float, **a: Any) -> Any:
    """Both ends put back into what they bound; and whether there is room between them."""
    a = without(a, "learning_rate")
    found = theory.averaging_range(**a, tolerance=tolerance)
    h, B, T = np.linalg.eigvalsh(a["hessian"]), a["batch_size"], a["num_examples"] // a["batch_size"]
    missed = a["num_examples"] / B / T
    low = 1 - missed * window_factor(found.low * h[0], T, "discrete")
    wide = missed * (1 + found.high / 2 / B * (h.sum() + h[-1]))
    at_edge = abs(found.high * h[-1] / 2 - 1) < 1e-9 and wide <= 1 + tolerance + 1e-9
    none = found.high == 0 and missed >= 1 + tolerance
    return low / tolerance, 1.0 if at_edge or none else wide / (1 + tolerance), float(found.admissible == (found.low <= found.high))  # fmt: skip


def enough(a: dict[str, Any]) -> bool:
    """At ηh = 1 the iterates are independent and nothing is missing but a rest of the data."""
    T = a["num_examples"] // a["batch_size"]
    return a["num_examples"] / a["batch_size"] / T * 1.0 > 1 - a["tolerance"] and T > 2


def averaged(window: int, injected: Any, **a: Any) -> Any:
    return theory.iterate_average_covariance(**a, window=window, injected=injected)


def right_averaged(window: int, injected: Any, **a: Any) -> Any:
    F, Z = state_of(injected, **a)
    return ref.window_average(F, Z, len(a["hessian"]), window)


# adaptive rules


@st.composite
def adaptives(draw: Any) -> dict[str, Any]:
    a = draw(settings(plain=True))
    S = noise_of(a)
    wide = np.sqrt(np.diag(S))
    edge = 2 * (1 + a["momentum"]) / np.linalg.eigvals(a["hessian"] / wide[:, None]).real.max()
    return a | {"learning_rate": float(edge * draw(st.floats(-2, 1).map(lambda x: 10**x))), "eps": float(wide.max() * draw(st.sampled_from([1e-8, 0.2])))}  # fmt: skip


def adapted(kind: str) -> Any:
    """The three numbers that must agree: Σ with the law under P, v with Σ, P with v; here their ratios."""

    def call(learning_rate: float, momentum: float, eps: float, **a: Any) -> Any:
        if kind == "adam":
            found = theory.adam_law(**a, learning_rate=learning_rate / (1 - momentum), b1=momentum, eps=eps)
        else:
            found = theory.rmsprop_law(**a, learning_rate=learning_rate, momentum=momentum, eps=eps)
        law = state_of(**a, learning_rate=1.0, momentum=momentum, preconditioner=np.diag(found.preconditioner))
        d, H = len(a["hessian"]), a["hessian"]
        v = np.diag(H @ found.covariance @ H + noise_of(a))
        return law[1][:d, :d] / np.abs(found.covariance).max() - found.covariance / np.abs(found.covariance).max() + 1, found.second_moment / v, found.preconditioner * (np.sqrt(v) + eps) / learning_rate  # fmt: skip

    return call


# changing steps


@st.composite
def schedules(draw: Any) -> dict[str, Any]:
    a = draw(settings(plain=True, momentum=st.just(0.0)))
    H, d, N = a["hessian"], len(a["hessian"]), a["num_examples"]
    P = draw(definite(dim=d, spread=0.7, scale=MILD)) if draw(st.booleans()) else None
    edge = 4 / N / np.linalg.eigvals(H if P is None else P @ H).real.max()
    steps = draw(st.integers(8, 40))
    start = draw(semidefinite(d, scale=MILD)) * np.trace(np.linalg.inv(H)) / N if draw(st.booleans()) else None
    return without(a, "learning_rate", "momentum") | {"step_sizes": edge * np.random.default_rng(draw(SEEDS)).uniform(0.05, 0.9, steps), "burn_in": draw(st.integers(0, steps - 8)), "every": draw(st.integers(1, 7)), "start": start, "preconditioner": P}  # fmt: skip


def scheduled(**a: Any) -> Any:
    found = theory.scheduled_langevin_covariance(**a)
    return found.draws, found.step_weighted, found.final


def by_steps(step_sizes: Any, burn_in: int, every: int, start: Any, preconditioner: Any, **a: Any) -> Any:
    H, N, kept, weights = a["hessian"], a["num_examples"], [], []
    P = np.eye(len(H)) if preconditioner is None else preconditioner
    Sigma = np.linalg.inv(H) / N if start is None else start
    for t, eps in enumerate(step_sizes, 1):
        Q = eps * N / 2 * P
        J = np.eye(len(H)) - Q @ H
        Sigma = J @ Sigma @ J.T + Q @ noise_of(a) @ Q + eps * P
        if t > burn_in and (t - burn_in) % every == 0:
            kept.append(Sigma)
            weights.append(eps)
    weighted = sum(w * k for w, k in zip(weights, kept, strict=True)) / sum(weights)
    return sum(kept) / len(kept), weighted, Sigma


# Gaussian inputs, and many parameters


@st.composite
def streams(draw: Any) -> dict[str, Any]:
    A = draw(definite(spread=0.7, scale=MILD))
    d, mu = len(A), draw(MU)
    P = draw(definite(dim=d, spread=0.7, scale=st.just(1.0))) if draw(st.booleans()) else None
    ridge, batch = float(draw(st.sampled_from([0.0, 0.3])) * np.trace(A) / d), draw(st.integers(1, 9))
    top = np.linalg.eigvals((A if P is None else P @ A) + ridge * (np.eye(d) if P is None else P)).real.max()
    rate = draw(st.floats(0.02, 0.3)) * (1 - mu) * 2 / top / (1 + (d + 2) / batch)
    return {
        "input_covariance": A, "batch_size": batch, "ridge": ridge, "momentum": mu, "nesterov": mu > 0 and draw(st.booleans()), "preconditioner": P, "learning_rate": float(rate),
        "truth": draw(vector(d)), "label_noise": draw(st.sampled_from([0.0, 1.0])) + 0.1,
    }  # fmt: skip


def streaming(**a: Any) -> Any:
    found = theory.gaussian_inputs_moments(**a)
    return found.mean, found.covariance, found.noise, found.second_moment_radius


def stream_law(input_covariance: Any, batch_size: int, ridge: float, momentum: float, nesterov: bool, preconditioner: Any, learning_rate: float, truth: Any, label_noise: float) -> Any:  # fmt: skip
    """Gradient x(x·w) − εx at w = θ − u, Gaussian: Cov = (wAw)A + Aw wᵀA + s²A; the state's second moments by a Kronecker system."""
    A, d = input_covariance, len(input_covariance)
    mean = np.linalg.solve(A + ridge * np.eye(d), A @ truth)
    F, G = ref.transition(A + ridge * np.eye(d), learning_rate, momentum, nesterov, preconditioner)
    if momentum == 0:
        F, G = F[:d, :d], G[:d]
    n, R = len(F), np.eye(d, len(F))
    spread = np.outer(A.reshape(-1), A.reshape(-1)) + np.kron(A, A)  # of a symmetric Σ
    K = np.kron(F, F) + np.kron(G, G) @ spread @ np.kron(R, R) / batch_size
    w = mean - truth
    fixed = ((w @ A @ w + label_noise**2) * A + np.outer(A @ w, A @ w)) / batch_size
    Z = np.linalg.solve(np.eye(n * n) - K, (G @ fixed @ G.T).reshape(-1)).reshape(n, n)
    Sigma = Z[:d, :d]
    swap = np.eye(n * n).reshape(n, n, n, n).transpose(1, 0, 2, 3).reshape(n * n, n * n)
    kept = (np.eye(n * n) + swap) / 2
    radius = np.abs(np.linalg.eigvals(kept @ K @ kept)).max()
    return mean, Sigma, fixed + (spread @ Sigma.reshape(-1)).reshape(d, d) / batch_size, radius


def many(X: Any, y: Any, share: float) -> Any:
    """Seventeen parameters: an iteration inside in place of a matrix."""
    edges = theory.least_squares_edges(X, batch_size=1)
    rate = share / (X**2).sum(1).max()
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=1)
    return edges.second_moment * np.abs(X).max() ** 2, law.covariance, law.second_moment_radius


def right_many(X: Any, y: Any, share: float) -> Any:
    """J = 1 − ηxxᵀ, one row a step; η₂ from 2 sym(H ⊗ 1) ≥ η E(xx ⊗ xx), an eigenvalue problem."""
    d, rate = X.shape[1], share / (X**2).sum(1).max()
    H, best, one = X.T @ X / len(X), optimum(X, y, 0.0), np.eye(X.shape[1])
    pairs = np.einsum("ni,nj->nij", X, X).reshape(len(X), d * d)
    four, flat = pairs.T @ pairs / len(X), np.kron(H, one) + np.kron(one, H)
    edge = 1 / linalg.eigh(four, flat, eigvals_only=True, subset_by_index=[d * d - 1, d * d - 1])[0]
    K = np.eye(d * d) - rate * flat + rate**2 * four
    g = X * (X @ best - y)[:, None]
    Sigma = np.linalg.solve(np.eye(d * d) - K, rate**2 * (g.T @ g / len(X)).reshape(-1)).reshape(d, d)
    return edge * np.abs(X).max() ** 2, Sigma, np.linalg.eigvalsh(K)[-1]


# the rest


def flow_numbers(**a: Any) -> Any:
    law = theory.circulation(**a)
    d, h = len(a["hessian"]), np.abs(a["hessian"]).max()
    return law.frequencies / h + 1, law.entropy_production / h + 1, law.velocity(np.ones(d)) / h + 1


def right_flow_numbers(hessian: Any, diffusion: Any, temperature: float) -> Any:
    """Drift less the reversible part −TDΣ⁻¹; entropy by its mean square in units of TD; its angular velocities."""
    d, h, D = len(hessian), np.abs(hessian).max(), diffusion / np.abs(diffusion).max()
    Sigma = lyapunov(hessian / h, D, 1.0)
    swirl = -hessian / h + D @ np.linalg.inv(Sigma)
    entropy = np.trace(swirl.T @ np.linalg.solve(D, swirl) @ Sigma)
    turn = np.sort(np.linalg.eigvals(swirl).imag)[::-1][: d // 2]
    return turn + 1, entropy + 1, swirl @ np.ones(d) + 1


@st.composite
def local_runs(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.0, scale=MILD))
    return {"H": H, "C": draw(definite(dim=len(H), spread=1.0, scale=MILD)), "beta": draw(MILD), "gamma": draw(st.sampled_from([0.0, 1.0])), "share": draw(st.floats(0.1, 0.9)), "batch": draw(BATCHES)}  # fmt: skip


def local_error(H: Any, C: Any, beta: float, gamma: float, share: float, batch: int) -> float:
    step = share * 4 / (beta * np.linalg.eigvalsh(H)[-1] + gamma)
    return theory.learning_coefficient(H, C, inverse_temperature=beta, localization=gamma, step_size=step, batch_size=batch, num_steps=700).standard_error  # fmt: skip


def right_local_error(H: Any, C: Any, beta: float, gamma: float, share: float, batch: int) -> float:
    """Variance of a mean of 700 of βθHθ/2: β²/4·2 Σ over lags of tr(HΓHΓᵀ)."""
    A = beta * H + gamma * np.eye(len(H))
    step = share * 4 / np.linalg.eigvalsh(A)[-1]
    Sigma = ref.state_law(A, beta**2 * C / batch, step / 2, injected=step * np.eye(len(H)))[1]
    F, n = np.eye(len(H)) - step / 2 * A, len(H)
    seed = (Sigma @ H @ Sigma).reshape(-1)
    later = np.linalg.solve(np.eye(n * n) - np.kron(F, F), np.kron(F, F) @ seed)
    return math.sqrt(beta**2 / 2 * (H.reshape(-1) @ seed + 2 * H.reshape(-1) @ later) / 700)


def volume(total_hessian: Any, prior_precision: float) -> float:
    return theory.log_occam_factor(total_hessian, prior_precision=prior_precision, above_prior=True) + 1


def right_volume(total_hessian: Any, prior_precision: float) -> float:
    values = np.linalg.svd(total_hessian)[1]
    return 1 - np.log(values[values >= prior_precision] / prior_precision).sum() / 2


def price(**a: Any) -> Any:
    t = theory.batch_tradeoff(**a)
    return t.fewest_steps, t.fewest_examples, (t.steps / t.fewest_steps - 1) * (t.examples / t.fewest_examples - 1)


def shape_by_sums(seed: int, batch: int) -> Any:
    """Cumulants of Σ aᵏ ε_k with the mean of a batch for ε, a share of the variance of it; the rest Gaussian."""
    r = np.random.default_rng(seed)
    rates, third, fourth, share = r.uniform(0.05, 1.9, 3), r.standard_normal(3), r.uniform(0, 4, 3), r.uniform(0, 1, 3)
    out = []
    for a, s, k, w in zip(1 - rates, third, fourth, share, strict=True):
        powers = a ** np.arange(3000)
        two, three, four = ((powers**n).sum() for n in (2, 3, 4))
        out.append([s * w**1.5 / math.sqrt(batch) * three / two**1.5, k * w * w / batch * four / two**2])
    return np.array(out)


def our_shape(seed: int, batch: int) -> Any:
    r = np.random.default_rng(seed)
    rates, third, fourth, share = r.uniform(0.05, 1.9, 3), r.standard_normal(3), r.uniform(0, 4, 3), r.uniform(0, 1, 3)
    found = theory.stationary_shape(rates, third, fourth, batch_size=batch, noise_share=share)
    return np.array([found.skewness, found.kurtosis]).T


def warmth(seed: int, size: int, learning_rate: float, momentum: float) -> float:
    del seed
    return theory.temperature(learning_rate=learning_rate, momentum=momentum, batch_size=size, sampling="without_replacement", num_examples=5)  # fmt: skip


def right_warmth(seed: int, size: int, learning_rate: float, momentum: float) -> float:
    """Half the variance of the mean of a batch of values of variance 1, times η/(1 − μ)."""
    g = np.random.default_rng(seed).standard_normal(5)
    means = [g[b].mean() for b in batches_of(5, size, "without_replacement")]
    return float(np.var(means) / g.var() * learning_rate / 2 / (1 - momentum)) + 0.0


@st.composite
def wide_tables(draw: Any) -> dict[str, Any]:
    X = np.random.default_rng(draw(SEEDS)).standard_normal((40, 17))
    return {"X": X, "y": draw(labels(40)), "share": draw(st.floats(0.2, 0.9))}


CASES = quick([
    Case("gradient_estimates with errors", some(gradients=TABLE, batch_size=BATCHES), lambda **a: all_numbers(theory.gradient_estimates(**a)), jackknifed, 1e-6),
    Case("two_batch_estimates with errors", norms(), our_norms, right_norms, 1e-6),
    Case("online_gradient_covariance with errors", some(batch=st.integers(2, 5), seed=SEEDS, unit=SCALES).map(lambda a: {"batch": a["batch"], "g": np.random.default_rng(a["seed"]).standard_normal((6, a["batch"], 2)) * a["unit"]}), online, right_online, 1e-6),
    Case("svag_noise without replacement", some(gradients=centred(), l=st.floats(1, 9), size=st.integers(1, 2)), amplified, right_amplified, 1e-6),
    Case("svag_moments, shape", some(l=st.floats(1, 100)), shape_of, lambda l: (lambda c: (float((c**3).sum() / (c**2).sum() ** 1.5), float((c**4).sum() / (c**2).sum() ** 2)))(np.roots([2.0, -2.0, 1 - l]).real), 1e-6),
    Case("averaging_errors", passes(), averaging, right_averaging, 1e-6),
    Case("averaging_range", passes().flatmap(lambda a: st.floats(0.02, 0.3).map(lambda x: a | {"tolerance": x})).filter(enough), rate_range, lambda **_: (1.0, 1.0, 1.0), 1e-6),
    Case("iterate_average_covariance, every argument", settings(window=st.integers(1, 30), injected=lambda d: semidefinite(d, scale=MILD)), averaged, right_averaged, 1e-6),
    *(Case(f"{k}_law, every argument", adaptives(), adapted(k), lambda hessian, **_: (np.ones_like(hessian), np.ones(len(hessian)), np.ones(len(hessian))), 1e-5) for k in ("adam", "rmsprop")),
    Case("scheduled_langevin_covariance, every argument", schedules(), scheduled, by_steps, 1e-6),
    Case("gaussian_inputs_moments, every argument", streams(), streaming, stream_law, 1e-5),
    Case("least squares of many parameters", wide_tables(), many, right_many, 1e-5),
    Case("circulation's flow", currents(), flow_numbers, right_flow_numbers, 1e-5),
    Case("learning_coefficient's error", local_runs(), local_error, right_local_error, 1e-6),
    Case("log_occam_factor above the prior", some(total_hessian=definite(scale=MILD), prior_precision=MILD), volume, right_volume, 1e-6),
    Case("batch_tradeoff is a hyperbola", some(batch_size=MILD, critical_batch_size=MILD, fewest_steps=MILD), price, lambda batch_size, critical_batch_size, fewest_steps: (fewest_steps, fewest_steps * critical_batch_size, 1.0), 1e-9),
    Case("stationary_shape, shares", some(seed=SEEDS, batch=st.integers(1, 50)), our_shape, shape_by_sums, 1e-6),
    Case("temperature without replacement", some(seed=SEEDS, size=st.integers(1, 5), learning_rate=MILD, momentum=MU), warmth, right_warmth, 1e-6),
])  # fmt: skip
