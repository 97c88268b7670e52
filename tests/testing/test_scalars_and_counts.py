"""Estimates with a standard error, uniform counts, and the helpers that plant defects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gradnoise.results import Estimate, mean_of
from gradnoise.testing import (
    InsensitiveSample,
    UndetectedDefect,
    assert_estimate,
    assert_fails,
    assert_uniform,
    planted_defects,
)


def failures(check, replications):
    count = 0
    for _ in range(replications):
        try:
            check()
        except AssertionError:
            count += 1
    return count


def inside_binomial(count, n, p, rate=1e-6):
    return stats.binom.ppf(rate / 2, n, p) <= count <= stats.binom.isf(rate / 2, n, p)


def test_estimate_false_alarms_and_power():
    rng = np.random.default_rng(1)
    expected = np.array([3.0, -0.5, 40.0])

    def check(target=expected):
        estimate = mean_of(expected + np.abs(expected) * rng.normal(size=(12, 3)) / 10)
        return assert_estimate(estimate, target, false_fail=0.05, miss=0.1, detects=9)

    assert inside_binomial(failures(check, 2000), 2000, 0.05)
    wrong = expected * [1, 1, 1 + check().smallest_detectable]
    assert failures(lambda: check(wrong), 400) >= stats.binom.ppf(1e-6, 400, 0.85)


def test_estimate_defects_refusal_and_units():
    estimate = Estimate(2.01, 0.008, 4096)
    planted_defects(
        lambda p: assert_estimate(estimate, p), 2.0, {"factor 2": 1.0, "sign": -2.0, "5 %": 2.1, "sum/mean": 200.0}
    )
    passed = assert_estimate(estimate, 2.0)
    assert (passed.ratio, passed.standard_error) == pytest.approx((1.005, 0.004))
    with pytest.raises(InsensitiveSample, match="n = 4096 pieces show"):
        assert_estimate(Estimate(2.01, 0.02, 4096), 2.0)
    assert assert_estimate(Estimate(0.001, 0.005, 4096), 0.0, relative=False).worst_z == pytest.approx(0.2)
    assert "entry (1,)" in assert_fails(assert_estimate, Estimate(np.ones(2), np.full(2, 1e-3), 999), [1.0, 1.1])


@pytest.mark.parametrize(
    ("estimate", "expected", "message"),
    [
        (Estimate(1.0, 0.1, 1), 1.0, "estimate.n must be >= 2"),
        (Estimate(float("nan"), 0.1, 9), 1.0, "estimate.value must be finite"),
        (Estimate(1.0, 0.0, 9), 1.0, "standard_error must be > 0"),
        (Estimate(1.0, 0.1, 9), 0.0, "expected must not be 0"),
        (Estimate(np.ones(2), np.ones(2), 9), [1.0, 2.0, 3.0], "must have one shape"),
    ],
)
def test_bad_estimates(estimate, expected, message):
    with pytest.raises(ValueError, match=message):
        assert_estimate(estimate, expected)


def test_uniform_false_alarms_and_power():
    rng = np.random.default_rng(2)
    k, n = 24, 4800
    right = np.full(k, 1 / k)

    def check(p=right):
        return assert_uniform(rng.multinomial(n, p), false_fail=0.05, miss=0.1, detects=9)

    assert inside_binomial(failures(check, 2000), 2000, 0.05)
    delta = check().smallest_detectable
    p = np.full(k, (1 - (1 + delta) / k) / (k - 1))
    p[5] = (1 + delta) / k
    assert inside_binomial(failures(lambda: check(p), 1000), 1000, 0.9)  # the promise is tight


def test_uniform_refuses_and_says_how_many_draws_do():
    rng = np.random.default_rng(3)
    with pytest.raises(InsensitiveSample, match=r"100 draws show .* draws would do") as refusal:
        assert_uniform([25, 25, 25, 25])
    need = int(str(refusal.value).split("show ")[1].split(". ")[1].split(" ")[0])
    assert assert_uniform(rng.multinomial(need, np.full(4, 0.25))).smallest_detectable <= 0.05
    with pytest.raises(InsensitiveSample):
        assert_uniform([0, 0, 0], detects=9)
    with pytest.raises(InsensitiveSample):
        assert_uniform([10, 10, 10], detects=99)


@pytest.mark.parametrize("counts", [[5], [1, -1], [0.5, 0.5]])
def test_bad_counts(counts):
    with pytest.raises(ValueError, match="at least two nonnegative whole numbers"):
        assert_uniform(counts)


def test_helpers_do_not_take_a_pass_or_a_refusal_for_a_detection():
    with pytest.raises(UndetectedDefect, match="in spite of 'tiny'"):
        planted_defects(lambda p: assert_estimate(Estimate(2.0, 0.001, 99), p), 2.0, {"tiny": 2.001})
    with pytest.raises(InsensitiveSample):
        assert_fails(assert_estimate, Estimate(2.0, 1.0, 99), 7.0)
    with pytest.raises(AssertionError, match="disagrees"):  # the right prediction fails
        planted_defects(lambda p: assert_estimate(Estimate(2.0, 0.001, 99), p), 3.0, {"factor 2": 4.0})
    with pytest.raises(ValueError, match="at least one defect"):
        planted_defects(print, 1.0, {})
