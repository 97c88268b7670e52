"""Credible intervals of parameters, predictions and responses, and the tables that are printed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats

import gradnoise as gn
from gradnoise.infer import Posterior, Verdict, laplace

FINE = Verdict("trustworthy", (), {})


def features(seed: int = 0, n: int = 80) -> tuple[np.ndarray, np.random.Generator]:
    r = np.random.default_rng(seed)
    return r.normal(size=(n, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]]), r


def labels() -> Posterior:
    x, r = features()
    y = (x @ [1.0, -0.7] + 0.4 + r.logistic(size=80) > 0).astype(float)
    return laplace(gn.models.logistic_regression(x, y, prior_scale=2.0), num_draws=500)


# --- parameters ------------------------------------------------------------------------------------------------------


def test_intervals_of_parameters_are_quantiles_of_the_draws_with_their_names() -> None:
    draws = np.random.default_rng(0).exponential(size=(4, 2000, 2)) * [1.0, 3.0]
    made = Posterior("by hand", draws, ("a", "b"), None, None, 8000.0, FINE)
    low, high = made.interval(0.8)
    np.testing.assert_allclose(low, np.quantile(draws, 0.1, axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(high, scipy.stats.expon.ppf(0.9) * np.array([1.0, 3.0]), rtol=0.06)  # 1/√(0.1·8000)/2.3
    found = made.interval()
    assert (found.level, found.names) == (0.9, ("a", "b"))
    assert found.rows()[1] == {"parameter": "b", "low": found.low[1], "high": found.high[1]}
    assert str(found).splitlines()[0].split() == ["parameter", "5%", "95%"]
    assert str(made.interval(0.95)).splitlines()[0].split() == ["parameter", "2.5%", "97.5%"]
    for bad in (0.0, 1.0, 90):
        with pytest.raises(ValueError, match="level must lie in"):
            made.interval(bad)


def test_intervals_of_an_exact_law_owe_nothing_to_its_draws() -> None:
    made = laplace(gn.models.linear_regression(*regression(), observation_scale=1.0), num_draws=4)
    assert made.exact
    low, high = made.interval(0.9)
    sd = np.sqrt(np.diag(made.covariance))
    np.testing.assert_allclose((low, high), scipy.stats.norm.ppf([[0.05], [0.95]], made.mean, sd), rtol=1e-12)
    moved = made.calibrate(4 * made.covariance, mean=made.mean + 1)
    np.testing.assert_allclose(moved.interval(0.9).low, made.mean + 1 - 2 * (made.mean - low), rtol=1e-9)


def regression() -> tuple[np.ndarray, np.ndarray]:
    x, r = features()
    return x, x @ [1.0, -0.7] + r.normal(size=80)


def test_a_summary_has_the_interval() -> None:
    made = labels()
    found = made.summary(0.5)
    np.testing.assert_array_equal((found.low, found.high), tuple(made.interval(0.5)))
    assert found.level == 0.5
    assert {"low", "high"} < set(found.rows()[0])
    assert str(found).splitlines()[0].split()[5:7] == ["25%", "75%"]
    assert str(made.summary()).splitlines()[0].split()[5:7] == ["5%", "95%"]


# --- predictions and responses ---------------------------------------------------------------------------------------


def test_intervals_of_labels_are_of_their_probabilities_by_default() -> None:
    made = labels()
    found = made.predictive(features()[0][:20])
    assert found.labelled
    low, high = found.interval(0.9)
    exact = np.quantile(found.predictions.astype(float), [0.05, 0.95], axis=(0, 1))
    np.testing.assert_allclose((low, high), exact, rtol=1e-12)
    assert ((low > 0) & (low < high) & (high < 1)).all()
    low, high = found.interval(0.9, of="responses")
    assert set(np.r_[low, high]) <= {0.0, 1.0}
    p = np.asarray(found.responses).mean((0, 1))
    np.testing.assert_allclose(found.response_sd, np.sqrt(p * (1 - p)), rtol=1e-6)
    assert (found.response_sd > 2 * found.sd).all()
    with pytest.raises(ValueError, match="of must be one of 'responses', 'predictions'"):
        found.interval(0.9, of="labels")


def test_intervals_of_numbers_are_of_the_responses_by_default() -> None:
    x, y = regression()
    made = laplace(gn.models.linear_regression(x, y, observation_scale=1.0), num_draws=2000)
    found = made.predictive(x[:5])
    assert not found.labelled
    wide, narrow = (np.diff(found.interval(0.9, of=of), axis=0)[0] for of in ("responses", "predictions"))
    np.testing.assert_array_equal(np.diff(found.interval(), axis=0)[0], wide)
    np.testing.assert_allclose(narrow, 2 * 1.645 * found.sd, rtol=0.06)
    np.testing.assert_allclose(wide, 2 * 1.645 * np.sqrt(1 + found.sd**2), rtol=0.06)
    np.testing.assert_allclose(found.response_sd, np.sqrt(1 + found.sd**2), rtol=0.04)
    silent = dataclasses.replace(made, problem=dataclasses.replace(made.problem, sample=None)).predictive(x[:5])
    np.testing.assert_array_equal(np.diff(silent.interval(), axis=0)[0], narrow)
    assert silent.response_sd is None
    with pytest.raises(ValueError, match="of must be 'predictions' here"):
        silent.interval(of="responses")


def test_intervals_of_classes_are_of_their_probabilities_and_of_counts_of_the_counts() -> None:
    x, r = features()
    classes = laplace(gn.models.softmax_regression(x, r.integers(0, 3, 80)), num_draws=50).predictive(x[:4])
    assert classes.labelled
    assert classes.interval()[0].shape == (4, 3)
    assert classes.response_sd is None
    counts = laplace(gn.models.poisson_regression(x, r.poisson(3.0, 80)), num_draws=50).predictive(x[:4])
    assert not counts.labelled
    assert np.array_equal(counts.interval(0.5)[0], np.round(counts.interval(0.5)[0]))


def test_predictives_and_widths_print_as_short_tables() -> None:
    made = labels()
    lines = repr(made.predictive(features()[0][:10])).splitlines()
    assert lines[0] == "Predictive for 10 inputs, 4 x 500 draws. 5% to 95% is of predictions."
    assert lines[1].split() == ["mean", "error", "sd", "5%", "95%"]
    assert len(lines) == 9
    assert lines[-1] == "... and 4 more"
    found = made.predictive(features()[0][:2])
    rows = [[float(cell) for cell in line.split()[1:]] for line in str(found).splitlines()[2:]]
    low, high = found.interval(0.9)
    np.testing.assert_allclose(rows, np.c_[found.mean.value, found.mean.standard_error, found.sd, low, high], rtol=1e-3)
    one = repr(made.predictive(np.zeros(2))).splitlines()
    assert one[0].startswith("Predictive for 1 inputs")
    assert len(one) == 3
    widths = gn.infer.plan("constant_sgd", made.problem, batch_size=10).widths
    lines = repr(widths).splitlines()
    assert lines[0] == "Widths along 3 directions, the widest first"
    assert float(lines[2].split()[0]) == pytest.approx(widths.ratios[0], rel=1e-2)
    assert len(lines) == 5
    many = type(widths)(*(np.resize(np.asarray(field), (20,)) for field in widths[:4]), *widths[4:])
    assert repr(many).splitlines()[-1].startswith("... and 12 more; ")


# --- what is compared ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["divergence", "distance", "directions"])
def test_only_posteriors_of_the_same_parameters_are_compared(name: str) -> None:
    made = labels()
    wrong: list[Any] = [np.eye(3), (made.mean, made.covariance)]
    for other in wrong:
        with pytest.raises(TypeError, match="reference must be a Posterior"):
            getattr(made, name)(other)
    short = dataclasses.replace(made, draws=made.draws[..., :2])
    with pytest.raises(ValueError, match=r"reference must have D = 3 parameters, got 2\."):
        getattr(made, name)(short)
    few = dataclasses.replace(made, exact=False, draws=made.draws[:1, :3])
    with pytest.raises(ValueError, match="draws of Laplace must be more than D = 3"):
        getattr(made, name)(few)
