"""infer.fisher_scoring: the predicted law is the simulated one, full is the posterior, its twin is constant SGD, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import fisher_scoring, plan
from gradnoise.testing import assert_covariance, planted_defects

N, D, B = 300, 3, 10
E = np.array([[0.02, 0.005, 0.0], [0.005, 0.03, -0.01], [0.0, -0.01, 0.05]])


def toy() -> Any:
    r = np.random.default_rng(5)
    x = r.normal(size=(N, D)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.6, -0.3], [0.2, 0.0, 0.8]])
    y = x @ [1.0, -0.5, 0.3] + (0.4 + np.abs(x[:, 0])) * r.normal(size=N)
    return gn.models.linear_regression(x, y, prior_scale=1.0, observation_scale=1.0, intercept=False)


@pytest.fixture(scope="module")
def ready() -> dict[str, Any]:
    problem = toy()
    mode = gn.find_mode(problem)
    return {"problem": problem, "mode": mode, "law": gn.measure.gaussian_law(problem, mode)}


CASES: dict[str, dict[str, Any]] = {
    "full": {"step_size": 0.1, "injected": E},
    "diagonal": {"kind": "diagonal", "step_size": 0.1, "injected": E},
    "diagonal_closed, subsets": {"kind": "diagonal_closed", "sampling": "without_replacement"},
    "scalar": {"kind": "scalar"},
}


# slow: the law of any kind is that of its matrix and its injected noise, here a full one with it and a diagonal one without;
# test_kinds_are_ordered_and_no_injection_is_constant_sgd has all four
@pytest.mark.law
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ("diagonal", "scalar") else n for n in CASES]
)
def test_the_law_that_is_predicted_is_simulated(name: str, ready: dict[str, Any]) -> None:
    made = plan("fisher_scoring", batch_size=B, **ready, **CASES[name])
    run = made.run(num_draws=28, num_chains=1280, key=3, progress=False)
    h, c, update = ready["law"].hessian, ready["law"].gradient_covariance, made.process
    of = {"learning_rate": 1.0, "batch_size": B, "preconditioner": update.learning_rate * update.preconditioner}
    without = gn.theory.linear_chain(h, c, **of).covariance
    law = made.predicted_covariance
    defects = {"noise x 1.08": 1.08 * law}
    if "injected" in CASES[name]:
        defects["injected noise forgotten"] = without
    planted_defects(
        lambda p: assert_covariance(run.draws, p, mean=made.predicted_mean, false_fail=1e-7, detects=0.08), law, defects
    )
    full = CASES[name].get("kind", "full") == "full"
    assert run.verdict.level == ("trustworthy" if full else "approximate"), run.verdict
    assert (made.worst_variance_error < 1e-6) == full


def test_kinds_are_ordered_and_no_injection_is_constant_sgd(ready: dict[str, Any]) -> None:
    kl = {
        kind: plan("fisher_scoring", batch_size=B, at="mode", kind=kind, injected=0 * E, **ready).kl_to_target
        for kind in ("full", "diagonal", "diagonal_closed", "scalar")
    }
    assert kl["full"] < 1e-3 < kl["diagonal"] <= kl["diagonal_closed"]
    for kind, value in kl.items():
        twin = plan("constant_sgd", batch_size=B, at="mode", preconditioner=kind, **ready)
        assert value == pytest.approx(twin.kl_to_target, rel=1e-4, abs=1e-9), kind


BAD = [
    ({"batch_size": 0}, "batch_size must be >= 1"),
    ({"sampling": "shuffled"}, "sampling must be .* got 'shuffled'"),
    ({"sampling": "bootstrap"}, "sampling must be one of"),
    ({"kind": "adam"}, "kind must be one of"),
    ({"step_size": -1}, "step_size must be > 0"),
    ({"injected": np.eye(2)}, "injected must have shape"),
    ({"injected": -np.eye(3)}, "injected must have no negative eigenvalue"),
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
        fisher_scoring(made, **{"batch_size": B, "progress": False, **change})


def test_an_unstable_step_names_what_was_passed() -> None:
    r = np.random.default_rng(5)
    x = r.normal(size=(N, D)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.6, -0.3], [0.2, 0.0, 0.8]])
    quiet = gn.models.linear_regression(
        x, x @ [1.0, -0.5, 0.3] + 0.1 * r.normal(size=N), observation_scale=1.0, intercept=False
    )
    with pytest.raises(ValueError, match=r"kind='diagonal_closed' gives a step [\d.]+ times the stability edge"):
        plan("fisher_scoring", quiet, kind="diagonal_closed", batch_size=N)


def test_a_batch_with_next_to_no_noise_is_refused_in_words() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(300, 2))
    problem = gn.models.linear_regression(x, x @ [1.0, -1.0] + r.normal(size=300), 1.0, 1.0, intercept=False)
    with pytest.raises(ValueError, match="batch_size must be smaller"):  # no memory holds it, and no chain would move
        plan("fisher_scoring", problem, batch_size=10**19)
