"""Where momentum makes SGD swing, and how fast."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.trajectories.position_velocity import TIMES, checked_inertia


def oscillation_frequencies(
    hessian: ArrayLike, *, learning_rate: float, momentum: float, time: str = "discrete"
) -> Array:
    r"""Angle per step by which heavy ball turns in the plane of position and velocity, per eigendirection.

    Equation: cos φ = (1 + μ − ηh)/(2√μ) (discrete); φ = √(2ηh/(1+μ) − ((1−μ)/(1+μ))²) (continuous). Zero where it is overdamped,
    ηh ≤ (1−√μ)².

    =============  ======  ======  ===================================
    argument       symbol  shape   scale
    =============  ======  ======  ===================================
    hessian        H       (D, D)  curvature of the mean loss
    learning_rate  η       ()      parameter²/loss
    momentum       μ       ()      m ← μ m + g; θ ← θ − η m; in (0, 1)
    time           –       –       "discrete" (default), "continuous"
    returns        φ       (D,)    radians a step, ascending eigenvalues of H
    =============  ======  ======  ===================================

    Assumptions: quadratic loss. Beyond (1+√μ)² the chain flips its sign each step: φ = π.
    Limit: ηh → 0 at μ → 1 makes both √(ηh).

    Reference: Kunin et al. (2021), arXiv 2107.09133, for continuous time; discrete derived here.

    >>> oscillation_frequencies([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.1, momentum=0.9).round(4)
    array([0.2239, 0.4602])
    """
    time = _checks.one_of("time", time, TIMES)
    mu, eta = checked_inertia(momentum), _checks.positive("learning_rate", learning_rate)
    rates = eta * np.linalg.eigvalsh(_checks.symmetric("hessian", hessian))
    if time == "continuous":
        return np.asarray(np.sqrt(np.maximum(2 * rates / (1 + mu) - ((1 - mu) / (1 + mu)) ** 2, 0.0)))
    return np.asarray(np.arccos(np.clip((1 + mu - rates) / (2 * np.sqrt(mu)), -1.0, 1.0)))
