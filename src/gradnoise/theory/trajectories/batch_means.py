"""What one trajectory tells: the bound on its long-run covariance, batch means, the Hessian by regression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.linear.chain import LinearChain, checked_chain


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

    >>> from gradnoise.theory import linear_chain
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
