"""What a reader found who tried every kind of fault with inputs of his own: the right values, computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gradnoise as gn
from gradnoise import _checks, datasets, diagnose, infer, sde, theory
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


# --- sizes at the ends of float64: the digits, or an error that names what to change

ONE, TWO = np.eye(1), np.eye(2)
EPOCH = {"batch_size": 2, "num_examples": 10}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: theory.shuffled_covariance(ONE, ONE, learning_rate=1e-17, **EPOCH), "learning_rate"),  # it never came back
        (lambda: theory.fixed_order_covariance(ONE, ONE, learning_rate=1e-17, **EPOCH), "learning_rate"),
        (lambda: theory.shuffled_weights([1e-17], **EPOCH), "rates"),
        (lambda: theory.linear_chain(ONE, ONE, learning_rate=1e-17, batch_size=2), "learning_rate"),
        (lambda: theory.stationary_shape([], [], [], batch_size=1, noise_share=[]), "rates"),
        (lambda: theory.stable_scale(curvature=1, noise_scale=1, alpha=1e-3, learning_rate=0.1, batch_size=2), "alpha"),
        (lambda: theory.stable_exit_time(half_width=1, noise_scale=1e-200, alpha=1.9), "noise_scale"),
        (lambda: theory.linear_regression_evidence([[1.0]], [1.0], prior_precision=1, observation_scale=1e-300), "observation_scale"),
        (lambda: theory.gaussian_inputs_moments(0 * TWO, learning_rate=0.1, batch_size=2), "input_covariance"),
        (lambda: theory.gaussian_inputs_moments(TWO, learning_rate=0.1, batch_size=2, preconditioner=1e-200 * TWO), "preconditioner"),
        (lambda: theory.least_squares_moments(TWO, TWO[0], learning_rate=1e-200, batch_size=2), "learning_rate"),
        (lambda: theory.chain_passage_time(lambda x: x, lambda x: 1 + 0 * x, learning_rate=1, start=0, target=1, low=-1, num_points=10**9), "num_points"),
        (lambda: theory.tail_exponent_estimate(TWO, learning_rate=0.5, batch_size=1, num_particles=10**16), "num_particles"),
        (lambda: theory.least_squares_tail_exponent(TWO, learning_rate=0.5, batch_size=10**16), "batch_size"),
        (lambda: theory.learning_coefficient(TWO, TWO, inverse_temperature=1, localization=1, step_size=1e-200, batch_size=2), "step_size"),
        (lambda: sde.rmsprop(lambda x: x, TWO, learning_rate=1e-200, batch_size=1, b2=0.9, eps=1), "learning_rate"),
        (lambda: diagnose.batch_means([10**400] * 5), "trajectory"),
        (lambda: diagnose.kl_floor(2, 10, fitted_mean=np.ones(2)), "fitted_mean"),
        (lambda: gn.models.linear_regression(TWO, TWO[0], 10**400, 1.0), "prior_scale"),
        (lambda: gn.models.logistic_regression(TWO, TWO[0], 1.0, names=np.array(3)), "names"),
        (lambda: gn.models.softmax_regression(TWO, TWO[0], 1.0, num_classes=10**16), "num_classes"),
        (lambda: _checks.progress(lambda done: done), "progress"),
        (lambda: _checks.words("methods", np.array(3), ("a", "b")), "methods"),
        (lambda: diagnose.rank_statistics(np.zeros((2, 3, 1)), np.zeros((2, 1)), key=0.5), "key"),
    ],
)  # fmt: skip
def test_the_ends_of_float64_are_named(call: Any, named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        call()


def test_digits_at_the_ends_of_float64() -> None:
    # the lower rate is inversely proportional to the number of steps in a pass
    low = [theory.averaging_range(TWO, num_examples=count, batch_size=2).low * count for count in (10**9, 10**16)]
    np.testing.assert_allclose(low[1], low[0], rtol=1e-6)
    # a flat direction wanders far, but noise reaches it; H and D commute: U = H/D
    found = theory.circulation(np.diag([1.0, 1e-16]), np.diag([2.0, 4.0]), temperature=0.1)
    np.testing.assert_allclose(found.potential, np.diag([0.5, 0.25e-16]), rtol=1e-12)
    # neighbouring averages of a chain that hardly moves are the same
    assert theory.averaging_correlation(ONE, learning_rate=1e-200, window=10)[0] == 1.0
    for window, memory in ((1, 1e-9), (100, 2.0001e-7 / 3)):  # one step forgets ηh
        kept = theory.averaging_correlation(ONE, learning_rate=1e-9, window=window)
        np.testing.assert_allclose(1 - kept, memory, rtol=1e-5)
    # nothing is remembered for ever
    far = theory.continuous_autocovariance(TWO, TWO, lag=1e100, learning_rate=0.1, batch_size=4, momentum=0.5)
    np.testing.assert_array_equal(far, 0 * TWO)
    # after no time the state is the start
    setting = {"learning_rate": 0.01, "batch_size": 1, "b2": 0.998, "eps": 0.1, "start": [0.3], "time": 1e-200}
    for moments in (
        sde.rmsprop_moments([1.0], [1.0], second_moment=[4.0], **setting),
        sde.adam_moments([1.0], [1.0], b1=0.9, **setting),
    ):
        np.testing.assert_allclose(moments.mean, 0.3, rtol=1e-8)
    # a residual of 1e-9 beside a response of 1e8: ln N(1e8; 0, 1 + 1e-18) + ln N(1e-9; 0, 1e-18)
    evidence = theory.linear_regression_evidence(
        [[1.0], [0.0]], [1e8, 1e-9], prior_precision=1.0, observation_scale=1e-9
    )
    np.testing.assert_allclose(evidence, -np.log(2 * np.pi) - 1e16 / 2 - np.log(1e-9) - 0.5, rtol=1e-15)
    rest = theory.linear_regression_evidence([[1.0], [0.0]], [0.0, 1e-9], prior_precision=1.0, observation_scale=1e-9)
    np.testing.assert_allclose(rest, -np.log(2 * np.pi) - np.log(1e-9) - 0.5, rtol=1e-12)


def test_stable_scale_keeps_its_digits_where_a_step_forgets_little() -> None:
    """ηh → 0: the discrete law is the continuous one; written for the test, σ_θ^α = η^{α−1}σ^α/(αh)."""
    law = {"curvature": 1e-12, "noise_scale": 2.0, "alpha": 1.5, "learning_rate": 0.1, "batch_size": 1}
    expected = (0.1**0.5 * 2.0**1.5 / (1.5 * 1e-12)) ** (1 / 1.5)
    np.testing.assert_allclose(
        [theory.stable_scale(time=t, **law) for t in ("discrete", "continuous")], expected, rtol=1e-12
    )


def test_a_value_is_shown_with_the_digits_that_its_spread_leaves_it() -> None:
    """1e7 ± 1e-3 was printed as 1e+07, and an interval of 59000.49 to 59000.51 as 5.9e+04 to 5.9e+04."""
    shown = str(infer.Intervals(("year",), np.array([59000.4912]), np.array([59000.5131]), 0.9))
    assert "59000.491" in shown
    assert "59000.513" in shown
    draws = 1e7 + 1e-3 * np.random.default_rng(0).standard_normal((4, 50, 1))
    mean = gn.Estimate(draws.mean((0, 1)), draws.std((0, 1)) / np.sqrt(200), 200)
    said = repr(infer.Predictive(mean, draws.std((0, 1)), draws, None))
    assert said.count("10000000.00") + said.count("9999999.99") == 3  # mean, 5 % and 95 %
    assert str(infer.Intervals(("x",), np.array([-1 / 3]), np.array([2 / 3]), 0.9)).split()[-2:] == [
        "-0.3333",
        "0.6667",
    ]
