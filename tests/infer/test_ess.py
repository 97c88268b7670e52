"""Effective samples per step are predicted within 10 %: two samplers on wine by default, all of them and skin among the slow tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from studies import ess, mandt_data

from gradnoise.results import Estimate
from gradnoise.testing import assert_estimate, assert_fails


def held(rows: list[dict[str, float]], detects: float) -> None:
    """Every ratio within 10 %, and no different from 1 by a test of declared error rate, which a fifth would fail."""
    for row in rows:
        measured = Estimate(row["ratio"], row["ratio_error"], ess.GROUPS)
        check = {"false_fail": 1e-6, "detects": detects}
        assert_estimate(measured, 1.0, **check)
        assert_fails(
            assert_estimate, measured, 1 / (1 + detects), **check, defect=f"time {1 + detects:g} times too long"
        )
        assert abs(row["ratio"] - 1) < 0.1, row


@pytest.mark.law
@pytest.mark.parametrize(("sampler", "lengths"), [("SGLD", 30.0), ("corrected Langevin", 50.0)])
def test_effective_samples_per_step_on_wine(sampler: str, lengths: float, shared_data: Path) -> None:
    assert shared_data.is_dir()
    at = mandt_data.setting("wine")
    held(ess.times(at, ess.cases(at)[sampler], num_chains=64, lengths=lengths), detects=0.35)


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("name", ["wine", "skin"])
def test_effective_samples_per_step_of_all_four(name: str, shared_data: Path) -> None:
    """Reduced: the record of studies/ess.py has longer chains."""
    assert shared_data.is_dir()
    rows = ess.study((name,), lengths=60.0, most_steps=1e7 if name == "wine" else 4e5)
    assert {row["sampler"] for row in rows} == {"SGD", "heavy ball", "SGLD", "corrected Langevin"}
    held(rows, detects=0.6)


def test_the_measure_itself_is_right_for_known_processes() -> None:
    """AR(1), and an AR(2) whose memory is not that of an AR(1) with the same neighbour correlation."""
    r = np.random.default_rng(0)
    for first, second in ((0.8, 0.0), (1.2, -0.5), (-0.4, 0.0)):
        noise = r.standard_normal((64, 4200))
        values = np.zeros_like(noise)
        for t in range(2, noise.shape[1]):
            values[:, t] = first * values[:, t - 1] + second * values[:, t - 2] + noise[:, t]
        neighbour = first / (1 - second)
        variance = 1 / (1 - first * neighbour - second * (first * neighbour + second))
        exact = 1 / (1 - first - second) ** 2 / variance
        found, error = ess.autocorrelation_time(values[:, 200:])
        assert_estimate(Estimate(found, error, ess.GROUPS), exact, false_fail=1e-7, detects=0.15)
        assert_fails(
            assert_estimate,
            Estimate(found, error, ess.GROUPS),
            1.2 * exact,
            false_fail=1e-7,
            detects=0.15,
            defect="a fifth",
        )
        if second:
            assert exact < 0.5 * (1 + neighbour) / (1 - neighbour)
