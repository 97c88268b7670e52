"""RMSprop and Adam where noise dominates: the SDEs behind the square-root scaling rule, in time t = kη²."""

from __future__ import annotations

import math

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array
from gradnoise.sde.fields import (
    Matrix,
    VectorField,
    covariance_diagonal,
    covariance_root,
    pieces,
    scale_rows,
    stacked,
    vector_field,
)
from gradnoise.sde.records import SDE
from gradnoise.theory import noise_factor


def rmsprop(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    b2: float,
    eps: float,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of RMSprop where noise dominates the gradient; time t = kη², u = v/σ².

    Equation: dX = −P⁻¹(∇L dt + σ₀C^{1/2} dW), du = c₂(diag C − u) dt, P = σ₀ diag(u)^{1/2} + ε₀;
    σ₀ = ησ, σ² = 1/B, ε₀ = ηε, c₂ = (1−β₂)/η².

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter: the gradient is divided by its size
    batch_size           B       ()      examples a step; σ² of `theory.noise_factor`
    b2                   β₂      ()      v ← β₂v + (1−β₂)g²
    eps                  ε       ()      gradient; θ ← θ − ηg/(√v + ε)
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, u); u in gradient², per example
    ===================  ======  ======  ===================================================

    Assumptions: |∇Lᵢ|² ≪ σ²C_ii; 1−β₂ of order η²; u > 0 at the start; steps draw independently.
    Limit: c₂ → ∞ with ε = 0: noise of variance one per unit of time in every direction, drift −∇L/(σ₀ diag(C)^{1/2}).

    Reference: Malladi et al. (2022), `docs/derivations/adaptive_sde.md`.

    >>> found = rmsprop(lambda x: 2 * x, [[4.0]], learning_rate=0.1, batch_size=4, b2=0.9, eps=1.0)
    >>> found.drift(0.0, np.array([1.0, 9.0])).round(6), found.diffusion(0.0, np.array([1.0, 9.0])).round(6)
    (array([ -8., -50.]), array([[-0.4],
           [ 0. ]]))
    """
    rate, epsilon = _checks.squarable("learning_rate", learning_rate), _checks.within("eps", eps, 0.0, math.inf)
    c2 = (1 - _checks.within("b2", b2, 0.0, 1.0, closed="neither")) / rate**2
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    sigma0, eps0 = rate * math.sqrt(factor), rate * epsilon
    slope, root = vector_field("gradient", gradient), covariance_root(gradient_covariance, sigma0**2)
    spread = covariance_diagonal(gradient_covariance)

    def drift(_t: float, state: Array) -> Array:
        x, u = pieces(state, 2)
        return np.concatenate([-slope(x) / (sigma0 * np.sqrt(u) + eps0), c2 * (spread(x) - u)], axis=-1)

    def diffusion(_t: float, state: Array) -> Array:
        x, u = pieces(state, 2)
        return stacked(scale_rows(-1 / (sigma0 * np.sqrt(u) + eps0), root(x)), 0, 2)

    return SDE(drift, diffusion, rate**2, ("position", "second_moment"), 1)


def adam(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    b1: float,
    b2: float,
    eps: float,
    bias_correction: bool = True,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of Adam where noise dominates the gradient; time t = kη², u = v/σ².

    Equation: dX = −(√γ₂/γ₁) P⁻¹ m dt, dm = c₁(∇L − m) dt + c₁σ₀C^{1/2} dW, du = c₂(diag C − u) dt,
    P = σ₀ diag(u)^{1/2} + ε₀√γ₂; γᵢ = 1 − e^{−cᵢt}, cᵢ = (1−βᵢ)/η², σ₀ = ησ, σ² = 1/B, ε₀ = ηε.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter: the gradient is divided by its size
    batch_size           B       ()      examples a step; σ² of `theory.noise_factor`
    b1                   β₁      ()      m ← β₁m + (1−β₁)g
    b2                   β₂      ()      v ← β₂v + (1−β₂)g²
    eps                  ε       ()      gradient
    bias_correction      –       ()      False: γ₁ = γ₂ = 1, for warm buffers
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, m, u)
    ===================  ======  ======  ===================================================

    Assumptions: as `rmsprop`; with bias correction m = u = 0 at t = 0, where the equation is singular: start at some t > 0.
    Limit: c₁ → ∞ is `rmsprop`. X has no Itô term: Adam's path is smooth at this scale.

    Reference: Malladi et al. (2022), `docs/derivations/adaptive_sde.md`.

    >>> setting = {"learning_rate": 0.1, "batch_size": 4, "b1": 0.9, "b2": 0.99, "eps": 1.0, "bias_correction": False}
    >>> adam(lambda x: 2 * x, [[4.0]], **setting).drift(0.0, np.array([1.0, 0.5, 9.0])).round(6)
    array([-2., 15., -5.])
    """
    rate, epsilon = _checks.squarable("learning_rate", learning_rate), _checks.within("eps", eps, 0.0, math.inf)
    c1, c2 = ((1 - _checks.within(n, b, 0.0, 1.0, closed="left")) / rate**2 for n, b in (("b1", b1), ("b2", b2)))
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    sigma0, eps0 = rate * math.sqrt(factor), rate * epsilon
    slope, root = vector_field("gradient", gradient), covariance_root(gradient_covariance, (sigma0 * c1) ** 2)
    spread = covariance_diagonal(gradient_covariance)

    corrected = _checks.flag("bias_correction", bias_correction)

    def drift(t: float, state: Array) -> Array:
        x, m, u = pieces(state, 3)
        gain, shrink = corrections(c1, c2, t) if corrected else (1.0, 1.0)
        step = -gain * m / (sigma0 * np.sqrt(u) + eps0 * shrink)
        return np.concatenate([step, c1 * (slope(x) - m), c2 * (spread(x) - u)], axis=-1)

    def diffusion(_t: float, state: Array) -> Array:
        return stacked(root(pieces(state, 3)[0]), 1, 3)

    return SDE(drift, diffusion, rate**2, ("position", "first_moment", "second_moment"), 1)


def corrections(c1: float, c2: float, time: float) -> tuple[float, float]:
    """Return (√γ₂/γ₁, √γ₂) of the bias correction, γᵢ = 1 − e^{−cᵢt}."""
    if time <= 0:
        msg = (
            f"time must be > 0 with bias correction, got {time:g}: the equation is singular at 0. Start a little later."
        )
        raise ValueError(msg)
    shrink = math.sqrt(-math.expm1(-c2 * time))
    return shrink / -math.expm1(-c1 * time), shrink
