"""The covariance of a linear recursion, by doubling: nothing cancels, whatever the eigenvalues."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.power_sums import NEGLIGIBLE

_DOUBLINGS = 64  # 2⁶⁴ steps: more than any radius below 1 in float64 needs


def stein(transition: ArrayLike, noise: ArrayLike) -> Array:
    r"""Solve Z = F Z Fᵀ + Ω: the covariance of a stationary linear recursion.

    Equation: Z = Σ_{j≥0} Fʲ Ω Fʲᵀ, summed by doubling, Z_{2m} = Z_m + Fᵐ Z_m Fᵐᵀ. Every term is positive semidefinite, so
    nothing cancels, also beside the edge of stability and where F has no basis of eigenvectors (critical damping).

    ==========  ======  ======  ==========================
    argument    symbol  shape   scale
    ==========  ======  ======  ==========================
    transition  F       (n, n)  per step
    noise       Ω       (n, n)  state², added each step
    returns     Z       (n, n)  state²
    ==========  ======  ======  ==========================

    Assumptions: spectral radius of F below 1, else ValueError. Ω may be any matrix.
    Limit: F → 0 gives Ω. With n = 1 it is Ω/(1 − F²).

    Reference: Smith (1968), Matrix equation XA + BX = C, SIAM J. Appl. Math. 16, for the doubling; derived here: the second m terms of the
    series are the first m between Fᵐ and Fᵐᵀ.

    >>> stein([[0.5, 0.0], [0.0, 0.2]], [[3.0, 0.9], [0.9, 0.96]])
    array([[4., 1.],
           [1., 1.]])
    """
    power = _checks.square("transition", transition)
    total = _checks.square("noise", noise, len(power))
    even = bool((total == total.T).all())  # then so is the sum, but for the rounding of some processors
    for _ in range(_DOUBLINGS):
        size = np.abs(power).max()
        if size**2 <= NEGLIGIBLE / len(power) ** 2:
            return _checks.symmetrised(total) if even else total
        if size > 1e30:  # no stable chain swings that far
            break
        total = total + power @ total @ power.T
        power = power @ power
    msg = "transition must have a spectral radius below 1: its powers do not die out, so there is no stationary law."
    raise ValueError(msg)
