"""Langevin with falling steps: the process follows theory's recursion at absolute steps, however the run is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.processes import Decreasing, langevin
from gradnoise.testing import assert_covariance, planted_defects

H = np.array([[1.6, 0.5], [0.5, 0.7]])
P = np.array([[0.5, 0.1], [0.1, 0.9]])
POINTS = np.random.default_rng(3).normal(size=(40, 2)) @ np.array([[1.0, 0.3], [0.0, 0.7]])
POINTS = POINTS - POINTS.mean(0)
C = H @ np.cov(POINTS.T, bias=True) @ H
SCHEDULE = Decreasing(offset=15.0, power=0.7)


def log_likelihood(params: Any, example: Any) -> Any:
    gap = params - example
    return -0.5 * gap @ (H.astype(np.float32) @ gap)


def problem() -> gn.Problem:
    return gn.Problem(log_likelihood, POINTS.astype(np.float32), np.zeros(2, np.float32))


@pytest.mark.law
def test_falling_steps_follow_the_recursion() -> None:
    process = langevin(gn.oracles.minibatch(4), learning_rate=0.8, num_examples=40, preconditioner=P, schedule=SCHEDULE)
    run = gn.simulate(
        problem(), process, num_steps=90, burn_in=10, num_chains=8192, key=5, record=gn.record.draws(every=8), progress=False
    )  # fmt: skip
    draws = np.asarray(run.draws, np.float64)
    settings = {"num_examples": 40, "batch_size": 4, "preconditioner": P, "start": np.zeros((2, 2)), "every": 8}
    steps = 2 * 0.8 / 40 * SCHEDULE.factor(np.arange(90))
    law = gn.theory.scheduled_langevin_covariance(H, C, step_sizes=steps, burn_in=10, **settings)
    shifted = gn.theory.scheduled_langevin_covariance(
        H, C, step_sizes=steps[:80], **settings
    )  # as if it began after burn-in
    constant = gn.theory.langevin_covariance(H, C, step_size=steps[0], num_examples=40, batch_size=4, preconditioner=P)
    planted_defects(
        lambda p: assert_covariance(draws, p, mean=np.zeros(2), false_fail=1e-7, detects=0.06),
        law.draws,
        {
            "steps stay": constant,
            "steps counted from the end of burn-in": shifted.draws,
            "noise x 1.06": 1.06 * law.draws,
        },
    )


def test_the_schedule_goes_on_where_a_run_is_cut() -> None:
    process = langevin(gn.oracles.minibatch(4), learning_rate=0.8, num_examples=40, schedule=SCHEDULE)
    keep = {"num_chains": 3, "key": 1, "record": gn.record.draws(every=7), "progress": False}
    whole = gn.simulate(problem(), process, num_steps=300, **keep)
    cut = gn.simulate(problem(), process, num_steps=130, **keep).extend(170, progress=False)
    np.testing.assert_array_equal(whole.draws, cut.draws)
    np.testing.assert_array_equal(whole.state, cut.state)


def test_another_schedule_does_not_change_the_first_step() -> None:
    runs = [
        gn.simulate(
            problem(),
            langevin(gn.oracles.full_batch(), learning_rate=0.3, num_examples=40, schedule=schedule),
            num_steps=1, num_chains=2, record=None, progress=False,
        ).state
        for schedule in (None, SCHEDULE, Decreasing(3, 1.0))
    ]  # fmt: skip
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-6)
    np.testing.assert_allclose(runs[2], runs[0], rtol=1e-6)


def test_there_is_no_stationary_law() -> None:
    process = langevin(gn.oracles.minibatch(4), learning_rate=0.3, num_examples=40, schedule=SCHEDULE)
    law = process.linear(H, C, 40)
    assert not law
    assert "scheduled_langevin_covariance" in law.reason


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Decreasing(0, 0.5), "offset must be > 0"),
        (Decreasing(10, 1.5), "power must lie in"),
        (Decreasing(10, 0), "power must lie in"),
        ("cosine", "schedule must be a processes.Decreasing"),
    ],
)
def test_bad_schedules(schedule: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        langevin(gn.oracles.minibatch(4), learning_rate=0.3, num_examples=40, schedule=schedule)
