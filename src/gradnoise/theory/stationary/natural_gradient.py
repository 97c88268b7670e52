"""The law of natural-gradient steps, whose Fisher matrix is estimated from the same batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of


@dataclass(frozen=True, eq=False)
class NaturalGradient:
    """Mean-field stationary law of natural gradient descent, Σ = scale·H⁻¹.

    Attributes
    ----------
    covariance
        Σ, (D, D), parameter².
    scale
        s in Σ = s H⁻¹, in units of the loss.
    validity
        s(1+D)/s²_label: how much of the Fisher matrix comes from the fluctuation itself. Measured errors of the
        covariance: 6 % at 0.05, 20 % at 0.21 (too small).
    """

    covariance: Array
    scale: float
    validity: float


def natural_gradient_law(
    hessian: ArrayLike, *, label_variance: float, learning_rate: float, batch_size: int, momentum: float = 0.0
) -> NaturalGradient:
    r"""Mean-field stationary law of natural gradient descent on linear regression with Gaussian inputs.

    Equation: Σ = s H⁻¹ with s [2(1−μ) − (1−μ)/(1+μ) η/g] = η/B, g = s(1+D) + s²_label (positive root of the quadratic), for
    P = η C̄⁻¹ with C̄ = HΣH + Tr(HΣ)H + s²_label H the per-example Fisher matrix averaged over the stationary law.

    ==============  ========  ======  ==========================================================
    argument        symbol    shape   scale
    ==============  ========  ======  ==========================================================
    hessian         H         (D, D)  curvature of the mean loss: the covariance of the inputs
    label_variance  s²_label  ()      loss; variance of the label noise
    learning_rate   η         ()      loss: C̄⁻¹ is parameter²/loss²
    batch_size      B         ()      fresh examples a step
    momentum        μ         ()      m ← μ m + g; θ ← θ − η C̄⁻¹ m
    returns         –         –       `NaturalGradient`
    ==============  ========  ======  ==========================================================

    Assumptions: inputs N(0, H), Fisher matrix equal to its stationary mean; `.validity` says how good that is. Without label
    noise (s²_label = 0) there is no stationary law with this Σ, and the call raises: the recursion is then homogeneous in θ, its
    iterates go to 0 almost surely for a fixed P, and for the Fisher matrix at the current point E|θ|² is infinite for D ≤ 4.
    Limit: η → 0 gives s = η/(2(1−μ)B), the sandwich of `newton_covariance`.

    Reference: Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, §6.4, whose solution is the formal s²_label = 0; the
    general case derived here. Liu, Ziyin, Ueda (2021) drop Tr(HΣ)H, which makes the first term (1+D)-fold too large.

    >>> law = natural_gradient_law([[2.0, 0.0], [0.0, 1.0]], label_variance=1.0, learning_rate=0.3, batch_size=4)
    >>> round(law.scale, 7), round(law.validity, 4), law.covariance.round(6)
    (0.0432414, 0.1297, array([[0.021621, 0.      ],
           [0.      , 0.043241]]))
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    eta, mu = _checks.positive("learning_rate", learning_rate), _checks.momentum(momentum)
    size, batch = len(hessian), _checks.integer("batch_size", batch_size)
    variance = _checks.real("label_variance", label_variance)
    if variance <= 0:
        msg = (
            f"label_variance must be > 0, got {variance:g}: without label noise natural gradient descent has no stationary law "
            "of finite covariance. Add damping, or use newton_covariance."
        )
        raise ValueError(msg)
    lead = 2 * (1 - mu) * (1 + size)
    linear = 2 * (1 - mu) * variance - (1 - mu) / (1 + mu) * eta - eta / batch * (1 + size)
    last = eta / batch * variance
    root = math.hypot(linear, 2 * math.sqrt(lead * last))
    # the root without cancellation, whatever the sign of the linear term
    scale = 2 * last / (linear + root) if linear > 0 else (root - linear) / (2 * lead)
    return NaturalGradient(inverse_of(hessian, scale), scale, scale * (1 + size) / variance)


def natural_gradient_inverse_moment(*, num_params: int, learning_rate: float, batch_size: int) -> float:
    r"""E[1/θᵀHθ] of natural gradient descent with the Fisher matrix at the current point, without label noise.

    Equation: E[1/q] = 1/( η [¼ + (D − ½)/B] ), q = θᵀHθ; the step is θ ← θ − ηθ/(2q) + noise of covariance P J Pᵀ/B,
    P = ηJ⁻¹, J = qH + Hθθ'H.

    =============  ======  =====  ======================================
    argument       symbol  shape  scale
    =============  ======  =====  ======================================
    num_params     D       ()     parameters, at least 3
    learning_rate  η       ()     loss
    batch_size     B       ()     examples a step
    returns        –       ()     1/loss
    =============  ======  =====  ======================================

    Assumptions: inputs N(0, H), noise of covariance J/B, no momentum. For D ≤ 2 no stationary law exists; E q itself is finite
    only for D > 4 (P(√q > R) falls as R^{−(D−2)}), so 1/q is what can be tested.
    Limit: B → ∞ gives 4/η.

    Reference: derived here, from the stationarity of E ln q (an exact identity; simulated to 0.1–0.3 % for D = 3 to 8).

    >>> round(natural_gradient_inverse_moment(num_params=6, learning_rate=0.3, batch_size=4), 4)
    2.0513
    """
    size, batch = _checks.integer("num_params", num_params, low=3), _checks.integer("batch_size", batch_size)
    return 1 / (_checks.positive("learning_rate", learning_rate) * (0.25 + (size - 0.5) / batch))
