"""More closed forms against other routes: recursions stepped by hand, augmented chains, quadrature, random matrices' moments."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import references as ref
from case import Case
from cases_theory import built, currents, gradients, law_under, lyapunov, mild_chain, reference_chain, tuned
from hypothesis import strategies as st
from matrices import BATCHES, MILD, SCALES, SEEDS, SHARES, definite, noisy, vector
from outcome import refuses
from scipy import integrate, optimize, stats

from gradnoise import theory


def velocity(**a: Any) -> Any:
    found = theory.position_velocity_law(**a)
    return found.position, found.velocity, found.cross


def velocity_by_augmenting(**a: Any) -> Any:
    """θ' − θ beside the state."""
    H, N, eta, unit, _ = ref.scaled(a["hessian"], a["gradient_covariance"], a["learning_rate"])
    F, G = ref.transition(H, eta, a["momentum"], a["nesterov"])
    d = len(H)
    if a["momentum"] == 0:
        F, G = F[:d, :d], G[:d]
    R = np.eye(d, len(F))
    noise = G @ (N / a["batch_size"]) @ G.T
    Z = ref.fixed_point(F, noise)
    moved = R @ F - R
    return (R @ Z @ R.T * unit, (moved @ Z @ moved.T + R @ noise @ R.T) * unit, (R @ F @ Z @ moved.T + R @ noise @ R.T) * unit)  # fmt: skip


def displacement(lag: int, **a: Any) -> float:
    F, Z, d, unit = reference_chain(**a)
    step = np.linalg.matrix_power(F, lag) - np.eye(len(F))
    rest = Z - np.linalg.matrix_power(F, lag) @ Z @ np.linalg.matrix_power(F, lag).T
    return float(np.trace((step @ Z @ step.T + rest)[:d, :d]) * unit)


def reversed_kl(**a: Any) -> float:
    """KL between (θ₀, θ₁) and (θ₁, θ₀), two Gaussians of 2D variables."""
    F, Z = reference_chain(**a)[:2]
    scale = np.sqrt(np.diag(Z))
    Z, F = Z / np.outer(scale, scale), F * np.outer(1 / scale, scale)
    cross = F @ Z
    forward = np.block([[Z, cross.T], [cross, Z]])
    backward = np.block([[Z, cross], [cross.T, Z]])
    return 1 + ref.kl(forward, backward)


def plain_chain(**more: Any) -> Any:
    """As `mild_chain`, without momentum, with noise in every direction."""
    return mild_chain(**more).map(
        lambda a: a | {"momentum": 0.0, "nesterov": False, "learning_rate": a["learning_rate"] / 4}
    )


def frequencies(hessian: Any, learning_rate: float, momentum: float) -> Any:
    """Angles of the eigenvalues of each mode's 2 × 2 matrix."""
    out = []
    for h in np.linalg.eigvalsh(hessian):
        roots = np.roots([1.0, -(1 + momentum - learning_rate * h), momentum])
        out.append(np.abs(np.angle(roots)).max())
    return np.sort(out)


def excess(**a: Any) -> Any:
    """Twice the mean excess loss in every direction."""
    H = a["hessian"]
    values, vectors = np.linalg.eigh(H)
    Sigma = ref.sgd_law(H, a["gradient_covariance"], a["learning_rate"], 1 / a["batch_size"], a["momentum"])
    return values * np.einsum("di,de,ei->i", vectors, Sigma, vectors)


@st.composite
def scheduled(draw: Any) -> dict[str, Any]:
    a = draw(tuned())
    edge = 4 / a["num_examples"] / np.linalg.eigvalsh(a["hessian"])[-1]
    steps = draw(st.integers(2, 12))
    share = np.random.default_rng(draw(SEEDS)).uniform(0.05, 0.9, steps)
    return a | {"step_sizes": edge * share, "burn_in": draw(st.integers(0, steps - 2)), "every": draw(st.integers(1, 2)), "start": np.linalg.inv(a["hessian"] * a["num_examples"])}  # fmt: skip


