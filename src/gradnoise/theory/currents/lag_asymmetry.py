"""The signature of a current in a trajectory's autocovariance."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.currents.circulation import circulation


def lag_asymmetry(hessian: ArrayLike, diffusion: ArrayLike, *, temperature: float, lag: float) -> Array:
    r"""Antisymmetric part of the autocovariance, the signature of a current that a trajectory shows.

    Equation: A(τ) = ½(E[θ(t+τ)θ(t)ᵀ] − transpose); eigenbasis of H: A_ij = Σ_ij (e^{−h_iτ} − e^{−h_jτ})/2.

    ===========  ======  ======  ==========================================
    argument     symbol  shape   scale
    ===========  ======  ======  ==========================================
    hessian      H       (D, D)  curvature of the mean loss
    diffusion    D       (D, D)  gradient²: C, per example
    temperature  T       ()      parameter²/loss: η/(2B)
    lag          τ       ()      time: η a step
    returns      A       (D, D)  parameter², antisymmetric
    ===========  ======  ======  ==========================================

    Assumptions: as in `circulation`. In discrete time: the antisymmetric part of `LinearChain.autocovariance`.
    Limit: small τ: −TQτ. |A_ij| peaks at τ = ln(h_i/h_j)/(h_i − h_j). Single coordinates of the eigenbasis show nothing of Q.

    Reference: derived here; Strang (2024), arXiv 2411.07613, for area production as a test of irreversibility.

    >>> lag_asymmetry([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25, lag=1.0).round(6)
    array([[ 0.      , -0.037696],
           [ 0.037696,  0.      ]])
    """
    law = circulation(hessian, diffusion, temperature=temperature)
    values, vectors = np.linalg.eigh(np.asarray(hessian, dtype=np.float64))
    ahead = vectors * np.exp(-values * _checks.real("lag", lag)) @ vectors.T @ law.covariance
    return np.asarray((ahead - ahead.T) / 2)
