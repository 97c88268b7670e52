"""Third and fourth cumulants of what SGD settles in, where a few examples make most of the noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


class StationaryShape(NamedTuple):
    """Shape of the iterates along modes.

    Attributes
    ----------
    skewness, kurtosis
        γ and excess κ (K,), dimensionless.
    """

    skewness: Array
    kurtosis: Array


def stationary_shape(
    rates: ArrayLike, noise_skewness: ArrayLike, noise_kurtosis: ArrayLike, *, batch_size: int, noise_share: ArrayLike
) -> StationaryShape:
    r"""Skewness and excess kurtosis of a mode that forgets at rate r and is driven by the noise of minibatches.

    Equation, z ← (1−r)z + ξ, a = 1 − r, cumulants κ_m(z) = κ_m(ξ)/(1 − aᵐ):
    γ(z) = γ_g s^{3/2} B^{−1/2} (1−a²)^{3/2}/(1−a³); κ(z) = κ_g s² B^{−1} (1−a²)/(1+a²).

    ==============  ======  ======  ===================================
    argument        symbol  shape   scale
    ==============  ======  ======  ===================================
    rates           r       (K,)    dimensionless, in (0, 2)
    noise_skewness  γ_g     (K,)    of one example's gradient, dimensionless
    noise_kurtosis  κ_g     (K,)    excess, of one example's gradient, dimensionless
    batch_size      B       ()      examples a step
    noise_share     s       (K,)    share of ξ's variance that is minibatch noise, in [0, 1]; the rest Gaussian
    returns         γ, κ    (K,)    dimensionless
    ==============  ======  ======  ===================================

    Assumptions: quadratic loss; noise independent from step to step and of the state; batches drawn with replacement.
    Limit: in small steps γ → γ_g (8r/9B)^{1/2} s^{3/2}, κ → κ_g r s²/B: continuous time is Gaussian.

    Reference: derived here; cumulants of independent sums add.

    >>> found = stationary_shape([0.5, 1.0], [2.0, 2.0], [6.0, 6.0], batch_size=4, noise_share=[1.0, 0.5])
    >>> found.skewness.round(4).tolist(), found.kurtosis.round(4).tolist()
    ([0.7423, 0.3536], [0.9, 0.375])
    """
    found = _checks.vector("rates", rates)
    _checks.within("rates", float(found.min()), 0.0, 2.0, closed="neither")
    _checks.within("rates", float(found.max()), 0.0, 2.0, closed="neither")
    third = _checks.vector("noise_skewness", noise_skewness, len(found))
    fourth = _checks.vector("noise_kurtosis", noise_kurtosis, len(found))
    batch = _checks.integer("batch_size", batch_size)
    share = _checks.vector("noise_share", noise_share, len(found))
    _checks.within("noise_share", float(share.min()), 0.0, 1.0)
    _checks.within("noise_share", float(share.max()), 0.0, 1.0)
    kept = 1 - found
    skewness = third * share**1.5 / np.sqrt(batch) * (1 - kept**2) ** 1.5 / (1 - kept**3)
    kurtosis = fourth * share**2 / batch * (1 - kept**2) / (1 + kept**2)
    return StationaryShape(np.asarray(skewness), np.asarray(kurtosis))
