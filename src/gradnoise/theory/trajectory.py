"""What one trajectory tells: the bound on its long-run covariance, batch means, the Hessian by regression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.chain import LinearChain, checked_chain
from gradnoise.theory.noise import batch_noise
from gradnoise.theory.stationary import linear_chain
from gradnoise.theory.tuning import inverse_of


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


@dataclass(frozen=True)
class BatchMeans:
    """Error of the variance of a mean when it is estimated from batch means of a trajectory.

    Attributes
    ----------
    constant
        c in the relative bias −c/b, steps. Negative where the estimate is too wide (heavy momentum).
    length
        Best batch length b = (c² T)^{1/3}, steps (at least 1, at most T/2).
    bias
        Leading relative bias −c/b at that length.
    exact_bias
        The same without the expansion in 1/b.
    standard_error
        Relative standard error √(2b/T) at that length.
    """

    constant: float
    length: int
    bias: float
    exact_bias: float
    standard_error: float


def batch_means_error(
    chain: LinearChain, direction: ArrayLike, *, num_steps: int, length: int | None = None
) -> BatchMeans:
    r"""Bias and standard error of batch means, and the batch length that balances them.

    Equation: relative bias −c/b, c = aᵀR(KZ + ZKᵀ)Rᵀa/aᵀVa, K = F(I−F)⁻²; relative standard error √(2b/T); least mean square error near
    b = (c²T)^{1/3}.

    =========  ======  =====  =========================================
    argument   symbol  shape  scale
    =========  ======  =====  =========================================
    chain      –       –      a `LinearChain`
    direction  a       (D,)   of aᵀθ
    num_steps  T       ()     steps of the trajectory
    length     b       ()     steps a batch, at most T/2; default the best one
    returns    –       –      `BatchMeans`
    =========  ======  =====  =========================================

    Assumptions: stationary Gaussian chain, non-overlapping batches.
    Limit: independent steps have c = 0: any length does, and 1 is best.

    Reference: Flegal and Jones (2010), Batch means and spectral variance estimators, for the rates; c in closed form derived here.

    >>> chain = linear_chain([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], learning_rate=0.5, batch_size=4)
    >>> found = batch_means_error(chain, [0.0, 1.0], num_steps=10_000)
    >>> round(found.constant, 6), found.length, round(found.bias, 6), round(found.standard_error, 4)
    (3.969217, 54, -0.073504, 0.1039)
    """
    chain = checked_chain(chain)
    steps = _checks.integer("num_steps", num_steps, low=2)
    a = _checks.vector("direction", direction, chain.readout.shape[0])
    long_run = float(a @ chain.long_run_covariance @ a)
    if not long_run > 0:
        msg = "direction must be one whose mean fluctuates, but its long-run variance is 0."
        raise ValueError(msg)
    gap = np.eye(len(chain.transition)) - chain.transition
    weighted = chain.transition @ np.linalg.solve(
        gap, np.linalg.solve(gap, chain.state_covariance @ chain.readout.T @ a)
    )
    constant = 2 * float(a @ chain.readout @ weighted) / long_run
    best = max(1, min(round((constant**2 * steps) ** (1 / 3)), steps // 2))
    # the spread of means needs two of them
    b = best if length is None else _checks.integer("length", length, high=steps // 2)
    exact = b * float(a @ chain.average(b) @ a) / long_run - 1
    return BatchMeans(constant, b, -constant / b, exact, math.sqrt(2 * b / steps))


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
