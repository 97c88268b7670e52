"""Stationary variances of adaptive methods in one direction of a quadratic, from their SDEs."""

from __future__ import annotations

import math

from gradnoise import _checks


def sign_variance(*, curvature: float, standard_deviation: float, learning_rate: float, batch_size: int) -> float:
    r"""Stationary variance of sign descent near a minimum, linearised.

    Equation: Var = η/(2a), a = √(2/π) h√B/σ.

    ==================  ======  =====  ===============================
    argument            symbol  shape  scale
    ==================  ======  =====  ===============================
    curvature           h       ()     of the mean loss
    standard_deviation  σ       ()     gradient, per example
    learning_rate       η       ()     parameter
    batch_size          B       ()     examples a step
    returns             Var     ()     parameter²
    ==================  ======  =====  ===============================

    Assumptions: quadratic loss, constant Gaussian noise, |∇L| ≪ σ/√B along the path, small step. The linearised SDE has
    η/(2a + ηa²), since its noise shrinks away from the minimum; the algorithm's noise plus drift is one exactly.
    Limit: linear in σ, where SGD's variance is quadratic.

    Reference: Monzio Compagnoni et al. (2024), `docs/derivations/decoupled_decay_and_signs.md`.

    >>> round(sign_variance(curvature=1.0, standard_deviation=0.5, learning_rate=0.01, batch_size=1), 6)
    0.003133
    """
    h, s = _pull(curvature, standard_deviation, batch_size)
    return _checks.positive("learning_rate", learning_rate) / (2 * math.sqrt(2 / math.pi) * h / s)


def rmsprop_variance(
    *, curvature: float, standard_deviation: float, learning_rate: float, batch_size: int, eps: float = 0.0
) -> float:
    r"""Stationary variance of RMSprop near a minimum where noise dominates.

    Equation: Var = η s²/(2h(s + ε)), s = σ/√B.

    ==================  ======  =====  ===============================
    argument            symbol  shape  scale
    ==================  ======  =====  ===============================
    curvature           h       ()     of the mean loss
    standard_deviation  σ       ()     gradient, per example
    learning_rate       η       ()     parameter
    batch_size          B       ()     examples a step
    eps                 ε       ()     gradient; θ ← θ − ηg/(√v + ε)
    returns             Var     ()     parameter²
    ==================  ======  =====  ===============================

    Assumptions: quadratic loss, constant noise, noise-dominated, small step, 1−β₂ small.
    Limit: ε = 0: ηs/(2h), linear in s; ε ≫ s: SGD with learning rate η/ε.

    Reference: Malladi et al. (2022), `docs/derivations/adaptive_sde.md`: σ₀²C/(2h(σ₀√C + ε₀)).

    >>> round(rmsprop_variance(curvature=2.0, standard_deviation=0.4, learning_rate=0.01, batch_size=4), 6)
    0.0005
    """
    h, s = _pull(curvature, standard_deviation, batch_size)
    epsilon = _checks.within("eps", eps, 0.0, math.inf)
    return _checks.positive("learning_rate", learning_rate) * s**2 / (2 * h * (s + epsilon))


def adamw_variance(
    *,
    curvature: float,
    standard_deviation: float,
    learning_rate: float,
    batch_size: int,
    weight_decay: float = 0.0,
) -> float:
    r"""Stationary variance of AdamW near a minimum at the origin, where noise dominates.

    Equation: Var = η/(2(h√B/σ + γ)).

    ==================  ======  =====  =====================================
    argument            symbol  shape  scale
    ==================  ======  =====  =====================================
    curvature           h       ()     of the mean loss
    standard_deviation  σ       ()     gradient, per example
    learning_rate       η       ()     parameter
    batch_size          B       ()     examples a step
    weight_decay        γ       ()     1/parameter, decoupled: θ ← θ − η(… + γθ); where η does not multiply it, give γ/η
    returns             Var     ()     parameter²
    ==================  ======  =====  =====================================

    Assumptions: quadratic loss, constant noise, noise-dominated, small step, ε = 0, 1−β small.
    Limit: γ = 0 is `rmsprop_variance` at ε = 0. Kept by B → κB with η and γ × √κ: the square-root rule.

    Reference: Monzio Compagnoni et al. (2024), `docs/derivations/decoupled_decay_and_signs.md`.

    >>> round(adamw_variance(curvature=1.0, standard_deviation=1.0, learning_rate=0.01, batch_size=1, weight_decay=0.5), 6)
    0.003333
    """
    h, s = _pull(curvature, standard_deviation, batch_size)
    decay = _checks.within("weight_decay", weight_decay, 0.0, math.inf)
    return _checks.positive("learning_rate", learning_rate) / (2 * (h / s + decay))


def _pull(curvature: float, standard_deviation: float, batch_size: int) -> tuple[float, float]:
    size = _checks.integer("batch_size", batch_size)
    return _checks.positive("curvature", curvature), _checks.positive(
        "standard_deviation", standard_deviation
    ) / math.sqrt(size)
