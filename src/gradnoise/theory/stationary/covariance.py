"""The stationary law of SGD on a quadratic: exact in discrete time, and the continuous-time forms of the literature."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.linear.stability_edge import checked_rates, rate_edge, require_stable
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.shuffled_covariance import shuffled_covariance


def stationary_covariance(
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
    position: str | int = "mean",
    drop_last: bool = True,
) -> Array:
    r"""Stationary covariance of SGD with a constant learning rate on a quadratic.

    Equation (discrete time, M = (1−μ)(PHΣ+ΣHP) − (1+μ²)/(1−μ²) PHΣHP + μ/(1−μ²) (PHPHΣ+ΣHPHP), P with the learning rate):
    M = P S P for heavy ball, S of `batch_noise`; Nesterov and shuffled epochs as in `mode_covariance` and `shuffled_covariance`.
    Continuous time: `continuous_covariance`.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate; symmetric positive
    num_examples         N       ()      examples; needed unless sampling with replacement
    position             –       –       shuffled only: "mean" over the epoch, "end", or k steps into it
    drop_last            –       –       shuffled only: False keeps an epoch's smaller last batch, as data loaders do
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement", "shuffled"
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise of any distribution. H and C need not commute. `stability_fraction` is the
    validity number of time="continuous".
    Limit: small steps give HΣ + ΣH = η S/(1 − μ); B = N without replacement gives 0.

    Reference: Mandt, Hoffman, Blei (2017), eqs. (13) and (18), in discrete time; Liu, Ziyin, Ueda (2021), Noise and
    fluctuation of finite learning rate SGD, for the matrix equation with momentum; eq. (25) corrected, see
    `continuous_covariance`.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> stationary_covariance(H, C, learning_rate=0.5, batch_size=4).round(7)
    array([[ 0.0641027, -0.0209858],
           [-0.0209858,  0.0712323]])
    >>> stationary_covariance(H, C, learning_rate=0.5, batch_size=4, time="continuous").round(7)
    array([[ 0.0345055, -0.0217033],
           [-0.0217033,  0.063022 ]])
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    sampling = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    drop_last = _checks.drop_last(drop_last, sampling)
    if sampling == "shuffled":
        if time == "continuous":
            msg = "time must be 'discrete' when sampling='shuffled', got 'continuous': epochs have no continuous-time law here."
            raise ValueError(msg)
        return shuffled_covariance(
            hessian,
            gradient_covariance,
            learning_rate=learning_rate,
            batch_size=batch_size,
            num_examples=num_examples,
            momentum=momentum,
            nesterov=nesterov,
            preconditioner=preconditioner,
            position=position,
            drop_last=drop_last,
        )
    _checks.one_of("position", position, ("mean",))  # an epoch has positions, independent batches have none
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    mu = _checks.momentum(momentum)
    found = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(noise)))
    if time == "continuous":
        return found.covariance(continuous_covariance(found.rates, found.gradient_noise(noise), momentum=mu))
    require_stable(found, learning_rate, mu, nesterov)
    return found.covariance(mode_covariance(found.rates, found.gradient_noise(noise), momentum=mu, nesterov=nesterov))


