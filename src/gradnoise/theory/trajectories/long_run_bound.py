"""The most that a long-run covariance can be."""

from __future__ import annotations

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of
from gradnoise.theory.noise.batch_noise import batch_noise


def long_run_bound(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    batch_size: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Smallest long-run covariance that a linear method with independent minibatches can have.

    Equation: V ⪰ H⁻¹ S H⁻¹, with equality without injected noise, whatever the preconditioner, momentum or Nesterov step.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    batch_size           B       ()      examples a step
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       (D, D)  parameter² · steps
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise, one independent minibatch a step, consistent method (rest point −H⁻¹ξ under a
    constant force ξ).
    Limit: at the posterior covariance τ ≥ (N/B) aᵀH⁻¹CH⁻¹a/aᵀH⁻¹a: one draw per N examples if C = H, at any batch size.

    Reference: derived here; Polyak and Juditsky (1992) for averages of SGD.

    >>> long_run_bound([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], batch_size=4).round(7)
    array([[ 0.104456 , -0.1835527],
           [-0.1835527,  0.5826591]])
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    inverse = inverse_of(
        _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance"), 1.0
    )
    bound = inverse @ noise @ inverse
    return _checks.symmetrised(bound)
