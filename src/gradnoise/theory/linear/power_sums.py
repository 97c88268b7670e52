"""Sums of powers of a matrix by doubling: the covariance of a linear recursion, and its window sums."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

NEGLIGIBLE = 1e-18  # a power of F this small adds nothing to a float64 sum of squares


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
