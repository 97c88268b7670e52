"""Heavy ball and Nesterov as underdamped SDEs, to first and second order in √η."""

from __future__ import annotations

import math

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array
from gradnoise.sde.fields import Matrix, VectorField, covariance_root, curvature, pieces, stacked, vector_field
from gradnoise.sde.records import SDE
from gradnoise.theory import noise_factor


def momentum(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float,
    order: int = 1,
    hessian: Matrix | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of heavy-ball SGD, of weak order 1 or 2 in h = √η; time t = kh, velocity V = −√η m.

    Equation, m̃ = (1−μ)/h: order 1 dX = V dt, dV = −(m̃V + ∇L) dt + (hS)^{1/2} dW; order 2
    dX = [(1 − hm̃/2)V − (h/2)∇L] dt, dV = −[(m̃ + (h/2)(m̃² − H))V + (1 + hm̃/2)∇L] dt + (hS)^{1/2} dW.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    momentum             μ       ()      m ← μ m + g; θ ← θ − η m
    order                –       ()      1 or 2
    hessian              H       (D, D)  curvature of the mean loss, or a function; order 2
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, V); V in parameter/time
    ===================  ======  ======  ===================================================

    Assumptions: η and (1−μ)² small together, so that m̃ is of order one; smooth loss; steps draw independently.
    Limit: m̃ → ∞ is SGD with learning rate η/(1−μ).

    Reference: Li, Tai, E (2019), `docs/derivations/sgd_sde.md`, with v = v′/h and v′ = −ηm.

    >>> found = momentum(lambda x: 2 * x, [[4.0]], learning_rate=0.04, batch_size=4, momentum=0.8)
    >>> found.time_step, found.drift(0.0, np.array([1.0, 0.5])).round(6)
    (0.2, array([ 0.5, -2.5]))
    """
    law = _Inertia(gradient, gradient_covariance, learning_rate, momentum)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    return law.sde(order, hessian, factor, sign=-1.0, lookahead=0.0)


def nesterov(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float,
    order: int = 1,
    hessian: Matrix | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of Nesterov's accelerated SGD, of weak order 1 or 2 in h = √η; time t = kh, velocity V = −√η m.

    Equation: as `momentum`, at order 2 with (m̃² + H) in place of (m̃² − H); params = X + μhV.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    momentum             μ       ()      m ← μ m + g; θ ← θ − η(g + μ m)
    order                –       ()      1 or 2
    hessian              H       (D, D)  curvature of the mean loss, or a function; order 2
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, V); V in parameter/time
    ===================  ======  ======  ===================================================

    Assumptions: as `momentum`. optax and PyTorch hold the point where the gradient is taken: θ = X + μhV, `SDE.params`.
    Limit: m̃ → ∞ is SGD with learning rate η/(1−μ).

    Reference: Li, Tai, E (2019), `docs/derivations/sgd_sde.md`.

    >>> found = nesterov(lambda x: 2 * x, [[4.0]], learning_rate=0.04, batch_size=4, momentum=0.8)
    >>> found.params(np.array([1.0, 0.5])).round(6)
    array([1.08])
    """
    law = _Inertia(gradient, gradient_covariance, learning_rate, momentum)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    return law.sde(order, hessian, factor, sign=1.0, lookahead=law.mu * law.h)


class _Inertia:
    """The two methods differ in the sign of H at order 2 and in what they call the parameters."""

    def __init__(self, gradient: VectorField, covariance: Matrix, learning_rate: float, momentum: float) -> None:
        self.slope, self.covariance = vector_field("gradient", gradient), covariance
        self.h, self.mu = math.sqrt(_checks.positive("learning_rate", learning_rate)), _checks.momentum(momentum)

    def sde(self, order: int, hessian: Matrix | None, factor: float, *, sign: float, lookahead: float) -> SDE:
        order = _checks.integer("order", order, low=1, high=2)
        h, friction, root = self.h, (1 - self.mu) / self.h, covariance_root(self.covariance, self.h * factor)

        def first(_t: float, state: Array) -> Array:
            x, v = pieces(state, 2)
            return np.concatenate([v, -(friction * v + self.slope(x))], axis=-1)

        def second(_t: float, state: Array) -> Array:
            x, v = pieces(state, 2)
            g = self.slope(x)
            pull = (friction + h / 2 * friction**2) * v + sign * h / 2 * bend(x, v) + (1 + h * friction / 2) * g
            return np.concatenate([(1 - h * friction / 2) * v - h / 2 * g, -pull], axis=-1)

        if order == 2:
            bend = curvature(hessian, order)
        return SDE(
            first if order == 1 else second,
            lambda _t, state: stacked(root(pieces(state, 2)[0]), 1, 2),
            h,
            ("position", "velocity"),
            order,
            lookahead,
        )