def mode_covariance(
    rates: ArrayLike,
    noise: ArrayLike,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    injected: ArrayLike | None = None,
) -> Array:
    r"""Stationary covariance in the modes of PH, entry by entry, exact in discrete time for any noise matrix.

    Equation, with m_i = μ (heavy ball) or μ(1−r_i) (Nesterov), α_i = 1/(1−m_i), κ = α_i+α_j−1, q = α_i r_i + α_j r_j and
    D = 1 − m_i m_j + r_i(α_j−1) + r_j(α_i−1):
    Φ_ij = (κ s_ij + D w_ij)/(q D − κ² r_i r_j); for Nesterov add μ(1+μ)(qΦ_ij − w_ij)/κ − μ w_ij.

    ========  ======  ======  ===================================================
    argument  symbol  shape   scale
    ========  ======  ======  ===================================================
    rates     r       (D,)    dimensionless: learning rate times curvature
    noise     s       (D, D)  BᵀSB, gradient noise in modes, per step
    injected  w       (D, D)  B⁻¹WB⁻ᵀ, noise added to θ each step
    momentum  μ       ()      m ← μ m + g; θ ← θ − m
    nesterov  –       –       False (default): m_new moves θ; True: g + μ m_new
    returns   Φ       (D, D)  θ = Bφ, Σ = BΦBᵀ
    ========  ======  ======  ===================================================

    Assumptions: quadratic loss, constant noise, rates inside (0, `rate_edge`).
    Limit: μ = 0 gives (s+w)/(r_i + r_j − r_i r_j); equal rates and w = 0 give s(1+μ)/((1−μ) r (2(1+μ) − r)) for heavy ball.

    Reference: Liu, Ziyin, Ueda (2021) for the matrix equation of heavy ball; entry by entry, with injected noise and for
    Nesterov derived here, from the position y = θ + μv in which both are y ← y − v, v ← m v + r y + ξ.

    >>> mode_covariance([0.6, 0.2], [[0.3, 0.1], [0.1, 0.1]], momentum=0.5, nesterov=True).round(6)
    array([[0.729167, 0.261581],
           [0.261581, 0.544872]])
    """
    mu = _checks.momentum(momentum)
    rates = checked_rates(rates, edge=rate_edge(momentum=mu, nesterov=nesterov))
    s, w = _checks.square("noise", noise, len(rates)), _injected(injected, len(rates))
    memory = mu * (1 - rates) if nesterov else np.full_like(rates, mu)
    gain = 1 / (1 - memory)
    ri, rj, mi, mj, ai, aj = (v for x in (rates, memory, gain) for v in (x[:, None], x[None, :]))
    kappa, q = ai + aj - 1, ai * ri + aj * rj
    damping = 1 - mi * mj + (ri * (aj - 1) + rj * (ai - 1))  # brackets: the same bits for (i, j) and (j, i)
    position = (kappa * s + damping * w) / (q * damping - kappa**2 * (ri * rj))
    if not nesterov:
        return np.asarray(position)
    return np.asarray(position + mu * (1 + mu) * (q * position - w) / kappa - mu * w)


def continuous_covariance(
    rates: ArrayLike, noise: ArrayLike, *, momentum: float = 0.0, injected: ArrayLike | None = None
) -> Array:
    r"""Stationary covariance of the continuous-time model, in the modes of PH.

    Equation: Φ_ij = (s_ij + w_ij)/(r_i + r_j) without momentum (Ornstein–Uhlenbeck); with momentum the underdamped SDE
    dv = −(1−μ)v dt + (r φ dt + dW), dφ = −v dt: Φ_ij = s_ij/[(1−μ)(r_i + r_j) + (r_i − r_j)²/(2(1−μ))].

    ========  ======  ======  ===================================================
    argument  symbol  shape   scale
    ========  ======  ======  ===================================================
    rates     r       (D,)    dimensionless: learning rate times curvature
    noise     s       (D, D)  BᵀSB, gradient noise in modes, per step
    injected  w       (D, D)  B⁻¹WB⁻ᵀ, noise added to θ (no momentum)
    momentum  μ       ()      m ← μ m + g; θ ← θ − m
    returns   Φ       (D, D)  θ = Bφ, Σ = BΦBᵀ
    ========  ======  ======  ===================================================

    Assumptions: quadratic loss, constant noise, small step. Nesterov has the same limit. Inertia is kept: as μ → 0 the
    second form is *not* the first, but differs from it by (r_i − r_j)²/2.
    Limit: the diagonal is s_ii/(2(1−μ) r_i), as in the paper; off the diagonal the paper's value is too large.

    Reference: Mandt, Hoffman, Blei (2017), eqs. (13) and (25). Eq. (25) lacks the commutator (ε/(2μ²))[A,[A,Σ]] (its μ is
    1 − momentum here): its appendix D takes the symmetric E[θvᵀ] for antisymmetric.

    >>> continuous_covariance([0.6, 0.2], [[0.3, 0.1], [0.1, 0.1]], momentum=0.5).round(6)
    array([[0.5     , 0.178571],
           [0.178571, 0.5     ]])
    """
    rates, mu = checked_rates(rates), _checks.momentum(momentum)
    s, w = _checks.square("noise", noise, len(rates)), _injected(injected, len(rates))
    total, gap = rates[:, None] + rates[None, :], rates[:, None] - rates[None, :]
    if mu == 0:
        return np.asarray((s + w) / total)
    if w.any():
        msg = "injected must be 0 with momentum: the underdamped SDE here has noise on the velocity alone."
        raise ValueError(msg)
    return np.asarray(s / ((1 - mu) * total + gap**2 / (2 * (1 - mu))))


def _injected(injected: ArrayLike | None, size: int) -> Array:
    return np.zeros((size, size)) if injected is None else _checks.square("injected", injected, size)
