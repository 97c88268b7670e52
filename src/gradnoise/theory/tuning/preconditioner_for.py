"""The preconditioner for any wanted stationary covariance: posterior, tempered, sandwich, or another."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_continuous_lyapunov
from scipy.sparse.linalg import LinearOperator, gmres

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of
from gradnoise.theory.linear.modes import bends
from gradnoise.theory.noise.batch_noise import batch_noise, noise_factor

TARGETS = ("posterior", "tempered", "sandwich")


def preconditioner_for(
    target: ArrayLike | str,
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    batch_size: int,
    momentum: float = 0.0,
    temperature: float | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Preconditioner that gives SGD any wanted stationary covariance, exactly; it **contains** the learning rate.

    Equation: μ = 0: HΣ*Y + YΣ*H = HΣ*H + S, P = Y⁻¹ (unique, always stable). With momentum Y solves
    M Y + Y Mᵀ = S + (1+μ²)/(1−μ²) HΣ*H, M = (1−μ) HΣ* + μ/(1−μ²) H Y⁻¹ HΣ*, by Newton steps. By name, in closed form: "posterior"
    and "tempered" (Σ* = T (N H)⁻¹) P = 2(1−μ) [(1−μ)/(1+μ) H + (N/T) S]⁻¹; "sandwich" (Σ* = H⁻¹CH⁻¹/N) P = c H⁻¹ with
    c = 2(1−μ)/[N f + (1−μ)/(1+μ)], f of `noise_factor`.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    target               Σ*      (D, D)  parameter²; or "posterior", "tempered", "sandwich"
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − P m
    temperature          T       ()      as N·loss; with "tempered" alone
    num_examples         N       ()      examples; needed without replacement and for a target by name
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              P       (D, D)  parameter²/loss: use with learning_rate=1
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise. By name C may be singular.
    Limit: "posterior" is `optimal_preconditioner`; "sandwich" without momentum, with replacement, 2B/(N+B) H⁻¹.

    Reference: derived here. The code of Wang, Ding, Huggins (2026), arXiv 2606.00293, has (1/N)(CH⁻¹+H⁻¹C)(S+C/N)⁻¹ for the
    sandwich, which is right only where the matrices commute.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> sandwich = np.linalg.solve(H, np.linalg.solve(H, C).T) / 50
    >>> preconditioner_for(sandwich, H, C, batch_size=4).round(7)
    array([[ 0.0814001, -0.04884  ],
           [-0.04884  ,  0.3256003]])
    >>> preconditioner_for("sandwich", H, C, batch_size=4, num_examples=50).round(7)
    array([[ 0.0814001, -0.04884  ],
           [-0.04884  ,  0.3256003]])
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    if isinstance(target, str):
        factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
        return _by_name(target, hessian, noise, factor, _checks.momentum(momentum), temperature, num_examples)
    if temperature is not None:
        msg = f"temperature must be left out unless target is 'tempered', got {_checks.shown(temperature)}."
        raise ValueError(msg)
    target = _checks.symmetric("target", target, len(noise), definite="positive")
    mu = _checks.momentum(momentum)
    drift, bend = hessian @ target, hessian @ target @ hessian
    start = _symmetric_solution((1 - mu) * drift, noise + (1 - mu) / (1 + mu) * bend)
    return inverse_of(start if mu == 0 else _newton(start, drift, hessian, noise, bend, mu), 1.0)


def _by_name(
    target: str, hessian: Array, noise: Array, factor: float, mu: float, heat: float | None, num_examples: int | None
) -> Array:
    """Return the closed form; none of them needs the target itself, so C may be singular."""
    name = _checks.one_of("target", target, TARGETS)
    if num_examples is None:
        msg = f"num_examples must be given when target={name!r}: the target is as narrow as 1/N."
        raise ValueError(msg)
    if (heat is None) == (name == "tempered"):
        msg = f"temperature must be given with target='tempered' and with no other, got {heat} for {name!r}."
        raise ValueError(msg)
    examples = _checks.integer("num_examples", num_examples)
    if name == "sandwich":
        return inverse_of(hessian, 2 * (1 - mu) / (examples * factor + (1 - mu) / (1 + mu)))
    cold = examples / (1.0 if heat is None else _checks.positive("temperature", heat))
    return inverse_of((1 - mu) / (1 + mu) * hessian + cold * noise, 2 * (1 - mu))


def _newton(inverse: Array, drift: Array, hessian: Array, noise: Array, bend: Array, mu: float) -> Array:
    """Solve M Y + Y Mᵀ = S + aHΣ*H, M = (1−μ)D + b H Y⁻¹ D, D = HΣ*; the start is exact wherever Y⁻¹DY H = DH."""
    a, b = bends(mu, "discrete")
    right = noise + a * bend
    scale = np.abs(right).max()

    def residual(y: Array) -> tuple[Array, Array]:
        pull = (1 - mu) * drift + b * hessian @ np.linalg.solve(y, drift)
        half = pull @ y
        return half + half.T - right, pull

    missing, pull = residual(inverse)
    for _ in range(50):
        if np.abs(missing).max() <= 1e-13 * scale:
            return inverse
        step = _newton_step(inverse, missing, pull, drift, hessian, b)
        length = 1.0
        while length > 1e-4:  # shorten until positive definite and nearer
            trial = inverse + length * step
            if np.linalg.eigvalsh(trial)[0] > 0:
                after, pull_after = residual(trial)
                if np.abs(after).max() < np.abs(missing).max():
                    break
            length /= 2
        else:
            break
        inverse, missing, pull = trial, after, pull_after
    if np.abs(missing).max() <= 1e-10 * scale:
        return inverse
    msg = f"target must be reachable with momentum {mu:g}, but no preconditioner was found for it. Use a smaller momentum."
    raise ValueError(msg)


def _newton_step(y: Array, missing: Array, pull: Array, drift: Array, hessian: Array, b: float) -> Array:
    """Newton step by GMRES, preconditioned by the Lyapunov operator in which Y⁻¹ is frozen."""
    size = len(y)
    into = hessian @ np.linalg.inv(y)
    across = np.linalg.solve(y, drift @ y)

    def apply(flat: Array) -> Array:
        change = flat.reshape(size, size)
        half = pull @ change - b * into @ change @ across
        return np.asarray(_symmetric_solution(pull, half + half.T).ravel())

    operator: Any = LinearOperator((size**2, size**2), matvec=apply, dtype=np.float64)
    flat, _ = gmres(operator, -_symmetric_solution(pull, missing).ravel(), rtol=1e-6, maxiter=5)
    change = np.asarray(flat.reshape(size, size))
    return _checks.symmetrised(change)


def _symmetric_solution(drift: Array, right: Array) -> Array:
    solution = solve_continuous_lyapunov(drift, right)
    return _checks.symmetrised(solution)
