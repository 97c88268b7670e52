"""Kinetic integrators, every scheme, mass and sampling: the moves as matrices; corrected noise; tuning against settings of a grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from cases_laws import quadratic_times, without
from cases_tuning import noise, problems, target
from hypothesis import strategies as st
from matrices import definite
from scipy import linalg

from gradnoise import theory
from gradnoise.theory.langevin import kinetic_pairs
from gradnoise.theory.langevin import kinetic_tuning as kinetic_search

SCHEMES = st.sampled_from(["BAOAB", "OBABO", "ABOBA", "UBU", "BUB", "sghmc", "sghmc_half", "sghmc_naive"])


def moves(scheme: str, a: dict[str, Any], h: float, gamma: float, M: Any, heat: Any = None) -> tuple[Any, Any]:
    """One cycle on (θ, v): transition, and its noise, `heat` the covariance of v that friction renews; one gradient at a fresh position, its kicks together."""
    H, d, N = a["hessian"], len(a["hessian"]), a["num_examples"]
    W = np.linalg.inv(M)
    heat = W / N if heat is None else heat
    eye, zero = np.eye(d), np.zeros((d, d))
    none = np.zeros((2 * d, 2 * d))

    def block(x: Any) -> Any:
        return np.block(x)

    def drift(t: float) -> tuple[Any, Any]:
        return block([[eye, t * eye], [zero, eye]]), none

    def kick(t: float) -> tuple[Any, Any]:
        return block([[eye, zero], [-t * W @ H, eye]]), linalg.block_diag(zero, t * t * W @ noise(**a) @ W)

    def rub(t: float) -> tuple[Any, Any]:
        c = math.exp(-gamma * t)
        return linalg.block_diag(eye, c * eye), linalg.block_diag(zero, (1 - c * c) * heat)

    def both(t: float) -> tuple[Any, Any]:
        """Free motion with friction, the integrals of its noise written out."""
        x = gamma * t
        gone = -math.expm1(-x)
        F = np.array([[1.0, gone / gamma], [0.0, 1 - gone]])
        spread = np.array(
            [[(2 * x - 2 * gone - gone**2) / gamma**2, gone**2 / gamma], [gone**2 / gamma, gone * (2 - gone)]]
        )
        return np.kron(F, eye), np.kron(spread, heat)

    def euler(t: float) -> tuple[Any, Any]:
        return linalg.block_diag(eye, (1 - gamma * t) * eye), linalg.block_diag(zero, 2 * gamma * t * heat)

    words: dict[str, Any] = {
        "BAOAB": [drift(h / 2), rub(h), drift(h / 2), kick(h)],
        "UBU": [both(h / 2), kick(h), both(h / 2)],
        "BUB": [both(h), kick(h)],
        "sghmc": [euler(h), kick(h), drift(h)],
    }
    F, Q = np.eye(2 * d), none
    for A, added in words[scheme]:
        F, Q = A @ F, A @ Q @ A.T + added
    return F, Q


@st.composite
def kinetics(draw: Any, schemes: Any) -> dict[str, Any]:
    a = draw(problems(momentum=None, share=st.floats(-1, 0.5)))
    d = len(a["hessian"])
    M = draw(definite(dim=d, spread=1.0, scale=st.just(1.0))) if draw(st.booleans()) else None
    top = math.sqrt(linalg.eigvals(a["hessian"], np.eye(d) if M is None else M).real.max())
    scheme = draw(schemes)
    reach = 0.2 if scheme == "sghmc_naive" else 0.9  # which is stable up to the friction's time alone
    return a | {"mass": M, "step_size": draw(st.floats(0.1, reach)) / top, "friction": draw(st.floats(0.3, 1.0)) * top, "scheme": scheme}  # fmt: skip


def ours(**a: Any) -> Any:
    chain = theory.kinetic_chain(**a)
    unit = a["num_examples"] * np.abs(a["hessian"]).max()
    return chain.covariance * unit, theory.kinetic_covariance(**a) * unit, 1 + chain.spectral_radius


def right(step_size: float, friction: float, mass: Any, scheme: str, **a: Any) -> Any:
    d = len(a["hessian"])
    F, Q = moves(scheme, a, step_size, friction, np.eye(d) if mass is None else mass)
    law = ref.fixed_point(F, Q)[:d, :d] * a["num_examples"] * np.abs(a["hessian"]).max()
    return law, law, 1 + np.abs(np.linalg.eigvals(F)).max()


def limits(**a: Any) -> Any:
    """Exact gradients: N λ Σ of every mode, and what the kick's noise adds is linear in it."""
    zero = np.zeros_like(a["gradient_covariance"])
    full = theory.kinetic_covariance(**a | {"gradient_covariance": zero})
    one, two = (theory.kinetic_covariance(**a | {"gradient_covariance": a["gradient_covariance"] * k}) for k in (1, 2))
    M = np.eye(len(full)) if a["mass"] is None else a["mass"]
    return np.sort(linalg.eigvals(full @ a["hessian"] * a["num_examples"]).real), (two - full) / np.abs(one - full).max(), M[0] / M[0, 0]  # fmt: skip


