"""New inputs as users have them: arrays and frames, without the intercept's ones, wrong ones with one clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gradnoise as gn
from gradnoise.infer import Posterior, Verdict, laplace

NAMES = ("age", "dose", "weight:kg")
R = np.random.default_rng(0)
X, NEW = R.normal(size=(80, 3)), R.normal(size=(6, 3))
REAL, BINARY, CLASSES, COUNTS = R.normal(size=80), R.integers(0, 2, 80), R.integers(0, 3, 80), R.poisson(2.0, 80)
FRAMES = {"pandas": pd.DataFrame, "polars": lambda x, columns: pl.DataFrame(x, schema=list(columns)),
          "lazy": lambda x, columns: pl.LazyFrame(x, schema=list(columns))}  # fmt: skip
MODELS = {
    "linear": (lambda x, **k: gn.models.linear_regression(x, REAL, observation_scale=1.0, **k), R.normal(size=6)),
    "logistic": (lambda x, **k: gn.models.logistic_regression(x, BINARY, **k), np.array([0, 1, 1, 0, 1, 0])),
    "softmax": (lambda x, **k: gn.models.softmax_regression(x, CLASSES, **k), np.array([0, 2, 1, 0, 2, 0])),
    "poisson": (lambda x, **k: gn.models.poisson_regression(x, COUNTS, **k), np.array([0, 3, 1, 0, 4, 0])),
}  # fmt: skip


def posterior(problem: gn.Problem) -> Posterior:
    draws = 0.3 * np.random.default_rng(1).normal(size=(2, 20, problem.num_params))
    verdict = Verdict("trustworthy", (), {})
    return Posterior("by hand", draws, problem.parameter_names, None, None, 40.0, verdict, problem=problem)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("intercept", [True, False])
def test_log_predictive_takes_x_and_y(model: str, intercept: bool) -> None:
    build, y = MODELS[model]
    problem = build(X, intercept=intercept)
    made = posterior(problem)
    wide = np.c_[NEW, np.ones(6)] if intercept else NEW
    whole = made.log_predictive({"inputs": wide, "targets": y.astype(problem.data["targets"].dtype)})
    for inputs in (NEW, wide):
        short = made.log_predictive(inputs, y)
        np.testing.assert_allclose(short.pointwise.value, whole.pointwise.value, rtol=1e-6)
    assert made.log_predictive(NEW, y, num_draws=5).total.n == 10


def test_weights_and_offset_of_the_model_are_asked_for() -> None:
    weights, offset = R.uniform(1, 3, 80), R.normal(size=80)
    plain = posterior(gn.models.poisson_regression(X, COUNTS))
    made = posterior(gn.models.poisson_regression(X, COUNTS, weights=weights, offset=offset))
    y = np.array([0, 3, 1, 0, 4, 0])
    np.testing.assert_allclose(
        made.log_predictive(NEW, y, offset=0.0, weights=1.0).pointwise.value,
        plain.log_predictive(NEW, y).pointwise.value,
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="offset must be given: the model was built with offset"):
        made.log_predictive(NEW, y, weights=1.0)
    with pytest.raises(ValueError, match="weights must be given: the model was built with weights"):
        made.log_predictive(NEW, y, offset=0.0)


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("model", MODELS)
def test_frames_name_the_parameters_and_their_columns_go_by_name(kind: str, model: str) -> None:
    build, y = MODELS[model]
    problem = build(FRAMES[kind](X, columns=NAMES))
    first = {f"{name}:{k}" for name in (*NAMES, "intercept") for k in range(3)} if model == "softmax" else None
    assert set(problem.parameter_names) == (first or {*NAMES, "intercept"})
    assert build(FRAMES[kind](X, columns=NAMES), names=("a", "b", "c")).names[0][0] == "a"
    made = posterior(problem)
    by_position, by_name = made.predictive(NEW), made.predictive(FRAMES[kind](NEW, columns=NAMES))
    np.testing.assert_array_equal(by_name.predictions, by_position.predictions)
    turned = FRAMES[kind](np.c_[np.full(6, 9.0), NEW[:, ::-1]], columns=("other", *NAMES[::-1]))
    np.testing.assert_array_equal(made.predictive(turned).predictions, by_position.predictions)
    np.testing.assert_allclose(
        made.log_predictive(turned, y).pointwise.value, made.log_predictive(NEW, y).pointwise.value, rtol=1e-12
    )
    with pytest.raises(ValueError, match=r"must have the columns that the model was built with, but has no 'dose'\."):
        made.predictive(FRAMES[kind](NEW, columns=("age", "x", "weight:kg")))


def test_frames_go_by_position_where_the_model_has_no_names() -> None:
    made = posterior(gn.models.linear_regression(X, REAL, observation_scale=1.0))
    found = made.predictive(pd.DataFrame(NEW, columns=NAMES)).predictions
    np.testing.assert_array_equal(found, made.predictive(NEW).predictions)
    unnamed = gn.models.linear_regression(pd.DataFrame(X), REAL, observation_scale=1.0)
    assert unnamed.names == ("x0", "x1", "x2", "intercept")  # headings 0, 1, 2 are no names
    net = posterior(gn.models.mlp(pl.DataFrame(X, schema=list(NAMES)), CLASSES, widths=(2,)))
    np.testing.assert_array_equal(
        net.predictive(pl.DataFrame(NEW, schema=list(NAMES))).predictions, net.predictive(NEW).predictions
    )
    assert net.log_predictive(NEW, [0, 1, 2, 0, 1, 2]).pointwise.value.shape == (6,)


def test_truth_values_in_a_frame_are_numbers() -> None:
    frame = pd.DataFrame({"age": X[:, 0], "smokes": X[:, 1] > 0})
    problem = gn.models.linear_regression(frame, REAL, observation_scale=1.0)
    np.testing.assert_array_equal(problem.data["inputs"][:, 1], X[:, 1] > 0)
    assert laplace(problem, num_draws=10).predictive(frame[:5]).predictions.shape == (4, 10, 5)
    with pytest.raises(ValueError, match="X must have columns of different names"):
        gn.models.linear_regression(pd.DataFrame(X, columns=["a", "a", "b"]), REAL)


def test_a_problem_of_ones_own_gets_its_inputs_as_they_are() -> None:
    def log_likelihood(params: Any, example: Any) -> Any:
        return -((example["y"] - params[0]) ** 2)

    problem = gn.Problem(
        log_likelihood, {"y": REAL}, np.zeros(1), predict=lambda params, inputs: inputs["time"] * params[0]
    )
    made = posterior(problem)
    assert made.predictive({"time": np.arange(3.0)}).predictions.shape == (2, 20, 3)
    with pytest.raises(ValueError, match="targets must be left out"):
        made.log_predictive(NEW, REAL[:6])


def test_wrong_inputs_have_one_clear_error() -> None:
    made = posterior(gn.models.logistic_regression(X, BINARY))
    bare = posterior(gn.models.logistic_regression(X, BINARY, intercept=False))
    y = BINARY[:6]
    for call, error, words in (
        (lambda: made.predictive(NEW[:, :2]), ValueError, r"inputs must have 3 columns \(or 4 with the intercept's ones\)"),
        (lambda: bare.predictive(NEW[:, :2]), ValueError, r"inputs must have 3 columns like the X of the model"),
        (lambda: made.predictive(np.full((2, 3), np.nan)), ValueError, "inputs must be finite"),
        (lambda: made.predictive([["a", "b", "c"]]), TypeError, "inputs must be an array of numbers"),
        (lambda: made.log_predictive(NEW[:, :2], y), ValueError, "data must have 3 columns"),
        (lambda: made.log_predictive(NEW[0], y[0]), ValueError, r"data must have shape \(m, D\)"),
        (lambda: made.log_predictive(NEW, y[:5]), ValueError, r"targets must have shape \(N,\) = \(6,\)"),
        (lambda: made.log_predictive(NEW, y + 1), ValueError, "targets must hold 0 and 1 only"),
        (lambda: made.log_predictive((NEW, y)), ValueError, r"For a ready-made model, log_predictive\(X, y\) does it"),
        (
            lambda: posterior(gn.models.softmax_regression(X, CLASSES)).log_predictive(NEW, [0, 1, 2, 3, 0, 1]),
            ValueError,
            "targets must hold class numbers below num_classes = 3, got 3",
        ),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
