"""What a reader found who tried every kind of fault with inputs of his own: the right values, computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gradnoise as gn
from gradnoise import datasets, theory
from gradnoise.pages.subject import subject_of


def test_the_page_keeps_the_digits_that_the_data_need() -> None:
    """§1.2: the standardised columns of a page were float32, whatever float64 told."""
    r, k = np.random.default_rng(2), np.arange(400.0)
    t = 59000.5 + 3.52474859 * k + 5e-6 * r.normal(size=400)
    data = datasets.Dataset(k[:, None], t, ("k",), "t", model="linear")
    subject = subject_of(data, name=None, model=None, prior_scale=np.inf, intercept_prior_scale=np.inf)
    design = np.c_[k - k.mean(), np.ones(400)]
    left = t - t.mean() - design @ np.linalg.lstsq(design, t - t.mean())[0]
    assert subject.observation_scale == pytest.approx(np.sqrt(left @ left / 398) / t.std(), rel=1e-4)
    assert subject.problem.data["inputs"].dtype == np.float64
    plain = datasets.Dataset(k[:, None], r.normal(size=400), ("k",), "t", model="linear")
    assert subject_of(plain, name=None, model=None, prior_scale=1.0).problem.data["inputs"].dtype == np.float32


def test_a_level_whose_rows_have_no_weight_is_no_level() -> None:
    """§1.11: rows of weight 0 are rows that are not there."""
    r = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"x": r.normal(size=40), "g": ["p"] * 10 + ["q"] * 15 + ["r"] * 15, "w": [0.0] * 10 + [1.0] * 30}
    )
    frame = frame.with_columns(y=pl.col("x") * 2, c=pl.col("g"))
    for target, model, gone in (("y", "linear", "c"), ("c", "logistic", "y")):
        told: dict[str, Any] = {"target": target, "model": model, "encode": "onehot"}
        weighted = datasets.load(frame, weights="w", drop=gone, **told)
        without = datasets.load(frame.filter(pl.col("w") > 0), drop=[gone, "w"], **told)
        assert weighted.feature_names == without.feature_names == ("x", "g=r")
        assert weighted.class_labels == without.class_labels
        kept = weighted.weights > 0
        np.testing.assert_array_equal(weighted.X[kept], without.X)
        np.testing.assert_array_equal(weighted.y[kept], without.y)
        assert any("weight 0" in note for note in weighted.notes)


def test_a_posterior_is_not_loaded_onto_another_problem(tmp_path: Path) -> None:
    """A4: draws were judged, and calibrated, with the data of another problem of the same parameters."""
    r = np.random.default_rng(3)
    x = r.normal(size=(100, 2))
    one, other = (
        gn.models.linear_regression(x, x @ slopes + r.normal(size=100), 1.0, 1.0) for slopes in ([1, -1], [-3, 5])
    )
    path = gn.infer.laplace(one, num_draws=50).save(tmp_path / "q.nc")
    assert gn.infer.load(path, problem=one).problem is one
    with pytest.raises(ValueError, match="problem must be the one of these draws, with 100 examples"):
        gn.infer.load(path, problem=other)


@pytest.mark.parametrize(
    ("mean", "covariance", "more", "named"),
    [
        (np.zeros(3), np.zeros((3, 3)), {}, "covariance"),
        (np.zeros(2), np.eye(3), {}, "mean"),
        (np.zeros(3), np.eye(3), {"num_draws": 1}, "num_draws"),
        (np.full(3, np.nan), np.eye(3), {}, "mean"),
        (np.zeros(3), np.eye(3), {"temperature": 0.0}, "temperature"),
        (np.zeros(3), np.triu(np.ones((3, 3))), {}, "covariance"),
    ],
)
def test_nearness_names_what_is_wrong(mean: Any, covariance: Any, more: dict[str, Any], named: str) -> None:
    problem = gn.models.linear_regression(np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0), 1.0, 1.0)
    with pytest.raises((ValueError, TypeError), match=f"^{named} must"):
        gn.measure.nearness(problem, mean, covariance, **more)


def test_remedies_that_help(tmp_path: Path) -> None:
    """§1.10: each was followed, and made it worse."""
    file = tmp_path / "minus.csv"
    file.write_text("a,y\n" + "\n".join(f"{'−' if i % 3 == 0 else ''}{i},{i % 5}" for i in range(1, 30)), "utf-8")
    a = datasets.load(file, target="y", model="linear").X[:, 0]
    np.testing.assert_array_equal(a, [-i if i % 3 == 0 else i for i in range(1, 30)])
    holes = pl.DataFrame({"a": [1.0, None, 3, 4, None, 6, 7], "b": [None, 2.0, 3, None, 5, 6, None], "y": range(7)})
    with pytest.raises(ValueError, match="missing values") as told:
        datasets.load(holes, target="y", model="linear")
    assert not ("drop='a'" in str(told.value) and "drop='b'" in str(told.value))
    dated = pl.DataFrame({"a": range(12), "y": [f"2020-01-{i:02d}" for i in range(1, 13)]})
    with pytest.raises(TypeError, match="choose another column, or turn it into numbers") as dates:
        datasets.load(dated, target="y", model="linear")
    assert "drop=" not in str(dates.value)


def test_codes_and_infinities_of_a_target_are_seen() -> None:
    """§1.10: a code for "missing" in the target drew no caution; infinity became a class."""
    y = [-999] * 2 + list(range(28))
    notes = datasets.load(pl.DataFrame({"a": np.arange(30.0) ** 2, "y": y}), target="y", model="linear").notes
    assert any("'y' holds -999 in 2 of 30 rows" in note for note in notes)
    counts = pl.DataFrame({"a": np.arange(30.0) ** 2, "y": [-9] * 2 + [i % 5 for i in range(28)]})
    with pytest.raises(ValueError, match="missing_codes='-9'"):
        datasets.load(counts, target="y", model="poisson")
    with pytest.raises(ValueError, match="inf"):
        datasets.load(
            pl.DataFrame({"a": [1.0, 2, 3, 4], "y": [0.0, 0.0, np.inf, np.inf]}), target="y", model="logistic"
        )


def test_a_divergence_from_next_to_nothing_is_a_number() -> None:
    """log(1 + x) lost ratios below 1e-16, and NumPy warned of it."""
    for ratio in (1e-18, 1e-200, 0.3, 0.9, 2.0, 1e20):
        expected = (ratio - 1 - np.log(ratio)) / 2
        assert theory.gaussian_kl([[ratio]], [[1.0]]) == pytest.approx(expected, rel=1e-12)


def test_empty_inputs_and_arrays_of_estimates() -> None:
    problem = gn.models.linear_regression(np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0), 1.0, 1.0)
    made = gn.infer.laplace(problem, num_draws=20)
    with pytest.raises(ValueError, match="inputs must have at least one row"):
        made.predictive(np.ones((0, 2)))
    assert "shape" in f"{made.predictive(np.ones((3, 2))).mean:.3g}"