def right_limits(**a: Any) -> Any:
    M = np.eye(len(a["hessian"])) if a["mass"] is None else a["mass"]
    x = a["step_size"] ** 2 * linalg.eigvals(a["hessian"], M).real
    exact = {"BAOAB": np.ones(len(x)), "OBABO": 1 / (1 - x / 4), "ABOBA": np.ones(len(x))}[a["scheme"]]
    zero = np.zeros_like(a["gradient_covariance"])
    full, one = theory.kinetic_covariance(**a | {"gradient_covariance": zero}), theory.kinetic_covariance(**a)
    return np.sort(exact), 2 * (one - full) / np.abs(one - full).max(), M[0] / M[0, 0]


def small_enough(a: dict[str, Any]) -> dict[str, Any]:
    """A batch's noise that leaves room for the injected."""
    C, h, gamma = a["gradient_covariance"], a["step_size"], a["friction"]
    M = np.eye(len(C)) if a["mass"] is None else a["mass"]
    room = gamma / h * np.linalg.eigvalsh(M)[0] / a["num_examples"] / np.linalg.eigvalsh(noise(**a))[-1]
    return a | {"gradient_covariance": C * min(1.0, room / 200)}


def corrected(**a: Any) -> Any:
    injected = theory.kinetic_correction(**a)
    return theory.kinetic_covariance(**a, injected_covariance=injected) @ a["hessian"] * a["num_examples"]


def given(scheme: str, **a: Any) -> Any:
    """Handed over, the noise that is injected anyway changes nothing."""
    M = np.eye(len(a["hessian"])) if a["mass"] is None else a["mass"]
    x = a["step_size"] * a["friction"]
    share = 2 * x if "sghmc" in scheme else 1 - math.exp(-2 * x)
    found = theory.kinetic_covariance(**a, scheme=scheme, injected_covariance=share * M / a["num_examples"])
    return found @ a["hessian"] * a["num_examples"]


def same(**a: Any) -> Any:
    return theory.kinetic_covariance(**a) @ a["hessian"] * a["num_examples"]


# tuning


@st.composite
def tunings(draw: Any, mass: str | None, corrected: bool) -> dict[str, Any]:
    a = draw(problems(momentum=None, share=st.floats(-1.5, 0.5)))
    d = len(a["hessian"])
    M = draw(definite(dim=d, spread=0.5, scale=st.just(1.0))) if mass == "matrix" else mass
    return a | {"mass": M, "corrected": corrected, "scheme": draw(st.sampled_from(["BAOAB", "UBU"]))}


def at(a: dict[str, Any], h: float, gamma: float, M: Any, injected: Any) -> Any:
    """Worst times and error of a variance of a setting, with the noise injected or of the friction."""
    setting = without(a, "mass", "corrected", "scheme")
    d, W = len(a["hessian"]), np.linalg.inv(M)
    heat = None if injected is None else W @ injected @ W / (1 - math.exp(-2 * gamma * h))
    F, Q = moves(a["scheme"], setting, h, gamma, M, heat)
    Z = ref.fixed_point(F, Q)
    wrong = linalg.eigh(Z[:d, :d], target(**a), eigvals_only=True) - 1
    return quadratic_times(F, Z, d), np.abs(wrong).max()


def tuned(**a: Any) -> Any:
    """The record of the setting found holds; a nudged one within the bounds is no better."""
    found = theory.kinetic_tuning(**a, max_variance_error=0.3)
    M = found.mass
    times, wrong = at(a, found.step_size, found.friction, M, found.injected_covariance)
    return [found.iact / max(times) if isinstance(a["mass"], str) else 1.0, 1 + wrong - (0 if found.variance_error < 1e-9 else found.variance_error)], M / M[0, 0]  # fmt: skip


def right_tuned(**a: Any) -> Any:
    H = a["hessian"]
    M = H if isinstance(a["mass"], str) else np.eye(len(H)) if a["mass"] is None else a["mass"]
    return np.ones(2), M / M[0, 0]


