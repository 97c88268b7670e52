"""Position and velocity of SGD on a quadratic: joint law, temperature, oscillation, displacement, continuous-time memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.chain import LinearChain, checked_chain
from gradnoise.theory.modes import checked_preconditioner, modes_of
from gradnoise.theory.noise import batch_noise
from gradnoise.theory.stationary import continuous_covariance, linear_chain, stationary_covariance

_TIMES = ("discrete", "continuous")
_GONE = 800.0  # e^−800 is 0 in float64
_MOST_TURNS = 1e8


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
    time = _checks.one_of("time", time, _TIMES)
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
    mu = _inertia(momentum)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    found = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(noise)))
    modal = continuous_covariance(found.rates, found.gradient_noise(noise), momentum=mu)
    pull = found.rates[:, None] * modal
    cross = found.basis @ (pull - pull.T) @ found.basis.T / (2 * (1 - mu))
    return PositionVelocity(found.covariance(modal), found.covariance(pull), cross)


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
        time=_checks.one_of("time", time, _TIMES),
        sampling=_checks.one_of("sampling", sampling, _checks.SAMPLINGS[:2]),
        num_examples=num_examples,
    )
    values, vectors = np.linalg.eigh(np.asarray(hessian, dtype=np.float64))
    return np.asarray(values * np.einsum("ki,kl,li->i", vectors, sigma, vectors))


def oscillation_frequencies(
    hessian: ArrayLike, *, learning_rate: float, momentum: float, time: str = "discrete"
) -> Array:
    r"""Angle per step by which heavy ball turns in the plane of position and velocity, per eigendirection.

    Equation: cos φ = (1 + μ − ηh)/(2√μ) (discrete); φ = √(2ηh/(1+μ) − ((1−μ)/(1+μ))²) (continuous). Zero where it is overdamped,
    ηh ≤ (1−√μ)².

    =============  ======  ======  ===================================
    argument       symbol  shape   scale
    =============  ======  ======  ===================================
    hessian        H       (D, D)  curvature of the mean loss
    learning_rate  η       ()      parameter²/loss
    momentum       μ       ()      m ← μ m + g; θ ← θ − η m; in (0, 1)
    time           –       –       "discrete" (default), "continuous"
    returns        φ       (D,)    radians a step, ascending eigenvalues of H
    =============  ======  ======  ===================================

    Assumptions: quadratic loss. Beyond (1+√μ)² the chain flips its sign each step: φ = π.
    Limit: ηh → 0 at μ → 1 makes both √(ηh).

    Reference: Kunin et al. (2021), arXiv 2107.09133, for continuous time; discrete derived here.

    >>> oscillation_frequencies([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.1, momentum=0.9).round(4)
    array([0.2239, 0.4602])
    """
    time = _checks.one_of("time", time, _TIMES)
    mu, eta = _inertia(momentum), _checks.positive("learning_rate", learning_rate)
    rates = eta * np.linalg.eigvalsh(_checks.symmetric("hessian", hessian))
    if time == "continuous":
        return np.asarray(np.sqrt(np.maximum(2 * rates / (1 + mu) - ((1 - mu) / (1 + mu)) ** 2, 0.0)))
    return np.asarray(np.arccos(np.clip((1 + mu - rates) / (2 * np.sqrt(mu)), -1.0, 1.0)))


def mean_square_displacement(chain: LinearChain, lag: int) -> float:
    r"""Mean square distance that a stationary chain moves in `lag` steps.

    Equation: E|θ_{t+k} − θ_t|² = 2 Tr(Σ − Γ_k).

    ========  ======  =====  ======================
    argument  symbol  shape  scale
    ========  ======  =====  ======================
    chain     –       –      a `LinearChain`
    lag       k       ()     steps
    returns   –       ()     parameter²
    ========  ======  =====  ======================

    Assumptions: stationary chain.
    Limit: k → ∞ gives 2 Tr Σ. With h_l = l^{−α} and C = H it grows as k^{1/α} at intermediate k: anomalous diffusion.

    Reference: Kunin et al. (2021), arXiv 2107.09133; the exponent 1/α derived here.

    >>> chain = linear_chain([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]], learning_rate=0.1, batch_size=1)
    >>> round(mean_square_displacement(chain, 1), 7)
    0.0213675
    """
    chain = checked_chain(chain)
    return 2 * float(np.trace(chain.covariance - chain.autocovariance(_checks.integer("lag", lag, low=0))))


def continuous_autocovariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    lag: float,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    preconditioner: ArrayLike | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Autocovariance of the continuous-time model of SGD.

    Equation: E[θ(t+s) θ(t)ᵀ] = e^{−PHs} Σ (Ornstein–Uhlenbeck); with momentum the position block of e^{−Ks} (Σ, ξᵀ), ξ = Cov(θ, u),
    K = [[0, −I], [PH, (1−μ)I]].

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    lag                  s       ()      steps, any real number; negative: transpose
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       (D, D)  parameter²
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise, small step. `LinearChain.autocovariance` is exact in discrete time.
    Limit: s = 0 gives `stationary_covariance(time="continuous")`.

    Reference: Mandt, Hoffman, Blei (2017), eq. (48); with momentum derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.2], [0.2, 0.4]]
    >>> continuous_autocovariance(H, C, lag=3, learning_rate=0.1, batch_size=4).round(6)
    array([[0.00343 , 0.001098],
           [0.001721, 0.008607]])
    """
    lag, mu = _checks.real("lag", lag), _checks.momentum(momentum)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    found = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(noise)))
    modal = continuous_covariance(found.rates, found.gradient_noise(noise), momentum=mu)
    if mu == 0:
        ahead = np.exp(-found.rates * abs(lag))[:, None] * modal
    else:
        ahead = _underdamped(found.rates, modal, abs(lag), mu)
    full = found.basis @ ahead @ found.basis.T
    return np.asarray(full if lag >= 0 else full.T)


def _underdamped(rates: Array, modal: Array, lag: float, mu: float) -> Array:
    """Propagate (position, velocity) of each mode by e^{−Ks}, starting from its covariance with the position."""
    pull = rates[:, None] * modal
    half = (1 - mu) / 2
    decay = np.where(rates > half**2, half, rates / (half + np.sqrt(np.maximum(half**2 - rates, 0.0))))
    gone = decay * lag > _GONE
    if (np.sqrt(rates[~gone]) * lag > _MOST_TURNS).any():
        msg = f"lag must be shorter, or learning_rate smaller: the velocity swings more than {_MOST_TURNS:g} times in {lag:g} steps, and float64 loses the phase."
        raise ValueError(msg)
    velocity = -(pull - pull.T) / (2 * (1 - mu))  # Cov(u, φ) = −Cov(φ, u)
    return np.stack(
        [
            np.zeros(len(rates))
            if gone[i]
            else (expm(-np.array([[0.0, -1.0], [rate, 1 - mu]]) * lag) @ np.stack([modal[i], velocity[i]]))[0]
            for i, rate in enumerate(rates)
        ]
    )


def _inertia(momentum: Any) -> float:
    return _checks.within("momentum", momentum, 0.0, 1.0, closed="neither")
