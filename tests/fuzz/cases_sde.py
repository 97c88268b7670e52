"""SDE records: drift, covariance and parameters written out from the algorithm's step; moments by another solver."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from hypothesis import strategies as st
from matrices import MILD, SEEDS, definite, semidefinite
from scipy import integrate, special

from gradnoise import sde

SMALL = st.floats(-2, 0).map(lambda x: float(10**x))
DECAY = st.floats(0.5, 0.999)


@st.composite
def batches(draw: Any) -> dict[str, Any]:
    """Batch size, sampling and number of examples, never the whole of the data."""
    examples = draw(st.integers(3, 200))
    return {
        "batch_size": draw(st.integers(1, examples - 1)),
        "sampling": draw(st.sampled_from(["with_replacement", "without_replacement"])),
        "num_examples": examples,
    }


def factor(batch: dict[str, Any]) -> float:
    return ref.factor(batch["batch_size"], batch["sampling"], batch["num_examples"])


@st.composite
def places(draw: Any, parts: int, **more: Any) -> dict[str, Any]:
    """A quadratic, its noise (which may grow with the parameters), two states, a batch, and options."""
    H = draw(definite(spread=1.0, scale=MILD))
    d = len(H)
    r = np.random.default_rng(draw(SEEDS))
    state = r.standard_normal((2, parts * d))
    state[:, (parts - 1) * d :] = np.abs(state[:, (parts - 1) * d :]) + 0.1 if parts > 1 else state
    return {
        "H": H, "C": draw(semidefinite(d, scale=MILD)) + 0.01 * np.eye(d), "moving": draw(st.booleans()), "state": state, "batch": draw(batches()),
        "learning_rate": draw(SMALL), "time": draw(st.floats(0.01, 3)),
    } | {name: draw(s) for name, s in more.items()}  # fmt: skip


def noise_at(C: Any, moving: bool, x: Any) -> Any:
    return C * (1 + x @ x) if moving else C


def given_noise(C: Any, moving: bool) -> Any:
    return (lambda x: C * (1 + np.sum(x * x, -1))[..., None, None]) if moving else C


def read(law: Any, time: float, state: Any) -> Any:
    """Drift and covariance of two states at once, parameters, and the constants."""
    return law.drift(time, state), law.covariance(time, state), law.params(state), law.time_step, float(law.order), law.drift(time, state[0])  # fmt: skip


def stack(pairs: list[tuple[Any, Any, Any]], step: float, order: int) -> Any:
    drifts, covariances, params = zip(*pairs, strict=True)
    return np.array(drifts), np.array(covariances), np.array(params), step, float(order), drifts[0]


def padded(blocks: dict[tuple[int, int], Any], parts: int, d: int) -> Any:
    out = np.zeros((parts * d, parts * d))
    for (i, j), block in blocks.items():
        out[i * d : (i + 1) * d, j * d : (j + 1) * d] = block
    return out


def our_sgd(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, order: int, slope: float) -> Any:  # fmt: skip
    schedule = None if slope == 0 else (lambda t: math.exp(-slope * t), lambda t: -slope * math.exp(-slope * t))
    hessian = (lambda x: np.broadcast_to(H, (*x.shape, len(H)))) if moving else H
    law = sde.sgd(lambda x: x @ H, given_noise(C, moving), learning_rate=learning_rate, order=order, hessian=hessian, schedule=schedule, **batch)  # fmt: skip
    return read(law, time, state)


def right_sgd(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, order: int, slope: float) -> Any:  # fmt: skip
    """x − ηu(t) Hx in time η: the field b, less η/2 (∂ₜb + b·∇b) at second order."""
    u = math.exp(-slope * time)
    matrix = -u * H
    if order == 2:
        matrix = matrix - learning_rate / 2 * (slope * u * H + u * u * H @ H)
    return stack([(matrix @ x, u * u * learning_rate * factor(batch) * noise_at(C, moving, x), x) for x in state], learning_rate, order)  # fmt: skip


def inertia(kind: Any) -> Any:
    def call(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, order: int, mu: float) -> Any:  # fmt: skip
        law = kind(lambda x: x @ H, given_noise(C, moving), learning_rate=learning_rate, momentum=mu, order=order, hessian=H, **batch)  # fmt: skip
        return read(law, time, state)

    return call


def right_inertia(lookahead: bool) -> Any:
    """v ← v − h(γv + g), x ← x + hv: the field f, and at second order f + h(k − ½ Df f) with k what the step has beside."""

    def right(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, order: int, mu: float) -> Any:  # fmt: skip
        del time
        d, h = len(H), math.sqrt(learning_rate)
        eye, zero, gamma = np.eye(d), np.zeros((d, d)), (1 - mu) / h
        f = np.block([[zero, eye], [-H, -gamma * eye]])
        k = np.block([[-H, -gamma * eye], [zero, -H if lookahead else zero]])
        matrix = f if order == 1 else f + h * (k - f @ f / 2)
        a = mu * h if lookahead else 0.0
        return stack([
            (matrix @ z, padded({(1, 1): h * factor(batch) * noise_at(C, moving, z[:d])}, 2, d), z[:d] + a * z[d:]) for z in state
        ], h, order)  # fmt: skip

    return right


ADAPTIVE = {"b2": DECAY, "eps": st.sampled_from([0.0, 0.3])}
BOTH = ADAPTIVE | {"b1": DECAY, "bias_correction": st.booleans()}
DECAYED = {"weight_decay": st.sampled_from([0.0, 0.4])}
NAMES = ("b1", "b2", "eps", "bias_correction", "weight_decay")


def adaptive(kind: Any) -> Any:
    def call(
        H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, **rest: Any
    ) -> Any:
        law = kind(lambda x: x @ H, given_noise(C, moving), learning_rate=learning_rate, **batch, **rest)
        return read(law, time * learning_rate, state)

    return call


def right_dominated(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, b2: float, eps: float, b1: float | None = None, bias_correction: bool = False) -> Any:  # fmt: skip
    """Where noise dominates, time kη²: u is v in units of one example's noise."""
    d, eta, t = len(H), learning_rate, time * learning_rate
    s, c2 = eta * math.sqrt(factor(batch)), (1 - b2) / eta**2
    out = []
    for z in state:
        x, u = z[:d], z[-d:]
        noise, fresh = noise_at(C, moving, x), c2 * (np.diag(noise_at(C, moving, x)) - u)
        if b1 is None:
            pull = np.diag(1 / (s * np.sqrt(u) + eta * eps))
            out.append((np.r_[-pull @ H @ x, fresh], padded({(0, 0): s * s * pull @ noise @ pull}, 2, d), x))
            continue
        m, c1 = z[d : 2 * d], (1 - b1) / eta**2
        one, two = (1 - math.exp(-c1 * t), 1 - math.exp(-c2 * t)) if bias_correction else (1.0, 1.0)
        move = -math.sqrt(two) / one * m / (s * np.sqrt(u) + eta * eps * math.sqrt(two))
        out.append((np.r_[move, c1 * (H @ x - m), fresh], padded({(1, 1): (c1 * s) ** 2 * noise}, 3, d), x))
    return stack(out, eta**2, 1)


