"""Arguments are refused before the mode is looked for; verdicts name what fired."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import constant_sgd, corrected_langevin, gaussian, laplace, nuts, reference
from gradnoise.infer.posteriors.posterior import judge
from gradnoise.infer.samplers.nuts import judge_nuts


def problem(n: int = 60) -> gn.Problem:
    r = np.random.default_rng(0)
    x = r.normal(size=(n, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    return gn.models.logistic_regression(x, (x[:, 0] + r.normal(size=n) > 0).astype(float))


EVERY = [
    ({"num_draws": 0}, "num_draws"),
    ({"num_chains": 0}, "num_chains"),
    ({"num_chains": 1.5}, "num_chains"),
    ({"key": "zero"}, "key"),
]
RUN = [*EVERY, ({"thin": 0}, "thin"), ({"burn_in": -1}, "burn_in"), ({"at": "there"}, "at")]
TUNED = [
    *RUN,
    ({"preconditioner": "adam"}, "preconditioner"),
    ({"preconditioner": np.eye(5)}, "preconditioner must have shape"),
    ({"preconditioner": -np.eye(3)}, "preconditioner must be positive definite"),
    ({"preconditioner": "scalar", "target": "sandwich"}, "preconditioner must be 'full'"),
    ({"target": "prior"}, "target"),
    ({"target": np.eye(2)}, "target must have shape"),
    ({"time": "later"}, "time"),
]
CASES = [
    *((f, change, words) for f in (laplace, gaussian, reference, nuts) for change, words in EVERY),
    *((corrected_langevin, change, words) for change, words in RUN),
    *((constant_sgd, change, words) for change, words in TUNED),
    (nuts, {"num_chains": 1}, "num_chains must be >= 2"),
    (nuts, {"num_draws": 3}, "num_draws must be >= 4"),
    (reference, {"num_chains": 1}, "num_chains must be >= 2"),
]


@pytest.mark.parametrize(("function", "change", "words"), CASES)
def test_bad_arguments_are_refused_before_the_mode_is_looked_for(
    function: Any, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = problem()
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    common: dict[str, Any] = {}
    if function in (constant_sgd, corrected_langevin):
        common = {"batch_size": 8, "progress": False}
    if function is nuts:
        common = {"num_draws": 10, "num_chains": 2}
    with pytest.raises((ValueError, TypeError), match=words):
        function(made, **{**common, **change})


def test_an_unstable_continuous_optimum_speaks_of_what_was_passed() -> None:
    with pytest.raises(ValueError, match=r"time='continuous' gives a step [0-9.]+ times the stability edge") as caught:
        constant_sgd(problem(), batch_size=60, time="continuous", num_draws=2, progress=False)
    assert "learning_rate" not in str(caught.value)


@pytest.mark.parametrize(
    ("effective", "r_hat", "divergent", "level"),
    [
        (500.0, 1.002, 0, "trustworthy"),
        (99.0, 1.002, 0, "not trustworthy"),
        (500.0, 1.03, 0, "approximate"),
        (500.0, 1.2, 0, "not trustworthy"),
        (500.0, 1.002, 5, "approximate"),
        (500.0, 1.002, 50, "not trustworthy"),
        (500.0, float("nan"), 0, "not trustworthy"),
    ],
)
def test_nuts_is_judged(effective: float, r_hat: float, divergent: int, level: str) -> None:
    verdict = judge_nuts(4, 4, 500, effective, r_hat, divergent)
    assert verdict.level == level
    assert f"{divergent} divergent" in verdict.reasons[0]
    assert judge_nuts(30, 4, 500, 140.0, 1.001, 0).level == "not trustworthy"  # 5 a parameter


# slow: NUTS itself, which runs by default in tests/infer/test_posterior.py; what judges its draws is given ideal ones
@pytest.mark.parametrize("drawn", ["ideal", pytest.param("NUTS", marks=pytest.mark.slow)])
def test_a_few_nuts_draws_are_not_trustworthy(drawn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ideal(problem: Any, centre: Any, root: Any, keys: Any, start: Any, num_draws: int, aim: float) -> Any:
        r = np.random.default_rng(0)
        return r.standard_normal((len(start), num_draws, len(centre))), np.zeros(len(start), int)

    if drawn == "ideal":
        monkeypatch.setattr("gradnoise.infer.samplers.nuts._all_chains", ideal)
    made = nuts(problem(), num_draws=4, num_chains=2)
    assert made.verdict.level == "not trustworthy", made.verdict


H2 = np.array([[2.0, 0.3], [0.3, 0.5]])


@pytest.mark.parametrize(
    ("mean", "factor", "said", "unsaid"),
    [
        (np.array([0.5, 0.0]), 1.005, "the mean is 0.37 standard deviations", "variances"),
        (np.zeros(2), 1.4, "variances are 1.4 to 1.4 times", "the mean is"),
    ],
)
def test_the_reason_names_the_part_that_fired(mean: Any, factor: float, said: str, unsaid: str) -> None:
    law = (np.zeros(2), H2)
    verdict = judge(
        dim=2, noise_drift=1.0, drift_matters=False, simulated=(mean, factor * H2), predicted=law, target=law,
        effective_draws=1e5,
    )  # fmt: skip
    assert verdict.level == "not trustworthy"
    assert said in verdict.reasons[0]
    assert unsaid not in verdict.reasons[0]


@pytest.mark.parametrize(("draws", "chains"), [(1, 1), (1, 3), (3, 1)])
def test_too_few_states_to_judge_by_are_refused_before_the_run(
    draws: int, chains: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = gn.infer.plan("corrected_langevin", problem(), batch_size=20)
    assert len(plan.predicted_mean) == 3
    assert plan.run(num_draws=4, num_chains=2, thin=1, progress=False).draws.shape == (2, 4, 3)
    monkeypatch.setattr("gradnoise.infer.plans.plan.simulate", None)
    with pytest.raises(ValueError, match=r"num_draws must be larger: [13] steps .* no more than D = 3"):
        plan.run(num_draws=draws, num_chains=chains, thin=1, progress=False)


def test_all_data_at_once_without_replacement_have_no_noise_for_constant_sgd() -> None:
    with pytest.raises(
        ValueError, match=r"batch_size must be < num_examples = 60 without replacement.*corrected_langevin"
    ):
        constant_sgd(problem(), batch_size=60, sampling="without_replacement", progress=False)
