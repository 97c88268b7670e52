"""Iterate averaging as a sampler: its relative error per direction, admissible learning rates, and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.stability_edge import rate_edge


def averaging_factors(hessian: ArrayLike, *, learning_rate: float, window: int, time: str = "discrete") -> Array:
    r"""Variance of a mean of T iterates relative to its limit H⁻¹CH⁻¹/(BT), per eigendirection of H.

    Equation, r = ηλ: 1 − 2(1−r)(1−(1−r)ᵀ)/(T r (2−r)) (discrete); 1 − (1−e^{−x})/x, x = rT (continuous).

    =============  ======  ======  ===================================
    argument       symbol  shape   scale
    =============  ======  ======  ===================================
    hessian        H       (D, D)  curvature of the mean loss
    learning_rate  η       ()      parameter²/loss
    window         T       ()      steps; one pass is N/B
    time           –       –       "discrete" (default), "continuous"
    returns        –       (D,)    dimensionless, ascending eigenvalues of H
    =============  ======  ======  ===================================

    Assumptions: quadratic loss, constant noise, C commuting with H; with T = N/B and C = H (a well-specified likelihood) these
    are the variances of the averages relative to the posterior.
    Limit: x → ∞ gives 1; x → 0 gives x/2. T = 1 gives ηλ/(2 − ηλ).

    Reference: Mandt, Hoffman, Blei (2017), eqs. (33) and (34); discrete time derived here.

    >>> averaging_factors([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.05, window=100).round(6)
    array([0.636468, 0.905266])
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    rates = _rates(hessian, learning_rate)
    return _factors(rates, _checks.integer("window", window), time)


def averaging_errors(
    hessian: ArrayLike, *, learning_rate: float, num_examples: int, batch_size: int, time: str = "discrete"
) -> Array:
    r"""Relative error of the variances that iterate averaging over one pass gives, per eigendirection of H.

    Equation: f_i (N/BT)(1 + (η/2B)(Tr H + λ_i)) − 1, f_i of `averaging_factors` at T = ⌊N/B⌋: a window that leaves a remainder out
    averages BT < N examples.

    =============  ======  ======  ===================================
    argument       symbol  shape   scale
    =============  ======  ======  ===================================
    hessian        H       (D, D)  curvature of the mean loss
    learning_rate  η       ()      parameter²/loss
    num_examples   N       ()      examples
    batch_size     B       ()      examples a step, at most N
    time           –       –       "discrete" (default), "continuous"
    returns        –       (D,)    dimensionless, ascending eigenvalues of H
    =============  ======  ======  ===================================

    Assumptions: linear regression with Gaussian inputs and unit noise (C = H at the optimum), batches drawn independently: with
    reshuffled epochs the averages collapse. The second factor is the state-dependent noise to first order in η.
    Limit: η large makes the soft error small and the second factor large: a range is left if the condition number allows it.

    Reference: Mandt, Hoffman, Blei (2017), §6.2, whose err_max has S/ε for ε/S in its exponent; the noise factor derived here.

    >>> averaging_errors([[1.0, 0.0], [0.0, 0.5]], learning_rate=0.1, num_examples=2000, batch_size=10).round(4)
    array([-0.0884, -0.0355])
    """
    rates = _rates(hessian, learning_rate)
    batch, window, missed = _one_pass(num_examples, batch_size)
    factors = _factors(rates, window, _checks.one_of("time", time, ("discrete", "continuous")))
    return np.asarray(factors * missed * (1 + (rates.sum() + rates) / (2 * batch)) - 1)


@dataclass(frozen=True)
class AveragingRange:
    """Learning rates at which iterate averaging keeps both of its errors below the tolerance.

    Attributes
    ----------
    low
        Smallest learning rate: below it the softest direction is too narrow by more than the tolerance.
    high
        Largest: above it the state-dependent noise makes the stiffest direction too wide, or SGD is unstable.
    admissible
        Whether low ≤ high.
    """

    low: float
    high: float
    admissible: bool


def averaging_range(
    hessian: ArrayLike, *, num_examples: int, batch_size: int, tolerance: float = 0.05
) -> AveragingRange:
    r"""Admissible learning rates of iterate averaging as a posterior sampler.

    Equation: low solves 1 − ρf(η) = δ in the softest direction, f of `averaging_factors` at T = ⌊N/B⌋, ρ = N/(BT) (≈ B/(δ N λ_min));
    high = min(2B((1+δ)/ρ − 1)/(Tr H + λ_max), 2/λ_max), not below 0.

    ============  ======  ======  ===================================
    argument      symbol  shape   scale
    ============  ======  ======  ===================================
    hessian       H       (D, D)  curvature of the mean loss
    num_examples  N       ()      examples
    batch_size    B       ()      examples a step, at most N
    tolerance     δ       ()      relative error of a variance, in (0, 1)
    returns       –       –       `AveragingRange`, parameter²/loss
    ============  ======  ======  ===================================

    Assumptions: as in `averaging_errors`.
    Limit: a range exists when N ≳ (Tr H + λ_max)/(2δ²λ_min), whatever the batch size.

    Reference: Mandt, Hoffman, Blei (2017), §6.2, which asks only for η < 2/λ_max above; the sharper bound derived here.

    >>> found = averaging_range([[1.0, 0.0], [0.0, 0.5]], num_examples=20_000, batch_size=10)
    >>> round(found.low, 5), round(found.high, 5), found.admissible
    (0.0199, 0.4, True)
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    batch, window, missed = _one_pass(num_examples, batch_size)
    delta = _checks.within("tolerance", tolerance, 0.0, 1.0, closed="neither")
    values = np.linalg.eigvalsh(hessian)
    spare = max((1 + delta) / missed - 1, 0.0)
    high = min(2 * batch * spare / float(values.sum() + values[-1]), rate_edge() / float(values[-1]))

    def missing(log_rate: float) -> float:
        return delta - 1 + missed * float(_factors(np.array([math.exp(log_rate) * values[0]]), window, "discrete")[0])

    top = math.log(1 / float(values[0]))  # at ηλ = 1 the factor is 1: the iterates are independent
    low = math.exp(brentq(missing, top - 30 - math.log(window), top, xtol=1e-13))
    return AveragingRange(low, high, low <= high)


def averaging_correlation(hessian: ArrayLike, *, learning_rate: float, window: int) -> Array:
    r"""Correlation of neighbouring window averages, per eigendirection of H.

    Equation, a = 1 − ηλ: ρ₁ = [a(1−aᵀ)²/(1−a)²] / [T(1+a)/(1−a) − 2a(1−aᵀ)/(1−a)²].

    =============  ======  ======  ===================================
    argument       symbol  shape   scale
    =============  ======  ======  ===================================
    hessian        H       (D, D)  curvature of the mean loss
    learning_rate  η       ()      parameter²/loss
    window         T       ()      steps
    returns        ρ₁      (D,)    dimensionless, ascending eigenvalues of H
    =============  ======  ======  ===================================

    Assumptions: quadratic loss, constant noise, non-overlapping windows.
    Limit: continuous time gives (1−e^{−x})²/(2(x − 1 + e^{−x})), x = ηλT, about 1/(2x).

    Reference: derived here, from the autocovariance aᵏ of one mode.

    >>> averaging_correlation([[2.0, 0.0], [0.0, 0.5]], learning_rate=0.05, window=100).round(6)
    array([0.262877, 0.052323])
    """
    rates = _rates(hessian, learning_rate)
    window = _checks.integer("window", window)
    kept = 1 - rates
    gone = _gone(rates, window)
    slow = window * rates < 1e-5  # there the difference below has few digits, and the first order is right to 1e-10
    spread = window * rates * (1 + kept) - 2 * kept * gone
    return np.where(slow, 1 - (2 * window + 1 / window) * rates / 3, kept * gone**2 / np.where(slow, 1.0, spread))


def _one_pass(num_examples: int, batch_size: int) -> tuple[int, int, float]:
    """Return B, the window T = ⌊N/B⌋, and N/(BT) ≥ 1: how much wider an average of BT examples is than one of all N."""
    examples = _checks.integer("num_examples", num_examples)
    batch = _checks.integer("batch_size", batch_size, high=examples)
    window = examples // batch
    return batch, window, examples / (batch * window)


def _rates(hessian: ArrayLike, learning_rate: float) -> Array:
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    rates = _checks.positive("learning_rate", learning_rate) * np.linalg.eigvalsh(hessian)
    if rates[-1] >= rate_edge():
        msg = f"learning_rate must be below the stability edge {rate_edge() * learning_rate / rates[-1]:.6g}, got {learning_rate:.6g}."
        raise ValueError(msg)
    return np.asarray(rates)


def _factors(rates: Array, window: int, time: str) -> Array:
    if time == "continuous":
        return np.asarray(1 + np.expm1(-rates * window) / (rates * window))
    kept = 1 - rates
    return np.asarray(1 - 2 * kept * _gone(rates, window) / (window * rates * (2 - rates)))


def _gone(rates: Array, window: int) -> Array:
    """1 − (1−r)ᵀ, without cancellation where r is small."""
    small = np.minimum(rates, 0.5)
    return np.where(rates < 0.5, -np.expm1(window * np.log1p(-small)), 1 - (1 - rates) ** window)
