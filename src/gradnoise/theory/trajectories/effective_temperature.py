"""The temperature of a momentum's velocity."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.stationary.covariance import stationary_covariance
from gradnoise.theory.trajectories.position_velocity import TIMES


def effective_temperature(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    time: str = "discrete",
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Temperature of each eigendirection of the Hessian: twice its mean excess loss, h_i Σ_ii.

    Equation: T_i = η S_ii/(2(1−μ)) / (1 − ηh_i/(2(1+μ))), S_ii in the eigenbasis of H; without the second factor in continuous time.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η m
    num_examples         N       ()      examples; needed without replacement
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              T       (D,)    loss, ascending eigenvalues of H
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise; H and C need not commute, since only diagonal entries enter. It is the temperature of
    the well: the height of a smooth barrier elsewhere is not divided by it (`kramers_rate`).
    Limit: the sum of T_i/2 is the excess loss ½Tr(HΣ); small steps with C = H give η h_i/(2B(1−μ)).

    Reference: Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate SGD; excess loss derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> effective_temperature(H, C, learning_rate=0.5, batch_size=4).round(6)
    array([0.034835, 0.116395])
    """
    sigma = stationary_covariance(
        hessian,
        gradient_covariance,
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=momentum,
        time=_checks.one_of("time", time, TIMES),
        sampling=_checks.one_of("sampling", sampling, _checks.SAMPLINGS[:2]),
        num_examples=num_examples,
    )
    values, vectors = np.linalg.eigh(np.asarray(hessian, dtype=np.float64))
    return np.asarray(values * np.einsum("ki,kl,li->i", vectors, sigma, vectors))
