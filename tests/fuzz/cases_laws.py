"""Stationary laws with momentum, Nesterov, a preconditioner, every sampling and both times: linear systems, and all orders of an epoch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from hypothesis import strategies as st
from matrices import MILD, SEEDS, definite, semidefinite, vector
from scipy import linalg

from gradnoise import theory
from gradnoise.theory.linear import chain as chains

MU = st.one_of(st.just(0.0), st.floats(0.1, 0.9))


@st.composite
def settings(draw: Any, momentum: Any = MU, plain: bool = False, low: float = 0.05, **more: Any) -> dict[str, Any]:
    """H, C, a stable rate, a batch and how it is drawn, momentum, and sometimes a preconditioner."""
    H = draw(definite(spread=1.0, scale=MILD))
    d, mu = len(H), draw(momentum)
    nesterov = mu > 0 and not plain and draw(st.booleans())
    P = draw(definite(dim=d, spread=1.0, scale=MILD)) if draw(st.booleans()) and not plain else None
    top = np.linalg.eigvals(H if P is None else P @ H).real.max()
    edge = 2 * (1 + mu) / top / ((1 + 2 * mu) if nesterov else 1)
    examples = draw(st.integers(3, 300))
    out = {
        "hessian": H, "gradient_covariance": draw(semidefinite(d, scale=MILD)) + 0.01 * np.eye(d), "learning_rate": float(edge * draw(st.floats(low, 0.9))), "momentum": mu,
        "batch_size": draw(st.integers(1, examples - 1)), "sampling": draw(st.sampled_from(["with_replacement", "without_replacement"])), "num_examples": examples,
    }  # fmt: skip
    if not plain:
        out |= {"nesterov": nesterov, "preconditioner": P}
    return out | {name: draw(s(d) if callable(s) else s) for name, s in more.items()}


def noise_of(a: dict[str, Any]) -> Any:
    return a["gradient_covariance"] * ref.factor(a["batch_size"], a["sampling"], a["num_examples"])


def state_of(injected: Any = None, **a: Any) -> Any:
    """F and the covariance of (θ, m), or of θ alone."""
    P = a.get("preconditioner")
    return ref.state_law(a["hessian"], noise_of(a), a["learning_rate"], a["momentum"], a.get("nesterov", False), P, injected)  # fmt: skip


def covariance(**a: Any) -> Any:
    d = len(a["hessian"])
    return state_of(**a)[1][:d, :d]


def flow(**a: Any) -> tuple[Any, Any]:
    """Drift matrix and stationary covariance of (θ, u = dθ/dt) with friction 1 − μ, or of θ where μ = 0; time in steps."""
    H, mu, d = a["hessian"], a["momentum"], len(a["hessian"])
    P = a["learning_rate"] * (np.eye(d) if a.get("preconditioner") is None else a["preconditioner"])
    Q = P @ noise_of(a) @ P
    A = -P @ H
    if mu > 0:
        A = np.block([[np.zeros((d, d)), np.eye(d)], [A, -(1 - mu) * np.eye(d)]])
        Q = linalg.block_diag(np.zeros((d, d)), Q)
    one = np.eye(len(A))
    return A, np.linalg.solve(np.kron(A, one) + np.kron(one, A), -Q.reshape(-1)).reshape(len(A), len(A))


def continuous(**a: Any) -> Any:
    d = len(a["hessian"])
    return flow(**a)[1][:d, :d]


def joint(time: str) -> Any:
    def call(**a: Any) -> Any:
        found = theory.position_velocity_law(**a, time=time)
        return found.position, found.velocity, found.cross + np.abs(found.position).max()  # antisymmetric: beside 1

    return call


def right_joint(time: str) -> Any:
    def right(**a: Any) -> Any:
        d = len(a["hessian"])
        if time == "continuous":
            Z = flow(**a)[1]
            return Z[:d, :d], Z[d:, d:], Z[:d, d:] + np.abs(Z[:d, :d]).max()
        F, Z = state_of(**a)
        ahead = (F @ Z)[:d, :d]  # Cov(θ', θ)
        Z = Z[:d, :d]
        return Z, 2 * Z - ahead - ahead.T, Z - ahead + np.abs(Z).max()

    return right


def memory(lag: float, **a: Any) -> Any:
    A, Z = flow(**a)
    d = len(a["hessian"])
    full = (linalg.expm(A * abs(lag)) @ Z)[:d, :d]
    return full if lag >= 0 else full.T


def without(a: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in a.items() if name not in names}


def temperatures(law: Any) -> Any:
    def right(**a: Any) -> Any:
        values, vectors = np.linalg.eigh(a["hessian"])
        return values * np.diag(vectors.T @ law(**a) @ vectors)

    return right


# chains


def our_chain(read: Any, *names: str) -> Any:
    def call(**a: Any) -> Any:
        return read(theory.linear_chain(**without(a, *names)), *(a[name] for name in names))

    return call


def quadratic_times(F: Any, Z: Any, d: int, thin: int = 1) -> tuple[float, float]:
    """Worst linear and worst quadratic autocorrelation time, from Σ over lags of Γ and of Γ ⊗ Γ, Γ whitened."""
    F = np.linalg.matrix_power(F, thin)
    n, R = len(F), np.eye(d, len(F))
    root = np.linalg.inv(np.linalg.cholesky(Z[:d, :d]))
    linear = np.linalg.solve(np.eye(n) - F, F @ Z)
    linear = root @ R @ (linear + linear.T + Z) @ R.T @ root.T
    left, right = np.kron(root @ R, root @ R), np.kron(Z @ R.T @ root.T, Z @ R.T @ root.T)
    ahead = left @ np.linalg.solve(np.eye(n * n) - np.kron(F, F), np.kron(F, F) @ right)
    whole = np.eye(d * d) + ahead + ahead.T
    swap = np.eye(d * d).reshape(d, d, d, d).transpose(1, 0, 2, 3).reshape(d * d, d * d)
    kept = (np.eye(d * d) + swap) / 2  # on symmetric forms
    return float(np.linalg.eigvalsh(linear)[-1]), float(np.linalg.eigvalsh(kept @ whole @ kept)[-1])


def worst(thin: int, **a: Any) -> Any:
    F, Z = state_of(**a)
    return quadratic_times(F, Z, len(a["hessian"]), thin)


def our_worst(chain: Any, thin: int) -> Any:
    return chain.worst_iact(thin=thin), chain.worst_iact(quadratic=True, thin=thin)


def form_time(form: Any, thin: int, **a: Any) -> float:
    """Of θᵀAθ: Σ of tr(A Γ A Γᵀ) over lags, by the Kronecker system."""
    F, Z = state_of(**a)
    d, n = len(a["hessian"]), len(F)
    A = np.zeros((n, n))
    A[:d, :d] = form
    F = np.linalg.matrix_power(F, thin)
    seed = (Z @ A @ Z).reshape(-1)
    later = np.linalg.solve(np.eye(n * n) - np.kron(F, F), np.kron(F, F) @ seed)
    return float(1 + 2 * (A.reshape(-1) @ later) / (A.reshape(-1) @ seed))


def symmetric(d: int) -> Any:
    return st.builds(lambda s: (lambda A: A + A.T + 3 * np.eye(d))(np.random.default_rng(s).standard_normal((d, d))), SEEDS)  # fmt: skip


def samples(chain: Any, direction: Any) -> float:
    return chain.effective_sample_size(direction, 300, 4) + chain.effective_sample_size(direction, 300, quadratic=True)


def overshooting(a: dict[str, Any]) -> dict[str, Any]:
    """Curvatures within a third of one another, and a rate of 1.5 to 1.9 over the largest."""
    H = a["hessian"]
    H = H + 3 * np.eye(len(H)) * np.linalg.eigvalsh(H)[-1]
    top = np.linalg.eigvalsh(H)[-1]
    share = 1.5 + 0.4 * (a["batch_size"] % 8) / 8
    return a | {"hessian": H, "learning_rate": float(share / top), "preconditioner": None}


def right_samples(direction: Any, **a: Any) -> float:
    F, Z = state_of(**a)
    d = len(a["hessian"])
    tau = direction @ ref.long_run(F, Z, d) @ direction / (direction @ Z[:d, :d] @ direction)
    return 1200 / tau + 300 / form_time(np.outer(direction, direction), 1, **a)


def batch_means(chain: Any, direction: Any, length: int) -> Any:
    found = theory.batch_means_error(chain, direction, num_steps=1000, length=length)
    free = theory.batch_means_error(chain, direction, num_steps=1000)
    return found.constant, found.bias * length, found.exact_bias + 1, found.standard_error, float(free.length)


def right_batch_means(direction: Any, length: int, **a: Any) -> Any:
    """Bias of batch means 2 Σ k γ_k / Σ γ_k over all lags, by the powers of F; the variance of a batch's mean by its double sum."""
    F, Z = state_of(**a)
    d, n = len(a["hessian"]), len(F)
    long_run = direction @ ref.long_run(F, Z, d) @ direction
    inverse = np.linalg.inv(np.eye(n) - F)
    weighted = direction @ (inverse @ inverse @ F @ Z)[:d, :d] @ direction
    constant = 2 * weighted / long_run
    exact = length * (direction @ ref.window_average(F, Z, d, length) @ direction) / long_run
    best = max(1, min(round((constant * constant * 1000) ** (1 / 3)), 500))
    return constant, -constant, exact, math.sqrt(length / 500), float(best)


