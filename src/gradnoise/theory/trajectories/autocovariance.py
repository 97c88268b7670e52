"""Autocovariance of SGD in continuous time."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.covariance import continuous_covariance

_GONE = 800.0  # e^−800 is 0 in float64
_MOST_TURNS = 1e8


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
