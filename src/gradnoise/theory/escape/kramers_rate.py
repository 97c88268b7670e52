"""Kramers' rate over a smooth barrier, with momentum and anisotropic noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.escape.escape_rate import saturated


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
