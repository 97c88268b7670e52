"""infer.langevin: the predicted bias is the simulated one, budgets choose steps, plain words, falling steps, bad input."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import Refused, langevin, plan
from gradnoise.processes import Decreasing
from gradnoise.testing import assert_covariance, planted_defects

N, D, B = 300, 3, 10


def toy() -> Any:
    """Noise that depends on the inputs, so that C and H do not commute, and grows with the distance from the mode."""
    r = np.random.default_rng(5)
    x = r.normal(size=(N, D)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.6, -0.3], [0.2, 0.0, 0.8]])
    y = x @ [1.0, -0.5, 0.3] + (0.4 + np.abs(x[:, 0])) * r.normal(size=N)
    return gn.models.linear_regression(x, y, prior_scale=1.0, observation_scale=1.0, intercept=False)


@pytest.fixture(scope="module")
def ready() -> dict[str, Any]:
    problem = toy()
    mode = gn.find_mode(problem)
    return {"problem": problem, "mode": mode, "law": gn.measure.gaussian_law(problem, mode)}


P = np.array([[0.5, 0.1, 0.0], [0.1, 0.9, 0.2], [0.0, 0.2, 1.4]])
CASES: dict[str, dict[str, Any]] = {
    "identity, large noise": {"step_size": 1.5e-3, "batch_size": 2},
    "curvature": {"step_size": 0.2, "preconditioner": "curvature"},
    "matrix, subsets": {"step_size": 1e-3, "preconditioner": P, "sampling": "without_replacement"},
    "shuffled": {"step_size": 1.5e-3, "sampling": "shuffled"},
}


# slow: the curvature is one matrix among others ("matrix, subsets"); a run with it is judged in test_a_right_plan_is_trustworthy
@pytest.mark.law
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "curvature" else n for n in CASES])
def test_the_law_that_is_predicted_is_simulated(name: str, ready: dict[str, Any]) -> None:
    settings = {"batch_size": B, **CASES[name]}
    made = plan("langevin", **ready, **settings)
    run = made.run(num_draws=28, num_chains=1408, key=3, progress=False)
    law, posterior = made.predicted_covariance, ready["law"].covariance
    defects = {"noise x 1.08": 1.08 * law, "no bias": posterior}
    if name in ("identity, large noise", "shuffled"):
        defects["noise of the posterior, independent batches"] = gn.theory.langevin_covariance(
            ready["law"].hessian, ready["law"].gradient_covariance, step_size=settings["step_size"], num_examples=N,
            batch_size=settings["batch_size"],
        )  # fmt: skip
    planted_defects(
        lambda p: assert_covariance(run.draws, p, mean=made.predicted_mean, false_fail=1e-6, detects=0.08), law, defects
    )
    assert run.verdict.level == "approximate"
    assert made.worst_variance_error > 0.3


def test_epochs_have_less_bias_and_no_more_memory(ready: dict[str, Any]) -> None:
    independent, epochs = (
        plan("langevin", batch_size=B, step_size=1e-3, sampling=s, **ready) for s in ("with_replacement", "shuffled")
    )
    assert 0 < epochs.worst_variance_error < 0.9 * independent.worst_variance_error
    assert epochs.iact < 1.1 * independent.iact
    assert np.gcd(epochs.length(1).thin, N // B) == 1


@pytest.mark.parametrize("budget", [0.05, 0.3])
@pytest.mark.parametrize("settings", [{}, {"preconditioner": "curvature"}, {"sampling": "shuffled"}])
def test_the_step_is_the_largest_within_the_budget(
    budget: float, settings: dict[str, Any], ready: dict[str, Any]
) -> None:
    made = plan("langevin", batch_size=B, max_variance_error=budget, **settings, **ready)
    assert 0.9 * budget < made.worst_variance_error <= budget * (1 + 1e-6)
    larger = plan("langevin", batch_size=B, step_size=1.15 * made.settings["step_size"], **settings, **ready)
    assert larger.worst_variance_error > budget


def test_no_gain_is_said(ready: dict[str, Any]) -> None:
    said = str(plan("langevin", batch_size=B, **ready))
    found = re.search(r"it takes ([\d,]+) steps for an independent draw; corrected Langevin takes ([\d,]+)", said)
    assert found, said
    ours, theirs = (float(group.replace(",", "")) for group in found.groups())
    corrected = plan("corrected_langevin", batch_size=B, **ready)
    assert theirs == pytest.approx(corrected.iact, rel=0.02, abs=1)
    assert ours > 2 * theirs


def test_the_bias_is_told_in_plain_words(ready: dict[str, Any]) -> None:
    made = plan("langevin", batch_size=B, step_size=1.5e-3, **ready)
    found = re.search(
        r"SGLD at this step on this data will be ([\d.]+) times too wide in its widest direction "
        r"\(minibatch noise adds ([\d.]+), the step ([\d.]+)\)",
        str(made),
    )
    assert found, str(made)
    whole, noise, step = map(float, found.groups())
    assert whole == pytest.approx(1 + made.variance_errors[-1], rel=0.01)
    assert noise + step == pytest.approx(whole - 1, rel=0.03)
    full = plan("langevin", batch_size=N, sampling="without_replacement", step_size=1.5e-3, **ready)
    assert "minibatch noise adds 0, the step" in str(full)


@pytest.mark.slow
@pytest.mark.law
def test_falling_steps(ready: dict[str, Any]) -> None:
    schedule = Decreasing(offset=30, power=0.6)
    made = plan("langevin", batch_size=B, step_size=2e-3, schedule=schedule, **ready)
    run = made.run(num_draws=30, num_chains=1280, key=8, progress=False)
    told = run.plan
    constant = plan("langevin", batch_size=B, step_size=2e-3, **ready)
    planted_defects(
        lambda p: assert_covariance(run.draws, p, mean=told.predicted_mean, false_fail=1e-7, detects=0.08),
        told.predicted_covariance,
        {"the first step for ever": constant.predicted_covariance, "noise x 1.08": 1.08 * told.predicted_covariance},
    )
    weights = run.settings["weights"]
    assert weights.shape == (30,)
    assert np.all(np.diff(weights) < 0)
    assert weights.sum() == pytest.approx(1)
    gap = np.asarray(run.draws, float) - told.predicted_mean
    weighted = np.einsum("cti,ctj,t->ij", gap, gap, weights) / len(gap)
    np.testing.assert_allclose(weighted, run.settings["step_weighted_covariance"], rtol=0.06, atol=5e-5)
    assert gn.theory.variance_errors(run.settings["step_weighted_covariance"], told.predicted_covariance)[0] > 0
    assert "falling steps on this data will be" in str(told)


def test_falling_steps_that_fall_too_fast_are_refused(ready: dict[str, Any]) -> None:
    made = plan("langevin", batch_size=B, step_size=1e-3, schedule=Decreasing(100, 1.0), **ready)
    with pytest.raises(ValueError, match=r"num_draws must be at most [\d,]+ with these falling steps, got 1,000"):
        made.length(1000)
    assert made.length(2, thin=10).thin == 10
    with pytest.raises(ValueError, match="schedule must fall more slowly"):
        plan("langevin", batch_size=B, step_size=1e-3, schedule=Decreasing(5, 1.0), **ready)


def test_noise_that_outgrows_its_own_law_is_refused() -> None:
    r = np.random.default_rng(1)
    x = r.uniform(0.5, 1.5, 40)
    x[0] += 8.0
    y = x + r.normal(size=40)
    problem = gn.models.linear_regression(x[:, None], y, prior_scale=np.inf, observation_scale=1.0, intercept=False)
    step = 2 / 40 * 0.5 / np.mean(x**2)  # a quarter of the edge of the mean
    with pytest.raises(ValueError, match="step_size must be smaller: averaged over the law that it makes"):
        plan("langevin", problem, batch_size=1, step_size=step)


def test_a_right_plan_is_trustworthy(ready: dict[str, Any]) -> None:
    made = langevin(batch_size=B, preconditioner="curvature", num_draws=60, num_chains=16, progress=False, **ready)
    assert made.verdict.level == "trustworthy", made.verdict
    assert made.settings["preconditioner"] == "curvature"


BAD = [
    ({"batch_size": 0}, "batch_size must be >= 1"),
    ({"batch_size": 301, "sampling": "shuffled"}, "batch_size must be <= num_examples"),
    ({"step_size": 0}, "step_size must be > 0"),
    ({"step_size": "large"}, "step_size must be a finite number"),
    ({"max_variance_error": -0.1}, "max_variance_error must be > 0"),
    ({"preconditioner": "adam"}, "preconditioner must be one of 'curvature'"),
    ({"preconditioner": np.eye(2)}, "preconditioner must have shape"),
    ({"preconditioner": -np.eye(3)}, "preconditioner must be positive definite"),
    ({"schedule": "cosine"}, "schedule must be one of 'constant'"),
    ({"schedule": 3}, "schedule must be a processes.Decreasing"),
    ({"schedule": Decreasing(1, 2)}, "schedule's power must lie in"),
    ({"schedule": Decreasing(1, 0.5), "sampling": "shuffled"}, "sampling must be .* with a falling schedule"),
    ({"sampling": "bootstrap"}, "sampling must be one of"),
    ({"num_draws": 0}, "num_draws must be >= 1"),
    ({"num_chains": 0}, "num_chains must be >= 1"),
    ({"thin": 0}, "thin must be >= 1"),
    ({"burn_in": -1}, "burn_in must be >= 0"),
    ({"key": "zero"}, "key must be an int"),
    ({"at": "there"}, "at must be one of"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_arguments_are_refused_before_the_mode_is_looked_for(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = toy()
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    with pytest.raises((ValueError, TypeError), match=words):
        langevin(made, **{"batch_size": B, "progress": False, **change})


def test_a_step_beyond_the_edge_is_refused(ready: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"step_size must be below the stability edge 0\.01\d+, got 0\.1"):
        plan("langevin", batch_size=B, step_size=0.1, **ready)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"preconditioner": "curvature", "sampling": "shuffled"}, {"max_variance_error": 0.5}, {}]
)
def test_a_step_without_a_stationary_law_is_too_large_not_the_end(settings: dict[str, Any], known: Any) -> None:
    """Breast cancer: the first step of the search has no law; the errors that count are those of the plan, mean and noise too."""
    problem, mode, law = known("breast cancer")
    budget = settings.get("max_variance_error", 0.05)
    made = plan("langevin", problem, batch_size=32, mode=mode, law=law, **settings)
    assert 0.8 * budget < max(made.expected_error, made.worst_variance_error) <= budget


def test_a_step_that_the_budget_chose_is_within_it_for_a_choice(known: Any) -> None:
    problem, mode, law = known("breast cancer")
    found = gn.infer.choose(problem, methods=["langevin"], batch_size=128, mode=mode, law=law)
    assert found.best.error <= 0.05


@pytest.mark.law
def test_small_epochs_are_warned_of_with_their_size() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(12, 2))
    problem = gn.models.linear_regression(x, x @ r.normal(size=2) + r.normal(size=12), 1.0, 1.0, intercept=False)
    settings = {"batch_size": 1, "preconditioner": "curvature", "step_size": 0.04, "sampling": "shuffled"}
    made = plan("langevin", problem, **settings)
    assert "0.88 to 1.08 times the predicted ones" in str(made)
    draws = np.asarray(made.run(num_draws=100, num_chains=192, progress=False).draws, float).reshape(-1, 2)
    ratios = 1 + gn.theory.variance_errors(np.cov(draws.T), made.predicted_covariance)
    assert 0.88 < ratios[0] < 0.97
    assert "Epochs this small" not in str(plan("langevin", toy(), **{**settings, "batch_size": 10}))
