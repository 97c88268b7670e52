"""Position and velocity of SGD on a quadratic: joint law, temperature, oscillation, displacement, continuous-time memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.covariance import continuous_covariance
from gradnoise.theory.stationary.linear_chain import linear_chain

TIMES = ("discrete", "continuous")


@dataclass(frozen=True, eq=False)
class PositionVelocity:
    """Joint stationary law of the position θ and the velocity u, the last increment θ_k − θ_{k−1} (continuous time: dθ/dt a step).

    Attributes
    ----------
    position
        Cov(θ), (D, D), parameter².
    velocity
        Cov(u), (D, D), parameter².
    cross
        Cov(θ, u), (D, D), parameter².
    """

    position: Array
    velocity: Array
    cross: Array


def position_velocity_law(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    time: str = "discrete",
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> PositionVelocity:
    r"""Joint stationary law of position and velocity.

    Equation, discrete: Cov(u) = 2Σ − Γ₁ − Γ₁ᵀ, Cov(θ, u) = Σ − Γ₁, Γ₁ the autocovariance at lag 1; each direction of a commuting
    heavy ball has Cov(u) = 2r²s/((1−μ)(2(1+μ) − r)) = 2 Cov(θ, u) in the modes of `mode_covariance`. Continuous time, M = PH:
    Cov(u) = ½(MΣ + ΣMᵀ), Cov(θ, u) = (MΣ − ΣMᵀ)/(2(1−μ)), antisymmetric.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate
    num_examples         N       ()      examples; needed without replacement
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `PositionVelocity`
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise, independent batches. Continuous time needs momentum > 0: without it θ has no
    velocity.
    Limit: ηh → 0 gives Cov(u) = PSP/(1−μ²) in discrete and PSP/(2(1−μ)) in continuous time: equal as μ → 1.

    Reference: Mandt, Hoffman, Blei (2017), eq. (24), first relation; its second holds only where A and C commute. Kunin et al. (2021),
    arXiv 2107.09133, for the phase-space picture. Discrete time derived here.

    >>> law = position_velocity_law([[3.0]], [[1.0]], learning_rate=0.5, batch_size=1, momentum=0.5)
    >>> law.position.round(6), law.velocity.round(6), law.cross.round(6)
    (array([[0.333333]]), array([[0.666667]]), array([[0.333333]]))
    """
    time = _checks.one_of("time", time, TIMES)
    if time == "discrete":
        chain = linear_chain(
            hessian,
            gradient_covariance,
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            nesterov=nesterov,
            preconditioner=preconditioner,
            sampling=sampling,
            num_examples=num_examples,
        )
        cross = chain.covariance - chain.autocovariance(1)
        return PositionVelocity(chain.covariance, cross + cross.T, cross)
    mu = checked_inertia(momentum)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    found = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(noise)))
    modal = continuous_covariance(found.rates, found.gradient_noise(noise), momentum=mu)
    pull = found.rates[:, None] * modal
    cross = found.basis @ (pull - pull.T) @ found.basis.T / (2 * (1 - mu))
    return PositionVelocity(found.covariance(modal), found.covariance(pull), cross)


def checked_inertia(momentum: Any) -> float:
    """Return a momentum in (0, 1): here one without inertia has no law."""
    return _checks.within("momentum", momentum, 0.0, 1.0, closed="neither")