def right_decoupled(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float, b2: float, eps: float, weight_decay: float, b1: float | None = None, bias_correction: bool = False) -> Any:  # fmt: skip
    """Signal beside noise, time kη: v in units of a batch; Adam's step uses the new first moment."""
    d, eta, t = len(H), learning_rate, time * learning_rate
    rho2 = (1 - b2) / eta
    out = []
    for z in state:
        x, v = z[:d], z[-d:]
        S, g = factor(batch) * noise_at(C, moving, x), H @ x
        fresh = rho2 * (g * g + np.diag(S) - v)
        if b1 is None:
            pull = np.diag(1 / (np.sqrt(v) + eps))
            out.append((np.r_[-pull @ g - weight_decay * x, fresh], padded({(0, 0): eta * pull @ S @ pull}, 2, d), x))
            continue
        m, rho1 = z[d : 2 * d], (1 - b1) / eta
        one, two = (1 - math.exp(-rho1 * t), 1 - math.exp(-rho2 * t)) if bias_correction else (1.0, 1.0)
        pull = np.diag(math.sqrt(two) / one / (np.sqrt(v) + eps * math.sqrt(two)))
        new = b1 * m + (1 - b1) * g
        lead = -(1 - b1) * pull  # of a gradient's noise in a step
        blocks = {(0, 0): lead @ S @ lead, (0, 1): lead @ S * rho1, (1, 0): rho1 * S @ lead, (1, 1): rho1**2 * S}
        out.append((np.r_[-pull @ new - weight_decay * x, rho1 * (g - m), fresh], eta * padded(blocks, 3, d), x))
    return stack(out, eta, 1)