def with_injection(**a: Any) -> Any:
    return theory.linear_chain(**a).covariance


def right_injection(injected: Any, **a: Any) -> Any:
    d = len(a["hessian"])
    return state_of(injected, **a)[1][:d, :d]


@st.composite
def modal(draw: Any) -> dict[str, Any]:
    d, mu = draw(st.integers(1, 3)), draw(MU)
    nesterov = mu > 0 and draw(st.booleans())
    edge = 2 * (1 + mu) / ((1 + 2 * mu) if nesterov else 1)
    r = np.random.default_rng(draw(SEEDS))
    return {
        "rates": r.uniform(0.05, 0.9, d) * edge, "noise": draw(semidefinite(d, scale=MILD)), "injected": draw(semidefinite(d, scale=MILD)), "momentum": mu,
        "nesterov": nesterov,
    }  # fmt: skip


def right_modal(rates: Any, noise: Any, injected: Any, momentum: float, nesterov: bool) -> Any:
    d = len(rates)
    return ref.state_law(np.diag(rates), noise, 1.0, momentum, nesterov, None, injected)[1][:d, :d]


# epochs


@st.composite
def epochs(draw: Any, unit: bool = False) -> dict[str, Any]:
    examples = draw(st.integers(2, 5))
    a = draw(settings(low=0.1))
    d = len(a["hessian"])
    g = np.random.default_rng(draw(SEEDS)).standard_normal((examples, 1 if unit else d))
    g = g - g.mean(0)
    if unit:  # all directions alike, of variance 1
        g = np.repeat(g / g.std(), d, axis=1)
        H = np.diag(np.linalg.eigvalsh(a["hessian"]) / np.abs(a["hessian"]).max())
        edge = 2 * (1 + a["momentum"]) / H.max() / ((1 + 2 * a["momentum"]) if a["nesterov"] else 1)
        a |= {"hessian": H * edge * draw(st.floats(0.1, 0.9)), "learning_rate": 1.0, "preconditioner": None}
    batch = draw(st.integers(1, examples))
    steps = -(-examples // batch) if not (drop := draw(st.booleans())) else examples // batch
    return without(a, "gradient_covariance", "num_examples", "sampling", "batch_size") | {"gradients": g, "batch_size": batch, "drop_last": drop, "position": draw(st.sampled_from(["mean", "end", *range(steps + 1)]))}  # fmt: skip


def all_orders(hessian: Any, gradients: Any, learning_rate: float, batch_size: int, momentum: float, nesterov: bool, preconditioner: Any, drop_last: bool, **_: Any) -> Any:  # fmt: skip
    """F, the states of every order after 0 … n steps from zero; states of (θ, m)."""
    F, G = ref.transition(hessian, learning_rate, momentum, nesterov, preconditioner)
    orders = np.array(list(itertools.permutations(range(len(gradients)))))
    z, path = np.zeros((len(orders), len(F))), []
    for begin in range(0, len(gradients), batch_size):
        rows = orders[:, begin : begin + batch_size]
        if rows.shape[1] < batch_size and drop_last:
            break
        path.append(z)
        z = z @ F.T + gradients[rows].mean(1) @ G.T
    return F, [*path, z]


def second(z: Any) -> Any:
    return z.T @ z / len(z)


def epoch_law(**a: Any) -> Any:
    F, path = all_orders(**a)
    d, n, power = len(a["hessian"]), len(path) - 1, np.linalg.matrix_power
    end = ref.fixed_point(power(F, n), second(path[-1]))
    after = [power(F, k) @ end @ power(F, k).T + second(path[k]) for k in range(n + 1)]
    where = a["position"]
    found = after[-1] if where == "end" else sum(after[1:]) / n if where == "mean" else after[where]
    return found[:d, :d] + epoch_unit(**a)


def epoch_unit(hessian: Any, gradients: Any, **_: Any) -> float:
    """What rounding leaves of a law that is zero is beside this: the whole data in one batch have no noise."""
    return float((gradients**2).sum(1).mean() / np.abs(hessian).max() ** 2 / 100)


def epoch_average(**a: Any) -> Any:
    F, path = all_orders(**a)
    d, n, power = len(a["hessian"]), len(path) - 1, np.linalg.matrix_power
    end = ref.fixed_point(power(F, n), second(path[-1]))
    M = sum(power(F, k) for k in range(1, n + 1)) / n
    return (M @ end @ M.T + second(sum(path[1:]) / n))[:d, :d] + epoch_unit(**a)


def one_order(**a: Any) -> Any:
    """Each order read for ever."""
    F, path = all_orders(**a)
    d = len(a["hessian"])
    gap = np.eye(len(F)) - np.linalg.matrix_power(F, len(path) - 1)
    return second(np.linalg.solve(gap, path[-1].T).T)[:d, :d] + epoch_unit(**a)


def epoch_call(function: Any, *left_out: str, **fixed: Any) -> Any:
    def call(gradients: Any, **a: Any) -> Any:
        n = len(gradients)
        return function(gradient_covariance=gradients.T @ gradients / n, num_examples=n, **without(a, *left_out), **fixed) + epoch_unit(gradients=gradients, **a)  # fmt: skip

    return call


def weights(gradients: Any, hessian: Any, **a: Any) -> Any:
    found = theory.shuffled_weights(np.diag(hessian), num_examples=len(gradients), **without(a, "learning_rate", "preconditioner"))  # fmt: skip
    return found + epoch_unit(hessian, gradients)


def right_epoch_noise(gradients: Any, batch_size: int, lag: int, drop_last: bool) -> Any:
    """Noise of every step of every order times that `lag` later; another epoch's is independent."""
    orders = np.array(list(itertools.permutations(range(len(gradients)))))
    kept = len(gradients) // batch_size * batch_size if drop_last else len(gradients)
    xi = [gradients[orders[:, b : min(b + batch_size, kept)]].mean(1) for b in range(0, kept, batch_size)]
    total = sum((xi[k + lag].T @ xi[k] for k in range(len(xi) - lag)), np.zeros((gradients.shape[1],) * 2))
    return total / len(orders) / len(xi) + (gradients**2).mean()


def our_epoch_noise(gradients: Any, batch_size: int, lag: int, drop_last: bool) -> Any:
    n = len(gradients)
    return theory.epoch_noise_autocovariance(gradients.T @ gradients / n, num_examples=n, batch_size=batch_size, lag=lag, drop_last=drop_last) + (gradients**2).mean()  # fmt: skip


EDGE = ("hessian", "momentum", "nesterov", "preconditioner")


def edges(learning_rate: float, **a: Any) -> Any:
    rest = {name: a[name] for name in EDGE}
    times = theory.relaxation_times(learning_rate=learning_rate, **rest)
    radii = np.exp(-1 / np.maximum(times, 1e-3))  # a step that forgets all has the time 0
    return theory.stability_edge(**rest), theory.stability_fraction(learning_rate=learning_rate, **rest), 1 + radii


def right_edges(hessian: Any, momentum: float, nesterov: bool, preconditioner: Any, learning_rate: float, **_: Any) -> Any:  # fmt: skip
    """In the square root of P all is symmetric; a mode's memory is the radius of its recursion."""
    root = np.eye(len(hessian)) if preconditioner is None else linalg.sqrtm(preconditioner).real
    inner = root @ hessian @ root
    edge = ref.edge_by_bisection(inner, momentum, nesterov)
    radii = [max(np.abs(np.linalg.eigvals(ref.transition(np.array([[h]]), learning_rate, momentum, nesterov)[0]))) for h in np.linalg.eigvalsh(inner)]  # fmt: skip
    return edge, learning_rate / edge, 1 + np.array(radii)


def newton(**a: Any) -> Any:
    return theory.newton_covariance(**a | {"learning_rate": 0.7})


def right_newton(**a: Any) -> Any:
    return covariance(**a | {"learning_rate": 0.7, "preconditioner": np.linalg.inv(a["hessian"])})


@st.composite
def regressions(draw: Any) -> dict[str, Any]:
    return {"hessian": draw(definite(spread=1.0, scale=MILD)), "label_variance": draw(MILD), "batch_size": draw(st.integers(1, 30)), "momentum": draw(MU), "share": draw(st.floats(0.05, 0.9))}  # fmt: skip


def one_mode(rate: float, mu: float) -> float:
    """Variance per noise of a direction of curvature 1."""
    return float(ref.sgd_law(np.eye(1), np.eye(1), rate, 1.0, mu)[0, 0])


def newton_edge(d: int, batch: int, mu: float) -> float:
    """Where the noise that the spread makes, (1 + D)/B of it, keeps the spread up."""
    low, high = 0.0, 2 * (1 + mu)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if one_mode(middle, mu) * (1 + d) / batch < 1 else (low, middle)
    return low


def our_newton_regression(share: float, **a: Any) -> Any:
    rate = share * newton_edge(len(a["hessian"]), a["batch_size"], a["momentum"])
    return theory.newton_regression_covariance(**a, learning_rate=rate)


def right_newton_regression(share: float, hessian: Any, label_variance: float, batch_size: int, momentum: float) -> Any:
    d = len(hessian)
    unit = one_mode(share * newton_edge(d, batch_size, momentum), momentum) / batch_size
    return unit * label_variance / (1 - unit * (1 + d)) * np.linalg.inv(hessian)


def natural(share: float, **a: Any) -> Any:
    found = theory.natural_gradient_law(**a, learning_rate=share)
    return found.covariance, found.scale, found.validity


def right_natural(share: float, hessian: Any, label_variance: float, batch_size: int, momentum: float) -> Any:
    """Σ = sH⁻¹ under the rate η/(σ² + (1 + D)s) that the Fisher matrix there makes of η, noise (σ² + (1 + D)s)/B: the root by bisection."""
    d, low, high = len(hessian), -40.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        s = math.exp(middle)
        fisher = label_variance + (1 + d) * s
        rate = share / fisher
        stable = rate < 2 * (1 + momentum)
        low, high = (middle, high) if not stable or one_mode(rate, momentum) * fisher / batch_size > s else (low, middle)  # fmt: skip
    s = math.exp(low)
    return s * np.linalg.inv(hessian), s, s * (1 + d) / label_variance


def stays(num_params: int, learning_rate: float, batch_size: int) -> float:
    """E 1/q such that E q stays after θ ← θ − ηθ/2q and noise of covariance η²(q + θθᵀ)⁻¹/B: what a step adds at q = 1."""
    x = np.eye(num_params)[0]
    added = np.trace(np.linalg.inv(np.eye(num_params) + np.outer(x, x))) / batch_size + 1 / 4  # of η²/q
    return 1 / (learning_rate * added)


CASES = quick([
    Case("stationary_covariance, every argument", settings(), theory.stationary_covariance, covariance),
    Case("stationary_covariance continuous, every argument", settings(), lambda **a: theory.stationary_covariance(**a, time="continuous"), continuous),
    Case("position_velocity_law, every argument", settings(), joint("discrete"), right_joint("discrete")),
    Case("position_velocity_law continuous", settings(momentum=st.floats(0.1, 0.9)), joint("continuous"), right_joint("continuous")),
    Case("continuous_autocovariance, every argument", settings(lag=st.floats(-30, 30)), lambda nesterov, **a: theory.continuous_autocovariance(**a) / np.abs(a["gradient_covariance"]).max() + np.abs(continuous(**a)).max(),
         lambda **a: memory(**a) / np.abs(a["gradient_covariance"]).max() + np.abs(continuous(**a)).max()),
    Case("effective_temperature, every argument", settings(plain=True), theory.effective_temperature, temperatures(covariance)),
    Case("effective_temperature continuous", settings(plain=True), lambda **a: theory.effective_temperature(**a, time="continuous"), temperatures(continuous)),
    Case("oscillation_frequencies continuous", settings(plain=True, momentum=st.floats(0.1, 0.9)), lambda hessian, learning_rate, momentum, **_: theory.oscillation_frequencies(hessian, learning_rate=learning_rate, momentum=momentum, time="continuous") + 1,
         lambda hessian, learning_rate, momentum, **_: np.array([abs(np.roots([1 + momentum, 2 * (1 - momentum) / 2 * 2, 2 * learning_rate * h]).imag.max()) for h in np.linalg.eigvalsh(hessian)]) + 1, 1e-5),
    Case("edges and memories, every argument", settings(), edges, right_edges, 1e-5),
    Case("long_run_bound, every sampling", settings(plain=True), lambda hessian, gradient_covariance, batch_size, sampling, num_examples, **_: theory.long_run_bound(hessian, gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples),
         lambda **a: (lambda F, Z: ref.long_run(F, Z, len(a["hessian"])))(*state_of(**a))),
    Case("hessian_regression_error, every sampling", settings(plain=True, momentum=st.just(0.0)), lambda momentum, **a: theory.hessian_regression_error(**a, num_steps=500),
         lambda **a: np.sqrt(np.outer(np.diag(noise_of(a)), np.diag(np.linalg.inv(covariance(**a)))) / 500)),
    Case("linear_chain with injected noise", settings(injected=lambda d: semidefinite(d, scale=MILD)), with_injection, right_injection),
    Case("linear_chain.autocovariance, negative lags", settings(lag=st.integers(-9, 0)), our_chain(lambda c, lag: c.autocovariance(lag) + np.abs(c.covariance).max(), "lag"),
         lambda lag, **a: (lambda F, Z, d: (np.linalg.matrix_power(F, -lag) @ Z)[:d, :d].T + np.abs(Z[:d, :d]).max())(*state_of(**a), len(a["hessian"]))),
    Case("linear_chain.worst_iact", settings(thin=st.integers(1, 3)), our_chain(our_worst, "thin"), worst, 1e-5),
    # where every step overshoots, squares remember longer
    Case("longest_memory of overshooting", settings(momentum=st.just(0.0)).map(overshooting), our_chain(chains.longest_memory), lambda **a: max(worst(1, **a)), 1e-5),
    Case("longest_memory", settings(), our_chain(chains.longest_memory), lambda **a: max(worst(1, **a)), 1e-5),
    Case("linear_chain.iact of a form", settings(form=symmetric, thin=st.integers(1, 3)), our_chain(lambda c, form, thin: c.iact(form, quadratic=True, thin=thin), "form", "thin"), form_time),
    Case("linear_chain.effective_sample_size", settings(direction=lambda d: vector(d)), our_chain(samples, "direction"), right_samples, 1e-6),
    Case("linear_chain.relaxation_time", settings(), our_chain(lambda c: 1 + math.exp(-1 / max(c.relaxation_time, 1e-3))), lambda **a: 1 + np.abs(np.linalg.eigvals(state_of(**a)[0])).max(), 1e-5),
    Case("batch_means_error", settings(low=0.2, momentum=st.just(0.0), direction=lambda d: vector(d), length=st.integers(1, 30)), our_chain(batch_means, "direction", "length"), right_batch_means, 1e-5),
    Case("mode_covariance", modal(), theory.mode_covariance, right_modal),
    Case("continuous_covariance", modal(), lambda rates, noise, injected, **_: theory.continuous_covariance(rates, noise, injected=injected), lambda rates, noise, injected, **_: linalg.solve_continuous_lyapunov(np.diag(rates), noise + injected)),
    Case("shuffled_covariance, every argument", epochs(), epoch_call(theory.shuffled_covariance), epoch_law),
    Case("stationary_covariance shuffled, every argument", epochs(), epoch_call(theory.stationary_covariance, sampling="shuffled"), epoch_law),
    Case("shuffled_weights", epochs(unit=True), weights, epoch_law),
    Case("epoch_average_covariance", epochs(), epoch_call(theory.epoch_average_covariance, "position"), epoch_average),
    Case("fixed_order_covariance, every argument", epochs(), epoch_call(theory.fixed_order_covariance, "position"), one_order),
    Case("epoch_noise_autocovariance of a rest", epochs().flatmap(lambda a: st.integers(0, 5).map(lambda lag: {k: a[k] for k in ("gradients", "batch_size", "drop_last")} | {"lag": lag})), our_epoch_noise, right_epoch_noise),
    Case("newton_covariance, every argument", settings(plain=True), newton, right_newton),
    Case("newton_regression_covariance with momentum", regressions(), our_newton_regression, right_newton_regression),
    Case("natural_gradient_inverse_moment", st.fixed_dictionaries({"num_params": st.integers(3, 9), "learning_rate": MILD, "batch_size": st.integers(1, 50)}), theory.natural_gradient_inverse_moment, stays),
    Case("natural_gradient_law", regressions(), natural, right_natural, 1e-5),
])  # fmt: skip