def schedule(**a: Any) -> Any:
    return theory.scheduled_langevin_covariance(**a).draws


def schedule_by_steps(hessian: Any, gradient_covariance: Any, num_examples: int, batch_size: int, step_sizes: Any, burn_in: int, every: int, start: Any) -> Any:  # fmt: skip
    kept, Sigma = [], np.array(start)
    for t, eps in enumerate(step_sizes, 1):
        rate = eps * num_examples / 2
        Q = np.eye(len(hessian)) - rate * hessian
        Sigma = Q @ Sigma @ Q.T + rate**2 * gradient_covariance / batch_size + eps * np.eye(len(hessian))
        if t > burn_in and (t - burn_in) % every == 0:
            kept.append(Sigma)
    return sum(kept) / len(kept) if kept else refuses("burn_in", "every", "step_sizes")


def isserlis(A: Any, S: Any) -> Any:
    """E x xᵀ S x xᵀ for x ~ N(0, A), entry by entry."""
    d = len(A)
    out = np.zeros((d, d))
    for i, j, k, l in itertools.product(range(d), repeat=4):
        out[i, l] += S[j, k] * (A[i, j] * A[k, l] + A[i, k] * A[j, l] + A[i, l] * A[j, k])
    return out


@st.composite
def streams(draw: Any) -> dict[str, Any]:
    A = draw(definite(spread=1.5))
    batch = draw(st.integers(1, 20))
    top, total = np.linalg.eigvalsh(A)[-1], np.trace(A)
    edge = 2 / (top * (1 + 1 / batch) + total / batch)
    return {"input_covariance": A, "learning_rate": float(edge * draw(st.floats(0.05, 0.8))), "batch_size": batch, "truth": draw(vector(len(A))), "label_noise": draw(MILD)}  # fmt: skip


def stream_law(input_covariance: Any, learning_rate: float, batch_size: int, truth: Any, label_noise: float) -> Any:
    """Second moments of one step, as a linear map of Σ built column by column."""
    A, d = input_covariance, len(input_covariance)
    del truth
    unit = np.abs(A).max()
    A, eta = A / unit, learning_rate * unit
    columns = []
    for k in range(d * d):
        S = np.zeros(d * d)
        S[k] = 1
        S = S.reshape(d, d)
        noise = (isserlis(A, (S + S.T) / 2) - A @ (S + S.T) / 2 @ A) / batch_size
        Q = np.eye(d) - eta * A
        columns.append((Q @ S @ Q.T + eta**2 * noise).reshape(-1))
    K = np.array(columns).T
    base = eta**2 * A * label_noise**2 / batch_size
    return np.linalg.solve(np.eye(d * d) - K, base.reshape(-1)).reshape(d, d) / unit


def heavy_tail(curvature: float, learning_rate: float, batch_size: int) -> float:
    """κ with E|1 − (ηa/B)χ²_B|^κ = 1, by bisection and quadrature."""
    c = learning_rate * curvature / batch_size

    def moment(kappa: float) -> float:
        low, high, half = 0.0, stats.chi2.isf(1e-280, batch_size), batch_size / 2
        size = half * math.log(2) + math.lgamma(half)

        def density(x: float) -> float:  # of χ²_B; SciPy's takes a hundred times as long
            return math.exp((half - 1) * math.log(x) - x / 2 - size)

        cuts = sorted({min(max(p, 1e-12), high) for p in (1e-9, 1e-6, 1e-3, 0.1, 1 / c, batch_size, 3 * batch_size, 10 * batch_size, 40 * batch_size)})  # fmt: skip
        edges = [low, *cuts, high]
        return sum(integrate.quad(lambda x: abs(1 - c * x) ** kappa * density(x), a, b, limit=400, epsabs=0, epsrel=1e-11)[0] for a, b in itertools.pairwise(edges) if b > a)  # fmt: skip

    high = 1.0
    while moment(high) < 1:
        high *= 2
    return float(
        optimize.brentq(lambda kappa: math.log(moment(kappa)), high / 2 if high > 1 else 1e-3, high, rtol=1e-7)
    )


