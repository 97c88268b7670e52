"""Adam and RMSprop near a minimum: the self-consistent stationary law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import root

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.modes import modes_of, rate_edge
from gradnoise.theory.noise import batch_noise
from gradnoise.theory.stationary import mode_covariance

_SETTLED = 1e-9  # relative, in v


@dataclass(frozen=True, eq=False)
class AdaptiveLaw:
    """Self-consistent stationary law of an adaptive rule near a minimum.

    Attributes
    ----------
    covariance
        Σ, (D, D), parameter².
    second_moment
        v, (D,), gradient²: what the rule's running mean of squares settles at.
    preconditioner
        P, (D,), parameter²/loss: the diagonal that multiplies the heavy-ball accumulator; contains the learning rate.
    """

    covariance: Array
    second_moment: Array
    preconditioner: Array


def adam_law(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    b1: float = 0.9,
    eps: float = 1e-8,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> AdaptiveLaw:
    r"""Stationary law of Adam near a minimum.

    Equation: v_i = (HΣH)_ii + S_ii, P = diag(η(1−β₁)/(√v_i + ε)), Σ = heavy-ball covariance of `stationary_covariance` with
    preconditioner P and momentum β₁; solved together.

    ===================  ======  ======  ============================================
    argument             symbol  shape   scale
    ===================  ======  ======  ============================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    learning_rate        η       ()      parameter
    batch_size           B       ()      examples a step
    b1                   β₁      ()      decay of the mean of gradients
    eps                  ε       ()      gradient
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `AdaptiveLaw`
    ===================  ======  ======  ============================================

    Assumptions: quadratic loss, constant noise, bias correction over, β₂ → 1 (error O(1−β₂): below 1 % for β₂ ≥ 0.9 in the
    cases simulated). H and C need not commute; β₂ does not enter.
    Limit: S_ii ≫ (HΣH)_ii gives the noise-dominated form v = S_ii. As η grows, v grows with it and the stiffest direction of PH comes ever
    nearer to the stability edge; where float64 cannot resolve what is left the call raises and names the largest η.

    Reference: derived here. The closed form of Liu, Ziyin, Ueda (2021) with J = HΣH and no noise floor does not describe Adam.

    >>> law = adam_law([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], learning_rate=0.2, batch_size=4)
    >>> law.covariance.round(6), law.second_moment.round(5)
    (array([[ 0.022759, -0.017033],
           [-0.017033,  0.077347]]), array([0.32756, 0.11628]))
    """
    decay = _checks.within("b1", b1, 0.0, 1.0, closed="left")
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    rate = _checks.positive("learning_rate", learning_rate) * (1 - decay)
    return _self_consistent(hessian, noise, rate, decay, eps, 1 - decay)


def rmsprop_law(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    eps: float = 1e-8,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> AdaptiveLaw:
    r"""Stationary law of RMSprop near a minimum.

    Equation: v_i = (HΣH)_ii + S_ii, P = diag(η/(√v_i + ε)), Σ = heavy-ball covariance with preconditioner P and momentum μ.

    ===================  ======  ======  ============================================
    argument             symbol  shape   scale
    ===================  ======  ======  ============================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    learning_rate        η       ()      parameter
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + P g; θ ← θ − m
    eps                  ε       ()      gradient, outside the root
    num_examples         N       ()      examples; needed without replacement
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `AdaptiveLaw`
    ===================  ======  ======  ============================================

    Assumptions: quadratic loss, constant noise, not centred, decay of the squares → 1.
    Limit: `adam_law` at b1 = μ has the same law with η(1−μ) for η.

    Reference: derived here, as `adam_law`.

    >>> law = rmsprop_law([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], learning_rate=0.2, batch_size=4)
    >>> law.covariance.round(6)
    array([[ 0.033692, -0.023512],
           [-0.023512,  0.082394]])
    """
    mu = _checks.momentum(momentum)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    return _self_consistent(hessian, noise, _checks.positive("learning_rate", learning_rate), mu, eps, 1.0)


def _self_consistent(hessian: ArrayLike, noise: Array, rate: float, mu: float, eps: float, scale: float) -> AdaptiveLaw:
    """Law at `rate`, or an error that names the largest `learning_rate` = rate/scale with one."""
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    floor = np.diag(noise)
    if floor.min() <= 0:
        msg = f"gradient_covariance must have a positive diagonal for an adaptive rule, but entry {int(floor.argmin())} is {floor.min():.3g}. Leave that parameter out."
        raise ValueError(msg)
    eps = _checks.within("eps", eps, 0.0, np.inf, closed="left")
    reached, found = _followed(hessian, noise, rate, mu, eps)
    if reached == rate and found is not None:
        return found
    share = 0.0 if found is None else float(modes_of(hessian, np.diag(found.preconditioner)).rates[-1])
    room = 1 - share / rate_edge(momentum=mu)
    msg = (
        f"learning_rate must be at most about {reached / scale:.3g} here, got {rate / scale:.6g}: there the stiffest direction of the "
        f"self-consistent law is within {room:.1g} of the stability edge, and float64 cannot follow it farther."
    )
    raise ValueError(msg)


def _followed(hessian: Array, noise: Array, rate: float, mu: float, eps: float) -> tuple[float, AdaptiveLaw | None]:
    """Follow the law from a small rate up to `rate`; return the last rate at which it settled, and the law there."""
    floor = np.diag(noise)
    stiffest = float(modes_of(hessian, np.diag(1 / (np.sqrt(floor) + eps))).rates[-1])
    reached = min(rate, 0.25 * rate_edge(momentum=mu) / stiffest)
    found = _settled(hessian, noise, reached, mu, eps, np.log(floor))
    growth = 2.0
    while found is not None and reached < rate and growth > 1.001:
        ahead = min(rate, reached * growth)
        # v ∝ η² where the rule makes its own noise: P stays, so the guess is stable
        guess = np.log(found.second_moment) + 2 * np.log(ahead / reached)
        further = _settled(hessian, noise, ahead, mu, eps, guess)
        if further is None:
            growth **= 0.5
        else:
            reached, found = ahead, further
    return reached, found


def _settled(hessian: Array, noise: Array, rate: float, mu: float, eps: float, log_v: Array) -> AdaptiveLaw | None:
    """Solve ln v = ln diag(HΣ(v)H + S) by Powell's hybrid method, from a guess within the stable region."""
    floor, edge = np.diag(noise), rate_edge(momentum=mu)

    def law(log_v: Array) -> AdaptiveLaw | None:
        step = rate / (np.exp(log_v / 2) + eps)
        found = modes_of(hessian, np.diag(step))
        if found.rates[-1] >= edge:
            return None
        sigma = found.covariance(mode_covariance(found.rates, found.gradient_noise(noise), momentum=mu))
        return AdaptiveLaw(sigma, np.exp(log_v), step)

    def mismatch(log_v: Array) -> Array:
        found = law(log_v)
        if found is None:  # unstable: the noise it would make is infinite, so v must grow
            return np.full(len(floor), 10.0)
        return np.asarray(np.log(np.diag(hessian @ found.covariance @ hessian) + floor) - log_v)

    log_v = root(mismatch, log_v, tol=1e-14).x
    return law(log_v) if float(np.abs(mismatch(log_v)).max()) <= _SETTLED else None
