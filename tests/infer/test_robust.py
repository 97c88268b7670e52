"""Robust inference: constant SGD at the sandwich of a β-divergence, on misspecified regression; reduced from studies/robust.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from studies import recording, robust

import gradnoise as gn


def test_numpy_law_at_the_mode_is_the_measured_one() -> None:
    _, problem = robust.data_set(1, rows=300, size=4)
    mode = gn.find_mode(problem)
    local = gn.measure.local_geometry(problem, mode)
    law = robust.law_at_mode(problem)
    np.testing.assert_allclose(law.mean, mode.vector, atol=1e-6)
    np.testing.assert_allclose(law.mode_hessian, local.hessian, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(law.mode_gradient_covariance, local.gradient_covariance, rtol=1e-5, atol=1e-8)


# slow: at the larger batch only the size of the step differs
@pytest.mark.parametrize("batch", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_small_misspecified_regression_has_sandwich_widths(batch: int) -> None:
    """N = 800, D = 5, one outlier in ten: the run has the sandwich's covariance, and not the posterior's."""
    _, problem = robust.data_set(2, rows=800, size=5)
    plan = gn.infer.plan("constant_sgd", problem, batch_size=batch, target="sandwich", at="mode")
    run = plan.run(num_draws=1500, num_chains=8, key=1, progress=False)
    sandwich = robust.sandwich_of(robust.law_at_mode(problem))
    np.testing.assert_allclose(plan.target, sandwich, rtol=1e-4, atol=1e-9)
    axes = np.linalg.eigh(sandwich)[1]
    ratios = robust.along_directions(run.run.covariance, sandwich, axes)
    # √(2/12 000) = 1.3 %: five standard errors, and the 5 % of the bar
    assert np.abs(ratios - 1).max() < 0.05 + 5 * 0.013, ratios
    posterior = robust.along_directions(plan.where.law.covariance, sandwich, axes)
    assert posterior.min() > 1.3  # the generalised posterior is another width altogether
    assert "The target has the sandwich's width" in " ".join(run.verdict.reasons)


def test_published_and_continuous_time_preconditioners_are_off_as_derived() -> None:
    for correlated in (1.0, 0.0):
        found = robust.published(600, correlated)
        np.testing.assert_allclose(found["exact, 2B/(N+B)·H⁻¹"], 1, atol=1e-6)
        np.testing.assert_allclose(found["continuous time, 2B/N·H⁻¹"], 2000 / 1400, rtol=1e-6)  # N/(N - B)
    assert isinstance(robust.published(16, 1.0)["published Λ"], str)  # unstable where inputs are correlated
    near = np.asarray(robust.published(16, 0.0)["published Λ"])
    assert np.abs(near - 1).max() < 0.2


def test_the_committed_record_meets_the_bar() -> None:
    assert (Path(recording.RECORDS) / "robust.json").exists()
    record = recording.read("robust")
    for row in record["widths"]:
        if row["way"] == "mode's sandwich, noise over the sandwich":
            assert abs(row["low"] - 1) < 0.05
            assert abs(row["high"] - 1) < 0.05
    for row in record["coverage"]:
        assert row["sets"] == 500
        assert 0.93 <= row["coverage"] <= 0.97


@pytest.mark.slow
def test_intervals_cover_at_reduced_size() -> None:
    """Sixty data sets of the full size in one compiled call; the record has 500."""
    found = robust.coverage(60, 600)
    assert 0.93 - 4 * found["error"] < found["coverage"] < 0.97 + 4 * found["error"]
    assert found["posterior_coverage"] > 0.99  # the generalised posterior's own width is no statement of confidence