def two_batches(small: Any, big: Any, b: int, B: int) -> Any:
    found = theory.two_batch_estimates(small, big, small_batch_size=b, big_batch_size=B)
    return found.squared_gradient.value, found.noise_trace.value


def two_lines(small: Any, big: Any, b: int, B: int) -> Any:
    """|g|² = |G|² + S/b at both sizes: two equations."""
    solved = np.linalg.solve(np.array([[1, 1 / b], [1, 1 / B]]), np.array([small.mean(), big.mean()]))
    return solved[0], solved[1]


@st.composite
def pairs(draw: Any) -> dict[str, Any]:
    r, b = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 20))
    unit = draw(SCALES)
    return {
        "small": r.uniform(1, 2, 5) * unit,
        "big": r.uniform(0.1, 1, 5) * unit,
        "b": b,
        "B": b + draw(st.integers(1, 50)),
    }


@st.composite
def online(draw: Any) -> dict[str, Any]:
    """Every batch of a finite set, so that the estimate's mean is C itself: all B-tuples, each with its first example."""
    r, d, n, B = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 2)), 3, 2
    g = r.standard_normal((n, d)) * draw(SCALES)
    tuples = list(itertools.product(range(n), repeat=B))
    return {
        "g": g,
        "first": np.array([g[t[0]] for t in tuples]),
        "mean": np.array([g[list(t)].mean(0) for t in tuples]),
    }


def moments_by_cumulants(l: float) -> Any:
    roots = np.roots([2.0, -2.0, 1 - l]).real
    return tuple(float((roots**k).sum()) for k in (1, 2, 3, 4))


