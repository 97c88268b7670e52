"""SGHMC on real data: predicted, corrected, tuned by memory; refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import plan, sghmc
from gradnoise.testing import assert_covariance, planted_defects

BUDGET = 0.05


def whitened(run: Any, covariance: np.ndarray) -> np.ndarray:
    return np.asarray(run.draws, float) @ np.linalg.inv(np.linalg.cholesky(covariance)).T


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 64},
        {"batch_size": 1000, "scheme": "OBABO", "mass": None},
        {"batch_size": 8, "control_variate": True},
    ],
    ids=["corrected", "large batch", "control variates"],
)
def test_it_samples_the_posterior_of_digits(change: dict[str, Any], known: Any) -> None:
    problem, mode, law = known("digits")
    made = sghmc(problem, num_draws=1500, num_chains=8, key=3, mode=mode, law=law, progress=False, **change)
    assert made.verdict.level == "trustworthy", str(made)
    np.testing.assert_allclose(made.predicted_covariance, law.covariance, rtol=1e-4, atol=1e-12)
    floor = gn.diagnose.kl_floor(problem.num_params, made.effective_draws, fitted_mean=True)
    off = gn.theory.gaussian_kl(made.covariance, law.covariance, made.mean, law.mean) - floor
    assert off < 3 * floor + 0.005 * problem.num_params  # digits' posterior is not quite Gaussian
    assert gn.theory.gaussian_kl(made.covariance, 1.3 * law.covariance, made.mean, law.mean) - floor > 0.03


@pytest.mark.law
def test_prediction_against_simulation_on_wine(known: Any) -> None:
    """Least squares at fixed step and friction, uncorrected and too wide: many chains against the prediction."""
    problem, mode, law = known("wine")
    made = plan(
        "sghmc", problem, batch_size=500, scheme="UBU", step_size=0.5, friction=1.0, corrected=False, mode=mode, law=law
    )
    assert made.worst_variance_error > 0.5
    at_posterior = gn.theory.kinetic_chain(
        law.hessian, law.gradient_covariance, step_size=0.5, friction=1.0, num_examples=problem.num_examples,
        batch_size=500, scheme="UBU", mass=law.hessian,
    ).covariance  # fmt: skip
    run = made.run(num_draws=10, num_chains=4096, thin=6, progress=False).run
    root = np.linalg.cholesky(made.predicted_covariance)
    shrunk = np.asarray(run.draws, float) - made.predicted_mean
    check = {"mean": np.zeros(problem.num_params), "detects": 0.08}
    planted_defects(
        lambda predicted: assert_covariance(shrunk, predicted, **check),
        root @ root.T,
        {
            "the posterior": law.covariance,
            "noise of the posterior": at_posterior,
            "noise x 1.1": 1.1 * made.predicted_covariance,
        },
    )


def test_tuning_beats_the_budget_and_reports_it(known: Any) -> None:
    problem, mode, law = known("digits")
    common: dict[str, Any] = {"mode": mode, "law": law}
    plain = plan("sghmc", problem, batch_size=500, corrected=False, **common)
    assert 0.95 * BUDGET < plain.worst_variance_error < 1.002 * BUDGET  # the noise averaged over its own law
    better = plan("sghmc", problem, batch_size=500, **common)
    assert better.worst_variance_error < 1e-5
    assert better.iact < 0.4 * plain.iact
    assert "expected trustworthy" in str(better)
    loose = plan("sghmc", problem, batch_size=500, corrected=False, max_variance_error=0.2, **common)
    assert loose.iact < 0.5 * plain.iact
    overdamped = plan("corrected_langevin", problem, batch_size=500, fraction=0.5, **common)
    assert better.iact < overdamped.iact
    anchored = plan("sghmc", problem, batch_size=32, control_variate=True, **common)
    assert anchored.iact < 0.2 * plan("sghmc", problem, batch_size=64, **common).iact  # at the same cost a step


CASES = [
    ({"batch_size": 0}, "batch_size"),
    ({"sampling": "shuffled"}, "velocity remembers the batches"),
    ({"scheme": "leapfrog"}, "scheme must be"),
    ({"scheme": "BABAO"}, "one position a step"),
    ({"step_size": -1.0}, "step_size must be > 0"),
    ({"friction": 0}, "friction must be > 0"),
    ({"mass": "identity"}, "mass must be one of 'curvature'"),
    ({"mass": np.eye(2)}, "mass must have shape"),
    ({"corrected": "yes"}, "corrected must be True or False"),
    ({"control_variate": 1}, "control_variate must be True or False"),
    ({"max_variance_error": 0}, "max_variance_error must be > 0"),
    ({"max_noise_share": 1.5}, "max_noise_share must lie in"),
    ({"at": "there"}, "at must be one of"),
    ({"num_draws": 0}, "num_draws"),
    ({"thin": 0}, "thin"),
]


@pytest.mark.parametrize(("change", "words"), CASES)
def test_bad_arguments_before_the_mode_is_looked_for(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(60, 2))
    problem = gn.models.logistic_regression(x, (x[:, 0] > 0).astype(float))
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    with pytest.raises((ValueError, TypeError), match=words):
        sghmc(problem, **{"batch_size": 8, "progress": False, **change})


def test_settings_that_cannot_be_are_refused_with_numbers(known: Any) -> None:
    problem, mode, law = known("digits")
    common: dict[str, Any] = {"batch_size": 32, "mode": mode, "law": law}
    with pytest.raises(ValueError, match=r"step_size must be at most [0-9.]+ for friction 1"):
        plan("sghmc", problem, step_size=1.0, friction=1.0, **common)
    with pytest.raises(ValueError, match=r"step_size must be below 2"):
        plan("sghmc", problem, step_size=2.5, friction=1.0, corrected=False, **common)
    with pytest.raises(ValueError, match="step_size must be smaller or None, got 1"):
        plan("sghmc", problem, step_size=1.0, corrected=False, **common)