def our_signs(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float) -> Any:
    del moving
    unit = math.sqrt(np.diag(C).min() * factor(batch))  # a gradient below the noise, so that no sign is certain
    return read(sde.sign_sgd(lambda x: unit * np.tanh(x @ H), np.sqrt(np.diag(C)), learning_rate=learning_rate, **batch), time, state)  # fmt: skip


def right_signs(H: Any, C: Any, moving: bool, state: Any, batch: Any, learning_rate: float, time: float) -> Any:
    """Mean and variance of a sign that is +1 with probability Φ(g/s)."""
    del moving, time
    out = []
    for x in state:
        p = special.ndtr(np.tanh(H @ x) * np.sqrt(np.diag(C).min() / np.diag(C)))
        out.append((1 - 2 * p, np.diag(4 * learning_rate * p * (1 - p)), x))
    return stack(out, learning_rate, 1)


@st.composite
def flat_and_steep(draw: Any) -> dict[str, Any]:
    """Diagonal curvatures of any sign, some exactly 0."""
    r, d = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 4))
    rates = r.choice([0.0, 0.9, 0.4, 0.01, -0.3], d)
    return {"rates": rates, "C": draw(definite(dim=d, spread=1.0, scale=MILD)), "learning_rate": draw(SMALL), "batch": draw(batches())}  # fmt: skip


def exact(rates: Any, C: Any, learning_rate: float, batch: Any) -> Any:
    law = sde.sgd_exact(np.diag(rates / learning_rate), C, learning_rate=learning_rate, **batch)
    return law.transition(3 * law.time_step)


def three_steps(rates: Any, C: Any, learning_rate: float, batch: Any) -> Any:
    Q, fresh = np.diag(1 - rates), learning_rate**2 * C * factor(batch)
    return Q @ Q @ Q, fresh + Q @ fresh @ Q + Q @ Q @ fresh @ Q @ Q


@st.composite
def turning(draw: Any) -> dict[str, Any]:
    """A drift matrix that also turns."""
    H = draw(definite(spread=1.0, scale=MILD))
    W = np.random.default_rng(draw(SEEDS)).standard_normal(H.shape) * np.abs(H).max()
    return {"A": -H + W - W.T, "Q": draw(definite(dim=len(H), spread=1.0, scale=MILD))}


def balance(A: Any, Q: Any) -> Any:
    d = len(A)
    return np.linalg.solve(np.kron(A, np.eye(d)) + np.kron(np.eye(d), A), -Q.reshape(-1)).reshape(d, d)


@st.composite
def adaptive_moments(draw: Any, cold: bool | None) -> dict[str, Any]:
    r, d = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 3))
    a = {
        "curvature": r.uniform(0.3, 3, d), "gradient_variance": r.uniform(0.5, 3, d), "start": r.standard_normal(d), "learning_rate": draw(st.floats(0.05, 0.3)),
        "batch_size": draw(st.integers(1, 16)), "b2": draw(st.floats(0.7, 0.99)), "eps": draw(st.sampled_from([0.0, 0.2])), "time": draw(st.floats(0.05, 2)),
    }  # fmt: skip
    if cold is not True:
        a["second_moment"] = r.uniform(0.2, 2, d)
    return a if cold is None else a | {"b1": draw(st.floats(0.5, 0.95))}


def moments(kind: Any) -> Any:
    def call(**a: Any) -> Any:
        found = kind(**a)
        return found.mean + 1, found.second + 1, found.second_moment  # beside 1: what has died out is known to that

    return call