def exit_steps(
    curvature: float, gradient_variance: float, learning_rate: float, batch_size: int, radius: float
) -> float:
    """τ = 1 + ∫ p τ on Gauss-Legendre nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x, w = nodes * radius, weights * radius
    sd = learning_rate * math.sqrt(gradient_variance / batch_size)
    kernel = stats.norm.pdf(x[None, :], (1 - learning_rate * curvature) * x[:, None], sd) * w
    tau = np.linalg.solve(np.eye(len(x)) - kernel, np.ones(len(x)))
    return float(1 + stats.norm.pdf(x, 0.0, sd) * w @ tau)


@st.composite
def exits(draw: Any) -> dict[str, Any]:
    h, c, batch = draw(MILD), draw(MILD), draw(st.integers(1, 20))
    eta = draw(st.floats(0.1, 1.8)) / h
    sd = math.sqrt(eta * c / batch / (h * (2 - eta * h)))
    return {
        "curvature": h,
        "gradient_variance": c,
        "learning_rate": eta,
        "batch_size": batch,
        "radius": sd * draw(st.floats(0.5, 3.0)),
    }


def ornstein_exit(start: float, target: float, low: float, h: float, T: float) -> float:
    """Mean passage of dθ = −hθ dt + √(2T) dW with a wall at `low`, by nested quadrature."""

    def inner(y: float) -> float:
        return integrate.quad(lambda z: math.exp(h * (y * y - z * z) / (2 * T)) / T, low, y, limit=200)[0]

    return float(integrate.quad(inner, start, target, limit=200)[0])


def passages(draw: Any) -> dict[str, Any]:
    unit = draw(MILD)
    low = -unit * draw(st.floats(0.5, 3))
    start = draw(st.floats(0.0, 0.8)) * -low + low
    return {
        "start": start,
        "target": start + unit * draw(st.floats(0.2, 2)),
        "low": low,
        "h": draw(MILD),
        "T": draw(st.floats(0.3, 3)) * unit**2,
    }


def our_passage(start: float, target: float, low: float, h: float, T: float) -> float:
    return theory.diffusion_passage_time(lambda x: h * x, lambda x: T * h + 0 * x, start=start, target=target, low=low)


def right_passage(start: float, target: float, low: float, h: float, T: float) -> float:
    return ornstein_exit(start, target, low, h, T * h)


@st.composite
def injected(draw: Any) -> dict[str, Any]:
    a = draw(tuned())
    H, d, n = a["hessian"], len(a["hessian"]), a["num_examples"]
    return {k: a[k] for k in ("hessian", "gradient_covariance", "num_examples", "batch_size")} | {"step_size": float(draw(MILD)), "injected": draw(definite(dim=d, spread=1.0, scale=MILD)) * np.abs(H).max() / n}  # fmt: skip


def scoring_law(**a: Any) -> Any:
    """Fisher scoring with its own preconditioner: the law, stepped by hand, is the posterior."""
    G = theory.fisher_scoring_preconditioner(a["hessian"], a["gradient_covariance"], step_size=a["step_size"], injected=a["injected"], num_examples=a["num_examples"], batch_size=a["batch_size"])  # fmt: skip
    eps = a["step_size"]
    law = law_under(
        eps * G, a["hessian"], a["gradient_covariance"], 1 / a["batch_size"], injected=eps * G @ a["injected"] @ G.T
    )
    ours = theory.fisher_scoring_covariance(a["hessian"], a["gradient_covariance"], preconditioner=G, step_size=eps, injected=a["injected"], batch_size=a["batch_size"])  # fmt: skip
    return law, ours


def posterior_twice(hessian: Any, num_examples: int, **_: Any) -> Any:
    return np.linalg.inv(hessian * num_examples), np.linalg.inv(hessian * num_examples)


@st.composite
def kinetics(draw: Any) -> dict[str, Any]:
    a = draw(tuned())
    top = math.sqrt(np.linalg.eigvalsh(a["hessian"])[-1])
    return a | {"step_size": float(draw(st.floats(0.1, 1.7)) / top), "friction": float(draw(MILD) * top)}


def baoab(
    hessian: Any, gradient_covariance: Any, num_examples: int, batch_size: int, step_size: float, friction: float
) -> Any:
    """A, O, A, then a whole kick by one minibatch gradient (two half kicks of neighbouring steps): its law of θ is BAOAB's."""
    d = len(hessian)
    unit = math.sqrt(np.abs(hessian).max())  # time in 1/√curvature
    H, h, g = hessian / unit**2, step_size * unit, friction / unit
    S = gradient_covariance / batch_size * num_examples / unit**2  # of the kick, in velocities of the injected noise
    eye, zero = np.eye(d), np.zeros((d, d))
    half = np.block([[eye, h / 2 * eye], [zero, eye]])
    c = math.exp(-g * h)
    rub = np.block([[eye, zero], [zero, c * eye]])
    kick = np.block([[eye, zero], [-h * H, eye]])
    F = kick @ half @ rub @ half
    push = kick @ half @ np.vstack([zero, eye])
    noise = (1 - c * c) * push @ push.T
    noise[d:, d:] += h * h * S
    Z = ref.fixed_point(F, noise)
    return Z[:d, :d] / num_examples / unit**2


def sides(hessian: Any, diffusion: Any) -> Any:
    found = theory.force_decomposition(hessian, diffusion)
    Q, U = found.antisymmetric, found.potential
    return (
        (diffusion + Q) @ U / np.abs(hessian).max(),
        (Q + Q.T) / np.abs(diffusion).max() + 1,
        (U - U.T) / np.abs(U).max() + 1,
    )


def spectrum(hessian: Any, diffusion: Any, temperature: float, omega: float) -> Any:
    rate = np.abs(hessian).max()
    found = theory.cross_spectrum(hessian, diffusion, temperature=temperature, frequency=omega * rate)
    return found.real, found.imag / np.abs(found).max() + 1


