"""The one call: the choice is the cheapest within the budget, is explained, and keeps what it promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import choose, plan, sample


def test_the_cheapest_within_the_budget_is_chosen(known: Any) -> None:
    problem, mode, law = known("breast cancer")
    found = choose(problem, mode=mode, law=law, batch_size=32, methods=["corrected_langevin", "constant_sgd"])
    within = [c for c in found.candidates if c.error <= 0.05]
    assert found.best.cost == min(c.cost for c in within)
    assert found.best.method == "corrected_langevin"
    assert {c.method for c in found.candidates if c.error > 0.05} == {"corrected_langevin", "constant_sgd"}
    assert "cheapest of" in found.reason
    assert "constant_sgd" not in found.reason
    assert "constant_sgd" in str(found)
    loose = choose(problem, mode=mode, law=law, batch_size=32, max_variance_error=0.2, methods=["corrected_langevin"])
    tight = choose(problem, mode=mode, law=law, batch_size=32, max_variance_error=0.005, methods=["corrected_langevin"])
    assert loose.best.settings["fraction"] > found.best.settings["fraction"] > tight.best.settings["fraction"]
    assert loose.best.cost < found.best.cost < tight.best.cost


def test_constant_noise_makes_constant_sgd_the_cheapest(known: Any) -> None:
    """Nothing linear beats tuned constant SGD's memory, and it needs no injected noise (recent.md §2.2)."""
    problem, mode, law = known("wine")
    found = choose(problem, mode=mode, law=law, methods=["corrected_langevin", "constant_sgd"])
    assert found.best.method == "constant_sgd"
    assert found.best.settings["preconditioner"] == "full"


def test_sample_keeps_its_promise(known: Any, nuts_fit: Any) -> None:
    problem, mode, law = known("breast cancer")
    mean, covariance, n = nuts_fit
    made = sample(problem, mode=mode, law=law, batch_size=128, num_draws=2500, progress=False)
    assert made.verdict.level == "trustworthy"
    assert made.verdict.reasons[0].startswith(("Chosen: corrected_langevin", "Chosen: sghmc"))  # nearly the same cost
    assert made.settings["choice"] in made.verdict.reasons[0]
    dim = problem.num_params
    floor = gn.diagnose.kl_floor(dim, made.effective_draws, fitted_mean=True) + gn.diagnose.kl_floor(dim, n)
    assert gn.theory.gaussian_kl(made.covariance, covariance, made.mean, mean) < 2 * floor + 0.1
    assert made.plan is not None
    assert made.plan.expected_error <= 0.05


def test_no_setting_within_the_budget_is_said_with_the_closest(known: Any) -> None:
    problem, mode, law = known("wine")
    with pytest.raises(
        ValueError, match=r"max_variance_error = 1e-09 cannot be met.*Closest: constant_sgd\(preconditioner=full"
    ):
        choose(problem, mode=mode, law=law, methods=["constant_sgd"], max_variance_error=1e-9)


@pytest.mark.parametrize("case", ["fewer examples than parameters", "a dead column", "no noise at all"])
def test_directions_without_noise_leave_samplers_that_bring_their_own(case: str) -> None:
    r = np.random.default_rng(0)
    x = {
        "fewer examples than parameters": r.normal(size=(8, 20)),
        "a dead column": np.c_[r.normal(size=100), np.zeros(100)],
        "no noise at all": np.ones((100, 1)),
    }[case]
    y = np.ones(len(x)) if case == "no noise at all" else r.normal(size=len(x))
    problem = gn.models.linear_regression(x, y, prior_scale=1.0, observation_scale=1.0, intercept=False)
    found = choose(problem)
    assert found.best.method == "corrected_langevin"
    reasons = {c.reason for c in found.candidates if c.method == "constant_sgd"}
    assert all("no gradient noise" in reason for reason in reasons), reasons


def test_a_fault_of_ours_is_no_reason_to_pass_over_a_candidate(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, mode, law = known("wine")

    def broken(method: str, *_: Any, **__: Any) -> Any:
        raise ValueError("matrix is not what it should be")

    monkeypatch.setattr("gradnoise.infer.choice.plan", broken)
    with pytest.raises(ValueError, match="not what it should be"):
        choose(problem, mode=mode, law=law)


def test_shuffled_batches_drop_methods_with_their_reason(known: Any) -> None:
    problem, mode, law = known("wine")
    with pytest.raises(ValueError, match=r"cannot be met.*within an epoch the noise") as caught:
        choose(problem, mode=mode, law=law, batch_size=32, methods=["constant_sgd"], sampling="shuffled")
    assert ".." not in str(caught.value)


def test_noise_sensitivity_ranks_the_error_against_nuts(known: Any, nuts_fit: Any) -> None:
    """Expected and measured errors agree in order, and for constant SGD in size."""
    problem, mode, law = known("breast cancer")
    _, covariance, _ = nuts_fit
    expected, measured = [], []
    for method in ("corrected_langevin", "constant_sgd"):
        tuned = plan(method, problem, batch_size=32, mode=mode, law=law)
        made = tuned.run(num_draws=2000, num_chains=16, progress=False)
        expected.append(tuned.expected_error)
        measured.append(np.abs(gn.theory.variance_errors(made.covariance, covariance)).max())
    assert expected[0] < 0.05
    assert measured[0] < 0.25  # the Gaussian law itself is 0.27 off in one direction
    assert 0.5 < expected[1] / measured[1] < 2
    assert measured[1] > 2 * measured[0]


def test_noise_sensitivity_is_the_share_of_the_noise_that_drifts(known: Any) -> None:
    """The law is linear in C at one step: halving the noise beyond that at the mode halves what it would move by."""
    problem, mode, law = known("digits")
    tuned = plan("constant_sgd", problem, batch_size=64, mode=mode, law=law)
    chain = tuned.process.linear(law.hessian, law.gradient_covariance, problem.num_examples)
    at_mode = tuned.process.linear(law.hessian, law.mode_gradient_covariance, problem.num_examples)
    moved = np.linalg.eigvals(np.linalg.solve(chain.covariance, chain.covariance - at_mode.covariance)).real
    assert tuned.noise_sensitivity == pytest.approx(np.abs(moved).max())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_variance_error": 0.0}, "max_variance_error must be"),
        ({"methods": "constant_sgd"}, "methods must be a list"),
        ({"methods": []}, "methods must be a list"),
        ({"methods": ["nuts"]}, "methods must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"num_draws": 0}, "num_draws must be"),
        ({"sampling": "bootstrap"}, "^sampling must be one of"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], match: str, known: Any) -> None:
    problem, mode, law = known("wine")
    with pytest.raises((TypeError, ValueError), match=match):
        sample(problem, mode=mode, law=law, progress=False, **settings)
