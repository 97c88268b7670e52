"""Where the linear rule and the SDE must fail: bounds from signal and noise at equilibrium."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from gradnoise import _checks


@dataclass(frozen=True)
class Equilibrium:
    """Averages over the stationary law of a run.

    Attributes
    ----------
    squared_params
        R = E|θ|², parameter².
    squared_gradient
        G = E|∇L|², gradient².
    noise_per_time
        N̂ = η E tr Cov(ĝ), with Cov of one minibatch gradient: what the linear rule holds fixed.
    """

    squared_params: float
    squared_gradient: float
    noise_per_time: float

    def __post_init__(self) -> None:
        for field in fields(self):
            _checks.positive(field.name, getattr(self, field.name))


def equilibrium_closeness(first: Equilibrium, second: Equilibrium) -> float:
    r"""Smallest C for which two equilibria are C-close: every ratio of R, G and N̂ lies in [1/C, C].

    Equation: C = exp max |ln(a/a′)| over a in (R, G, N̂).

    ========  ======  =====  ==========================
    argument  symbol  shape  scale
    ========  ======  =====  ==========================
    first     –       ()     an `Equilibrium`
    second    –       ()     another
    returns   C       ()     pure number, ≥ 1
    ========  ======  =====  ==========================

    Assumptions: both runs are stationary; noise compared per unit of time.
    Limit: 1 for equal equilibria.

    Reference: Li, Malladi, Arora (2021); `docs/derivations/equilibrium.md`; their predictions take C = √2.

    >>> equilibrium_closeness(Equilibrium(2.0, 1.0, 3.0), Equilibrium(1.0, 1.5, 3.0))
    2.0
    """
    for name, value in (("first", first), ("second", second)):
        if not isinstance(value, Equilibrium):
            msg = f"{name} must be an Equilibrium, got {_checks.shown(value)}."
            raise TypeError(msg)
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Equilibrium)]
    return float(max(max(a / b, b / a) for a, b in pairs))


def max_learning_rate_for_sde(
    *, noise_per_time: float, squared_gradient: float, closeness: float = math.sqrt(2)
) -> float:
    r"""Learning rate beyond which SGD and its SDE cannot have C-close equilibria.

    Equation: η ≤ (N̂/G)(C² − 1), N̂ and G of the SDE (or of a run where it holds); equivalently tr Cov(ĝ)/G ≥ 1/(C²−1) at
    the batch in use.

    ================  ======  =====  ==============================================
    argument          symbol  shape  scale
    ================  ======  =====  ==============================================
    noise_per_time    N̂       ()     η·gradient², η tr Cov of one minibatch gradient
    squared_gradient  G       ()     gradient²
    closeness         C       ()     pure number, > 1
    returns           η       ()     parameter²/loss
    ================  ======  =====  ==============================================

    Assumptions: scale-invariant network with L2 penalty, at equilibrium. Necessary, not sufficient.
    Limit: C → 1 gives 0: nothing but noise can be matched exactly.

    Reference: Li, Malladi, Arora (2021), theorem on the SDE, `docs/derivations/equilibrium.md`; N there is per unit of time (the only reading with the right units).

    >>> round(max_learning_rate_for_sde(noise_per_time=0.1421, squared_gradient=0.0703), 2)
    2.02
    """
    noise, signal = (
        _checks.positive("noise_per_time", noise_per_time),
        _checks.positive("squared_gradient", squared_gradient),
    )
    return noise / signal * (_closeness(closeness) ** 2 - 1)


def max_factor_for_linear(
    *, noise_trace: float, squared_gradient: float, closeness: float = math.sqrt(2), form: str = "tight"
) -> float:
    r"""Factor of the batch size beyond which the linear rule cannot keep the equilibrium C-close.

    Equation: tight κ ≤ C² + (C²−1) N/G; weak κ ≤ C² (1 + N/G).

    ================  ======  =====  ================================================
    argument          symbol  shape  scale
    ================  ======  =====  ================================================
    noise_trace       N       ()     gradient², tr Cov of one **small** minibatch's gradient
    squared_gradient  G       ()     gradient², same run
    closeness         C       ()     pure number, > 1
    form              –       –      "tight" or "weak"
    returns           κ       ()     pure number
    ================  ======  =====  ================================================

    Assumptions: scale-invariant network with L2 penalty, both runs at equilibrium, λ kept. Necessary, not sufficient.
    Limit: no noise: κ ≤ C², since the signal's part of |θ|² grows with κ.

    Reference: Li, Malladi, Arora (2021), theorem on the linear rule, `docs/derivations/equilibrium.md`, where both forms are derived.

    >>> round(max_factor_for_linear(noise_trace=100.0, squared_gradient=1.0), 6)
    102.0
    """
    noise, signal = _checks.positive("noise_trace", noise_trace), _checks.positive("squared_gradient", squared_gradient)
    square = _closeness(closeness) ** 2
    if _checks.one_of("form", form, ("tight", "weak")) == "tight":
        return square + (square - 1) * noise / signal
    return square * (1 + noise / signal)


def scale_invariant_norm(
    *, noise_trace: float, squared_gradient: float, learning_rate: float, weight_decay: float, l: float = 1.0
) -> float:
    r"""Mean squared norm of the parameters of a scale-invariant network at equilibrium.

    Equation: R (2λ − (η/l)λ²) = η (N + G/l); SGD l = 1, svag l, the SDE l = ∞.

    ================  ======  =====  ================================================
    argument          symbol  shape  scale
    ================  ======  =====  ================================================
    noise_trace       N       ()     gradient², tr Cov of one minibatch gradient
    squared_gradient  G       ()     gradient²
    learning_rate     η       ()     parameter²/loss
    weight_decay      λ       ()     loss/parameter², L2 term ½λ|θ|²
    l                 l       ()     covariance factor of svag; math.inf for the SDE
    returns           R       ()     parameter²
    ================  ======  =====  ================================================

    Assumptions: ∇L_γ(θ)·θ = 0 for every minibatch; N and G taken at equilibrium; ηλ < 2l.
    Limit: l → ∞ is 2λR = ηN.

    Reference: Li, Malladi, Arora (2021), `docs/derivations/equilibrium.md`; re-derived by squaring one step.

    >>> round(scale_invariant_norm(noise_trace=7.0, squared_gradient=0.1, learning_rate=0.02, weight_decay=0.02), 6)
    3.55071
    """
    noise, signal = _checks.positive("noise_trace", noise_trace), _checks.positive("squared_gradient", squared_gradient)
    rate, decay = _checks.positive("learning_rate", learning_rate), _checks.positive("weight_decay", weight_decay)
    factor = math.inf if l == math.inf else _checks.within("l", l, 1.0, math.inf)
    if rate * decay >= 2 * factor:
        msg = f"weight_decay must be below 2l/learning_rate = {2 * factor / rate:.6g}, got {decay:g}: the decay alone diverges."
        raise ValueError(msg)
    return rate * (noise + signal / factor) / (2 * decay - rate / factor * decay**2)


def _closeness(value: float) -> float:
    return _checks.within("closeness", value, 1.0, math.inf, closed="neither")
