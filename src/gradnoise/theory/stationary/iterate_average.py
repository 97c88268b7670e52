"""Averages over a window of SGD iterates (Polyak–Ruppert) with a constant learning rate."""

from __future__ import annotations

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.stationary.linear_chain import linear_chain


def iterate_average_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    window: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    injected: ArrayLike | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Covariance of the mean of `window` consecutive iterates of stationary SGD, exact in discrete time.

    Equation: D_T = V/T − R(K_T Z + Z K_Tᵀ)Rᵀ/T², K_T = F(I−F^T)(I−F)⁻², V = H⁻¹SH⁻¹ (without injected noise).

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    window               T       ()      steps
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate
    injected             W       (D, D)  parameter², covariance of ξ added to θ each step
    num_examples         N       ()      examples; needed without replacement
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              D_T     (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, started in the stationary law, batches independent from step to step
    ("shuffled" raises: averages over an epoch collapse, see `epoch_average_covariance`).
    Limit: T = 1 gives Σ; T → ∞ gives H⁻¹CH⁻¹/(BT) whatever the rate, momentum and preconditioner.

    Reference: Mandt, Hoffman, Blei (2017), eqs. (30) and (50), here exact in discrete time: (50) is off by a few percent at
    ηλ = 1, (30) has no discretisation error at all.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> iterate_average_covariance(H, C, learning_rate=0.5, batch_size=4, window=10).round(7)
    array([[ 0.0086672, -0.0116109],
           [-0.0116109,  0.0370393]])
    """
    window = _checks.integer("window", window)
    chain = linear_chain(
        hessian,
        gradient_covariance,
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=momentum,
        nesterov=nesterov,
        preconditioner=preconditioner,
        injected=injected,
        sampling=sampling,
        num_examples=num_examples,
    )
    return chain.average(window)
