"""The learning rate of the largest expected decrease in one step, of SGD and of its signs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.noise.noise_scales import bend_along, checked_local


@dataclass(frozen=True)
class BestStep:
    """The learning rate that lowers the expected loss most in one step, and by how much.

    Attributes
    ----------
    learning_rate
        η of that step.
    loss_decrease
        Expected decrease of the mean loss, > 0.
    """

    learning_rate: float
    loss_decrease: float


def best_step(
    gradient: ArrayLike, gradient_covariance: ArrayLike, hessian: ArrayLike, *, batch_size: float
) -> BestStep:
    r"""Learning rate with the largest expected decrease of a quadratic in one step of SGD at a batch size.

    Equation: E ΔL = −η|∇L|² + ½η²(∇LᵀH∇L + tr(HC)/B); η = η_max/(1 + B_noise/B), η_max = |∇L|²/∇LᵀH∇L; decrease
    ΔL_max/(1 + B_noise/B), ΔL_max = |∇L|⁴/(2∇LᵀH∇L).

    ===================  ======  ======  ==========================
    argument             symbol  shape   scale
    ===================  ======  ======  ==========================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    hessian              H       (D, D)  curvature of the mean loss
    batch_size           B       ()      examples, any number > 0
    returns              –       ()      η: parameter²/loss; loss
    ===================  ======  ======  ==========================

    Assumptions: quadratic loss; with replacement, or B ≪ N; one step: repeated, the best learning rate is smaller.
    Limit: B ≪ B_noise: both proportional to B; B ≫ B_noise: steepest descent. Steps and examples to a target then obey
    (S/S_min − 1)(E/E_min − 1) = 1 with S ∝ 1 + B_noise/B, E ∝ 1 + B/B_noise.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eqs. (2.6)–(2.7); `docs/derivations/noise_scale.md`.

    >>> found = best_step([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]], [[2.0, 0.3], [0.3, 0.5]], batch_size=10)
    >>> round(found.learning_rate, 6), round(found.loss_decrease, 6)
    (0.623441, 0.07793)
    """
    mean, covariance, curvature = checked_local(gradient, gradient_covariance, hessian)
    size = _checks.positive("batch_size", batch_size)
    bend_along(mean, curvature)
    square = float(mean @ mean)
    rate = square / (float(mean @ curvature @ mean) + float(np.sum(curvature * covariance)) / size)
    return BestStep(rate, rate * square / 2)


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
