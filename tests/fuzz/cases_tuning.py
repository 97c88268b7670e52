"""Tuned settings: the law they give, and that no neighbouring setting is better, by a law and a divergence of our own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from cases_laws import MU, continuous, covariance, quadratic_times, without
from hypothesis import strategies as st
from matrices import MILD, definite
from scipy import linalg

from gradnoise import theory

NUDGE = 1e-4


@st.composite
def problems(draw: Any, momentum: Any = MU, share: Any = None, **more: Any) -> dict[str, Any]:
    """H, and a C that makes a batch's noise 1 to 100 times the curvature of an example; N, B, momentum, sampling."""
    H = draw(definite(spread=1.0, scale=MILD))
    d, examples = len(H), draw(st.integers(20, 5000))
    batch, sampling = draw(st.integers(1, examples // 2)), draw(st.sampled_from(["with_replacement", "without_replacement"]))  # fmt: skip
    ratio = 10 ** draw(st.floats(0, 2) if share is None else share)
    C = draw(definite(dim=d, spread=1.0, scale=st.just(1.0))) * np.abs(H).max() * ratio / examples / ref.factor(batch, sampling, examples)  # fmt: skip
    out = {"hessian": H, "gradient_covariance": C, "num_examples": examples, "batch_size": batch, "sampling": sampling}
    if momentum is not None:
        out["momentum"] = draw(momentum)
    return out | {name: draw(s(d) if callable(s) else s) for name, s in more.items()}


def target(hessian: Any, num_examples: int, **_: Any) -> Any:
    return np.linalg.inv(hessian) / num_examples


def law(P: Any, time: str = "discrete", **a: Any) -> Any:
    """Stationary covariance under the preconditioner P, which holds the rate."""
    setting = {"momentum": 0.0} | a | {"learning_rate": 1.0, "preconditioner": P, "nesterov": False}
    return continuous(**setting) if time == "continuous" else covariance(**setting)


def posterior_and_slopes(P: Any, moved: Any, time: str, reverse: bool = False, **a: Any) -> Any:
    """d KL/d ln of every free number of P, by central differences; 0 at the best, here beside 1."""
    wanted = target(**a)

    def divergence(x: Any) -> float:
        found = law(moved(P, x), time, **a)
        return ref.kl(wanted, found) if reverse else ref.kl(found, wanted)

    count = len(P) if moved is scaled_rows else 1
    steps = np.eye(count) * NUDGE
    return 1 + np.array([(divergence(s) - divergence(-s)) / 2 / NUDGE for s in steps])


def scaled_whole(P: Any, x: Any) -> Any:
    return P * math.exp(x[0])


def scaled_rows(P: Any, x: Any) -> Any:
    return P * np.exp(x)[:, None] ** 0.5 * np.exp(x) ** 0.5


KIND = st.sampled_from(["full", "diagonal", "scalar", "sqrt"])


def tuned(kind: str, **a: Any) -> Any:
    """What is left of dKL, or the posterior itself for kind full; and the shape of the kind."""
    P = theory.optimal_preconditioner(**a, kind=kind)
    if kind == "full":
        return law(P, **a) / np.abs(target(**a)).max()
    shape = np.ones(len(P)) if kind == "diagonal" else np.diag(P) / P[0, 0]
    slopes = posterior_and_slopes(P, scaled_rows if kind == "diagonal" else scaled_whole, "discrete", **a)
    return slopes, shape, P - np.diag(np.diag(P)) + 1


def right_tuned(kind: str, **a: Any) -> Any:
    d = len(a["hessian"])
    if kind == "full":
        return target(**a) / np.abs(target(**a)).max()
    C = np.diag(a["gradient_covariance"])
    shape = np.sqrt(C[0] / C) if kind == "sqrt" else np.ones(d)
    return np.ones(d if kind == "diagonal" else 1), shape, np.ones((d, d))


def noise(**a: Any) -> Any:
    return a["gradient_covariance"] * ref.factor(a["batch_size"], a["sampling"], a["num_examples"])


def tuned_continuous(**a: Any) -> Any:
    """Full: the posterior in continuous time; the other kinds by their formulas, of size one."""
    S, N = noise(**a), a["num_examples"] / (1 - a["momentum"])
    full, scalar, closed, root = (theory.optimal_preconditioner(**a, kind=k, time="continuous") for k in ("full", "scalar", "diagonal_closed", "sqrt"))  # fmt: skip
    d = np.sqrt(np.diag(S))
    return law(full, "continuous", **a) / np.abs(target(**a)).max(), np.trace(scalar @ S) * N, np.diag(closed @ S) * N, np.trace(root @ S) * N + np.ptp(np.diag(root) * d)  # fmt: skip


def right_tuned_continuous(**a: Any) -> Any:
    d = len(a["hessian"])
    return target(**a) / np.abs(target(**a)).max(), 2.0 * d, np.full(d, 2.0), 2.0 * d


def diagonal_continuous(**a: Any) -> Any:
    P = theory.optimal_preconditioner(**a, kind="diagonal", time="continuous")
    return posterior_and_slopes(P, scaled_rows, "continuous", **a)


def best_rate(time: str) -> Any:
    def call(shape: Any, **a: Any) -> Any:
        rate = theory.optimal_learning_rate(**without(a, "hessian"), hessian=a["hessian"], preconditioner=shape, time=time)  # fmt: skip
        if time == "continuous" and a["momentum"]:  # the formula's optimum is at a fixed ratio of rate and friction
            return np.array([rate * np.trace(shape @ noise(**a)) * a["num_examples"] / (2 * len(shape) * (1 - a["momentum"]))])  # fmt: skip
        return posterior_and_slopes(rate * shape, scaled_whole, time, **a)

    return call


def reverse_rate(time: str) -> Any:
    def call(**a: Any) -> Any:
        rate = theory.reverse_learning_rate(**a, time=time)
        if (
            time == "continuous" and a["momentum"]
        ):  # small steps: the law is that of the rate η/(1 − μ) without momentum
            a, rate = a | {"momentum": 0.0}, rate / (1 - a["momentum"])
        return posterior_and_slopes(rate * np.eye(len(a["hessian"])), scaled_whole, time, True, **a)

    return call


def corrected(fraction: float, **a: Any) -> Any:
    """Noise added to the gradient at a share of the largest preconditioner: the posterior."""
    N, mu = a["num_examples"], a["momentum"]
    P = fraction * 2 * (1 - mu) * np.linalg.inv((1 - mu) / (1 + mu) * a["hessian"] + N * noise(**a))
    E = theory.langevin_correction(**a, preconditioner=P)
    return law(P, **a | {"gradient_covariance": (noise(**a) + E) * N, "batch_size": N, "sampling": "with_replacement"}) * N  # fmt: skip


def corrected_tuning(fraction: float, **a: Any) -> Any:
    found = theory.corrected_langevin_tuning(**a, fraction=fraction)
    Z = ref.state_law(a["hessian"], noise(**a), 1.0, 0.0, False, found.preconditioner, found.injected_covariance)[1]
    slow = 1 - np.linalg.eigvals(found.preconditioner @ a["hessian"]).real
    injected = np.linalg.eigvalsh(found.injected_covariance)[0] * a["num_examples"] * np.abs(a["hessian"]).max()
    return Z * a["num_examples"] * np.abs(a["hessian"]).max(), slow, found.eta / found.eta_max, math.exp(-1 / found.relaxation_time), 1 + min(injected, 0.0), found.eta_max  # fmt: skip


def right_corrected_tuning(fraction: float, **a: Any) -> Any:
    d = len(a["hessian"])
    most = 2 / (1 + a["num_examples"] * linalg.eigvals(noise(**a), a["hessian"]).real.max())
    left = 1 - fraction * most
    return np.linalg.inv(a["hessian"]) * np.abs(a["hessian"]).max(), np.full(d, left), fraction, abs(left), 1.0, most


@st.composite
def langevins(draw: Any, **more: Any) -> dict[str, Any]:
    a = draw(problems(momentum=None, **more))
    d = len(a["hessian"])
    P = draw(definite(dim=d, spread=1.0, scale=st.just(1.0))) if draw(st.booleans()) else None
    top = np.linalg.eigvals(a["hessian"] if P is None else P @ a["hessian"]).real.max()
    return a | {"preconditioner": P, "step_size": float(draw(st.floats(0.05, 0.9)) * 4 / a["num_examples"] / top)}


def langevin_parts(**a: Any) -> tuple[Any, Any]:
    """Law of full gradients and of minibatches, with εP injected, by the linear system."""
    d, N, eps = len(a["hessian"]), a["num_examples"], a["step_size"]
    P = np.eye(d) if a["preconditioner"] is None else a["preconditioner"]
    whole, full = (ref.state_law(a["hessian"], S, eps * N / 2, 0.0, False, P, eps * P)[1] for S in (noise(**a), np.zeros((d, d))))  # fmt: skip
    return whole, full


def langevin_continuous(**a: Any) -> Any:
    P = np.eye(len(a["hessian"])) if a["preconditioner"] is None else a["preconditioner"]
    Q = a["step_size"] * a["num_examples"] / 2 * P
    A = Q @ a["hessian"]
    return linalg.solve_continuous_lyapunov(A, Q @ noise(**a) @ Q + a["step_size"] * P)


def errors(**a: Any) -> Any:
    found = theory.langevin_error(**a)
    return found.discretisation, found.minibatch, found.relative


def right_errors(**a: Any) -> Any:
    whole, full = langevin_parts(**a)
    wanted = target(**a)
    return full - wanted, whole - full, linalg.eigh(whole, wanted, eigvals_only=True) - 1


@st.composite
def scorings(draw: Any) -> dict[str, Any]:
    """Fisher scoring: noise to inject of the size of the gradient's, a stable preconditioner."""
    a = draw(problems(momentum=None))
    d, eps = len(a["hessian"]), draw(MILD)
    S = noise(**a)
    E = draw(definite(dim=d, spread=1.0, scale=st.just(1.0))) * np.abs(S).max() * eps
    G = draw(definite(dim=d, spread=1.0, scale=st.just(1.0)))
    G *= draw(st.floats(0.05, 0.9)) * 2 / eps / np.linalg.eigvals(G @ a["hessian"]).real.max()
    return a | {"step_size": eps, "injected": E, "preconditioner": G}


def scoring_laws(**a: Any) -> tuple[Any, Any]:
    """θ ← θ − εGĝ + √ε G E w: discrete and continuous, by the linear systems."""
    total = noise(**a) + a["injected"] / a["step_size"]
    Q = a["step_size"] * a["preconditioner"]
    discrete = ref.state_law(a["hessian"], total, 1.0, 0.0, False, Q)[1]
    return discrete, linalg.solve_continuous_lyapunov(Q @ a["hessian"], Q @ total @ Q)


def our_scoring(**a: Any) -> Any:
    rest = without(a, "num_examples") | {"num_examples": a["num_examples"]}
    found = theory.fisher_scoring_error(**a)
    return theory.fisher_scoring_covariance(**rest), theory.fisher_scoring_covariance(**rest, time="continuous"), found.discretisation, found.mismatch, found.relative  # fmt: skip


def right_scoring(**a: Any) -> Any:
    discrete, slow = scoring_laws(**a)
    wanted = target(**a)
    return discrete, slow, discrete - slow, slow - wanted, linalg.eigh(discrete, wanted, eigvals_only=True) - 1


def scoring_kind(kind: str, time: str, **a: Any) -> Any:
    """dKL of the best diagonal and scalar; the formulas of the rest."""
    a = without(a, "preconditioner")
    d, eps, N = len(a["hessian"]), a["step_size"], a["num_examples"]
    G = theory.fisher_scoring_preconditioner(**a, kind=kind, time=time)
    total = eps * noise(**a) + a["injected"]
    if kind == "diagonal_closed":
        return np.diag(G) * np.diag(total) * N
    if kind == "scalar" and time == "continuous":
        return G * np.trace(total) * N
    if kind == "full":
        laws = scoring_laws(**a, preconditioner=G)
        return laws[0 if time == "discrete" else 1] @ a["hessian"] * N
    as_noise = a | {"gradient_covariance": total / eps, "batch_size": 1, "sampling": "with_replacement"}
    moved = scaled_rows if kind == "diagonal" else scaled_whole
    return posterior_and_slopes(eps * G, moved, time, **without(as_noise, "step_size", "injected")) + 0 * d


def right_scoring_kind(kind: str, time: str, **a: Any) -> Any:
    d = len(a["hessian"])
    if kind == "diagonal_closed":
        return np.full(d, 2.0)
    if kind == "scalar":
        return 2.0 * d * np.eye(d) if time == "continuous" else np.ones(1)
    return np.eye(d) if kind == "full" else np.ones(d)


def injection(room: float, **a: Any) -> Any:
    """Every diagonal preconditioner 2/(N(εS + E)) is then the cap."""
    eps, N, S = a["step_size"], a["num_examples"], np.diag(noise(**a))
    cap = room * 2 / (N * eps * S.max())
    found = theory.fisher_scoring_injection(a["gradient_covariance"], cap=cap, step_size=eps, num_examples=N, batch_size=a["batch_size"], sampling=a["sampling"])  # fmt: skip
    return cap * N * (eps * S + np.diag(found)), found - np.diag(np.diag(found)) + 1


def named(name: str, heat: float, **a: Any) -> Any:
    P = theory.preconditioner_for(name, **a, temperature=heat if name == "tempered" else None)
    return law(P, **a) * a["num_examples"] * np.abs(a["hessian"]).max()


def right_named(name: str, heat: float, **a: Any) -> Any:
    """(N H)⁻¹, T times it, or H⁻¹CH⁻¹/N."""
    inverse, unit = np.linalg.inv(a["hessian"]), np.abs(a["hessian"]).max()
    if name == "sandwich":
        return inverse @ a["gradient_covariance"] @ inverse * unit
    return inverse * unit * (heat if name == "tempered" else 1.0)


@st.composite
def anywhere(draw: Any) -> dict[str, Any]:
    """A target well below what the noise allows, with every argument."""
    a = draw(problems(momentum=st.floats(0, 0.6)))
    d = len(a["hessian"])
    wanted = draw(definite(dim=d, spread=0.7, scale=st.floats(-2, -0.5).map(lambda x: 10**x)))
    return a | {"target": wanted * np.abs(noise(**a)).max() / np.abs(a["hessian"]).max() ** 2}


# the least correlated draws


def times_of(a: dict[str, Any], S: Any, rate: float, mu: float, shape: Any, injected: Any = None) -> Any:
    F, Z = ref.state_law(a["hessian"], S, rate, mu, False, shape, injected)
    d = len(S)
    return quadratic_times(F, Z, d), linalg.eigh(Z[:d, :d], target(**a), eigvals_only=True) - 1


def langevin_setting(a: dict[str, Any], shape: Any, rate: float) -> Any:
    return times_of(a, noise(**a), rate, 0.0, shape, 2 * rate / a["num_examples"] * shape)


def filled(a: dict[str, Any], shape: Any, rate: float, mu: float) -> Any:
    """All noise that the gradient needs for the posterior; None where the batch has more already."""
    total = (2 * (1 - mu) * np.linalg.inv(rate * shape) - (1 - mu) / (1 + mu) * a["hessian"]) / a["num_examples"]
    if np.linalg.eigvalsh(total - noise(**a))[0] < 0:
        return None
    return times_of(a, total, rate, mu, shape)


def bayesian(shape: Any, budget: float, **a: Any) -> Any:
    """What is said of the setting found; how much better its neighbours within the budget are (nothing)."""
    found = theory.bayesian_tuning(**a, method="langevin", budget=budget, preconditioner=shape)
    value = max(found.iact, found.quadratic_iact)
    others = [langevin_setting(a, shape, found.learning_rate * x) for x in (0.97, 1.03) if found.learning_rate * x * np.linalg.eigvals(shape @ a["hessian"]).real.max() < 2]  # fmt: skip
    better = min((max(times) for times, wrong in others if np.abs(wrong).max() <= budget), default=math.inf)
    (linear, quadratic), wrong = langevin_setting(a, shape, found.learning_rate)
    return [found.iact / linear, found.quadratic_iact / quadratic, float(better > value * 0.999), float(np.abs(wrong).max() <= budget * 1.00001), found.momentum + 1], found.errors - wrong + 1  # fmt: skip


def bayesian_corrected(shape: Any, **a: Any) -> Any:
    found = theory.bayesian_tuning(**a, preconditioner=shape)
    (linear, quadratic), wrong = filled(a, shape, found.learning_rate * (1 - 1e-8), found.momentum)
    best = math.inf
    for mu in (0.0, 0.2, 0.5, 0.75, 0.9):
        need = (1 - mu) / (1 + mu) * a["hessian"] + a["num_examples"] * noise(**a)
        most = 2 * (1 - mu) / np.linalg.eigvals(shape @ need).real.max()
        best = min(best, *(max(filled(a, shape, most * x, mu)[0]) for x in (0.2, 0.5, 0.8, 0.99)))
    return [found.iact / linear, found.quadratic_iact / quadratic, float(max(linear, quadratic) <= 1.02 * best), 1 + max(np.abs(found.errors).max(), 1e-7)], wrong + 1  # fmt: skip


def shaped(d: int) -> Any:
    return definite(dim=d, spread=1.0, scale=MILD)


CASES = quick([
    Case("optimal_preconditioner, every kind", problems(kind=KIND), tuned, right_tuned, 3e-5),
    Case("optimal_preconditioner continuous", problems(), tuned_continuous, right_tuned_continuous),
    Case("optimal_preconditioner diagonal, continuous", problems(), diagonal_continuous, lambda **a: np.ones(len(a["hessian"])), 3e-5),
    *(Case(f"optimal_preconditioner, kind {k}", problems(kind=st.just(k)), tuned, right_tuned, 3e-5, few=5) for k in ("diagonal", "sqrt")),
    Case("optimal_learning_rate, every argument", problems(shape=shaped), best_rate("discrete"), lambda **_: np.ones(1), 3e-5),
    Case("optimal_learning_rate continuous", problems(shape=shaped), best_rate("continuous"), lambda **_: np.ones(1), 3e-5),
    # a search knows its minimum to half the digits, and near the edge the slope is steep
    Case("reverse_learning_rate", problems(), reverse_rate("discrete"), lambda **_: np.ones(1), 1e-3),
    Case("reverse_learning_rate continuous", problems(), reverse_rate("continuous"), lambda **_: np.ones(1), 3e-5),
    Case("langevin_correction", problems(fraction=st.floats(0.05, 1)), corrected, lambda fraction, **a: np.linalg.inv(a["hessian"])),
    Case("corrected_langevin_tuning, every argument", problems(momentum=None, fraction=st.floats(0.1, 1)), corrected_tuning, right_corrected_tuning),
    Case("langevin_covariance, every argument", langevins(), lambda **a: (theory.langevin_covariance(**a), theory.langevin_covariance(**a, time="continuous")), lambda **a: (langevin_parts(**a)[0], langevin_continuous(**a))),
    Case("langevin_error", langevins(), errors, right_errors, 1e-5),
    Case("fisher_scoring, every argument", scorings(), our_scoring, right_scoring, 1e-5),
    Case("fisher_scoring_preconditioner, every kind", scorings().flatmap(lambda a: st.tuples(st.sampled_from(["full", "diagonal", "diagonal_closed", "scalar"]), st.sampled_from(["discrete", "continuous"])).map(lambda t: a | {"kind": t[0], "time": t[1]})), scoring_kind, right_scoring_kind, 3e-5),
    Case("fisher_scoring_injection", scorings().flatmap(lambda a: st.floats(0.1, 1).map(lambda x: a | {"room": x})), injection, lambda **a: (np.full(len(a["hessian"]), 2.0), np.ones_like(a["hessian"]))),
    Case("preconditioner_for a name", problems(momentum=st.floats(0, 0.9), name=st.sampled_from(["posterior", "tempered", "sandwich"]), heat=st.floats(0.2, 3)), named, right_named),
    Case("preconditioner_for, every argument", anywhere(), lambda target, **a: law(theory.preconditioner_for(target, **a), **a), lambda target, **_: target),
    Case("bayesian_tuning langevin", problems(momentum=None, share=st.floats(0, 1), shape=shaped, budget=st.floats(0.05, 0.5)), bayesian, lambda shape, **a: (np.ones(5), np.ones(len(shape))), 1e-4, few=2),
    Case("bayesian_tuning corrected", problems(momentum=None, share=st.floats(0, 1), shape=shaped), bayesian_corrected, lambda shape, **_: (np.ones(4), np.ones(len(shape))), 1e-4, few=2),
])  # fmt: skip