def spectrum_by_sums(hessian: Any, diffusion: Any, temperature: float, omega: float) -> Any:
    """∫ C(τ) e^{−iωτ} dτ with C(τ) = e^{−Hτ}Σ for τ > 0, C(−τ) = C(τ)ᵀ."""
    rate = np.abs(hessian).max()
    Sigma = lyapunov(hessian, diffusion, temperature)
    half = np.linalg.solve(hessian / rate + 1j * omega * np.eye(len(hessian)), Sigma) / rate
    whole = half + half.conj().T
    return whole.real, whole.imag / np.abs(whole).max() + 1


def ramped(lam: Any, window: int) -> Any:
    """Variance of a mean of T stationary AR(1) iterates over its limit, as a double sum."""
    out = []
    for r in lam:
        rho = (1 - r) ** np.arange(window)
        counts = np.r_[window, 2 * (window - np.arange(1, window))]
        out.append(counts @ rho / window * (r / (2 - r)))
    return np.array(out)


def neighbours(lam: Any, window: int) -> Any:
    out = []
    for r in lam:
        a = 1 - r
        gaps = np.arange(window)[None, :] + window - np.arange(window)[:, None]
        inside = np.abs(np.arange(window)[None, :] - np.arange(window)[:, None])
        out.append((a**gaps).sum() / (np.sign(a) ** inside * abs(a) ** inside).sum())
    return np.array(out)


@st.composite
def rates(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.5))
    eta = float(draw(st.floats(0.1, 0.95)) * 2 / np.linalg.eigvalsh(H)[-1])
    return {"hessian": H, "learning_rate": eta, "window": draw(st.integers(1, 40))}


@st.composite
def orders(draw: Any) -> dict[str, Any]:
    n, B = draw(st.integers(2, 3)), draw(st.integers(1, 2))
    d = draw(st.integers(1, 2))
    g = np.random.default_rng(draw(SEEDS)).standard_normal((n * B, d))
    return {"gradients": (g - g.mean(0)) * draw(SCALES), "batch_size": B, "lag": draw(st.integers(0, 4))}


def epoch_noise(gradients: Any, batch_size: int, lag: int) -> Any:
    return theory.epoch_noise_autocovariance(gradients.T @ gradients / len(gradients), num_examples=len(gradients), batch_size=batch_size, lag=lag)  # fmt: skip


def epoch_noise_by_orders(gradients: Any, batch_size: int, lag: int) -> Any:
    """Two epochs of all orders: E ξ_{k+lag} ξ_kᵀ, averaged over k in the first epoch."""
    n, d = len(gradients) // batch_size, gradients.shape[1]
    total, count = np.zeros((d, d)), 0
    for order in itertools.permutations(range(len(gradients))):
        xi = gradients[list(order)].reshape(n, batch_size, d).mean(1)
        count += 1
        for k in range(n - lag):
            total += np.outer(xi[k + lag], xi[k])
    return total / (count * n)  # beyond the epoch the noises are independent, and their means are zero


def fixed_orders(hessian: Any, gradients: Any, learning_rate: float, batch_size: int) -> Any:
    """Each order read for ever: the iterate at epoch ends settles on a point; their covariance over orders."""
    d, n = len(hessian), len(gradients) // batch_size
    Q = np.eye(d) - learning_rate * hessian
    Qn = np.linalg.matrix_power(Q, n)
    out, count = np.zeros((d, d)), 0
    for order in itertools.permutations(range(len(gradients))):
        theta = np.zeros(d)
        for k in range(n):
            theta = Q @ theta - learning_rate * gradients[list(order[k * batch_size : (k + 1) * batch_size])].mean(0)
        settled = np.linalg.solve(np.eye(d) - Qn, theta)
        out += np.outer(settled, settled)
        count += 1
    return out / count


@st.composite
def ordered(draw: Any) -> dict[str, Any]:
    a = draw(orders())
    d = a["gradients"].shape[1]
    H = draw(definite(dim=d, spread=1.0))
    return {"hessian": H, "gradients": a["gradients"], "learning_rate": float(draw(SHARES) * 2 / np.linalg.eigvalsh(H)[-1]), "batch_size": a["batch_size"]}  # fmt: skip


