"""The local learning coefficient, as a localised Langevin run of finite step and batch reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.linear.stability_edge import require_forgetting
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.linear_chain import chain_from_noise


@dataclass(frozen=True)
class LearningCoefficient:
    """Local learning coefficient that a Langevin run reads, beside the ideal one.

    Attributes
    ----------
    value
        What the run's average converges to at this step and batch size.
    ideal
        At zero step and full batch.
    standard_error
        Of the average over `num_steps` kept steps of one chain; None where that was not given.
    """

    value: float
    ideal: float
    standard_error: float | None


def learning_coefficient(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    inverse_temperature: float,
    localization: float,
    step_size: float,
    batch_size: int,
    num_steps: int | None = None,
) -> LearningCoefficient:
    r"""Local learning coefficient on a quadratic, as a minibatch Langevin run of finite step reads it.

    Equation: w ← w − (ε/2)(nβ ĝ + γ(w−w*)) + √ε ξ; λ̂ = (nβ/2) tr HΣ with Σ of the chain F = I − (ε/2)A, A = nβH + γI,
    Ω = (ε/2)²(nβ)²C/m + εI; ideal Σ = A⁻¹; standard error (nβ/2)√(2 tr(HΣHΣ) τ₂(H)/T).

    ===================  ======  ======  ==========================================
    argument             symbol  shape   scale
    ===================  ======  ======  ==========================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    inverse_temperature  nβ      ()      1/loss; n/ln n for the usual estimate
    localization         γ       ()      1/parameter²
    step_size            ε       ()      parameter²
    batch_size           m       ()      examples a step
    num_steps            T       ()      steps averaged over
    returns              λ̂       ()      a record of pure numbers
    ===================  ======  ======  ==========================================

    Assumptions: quadratic loss, constant noise; steps draw independently.
    Limit: ε → 0 gives the ideal value (nβ/2) tr H(nβH + γI)⁻¹, which is D/2 as nβ → ∞.

    Reference: Lau et al. (2023), the estimator; its bias at finite step and batch derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> found = learning_coefficient(H, C, inverse_temperature=100, localization=1, step_size=1e-3, batch_size=32)
    >>> round(found.ideal, 6), round(found.value, 6)
    (0.986526, 1.075462)
    """
    strength = _checks.positive("inverse_temperature", inverse_temperature)
    spring = _checks.within("localization", localization, 0.0, math.inf)
    step = _checks.positive("step_size", step_size)
    curvature = _checks.symmetric("hessian", hessian, definite="positive" if spring == 0 else "semi")
    force = strength * curvature + spring * np.eye(len(curvature))
    per_example = _checks.symmetric("gradient_covariance", gradient_covariance, len(curvature), definite="semi")
    edge = 4 / float(np.linalg.eigvalsh(force)[-1])
    if step >= edge:
        msg = f"step_size must be below the stability edge {edge:.6g}, got {step:.6g}."
        raise ValueError(msg)
    require_forgetting("step_size", np.asarray(step / 2 * np.linalg.eigvalsh(force)), 1e-15)
    chain = chain_from_noise(
        force,
        batch_noise(per_example, batch_size=batch_size) * strength**2,
        learning_rate=step / 2,
        injected=step * np.eye(len(curvature)),
    )
    product = curvature @ chain.covariance
    half, error = strength / 2, None
    if num_steps is not None:
        count = _checks.integer("num_steps", num_steps)
        time = chain.iact(curvature, quadratic=True)
        error = float(half * math.sqrt(2 * np.trace(product @ product) * time / count))
    ideal = half * np.trace(np.linalg.solve(force, curvature))
    return LearningCoefficient(float(half * np.trace(product)), float(ideal), error)
