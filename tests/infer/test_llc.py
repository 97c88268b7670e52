"""The local learning coefficient: as predicted at a finite step, at a singular point as quadrature says, traps refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import local_learning_coefficient
from gradnoise.infer.minima.learning_coefficient import _localised

HESSIAN = np.array([[2.0, 0.3], [0.3, 0.5]])
N = 200
POINTS = np.random.default_rng(3).normal(size=(N, 2)) @ np.array([[0.6, 0.2], [0.0, 0.9]])
POINTS = POINTS - POINTS.mean(0)


def _quadratic(params: Any, example: Any) -> Any:
    gap = params - example
    return -0.5 * gap @ (HESSIAN.astype(np.float32) @ gap)


def quadratic() -> gn.Problem:
    """Its minibatch noise is the same everywhere, so that the prediction is exact."""
    return gn.Problem(_quadratic, POINTS.astype(np.float32), np.zeros(2, np.float32))


def _product(params: Any, example: Any) -> Any:
    return -0.5 * (example["y"] - params[0] * params[1] * example["x"]) ** 2


def singular() -> gn.Problem:
    """L - L(0) = w₁²w₂²·mean x²/2 exactly: the noise in y is orthogonal to x. Learning coefficient ½, multiplicity 2."""
    r = np.random.default_rng(0)
    x, y = r.normal(size=400), 0.5 * r.normal(size=400)
    y -= x * (x @ y) / (x @ x)
    return gn.Problem(_product, {"x": x.astype(np.float32), "y": y.astype(np.float32)}, np.zeros(2, np.float32))


@pytest.mark.law
# slow: subsets only scale the noise of a batch, which the law tests of theory and of the samplers hold
@pytest.mark.parametrize("sampling", ["with_replacement", pytest.param("without_replacement", marks=pytest.mark.slow)])
def test_a_quadratic_gives_what_was_predicted_at_a_coarse_step(sampling: str) -> None:
    made = local_learning_coefficient(
        quadratic(), batch_size=32, localization=1.0, inverse_temperature=100.0, step_size=4e-3, num_steps=3000,
        num_chains=256, sampling=sampling, key=2, progress=False,
    )  # fmt: skip
    assert made.quadratic
    check = {"false_fail": 1e-7, "detects": 0.03}
    gn.testing.assert_estimate(made.estimate, made.predicted.value, **check)
    gn.testing.assert_fails(
        lambda: gn.testing.assert_estimate(made.estimate, made.predicted.ideal, **check), defect="no finite-step bias"
    )
    assert made.estimate.standard_error == pytest.approx(made.predicted.standard_error, rel=0.25)  # 256 chains: 4.4 %
    hessian = quadratic_hessian()
    ideal = 50 * np.trace(np.linalg.solve(100 * hessian + np.eye(2), hessian))
    assert made.predicted.ideal == pytest.approx(ideal, rel=1e-6)
    assert made.corrected.value == pytest.approx(ideal, abs=5 * made.estimate.standard_error)


def quadratic_hessian() -> np.ndarray:
    return HESSIAN.astype(np.float32).astype(float)


def test_step_and_length_keep_the_budget() -> None:
    made = local_learning_coefficient(quadratic(), batch_size=16, localization=1.0, max_error=0.2, progress=False)
    assert made.inverse_temperature == pytest.approx(N / math.log(N))
    assert made.bias == pytest.approx(0.1 * made.predicted.ideal, rel=1e-3)
    assert made.predicted.standard_error == pytest.approx(0.1 * made.predicted.ideal, rel=0.02)
    finer = local_learning_coefficient(
        quadratic(), batch_size=16, localization=1.0, max_error=0.1, num_steps=64, progress=False
    )
    assert finer.step_size < made.step_size


@pytest.mark.law
@pytest.mark.parametrize("localization", [1.0, 10.0])
def test_a_singular_point_agrees_with_quadrature(localization: float) -> None:
    problem = singular()
    made = local_learning_coefficient(
        problem, params=np.zeros(2), batch_size=64, localization=localization, max_error=0.03, num_steps=30_000,
        num_chains=32, progress=False,
    )  # fmt: skip
    grid = np.linspace(-8, 8, 1601) / math.sqrt(localization)
    first, second = np.meshgrid(grid, grid)
    loss = 0.5 * np.mean(np.float64(problem.data["x"]) ** 2) * (first * second) ** 2
    strength = 400 / math.log(400)
    weight = np.exp(-strength * loss - localization / 2 * (first**2 + second**2))
    truth = strength * float((loss * weight).sum() / weight.sum())
    assert truth < 0.4  # below ½ at this nβ and γ, far below the regular D/2 = 1
    assert made.estimate.standard_error < 0.03 * truth
    assert made.estimate.value == pytest.approx(truth, rel=0.12)
    assert not made.quadratic
    assert "not quadratic" in str(made)


def test_the_localised_loss_is_the_loss_and_a_spring() -> None:
    problem = gn.models.linear_regression(POINTS, POINTS[:, 0] ** 2, observation_scale=1.0, intercept=False)
    centre, away = np.array([0.1, -0.2]), np.array([0.7, 0.4])
    local = _localised(problem, centre, 3.0)
    spring = 1.5 * np.sum((away - centre) ** 2)
    assert gn.derivatives.loss(local, away) == pytest.approx(gn.derivatives.loss(problem, away) + spring, rel=1e-12)


BAD = [
    ({"localization": 0.0}, "localization must be > 0"),
    ({"localization": None}, r"localization must be given: .* 1\.0 suits parameters of order 1"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": 500, "sampling": "without_replacement"}, "batch_size must be <="),
    ({"sampling": "shuffled"}, "sampling must be one of"),
    ({"inverse_temperature": 16 / math.log(16)}, "m/ln m of the batch m = 16"),
    ({"inverse_temperature": -1.0}, "inverse_temperature must be > 0"),
    ({"step_size": 0.0}, "step_size must be > 0"),
    ({"step_size": 1.0}, "step_size must be below the stability edge"),
    ({"max_error": 1.5}, "max_error must lie in"),
    ({"max_error": 1e-5}, "max_error = 1e-05 needs"),
    ({"num_chains": 1}, "num_chains must be >= 2"),
    ({"num_steps": 3}, "num_steps must be >= 64"),
    ({"params": np.array([1.0, 0.0])}, "params must be a minimum, but the gradient"),
    ({"params": np.zeros(3)}, "params must have shape"),
    ({"key": 1.5}, "key"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_arguments_are_refused_before_anything_runs(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradnoise.infer.minima.learning_coefficient.simulate", lambda *a, **k: pytest.fail("it ran"))
    with pytest.raises((ValueError, TypeError), match=words):
        local_learning_coefficient(quadratic(), **{"batch_size": 16, "localization": 1.0, **change})


def test_a_saddle_is_refused() -> None:
    saddle = gn.Problem(lambda w, e: -0.5 * e * (w[0] ** 2 - w[1] ** 2), np.ones(5), np.zeros(2))
    with pytest.raises(ValueError, match="must be a minimum of the localised loss"):
        local_learning_coefficient(saddle, params=np.zeros(2), batch_size=2, localization=0.1)


def test_as_many_chains_as_parameters() -> None:
    found = local_learning_coefficient(
        quadratic(), batch_size=20, localization=1.0, num_chains=2, num_steps=64, progress=False
    )
    assert np.isfinite(found.estimate.value)
