"""The misspecification test: what a right model gives, in any size; what a wrong one is told; and what is advised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import gradnoise as gn
from gradnoise.infer.verdicts import misspecification
from gradnoise.infer.verdicts.misspecification import fit_of
from gradnoise.infer.verdicts.refits import KINDS, regression_of
from gradnoise.infer.verdicts.sandwich import prior_curvature, widths_at, widths_of

models = gn.models


def judged(problem: Any) -> Any:
    model = regression_of(problem)
    if model is not None:  # in NumPy alone: nothing is compiled
        vector = np.zeros(problem.num_params)
        for _ in range(5):
            vector = model.fit(vector)[0]
        empty = np.zeros((0, 0))
        return fit_of(problem, vector, empty, empty)
    mode = gn.find_mode(problem)
    return fit_of(problem, mode.vector, mode.hessian, prior_curvature(problem, mode.vector))


def chance(z: Any) -> Any:
    return scipy.special.expit(z)


def right(kind: str, r: np.random.Generator) -> Any:
    """Return a data set drawn from its model, coefficients from the prior where there is one."""
    if kind == "small":
        x = r.normal(size=(60, 7))
        return models.linear_regression(x, x @ r.normal(size=7) + 1.5 * r.normal(size=60))
    if kind == "prior":
        x = r.normal(size=(30, 8))
        return models.linear_regression(x, x @ (0.1 * r.normal(size=8)) + r.normal(size=30), 0.1, 1.0, intercept=False)
    if kind == "rare":
        x = r.normal(size=(400, 4))
        x[:, -1] = 0
        x[r.choice(400, r.integers(4, 15), replace=False), -1] = 1
        return models.logistic_regression(x, (r.random(400) < chance(x @ r.normal(size=4) - 0.5)).astype(float))
    if kind == "tails":
        x = r.standard_t(3, (200, 3))
        return models.linear_regression(x, x @ [1.0, 0.0, 2.0] + r.normal(size=200))
    if kind == "counts":
        x = r.normal(size=(200, 3))
        risk = r.uniform(0.2, 3, 200)
        return models.poisson_regression(x, r.poisson(0.3 * risk * np.exp(x @ [0.3, -0.2, 0.0])), offset=np.log(risk))
    if kind == "classes":
        x = r.normal(size=(150, 2))
        z = x @ r.normal(size=(2, 3)) + r.gumbel(size=(150, 3))
        return models.softmax_regression(x, z.argmax(1), 10.0, num_classes=3)
    x, w = r.normal(size=(150, 3)), r.integers(1, 9, 150)
    return models.linear_regression(x, x @ [1.0, 0.0, 2.0] + r.normal(size=150), 5.0, 1.0, weights=w)


@pytest.mark.parametrize("kind", ["small", "prior", "rare", "tails", "counts", "classes", "weights"])
def test_right_models_are_left_alone(kind: str) -> None:
    """At a level of 1/100 more than two of twelve are called wrong once in 5 000 runs of new seeds."""
    flagged = [judged(right(kind, np.random.default_rng([7, seed]))).misspecified.any() for seed in range(12)]
    assert scipy.stats.binom.sf(2, 12, 1 / (misspecification.DRAWS + 1)) < 2.1e-4
    assert sum(flagged) <= 2


def heteroscedastic(seed: int, spread: float = 0.2) -> tuple[Any, np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    x = r.normal(size=2000)
    y = 1 + 2 * x + (spread + np.abs(x)) * r.normal(size=2000)
    return models.linear_regression(x[:, None], y, np.inf, names=("dose",)), x, y


@pytest.mark.parametrize("seed", range(12))
def test_a_residual_that_grows_is_found_in_the_slope_and_not_in_the_intercept(seed: int) -> None:
    problem, x, y = heteroscedastic(seed)
    fit = judged(problem)
    design = np.column_stack([x, np.ones(2000)])
    inverse = np.linalg.inv(design.T @ design)
    residual = y - design @ (inverse @ design.T @ y)
    scale = residual @ residual / 1998
    sandwich = inverse @ (design.T @ (design * (residual**2)[:, None])) @ inverse
    np.testing.assert_allclose(fit.ratios, np.diag(sandwich) / np.diag(scale * inverse), rtol=1e-3)
    assert fit.misspecified.tolist() == [True, False]
    assert fit.against_sandwich() == ""


def test_the_verdict_names_the_parameter_and_its_ratio() -> None:
    problem, _, _ = heteroscedastic(0)
    law = gn.measure.gaussian_law(problem, gn.find_mode(problem))
    widths = widths_at(problem, law)
    assert widths_at(problem, law) is widths  # several plans of one law are judged once
    said = gn.infer.plan("corrected_langevin", problem, batch_size=50, law=law).expectation().verdict
    assert said.numbers["misspecified_directions"] == 1
    told = " ".join(said.reasons)
    assert f"dose {widths.ratios[0]:.3g} ({widths.expected[0]:.3g})" in told
    assert "intercept" not in told
    assert ".calibrate()" in told


def test_counts_that_scatter_more_than_poisson_are_found_in_every_parameter() -> None:
    r = np.random.default_rng(3)
    x = r.normal(size=(1500, 2))
    mean = np.exp(0.7 + x @ [0.4, -0.3])
    fit = judged(models.poisson_regression(x, r.poisson(mean * r.gamma(1.0, 1.0, 1500)), 10.0))
    assert fit.misspecified.all()
    assert fit.ratios.min() > 2


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_a_known_scale_that_is_wrong_is_found(scale: float) -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(800, 2))
    fit = judged(models.linear_regression(x, x @ [1, 2] + scale * r.normal(size=800), np.inf, 1.0))
    assert fit.misspecified.all() == (scale > 1)
    assert fit.misspecified.any() == (scale > 1)


@pytest.mark.parametrize("spread", [1.0, None])
def test_a_problem_of_the_users_own_is_judged_by_its_gradients(spread: float | None) -> None:
    """A line by its functions: nothing is known of the data's layout, so nothing is drawn."""
    r = np.random.default_rng(1)
    x = r.normal(size=3000)
    sd = np.full(3000, 1.1) if spread is not None else 0.2 + np.abs(x)
    y = 1 + 2 * x + sd * r.normal(size=3000)
    width = float(np.sqrt(np.mean(sd**2)))
    problem = gn.Problem(
        lambda p, e: -0.5 * ((e["y"] - p[0] - p[1] * e["x"]) / width) ** 2, {"x": x, "y": y}, np.zeros(2)
    )
    fit = judged(problem)
    assert fit.num_drawn == 0
    assert fit.misspecified.tolist() == [False, spread is None]


