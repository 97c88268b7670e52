"""Noise re-estimated while the sampler runs: it cures values at the mode, changes nothing where noise is constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import plan
from gradnoise.theory import gaussian_kl


def kl(made: Any, mean: np.ndarray, covariance: np.ndarray) -> float:
    return gaussian_kl(made.covariance, covariance, made.mean, mean)


def test_values_at_the_mode_are_cured_where_noise_drifts(known: Any, nuts_fit: Any) -> None:
    problem, mode, law = known("breast cancer")
    mean, covariance, _ = nuts_fit
    common: dict[str, Any] = {"batch_size": 32, "mode": mode, "law": law}
    fixed = plan("constant_sgd", problem, at="mode", **common)
    adapted = plan("constant_sgd", problem, at="mode", adapt=True, **common)
    assert adapted.settings["noise_settled"]
    marks = [step for step, _ in adapted.settings["noise_marks"]]
    assert marks == [marks[0] * 2**k for k in range(len(marks))]
    off = [kl(p.run(num_draws=400, progress=False), mean, covariance) for p in (fixed, adapted)]
    assert off[0] > 100
    assert off[1] < 5  # mean and target are still the mode's: 1.05 of it is Laplace's own distance
    averaged = plan("constant_sgd", problem, adapt=True, **common).run(num_draws=1000, progress=False)
    assert kl(averaged, mean, covariance) < 0.6


def test_prediction_holds_after_adaptation_and_not_before() -> None:
    """Least squares with few rows: noise at the mode is half of that over the sampler's own law."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 3)) * [1.0, 0.7, 0.5]
    problem = gn.models.linear_regression(
        x, x @ [1.0, -1.0, 0.5] + 0.3 * rng.standard_normal(60), observation_scale=1.0, intercept=False
    )
    step = 0.35 * np.eye(3)
    common: dict[str, Any] = {"batch_size": 2, "preconditioner": step, "at": "mode"}
    shown = []
    for adapt in (False, True):
        tuned = plan("constant_sgd", problem, adapt=adapt, **common)
        run = tuned.run(num_draws=400, num_chains=256, key=5, progress=False)
        shown.append(gaussian_kl(run.run.covariance, tuned.predicted_covariance))
    # 100 000 draws: floor 3·4/(4·1e5) = 3e-5; the rule stops within 0.0005 nats a parameter of where it goes
    assert shown[0] > 0.05
    assert shown[1] < 0.004


def test_corrected_langevin_adapts_too(known: Any) -> None:
    problem, mode, law = known("wine")
    common: dict[str, Any] = {"batch_size": 64, "mode": mode, "law": law}
    before, after = (plan("corrected_langevin", problem, adapt=adapt, **common) for adapt in (False, True))
    assert after.settings["noise_settled"]
    assert len(after.settings["noise_marks"]) == 1  # constant noise: the first prediction stands
    assert gaussian_kl(after.predicted_covariance, before.predicted_covariance) < 1e-3


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_adapt_is_a_flag(value: Any, known: Any) -> None:
    problem, mode, law = known("wine")
    with pytest.raises((TypeError, ValueError), match="adapt must be"):
        plan("constant_sgd", problem, batch_size=64, mode=mode, law=law, adapt=value)


def test_as_many_parameters_as_chains() -> None:
    """Restarted from 64 states of 64 parameters, which are no covariance; noise that drifts, so that there is a second mark."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 64))
    problem = gn.models.linear_regression(
        x, x @ rng.standard_normal(64) / 8 + 0.3 * rng.standard_normal(300), observation_scale=1.0, intercept=False
    )
    made = plan("constant_sgd", problem, batch_size=20, preconditioner=0.05 * np.eye(64), at="mode", adapt=True)
    assert len(made.settings["noise_marks"]) > 1
