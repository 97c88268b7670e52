"""Bayesian evidence of a minimum: Laplace's estimate, its Occam factor, and two cases that check it."""

from __future__ import annotations

import math

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def log_evidence(total_log_joint: float, total_hessian: ArrayLike) -> float:
    r"""Laplace estimate of the log evidence at the posterior mode.

    Equation: ln Z = ln p(y, θ̂) + (D/2) ln 2π − ½ ln det A, with A = −∇² ln p(y, θ)|θ̂ = N·∇²L.

    ===============  ==========  ======  =====================================================
    argument         symbol      shape   scale
    ===============  ==========  ======  =====================================================
    total_log_joint  ln p(y, θ̂)  ()      **sum** over examples plus the *normalised* log prior
    total_hessian    A           (D, D)  of the total, not the mean: N times the mean loss's
    returns          ln Z        ()      nats
    ===============  ==========  ======  =====================================================

    Assumptions: quadratic log joint around the mode; a proper prior (an improper one has no evidence).
    Limit: exact for linear regression with Gaussian noise (`linear_regression_evidence`).

    Reference: Smith and Le (2018), eqs. (7)–(9), there with C = −ln p(y, θ̂) + (D/2) ln(λ/2π): a mean-loss Hessian must be
    multiplied by N first.

    >>> round(log_evidence(-3.0, [[4.0, 0.0], [0.0, 1.0]]), 6)
    -1.85527
    """
    joint = _checks.real("total_log_joint", total_log_joint)
    eigenvalues = _spectrum(total_hessian)
    return float(joint + len(eigenvalues) / 2 * math.log(2 * math.pi) - np.log(eigenvalues).sum() / 2)


def log_occam_factor(total_hessian: ArrayLike, *, prior_precision: float, above_prior: bool = False) -> float:
    r"""Log of the fraction of the prior's volume that the data leave: the price of precise parameters.

    Equation: −½ Σᵢ ln(λᵢ/λ) over the eigenvalues λᵢ of A.

    ===============  ======  ======  ====================================================
    argument         symbol  shape   scale
    ===============  ======  ======  ====================================================
    total_hessian    A       (D, D)  of the total negative log posterior, prior included
    prior_precision  λ       ()      of the prior N(0, I/λ); total, not divided by N
    above_prior      –       ()      keep only λᵢ ≥ λ: away from a minimum
    returns          –       ()      nats, ≤ 0 at a minimum of a convex loss
    ===============  ======  ======  ====================================================

    Assumptions: isotropic Gaussian prior; quadratic log joint around the mode.
    Limit: no data: A = λI gives 0.

    Reference: Smith and Le (2018), eqs. (8)–(9); keeping λᵢ ≥ λ alone is their heuristic.

    >>> round(log_occam_factor([[8.0, 0.0], [0.0, 2.0]], prior_precision=2.0), 6)
    -0.693147
    """
    precision = _checks.positive("prior_precision", prior_precision)
    if _checks.flag("above_prior", above_prior):
        eigenvalues = np.linalg.eigvalsh(_checks.symmetric("total_hessian", total_hessian))
        eigenvalues = eigenvalues[eigenvalues >= precision]
    else:
        eigenvalues = _spectrum(total_hessian)
    return float(-np.log(eigenvalues / precision).sum() / 2)


def log_evidence_ratio(
    total_cost: float, total_hessian: ArrayLike, *, prior_precision: float, num_examples: int, num_classes: int
) -> float:
    r"""Log of the evidence of a classifier over that of the null model, which gives every class the same probability.

    Equation: ln(Z/Z₀) = −E, E = 𝒞 + ½ Σᵢ ln(λᵢ/λ) − N ln n. **Positive: the data support the model.**

    ===============  ======  ======  =======================================================
    argument         symbol  shape   scale
    ===============  ======  ======  =======================================================
    total_cost       𝒞       ()      Σ cross-entropy + ½λ|θ|², **sum** over examples, nats
    total_hessian    A       (D, D)  of 𝒞
    prior_precision  λ       ()      coefficient of the sum; mean-loss weight decay times N
    num_examples     N       ()      examples
    num_classes      n       ()      classes, all equally likely in the null model
    returns          −E      ()      nats
    ===============  ======  ======  =======================================================

    Assumptions: isotropic Gaussian prior N(0, I/λ), λ > 0; quadratic cost around the mode.
    Limit: λ → ∞ pins θ at 0, where a softmax is the null model: 0.

    Reference: Smith and Le (2018), eq. (10), which prints E, in favour of the null.

    >>> round(log_evidence_ratio(3.0, [[8.0, 0.0], [0.0, 2.0]], prior_precision=2.0, num_examples=10, num_classes=2), 6)
    3.238325
    """
    cost = _checks.real("total_cost", total_cost)
    examples = _checks.integer("num_examples", num_examples)
    classes = _checks.integer("num_classes", num_classes, low=2)
    null = -examples * math.log(classes)
    return log_occam_factor(total_hessian, prior_precision=prior_precision) - cost - null


def linear_regression_evidence(
    X: ArrayLike, y: ArrayLike, *, prior_precision: float, observation_scale: float
) -> float:
    r"""Exact log evidence of Bayesian linear regression.

    Equation: ln Z = ln N(y; 0, σ²I + XXᵀ/λ), through the singular values of X.

    =================  ======  ======  ==========================
    argument           symbol  shape   scale
    =================  ======  ======  ==========================
    X                  X       (N, D)  response/parameter
    y                  y       (N,)    response
    prior_precision    λ       ()      1/parameter², prior N(0, I/λ)
    observation_scale  σ       ()      response, sd of the noise
    returns            ln Z    ()      nats (density of y)
    =================  ======  ======  ==========================

    Assumptions: y = Xθ + σ·normal, θ ~ N(0, I/λ).
    Limit: λ → ∞ leaves the noise alone, N(0, σ²I).

    Reference: MacKay (1992), Bayesian interpolation; the form in singular values is derived here. Smith and Le (2018) use it as the case
    where Laplace is exact.

    >>> round(linear_regression_evidence([[1.0], [0.0]], [1.0, 2.0], prior_precision=1.0, observation_scale=1.0), 6)
    -4.434451
    """
    design, target = _checks.array("X", X), _checks.vector("y", y)
    if design.ndim != 2 or len(design) != len(target):
        msg = f"X must have shape ({len(target)}, D), one row for each y, got shape {design.shape}."
        raise ValueError(msg)
    precision = _checks.positive("prior_precision", prior_precision)
    variance = _checks.squarable("observation_scale", observation_scale) ** 2
    U, s, _ = np.linalg.svd(design, full_matrices=False)
    inside, spread = U.T @ target, variance + s**2 / precision
    rest = target - U @ inside
    outside = float(rest @ rest)
    log_det = np.log(spread).sum() + (len(target) - len(s)) * math.log(variance)
    quadratic = (inside**2 / spread).sum() + outside / variance
    return float(-(len(target) * math.log(2 * math.pi) + log_det + quadratic) / 2)


def _spectrum(total_hessian: ArrayLike) -> Array:
    eigenvalues = np.asarray(np.linalg.eigvalsh(_checks.symmetric("total_hessian", total_hessian)), np.float64)
    if eigenvalues[0] <= 0:
        msg = (
            f"total_hessian must be positive definite, but its smallest eigenvalue is {eigenvalues[0]:.6g}. "
            "Laplace's estimate holds at a minimum; dead directions need a proper prior."
        )
        raise ValueError(msg)
    return eigenvalues
