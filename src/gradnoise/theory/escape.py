"""Escape over a barrier: Kramers with inertia and anisotropic noise, and the logarithmic barrier of loss-proportional noise.

Rates and times beyond float64 are 0 and infinity, without a warning; their logarithms (a field, or `log=True`) keep all digits.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad, solve_ivp

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

_MOST_SLOPES = 20_000  # a smooth path takes 3 000 to 8 000
_LARGEST_LOG = math.log(sys.float_info.max)


@dataclass(frozen=True)
class KramersRate:
    """Escape rate over a smooth barrier under constant noise.

    Attributes
    ----------
    rate
        Per unit time, one step being η/(1−μ) of it; 0 where that is below float64.
    log_rate
        Its natural logarithm, always finite.
    inertia
        Factor ≤ 1 by which momentum slows the passage of the saddle.
    validity
        η λ_max(H*), or None without a learning rate: below 1 the discrete step changes the rate by percents, above by orders
        of magnitude (iterates then jump across the minimum).
    barrier_ratio
        ΔL/(T g_e): the formula is its limit at infinity, off by a relative error of about its inverse; below 1 there is no barrier.
    """

    rate: float
    log_rate: float
    inertia: float
    validity: float | None
    barrier_ratio: float


def kramers_rate(
    hessian_minimum: ArrayLike,
    hessian_saddle: ArrayLike,
    *,
    barrier: float,
    temperature: float,
    diffusion: ArrayLike | None = None,
    learning_rate: float | None = None,
    momentum: float = 0.0,
) -> KramersRate:
    r"""Escape rate of dθ = −∇L dt + √(2TD) dW over one saddle, with constant noise.

    Equation: κ = (λ₊/2π) √(det H*/|det H_s|) e^{−ΔL/(T g_e)}; |h_e| the negative curvature at the saddle, g_e the diffusion along it,
    M λ₊² + λ₊ = |h_e| with the mass M = ημ/(1−μ)² (λ₊ = |h_e| without momentum).

    ===============  ======  ======  ================================================
    argument         symbol  shape   scale
    ===============  ======  ======  ================================================
    hessian_minimum  H*      (D, D)  loss/parameter²
    hessian_saddle   H_s     (D, D)  loss/parameter², one negative eigenvalue
    barrier          ΔL      ()      loss
    temperature      T       ()      loss where D is a number, else parameter²/loss
    diffusion        D       (D, D)  default 1; gradient²: C at the minimum, with T = η/(2B(1−μ))
    learning_rate    η       ()      parameter²/loss; needed with momentum
    momentum         μ       ()      m ← μ m + g; θ ← θ − η m
    returns          –       –       `KramersRate`, per time, η/(1−μ) a step
    ===============  ======  ======  ================================================

    Assumptions: ΔL ≫ T g_e. Anisotropic D: the escape direction is an eigenvector of D, H* and H_s, and the transverse curvature is the same at
    both ends (else the law is no longer a potential's and the call raises).
    Limit: one dimension gives √(h*|h_e|)/2π e^{−ΔL/T}. The *discrete* variance of the well does not enter: the quasi-potential is
    W = L − (η/4)|L'|² + O(η²), equal to L at minimum and saddle.

    Reference: Kramers (1940) and Langer (1969); inertia: Kramers' turnover factor with SGD's mass, derived here. Liu, Ziyin, Ueda (2021) put
    the well's discrete temperature for T in the exponent: wrong for a smooth barrier.

    >>> round(1 / kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.05).rate, 2)
    659.38
    >>> heavy = kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.05, learning_rate=0.02, momentum=0.9)
    >>> round(1 / heavy.inertia, 3), round(heavy.validity, 2)
    (1.932, 0.04)
    >>> cold = kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=1e-4)
    >>> cold.rate, round(cold.log_rate, 3), round(cold.barrier_ratio)
    (0.0, -2501.491, 2500)
    """
    low = _checks.symmetric("hessian_minimum", hessian_minimum, definite="positive")
    top = _checks.symmetric("hessian_saddle", hessian_saddle, len(low))
    heat, height = _checks.positive("temperature", temperature), _checks.positive("barrier", barrier)
    mu = _checks.momentum(momentum)
    rate = None if learning_rate is None else _checks.positive("learning_rate", learning_rate)
    values, vectors = np.linalg.eigh(top)
    if values[0] >= 0 or (len(values) > 1 and values[1] <= 0):
        msg = f"hessian_saddle must have exactly one negative eigenvalue, got {_checks.shown(values)}."
        raise ValueError(msg)
    along = 1.0 if diffusion is None else _noise_along(vectors[:, 0], low, top, diffusion)
    down = -float(values[0])
    inertia = 1.0
    if mu > 0:
        if rate is None:
            msg = "learning_rate must be given with momentum: the mass is ημ/(1−μ)²."
            raise ValueError(msg)
        mass = rate * mu / (1 - mu) ** 2
        inertia = 2 / (1 + math.sqrt(1 + 4 * mass * down))
    shape = float(np.linalg.slogdet(low)[1] - np.linalg.slogdet(top)[1]) / 2
    ratio = height / (heat * along)
    log_rate = math.log(inertia * down / (2 * math.pi)) + shape - ratio
    step = None if rate is None else float(rate * np.linalg.eigvalsh(low)[-1])
    return KramersRate(saturated(log_rate), log_rate, inertia, step, ratio)


def piecewise_escape_time(
    *,
    minimum_curvature: float,
    saddle_curvature: float,
    barrier: float,
    share: float,
    learning_rate: float,
    batch_size: int,
    log: bool = False,
) -> float:
    r"""Escape time where the noise is the local curvature, constant on the well's and on the saddle's side (Xie et al.).

    Equation: τ = (2π/h_a) exp[(2B/η) ΔL (s/h_a + (1−s)/|h_b|)].

    =================  ======  =====  ======================================
    argument           symbol  shape  scale
    =================  ======  =====  ======================================
    minimum_curvature  h_a     ()     loss/parameter²; C = h_a there
    saddle_curvature   |h_b|   ()     loss/parameter², > 0; C = |h_b| there
    barrier            ΔL      ()     loss
    share              s       ()     part of ΔL on the well's side
    learning_rate      η       ()     parameter²/loss
    batch_size         B       ()     examples a step
    log                –       –      True: ln τ, finite where τ is beyond float64 (infinity)
    returns            τ       ()     time, η a step; twice that to the saddle's top
    =================  ======  =====  ======================================

    Assumptions: one dimension, per-example noise C = |L''| (likelihood losses: unit loss scale), Itô.
    Limit: h_a = |h_b| gives Kramers' time.

    Reference: Xie, Sato, Sugiyama (2021), A diffusion theory for deep learning dynamics, with the prefactor corrected: 2π/|h_b| belongs to the
    anti-Itô reading, the chain of SGD has 2π/h_a (derived here).

    >>> law = {"minimum_curvature": 2.0, "saddle_curvature": 1.0, "barrier": 0.25, "share": 0.5625}
    >>> round(piecewise_escape_time(learning_rate=0.04, batch_size=1, **law))
    25062
    """
    well, top = (
        _checks.positive("minimum_curvature", minimum_curvature),
        _checks.positive("saddle_curvature", saddle_curvature),
    )
    part = _checks.within("share", share, 0.0, 1.0)
    cold = 2 * _checks.integer("batch_size", batch_size) / _checks.positive("learning_rate", learning_rate)
    height = _checks.positive("barrier", barrier)
    value = math.log(2 * math.pi / well) + cold * height * (part / well + (1 - part) / top)
    return value if _checks.flag("log", log) else saturated(value)


def escape_rate(
    *,
    minimum_loss: float,
    saddle_loss: float,
    escape_curvature: float,
    saddle_curvature: float,
    learning_rate: float,
    batch_size: int,
    transverse_curvatures: ArrayLike = (),
    exponent: str = "trace",
    well: str = "gaussian",
    log: bool = False,
) -> float:
    r"""Escape rate of SGD whose noise is proportional to the loss, C = 2LH: a power law of the loss ratio, no exponential.

    Equation: κ = √(h_e|h_s|)/(2πF) · (L_s/L*)^{−(B/(ηh_e) + 1 − n/2)}; n = Tr H/h_e (exponent="trace") or the number of
    directions (exponent="printed"); F = 1, or √x Γ(x+½)/Γ(x+1) with x = B/(ηh_e) (well="student").

    =====================  ======  =====  ============================================
    argument               symbol  shape  scale
    =====================  ======  =====  ============================================
    minimum_loss           L*      ()     loss
    saddle_loss            L_s     ()     loss, above L*
    escape_curvature       h_e     ()     loss/parameter², at the minimum along the path
    saddle_curvature       |h_s|   ()     loss/parameter², > 0
    learning_rate          η       ()     parameter²/loss
    batch_size             B       ()     examples a step
    transverse_curvatures  h_i     (k,)   loss/parameter², the other directions
    exponent               –       –      "trace" or "printed"
    well                   –       –      "gaussian" or "student"
    log                    –       –      True: ln κ, finite where κ is below float64 (0)
    returns                κ       ()     1/time, η a step
    =====================  ======  =====  ============================================

    Assumptions: mean squared error with residuals that decouple from their gradients, Gaussian noise 2LH/B with H frozen in the valley,
    ηh ≪ 1, ln(L_s/L*) ≫ ηh_e/B. A straight path with constant transverse curvature; "trace" is exact as T → 0 where that
    curvature is h_e, else `transverse_gain` is.
    Limit: no other directions: √(h*|h_s|)/2π c^{−(½ + B/(ηh*))}. Flat directions count for nothing under "trace", for ½ each as printed.

    Reference: Mori, Ziyin, Liu, Ueda (2022), Power-law escape rate of SGD, eqs. (16) and (17); "printed" counts n directions of noise h*, with
    the paper's own noise it is Tr H/h_e (derived and simulated here). The Student well is derived here.

    >>> law = {"minimum_loss": 0.125, "saddle_loss": 0.25, "escape_curvature": 1.0, "saddle_curvature": 0.5}
    >>> round(1 / escape_rate(learning_rate=0.05, batch_size=1, **law) / 1e6, 3)
    13.177
    """
    bottom, top = _checks.positive("minimum_loss", minimum_loss), _checks.positive("saddle_loss", saddle_loss)
    if top <= bottom:
        msg = f"saddle_loss must be above minimum_loss = {bottom:g}, got {top:g}."
        raise ValueError(msg)
    h, down = (
        _checks.positive("escape_curvature", escape_curvature),
        _checks.positive("saddle_curvature", saddle_curvature),
    )
    others = _curvatures(transverse_curvatures)
    kind = _checks.one_of("exponent", exponent, ("trace", "printed"))
    shape = _checks.one_of("well", well, ("gaussian", "student"))
    rate, sharpest = _checks.positive("learning_rate", learning_rate), max([h, *others])
    if rate * sharpest >= 2:
        msg = f"learning_rate must be below the stability edge {2 / sharpest:.6g}, got {rate:g}."
        raise ValueError(msg)
    cold = _checks.integer("batch_size", batch_size) / (rate * h)
    count = 1 + (float(others.sum()) / h if kind == "trace" else len(others))
    if cold + 1 <= count / 2:
        msg = (
            f"batch_size must be above learning_rate · escape_curvature · (n/2 − 1) = {rate * h * (count / 2 - 1):.6g}, got {batch_size}: "
            f"with n = {count:.6g} of transverse_curvatures and exponent={kind!r} the exponent B/(ηh_e) + 1 − n/2 is "
            f"{cold + 1 - count / 2:.4g}, not > 0, and so much noise leaves no stationary law in the well."
        )
        raise ValueError(msg)
    factor = math.log(cold) / 2 + math.lgamma(cold + 0.5) - math.lgamma(cold + 1) if shape == "student" else 0.0
    value = math.log(h * down) / 2 - math.log(2 * math.pi) - factor
    value -= (cold + 1 - count / 2) * (math.log(top) - math.log(bottom))
    return value if _checks.flag("log", log) else saturated(value)


def transverse_gain(
    loss: Callable[[float], float],
    slope: Callable[[float], float],
    *,
    minimum: float,
    saddle: float,
    escape_curvature: float,
    transverse_curvatures: ArrayLike,
) -> float:
    r"""Logarithm of how much faster transverse directions make the escape under loss-proportional noise, exact for small noise.

    Equation: ln(τ_1D/τ) = Σ_i (h_i/2h_e) ∫_{L*}^{L_s} dℓ/(ℓ α_i), with ½ℓ'α' = h_i α(1−α) + (ℓ'²/2ℓ)(α − h_i/h_e) along the path, α = 1 at
    its ends.

    =====================  ======  =====  ============================================
    argument               symbol  shape  scale
    =====================  ======  =====  ============================================
    loss                   ℓ       –      function of the position on the path; loss
    slope                  ℓ'      –      its derivative; loss/parameter
    minimum, saddle        –       ()     positions; parameter
    escape_curvature       h_e     ()     ℓ'' at the minimum
    transverse_curvatures  h_i     (k,)   loss/parameter², constant along the path
    returns                –       ()     dimensionless
    =====================  ======  =====  ============================================

    Assumptions: Gaussian noise 2LH/B with H frozen, straight path along an eigenvector, small ηh_e/B (at ½ up to 20 % of the logarithm).
    Limit: h_i = h_e gives ½ ln(L_s/L*) each, the "trace" exponent of `escape_rate`.

    Reference: derived here, from the small-noise expansion Φ = ln ℓ/T + ½ a y² of the stationary density; corrects the direction count of
    Mori, Ziyin, Liu, Ueda (2022), eq. (17).

    >>> path = lambda x: (1 - x * x) ** 2 / 8 + 1 / 24, lambda x: -(1 - x * x) * x / 2
    >>> setting = {"minimum": -1.0, "saddle": 0.0, "escape_curvature": 1.0}
    >>> round(transverse_gain(*path, transverse_curvatures=[3.0], **setting), 5)
    2.37084
    """
    start, end = _checks.real("minimum", minimum), _checks.real("saddle", saddle)
    _checks.function("loss", loss), _checks.function("slope", slope)
    h = _checks.positive("escape_curvature", escape_curvature)
    if not 0 < loss(start) < loss(end):
        msg = f"loss must be positive and higher at the saddle than at the minimum, got {loss(end):g} and {loss(start):g}."
        raise ValueError(msg)
    return sum(_gain(loss, slope, start, end, h, float(k)) for k in _curvatures(transverse_curvatures))


def saturated(log: float) -> float:
    """Return e^log; infinity or 0 beyond float64."""
    return math.inf if log > _LARGEST_LOG else math.exp(log)


def _gain(
    loss: Callable[[float], float], slope: Callable[[float], float], start: float, end: float, h: float, k: float
) -> float:
    """(k/2h) ∫ dℓ/(ℓα) in s = (x − start)/(end − start), begun with the quadratic expansion of α about the minimum."""
    length, edge = end - start, 1e-4
    bend = h * (h - k) / (2 * loss(start) * (h + k)) * (length * edge) ** 2

    asked = itertools.count()

    def change(s: float, alpha: Array) -> Array:
        if next(asked) > _MOST_SLOPES:
            msg = "loss and slope must be smooth between minimum and saddle, with curvatures of that scale: the path needs too many steps."
            raise ValueError(msg)
        x = start + length * s
        level, rise = loss(x), slope(x) * math.copysign(1.0, length)
        return 2 * abs(length) / rise * (k * alpha * (1 - alpha) + rise**2 / (2 * level) * (alpha - k / h))

    # α returns to 1 at the saddle like (1 − s)²: the last 1e-4 of the path adds nothing
    path = solve_ivp(change, (edge, 1 - edge), [1 + bend], method="Radau", rtol=1e-10, atol=1e-12, dense_output=True)
    if not path.success or path.y.min() <= 0:
        msg = "loss must rise monotonically from minimum to saddle, with transverse curvatures for which the straight path is optimal."
        raise ValueError(msg)

    def integrand(s: float) -> float:
        x = start + length * s
        return slope(x) * length / (loss(x) * float(path.sol(min(max(s, edge), 1 - edge))[0]))

    return k / (2 * h) * float(quad(integrand, 0.0, 1.0, epsabs=1e-11, epsrel=1e-10, limit=200)[0])


def _noise_along(direction: Array, low: Array, top: Array, diffusion: ArrayLike) -> float:
    """Diffusion along the escape direction, where the law has a potential: see the assumptions of `kramers_rate`."""
    noise = _checks.symmetric("diffusion", diffusion, len(low), definite="semi")
    along = float(direction @ noise @ direction)
    if along <= 0:
        msg = "diffusion must reach the escape direction, but there is no noise along it: the rate is 0."
        raise ValueError(msg)
    if np.allclose(noise, along * np.eye(len(noise)), rtol=1e-10, atol=1e-12 * along):
        return along
    across = np.eye(len(low)) - np.outer(direction, direction)
    mixed = max(float(np.abs(across @ m @ direction).max() / np.abs(m).max()) for m in (noise, low, top))
    differs = float(np.abs(across @ (low - top) @ across).max() / np.abs(low).max())
    if max(mixed, differs) > 1e-8:
        msg = (
            "diffusion must be isotropic, or have the escape direction as an eigenvector (of both Hessians too) with the same transverse "
            "curvature at minimum and saddle: no closed form holds otherwise."
        )
        raise ValueError(msg)
    return along


def _curvatures(values: ArrayLike) -> Array:
    array = np.atleast_1d(_checks.array("transverse_curvatures", values))
    if array.ndim != 1 or (array.size and array.min() < 0):
        msg = f"transverse_curvatures must be a vector of numbers >= 0, got {_checks.shown(values)}."
        raise ValueError(msg)
    return array
