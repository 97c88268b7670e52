"""SGD as an SDE: to first and second order in the learning rate, and exactly on a quadratic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.sde.fields import Matrix, VectorField, covariance_root, curvature, vector_field
from gradnoise.sde.records import SDE, LinearSDE
from gradnoise.theory import batch_noise, noise_factor

Schedule = tuple[Callable[[float], float], Callable[[float], float]]


def sgd(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    order: int = 1,
    hessian: Matrix | None = None,
    schedule: Schedule | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of SGD, of weak order 1 or 2 in the learning rate; time t = kη.

    Equation: order 1 dX = −u∇L dt + u(ηS)^{1/2} dW; order 2 drift −(u − (η/2)u′)∇L − (η/2)u² H∇L, same noise; S = C/B,
    u = 1 without a schedule.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter²/loss; the base one with a schedule
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    order                –       ()      1 or 2
    hessian              H       (D, D)  curvature of the mean loss, or a function; order 2
    schedule             u, u′   –       functions of t: step ηu(kη), and its derivative
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X)
    ===================  ======  ======  ===================================================

    Assumptions: small step, smooth loss; steps draw independently. Order 2 is better only once η is small: at ηh = 0.4 it can be worse.
    Limit: η → 0 is gradient flow. The law depends on η/B alone at order 1: the linear scaling rule.

    Reference: Li, Tai, E (2019), `docs/derivations/sgd_sde.md`.

    >>> found = sgd(lambda x: 2 * x, [[4.0]], learning_rate=0.1, batch_size=10, order=2, hessian=[[2.0]])
    >>> found.drift(0.0, np.array([1.0])).round(6), found.diffusion(0.0, np.array([1.0])).round(6)
    (array([-2.2]), array([[0.2]]))
    """
    rate = _checks.positive("learning_rate", learning_rate)
    order = _checks.integer("order", order, low=1, high=2)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    slope, root = vector_field("gradient", gradient), covariance_root(gradient_covariance, rate * factor)
    u, du = (_one, _zero) if schedule is None else _schedule(schedule)

    def first(t: float, x: Array) -> Array:
        return -u(t) * slope(x)

    def second(t: float, x: Array) -> Array:
        g = slope(x)
        return -(u(t) - rate / 2 * du(t)) * g - rate / 2 * u(t) ** 2 * bend(x, g)

    if order == 2:
        bend = curvature(hessian, order)
    return SDE(first if order == 1 else second, lambda t, x: u(t) * root(x), rate, ("position",), order)


def sgd_exact(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> LinearSDE:
    r"""Linear SDE with exactly the law of SGD on a quadratic at every step; time t = kη.

    Equation: aᵢ = ln(1 − ηhᵢ)/η, drift A = U diag(a) Uᵀ; diffusion in H's eigenbasis
    Q_ij = η² S_ij (aᵢ + aⱼ)/(e^{η(aᵢ+aⱼ)} − 1), S = C/B.

    ===================  ======  ======  ===========================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===========================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss; ηh < 1 for every h of H
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    num_examples         N       ()      examples; needed without replacement
    returns              A, Q    (D, D)  `LinearSDE`; 1/time, parameter²/time
    ===================  ======  ======  ===========================================

    Assumptions: quadratic loss, constant Gaussian noise. For ηh ≥ 1 SGD overshoots, which no linear SDE of the same state does: refused.
    Limit: η → 0 gives A = −H, Q = ηS, the order-1 SDE.

    Reference: Li et al. (2024), arXiv 2405.18373 (HA-SME); `docs/derivations/sgd_sde.md`.

    >>> found = sgd_exact([[1.0]], [[2.0]], learning_rate=0.5, batch_size=4)
    >>> found.drift_matrix.round(6), found.stationary_covariance.round(6)
    (array([[-1.386294]]), array([[0.166667]]))
    """
    rate = _checks.positive("learning_rate", learning_rate)
    S = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    h, U = np.linalg.eigh(_checks.symmetric("hessian", hessian, len(S)))
    if rate * h[-1] >= 1:
        msg = (
            f"learning_rate must be below 1/(largest curvature) = {1 / h[-1]:.6g}, got {rate:g}: beyond, SGD overshoots in that "
            "direction and no linear SDE has its law."
        )
        raise ValueError(msg)
    a = np.log1p(-rate * h) / rate
    x = rate * (a[:, None] + a[None, :])
    ratio = np.divide(x, np.expm1(x), out=np.ones_like(x), where=x != 0)
    return LinearSDE((U * a) @ U.T, U @ (rate * (U.T @ S @ U) * ratio) @ U.T, rate)


def _schedule(schedule: Any) -> Schedule:
    if not isinstance(schedule, tuple) or len(schedule) != 2 or not all(map(callable, schedule)):
        msg = f"schedule must be a pair of functions of time (u, its derivative), got {_checks.shown(schedule)}."
        raise TypeError(msg)
    return schedule


def _one(time: float) -> float:
    del time
    return 1.0


def _zero(time: float) -> float:
    del time
    return 0.0
