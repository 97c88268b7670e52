"""Scalar measures of gradient noise: temperature, the batch sizes they single out, and the best step at a batch size."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def gradient_noise_scale(gradient: ArrayLike, gradient_covariance: ArrayLike) -> float:
    r"""Return the simple gradient noise scale, the batch size at which noise and signal of one gradient are equal.

    Equation: B_simple = tr C/|∇L|².

    ===================  ======  ======  ======================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    returns              –       ()      examples
    ===================  ======  ======  ======================

    Assumptions: none; as a critical batch size it takes H ∝ I. Near stationarity it only reports the temperature.
    Limit: equals `critical_noise_scale` for H ∝ I.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eq. (2.9).

    >>> gradient_noise_scale([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]])
    6.0
    """
    mean = _gradient(gradient)
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, len(mean), definite="semi")
    return float(np.trace(covariance) / (mean @ mean))


def critical_noise_scale(gradient: ArrayLike, gradient_covariance: ArrayLike, hessian: ArrayLike) -> float:
    r"""Critical batch size of one step on a quadratic: where doubling the batch stops paying.

    Equation: B_noise = tr(HC)/(∇Lᵀ H ∇L).

    ===================  ======  ======  ==========================
    argument             symbol  shape   scale
    ===================  ======  ======  ==========================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    hessian              H       (D, D)  curvature of the mean loss
    returns              –       ()      examples
    ===================  ======  ======  ==========================

    Assumptions: quadratic loss; plain SGD; ∇LᵀH∇L > 0.
    Limit: H ∝ I gives `gradient_noise_scale`.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eq. (2.8).

    >>> round(critical_noise_scale([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]], [[2.0, 0.3], [0.3, 0.5]]), 6)
    11.329787
    """
    mean, covariance, curvature = checked_local(gradient, gradient_covariance, hessian)
    return float(np.sum(curvature * covariance) / bend_along(mean, curvature))


def _gradient(gradient: ArrayLike) -> Array:
    mean = _checks.vector("gradient", gradient)
    if not mean.any():
        msg = "gradient must not be zero: without signal no finite batch size balances the noise."
        raise ValueError(msg)
    return mean


def checked_local(gradient: ArrayLike, covariance: ArrayLike, hessian: ArrayLike) -> tuple[Array, Array, Array]:
    """Return gradient (D,), its covariance and the Hessian (D, D), checked against each other."""
    mean = _gradient(gradient)
    noise = _checks.symmetric("gradient_covariance", covariance, len(mean), definite="semi")
    return mean, noise, _checks.symmetric("hessian", hessian, len(mean))


def bend_along(mean: Array, curvature: Array) -> float:
    """Return the curvature along the gradient, gᵀHg > 0."""
    bend = float(mean @ curvature @ mean)
    if bend <= 0:
        msg = f"hessian must curve upwards along the gradient, but ∇LᵀH∇L = {bend:.6g}: no step is best there."
        raise ValueError(msg)
    return bend