def our_fixed(hessian: Any, gradients: Any, learning_rate: float, batch_size: int) -> Any:
    return theory.fixed_order_covariance(hessian, gradients.T @ gradients / len(gradients), learning_rate=learning_rate, batch_size=batch_size, num_examples=len(gradients))  # fmt: skip


def coefficient(
    hessian: Any, gradient_covariance: Any, beta: float, gamma: float, share: float, batch_size: int
) -> Any:
    A = beta * hessian + gamma * np.eye(len(hessian))
    eps = share * 4 / np.linalg.eigvalsh(A)[-1]
    F = np.eye(len(A)) - eps / 2 * A
    Sigma = ref.fixed_point(F, (eps / 2 * beta) ** 2 * gradient_covariance / batch_size + eps * np.eye(len(A)))
    return float(beta / 2 * np.trace(hessian @ Sigma)), float(beta / 2 * np.trace(hessian @ np.linalg.inv(A)))


def our_coefficient(
    hessian: Any, gradient_covariance: Any, beta: float, gamma: float, share: float, batch_size: int
) -> Any:
    A = beta * hessian + gamma * np.eye(len(hessian))
    found = theory.learning_coefficient(hessian, gradient_covariance, inverse_temperature=beta, localization=gamma, step_size=share * 4 / np.linalg.eigvalsh(A)[-1], batch_size=batch_size)  # fmt: skip
    return found.value, found.ideal


@st.composite
def localised(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=2.0, scale=MILD))
    return {"hessian": H, "gradient_covariance": draw(definite(dim=len(H), spread=1.0, scale=MILD)), "beta": draw(MILD), "gamma": draw(MILD), "share": draw(SHARES), "batch_size": draw(BATCHES)}  # fmt: skip


def sign_step(gradient: Any, standard_deviation: Any, hessian: Any, batch_size: int) -> Any:
    """E ΔL(η) of a sign step by the normal distribution alone, minimised by hand."""
    p = stats.norm.cdf(gradient / standard_deviation * math.sqrt(batch_size))
    m = 2 * p - 1
    second = np.outer(m, m)
    np.fill_diagonal(second, 1.0)
    slope, bend = gradient @ m, (hessian * second).sum()
    return slope / bend, slope**2 / bend / 2


@st.composite
def signed(draw: Any) -> dict[str, Any]:
    a = draw(gradients())
    d = len(a["gradient"])
    s = np.abs(np.random.default_rng(draw(SEEDS)).standard_normal(d)) + 0.1
    return {"gradient": a["gradient"], "standard_deviation": s * np.abs(a["gradient"]).max() * draw(MILD), "hessian": a["hessian"], "batch_size": draw(BATCHES)}  # fmt: skip


def our_sign_step(**a: Any) -> Any:
    found = theory.best_sign_step(**a)
    return found.learning_rate, found.loss_decrease


@st.composite
def loss_valleys(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.5))
    batch = draw(st.integers(1, 50))
    values = np.linalg.eigvalsh(H)
    low, high = 0.0, 2 / values[-1]
    for _ in range(60):
        eta = (low + high) / 2
        low, high = (eta, high) if eta / batch * (values / (2 - eta * values)).sum() < 1 else (low, eta)
    return {
        "hessian": H,
        "minimum_loss": draw(SCALES),
        "learning_rate": low * draw(st.floats(0.05, 0.9)),
        "batch_size": batch,
    }


def valley_by_iteration(hessian: Any, minimum_loss: float, learning_rate: float, batch_size: int) -> Any:
    """Σ ↔ E L = L* + ½ tr HΣ, iterated to the fixed point."""
    loss = minimum_loss
    for _ in range(5000):
        Sigma = ref.sgd_law(hessian, 2 * loss * hessian, learning_rate, 1 / batch_size)
        new = minimum_loss + np.trace(hessian @ Sigma) / 2
        if abs(new - loss) < 1e-13 * loss:
            break
        loss = new
    return Sigma