def setting_of(scheme: str, strength: float, corrected: bool, h: float, gamma: float) -> Any:
    """Time, share of the noise, error of the variance and radius of one direction of curvature 1; None beyond the edge."""
    a = {"hessian": np.eye(1), "gradient_covariance": np.array([[strength]]), "num_examples": 1, "batch_size": 1, "sampling": "with_replacement"}  # fmt: skip
    F, Q = moves(scheme, a, h, gamma, np.eye(1))
    own = moves(scheme, a | {"gradient_covariance": np.zeros((1, 1))}, h, gamma, np.eye(1))[1]
    radius = np.abs(np.linalg.eigvals(F)).max()
    if radius >= 1 - 1e-9:
        return None
    kick, rub = ref.fixed_point(F, Q - own)[0, 0], ref.fixed_point(F, own)[0, 0]
    Z = ref.fixed_point(F, Q - own + ((1 - kick) / rub if corrected else 1.0) * own)
    return max(quadratic_times(F, Z, 1)), kick, abs(kick + rub - 1), radius


def searched(strength: float, scheme: str, corrected: bool) -> Any:
    """A grid finds no setting within the bounds that is a hundredth better, and what is said of the one found holds."""
    found = theory.kinetic_tuning(np.eye(1), [[strength]], num_examples=1, batch_size=1, scheme=scheme, corrected=corrected, max_noise_share=0.4, max_variance_error=0.3)  # fmt: skip
    best = math.inf
    for h in np.geomspace(0.1, 1.9, 9):
        for x in np.geomspace(0.1, 6, 8):
            made = setting_of(scheme, strength, corrected, h, x / h)
            if made is None or (made[1] > 0.4 if corrected else made[2] > 0.3):
                continue
            if -1 / math.log(made[3]) <= 10 * max(made[0], 1):
                best = min(best, made[0])
    time, share, wrong, _ = setting_of(scheme, strength, corrected, found.step_size, found.friction)
    within = share <= 0.4 * (1 + 1e-6) if corrected else wrong <= 0.3 * (1 + 1e-6)
    error = 0.0 if corrected else found.variance_error - wrong
    return float(found.iact <= 1.01 * best), float(within), found.iact / time, found.noise_share / share, 1 + error


def pair_memory(strengths: Any, scheme: str, h: float, gamma: float, corrected: bool) -> float:
    return kinetic_pairs.memory_of_pairs(strengths, scheme, h, gamma, corrected=corrected)


def right_pair_memory(strengths: Any, scheme: str, h: float, gamma: float, corrected: bool) -> float:
    return max(setting_of(scheme, s, corrected, h, gamma)[0] for s in strengths)


PAIRS = {
    "strengths": st.lists(st.floats(0, 0.3), min_size=1, max_size=3).map(np.array), "scheme": st.sampled_from(["BAOAB", "UBU", "sghmc"]), "h": st.floats(0.1, 0.9),
    "gamma": st.floats(0.5, 1.0), "corrected": st.booleans(),
}  # fmt: skip

CASES = quick([
    Case("kinetic_chain, every argument", kinetics(st.sampled_from(["BAOAB", "UBU", "BUB", "sghmc"])), ours, right, 1e-6),
    Case("kinetic_covariance of exact gradients", kinetics(st.sampled_from(["BAOAB", "OBABO", "ABOBA"])), limits, right_limits, 1e-5),
    Case("kinetic_correction", kinetics(SCHEMES).map(small_enough), corrected, lambda hessian, **_: np.eye(len(hessian))),
    Case("kinetic_covariance, injected", kinetics(SCHEMES), given, same),
    *(Case(f"kinetic_tuning, mass {m}, corrected {c}", tunings(m, c), tuned, right_tuned, 1e-4, few=2) for m in ("curvature", "matrix", None) for c in (True, False)),
    Case("kinetic_tuning against a grid", st.fixed_dictionaries({"strength": st.floats(0.01, 2), "scheme": st.sampled_from(["BAOAB", "UBU"]), "corrected": st.booleans()}), searched, lambda **_: (1.0, 1.0, 1.0, 1.0, 1.0), few=2),
    Case("memory_of_pairs", st.fixed_dictionaries(PAIRS), pair_memory, right_pair_memory, 1e-5),
    Case("least_memory", st.fixed_dictionaries({"strength": st.floats(0.01, 2)}), lambda strength: kinetic_search.least_memory(np.array([strength]), "BAOAB", 0.5),
         lambda strength: theory.kinetic_tuning([[1.0]], [[strength]], num_examples=1, batch_size=1, max_noise_share=0.5).iact, 1e-6),
])  # fmt: skip
