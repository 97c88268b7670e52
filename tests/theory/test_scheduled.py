"""Langevin with changing steps: by matrices, against constant steps, and by simulation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from calls import C, H, P
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_covariance, assert_fails, planted_defects

N, B = 600, 10
STEPS = 0.0015 * (1 + np.arange(400) / 20) ** -0.6


def by_matrices(noise, steps, keep, start):
    spread, total, weighted = start, 0.0, 0.0
    for t, step in enumerate(steps, 1):
        q = step * N / 2 * P
        move = np.eye(3) - q @ H
        spread = move @ spread @ move.T + q @ noise @ q + step * P
        if keep(t):
            total, weighted = total + spread, weighted + step * spread
    kept = [step for t, step in enumerate(steps, 1) if keep(t)]
    return total / len(kept), weighted / sum(kept), spread


def test_scheduled_langevin_by_matrices():
    start = np.array([[0.02, 0.01, 0.0], [0.01, 0.03, -0.01], [0.0, -0.01, 0.05]])
    settings = {"step_sizes": STEPS, "num_examples": N, "batch_size": B, "preconditioner": P, "start": start}
    law = theory.scheduled_langevin_covariance(H, C, burn_in=100, every=7, **settings)
    expected = by_matrices(C / B, STEPS, lambda t: t > 100 and (t - 100) % 7 == 0, start)
    for found, wanted in zip((law.draws, law.step_weighted, law.final), expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-10, atol=1e-14)
    assert_fails(assert_allclose, law.step_weighted, expected[0], rtol=1e-3, defect="every draw counted once")
    subset = theory.scheduled_langevin_covariance(H, C, burn_in=100, sampling="without_replacement", **settings)
    smaller = by_matrices(C / B * (N - B) / (N - 1), STEPS, lambda t: t > 100, start)
    assert_allclose(subset.draws, smaller[0], rtol=1e-10, atol=1e-14)


def test_equal_steps_stay_in_the_stationary_law():
    constant = {"num_examples": N, "batch_size": B, "preconditioner": P}
    stationary = theory.langevin_covariance(H, C, step_size=0.001, **constant)
    law = theory.scheduled_langevin_covariance(H, C, step_sizes=np.full(50, 0.001), start=stationary, **constant)
    for found in (law.draws, law.step_weighted, law.final):
        assert_allclose(found, stationary, rtol=1e-10, atol=1e-15)


def test_many_modes_step_by_step_equal_few_modes_taken_together():
    """Five copies of the problem side by side: 15 modes go one step at a time, 3 modes many steps at once; and little is held."""
    steps = 0.0015 * (1 + np.arange(9000) / 20) ** -0.6
    settings = {"step_sizes": steps, "num_examples": N, "batch_size": B, "burn_in": 100, "every": 40}
    alone = theory.scheduled_langevin_covariance(H, C, preconditioner=P, **settings)
    many = [np.kron(np.eye(5), matrix) for matrix in (H, C, P)]
    tracemalloc.start()
    beside = theory.scheduled_langevin_covariance(*many[:2], preconditioner=many[2], **settings)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for name in ("draws", "step_weighted", "final"):
        wanted = np.kron(np.eye(5), getattr(alone, name))
        assert_allclose(getattr(beside, name), wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert held < 5e6


def test_scheduled_langevin_law():
    """8 192 chains from the posterior: draws while the step falls to a quarter, and their average by steps."""
    steps, chains = STEPS[:120], 8192
    rng = np.random.default_rng(3)
    theta = rng.multivariate_normal(np.zeros(3), np.linalg.inv(N * H), size=chains)
    root, noise = np.linalg.cholesky(P), np.linalg.cholesky(C / B)
    kept = []
    for step in steps:
        gradient = theta @ H + rng.standard_normal((chains, 3)) @ noise.T
        theta = theta - step * N / 2 * gradient @ P + np.sqrt(step) * rng.standard_normal((chains, 3)) @ root.T
        kept.append(theta)
    sample = np.stack(kept, 1)[:, 39::10]
    law = theory.scheduled_langevin_covariance(
        H, C, step_sizes=steps, num_examples=N, batch_size=B, preconditioner=P, burn_in=30, every=10
    )
    at_start = theory.langevin_covariance(H, C, step_size=steps[0], num_examples=N, batch_size=B, preconditioner=P)
    planted_defects(
        lambda p: assert_covariance(sample, p, mean=np.zeros(3), false_fail=1e-7, detects=0.08),
        law.draws,
        {"the first step for ever": at_start, "noise x 1.08": 1.08 * law.draws, "the last state alone": law.final},
    )


def test_bad_input():
    good = {"step_sizes": STEPS, "num_examples": N, "batch_size": B}
    for change, words in (
        ({"step_sizes": [0.1, -0.1]}, "step_sizes must be positive"),
        ({"step_sizes": np.full(3000, 1.0)}, "step_sizes must fall below the stability edge"),
        ({"burn_in": 400}, "burn_in must be between 0 and 399"),
        ({"every": 500}, "every must be between 1 and 400"),
        ({"start": -np.eye(3)}, "start must have no negative eigenvalue"),
        ({"sampling": "shuffled"}, "sampling"),
    ):
        with pytest.raises(ValueError, match=words):
            theory.scheduled_langevin_covariance(H, C, **{**good, **change})
