"""Agreement of an estimate, with its standard error, with the number that a formula predicts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.results import Estimate
from gradnoise.testing.verdict import (
    OUT_OF_REACH,
    InsensitiveSample,
    Passed,
    declare,
    enough,
    rates,
    shift_seen,
    z_limit,
)


def assert_estimate(
    estimate: Estimate,
    expected: ArrayLike,
    *,
    false_fail: float = 1e-6,
    detects: float = 0.05,
    miss: float = 1e-3,
    relative: bool = True,
) -> Passed:
    """Assert that an estimate agrees with its expected value, with declared error rates.

    ``|value − expected| / standard_error < t_{n−1}(1 − false_fail/(2·entries))`` for every entry.

    Parameters
    ----------
    estimate
        Value and standard error (scalar or array), from `n` ≥ 2 independent pieces.
    expected
        What a formula predicts; same shape as the value, or one number.
    false_fail
        Probability, over all entries together, that a right prediction fails.
    detects, miss
        An error of `detects` in an entry is overlooked with probability at most `miss`.
    relative
        `detects` is a fraction of |expected| (True), or in the unit of the value (False; needed where expected is 0).

    Returns
    -------
    Passed
        `ratio` and `standard_error` are relative to expected, or in the value's unit if `relative` is False.

    Raises
    ------
    AssertionError
        If an entry is beyond the limit.
    InsensitiveSample
        If the standard error is too large to see an error of `detects`.
    ValueError, TypeError
        If an argument is malformed: NaN, a standard error that is not > 0, n < 2, expected = 0 with `relative`.

    Examples
    --------
    >>> assert_estimate(Estimate(2.01, 0.01, 400), 2.0).worst_z
    1.0
    >>> assert_estimate(Estimate(2.1, 0.01, 400), 2.0)
    Traceback (most recent call last):
    ...
    AssertionError: estimate disagrees with expected: 2.1 ± 0.01 against 2, z = 10.00, limit 4.97 (n = 400).
    """
    false_fail, detects, miss = rates(false_fail, detects, miss)
    if not isinstance(estimate, Estimate):
        msg = f"estimate must be a gn.Estimate, got {_checks.shown(estimate)}."
        raise TypeError(msg)
    n = _checks.integer("estimate.n", estimate.n, low=2)
    value = np.asarray(estimate.value, dtype=np.float64)
    error = np.asarray(estimate.standard_error, dtype=np.float64)
    target = _checks.array("expected", expected)
    if error.shape != value.shape or target.shape not in ((), value.shape):
        msg = f"estimate and expected must have one shape, got value {value.shape}, standard_error {error.shape}, expected {target.shape}."
        raise ValueError(msg)
    value, error, target = (np.broadcast_to(a, value.shape).ravel() for a in (value, error, target))
    for name, array in (("estimate.value", value), ("estimate.standard_error", error), ("expected", target)):
        _checks.vector(name, array)
    if error.min() <= 0:
        msg = f"estimate.standard_error must be > 0, got {error.min():g}. Compare exact numbers with numpy.testing."
        raise ValueError(msg)
    relative = _checks.flag("relative", relative)
    if relative and (target == 0).any():
        msg = "expected must not be 0 when relative=True. Pass relative=False, and detects in the unit of the value."
        raise ValueError(msg)

    # the larger of both, so that a prediction far too small fails instead of making the sample look insensitive
    unit = np.maximum(np.abs(target), np.abs(value)) if relative else np.ones_like(target)

    entries = value.size
    limit = z_limit(false_fail, entries, n)
    with np.errstate(over="ignore"):  # a spread beyond float64 sees nothing
        spread = float((error / unit).max()) * math.sqrt(n)
    seen = partial(shift_seen, spread, entries=entries, false_fail=false_fail, miss=miss)
    smallest = seen(n)
    if smallest > detects:
        need = enough(seen, n, detects)
        kind = "a relative error" if relative else "an error"
        enough_pieces = f"About {need}" if need < OUT_OF_REACH else "No number of"
        msg = f"estimate cannot see {kind} of {detects:g}: n = {n} pieces show {smallest:.3g}. {enough_pieces} pieces of this size would do."
        raise InsensitiveSample(msg)

    declare(false_fail)
    with np.errstate(over="ignore"):
        z = (value - target) / error
    i = int(np.abs(z).argmax())
    entry = (
        f"entry {tuple(map(int, np.unravel_index(i, np.shape(estimate.value))))}: " if np.ndim(estimate.value) else ""
    )
    if abs(z[i]) >= limit:
        msg = f"estimate disagrees with expected: {entry}{value[i]:.6g} ± {error[i]:.2g} against {target[i]:.6g}, z = {z[i]:.2f}, limit {limit:.2f} (n = {n})."
        raise AssertionError(msg)
    ratio = value[i] / target[i] if relative else value[i] - target[i]
    return Passed(
        float(z[i]),
        limit,
        smallest,
        float(ratio),
        float(error[i] / abs(target[i]) if relative else error[i]),
        entry.rstrip(": "),
        entries,
    )
