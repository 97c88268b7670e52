"""The largest learning rate of a quadratic, with momentum, and the checks against it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import Modes, checked_preconditioner, modes_of


def rate_edge(*, momentum: float = 0.0, nesterov: bool = False) -> float:
    r"""Largest stable product of learning rate and curvature of one direction.

    Equation: r < 2(1+μ) for heavy ball (2 for SGD), r < 2(1+μ)/(1+2μ) for Nesterov.

    ========  ======  =====  =============================
    argument  symbol  shape  scale
    ========  ======  =====  =============================
    momentum  μ       ()     m ← μ m + g; θ ← θ − η m
    nesterov  –       –      θ ← θ − η (g + μ m_new)
    returns   r_max   ()     dimensionless, η times λ
    ========  ======  =====  =============================

    Assumptions: quadratic loss; mean stability (with constant noise the second moment has the same edge).
    Limit: μ = 0 gives 2 for both. Nesterov's edge is below SGD's for every μ > 0.

    Reference: the Schur–Cohn conditions of the companion matrices; Polyak (1964) for heavy ball; Nesterov derived here.

    >>> rate_edge(), rate_edge(momentum=0.5), rate_edge(momentum=0.5, nesterov=True)
    (2.0, 3.0, 1.5)
    """
    mu = _checks.momentum(momentum)
    return 2 * (1 + mu) / (1 + 2 * mu) if _checks.flag("nesterov", nesterov) else 2 * (1 + mu)


def stability_edge(
    hessian: ArrayLike, *, momentum: float = 0.0, nesterov: bool = False, preconditioner: ArrayLike | None = None
) -> float:
    r"""Learning rate at which SGD on a quadratic stops being stable.

    Equation: η_max = r_max/λ_max(PH), with r_max of `rate_edge`: 2, 2(1+μ) or 2(1+μ)/(1+2μ).

    ==============  ======  ======  ======================================
    argument        symbol  shape   scale
    ==============  ======  ======  ======================================
    hessian         H       (D, D)  curvature of the mean loss
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  multiplies the learning rate
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         η_max   ()      parameter²/loss (with P: divided by P)
    ==============  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise. With the state-dependent noise of real minibatches the second moment
    diverges earlier.
    Limit: P = I, μ = 0 gives 2/λ_max.

    Reference: Mandt, Hoffman, Blei (2017), after eq. (15); momentum as in `rate_edge`.

    >>> stability_edge([[2.0, 0.0], [0.0, 0.5]]), stability_edge([[2.0, 0.0], [0.0, 0.5]], momentum=0.9)
    (1.0, 1.9)
    """
    hessian = _checks.symmetric("hessian", hessian)
    stiffest = modes_of(hessian, checked_preconditioner(1.0, preconditioner, len(hessian))).rates[-1]
    if stiffest <= 0:
        msg = f"hessian must have a positive eigenvalue to have a stability edge, but its largest is {stiffest:.6g}."
        raise ValueError(msg)
    return rate_edge(momentum=momentum, nesterov=nesterov) / float(stiffest)


def stability_fraction(
    hessian: ArrayLike,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
) -> float:
    r"""Learning rate as a fraction of the stability edge: the validity number of every stationary law.

    Equation: η/η_max; 1 and above has no stationary law, well below 1 the continuous-time forms hold.

    ==============  ======  ======  ================================
    argument        symbol  shape   scale
    ==============  ======  ======  ================================
    hessian         H       (D, D)  curvature of the mean loss
    learning_rate   η       ()      parameter²/loss
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  multiplies the learning rate
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         –       ()      dimensionless
    ==============  ======  ======  ================================

    Assumptions: quadratic loss, constant noise.
    Limit: continuous time is too small by 1/(1 − fraction) along the stiffest direction (SGD, commuting H and C).

    Reference: the ratio to `stability_edge`, derived here; Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate SGD, for
    the distortion near 1.

    >>> stability_fraction([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.25)
    0.25
    """
    edge = stability_edge(hessian, momentum=momentum, nesterov=nesterov, preconditioner=preconditioner)
    return _checks.positive("learning_rate", learning_rate) / edge


def checked_rates(rates: ArrayLike, *, edge: float = np.inf) -> Array:
    """Return rates as a vector (D,) inside (0, edge)."""
    values = _checks.vector("rates", rates)
    if not (values.size and values.min() > 0 and values.max() < edge):
        msg = f"rates must be positive and below the stability edge {edge:.6g}, got {_checks.shown(values)}."
        raise ValueError(msg)
    return values


def require_stable(found: Modes, learning_rate: Any, momentum: float, nesterov: bool) -> None:
    """Raise ValueError naming the stability edge where the rates lie beyond it."""
    if found.rates[0] <= 0:
        msg = f"hessian must be positive definite beyond rounding, but its smallest eigenvalue (times the learning rate) is {found.rates[0]:.3g}."
        raise ValueError(msg)
    edge = rate_edge(momentum=momentum, nesterov=nesterov)
    if found.rates[-1] >= edge:
        rate = float(learning_rate)
        msg = (
            f"learning_rate must be below the stability edge {rate * edge / found.rates[-1]:.6g}, got {rate:.6g}: "
            f"the learning rate times the largest curvature is {found.rates[-1]:.6g}, at most {edge:.6g} is stable."
        )
        raise ValueError(msg)


def require_forgetting(name: str, rates: Array, slowest: float) -> None:
    """Raise where float64, which has 16 digits, does not hold what one step forgets as the difference of 1 − ηh from 1."""
    if rates.min() < slowest:
        msg = f"{name} must be larger: the slowest direction forgets {rates.min():.3g} a step, and float64 holds 1 − ηh from {slowest:g} on."
        raise ValueError(msg)
