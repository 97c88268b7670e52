"""What the directions across an escape path add to its logarithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from scipy.integrate import quad, solve_ivp

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.escape.escape_rate import checked_curvatures

_MOST_SLOPES = 20_000  # a smooth path takes 3 000 to 8 000


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
    return sum(_gain(loss, slope, start, end, h, float(k)) for k in checked_curvatures(transverse_curvatures))


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
