"""Sizes at the ends of what float64 holds: one clear error, or the right answer."""

from __future__ import annotations

import numbers
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import diagnose, testing
from gradnoise.results import Estimate

TESTS = Path(__file__).resolve().parents[1]


def test_a_hopeless_estimate_is_insensitive() -> None:
    """C2: more pieces than 2^63 would be needed; it was a TypeError of SciPy's `stdtrit`."""
    for error in (1e6, 1e10, 1e100):
        with pytest.raises(testing.InsensitiveSample, match=r"estimate cannot see a relative error of 0\.05"):
            testing.assert_estimate(Estimate(1.0, error, 10), 1.0)
    with pytest.raises(testing.InsensitiveSample, match="No number of pieces"):
        testing.assert_estimate(Estimate(1.0, 1e10, 10), 1.0)
    rng = np.random.default_rng(0)
    with pytest.raises(testing.InsensitiveSample, match="No number of chains"):
        testing.assert_mean(rng.standard_normal((4, 2, 1)), [0.0], [[1e-30]])


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("direction", [None, [1.0, -2.0]])
def test_autocorrelation_times_have_no_unit(direction: list[float] | None, quadratic: bool) -> None:
    """C3: draws at 1e-160 gave .0867 for .0756: the squares were no longer floats."""
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((6, 40, 2)).cumsum(1) + np.array([0.0, 0.5])
    time, steps = diagnose.integrated_autocorrelation_time, draws.shape[1]
    plain = time(draws, direction, quadratic=quadratic)
    if direction is None and not quadratic:  # T Var(chain mean)/Var(f), written out
        means = draws.mean(1).var(0, ddof=1)
        single = ((draws - draws.mean((0, 1))) ** 2).mean((0, 1)) + means / len(draws)
        assert_allclose(plain.value, steps * means / single, rtol=1e-12)
    for unit in (1e-300, 1e-160, 1e140):
        found = time(unit * draws, direction, quadratic=quadratic)
        assert_allclose(found.value, plain.value, rtol=1e-9)
        assert_allclose(found.standard_error, plain.standard_error, rtol=1e-6)


def test_numbers_beyond_float64_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """C3: 10**400, 1e300, 5e-324 in every scalar of every formula: 26 of them raised OverflowError or ZeroDivisionError."""
    monkeypatch.setattr(sys, "path", [str(TESTS / "theory"), *sys.path])
    from calls import called, public_formulas, valid_call

    calls, found = 0, []
    for name in public_formulas():
        if "." in name or name in ("tail_exponent_estimate", "least_squares_tail_exponent"):
            continue
        base = valid_call(name)
        for argument, value in base.items():
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                continue
            for extreme in (10**400, 1e300, 5e-324):
                calls += 1
                try:
                    called(name, base | {argument: extreme})
                except (ValueError, TypeError) as error:
                    if not any(known in str(error) for known in base):
                        found.append(f"{name}: {error}")
                except ArithmeticError as error:
                    found.append(f"{name}({argument}={extreme:.0e}): {type(error).__name__}")
    assert calls > 500
    assert not found
