"""Stochastic-variance amplified gradients: two minibatch gradients combined so that the noise grows and the mean stays."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def svag_coefficients(l: float) -> tuple[float, float]:
    r"""Weights of two independent minibatch gradients whose combination has the same mean and l times the covariance.

    Equation: c± = (1 ± √(2l−1))/2, gradient c₊ g₁ + c₋ g₂.

    ========  ======  =====  ==========================================
    argument  symbol  shape  scale
    ========  ======  =====  ==========================================
    l         l       ()     covariance after / before; real, ≥ 1
    returns   c₊, c₋  ()     pure numbers, c₊ > 0 ≥ c₋
    ========  ======  =====  ==========================================

    Assumptions: g₁, g₂ independent with one law. Deterministic terms (weight decay) get c₊ + c₋ = 1: add them once.
    Limit: l = 1 gives (1, 0), plain SGD with the first batch.

    Reference: Li, Malladi, Arora (2021), `docs/derivations/svag.md`; the adaptive convention of Malladi et al. (2022), 2ℓ²−1 under
    the root, is l = ℓ².

    >>> svag_coefficients(5)
    (2.0, -1.0)
    """
    root = math.sqrt(2 * _factor(l) - 1)
    return (1 + root) / 2, (1 - root) / 2


@dataclass(frozen=True)
class SvagMoments:
    """What svag multiplies each cumulant of the gradient noise by.

    Attributes
    ----------
    mean, covariance, third, fourth
        Factors of the mean (1), covariance (l), third central moment and fourth cumulant tensors.
    skewness, excess_kurtosis
        Factors of the normalised ones.
    """

    mean: float
    covariance: float
    third: float
    fourth: float
    skewness: float
    excess_kurtosis: float


def svag_moments(l: float) -> SvagMoments:
    r"""Factors by which svag multiplies the cumulants of one minibatch's gradient noise, for any distribution.

    Equation: mean 1, covariance l, third (3l−1)/2, fourth cumulant (l²+2l−1)/2; normalised skewness (3l−1)/(2l^{3/2}),
    excess kurtosis (l²+2l−1)/(2l²).

    ========  ======  =====  ==========================================
    argument  symbol  shape  scale
    ========  ======  =====  ==========================================
    l         l       ()     covariance after / before; real, ≥ 1
    returns   –       ()     a record of pure numbers
    ========  ======  =====  ==========================================

    Assumptions: g₁, g₂ independent with one law that has four moments.
    Limit: l = 1 gives 1 everywhere; as l → ∞ the skewness of a step vanishes, its kurtosis tends to half, and over the l
    steps that replace one both die as 1/l.

    Reference: power sums c₊ᵏ + c₋ᵏ of the coefficients of Li, Malladi, Arora (2021), `docs/derivations/svag.md`; derived here.

    >>> svag_moments(5).third, svag_moments(5).fourth
    (7.0, 17.0)
    """
    factor = _factor(l)
    third, fourth = (3 * factor - 1) / 2, (factor**2 + 2 * factor - 1) / 2
    return SvagMoments(1.0, factor, third, fourth, third / factor**1.5, fourth / factor**2)


def svag_noise(
    gradient_covariance: ArrayLike,
    l: float,
    *,
    batch_size: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Covariance of one amplified gradient, its two batches drawn independently or as disjoint halves of one subset.

    Equation: l C/B with replacement; C (l N/B − 1)/(N−1) for two disjoint batches drawn without replacement.

    ===================  ======  ======  ===================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================
    gradient_covariance  C       (D, D)  gradient², per example
    l                    l       ()      covariance after / before; ≥ 1
    batch_size           B       ()      examples in each of the two batches
    sampling             –       –       "shuffled" raises
    num_examples         N       ()      examples; 2B ≤ N without replacement
    returns              –       (D, D)  gradient², per step
    ===================  ======  ======  ===================================

    Assumptions: steps draw independently.
    Limit: l = 1 is `batch_noise`; N → ∞ makes the two samplings equal.

    Reference: Li, Malladi, Arora (2021), `docs/derivations/svag.md`; disjoint halves derived here (they are anticorrelated, by −C/(N−1)).

    >>> svag_noise([[1.0, -0.2], [-0.2, 0.4]], 2, batch_size=4)
    array([[ 0.5, -0.1],
           [-0.1,  0.2]])
    """
    factor = _factor(l)
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    sampling = _checks.one_of("sampling", sampling, ("with_replacement", "without_replacement"))
    examples = None if num_examples is None else _checks.integer("num_examples", num_examples, low=2)
    size = _checks.batch_size(batch_size, examples, sampling)
    if sampling == "with_replacement" or examples is None:
        return covariance * factor / size
    if 2 * size > examples:
        msg = f"batch_size must be <= num_examples/2 = {examples / 2:g} for two disjoint batches, got {size}."
        raise ValueError(msg)
    return covariance * (factor * examples / size - 1) / (examples - 1)


def _factor(l: float) -> float:
    factor = _checks.real("l", l)
    if factor < 1:
        msg = f"l must be >= 1, got {l}: svag amplifies the noise of a batch. For less noise use a larger batch."
        raise ValueError(msg)
    return factor
