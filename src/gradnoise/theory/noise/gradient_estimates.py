"""Unbiased estimates of signal and noise of a gradient, with standard errors, from what training already computes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.results import Estimate, mean_of


@dataclass(frozen=True)
class NoiseEstimates:
    """Signal, noise and their ratio.

    Attributes
    ----------
    squared_gradient
        |∇L|², unbiased; can be negative.
    noise_trace
        tr C, per example, unbiased.
    gradient_noise_scale
        Their ratio tr C/|∇L|² in examples, consistent; infinite where the squared gradient is not positive.
    """

    squared_gradient: Estimate
    noise_trace: Estimate
    gradient_noise_scale: Estimate

    @property
    def resolution(self) -> float:
        """Squared gradient over its standard error, a number r = |𝒢|²/error: below about 4 the ratio and its error are not to be trusted.

        Scale: standard errors. Limit: grows like √n where there is a signal; of order 1 where there is none.

        >>> round(gradient_estimates([[1.0, 0.0], [2.0, 1.0], [0.0, 2.0]]).resolution, 6)
        1.0
        """
        return float(self.squared_gradient.value / self.squared_gradient.standard_error)


def two_batch_estimates(
    small_squared_norms: ArrayLike, big_squared_norms: ArrayLike, *, small_batch_size: int, big_batch_size: int
) -> NoiseEstimates:
    r"""Gradient noise scale from squared norms of gradients at two batch sizes.

    Equation: |𝒢|² = (B′|G′|² − b|g|²)/(B′ − b), 𝒮 = (|g|² − |G′|²)/(1/b − 1/B′), each averaged **before** the ratio
    mean 𝒮/mean |𝒢|².

    ===================  ======  =====  =====================================================
    argument             symbol  shape  scale
    ===================  ======  =====  =====================================================
    small_squared_norms  |g|²    (n,)   gradient², of mean gradients of the small batches
    big_squared_norms    |G′|²   (n,)   gradient², of the big batches, pair by pair
    small_batch_size     b       ()     examples
    big_batch_size       B′      ()     examples, > b
    returns              –       ()     gradient²; gradient² per example; examples
    ===================  ======  =====  =====================================================

    Assumptions: pairs independent of each other at one parameter value; small batches nested in the big ones or not.
    Batches without replacement estimate |∇L|² − tr F/N and tr F, with F normalised by N − 1.
    Limit: as n grows, |∇L|², tr C and `gradient_noise_scale`.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), appendix A.1; standard errors (delta method for the ratio) are ours.

    >>> found = two_batch_estimates([5.0, 7.0, 6.0], [2.0, 3.0, 2.5], small_batch_size=1, big_batch_size=4)
    >>> float(found.squared_gradient.value), float(found.noise_trace.value)
    (1.3333333333333333, 4.666666666666667)
    """
    small = _norms("small_squared_norms", small_squared_norms)
    big = _norms("big_squared_norms", big_squared_norms)
    if len(small) != len(big):
        msg = f"big_squared_norms must have shape ({len(small)},) like small_squared_norms, got {big.shape}."
        raise ValueError(msg)
    b = _checks.integer("small_batch_size", small_batch_size)
    B = _checks.integer("big_batch_size", big_batch_size, low=b + 1)
    signal = mean_of((B * big - b * small) / (B - b))
    noise = mean_of((small - big) / (1 / b - 1 / B))
    if signal.value <= 0:
        return NoiseEstimates(signal, noise, Estimate(math.inf, math.inf, len(small)))
    ratio = noise.value / signal.value
    residual = (small - big) / (1 / b - 1 / B) - ratio * (B * big - b * small) / (B - b)
    error = residual.std(ddof=1) / (math.sqrt(len(small)) * signal.value)
    return NoiseEstimates(signal, noise, Estimate(ratio, error, len(small)))


def gradient_estimates(gradients: ArrayLike, *, batch_size: int = 1) -> NoiseEstimates:
    r"""Gradient noise scale from per-example gradients, or from the gradients of several batches of one size.

    Equation: q = mean |g_k|², s = |mean g_k|²: |∇L|² ≈ (K s − q)/(K−1), tr C ≈ B(q − |∇L|²-estimate); standard errors by
    the jackknife (delta method for the ratio).

    ==========  ======  ======  ==========================================
    argument    symbol  shape   scale
    ==========  ======  ======  ==========================================
    gradients   g_k     (K, D)  gradient, each a mean over its batch
    batch_size  B       ()      examples in each; 1: per-example gradients
    returns     –       ()      gradient²; gradient² per example; examples
    ==========  ======  ======  ==========================================

    Assumptions: gradients independent, at one parameter value (with replacement, or a sample small against N).
    Limit: as K grows, |∇L|², tr C and `gradient_noise_scale`.

    Reference: Li, Malladi, Arora (2021), code (`docs/derivations/svag.md`), in units of one batch; standard errors are ours, up to √2 too wide
    (never too narrow) where the noise of the average exceeds the signal.

    >>> found = gradient_estimates([[1.0, 0.0], [2.0, 1.0], [0.0, 2.0]])
    >>> found.squared_gradient.value, found.noise_trace.value
    (1.3333333333333333, 2.0)
    """
    rows = _checks.array("gradients", gradients)
    if rows.ndim != 2 or len(rows) < 3:
        msg = f"gradients must have shape (K, D), K >= 3, got shape {rows.shape}."
        raise ValueError(msg)
    size = _checks.integer("batch_size", batch_size)
    total, norms = rows.sum(0), np.sum(rows**2, axis=1)
    signal, noise = _unbiased(total @ total, norms.sum(), len(rows), size)
    left_out = total - rows
    signals, noises = _unbiased(np.sum(left_out**2, axis=1), norms.sum() - norms, len(rows) - 1, size)
    ratio = Estimate(math.inf, math.inf, len(rows))
    if signal > 0:
        scale = float(noise / signal)
        ratio = Estimate(scale, _jackknife(noises - scale * signals) / float(signal), len(rows))
    return NoiseEstimates(
        Estimate(float(signal), _jackknife(signals), len(rows)),
        Estimate(float(noise), _jackknife(noises), len(rows)),
        ratio,
    )


def online_gradient_covariance(first_gradients: ArrayLike, batch_gradients: ArrayLike, *, batch_size: int) -> Estimate:
    r"""Gradient covariance from one example's gradient a step beside that of its minibatch, unbiased.

    Equation: C ≈ (B/(B−1)) mean_t (g_t − ĝ_t)(g_t − ĝ_t)ᵀ, g_t the gradient of the first example of minibatch t, ĝ_t the minibatch's mean.

    ===============  ======  ======  ==========================================
    argument         symbol  shape   scale
    ===============  ======  ======  ==========================================
    first_gradients  g_t     (K, D)  gradient, per example
    batch_gradients  ĝ_t     (K, D)  gradient, mean over the minibatch
    batch_size       B       ()      examples a step, ≥ 2
    returns          C       (D, D)  gradient², per example; an `Estimate`
    ===============  ======  ======  ==========================================

    Assumptions: steps independent, batches drawn with replacement (without: the target is C N/(N−1)). Along a trajectory it is C averaged
    over the law, and the standard error of correlated steps is larger.
    Limit: B = 1 compares a gradient with itself and raises.

    Reference: Mandt, Hoffman, Blei (2017), eq. (21), whose mean is (1 − 1/B)C: the factor is missing there.

    >>> found = online_gradient_covariance([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [2.0, 0.5]], batch_size=2)
    >>> found.value.round(6)
    array([[ 1.333333, -0.333333],
           [-0.333333,  0.833333]])
    """
    first = _rows("first_gradients", first_gradients)
    batch = _rows("batch_gradients", batch_gradients)
    if batch.shape != first.shape:
        msg = f"batch_gradients must have shape {first.shape} like first_gradients, got {batch.shape}."
        raise ValueError(msg)
    size = _checks.integer("batch_size", batch_size, low=2)
    apart = first - batch
    return mean_of(size / (size - 1) * (apart[:, :, None] * apart[:, None, :]))


def _rows(name: str, value: ArrayLike) -> Array:
    rows = _checks.array(name, value)
    if rows.ndim != 2 or len(rows) < 2:
        msg = f"{name} must have shape (K, D), K >= 2, got shape {rows.shape}."
        raise ValueError(msg)
    return rows


def _unbiased(square_of_sum: Any, sum_of_squares: Any, count: int, size: int) -> tuple[Any, Any]:
    signal = (square_of_sum - sum_of_squares) / (count * (count - 1))
    return signal, size * (sum_of_squares / count - signal)


def _jackknife(values: Array) -> float:
    return float(np.sqrt((len(values) - 1) * values.var()))


def _norms(name: str, value: ArrayLike) -> Array:
    norms = _checks.vector(name, value)
    if len(norms) < 2 or norms.min() < 0:
        msg = f"{name} must hold at least two squared norms >= 0, got {_checks.shown(norms)}."
        raise ValueError(msg)
    return norms
