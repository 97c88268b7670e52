"""RMSprop and Adam with decoupled decay, signal kept beside the noise: SDEs in time t = kη."""

from __future__ import annotations

import math

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array
from gradnoise.sde.adam_rmsprop import corrections
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


def rmspropw(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    b2: float,
    eps: float,
    weight_decay: float = 0.0,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of RMSprop with decoupled decay, at any ratio of signal to noise; time t = kη.

    Equation: dX = −P⁻¹(∇L dt + (ηS)^{1/2} dW) − γX dt, dV = ρ((∇L)² + diag S − V) dt, P = diag(V)^{1/2} + ε;
    S = C/B, ρ = (1−β₂)/η.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter: the gradient is divided by its size
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    b2                   β₂      ()      v ← β₂v + (1−β₂)g²
    eps                  ε       ()      gradient
    weight_decay         γ       ()      1/parameter: θ ← θ − η(g/(√v + ε) + γθ); independent of η: γ/η
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, V); V in gradient², per batch
    ===================  ======  ======  ===================================================

    Assumptions: 1−β₂ of order η; smooth loss; steps draw independently.
    Limit: noise-dominated with γ = 0 it is `rmsprop` in other units of time. Without (∇L)² in dV the error does not vanish with η.

    Reference: Monzio Compagnoni et al. (2024), `docs/derivations/decoupled_decay_and_signs.md`.

    >>> found = rmspropw(lambda x: 2 * x, [[4.0]], learning_rate=0.1, batch_size=4, b2=0.9, eps=1.0, weight_decay=0.5)
    >>> found.drift(0.0, np.array([1.0, 9.0])).round(6)
    array([-1., -4.])
    """
    rate, epsilon = _checks.positive("learning_rate", learning_rate), _checks.within("eps", eps, 0.0, math.inf)
    rho = (1 - _checks.within("b2", b2, 0.0, 1.0, closed="neither")) / rate
    decay = _checks.within("weight_decay", weight_decay, 0.0, math.inf)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    slope, root = vector_field("gradient", gradient), covariance_root(gradient_covariance, rate * factor)
    spread = covariance_diagonal(gradient_covariance)

    def drift(_t: float, state: Array) -> Array:
        x, v = pieces(state, 2)
        g = slope(x)
        step = -g / (np.sqrt(v) + epsilon) - decay * x
        return np.concatenate([step, rho * (g**2 + factor * spread(x) - v)], axis=-1)

    def diffusion(_t: float, state: Array) -> Array:
        x, v = pieces(state, 2)
        return stacked(scale_rows(-1 / (np.sqrt(v) + epsilon), root(x)), 0, 2)

    return SDE(drift, diffusion, rate, ("position", "second_moment"), 1)


def adamw(
    gradient: VectorField,
    gradient_covariance: Matrix,
    *,
    learning_rate: float,
    batch_size: int,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float = 0.0,
    bias_correction: bool = True,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of AdamW, at any ratio of signal to noise; time t = kη.

    Equation: dX = −(√γ₂/γ₁) P⁻¹(M dt + ηρ₁[(∇L − M) dt + (ηS)^{1/2} dW]) − γX dt, dM = ρ₁[(∇L − M) dt + (ηS)^{1/2} dW],
    dV = ρ₂((∇L)² + diag S − V) dt, P = diag(V)^{1/2} + ε√γ₂; S = C/B, ρᵢ = (1−βᵢ)/η, γᵢ = 1 − e^{−ρᵢt}.

    ===================  ======  ======  ===================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================================
    gradient             ∇L      –       function, params (..., D) to (..., D), mean loss
    gradient_covariance  C       (D, D)  gradient², per example; or a function of params
    learning_rate        η       ()      parameter: the gradient is divided by its size
    batch_size           B       ()      examples a step; S of `theory.batch_noise`
    b1                   β₁      ()      m ← β₁m + (1−β₁)g
    b2                   β₂      ()      v ← β₂v + (1−β₂)g²
    eps                  ε       ()      gradient
    weight_decay         γ       ()      1/parameter: θ ← θ − η(m̂/(√v̂ + ε) + γθ), as optax.adamw, torch's AdamW; independent of η: γ/η
    bias_correction      –       ()      False: γ₁ = γ₂ = 1, for warm buffers
    num_examples         N       ()      examples; needed without replacement
    returns              –       –       `SDE`, state (X, M, V)
    ===================  ======  ======  ===================================================

    Assumptions: 1−βᵢ of order η; smooth loss; steps draw independently; with bias correction start at some t > 0.
    Limit: ρ₁ → ∞ is `rmspropw`.

    Reference: Monzio Compagnoni et al. (2024), `docs/derivations/decoupled_decay_and_signs.md`, corrected: a step uses the new first moment, whose last
    gradient brings the drift ηρ₁(∇L − M), as printed, and the noise ηρ₁(ηS)^{1/2} dW, which is missing there: without it the
    stationary variance is about (1−ηρ₁)² = β₁² too small, a fifth at β₁ = 0.9.

    >>> setting = {"learning_rate": 0.1, "batch_size": 4, "b1": 0.9, "b2": 0.99, "eps": 1.0, "bias_correction": False}
    >>> adamw(lambda x: 2 * x, [[4.0]], weight_decay=0.5, **setting).drift(0.0, np.array([1.0, 0.5, 9.0])).round(6)
    array([-0.6625,  1.5   , -0.4   ])
    """
    rate, epsilon = _checks.positive("learning_rate", learning_rate), _checks.within("eps", eps, 0.0, math.inf)
    rho1, rho2 = ((1 - _checks.within(n, b, 0.0, 1.0, closed="left")) / rate for n, b in (("b1", b1), ("b2", b2)))
    decay = _checks.within("weight_decay", weight_decay, 0.0, math.inf)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    slope, root = vector_field("gradient", gradient), covariance_root(gradient_covariance, rate * factor)
    spread = covariance_diagonal(gradient_covariance)

    corrected = _checks.flag("bias_correction", bias_correction)

    def gain(t: float, v: Array) -> Array:
        """√γ₂/γ₁ P⁻¹."""
        step, shrink = corrections(rho1, rho2, t) if corrected else (1.0, 1.0)
        return np.asarray(step / (np.sqrt(v) + epsilon * shrink))

    def drift(t: float, state: Array) -> Array:
        x, m, v = pieces(state, 3)
        g = slope(x)
        step = -gain(t, v) * (m + rate * rho1 * (g - m)) - decay * x
        return np.concatenate([step, rho1 * (g - m), rho2 * (g**2 + factor * spread(x) - v)], axis=-1)

    def diffusion(t: float, state: Array) -> Array:
        x, _, v = pieces(state, 3)
        noise = root(x)
        return stacked(scale_rows(-gain(t, v) * rate * rho1, noise), 0, 3) + stacked(rho1 * noise, 1, 3)

    return SDE(drift, diffusion, rate, ("position", "first_moment", "second_moment"), 1)