def adam_by_iteration(
    hessian: Any, gradient_covariance: Any, learning_rate: float, batch_size: int, b1: float, eps: float
) -> Any:
    """v and Σ found together by damped iteration."""
    S = gradient_covariance / batch_size
    v = np.diag(S).copy()
    for _ in range(4000):
        P = np.diag(learning_rate * (1 - b1) / (np.sqrt(v) + eps))
        Sigma = law_under(P, hessian, gradient_covariance, 1 / batch_size, b1)
        new = np.diag(hessian @ Sigma @ hessian) + np.diag(S)
        if np.abs(new / v - 1).max() < 1e-12:
            break
        v = np.sqrt(v * new)
    return Sigma


@st.composite
def adams(draw: Any) -> dict[str, Any]:
    a = draw(tuned())
    H, C, B = a["hessian"], a["gradient_covariance"], a["batch_size"]
    b1 = draw(st.floats(0.0, 0.95))
    scale = np.sqrt(np.diag(C) / B)
    eta = draw(st.floats(0.02, 0.3)) * 2 / np.linalg.eigvals(H / scale[:, None]).real.max()
    return {"hessian": H, "gradient_covariance": C, "learning_rate": float(eta), "batch_size": B, "b1": b1, "eps": float(scale.max() * draw(st.sampled_from([1e-8, 0.1])))}  # fmt: skip


