"""Does the covariance and mean check keep its promises: false alarms, detections, refusals?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats

from gradnoise.testing import InsensitiveSample, assert_covariance, assert_fails, assert_mean, planted_defects

SIGMA = np.array([[4.0, 0.9, -0.3], [0.9, 1.0, 0.002], [-0.3, 0.002, 0.05]])
CENTRE = np.array([1.0, -2.0, 0.3])
ROOT = np.linalg.cholesky(SIGMA)


def correlated(rng, chains, snapshots, decay, root=ROOT):
    """Chains of a stationary AR(1), autocorrelation decay^lag in every coordinate, covariance root rootᵀ."""
    noise = rng.normal(size=(chains, snapshots, len(root))) * np.sqrt(1 - decay**2)
    noise[:, 0] /= np.sqrt(1 - decay**2)
    return signal.lfilter([1.0], [1.0, -decay], noise, axis=1) @ root.T


def failures(check, replications):
    """How many of the replications raise AssertionError."""
    count = 0
    for _ in range(replications):
        try:
            check()
        except AssertionError:
            count += 1
    return count


def inside_binomial(count, n, p, rate=1e-6):
    """Is `count` between the two-sided `rate` quantiles of Binomial(n, p)."""
    return stats.binom.ppf(rate / 2, n, p) <= count <= stats.binom.isf(rate / 2, n, p)


@pytest.mark.parametrize(("known", "chains", "snapshots"), [(True, 256, 4), (False, 256, 4), (True, 40, 60)])
def test_false_alarms_occur_at_the_declared_rate(known, chains, snapshots):
    rng = np.random.default_rng(1)
    root = ROOT[:2, :2]

    def check():
        sample = correlated(rng, chains, snapshots, 0.7, root)
        assert_covariance(sample, root @ root.T, mean=[0, 0] if known else None, false_fail=0.05, detects=9.0)

    assert inside_binomial(failures(check, 2000), 2000, 0.05)


def test_false_alarms_fall_on_both_sides():
    # one snapshot a chain is the most skewed sample: 1.5 % fail low and 1.4 % high; without Hall's transformation 3.3 % fail low and 0.2 % high
    rng = np.random.default_rng(2)
    low = high = 0
    for _ in range(3000):
        try:
            assert_covariance(rng.normal(size=(100, 1)) * 2, [[4.0]], mean=[0], false_fail=0.02, detects=9.0)
        except AssertionError as failure:
            low, high = low + ("z = -" in str(failure)), high + ("z = -" not in str(failure))
    assert low <= stats.binom.isf(1e-5, 3000, 0.0147)
    assert high >= stats.binom.ppf(1e-5, 3000, 0.0135)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_error_of_the_smallest_detectable_size_is_missed_no_more_often_than_declared(sign):
    rng = np.random.default_rng(3)
    options = {"mean": CENTRE, "false_fail": 0.01, "miss": 0.1, "detects": 0.25}
    detectable = assert_covariance(CENTRE + correlated(rng, 300, 13, 0.5), SIGMA, **options).smallest_detectable
    assert 0.1 < detectable < 0.25
    values, vectors = np.linalg.eigh(SIGMA / np.sqrt(np.outer(np.diag(SIGMA), np.diag(SIGMA))))
    scale = np.sqrt(np.diag(SIGMA))
    values[1] /= 1 + sign * detectable  # the sample's variance is then 1 ± detectable times the predicted one
    wrong = np.outer(scale, scale) * ((vectors * values) @ vectors.T)

    def check():
        assert_covariance(CENTRE + correlated(rng, 300, 13, 0.5), wrong, **(options | {"detects": 9.0}))

    assert failures(check, 400) >= stats.binom.ppf(1e-6, 400, 0.9)


def test_planted_defects_are_seen_on_the_same_sample():
    sample = CENTRE + correlated(np.random.default_rng(4), 4096, 20, 0.3)
    turned = SIGMA.copy()
    turned[0, 1] = turned[1, 0] = -0.9
    found = planted_defects(
        lambda p: assert_covariance(sample, p, mean=CENTRE),
        SIGMA,
        {"noise x 1.05": 1.05 * SIGMA, "noise / 1.05": SIGMA / 1.05, "factor 2": SIGMA / 2, "sign": turned},
    )
    assert "measured" in found["factor 2"]
    assert "measured" in assert_fails(
        assert_covariance, sample, SIGMA, mean=CENTRE + np.array([0, 0, 0.08]), defect="rest point"
    )
    assert_covariance(sample, SIGMA)  # an unknown centre is estimated


def test_correlated_snapshots_do_not_count_as_independent():
    # 64 snapshots of decay 0.98 are worth about two: the standard error must say so
    rng = np.random.default_rng(5)
    slow, fast = (
        assert_covariance(correlated(rng, 2000, 64, decay, ROOT[:1, :1]), [[4.0]], mean=[0], detects=0.9)
        for decay in (0.98, 0.02)
    )
    lags = np.arange(1, 64)
    inflation = 1 + 2 * np.sum((1 - lags / 64) * 0.98 ** (2 * lags))  # of the variance of a second moment
    assert slow.standard_error / fast.standard_error == pytest.approx(np.sqrt(inflation), rel=0.15)


def test_unknown_mean_is_corrected_without_bias():
    rng = np.random.default_rng(6)
    sample = 5 + correlated(rng, 200, 1, 0.9, np.array([[3.0]]))
    passed = assert_covariance(sample, [[9.0]], detects=9)
    assert passed.ratio == pytest.approx(np.var(sample, ddof=1) / 9, rel=1e-12)  # one snapshot: the usual n - 1
    sample = 5 + correlated(rng, 200, 7, 0.9, np.array([[3.0]]))
    expected = (np.var(sample) + np.var(sample.mean(1), ddof=1) / 200) / 9
    assert assert_covariance(sample, [[9.0]], detects=9).ratio == pytest.approx(expected, rel=1e-12)


def test_insensitive_sample_is_refused_and_the_advice_is_enough():
    rng = np.random.default_rng(7)
    with pytest.raises(
        InsensitiveSample, match=r"cannot see a relative error of 0.05 .* About (\d+) chains"
    ) as refusal:
        assert_covariance(correlated(rng, 4096, 1, 0.5), SIGMA, mean=np.zeros(3))
    assert 0.17 < float(str(refusal.value).split("show ")[1].split(" ")[0]) < 0.23
    need = int(str(refusal.value).split("About ")[1].split(" ")[0])
    assert 45_000 < need < 65_000  # 51 000 draws for one entry; six entries and the noise of s take more
    assert_covariance(correlated(rng, int(1.05 * need), 1, 0.5), SIGMA, mean=np.zeros(3))


def test_a_refusal_does_not_depend_on_how_wrong_the_prediction_is():
    sample = correlated(np.random.default_rng(8), 4096, 20, 0.1)
    for factor in (0.01, 100.0):
        assert_fails(assert_covariance, sample, factor * SIGMA, mean=np.zeros(3))


def test_scale_and_units_change_nothing():
    sample = correlated(np.random.default_rng(9), 600, 5, 0.1)
    unit = np.array([1e-6, 1.0, 1e5])
    a = assert_covariance(sample, SIGMA, detects=0.9)
    b = assert_covariance(sample * unit, SIGMA * np.outer(unit, unit), detects=0.9)
    assert a.worst_z == pytest.approx(b.worst_z, rel=1e-8)
    assert a.entries == 6


def test_mean_false_alarms_and_power():
    rng = np.random.default_rng(10)

    def check(target=CENTRE, detects=9.0):
        sample = CENTRE + correlated(rng, 50, 8, 0.8)
        return assert_mean(sample, target, SIGMA, false_fail=0.05, miss=0.1, detects=detects)

    assert inside_binomial(failures(check, 2000), 2000, 0.05)
    sample = CENTRE + correlated(rng, 50, 8, 0.8)
    detectable = assert_mean(sample, CENTRE, SIGMA, false_fail=0.05, miss=0.1, detects=9).smallest_detectable
    scale = np.sqrt(np.diag(SIGMA))
    values, vectors = np.linalg.eigh(SIGMA / np.outer(scale, scale))
    shift = scale * (vectors[:, 0] * np.sqrt(values[0]))  # one standard deviation along the narrowest direction
    assert failures(lambda: check(CENTRE + detectable * shift), 400) >= stats.binom.ppf(1e-6, 400, 0.9)


def test_mean_with_the_samples_own_covariance_and_refusal():
    sample = CENTRE + correlated(np.random.default_rng(11), 2048, 20, 0.2)
    planted_defects(
        lambda p: assert_mean(sample, p), CENTRE, {"shift": CENTRE + np.array([0, 0.06, 0]), "sign": -CENTRE}
    )
    with pytest.raises(InsensitiveSample, match=r"mean shifted by 0\.05 standard deviations"):
        assert_mean(sample[:100], CENTRE)
    with pytest.raises(ValueError, match="more than D = 3 points"):
        assert_mean(sample[:3, 0], CENTRE, detects=99)


@pytest.mark.parametrize("check", [assert_covariance, assert_mean])
def test_bad_samples(check):
    predicted = SIGMA if check is assert_covariance else CENTRE
    sample = np.random.default_rng(12).normal(size=(100, 5, 3))
    sample[7, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"sample must be finite, but 1 of 100 chains .* chain 7"):
        check(sample, predicted)
    with pytest.raises(ValueError, match="at least two independent chains"):
        check(sample[:1], predicted)
    with pytest.raises(ValueError, match=r"must have shape \(chains, snapshots, D\)"):
        check(sample[0, 0], predicted)
    with pytest.raises(TypeError, match="array of numbers"):
        check([["a", "b", "c"]] * 4, predicted)
    with pytest.raises(ValueError, match="false_fail"):
        check(sample[8:], predicted, false_fail=0.0)
    with pytest.raises(ValueError, match="detects must be > 0"):
        check(sample[8:], predicted, detects=0)


def test_bad_predictions():
    sample = np.random.default_rng(13).normal(size=(100, 5, 2))
    with pytest.raises(ValueError, match="predicted must be positive definite"):
        assert_covariance(sample, [[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"diagonal entry 1 is 0"):
        assert_covariance(sample, [[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"predicted must have shape \(2, 2\)"):
        assert_covariance(sample, np.eye(3))
    with pytest.raises(ValueError, match=r"mean must have shape \(2,\)"):
        assert_covariance(sample, np.eye(2), mean=[0.0])


def test_a_constant_sample_fails_and_is_not_called_insensitive():
    sample = np.ones((10, 3, 2))
    assert "instead of 1" in assert_fails(assert_covariance, sample, np.eye(2) + 0.1, mean=[1, 1])
    assert "off by" in assert_fails(assert_mean, sample, [1.0, 2.0], np.eye(2))
