"""Simulation-based calibration: the test itself has power and the declared error rate; samplers at reduced size."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from studies import recording, sbc, together

import gradnoise as gn
from gradnoise.diagnose import calibration_test, expected_rank_spread, rank_statistics
from gradnoise.infer.choice.plan import SAMPLERS

DRAWS = 99


def ranks(seed: int, sets: int = 1000, dim: int = 3, *, variance: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Ranks for the Gaussian posterior N(0, 1) when draws have another variance or mean."""
    r = np.random.default_rng(seed)
    truth = r.normal(size=(sets, dim))
    return rank_statistics(shift + np.sqrt(variance) * r.normal(size=(sets, DRAWS, dim)), truth)


def test_calibrated_draws_fail_as_often_as_declared() -> None:
    """At false_fail = 0.05 a test, 300 repeats: each of the three fails about 15 times."""
    found = [calibration_test(ranks(seed, 200), DRAWS, false_fail=0.05) for seed in range(300)]
    for fails in (
        sum(np.abs(t.mean_z).max() > t.limit for t in found),
        sum(np.abs(t.spread_z).max() > t.limit for t in found),
        sum(t.chi_square_p.min() < 0.05 / 3 for t in found),
    ):
        assert scipy.stats.binomtest(fails, 300, 0.05).pvalue > 1e-4, fails
    z = np.concatenate([np.r_[t.mean_z, t.spread_z] for t in found])
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-4


def test_wrong_draws_fail_in_the_predicted_direction_by_the_predicted_amount() -> None:
    assert calibration_test(ranks(0), DRAWS).passed
    for variance, sign in ((2.0, -1), (0.5, 1)):
        found = calibration_test(ranks(1, variance=variance), DRAWS)
        assert not found.passed
        assert (sign * found.spread_z > found.limit).all()
        np.testing.assert_allclose(found.spread_ratio, expected_rank_spread(variance), rtol=0.08)
        assert np.abs(found.mean_z).max() < found.limit
    low = calibration_test(ranks(2, shift=-0.25), DRAWS)
    assert (low.mean_z > low.limit).all()  # draws too low: truth ranks high


def test_a_two_humped_law_with_right_mean_and_spread_is_seen_by_the_chi_square() -> None:
    r = np.random.default_rng(0)
    u = r.integers(0, DRAWS + 1, size=(1000, 1))
    away = u - DRAWS / 2
    kept = u[np.abs(np.abs(away) - 12) > 6][:800, None]  # a gap on both sides; mean and spread nearly kept
    found = calibration_test(kept, DRAWS)
    assert found.chi_square_p[0] < 1e-6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rank_statistics(np.zeros((3, 9, 2)), np.zeros((3, 1))), "truth must have shape"),
        (lambda: rank_statistics(np.zeros((3, 9)), np.zeros(3)), "draws must have shape"),
        (lambda: calibration_test(np.full((100, 1), 12), 9), "ranks must be whole numbers between 0 and num_draws = 9"),
        (lambda: calibration_test(np.full((100, 1), 1.5), 9), "ranks must be whole numbers"),
        (lambda: calibration_test(np.zeros((100, 1)), 9, num_bins=3), r"num_bins must divide num_draws \+ 1 = 10"),
        (lambda: calibration_test(np.zeros((5, 1)), 9), "ranks must come from at least 5 data sets a bin"),
        (lambda: calibration_test(np.zeros((100, 1)), 9, false_fail=0.0), "false_fail must lie in"),
        (lambda: expected_rank_spread(-1.0), "variance_ratio must be > 0"),
    ],
)
def test_bad_arguments(call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_running_together_is_running_alone() -> None:
    """Three plans in one compiled call give the draws of three runs, to rounding; a second call compiles nothing."""
    plans = []
    for seed in range(3):
        problem = sbc.data_set(seed)[1]
        mode = gn.find_mode(problem)
        plans.append(gn.infer.plan("corrected_langevin", problem, batch_size=32, mode=mode))
    thin = 8
    found = together.run_together(plans, 5, thin=thin)
    longest = -(-max(p.length(1).burn_in for p in plans) // thin) * thin
    for i, plan in enumerate(plans):
        alone = plan.run(num_draws=5, num_chains=1, key=i, thin=thin, burn_in=longest, progress=False)
        np.testing.assert_allclose(found[i], alone.draws[0], atol=2e-4)
    before = together._together._cache_size()
    again = together.run_together(plans[::-1], 5, thin=thin)
    assert together._together._cache_size() == before
    assert not np.array_equal(again, found)


def test_the_committed_record_of_a_thousand_sets_passes_every_sampler_but_the_one_that_must_fail() -> None:
    record = recording.read("sbc")
    rows = {row["sampler"]: row for row in record["rows"]}
    assert record["sets"] == 1000
    assert set(rows) >= {"nuts", "laplace", "gaussian", *SAMPLERS}
    assert {name for name, row in rows.items() if row["passed"] is not True} == {"SGLD at 2x variance"}
    wide = rows["SGLD at 2x variance"]
    assert wide["worst_spread_z"] < -wide["limit"]
    assert wide["spread_ratio"] == pytest.approx(wide["expected_spread"], abs=0.05)


@pytest.mark.slow
def test_every_sampler_at_reduced_size() -> None:
    """One hundred data sets; the full record of a thousand is studies/records/sbc.json."""
    rows = {row["sampler"]: row for row in sbc.study(100)}
    for name, row in rows.items():
        if row["passed"] == "refused":
            assert len(row["reason"]) > 60
        else:
            assert row["passed"] == (name != "SGLD at 2x variance"), row
    wide = rows["SGLD at 2x variance"]
    assert wide["worst_spread_z"] < -wide["limit"]
    assert wide["spread_ratio"] == pytest.approx(wide["expected_spread"], abs=0.1)
    assert rows["nuts"]["passed"]
    assert rows["corrected_langevin"]["passed"]