CASES = [
    Case("position_velocity_law", noisy(), velocity, velocity_by_augmenting),
    Case("mean_square_displacement", mild_chain(lag=st.integers(0, 50)), lambda lag, **a: theory.mean_square_displacement(theory.linear_chain(**a), lag), displacement),
    Case("entropy_production", plain_chain(), lambda **a: 1 + theory.entropy_production(theory.linear_chain(**a)), reversed_kl, 1e-5),
    Case("oscillation_frequencies", noisy(momentum=st.floats(0.05, 0.95)).map(lambda a: {k: a[k] for k in ("hessian", "momentum", "learning_rate")}),
         lambda **a: np.sort(theory.oscillation_frequencies(**a)) + 1, lambda **a: frequencies(**a) + 1, 1e-6),
    Case("effective_temperature", noisy().map(lambda a: {k: v for k, v in a.items() if k != "nesterov"} | {"learning_rate": a["learning_rate"] * 0.9}), theory.effective_temperature, excess, 1e-6),
    Case("scheduled_langevin_covariance", scheduled(), schedule, schedule_by_steps),
    Case("gaussian_inputs_moments", streams(), lambda **a: theory.gaussian_inputs_moments(**a).covariance, stream_law),
    Case("tail_exponent", built(curvature=MILD, share=st.floats(0.1, 0.9), batch_size=st.integers(1, 8)),
         lambda curvature, share, batch_size: theory.tail_exponent(curvature=curvature, learning_rate=share * 2 * batch_size / curvature / (batch_size + 2), batch_size=batch_size),
         lambda curvature, share, batch_size: heavy_tail(curvature, share * 2 * batch_size / curvature / (batch_size + 2), batch_size), 1e-4),
    Case("two_batch_estimates", pairs(), two_batches, two_lines),
    Case("online_gradient_covariance", online(), lambda g, first, mean: theory.online_gradient_covariance(first, mean, batch_size=2).value,
         lambda g, first, mean: np.atleast_2d(np.cov(g.T, bias=True))),
    Case("svag_moments", built(l=st.floats(1, 100)), lambda l: (lambda m: (m.mean, m.covariance, m.third, m.fourth))(theory.svag_moments(l)), moments_by_cumulants),
    Case("quadratic_exit_time", exits(), theory.quadratic_exit_time, exit_steps, 1e-3),
    Case("diffusion_passage_time", st.composite(passages)(), our_passage, right_passage, 1e-3),
    Case("fisher_scoring", injected(), scoring_law, posterior_twice, 1e-5),
    Case("kinetic_covariance", kinetics(), theory.kinetic_covariance, baoab, 1e-5),
    Case("force_decomposition", currents().map(lambda a: {k: a[k] for k in ("hessian", "diffusion")}), sides,
         lambda hessian, diffusion: (hessian / np.abs(hessian).max(), np.ones_like(hessian), np.ones_like(hessian))),
    Case("cross_spectrum", currents().flatmap(lambda a: st.floats(0, 4).map(lambda w: a | {"omega": w})), spectrum, spectrum_by_sums),
    Case("averaging_factors", rates(), theory.averaging_factors, lambda hessian, learning_rate, window: ramped(learning_rate * np.linalg.eigvalsh(hessian), window), 1e-6),
    Case("averaging_correlation", rates(), theory.averaging_correlation, lambda hessian, learning_rate, window: neighbours(learning_rate * np.linalg.eigvalsh(hessian), window), 1e-5),
    Case("epoch_noise_autocovariance", orders(), lambda **a: epoch_noise(**a) / np.abs(a["gradients"]).max() ** 2 + 1, lambda **a: epoch_noise_by_orders(**a) / np.abs(a["gradients"]).max() ** 2 + 1),
    Case("fixed_order_covariance", ordered(), our_fixed, fixed_orders),
    Case("learning_coefficient", localised(), our_coefficient, coefficient),
    Case("best_sign_step", signed(), our_sign_step, sign_step),
    Case("loss_power_law", loss_valleys(), lambda **a: theory.loss_power_law(**a).covariance, valley_by_iteration, 1e-5),
    Case("adam_law", adams(), lambda **a: theory.adam_law(**a).covariance, adam_by_iteration, 1e-5),
    Case("log_evidence_ratio", built(total_cost=st.floats(0, 1e4), total_hessian=definite(), prior_precision=SCALES, num_examples=st.integers(1, 10**6), num_classes=st.integers(2, 50)), theory.log_evidence_ratio,
         lambda total_cost, total_hessian, prior_precision, num_examples, num_classes: (
             num_examples * math.log(num_classes) - total_cost - np.log(np.linalg.svd(total_hessian / prior_precision)[1]).sum() / 2)),
    Case("gaussian_weights", built(normals=st.builds(lambda s, n: np.random.default_rng(s).standard_normal(n), SEEDS, st.integers(2, 9)), batch_size=BATCHES),
         lambda normals, batch_size: (lambda w: (w, float(w.sum())))(theory.gaussian_weights(normals, batch_size=batch_size)),
         lambda normals, batch_size: ((lambda c: 1 + c * math.sqrt(len(c) / batch_size))(normals - normals.mean()), float(len(normals)))),
    Case("hessian_regression_error", plain_chain().map(lambda a: {k: a[k] for k in ("hessian", "gradient_covariance", "learning_rate", "batch_size")} | {"num_steps": 10_000}), theory.hessian_regression_error,
         lambda hessian, gradient_covariance, learning_rate, batch_size, num_steps: np.sqrt(np.outer(np.diag(gradient_covariance) / batch_size, np.diag(np.linalg.inv(ref.sgd_law(hessian, gradient_covariance, learning_rate, 1 / batch_size)))) / num_steps)),
    Case("newton_regression_covariance", built(hessian=definite(), label_variance=SCALES, batch_size=st.integers(1, 30), share=SHARES),
         lambda hessian, label_variance, batch_size, share: theory.newton_regression_covariance(hessian, label_variance=label_variance, batch_size=batch_size, learning_rate=share * 2 * batch_size / (batch_size + 1 + len(hessian))),
         lambda hessian, label_variance, batch_size, share: (
             stream_law(np.eye(len(hessian)), share * 2 * batch_size / (batch_size + 1 + len(hessian)), batch_size, None, 1.0)[0, 0] * label_variance * np.linalg.inv(hessian)), 1e-6),
]  # fmt: skip