def all_of_one_label() -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which all 30 of one level are the same."""
    r = np.random.default_rng(0)
    x = r.normal(size=(400, 2))
    x[:, 1] = 0
    x[:30, 1] = 1
    y = (r.random(400) < chance(x[:, 0])).astype(float)
    y[:30] = 1
    return x, y


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_a_level_of_one_label_is_no_misspecification_and_no_reason_to_calibrate(scale: float) -> None:
    x, y = all_of_one_label()
    fit = judged(models.logistic_regression(x, y, scale))
    assert not fit.misspecified.any()
    assert fit.ratios[1] < 0.15  # the sandwich of that level is next to nothing
    assert fit.against_sandwich() != ""


def test_calibrating_is_not_advised_where_the_sandwich_rests_on_few_rows() -> None:
    r = np.random.default_rng(5)
    x = r.normal(size=(1000, 2))
    x[:, 1] = 0
    x[:4, 1] = 1
    y = x[:, 0] + (0.2 + 1.5 * np.abs(x[:, 0])) * r.normal(size=1000)
    problem = models.linear_regression(x, y, np.inf)
    fit = judged(problem)
    assert fit.misspecified[0]
    assert fit.effective_rows[1] < 5
    law = gn.measure.gaussian_law(problem, gn.find_mode(problem))
    told = widths_of(problem, law.mean, law.hessian, law.gradient_covariance).sentence()
    assert "calibrate" not in told
    assert "no remedy" in told


def test_calibrating_all_the_same_says_what_speaks_against_it() -> None:
    x, y = all_of_one_label()
    other = np.column_stack([x[:, 0], np.random.default_rng(1).normal(size=400)])
    for inputs, spoken in ((x, True), (other, False)):
        problem = models.logistic_regression(inputs, y, 10.0)
        run = gn.infer.corrected_langevin(problem, batch_size=50, num_draws=50, progress=False)
        assert run.verdict.numbers["misspecified_directions"] == 0
        assert "calibrate" not in " ".join(run.verdict.reasons)
        assert ("may not cover" in " ".join(run.calibrate().verdict.reasons)) == spoken


def test_weights_count_as_rows_and_the_sandwich_of_weighted_rows_is_not_advised() -> None:
    r = np.random.default_rng(2)
    x, w = r.normal(size=(400, 2)), r.integers(1, 5, 400)
    y = x @ [1.0, 2.0] + 2.0 * r.normal(size=400)
    weighted = judged(models.linear_regression(x, y, np.inf, 1.0, weights=w))
    rows = judged(models.linear_regression(np.repeat(x, w, 0), np.repeat(y, w), np.inf, 1.0))
    np.testing.assert_allclose(weighted.ratios, rows.ratios, rtol=1e-6)
    assert weighted.misspecified.all()
    assert "weight" in weighted.against_sandwich()
    assert rows.against_sandwich() == ""


def test_the_same_data_are_judged_the_same_in_other_units_and_orders() -> None:
    r = np.random.default_rng(4)
    x = r.normal(size=(300, 3))
    y = x @ [1.0, 2.0, 0.0] + (0.3 + np.abs(x[:, 0])) * r.normal(size=300)
    plain = judged(models.linear_regression(x, y, np.inf))
    scaled = judged(models.linear_regression(x * [1e3, 1.0, 1e-3], y, np.inf))
    order = r.permutation(300)
    shuffled = judged(models.linear_regression(x[order], y[order], np.inf))
    for other in (scaled, shuffled):
        np.testing.assert_allclose(other.ratios, plain.ratios, rtol=1e-6)
        assert other.misspecified.tolist() == plain.misspecified.tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_scores_and_curvature_are_those_of_the_problem(kind: str) -> None:
    r = np.random.default_rng(6)
    x, w = r.normal(size=(40, 2)), r.uniform(0.5, 3, 40)
    make = {
        "linear": lambda: models.linear_regression(x, r.normal(size=40), 2.0, 0.7, weights=w),
        "robust": lambda: models.robust_linear_regression(x, r.normal(size=40), 0.4, 2.0, 0.7, weights=w),
        "logistic": lambda: models.logistic_regression(x, r.integers(0, 2, 40), 2.0, weights=w),
        "poisson": lambda: models.poisson_regression(x, r.poisson(2.0, 40), 2.0, weights=w, offset=r.normal(size=40)),
        "softmax": lambda: models.softmax_regression(x, np.arange(40) % 3, 2.0, weights=w),
    }
    problem = make[kind]()
    model = regression_of(problem)
    assert model is not None
    vector = 0.3 * r.normal(size=problem.num_params)
    slope, curvature = gn.derivatives.gradient_and_hessian(problem, vector)
    ours = model.slope_and_curvature(vector)
    np.testing.assert_allclose(ours[0], 40 * slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], 40 * curvature, rtol=1e-5, atol=1e-5)
    each = gn.derivatives.example_gradients(problem, vector) - model.precision * vector / 40
    each = -each / w[:, None]
    each = np.sqrt(w)[:, None] * (each - w @ each / w.sum())
    np.testing.assert_allclose(model.scores(vector), each, rtol=1e-4, atol=1e-5)


def test_draws_have_the_moments_of_the_model() -> None:
    """Mean squared score = curvature, for each model, at 20 000 rows: within six standard errors."""
    r = np.random.default_rng(8)
    x = r.normal(size=(20_000, 1))
    for problem in (
        models.linear_regression(x, x[:, 0], 1.0, 0.7),
        models.logistic_regression(x, x[:, 0] > 0),
        models.poisson_regression(x, np.ones(20_000)),
        models.softmax_regression(x, np.arange(20_000) % 3),
    ):
        model = regression_of(problem)
        assert model is not None
        vector = 0.4 * np.ones(problem.num_params) + 0.2 * np.arange(problem.num_params)
        made = model.drawn(r, vector)
        squares = made.scores(vector) ** 2
        bend = np.diag(made.slope_and_curvature(vector)[1]) - model.precision
        error = squares.std(0) * np.sqrt(20_000)
        assert (np.abs(squares.sum(0) - bend) < 6 * error).all()
