"""Standard error of a mean from one chain, by batch means."""

from __future__ import annotations

import math

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.diagnose.chains import finite
from gradnoise.results import Estimate


def batch_means(trajectory: ArrayLike, length: int | None = None) -> Estimate:
    r"""Mean of one chain, with the standard error that batch means give.

    The chain is cut into k batches of b steps; ``standard_error² = Var(batch means)/k``, i.e. the long-run variance
    estimate V̂ = b·Var(batch means) over the number of steps used.

    Parameters
    ----------
    trajectory
        (steps,) or (steps, D).
    length
        b, steps a batch; None: ⌊√steps⌋. The first steps that fill no batch are dropped.

    Returns
    -------
    Estimate
        Mean (scalar or (D,)), its standard error in the same unit, and n = k.

    Notes
    -----
    V̂ has relative bias −c/b, c = Σ_j |j|ρ_j / Σ_j ρ_j (AR(1) with coefficient r: 2r/(1 − r²)), and relative standard
    deviation √(2/k); the best b is (c²·steps)^{1/3} (`docs/derivations/samplers.md`). With several chains, use their spread
    instead: it has no bias.

    Examples
    --------
    >>> batch_means([1.0, 3.0, 2.0, 4.0, 5.0, 3.0], length=2)  # batch means 2, 3, 4
    Estimate(3 ± 0.5774, n=3)
    """
    array = finite("trajectory", trajectory, ("step", "D")[: max(1, np.ndim(trajectory))])
    steps = len(array)
    length = max(1, math.isqrt(steps)) if length is None else _checks.integer("length", length)
    count = steps // length
    if count < 2:
        msg = f"length must leave at least two batches, got length = {length} for {steps} steps."
        raise ValueError(msg)
    batches = array[steps - count * length :].reshape(count, length, *array.shape[1:]).mean(1)
    value, error = batches.mean(0), batches.std(0, ddof=1) / math.sqrt(count)
    if array.ndim == 1:
        return Estimate(float(value), float(error), count)
    return Estimate(value, error, count)
