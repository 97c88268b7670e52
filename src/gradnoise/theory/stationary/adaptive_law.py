"""Adam and RMSprop near a minimum: the self-consistent stationary law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, root

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.covariance import mode_covariance

_SETTLED = 1e-9  # relative, in v
_ROOM = 1e-5  # what is left to the stability edge, relative, at the largest rate: float64 then knows v to about 1e-9
_MILD = 0.25  # share of the edge below which the noise that the rule makes itself is a correction
_STEP = 1.5  # in ln((1 − room)/room)


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
    # v is never below the noise, so that P is never larger than here
    stiffest = float(modes_of(hessian, np.diag(1 / (np.sqrt(floor) + eps))).rates[-1])
    found = None
    if rate * stiffest <= _MILD * rate_edge(momentum=mu):
        found = _settled(hessian, noise, rate, mu, eps, np.log(floor))
    limit = np.inf
    if found is None:
        limit, found = _by_room(hessian, noise, rate, mu, eps)
    if found is None:
        msg = (
            f"learning_rate must be at most about {limit / scale:.3g} here, got {rate / scale:.6g}: there the stiffest direction of the "
            f"self-consistent law is within {_ROOM:.1g} of the stability edge, and float64 cannot follow it farther."
        )
        raise ValueError(msg)
    return found


def _by_room(hessian: Array, noise: Array, rate: float, mu: float, eps: float) -> tuple[float, AdaptiveLaw | None]:
    """Return the law at `rate`, with the rate; or the largest rate that is resolved, the one with a room of `_ROOM`, and no law.

    The room ρ is the relative distance of the stiffest direction of PH to the stability edge. For given v and ρ the rate is explicit
    and no direction is unstable, and the law has a regular limit ρ → 0 (v ∝ 1/ρ, η ∝ 1/√ρ). So ρ, and not η, is stepped through:
    no path decides how far the law reaches. The steps are in ln((1 − ρ)/ρ), which is ln η up to a constant where η is small.
    """
    last = math.log1p(-_ROOM) - math.log(_ROOM)
    known: dict[float, tuple[float, AdaptiveLaw | None]] = {}
    guess = np.log(np.diag(noise))

    def excess(odds: float) -> float:
        """Return ln η − ln rate at these odds, from the law before it as the guess."""
        nonlocal guess
        if odds not in known:  # the ends of a bracket are asked for twice, and must not answer from another guess
            known[odds] = _at_room(hessian, noise, 1 / (1 + math.exp(odds)), mu, eps, guess)
        found, law = known[odds]
        guess = guess if law is None else np.log(law.second_moment)
        return math.log(found / rate)

    low = high = math.log(_MILD / (1 - _MILD))
    while excess(low) > 0:
        low -= _STEP
    while excess(high) < 0:
        if high >= last:
            return known[high][0], None
        low, high = high, min(high + _STEP, last)
    odds = float(brentq(excess, low, high, xtol=1e-8))
    excess(odds)
    exact = _settled(hessian, noise, rate, mu, eps, guess)  # from next to it, so as to be at the very rate
    return known[odds] if exact is None else (rate, exact)


def _at_room(
    hessian: Array, noise: Array, room: float, mu: float, eps: float, log_v: Array
) -> tuple[float, AdaptiveLaw | None]:
    """Rate and law at which the stiffest direction of PH lies at (1 − room) times the stability edge."""
    edge = rate_edge(momentum=mu)

    def rate_of(log_v: Array) -> float:
        return float((1 - room) * edge / modes_of(hessian, np.diag(1 / (np.exp(log_v / 2) + eps))).rates[-1])

    log_v = root(lambda v: _mismatch(hessian, noise, rate_of(v), mu, eps, v), log_v, tol=1e-14).x
    rate = rate_of(log_v)
    return rate, _checked(hessian, noise, rate, mu, eps, log_v)


def _settled(hessian: Array, noise: Array, rate: float, mu: float, eps: float, log_v: Array) -> AdaptiveLaw | None:
    """Solve ln v = ln diag(HΣ(v)H + S) by Powell's hybrid method, from a guess within the stable region."""
    log_v = root(lambda v: _mismatch(hessian, noise, rate, mu, eps, v), log_v, tol=1e-14).x
    return _checked(hessian, noise, rate, mu, eps, log_v)


def _checked(hessian: Array, noise: Array, rate: float, mu: float, eps: float, log_v: Array) -> AdaptiveLaw | None:
    """Law of these v if it makes them."""
    good = float(np.abs(_mismatch(hessian, noise, rate, mu, eps, log_v)).max()) <= _SETTLED
    return _law(hessian, noise, rate, mu, eps, log_v) if good else None


def _law(hessian: Array, noise: Array, rate: float, mu: float, eps: float, log_v: Array) -> AdaptiveLaw | None:
    """Law of heavy ball with the preconditioner that these v make; None where it is unstable."""
    step = rate / (np.exp(log_v / 2) + eps)
    found = modes_of(hessian, np.diag(step))
    if found.rates[-1] >= rate_edge(momentum=mu):
        return None
    sigma = found.covariance(mode_covariance(found.rates, found.gradient_noise(noise), momentum=mu))
    return AdaptiveLaw(sigma, np.exp(log_v), step)


def _mismatch(hessian: Array, noise: Array, rate: float, mu: float, eps: float, log_v: Array) -> Array:
    """Return ln diag(HΣ(v)H + S) − ln v."""
    found = _law(hessian, noise, rate, mu, eps, log_v)
    if found is None:  # unstable: the noise it would make is infinite, so v must grow
        return np.full(len(log_v), 10.0)
    return np.asarray(np.log(np.diag(hessian @ found.covariance @ hessian) + np.diag(noise)) - log_v)
