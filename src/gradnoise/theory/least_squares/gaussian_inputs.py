"""Exact second moments of SGD on linear regression with Gaussian inputs and fresh data: no data set needed."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.least_squares.edges_and_moments import LeastSquaresMoments, ModalProblem, modal_basis
from gradnoise.theory.least_squares.second_moments import InputNoise, SecondMoments
from gradnoise.theory.noise.batch_noise import noise_factor


def gaussian_inputs_moments(
    input_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    truth: ArrayLike | None = None,
    label_noise: float = 0.0,
    ridge: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
) -> LeastSquaresMoments:
    r"""Stationary mean and covariance of SGD on fresh Gaussian data, x ~ N(0, A), y = u·x + s·noise: infinite data, one pass.

    Equation: θ* = H⁻¹Au, H = A + ρ, δ = θ* − u; Σ is the stationary covariance for the noise
    S = [AΣA + Tr(AΣ)A + (s² + δᵀAδ)A + Aδδᵀ A]/B. Commuting, ρ = 0: Σ_i = (η/B) s²/(q_i (1 − (η/B)t)),
    q_i = 2(1−μ) − ((1−μ)/(1+μ) + 1/B) η a_i, t = Σ a_i/q_i. Excess risk: ½Tr(AΣ) + ½δᵀAδ.

    ================  ======  ======  =============================================================
    argument          symbol  shape   scale
    ================  ======  ======  =============================================================
    input_covariance  A       (D, D)  loss/parameter²
    learning_rate     η       ()      parameter²/loss
    batch_size        B       ()      fresh examples a step
    truth             u       (D,)    parameter; None: 0. Matters only with a ridge
    label_noise       s       ()      √loss
    ridge             ρ       ()      loss/parameter²; may be negative while H is positive
    momentum          μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner    P       (D, D)  multiplies the learning rate; symmetric positive
    nesterov          –       –       False (default): m_new moves θ; True: g + μ m_new
    returns           –       –       `.mean`, `.covariance`, `.second_moment_edge`, `.chain`
    ================  ======  ======  =============================================================

    Assumptions: Gaussian inputs (the + before AΣA is theirs), fresh data each step. `.fourth_moment_edge` is None.
    Limit: large N of `least_squares_moments`; B → ∞ at fixed η/B gives constant noise; isotropic A = a: edge 2B/(a(B+1+D)).

    Reference: Ziyin, Liu, Mori, Ueda (2022), lemma 1 and theorems 2 and 4; its eqs. (15) and (17), proposition 4 and
    theorem 6 print −, which is wrong for Gaussian inputs.

    >>> law = gaussian_inputs_moments(np.diag([1.0, 0.5, 0.2]), learning_rate=0.3, batch_size=4, label_noise=0.5**0.5)
    >>> np.diag(law.covariance).round(7), round(law.excess_loss, 8)
    (array([0.0249382, 0.0223584, 0.0210517]), 0.02016387)
    """
    inputs = _checks.symmetric("input_covariance", input_covariance, definite="semi")
    size = len(inputs)
    sd = _checks.within("label_noise", label_noise, 0.0, np.inf)
    goal = np.zeros(size) if truth is None else _checks.vector("truth", truth, size)
    basis, curvatures = modal_basis(
        inputs + _checks.real("ridge", ridge) * np.eye(size), preconditioner, "input_covariance"
    )
    modal = basis.T @ inputs @ basis
    factor = noise_factor(batch_size=batch_size)
    moments = SecondMoments(curvatures, InputNoise.of_gaussian(modal), factor, _checks.momentum(momentum), nesterov)
    mean = basis @ (basis.T @ inputs @ goal / curvatures)
    gap = mean - goal
    pull = basis.T @ inputs @ gap
    fixed = factor * ((sd**2 + float(gap @ inputs @ gap)) * modal + np.outer(pull, pull))
    return ModalProblem(basis, moments, None).solve(learning_rate, mean, fixed)
