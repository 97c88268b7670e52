"""Closed moment equations of the RMSprop and Adam SDEs on a diagonal quadratic: means and second moments in time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.sde.adam_rmsprop import corrections

_MOST_SLOPES = 50_000
START = 1e-9  # in units of the shortest memory: the bias-corrected equation is singular at 0


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the SDE's state at one time.

    Attributes
    ----------
    mean
        E X (D,), parameter.
    second
        E X² (D,), parameter², each coordinate.
    second_moment
        u (D,), gradient², per example; deterministic.
    """

    mean: Array
    second: Array
    second_moment: Array


def rmsprop_moments(
    curvature: ArrayLike,
    gradient_variance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    b2: float,
    eps: float,
    start: ArrayLike,
    second_moment: ArrayLike,
    time: float,
) -> Moments:
    r"""Mean and second moment of the RMSprop SDE at a time t = kη², from a fixed start.

    Equation, per coordinate: u = C + (u₀ − C)e^{−c₂t}, p = σ₀√u + ε₀, (EX)′ = −h EX/p, (EX²)′ = −2h EX²/p + σ₀²C/p².

    =================  ======  =====  ==========================================
    argument           symbol  shape  scale
    =================  ======  =====  ==========================================
    curvature          h       (D,)   of the mean loss, diagonal
    gradient_variance  C       (D,)   gradient², per example, diagonal
    learning_rate      η       ()     parameter
    batch_size         B       ()     examples a step
    b2                 β₂      ()     v ← β₂v + (1−β₂)g²
    eps                ε       ()     gradient
    start              x₀      (D,)   parameter
    second_moment      u₀      (D,)   gradient², per example: v₀B
    time               t       ()     kη²
    returns            –       (D,)   `Moments`
    =================  ======  =====  ==========================================

    Assumptions: diagonal quadratic loss, constant noise, noise-dominated (`rmsprop`).
    Limit: t → ∞ has variance `rmsprop_variance`.

    Reference: Malladi et al. (2022), moment equations derived in `docs/derivations/adaptive_sde.md`.

    >>> found = rmsprop_moments([1.0], [1.0], learning_rate=0.01, batch_size=1, b2=0.998, eps=0.1,
    ...                         start=[0.3], second_moment=[4.0], time=0.0512)
    >>> found.mean.round(7), found.second.round(8)
    (array([0.0167482]), array([0.00338675]))
    """
    law = _Law(curvature, gradient_variance, learning_rate, batch_size, b2, eps, second_moment)
    x = _checks.vector("start", start, law.size)

    def slope(t: float, y: Array) -> Array:
        mean, square = y.reshape(2, -1)
        p = law.divisor(t, 1.0)
        return np.concatenate([-law.h * mean / p, -2 * law.h * square / p + law.sigma0**2 * law.C / p**2])

    end = _checks.positive("time", time)
    mean, square = _solve(slope, 0.0, end, np.concatenate([x, x**2])).reshape(2, -1)
    return Moments(mean, square, law.u(end))


