"""The power law that noise proportional to the loss makes of the stationary density, and its bulk exponent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.tails.bulk_exponent import bulk_exponent


@dataclass(frozen=True, eq=False)
class LossPowerLaw:
    """Stationary law of a quadratic valley under noise proportional to the loss, C = 2LH.

    Attributes
    ----------
    exponent
        φ in density ∝ L^{−φ}, for the stiffest direction's noise; exact for the SDE where that noise is isotropic.
    mean_loss
        E L, loss.
    covariance
        Σ, (D, D), parameter².
    normalisable
        Whether L^{−φ} has a finite integral in the D dimensions: D < 2φ.
    """

    exponent: float
    mean_loss: float
    covariance: Array
    normalisable: bool


def loss_power_law(
    hessian: ArrayLike, *, minimum_loss: float, learning_rate: float, batch_size: float, time: str = "discrete"
) -> LossPowerLaw:
    r"""Stationary law of SGD in a quadratic valley whose noise is proportional to the loss, C = 2LH.

    Equation: discrete Σ = (2η/B) E L (2 − ηH)⁻¹, E L = L*/(1 − (η/B) Σ h_i/(2 − ηh_i)); continuous Σ = (η/B) E L · I,
    E L = L*/(1 − η Tr H/(2B)); density ∝ L^{−φ}, φ of `bulk_exponent` at λ_max.

    =============  ======  ======  ==========================================
    argument       symbol  shape   scale
    =============  ======  ======  ==========================================
    hessian        H       (D, D)  curvature of the mean loss
    minimum_loss   L*      ()      loss, > 0
    learning_rate  η       ()      parameter²/loss
    batch_size     B       ()      examples a step; any number > 0
    time           –       –       "discrete" (default), "continuous"
    returns        –       –       `LossPowerLaw`
    =============  ======  ======  ==========================================

    Assumptions: mean squared error, residuals decoupled from their gradients, H frozen. The moments are exact for any H; the power law only for
    isotropic noise.
    Limit: L* → 0 collapses onto the minimum. E L is finite iff the denominator is positive (continuous: Tr H < 2B/η), a stricter bound than
    normalisability; beyond it the call raises.

    Reference: Mori, Ziyin, Liu, Ueda (2022), Power-law escape rate of SGD, eqs. (18) and (19); moments and discrete time derived here.

    >>> law = loss_power_law([[1.0]], minimum_loss=0.01, learning_rate=0.1, batch_size=0.5)
    >>> round(law.mean_loss, 8), law.covariance.round(8), law.exponent
    (0.01117647, array([[0.00235294]]), 5.75)
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    bottom, rate = _checks.positive("minimum_loss", minimum_loss), _checks.positive("learning_rate", learning_rate)
    batch = _checks.positive("batch_size", batch_size)
    values, vectors = np.linalg.eigh(hessian)
    slack = 2 - rate * values if time == "discrete" else np.full(len(values), 2.0)
    used = math.inf if slack.min() <= 0 else rate / batch * float(np.sum(values / slack))
    if used >= 1:
        msg = f"learning_rate must be small enough for a finite mean loss: (η/B) Σ h/(2 − ηh) must be below 1, got {used:.6g} at {rate:.6g}."
        raise ValueError(msg)
    mean = bottom / (1 - used)
    sigma = vectors * (2 * rate / batch * mean / slack) @ vectors.T
    noise = "loss_proportional" if time == "discrete" else "sde_loss_proportional"
    phi = bulk_exponent(curvature=float(values[-1]), learning_rate=rate, batch_size=batch, noise=noise)
    return LossPowerLaw(phi, mean, _checks.symmetrised(sigma), len(values) < 2 * phi)
