"""Escape over a barrier: Kramers with inertia and anisotropic noise, and the logarithmic barrier of loss-proportional noise.

Rates and times beyond float64 are 0 and infinity, without a warning; their logarithms (a field, or `log=True`) keep all digits.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

_LARGEST_LOG = math.log(sys.float_info.max)


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
    others = checked_curvatures(transverse_curvatures)
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


def saturated(log: float) -> float:
    """Return e^log; infinity or 0 beyond float64."""
    return math.inf if log > _LARGEST_LOG else math.exp(log)


def checked_curvatures(values: ArrayLike) -> Array:
    """Return the transverse curvatures (k,), none of them negative."""
    array = np.atleast_1d(_checks.array("transverse_curvatures", values))
    if array.ndim != 1 or (array.size and array.min() < 0):
        msg = f"transverse_curvatures must be a vector of numbers >= 0, got {_checks.shown(values)}."
        raise ValueError(msg)
    return array
