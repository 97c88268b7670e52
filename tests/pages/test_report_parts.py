"""Parts of a report: the law averaged over itself, run lengths, verdicts from numbers, plain data, stages."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from gradnoise import datasets, find_mode, measure, models
from gradnoise.pages import predictions, stationary, verdicts
from gradnoise.pages.bars import Stages
from gradnoise.pages.budget import Budget, step_seconds
from gradnoise.pages.plain import plain, write_json
from gradnoise.pages.subject import subject_of


def line(tail=0.0, n=40):
    """One coefficient, flat prior: gradients a_n θ - b_n with a_n = x_n²; `tail` makes one input large."""
    rng = np.random.default_rng(1)
    x, noise = rng.uniform(0.5, 1.5, n), rng.standard_normal(n)
    x[0] += tail
    return models.linear_regression(
        x[:, None], x + noise, prior_scale=np.inf, observation_scale=1.0, intercept=False
    ), x


def test_a_default_learning_rate_is_halved_until_there_is_a_law_and_a_chosen_one_is_not():
    problem, _ = line(tail=8.0)
    local = measure.local_geometry(problem, find_mode(problem))
    default = predictions.choose_settings(local.hessian, None, 1, 0.0)
    settings, law = predictions.settled(problem, local, default)
    assert law is not None
    assert settings.learning_rate < default.learning_rate
    assert "does not settle" in settings.chosen
    chosen = predictions.choose_settings(local.hessian, default.learning_rate, 1, 0.0)
    assert predictions.settled(problem, local, chosen) == (chosen, None)


def predicted(relaxation, quadratic_time):
    one = np.ones(2)
    return predictions.Predictions(
        one, one, one, one, one, np.eye(2), np.eye(2), np.array([1.0, relaxation]), np.array([1.0, quadratic_time])
    )


def test_lengths_follow_from_times_and_whole_epochs():
    length = stationary.plan(predicted(100.0, 100.0), 10**9, None, 153)
    assert length.num_chains == 64
    assert length.burn_in == 500
    assert (length.num_steps - length.burn_in) % 153 == 0
    assert 64 * (length.num_steps - length.burn_in) >= 2 * 100 / 0.03**2
    slow = stationary.plan(predicted(1e5, 1e5), 10**6, None, 1)  # forgetting does not fit
    assert slow.num_chains == 16
    assert slow.burn_in < 1e5
    assert slow.num_chains * slow.num_steps < 1.1e6
    assert stationary.plan(predicted(10.0, 10.0), 10**6, 7, 1).num_chains == 7


def section(**changes):
    base = {
        "directions": [{}, {}], "num_diverged": 0, "num_chains": 64, "worst_ratio": 1.02, "mean_ratio": 1.0, "num_compared": 2, "num_silent": 0,
        "worst_relative_error": 0.03, "worst_z": 0.7, "compared_with": "averaged", "mode_worst_ratio": 1.0, "mode_mean_ratio": 1.0,
    }  # fmt: skip
    return {**base, **{f"shuffled_{k}": v for k, v in base.items() if k != "directions"}, **changes}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, "good", "is as predicted"),
        ({"worst_ratio": 1.3, "worst_z": 9.0}, "warn", "near the prediction"),
        ({"worst_ratio": 1.12, "worst_z": 1.9, "worst_relative_error": 0.08}, "good", "is as predicted"),
        ({"worst_ratio": 12.0, "worst_z": 90.0}, "bad", "is not as predicted"),
        ({"worst_ratio": 900.0, "worst_z": 1.1, "worst_relative_error": 700.0}, "bad", "do not settle"),
        ({"num_diverged": 3}, "bad", "3 of 64 chains diverged"),
        ({"worst_ratio": None, "num_compared": 0}, "info", "untested"),
        ({"num_compared": 1, "num_silent": 1}, "good", "In 1 direction no example adds noise"),
        (
            {"shuffled_worst_ratio": None, "shuffled_num_compared": 0, "shuffled_num_silent": 2},
            "info",
            "there is no noise",
        ),
        ({"num_compared": 1}, "good", "1 of 2 directions is too slow"),
        (
            {"shuffled_worst_ratio": 3.0, "shuffled_worst_z": 50.0},
            "bad",
            "With shuffled epochs the simulated law is not",
        ),
        ({"mode_worst_ratio": 2.5, "mode_mean_ratio": 1.4}, "good", "values at the mode alone"),
    ],
)
def test_the_verdict_follows_from_the_numbers(changes, level, words):
    found = verdicts.verdict(section(**changes))
    assert found["level"] == level
    assert words in found["text"]
    assert "trustworthy" not in found["text"]


def test_plain_data_has_no_nan(tmp_path):
    value = {"a": np.array([1.0, np.nan]), "b": (np.float32(2), np.int64(3), np.bool_(True)), "c": float("inf")}
    assert plain(value) == {"a": [1.0, None], "b": [2.0, 3, True], "c": None}
    write_json(tmp_path / "x.json", plain(value))
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "y.json", copy.deepcopy(value) | {"a": float("nan"), "b": 1})


def test_time_buys_steps_in_proportion():
    problem, _ = line()
    assert Budget(20.0).steps("corrected", problem, 8) == pytest.approx(
        2 * Budget(10.0).steps("corrected", problem, 8), rel=1e-6
    )
    assert step_seconds(problem, 64) > step_seconds(problem, 8)
    assert step_seconds(problem, 8, shuffled=True) > step_seconds(problem, 8)


def test_stages_are_timed_also_when_they_fail():
    with Stages(("one", "two"), show=True) as stages:
        with stages.stage("one", 2) as part:
            part("first")(3, 10)
            part("second")(10, 10)

        def fails():
            with stages.stage("two"):
                msg = "broken"
                raise ValueError(msg)

        with pytest.raises(ValueError, match="broken"):
            fails()
    assert list(stages.seconds) == list(stages.cpu_seconds) == ["one", "two"]
    assert stages.current == "two"


def test_subjects_know_their_scales():
    data = datasets.example("diabetes")
    subject = subject_of(data, name="sugar", model=None, prior_scale=2.0)
    assert (subject.name, subject.model, subject.target, subject.prior_scale) == ("sugar", "linear", "progression", 2.0)
    assert 0.6 < subject.observation_scale < 0.8
    assert any("Observation scale" in note for note in subject.notes)
    own, _ = line()
    told = subject_of(own, name=None, model=None, prior_scale=1.0)
    assert (told.name, told.model, told.prior_scale, told.observation_scale) == ("problem", "linear", None, 1.0)
