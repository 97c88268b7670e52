"""Sums of powers of a matrix by doubling: the covariance of a linear recursion, and its window sums."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

_DOUBLINGS = 64  # 2⁶⁴ steps: more than any radius below 1 in float64 needs
NEGLIGIBLE = 1e-18  # a power of F this small adds nothing to a float64 sum of squares


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


def power_sums(transition: ArrayLike, count: int) -> tuple[Array, Array, Array]:
    r"""Sum powers of a matrix without inverting I − F, in O(log T) products.

    Equation: Fᵀ (the T-th power), G_T = Σ_{j<T} Fʲ and U_T = Σ_{k=1..T} G_k = Σ_{j<T} (T − j) Fʲ, from
    G_{m+n} = G_m + Fᵐ G_n and U_{m+n} = U_m + n G_m + Fᵐ U_n.

    ==========  ======  ===========  ==================
    argument    symbol  shape        scale
    ==========  ======  ===========  ==================
    transition  F       (..., n, n)  per step
    count       T       ()           steps, T ≥ 0
    returns     –       three of F's shape  dimensionless
    ==========  ======  ===========  ==================

    Assumptions: none; leading axes are independent matrices.
    Limit: F = I gives I, T·I and T(T+1)/2·I, where the closed form (I − Fᵀ)(I − F)⁻¹ divides by zero.

    Reference: derived here; U_T Z replaces F(I−F^T)(I−F)⁻² Z, which is the same without the cancellation.

    >>> power, once, twice = power_sums([[0.5, 0.0], [0.0, 1.0]], 3)
    >>> np.diag(power), np.diag(once), np.diag(twice)
    (array([0.125, 1.   ]), array([1.75, 3.  ]), array([4.25, 6.  ]))
    """
    base, count = _checks.array("transition", transition), _checks.integer("count", count, low=0)
    if base.ndim < 2 or base.shape[-1] != base.shape[-2]:
        msg = f"transition must be square matrices (..., n, n), got shape {base.shape}."
        raise ValueError(msg)
    one = np.broadcast_to(np.eye(base.shape[-1]), base.shape)
    power, once, twice, done = one, np.zeros_like(base), np.zeros_like(base), 0
    for bit in bin(count)[2:] if count else "":
        # T → 2T, then one more where the bit is set: the binary digits of count from the left
        power, once, twice = power @ power, once + power @ once, twice + done * once + power @ twice
        done *= 2
        if bit == "1":
            power, once, twice = base @ power, one + base @ once, one + done * one + base @ twice
            done += 1
    return power, once, twice
