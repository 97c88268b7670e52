"""The power law that noise proportional to the loss makes of the stationary density, and its bulk exponent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

_NOISES = ("gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional")


def bulk_exponent(
    *, curvature: float, learning_rate: float, batch_size: float, noise: str = "gaussian_inputs"
) -> float:
    r"""Exponent φ of the power law L^{−φ} that describes the *bulk* of the stationary density, by matching its exact variance.

    Equation: gaussian_inputs φ = ½ + B/(ηa) − B/2; loss_proportional (C = 2LH) φ = 1 + B/(ηa) − B/2; as stochastic differential equations (η → 0)
    ½ + B/(2ηa) + ½ and 1 + B/(ηa). Density ∝ (L* + ½aθ²)^{−φ}; its own tail is P(|θ| > r) ∝ r^{−(2φ−1)}.

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    curvature      a       ()     loss/parameter²
    learning_rate  η       ()     parameter²/loss
    batch_size     B       ()     examples a step; any number > 0
    noise          –       –      "gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional"
    returns        φ       ()     dimensionless
    =============  ======  =====  ==========================================

    Assumptions: one dimension (or isotropic noise), label noise. Maximum-likelihood fits of 10⁵ samples agree to 1 %.
    Limit: 2φ − 1 is `tail_exponent` only where both are 2; elsewhere the true tail is another: never mix the two.

    Reference: Ziyin, Liu, Mori, Ueda (2022), §6.6 (β = 2B/(ηa) − B = 2φ − 1, there called the tail index); Mori, Ziyin, Liu, Ueda (2022), eq. (18),
    the loss-proportional SDE. Finite η by variance matching derived here; "sde_gaussian_inputs" has the exact noise 2LA + Aδδ'A: B/(ηa) + 1 = 2φ − 1.

    >>> bulk_exponent(curvature=1.0, learning_rate=0.5, batch_size=4), bulk_exponent(
    ...     curvature=1.0, learning_rate=0.5, batch_size=4, noise="loss_proportional")
    (6.5, 7.0)
    """
    kind = _checks.one_of("noise", noise, _NOISES)
    batch = _checks.positive("batch_size", batch_size)
    cold = batch / (_checks.positive("learning_rate", learning_rate) * _checks.positive("curvature", curvature))
    if kind.startswith("sde"):
        return 1 + (cold / 2 if kind == "sde_gaussian_inputs" else cold)
    found = (0.5 if kind == "gaussian_inputs" else 1.0) + cold - batch / 2
    if found <= 0.5:
        msg = f"learning_rate must be below {2 * learning_rate * cold / batch:.6g}: beyond it no density of this form is normalisable, got {learning_rate:.6g}."
        raise ValueError(msg)
    return found


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
