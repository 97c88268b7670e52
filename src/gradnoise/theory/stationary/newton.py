"""Curvature-preconditioned SGD: damped Newton, and natural gradient on linear regression."""

from __future__ import annotations

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise


def newton_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Stationary covariance of damped Newton, θ ← θ − η H⁻¹ m, with constant noise, exact in discrete time.

    Equation: Σ = η(1+μ)/[(1−μ)(2(1+μ) − η)] H⁻¹ S H⁻¹.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    learning_rate        η       ()      dimensionless: H⁻¹ carries the scale
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise. All directions share one contraction rate, so H and C need not commute.
    Limit: η → 0 gives η/(2(1−μ)) H⁻¹SH⁻¹: a multiple of the sandwich covariance. Unstable from η = 2(1+μ).

    Reference: Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate SGD; any C with momentum derived here.

    >>> newton_covariance([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], learning_rate=0.5, batch_size=4).round(7)
    array([[ 0.0348187, -0.0611842],
           [-0.0611842,  0.1942197]])
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    eta, mu = _newton_rate(learning_rate, momentum)
    inverse = inverse_of(hessian, 1.0)
    full = eta * (1 + mu) / ((1 - mu) * (2 * (1 + mu) - eta)) * inverse @ noise @ inverse
    return _checks.symmetrised(full)


def newton_regression_covariance(
    hessian: ArrayLike, *, label_variance: float, learning_rate: float, batch_size: int, momentum: float = 0.0
) -> Array:
    r"""Stationary covariance of damped Newton on linear regression with Gaussian inputs, state-dependent noise included.

    Equation: Σ = η s²/(gB − ηD) H⁻¹, g = 2(1−μ) − ((1−μ)/(1+μ) + 1/B) η.

    ==============  ======  ======  ==========================================================
    argument        symbol  shape   scale
    ==============  ======  ======  ==========================================================
    hessian         H       (D, D)  curvature of the mean loss: the covariance of the inputs
    label_variance  s²      ()      loss; variance of the label noise (loss ½ (xᵀθ − y)²)
    learning_rate   η       ()      dimensionless
    batch_size      B       ()      fresh examples a step
    momentum        μ       ()      m ← μ m + g; θ ← θ − η H⁻¹ m
    returns         Σ       (D, D)  parameter²
    ==============  ======  ======  ==========================================================

    Assumptions: inputs N(0, H), labels linear plus independent noise, infinitely many data. Stable iff gB > ηD, else
    ValueError; μ = 0: η < 2B/(B + 1 + D).
    Limit: D ≪ B gives `newton_covariance` with C = s²H.

    Reference: Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, §6.4.

    >>> newton_regression_covariance([[2.0, 0.0], [0.0, 1.0]], label_variance=0.5, learning_rate=0.5, batch_size=4).round(7)
    array([[0.0277778, 0.       ],
           [0.       , 0.0555556]])
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    size, batch = len(hessian), _checks.integer("batch_size", batch_size)
    eta, mu = _checks.positive("learning_rate", learning_rate), _checks.momentum(momentum)
    variance = _checks.positive("label_variance", label_variance)
    bend = (1 - mu) / (1 + mu) + 1 / batch
    edge = 2 * (1 - mu) * batch / (bend * batch + size)
    if eta >= edge:
        msg = f"learning_rate must be below the second-moment edge {edge:.6g}, got {eta:.6g}."
        raise ValueError(msg)
    return inverse_of(hessian, eta * variance / ((2 * (1 - mu) - bend * eta) * batch - eta * size))


def _newton_rate(learning_rate: float, momentum: float) -> tuple[float, float]:
    eta, mu = _checks.positive("learning_rate", learning_rate), _checks.momentum(momentum)
    if eta >= rate_edge(momentum=mu):
        msg = f"learning_rate must be below the stability edge {rate_edge(momentum=mu):.6g} of damped Newton, got {eta:.6g}."
        raise ValueError(msg)
    return eta, mu