def moments_by_matrices(curvature: Any, gradient_variance: Any, start: Any, learning_rate: float, batch_size: int, b2: float, eps: float, time: float, second_moment: Any = None, b1: float | None = None) -> Any:  # fmt: skip
    """Each coordinate's linear SDE with a drift matrix of its own in time: d m = A m, d M = AM + MAᵀ + Q, by another solver."""
    eta, means, seconds, us = learning_rate, [], [], []
    s, c2 = eta / math.sqrt(batch_size), (1 - b2) / eta**2
    c1 = 0.0 if b1 is None else (1 - b1) / eta**2
    for k, (h, c, x) in enumerate(zip(curvature, gradient_variance, start, strict=True)):
        u0 = 0.0 if second_moment is None else second_moment[k]

        def slope(t: float, y: Any, h: float = h, c: float = c, u0: float = u0) -> Any:
            u = c + (u0 - c) * math.exp(-c2 * t) if u0 else -c * math.expm1(-c2 * t)
            two, one = (-math.expm1(-c2 * t), -math.expm1(-c1 * t)) if second_moment is None else (1.0, 1.0)
            p = (s * math.sqrt(u) + eta * eps * math.sqrt(two)) / math.sqrt(two) * one
            if b1 is None:
                A, Q = np.array([[-h / p]]), np.array([[s * s * c / p**2]])
            else:
                A, Q = np.array([[0, -1 / p], [c1 * h, -c1]]), np.diag([0, (c1 * s) ** 2 * c])
            n = len(A)
            M = y[n:].reshape(n, n)
            return np.r_[A @ y[:n], (A @ M + M @ A.T + Q).reshape(-1)]

        n = 1 if b1 is None else 2
        state = np.r_[x, np.zeros(n - 1)]
        first = 0.0 if second_moment is not None else 1e-9 / max(c1, c2)
        found = integrate.solve_ivp(slope, (first, time), np.r_[state, np.outer(state, state).reshape(-1)], method="DOP853" if second_moment is not None else "LSODA", rtol=1e-9, atol=1e-12).y[:, -1]  # fmt: skip
        means.append(found[0])
        seconds.append(found[n])
        us.append(c + (u0 - c) * math.exp(-c2 * time))
    return np.array(means) + 1, np.array(seconds) + 1, np.array(us)


ONE = {"curvature": MILD, "standard_deviation": MILD, "learning_rate": SMALL, "batch_size": st.integers(1, 50)}
ORDERS = {"order": st.sampled_from([1, 2])}

CASES = quick([
    Case("sde.sgd with a schedule", places(1, slope=st.sampled_from([0.0, 0.7]), **ORDERS), our_sgd, right_sgd, 1e-9),
    Case("sde.momentum", places(2, mu=st.floats(0, 0.95), **ORDERS), inertia(sde.momentum), right_inertia(False), 1e-9),
    Case("sde.nesterov", places(2, mu=st.floats(0, 0.95), **ORDERS), inertia(sde.nesterov), right_inertia(True), 1e-9),
    Case("sde.rmsprop", places(2, **ADAPTIVE), adaptive(sde.rmsprop), right_dominated, 1e-9),
    Case("sde.adam", places(3, **BOTH), adaptive(sde.adam), right_dominated, 1e-9),
    Case("sde.rmspropw", places(2, **ADAPTIVE, **DECAYED), adaptive(sde.rmspropw), right_decoupled, 1e-9),
    Case("sde.adamw", places(3, **BOTH, **DECAYED), adaptive(sde.adamw), right_decoupled, 1e-9),
    Case("sde.sign_sgd", places(1), our_signs, right_signs, 1e-9),
    Case("sde.sgd_exact of flat directions", flat_and_steep(), exact, three_steps, 1e-9),
    Case("sde.LinearSDE.stationary_covariance", turning(), lambda A, Q: sde.LinearSDE(A, Q, 0.1).stationary_covariance, balance, 1e-9),
    Case("sde.rmsprop_moments", adaptive_moments(None), moments(sde.rmsprop_moments), moments_by_matrices, few=4),
    Case("sde.adam_moments warm", adaptive_moments(False), moments(sde.adam_moments), moments_by_matrices, few=4),
    Case("sde.adam_moments cold", adaptive_moments(True), moments(sde.adam_moments), moments_by_matrices, few=4),
    Case("sde.rmsprop_variance", st.fixed_dictionaries(ONE | {"eps": st.sampled_from([0.0, 0.1, 2.0])}), sde.rmsprop_variance,
         lambda curvature, standard_deviation, learning_rate, batch_size, eps: (lambda p: balance(np.array([[-curvature / p]]), np.array([[learning_rate * standard_deviation**2 / batch_size / p**2]]))[0, 0])(standard_deviation / math.sqrt(batch_size) + eps), 1e-9),
    Case("sde.adamw_variance", st.fixed_dictionaries(ONE | {"weight_decay": st.sampled_from([0.0, 0.5, 3.0])}), sde.adamw_variance,
         lambda curvature, standard_deviation, learning_rate, batch_size, weight_decay: balance(np.array([[-curvature * math.sqrt(batch_size) / standard_deviation - weight_decay]]), np.array([[learning_rate]]))[0, 0], 1e-9),
])  # fmt: skip
