"""Sign descent with minibatches: the best step, and what it gains."""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.noise_scales import BestStep


def best_sign_step(
    gradient: ArrayLike, standard_deviation: ArrayLike, hessian: ArrayLike, *, batch_size: float
) -> BestStep:
    r"""Learning rate with the largest expected decrease of a quadratic in one step of sign descent at a batch size.

    Equation: mᵢ = E sign(ĝᵢ) = erf(√(B/2) gᵢ/σᵢ); η = gᵀm/(tr H + mᵀ(H − diag H)m), decrease ½ η gᵀm.

    ==================  ======  ======  ==========================================
    argument            symbol  shape   scale
    ==================  ======  ======  ==========================================
    gradient            g       (D,)    gradient, mean loss
    standard_deviation  σ       (D,)    gradient, per example, of each coordinate
    hessian             H       (D, D)  curvature of the mean loss
    batch_size          B       ()      examples, any number > 0
    returns             –       ()      η: parameter; loss
    ==================  ======  ======  ==========================================

    Assumptions: Gaussian noise independent between coordinates; quadratic loss.
    Limit: small B: η ∝ √B; large B: noise-free sign descent, so that the Euclidean noise scale is the wrong measure.

    Reference: "surge" phenomenon, arXiv 2405.14578 (2024); erf in place of its sigmoid-like approximation, derived here.

    >>> found = best_sign_step([0.3, -0.2], [1.0, 0.6], [[2.0, 0.3], [0.3, 0.5]], batch_size=16)
    >>> round(found.learning_rate, 6), round(found.loss_decrease, 6)
    (0.185867, 0.03666)
    """
    mean = _checks.vector("gradient", gradient)
    spread = _checks.vector("standard_deviation", standard_deviation, len(mean))
    if spread.min() <= 0:
        msg = f"standard_deviation must be > 0 in every coordinate, got {spread.min():g}."
        raise ValueError(msg)
    curvature = _checks.symmetric("hessian", hessian, len(mean))
    size = _checks.positive("batch_size", batch_size)
    drift = erf(np.sqrt(size / 2) * mean / spread)
    off = curvature - np.diag(np.diag(curvature))
    bend = float(np.trace(curvature) + drift @ off @ drift)
    if bend <= 0:
        msg = f"hessian must curve upwards along the step, but tr H + mᵀ(H − diag H)m = {bend:.6g}: no step is best."
        raise ValueError(msg)
    gain = float(mean @ drift)
    return BestStep(gain / bend, gain**2 / (2 * bend))
