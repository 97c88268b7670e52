"""Closed forms against other routes: linear systems, sums, enumeration, searches, other libraries' densities."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import references as ref
from case import Case
from hypothesis import assume
from hypothesis import strategies as st
from matrices import BATCHES, MILD, MOMENTA, SCALES, SEEDS, SHARES, definite, noisy, semidefinite, vector
from outcome import refuses
from scipy import linalg, special, stats

from gradnoise import theory

SAMPLINGS = st.sampled_from(["with_replacement", "without_replacement"])


def built(**parts: Any) -> Any:
    return st.fixed_dictionaries(parts)


@st.composite
def sampled(draw: Any, base: Any) -> dict[str, Any]:
    """Add a sampling and a number of examples that may be too small for the batch."""
    arguments = draw(base)
    sampling = draw(SAMPLINGS)
    examples = draw(st.integers(2, 2000))
    return arguments | {"sampling": sampling, "num_examples": examples}


def share_of(batch_size: int, sampling: str = "with_replacement", num_examples: int | None = None, **_: Any) -> Any:
    if sampling == "without_replacement" and batch_size > num_examples:
        return refuses("batch_size", "num_examples")
    return ref.factor(batch_size, sampling, num_examples)


def law(hessian: Any, gradient_covariance: Any, learning_rate: float, batch_size: int, momentum: float, nesterov: bool, **rest: Any) -> Any:  # fmt: skip
    share = share_of(batch_size, **rest)
    if not isinstance(share, float):
        return share
    return ref.sgd_law(hessian, gradient_covariance, learning_rate, share, momentum, nesterov)


@st.composite
def beyond(draw: Any) -> dict[str, Any]:
    return draw(noisy(share=st.floats(1.02, 3.0)))


def preconditioned(hessian: Any, gradient_covariance: Any, learning_rate: float, batch_size: int, momentum: float, nesterov: bool, preconditioner: Any) -> Any:  # fmt: skip
    h, c, p = np.abs(hessian).max(), np.abs(gradient_covariance).max(), np.abs(preconditioner).max()
    H, N, P = hessian / h, gradient_covariance / c, preconditioner / p
    d = len(H)
    Sigma = ref.state_law(H, N / batch_size, learning_rate * h * p, momentum, nesterov, P)[1][:d, :d]
    return Sigma * c / h / h


@st.composite
def with_preconditioner(draw: Any, share: Any = SHARES) -> dict[str, Any]:
    arguments = draw(noisy(share=st.just(1.0)))
    H, mu = arguments["hessian"], arguments["momentum"]
    P = draw(definite(dim=len(H), spread=1.5))
    top = float(np.linalg.eigvals(P @ H).real.max())
    edge = 2 * (1 + mu) / top / ((1 + 2 * mu) if arguments["nesterov"] else 1)
    return arguments | {"preconditioner": P, "learning_rate": edge * draw(share)}


def chain_of(**arguments: Any) -> Any:
    return theory.linear_chain(**arguments)


def reference_chain(hessian: Any, gradient_covariance: Any, learning_rate: float, batch_size: int, momentum: float, nesterov: bool) -> Any:  # fmt: skip
    H, N, eta, unit, _ = ref.scaled(hessian, gradient_covariance, learning_rate)
    F, state = ref.state_law(H, N / batch_size, eta, momentum, nesterov)
    return F, state, len(H), unit


def autocovariance(lag: int, **a: Any) -> Any:
    F, state, d, unit = reference_chain(**a)
    return (np.linalg.matrix_power(F, lag) @ state)[:d, :d] * unit


def ema_law(decay: float, **a: Any) -> Any:
    """e ← decay e + (1 − decay) θ' beside the chain's state."""
    hessian, mu = a["hessian"], a["momentum"]
    H, N, eta, unit, _ = ref.scaled(hessian, a["gradient_covariance"], a["learning_rate"])
    F, G = ref.transition(H, eta, mu, a["nesterov"])
    d, n = len(H), len(F)
    R = np.eye(d, n)
    big = np.block([[F, np.zeros((n, d))], [(1 - decay) * R @ F, decay * np.eye(d)]])
    lift = np.vstack([G, (1 - decay) * R @ G])
    if mu == 0:  # drop m, which has no memory
        keep = np.r_[np.arange(d), np.arange(n, n + d)]
        big, lift = big[np.ix_(keep, keep)], lift[keep]
    return ref.fixed_point(big, lift @ (N / a["batch_size"]) @ lift.T)[-d:, -d:] * unit


def quadratic_iact(direction: Any, thin: int, **a: Any) -> float:
    F, state, d, _ = reference_chain(**a)
    total, power, lag = 0.0, np.eye(len(F)), 0
    base = direction @ state[:d, :d] @ direction
    step = np.linalg.matrix_power(F, thin)
    while lag < 100_000:
        power, lag = power @ step, lag + 1
        rho = direction @ (power @ state)[:d, :d] @ direction / base
        total += rho**2
        if np.abs(power).max() < 1e-12:
            break
    return 1 + 2 * total


def linear_iact(direction: Any, **a: Any) -> float:
    F, state, d, _ = reference_chain(**a)
    return float(direction @ ref.long_run(F, state, d) @ direction / (direction @ state[:d, :d] @ direction))


def mild_chain(**more: Any) -> Any:
    """A chain that forgets in some hundred steps."""

    @st.composite
    def drawn(draw: Any) -> dict[str, Any]:
        a = draw(noisy(share=st.floats(0.1, 0.9), momentum=st.one_of(st.just(0.0), st.floats(0.1, 0.9))))
        H = a["hessian"]
        lift = np.abs(H).max()
        a["hessian"] = H + 0.05 * lift * np.eye(len(H))
        a["learning_rate"] *= 0.9
        a["gradient_covariance"] = a["gradient_covariance"] + 0.01 * np.abs(a["gradient_covariance"]).max() * np.eye(
            len(H)
        )
        return a | {name: draw(s(len(H)) if callable(s) else s) for name, s in more.items()}

    return drawn()


def split(reader: Any, *names: str) -> Any:
    """Call `linear_chain`, then `reader(chain, **the rest)`."""

    def call(**arguments: Any) -> Any:
        rest = {name: arguments.pop(name) for name in names}
        return reader(theory.linear_chain(**arguments), **rest)

    return call


def kl_arguments(draw: Any) -> dict[str, Any]:
    p = draw(definite())
    d = len(p)
    root = np.linalg.cholesky(p)
    q = root @ draw(definite(dim=d, scale=MILD)) @ root.T
    return {
        "covariance_q": q / 2 + q.T / 2, "covariance_p": p,
        "mean_q": root @ draw(vector(d)), "mean_p": root @ draw(vector(d)),
    }  # fmt: skip


@st.composite
def data(draw: Any) -> tuple[Any, Any]:
    n, d = draw(st.integers(3, 4)), draw(st.integers(1, 2))
    r = np.random.default_rng(draw(SEEDS))
    X = r.standard_normal((n, d)) * draw(MILD)
    return X, r.standard_normal(n) * draw(MILD)


@st.composite
def small_least_squares(draw: Any) -> dict[str, Any]:
    X, y = draw(data())
    batch = draw(st.integers(1, 2))
    share = draw(st.floats(0.05, 0.9))
    low, high = 0.0, 2 / np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    for _ in range(60):  # the second-moment edge, by enumeration
        middle = (low + high) / 2
        radius = ref.squares_radius(X, middle, batch)
        low, high = (middle, high) if radius < 1 else (low, middle)
    assume(low > 0)
    return {"X": X, "y": y, "learning_rate": share * low, "batch_size": batch}


def squares_edge(X: Any, batch_size: int) -> float:
    low, high = 0.0, 4 / np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    for _ in range(70):
        middle = (low + high) / 2
        radius = ref.squares_radius(X, middle, batch_size)
        low, high = (middle, high) if radius < 1 else (low, middle)
    return (low + high) / 2


@st.composite
def epochs(draw: Any) -> dict[str, Any]:
    d, n, batch = draw(st.integers(1, 2)), draw(st.integers(2, 3)), draw(st.integers(1, 2))
    H = draw(definite(dim=d, spread=1.0))
    g = np.random.default_rng(draw(SEEDS)).standard_normal((n * batch, d))
    g = (g - g.mean(0)) * draw(SCALES)
    return {"hessian": H, "gradients": g, "learning_rate": draw(SHARES) * 2 / np.abs(np.linalg.eigvalsh(H)).max(), "batch_size": batch}  # fmt: skip


def shuffled(position: Any) -> Any:
    def call(hessian: Any, gradients: Any, learning_rate: float, batch_size: int) -> Any:
        n = len(gradients)
        return theory.stationary_covariance(
            hessian, gradients.T @ gradients / n, learning_rate=learning_rate, batch_size=batch_size, sampling="shuffled",
            num_examples=n, position=position,
        )  # fmt: skip

    return call


def by_permutations(read: Any) -> Any:
    def right(hessian: Any, gradients: Any, learning_rate: float, batch_size: int) -> Any:
        h, c = np.abs(hessian).max(), np.abs(gradients).max()
        end, after = ref.permutations_law(hessian / h, gradients / c, learning_rate * h, batch_size)
        return read(end, after) * (c / h) ** 2

    return right


@st.composite
def tuned(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=2.0))
    C = draw(definite(dim=len(H), spread=2.0))
    return {"hessian": H, "gradient_covariance": C, "num_examples": draw(st.integers(50, 10**7)), "batch_size": draw(st.integers(1, 50))}  # fmt: skip


def law_under(P: Any, hessian: Any, C: Any, share: float, mu: float = 0.0, injected: Any = None) -> Any:
    """Stationary covariance of θ ← θ − P(noisy gradient), in units of the step."""
    h = np.abs(hessian).max()
    H, Q = hessian / h, P * h
    c = np.abs(C).max()
    lifted = None if injected is None else injected * h * h / c
    d = len(H)
    return ref.state_law(H, C / c * share, 1.0, mu, False, Q, lifted)[1][:d, :d] * c / h / h


def tuned_law(**a: Any) -> Any:
    P = theory.optimal_preconditioner(a["hessian"], a["gradient_covariance"], num_examples=a["num_examples"], batch_size=a["batch_size"])  # fmt: skip
    return law_under(P, a["hessian"], a["gradient_covariance"], 1 / a["batch_size"])


def posterior(hessian: Any, num_examples: int, **_: Any) -> Any:
    return np.linalg.inv(hessian * num_examples)


def corrected_law(**a: Any) -> Any:
    t = theory.corrected_langevin_tuning(**a)
    return law_under(t.preconditioner, a["hessian"], a["gradient_covariance"], 1 / a["batch_size"], injected=t.injected_covariance)  # fmt: skip


@st.composite
def for_target(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=2.0))
    d = len(H)
    h = np.abs(H).max()
    C = draw(definite(dim=d, spread=1.0))
    batch, mu = draw(st.integers(1, 50)), draw(MOMENTA)
    small = draw(definite(dim=d, spread=1.0, scale=st.floats(-3, -1).map(lambda x: 10**x)))
    target = small * np.abs(C).max() / batch / h / h
    return {"target": target, "hessian": H, "gradient_covariance": C, "batch_size": batch, "momentum": mu}


def law_of_target(**a: Any) -> Any:
    P = theory.preconditioner_for(**a)
    return law_under(P, a["hessian"], a["gradient_covariance"], 1 / a["batch_size"], a["momentum"])


@st.composite
def langevin(draw: Any) -> dict[str, Any]:
    a = draw(tuned())
    edge = 4 / a["num_examples"] / np.linalg.eigvalsh(a["hessian"])[-1]
    return a | {"step_size": float(edge * draw(SHARES))}


def langevin_law(hessian: Any, gradient_covariance: Any, num_examples: int, batch_size: int, step_size: float) -> Any:
    P = np.eye(len(hessian)) * step_size * num_examples / 2
    return law_under(P, hessian, gradient_covariance, 1 / batch_size, injected=step_size * np.eye(len(hessian)))


def noticed() -> Any:
    """Noise that is not far below the curvature: else the best step is the edge, to rounding."""
    return tuned().filter(
        lambda a: (
            np.trace(a["gradient_covariance"]) * a["num_examples"] > 1e-3 * a["batch_size"] * np.trace(a["hessian"])
        )
    )


def best_rate(hessian: Any, gradient_covariance: Any, num_examples: int, batch_size: int) -> float:
    target = np.linalg.inv(hessian * num_examples)
    edge = 2 / np.linalg.eigvalsh(hessian)[-1]

    def distance(odds: float) -> float:  # of the rate on the way to the edge, near which the best one may lie
        return ref.kl(ref.sgd_law(hessian, gradient_covariance, edge * odds / (1 + odds), 1 / batch_size), target)

    best = ref.minimum(distance, 1e-12, 1e12)
    return edge * best / (1 + best)


def kl_at_tuned(**a: Any) -> float:
    rate = theory.optimal_learning_rate(a["gradient_covariance"], num_examples=a["num_examples"], batch_size=a["batch_size"], hessian=a["hessian"])  # fmt: skip
    return 1 + ref.kl(ref.sgd_law(a["hessian"], a["gradient_covariance"], rate, 1 / a["batch_size"]), posterior(**a))


def kl_at_best(**a: Any) -> float:
    return 1 + ref.kl(ref.sgd_law(a["hessian"], a["gradient_covariance"], best_rate(**a), 1 / a["batch_size"]), posterior(**a))  # fmt: skip


@st.composite
def currents(draw: Any) -> dict[str, Any]:
    H = draw(definite(spread=1.5))
    return {"hessian": H, "diffusion": draw(definite(dim=len(H), spread=1.5)), "temperature": draw(SCALES)}


def lyapunov(hessian: Any, diffusion: Any, temperature: float) -> Any:
    h, c = np.abs(hessian).max(), np.abs(diffusion).max()
    return linalg.solve_continuous_lyapunov(hessian / h, 2 * diffusion / c) * c / h * temperature


def read_currents(**a: Any) -> Any:
    found = theory.circulation(**a)
    return found.covariance, found.antisymmetric + found.antisymmetric.T + np.zeros_like(found.potential)


def right_currents(**a: Any) -> Any:
    return lyapunov(**a), np.zeros_like(a["hessian"])


def lag_asymmetry(lag: float, **a: Any) -> Any:
    rate = np.abs(a["hessian"]).max()
    moved = ref.expm_decay(a["hessian"], lag / rate) @ lyapunov(**a)
    return 1 + (moved - moved.T) / 2 / lyapunov(**a).max()  # beside 1: commuting matrices have none


def our_lag_asymmetry(lag: float, **a: Any) -> Any:
    rate = np.abs(a["hessian"]).max()
    return 1 + theory.lag_asymmetry(**a, lag=lag / rate) / lyapunov(**a).max()


@st.composite
def gradients(draw: Any) -> dict[str, Any]:
    d = draw(st.integers(1, 4))
    scale = draw(SCALES)
    H = draw(definite(dim=d, spread=2.0))
    return {
        "gradient": (np.random.default_rng(draw(SEEDS)).standard_normal(d) + 0.1) * scale,
        "gradient_covariance": draw(semidefinite(d, scale=MILD)) * scale**2,
        "hessian": H,
    }


def step_by_search(gradient: Any, gradient_covariance: Any, hessian: Any, batch_size: float) -> Any:
    slope, bend = gradient @ gradient, gradient @ hessian @ gradient + np.trace(hessian @ gradient_covariance) / batch_size  # fmt: skip
    eta = slope / bend
    found = ref.minimum(lambda x: -x * slope + x * x * bend / 2, eta * 1e-3, eta * 1e3)
    return found, found * slope - found**2 * bend / 2


def our_step(**a: Any) -> Any:
    found = theory.best_step(**a)
    return found.learning_rate, found.loss_decrease


@st.composite
def evidence(draw: Any) -> dict[str, Any]:
    n, d = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    r = np.random.default_rng(draw(SEEDS))
    scale, noise = draw(SCALES), draw(SCALES)
    return {
        "X": r.standard_normal((n, d)) * scale, "y": r.standard_normal(n) * noise,
        "prior_precision": float((scale / noise) ** 2 * draw(MILD)), "observation_scale": noise,
    }  # fmt: skip


def normal_density(X: Any, y: Any, prior_precision: float, observation_scale: float) -> float:
    V = np.eye(len(y)) + X @ X.T / prior_precision / observation_scale**2
    z = y / observation_scale
    return float(stats.multivariate_normal(np.zeros(len(y)), V).logpdf(z) - len(y) * math.log(observation_scale))


def unbiased(gradients: Any) -> Any:
    """Sums over pairs of different examples: nothing to correct."""
    k = len(gradients)
    gram = gradients @ gradients.T
    signal = (gram.sum() - np.trace(gram)) / (k * (k - 1))
    noise = np.trace(np.atleast_2d(np.cov(gradients.T)))
    return signal, noise


def our_unbiased(gradients: Any) -> Any:
    found = theory.gradient_estimates(gradients)
    return found.squared_gradient.value, found.noise_trace.value


def rational(learning_rate: float, batch_size: int, num_examples: int, momentum: float) -> Any:
    if batch_size > num_examples:
        return refuses("batch_size", "num_examples")
    return float(Fraction(learning_rate) * (Fraction(num_examples, batch_size) - 1) / (1 - Fraction(momentum)))


def kinetic_matrices(hessian: Any, S: Any, h: float, friction: float, examples: int) -> Any:
    """BAOAB with unit mass on U = N θᵀHθ/2: half kick, half drift, Ornstein-Uhlenbeck, half drift, half kick; one gradient a step."""
    d = len(hessian)
    K, eye, zero = examples * hessian, np.eye(d), np.zeros((d, d))
    kick = np.block([[eye, zero], [-h / 2 * K, eye]])
    drift = np.block([[eye, h / 2 * eye], [zero, eye]])
    c = math.exp(-friction * h)
    rub = np.block([[eye, zero], [zero, c * eye]])
    fresh = np.block([[zero, zero], [zero, (1 - c * c) * eye]])
    del S
    F = kick @ drift @ rub @ drift @ kick
    after = kick @ drift
    return F, after @ fresh @ after.T, (kick, drift, rub)


CASES = [
    Case("stationary_covariance", sampled(noisy()), theory.stationary_covariance, law),
    Case("stationary_covariance beyond the edge", beyond(), theory.stationary_covariance, lambda **_: refuses("learning_rate", "momentum")),
    Case("stationary_covariance preconditioned", with_preconditioner(), theory.stationary_covariance, preconditioned),
    Case(
        "stationary_covariance continuous",
        noisy(momentum=st.just(0.0)).map(lambda a: a | {"time": "continuous"}),
        theory.stationary_covariance,
        lambda hessian, gradient_covariance, learning_rate, batch_size, **_: (
            lyapunov(hessian, gradient_covariance, learning_rate / batch_size / 2)
        ),
    ),
    Case("stability_edge", noisy().map(lambda a: {k: a[k] for k in ("hessian", "momentum", "nesterov")}), theory.stability_edge,
         lambda hessian, momentum, nesterov: ref.edge_by_bisection(hessian, momentum, nesterov), 1e-9),
    Case("stability_fraction", noisy().map(lambda a: {k: a[k] for k in ("hessian", "momentum", "nesterov", "learning_rate")}), theory.stability_fraction,
         lambda hessian, momentum, nesterov, learning_rate: learning_rate / ref.edge_by_bisection(hessian, momentum, nesterov), 1e-9),
    Case("rate_edge", built(momentum=MOMENTA, nesterov=st.booleans()), theory.rate_edge,
         lambda momentum, nesterov: ref.edge_by_bisection(np.eye(1), momentum, nesterov), 1e-9),
    Case("linear_chain.covariance", noisy(), lambda **a: theory.linear_chain(**a).covariance, law),
    Case("linear_chain.autocovariance", mild_chain(lag=st.integers(0, 40)), split(lambda c, lag: c.autocovariance(lag), "lag"), autocovariance),
    Case("linear_chain.long_run_covariance", mild_chain(), lambda **a: theory.linear_chain(**a).long_run_covariance,
         lambda **a: (lambda F, s, d, u: ref.long_run(F, s, d) * u)(*reference_chain(**a))),
    Case("linear_chain.average", mild_chain(window=st.integers(1, 60)), split(lambda c, window: c.average(window), "window"),
         lambda window, **a: (lambda F, s, d, u: ref.window_average(F, s, d, window) * u)(*reference_chain(**a))),
    Case("linear_chain.ema", mild_chain(decay=st.floats(0, 0.99)), split(lambda c, decay: c.ema(decay), "decay"), ema_law),
    Case("linear_chain.iact", mild_chain(direction=lambda d: vector(d)), split(lambda c, direction: c.iact(direction), "direction"), linear_iact, 1e-6),
    Case("linear_chain.iact quadratic", mild_chain(direction=lambda d: vector(d), thin=st.integers(1, 5)),
         split(lambda c, direction, thin: c.iact(direction, quadratic=True, thin=thin), "direction", "thin"), quadratic_iact, 1e-6),
    Case("linear_chain.spectral_radius", noisy(), lambda **a: theory.linear_chain(**a).spectral_radius,
         lambda hessian, learning_rate, momentum, nesterov, **_: (
             ref.spectral_radius(hessian / np.abs(hessian).max(), learning_rate * np.abs(hessian).max(), momentum, nesterov)), 1e-6),
    Case("iterate_average_covariance", mild_chain(window=st.integers(1, 60)), theory.iterate_average_covariance,
         lambda window, **a: (lambda F, s, d, u: ref.window_average(F, s, d, window) * u)(*reference_chain(**a))),
    Case("shuffled at the end", epochs(), shuffled("end"), by_permutations(lambda end, after: end)),
    Case("shuffled on average", epochs(), shuffled("mean"), by_permutations(lambda end, after: sum(after) / len(after))),
    Case("shuffled after one step", epochs(), shuffled(1), by_permutations(lambda end, after: after[0])),
    Case("gaussian_kl", st.composite(kl_arguments)(), lambda **a: 1 + theory.gaussian_kl(**a),
         lambda covariance_q, covariance_p, mean_q, mean_p: 1 + ref.kl(covariance_q, covariance_p, mean_q, mean_p)),
    Case("variance_errors", st.composite(kl_arguments)().map(lambda a: {"covariance": a["covariance_q"], "target": a["covariance_p"]}), theory.variance_errors,
         lambda covariance, target: linalg.eigh(covariance, target, eigvals_only=True) - 1),
    Case("optimal_preconditioner", noticed(), tuned_law, posterior),
    Case("corrected_langevin_tuning", tuned(), corrected_law, posterior),
    Case("preconditioner_for", for_target(), law_of_target, lambda target, **_: target),
    Case("langevin_covariance", langevin(), theory.langevin_covariance, langevin_law),
    Case("optimal_learning_rate", noticed(), kl_at_tuned, kl_at_best, 1e-4),
    Case("mean_field_covariance", tuned().map(lambda a: {k: a[k] for k in ("hessian", "num_examples")}), theory.mean_field_covariance,
         lambda hessian, num_examples: np.diag(1 / np.diag(hessian) / num_examples)),
    Case("newton_covariance", noisy(momentum=st.just(0.0)).map(lambda a: {k: a[k] for k in ("hessian", "gradient_covariance", "batch_size")} | {"learning_rate": 0.7}),
         theory.newton_covariance,
         lambda hessian, gradient_covariance, batch_size, learning_rate: law_under(np.linalg.inv(hessian) * learning_rate, hessian, gradient_covariance, 1 / batch_size)),
    Case("circulation", currents(), read_currents, right_currents),
    Case("lag_asymmetry", currents().flatmap(lambda a: st.floats(0.01, 3).map(lambda x: a | {"lag": x})), our_lag_asymmetry, lag_asymmetry),
    Case("batch_noise", sampled(built(gradient_covariance=definite(), batch_size=BATCHES)), theory.batch_noise,
         lambda gradient_covariance, **rest: (lambda s: s if not isinstance(s, float) else gradient_covariance * s)(share_of(**rest)), 1e-12),
    Case("noise_factor", sampled(built(batch_size=BATCHES)), theory.noise_factor, share_of, 1e-12),
    Case("noise_scale", built(learning_rate=SCALES, batch_size=BATCHES, num_examples=st.integers(1, 10**9), momentum=MOMENTA), theory.noise_scale, rational, 1e-12),
    Case("temperature", built(learning_rate=SCALES, batch_size=BATCHES, momentum=MOMENTA), theory.temperature,
         lambda learning_rate, batch_size, momentum: float(Fraction(learning_rate) / 2 / batch_size / (1 - Fraction(momentum))), 1e-12),
    Case("gradient_noise_scale", gradients().map(lambda a: {k: a[k] for k in ("gradient", "gradient_covariance")}), theory.gradient_noise_scale,
         lambda gradient, gradient_covariance: float(np.linalg.eigvalsh(gradient_covariance).sum() / np.linalg.norm(gradient) ** 2)),
    Case("critical_noise_scale", gradients(), theory.critical_noise_scale,
         lambda gradient, gradient_covariance, hessian: float(np.einsum("ij,ji->", hessian, gradient_covariance) / np.einsum("i,ij,j->", gradient, hessian, gradient))),
    Case("best_step", gradients().flatmap(lambda a: MILD.map(lambda b: a | {"batch_size": b})), our_step, step_by_search, 1e-5),
    Case("gradient_estimates", built(gradients=st.builds(lambda s, k, d, u: np.random.default_rng(s).standard_normal((k, d)) * u + u, SEEDS, st.integers(3, 9), st.integers(1, 4), SCALES)),
         our_unbiased, unbiased),
    Case("linear_regression_evidence", evidence(), theory.linear_regression_evidence, normal_density, 1e-7),
    Case("log_evidence", built(total_log_joint=st.floats(-1e6, 1e6), total_hessian=definite()), theory.log_evidence,
         lambda total_log_joint, total_hessian: total_log_joint + len(total_hessian) / 2 * math.log(2 * math.pi) - np.log(np.linalg.svd(total_hessian)[1]).sum() / 2),
    Case("log_occam_factor", built(total_hessian=definite(), prior_precision=SCALES), theory.log_occam_factor,
         lambda total_hessian, prior_precision: -np.log(np.linalg.svd(total_hessian)[1] / prior_precision).sum() / 2, 1e-6),
    Case("svag_coefficients", built(l=st.floats(1, 1e6)), theory.svag_coefficients,
         lambda l: (lambda r: (r.max(), r.min()))(np.roots([2.0, -2.0, 1 - l]).real), 1e-9),
    Case("svag_noise", built(gradient_covariance=definite(), l=st.floats(1, 100), batch_size=BATCHES), theory.svag_noise,
         lambda gradient_covariance, l, batch_size: gradient_covariance * float(sum(Fraction(c) ** 2 for c in np.roots([2.0, -2.0, 1 - l]).real)) / batch_size, 1e-6),
    Case("stein", noisy().map(lambda a: (lambda F: {"transition": F, "noise": a["gradient_covariance"]})(np.eye(len(a["hessian"])) - a["learning_rate"] * a["hessian"] * (0.9 if not a["momentum"] else 0.5))),
         theory.stein, lambda transition, noise: ref.fixed_point(transition, noise)),
    Case("least_squares_moments", small_least_squares(), lambda **a: theory.least_squares_moments(**a).covariance,
         lambda X, y, learning_rate, batch_size: ref.least_squares_law(X, y, learning_rate, batch_size), 1e-5),
    Case("least_squares_edges", small_least_squares().map(lambda a: {k: a[k] for k in ("X", "batch_size")}), lambda **a: theory.least_squares_edges(**a).second_moment,
         squares_edge, 1e-6),
    Case("stable_scale at α = 2", built(curvature=st.floats(0.1, 1.9), noise_scale=SCALES, batch_size=BATCHES), lambda **a: 2 * theory.stable_scale(**a, learning_rate=1.0, alpha=2.0) ** 2,
         lambda curvature, noise_scale, batch_size: float(ref.fixed_point(np.array([[1 - curvature]]), np.array([[2 * noise_scale**2 / batch_size]]))[0, 0])),
    Case("batch_tradeoff", built(batch_size=SCALES, critical_batch_size=SCALES, fewest_steps=SCALES), lambda **a: (lambda t: (t.steps, t.examples))(theory.batch_tradeoff(**a)),
         lambda batch_size, critical_batch_size, fewest_steps: (fewest_steps + fewest_steps * critical_batch_size / batch_size, fewest_steps * batch_size + fewest_steps * critical_batch_size), 1e-12),
    Case("optimum_batch_size", built(learning_rate=SCALES, num_examples=st.integers(2, 10**6), momentum=MOMENTA, share=SHARES),
         lambda learning_rate, num_examples, momentum, share: theory.optimum_batch_size(noise_scale=learning_rate * (num_examples - 1) / (1 - momentum) * share, learning_rate=learning_rate, num_examples=num_examples, momentum=momentum),
         lambda learning_rate, num_examples, momentum, share: num_examples / (1 + (num_examples - 1) * share), 1e-9),
    # at ηh = 1 a step forgets all, and what is left of it is rounding
    Case("relaxation_times", noisy().filter(lambda a: np.abs(1 - a["learning_rate"] * np.linalg.eigvalsh(a["hessian"])).min() > 1e-6).map(lambda a: {k: a[k] for k in ("hessian", "momentum", "learning_rate")}), lambda **a: np.sort(theory.relaxation_times(**a)),
         lambda hessian, momentum, learning_rate: np.sort([-1 / math.log(max(abs(np.roots([1, -(1 + momentum - learning_rate * h), momentum])))) if momentum else -1 / math.log(abs(1 - learning_rate * h)) for h in np.linalg.eigvalsh(hessian)]), 1e-4),
    Case("power_sums", built(transition=definite(scale=st.just(0.9)), count=st.integers(1, 30)), theory.power_sums,
         lambda transition, count: power_sums_by_loops(transition, count)),
    Case("long_run_bound", noisy().map(lambda a: {k: a[k] for k in ("hessian", "gradient_covariance", "batch_size")}), theory.long_run_bound,
         lambda hessian, gradient_covariance, batch_size: (lambda inverse: inverse @ gradient_covariance @ inverse / batch_size)(np.linalg.inv(hessian))),
    Case("multiplier_tail_exponent", built(multipliers=st.builds(lambda s, k: np.random.default_rng(s).uniform(0.2, 1.6, k), SEEDS, st.integers(2, 8))), theory.multiplier_tail_exponent,
         lambda multipliers: kesten_by_bisection(multipliers), 1e-5),
    Case("continuous_autocovariance", noisy(momentum=st.just(0.0)).flatmap(lambda a: st.floats(0, 3).map(lambda x: {k: a[k] for k in ("hessian", "gradient_covariance", "learning_rate", "batch_size")} | {"lag": x / a["learning_rate"] / np.abs(a["hessian"]).max()})),
         theory.continuous_autocovariance,
         lambda hessian, gradient_covariance, learning_rate, batch_size, lag: ref.expm_decay(hessian * learning_rate, lag) @ lyapunov(hessian, gradient_covariance, learning_rate / batch_size / 2)),
    Case("stable_exit_time", built(half_width=SCALES, noise_scale=SCALES, alpha=st.floats(0.1, 1.9)), theory.stable_exit_time,
         lambda half_width, noise_scale, alpha: 1 / (2 * special.gamma(1 + alpha) * math.sin(math.pi * alpha / 2) / math.pi / alpha * (noise_scale / half_width) ** alpha), 1e-9),
    Case("stationary_shape", built(r=st.floats(0.05, 1.9), skewness=st.floats(-3, 3), kurtosis=st.floats(-1, 10), batch=st.integers(1, 50)),
         lambda r, skewness, kurtosis, batch: (lambda s: (s.skewness[0], s.kurtosis[0]))(theory.stationary_shape([r], [skewness], [kurtosis], batch_size=batch, noise_share=[1.0])),
         lambda r, skewness, kurtosis, batch: shape_by_sums(r, skewness, kurtosis, batch), 1e-6),
]  # fmt: skip


def power_sums_by_loops(transition: Any, count: int) -> Any:
    """Fᵗ, Σ_{k<t} Fᵏ and Σ_{k<t} (t − k) Fᵏ, term by term."""
    powers = [np.linalg.matrix_power(transition, k) for k in range(count + 1)]
    return powers[-1], sum(powers[:-1]), sum((count - k) * powers[k] for k in range(count))


def kesten_by_bisection(multipliers: Any) -> Any:
    """Positive α with E m^α = 1."""
    logs = np.log(multipliers)
    if logs.mean() >= 0:
        return refuses("multipliers")
    if multipliers.max() <= 1:
        return math.inf
    low, high = 0.0, 1.0
    while np.exp(high * logs).mean() < 1:
        high *= 2
    low = high / 2
    if np.exp(low * logs).mean() >= 1:
        low = 1e-9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(middle * logs).mean() < 1 else (low, middle)
    return (low + high) / 2


def shape_by_sums(r: float, skewness: float, kurtosis: float, batch: int) -> Any:
    """θ = Σ (1 − r)ᵏ ε: cumulants of a sum of independent terms."""
    a, k = 1 - r, np.arange(20_000)
    weights = a**k
    second = (weights**2).sum()
    return skewness / math.sqrt(batch) * (weights**3).sum() / second**1.5, kurtosis / batch * (
        weights**4
    ).sum() / second**2
