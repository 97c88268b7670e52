"""Relative errors of variances, in the directions where they are extreme."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def variance_errors(covariance: ArrayLike, target: ArrayLike) -> Array:
    r"""Relative errors of the variance, from the most under- to the most over-dispersed direction.

    Equation: eigenvalues of Σ*⁻¹Σ − I: the variance of aᵀθ is wrong by at most the last and at least the first, for every a.

    ==========  ======  ======  ==============
    argument    symbol  shape   scale
    ==========  ======  ======  ==============
    covariance  Σ       (D, D)  parameter²
    target      Σ*      (D, D)  parameter²
    returns     –       (D,)    dimensionless, ascending
    ==========  ======  ======  ==============

    Assumptions: target positive definite.
    Limit: Σ = aΣ* gives a − 1 D times.

    Reference: Rayleigh quotients, derived here; the "budget" of discrete-time Bayesian tuning.

    >>> variance_errors([[2.0, 0.0], [0.0, 0.9]], [[1.0, 0.0], [0.0, 1.0]]).round(6)
    array([-0.1,  1. ])
    """
    target = _checks.symmetric("target", target, definite="positive")
    covariance = _checks.symmetric("covariance", covariance, len(target), definite="semi")
    return np.asarray(eigh(covariance, target, eigvals_only=True) - 1)