def adam_moments(
    curvature: ArrayLike,
    gradient_variance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    b1: float,
    b2: float,
    eps: float,
    start: ArrayLike,
    time: float,
    second_moment: ArrayLike | None = None,
) -> Moments:
    r"""Mean and second moment of the Adam SDE at a time t = kη², from a fixed start with m₀ = 0.

    Equation, per coordinate, k = √γ₂/(γ₁(σ₀√u + ε₀√γ₂)): (EX)′ = −k EM, (EM)′ = c₁(h EX − EM), (EX²)′ = −2k EXM,
    (EXM)′ = −k EM² + c₁(h EX² − EXM), (EM²)′ = 2c₁(h EXM − EM²) + (σ₀c₁)²C.

    =================  ======  =====  ===================================================
    argument           symbol  shape  scale
    =================  ======  =====  ===================================================
    curvature          h       (D,)   of the mean loss, diagonal
    gradient_variance  C       (D,)   gradient², per example, diagonal
    learning_rate      η       ()     parameter
    batch_size         B       ()     examples a step
    b1                 β₁      ()     m ← β₁m + (1−β₁)g
    b2                 β₂      ()     v ← β₂v + (1−β₂)g²
    eps                ε       ()     gradient
    start              x₀      (D,)   parameter
    time               t       ()     kη²
    second_moment      u₀      (D,)   gradient², per example: a warm buffer, without bias
                                      correction; None: u₀ = 0 with it
    returns            –       (D,)   `Moments`
    =================  ======  =====  ===================================================

    Assumptions: diagonal quadratic loss, constant noise, noise-dominated (`adam`).
    Limit: b1 → 0 at small η is `rmsprop_moments`.

    Reference: Malladi et al. (2022), moment equations derived in `docs/derivations/adaptive_sde.md`.

    >>> found = adam_moments([1.0], [1.0], learning_rate=0.01, batch_size=1, b1=0.99, b2=0.998, eps=0.1,
    ...                      start=[0.3], time=0.0512)
    >>> found.mean.round(6), found.second.round(7)
    (array([-0.005491]), array([0.0046986]))
    """
    cold = second_moment is None
    size = len(_checks.vector("curvature", curvature))
    law = _Law(
        curvature, gradient_variance, learning_rate, batch_size, b2, eps, np.zeros(size) if cold else second_moment
    )
    c1 = (1 - _checks.within("b1", b1, 0.0, 1.0, closed="left")) / law.rate**2
    x = _checks.vector("start", start, law.size)
    first = START / max(c1, law.c2) if cold else 0.0

    def slope(t: float, y: Array) -> Array:
        x, m, xx, xm, mm = y.reshape(5, -1)
        gain, shrink = corrections(c1, law.c2, t) if cold else (1.0, 1.0)
        k = gain / law.divisor(t, shrink)
        return np.concatenate(
            [
                -k * m,
                c1 * (law.h * x - m),
                -2 * k * xm,
                -k * mm + c1 * (law.h * xx - xm),
                2 * c1 * (law.h * xm - mm) + (law.sigma0 * c1) ** 2 * law.C,
            ]
        )

    end = _checks.positive("time", time)
    zero = np.zeros(law.size)
    y = _solve(slope, first, end, np.concatenate([x, zero, x**2, zero, zero])).reshape(5, -1)
    return Moments(y[0], y[2], law.u(end))


class _Law:
    """Constants of the SDE and its deterministic u."""

    def __init__(self, h: Any, C: Any, rate: Any, size: Any, b2: Any, eps: Any, u0: Any) -> None:
        self.h = _checks.vector("curvature", h)
        self.size = len(self.h)
        self.C = _checks.vector("gradient_variance", C, self.size)
        if self.C.min() <= 0:
            msg = f"gradient_variance must be > 0 in every coordinate, got {self.C.min():g}: noise dominates here."
            raise ValueError(msg)
        self.u0 = _checks.vector("second_moment", u0, self.size)
        if self.u0.min() < 0:
            msg = f"second_moment must be >= 0 in every coordinate, got {self.u0.min():g}."
            raise ValueError(msg)
        self.rate = _checks.squarable("learning_rate", rate)
        self.sigma0 = self.rate / math.sqrt(_checks.integer("batch_size", size))
        self.eps0 = self.rate * _checks.within("eps", eps, 0.0, math.inf)
        self.c2 = (1 - _checks.within("b2", b2, 0.0, 1.0, closed="neither")) / self.rate**2

    def u(self, t: float) -> Array:
        return np.asarray(self.u0 * math.exp(-self.c2 * t) - self.C * math.expm1(-self.c2 * t))

    def divisor(self, t: float, shrink: float) -> Array:
        return np.asarray(self.sigma0 * np.sqrt(self.u(t)) + self.eps0 * shrink)


def _solve(slope: Callable[[float, Array], Array], first: float, end: float, y: Array) -> Array:
    asked = itertools.count()

    def counted(s: float, y: Array) -> Array:
        if next(asked) > _MOST_SLOPES:
            msg = f"time must be shorter: the equation needs too many steps to reach {end:g}."
            raise ValueError(msg)
        return end * slope(s * end, y)

    # in units of the end: LSODA's own first step means nothing to times as small as η²
    found = solve_ivp(counted, (min(first / end, 1.0), 1.0), y, method="LSODA", rtol=1e-10, atol=1e-14)
    if not found.success:
        msg = f"time must be such that the equation can be solved, but {end:g} could not be reached: {found.message}"
        raise ValueError(msg)
    return np.asarray(found.y[:, -1])
