"""Gradient noise of infinite variance: symmetric α-stable facts."""

from __future__ import annotations

import math

from gradnoise import _checks

_LARGEST_POWER = 700.0


def stable_scale(
    *, curvature: float, noise_scale: float, alpha: float, learning_rate: float, batch_size: int, time: str = "discrete"
) -> float:
    r"""Scale of the stationary law of SGD on ½hθ² when each example's gradient noise is symmetric α-stable.

    Equation: σ_θ^α = η^α σ_B^α/(1 − |1 − ηh|^α), σ_B = σ B^{1/α − 1} the scale of a batch mean; continuous time η^{α−1}σ_B^α/(αh).

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    curvature      h       ()     loss/parameter²
    noise_scale    σ       ()     gradient, per example: E e^{ikg} = e^{−|σk|^α}
    alpha          α       ()     stability index in (0, 2]
    learning_rate  η       ()     parameter²/loss
    batch_size     B       ()     examples a step
    time           –       –      "discrete" (default), "continuous"
    returns        σ_θ     ()     parameter, same index α
    =============  ======  =====  ==========================================

    Assumptions: quadratic loss, independent noise. Batches shrink the noise as B^{1/α−1}, slower than B^{−½}: the linear scaling rule keeps
    η^{α−1}B^{1−α}, i.e. η/B, for every α > 1.
    Limit: α = 2 is Gaussian of variance 2σ_θ²: η²·2σ²/B/(ηh(2 − ηh)). Moments of order α and above are infinite for α < 2, from a single
    step: unlike `tail_exponent`, where bounded gradients per example make a power law.

    Reference: Samorodnitsky and Taqqu (1994), Stable Non-Gaussian Random Processes, property 1.2.1, applied to the recursion.

    >>> law = {"curvature": 1.0, "noise_scale": 1.0, "learning_rate": 0.5}
    >>> round(stable_scale(alpha=2.0, batch_size=1, **law) ** 2, 6), round(stable_scale(alpha=1.0, batch_size=8, **law), 6)
    (0.333333, 1.0)
    """
    h, sigma = _checks.positive("curvature", curvature), _checks.positive("noise_scale", noise_scale)
    index = _checks.within("alpha", alpha, 0.0, 2.0, closed="right")
    rate, batch = _checks.positive("learning_rate", learning_rate), _checks.integer("batch_size", batch_size)
    log_step = math.log(sigma) + (1 / index - 1) * math.log(batch)
    if _checks.one_of("time", time, ("discrete", "continuous")) == "continuous":
        return _exponential("alpha", log_step + ((index - 1) * math.log(rate) - math.log(index) - math.log(h)) / index)
    if rate * h >= 2:
        msg = f"learning_rate must be below the stability edge {2 / h:.6g}, got {rate:.6g}."
        raise ValueError(msg)
    return _exponential("alpha", math.log(rate) + log_step - _log_forgotten(rate, h, index) / index)


def stable_exit_time(*, half_width: float, noise_scale: float, alpha: float) -> float:
    r"""Mean time in which a process driven by small symmetric α-stable noise leaves |θ| < a: one big jump, whatever the curvature.

    Equation: τ = π a^α/(2 ε^α Γ(α) sin(πα/2)).

    ===========  ======  =====  ==========================================
    argument     symbol  shape  scale
    ===========  ======  =====  ==========================================
    half_width   a       ()     parameter
    noise_scale  ε       ()     parameter/time^{1/α}: dθ = −L' dt + ε dL_α, E e^{ikL_1} = e^{−|k|^α}
    alpha        α       ()     stability index in (0, 2), not 2
    returns      τ       ()     time
    ===========  ======  =====  ==========================================

    Assumptions: ε small against a and the drift; simulated within 8 % for α = 1.2 to 1.8.
    Limit: α → 2 makes it infinite: Gaussian noise needs exponentially long. Compare `kramers_rate`, which depends on the barrier's height,
    where this depends on the basin's width.

    Reference: Imkeller and Pavlyukevich (2006), Stoch. Proc. Appl. 116; Nguyen, Simsekli, Gurbuzbalaban, Richard (2019) for
    SGD. The constant is derived here: 1/τ is the rate of jumps of ε L beyond ±a.

    >>> round(stable_exit_time(half_width=1.0, noise_scale=0.1, alpha=1.5), 3)
    79.267
    """
    index = _checks.within("alpha", alpha, 0.0, 2.0, closed="neither")
    width, scale = _checks.positive("half_width", half_width), _checks.positive("noise_scale", noise_scale)
    sine = math.sin(math.pi * (index if index < 1 else 2 - index) / 2)  # of the nearer end: sin π has no digits
    jumps = math.log(2 / math.pi * sine) + math.lgamma(index)
    return _exponential("noise_scale", index * (math.log(width) - math.log(scale)) - jumps)


def _log_forgotten(rate: float, curvature: float, index: float) -> float:
    """Ln(1 − |1 − ηh|^α), with its digits where ηh or α is small."""
    r = rate * curvature
    if r == 1:
        return 0.0
    if r < 1e-9:
        log_decay = math.log(rate) + math.log(curvature)
    else:
        log_decay = math.log(-(math.log1p(-r) if r < 1 else math.log(r - 1)))
    decay = log_decay + math.log(index)  # ln of −α ln|1 − ηh|
    return decay if decay < -20 else math.log(-math.expm1(-math.exp(decay)))


def _exponential(name: str, power: float) -> float:
    if abs(power) > _LARGEST_POWER:
        msg = (
            f"{name} gives a result of e^{power:.4g}, beyond float64: it must lie nearer to the other arguments' sizes."
        )
        raise ValueError(msg)
    return math.exp(power)
