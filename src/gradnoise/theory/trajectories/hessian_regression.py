"""The error of a Hessian that is regressed on a trajectory's steps."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of
from gradnoise.theory.stationary.linear_chain import linear_chain


def hessian_regression_error(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    num_steps: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Predict the standard error of a Hessian estimated by regression of SGD's increments on its positions.

    Equation: s.e.(Ĥ_ij) = √(Ω_ii (Σ⁻¹)_jj/T)/η, Ω = η²S, from θ_{t+1} − θ_t = −ηHθ_t + ζ.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    num_steps            T       ()      steps of the stationary trajectory
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       (D, D)  curvature; not symmetric
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise, no momentum, T many relaxation times.
    Limit: one mode has relative error √(h(2−ηh)/(ηh² T)), about √(2/(ηhT)).

    Reference: least squares on a vector autoregression; arXiv 2401.09346 for the method on SGD, the error derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> hessian_regression_error(H, C, learning_rate=0.1, batch_size=4, num_steps=2000).round(6)
    array([[0.143517, 0.109919],
           [0.090768, 0.069519]])
    """
    chain = linear_chain(
        hessian,
        gradient_covariance,
        learning_rate=learning_rate,
        batch_size=batch_size,
        sampling=sampling,
        num_examples=num_examples,
    )
    precision = inverse_of(chain.covariance, 1.0)
    spread = np.outer(np.diag(chain.noise), np.diag(precision)) / _checks.integer("num_steps", num_steps)
    return np.asarray(np.sqrt(spread) / learning_rate)
