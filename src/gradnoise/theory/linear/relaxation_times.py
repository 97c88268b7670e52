"""How long SGD on a quadratic remembers its start."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, mode_transitions, modes_of


def relaxation_times(
    hessian: ArrayLike,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
) -> Array:
    r"""Return the steps in which each direction forgets a factor e, from the softest direction to the stiffest.

    Equation: −1/ln ρ_i with ρ_i the spectral radius of direction i: |1 − r_i| for SGD, else of
    [[1−r, −μ], [r, μ]] (heavy ball) or [[1−(1+μ)r, −μ²], [r, μ]] (Nesterov), r_i = eigenvalues of η P H.

    ==============  ======  ======  ================================
    argument        symbol  shape   scale
    ==============  ======  ======  ================================
    hessian         H       (D, D)  curvature of the mean loss
    learning_rate   η       ()      parameter²/loss
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  multiplies the learning rate
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         –       (D,)    steps; ascending eigenvalues of PH
    ==============  ======  ======  ================================

    Assumptions: quadratic loss. A direction that does not relax has infinity.
    Limit: small steps give (1 − μ)/(η λ_i).

    Reference: Mandt, Hoffman, Blei (2017), eq. (48), in discrete time.

    >>> relaxation_times([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.2).round(4)
    array([9.4912, 1.9576])
    """
    hessian = _checks.symmetric("hessian", hessian)
    rates = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(hessian))).rates
    radius = np.abs(np.linalg.eigvals(mode_transitions(rates, _checks.momentum(momentum), nesterov))).max(-1)
    with np.errstate(divide="ignore"):
        return np.where(radius < 1, -1 / np.log(np.minimum(radius, 1.0)), np.inf)
