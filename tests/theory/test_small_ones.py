"""The small ones of recent.md 2.7: the local learning coefficient, and sign descent."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_estimate, planted_defects

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
G = np.array([0.3, -0.2])


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


@pytest.mark.parametrize(("step", "golden"), [(1e-4, 0.995094), (1e-3, 1.075462), (1e-2, 2.522541)])
def test_learning_coefficient(step, golden):
    """recent.md §2.7 to the digits printed."""
    setting = {"inverse_temperature": 100, "localization": 1.0, "batch_size": 32}
    found = theory.learning_coefficient(H, C, step_size=step, **setting)
    wrong = {"batch size forgotten": setting | {"batch_size": 1}, "no spring": setting | {"localization": 0.0}}
    planted_defects(
        lambda value: assert_allclose(value, golden, atol=6e-7),
        found.value,
        {k: theory.learning_coefficient(H, C, step_size=step, **v).value for k, v in wrong.items()},
    )
    assert_allclose(found.ideal, 0.986526, atol=5e-7)
    assert found.standard_error is None


@pytest.mark.law
def test_learning_coefficient_by_simulation(Sgd):
    """Value and standard error over 4096 chains of 300 steps after burn-in."""
    step, beta, T = 1e-3, 100, 300
    setting = {"inverse_temperature": beta, "localization": 1.0, "batch_size": 32, "num_steps": T}
    found = theory.learning_coefficient(H, C, step_size=step, **setting)
    A = beta * H + np.eye(2)
    chain = Sgd(hessian=A, noise=beta**2 * C / 32, rate=step / 2, injected=step * np.eye(2), seed=4)
    chain.advance(400)
    total = np.zeros(len(chain.theta))
    for _ in range(T):
        theta = chain.advance()
        total += beta / 2 * np.einsum("ci,ij,cj->c", theta, H, theta)
    runs = mean_of(total / T)
    planted_defects(
        lambda p: assert_estimate(runs, p, detects=0.2),
        found.value,
        {"zero step": found.ideal * 0.8, "factor 1/2 missing": 2 * found.value},
    )
    planted_defects(
        close(runs.standard_error * math.sqrt(runs.n), rtol=0.1),
        found.standard_error,
        {"independent draws": found.standard_error / 3},
    )


@pytest.mark.parametrize(("size", "golden"), [(1, 0.049926), (16, 0.185867), (256, 0.263157)])
def test_best_sign_step(size, golden):
    """recent.md §2.7 to the digits printed, and against the probabilities of the four sign patterns."""
    sd = np.array([1.0, 0.6])
    found = theory.best_sign_step(G, sd, H, batch_size=size)
    assert_allclose(found.learning_rate, golden, atol=5e-7)
    up = stats.norm.cdf(np.sqrt(size) * G / sd)
    bend = gain = 0.0
    for signs in itertools.product([1, -1], repeat=2):
        s = np.array(signs)
        probability = np.prod(np.where(s > 0, up, 1 - up))
        gain += probability * G @ s
        bend += probability * s @ H @ s
    wrong = {"H instead of its off-diagonal": gain / (np.trace(H) + (2 * up - 1) @ H @ (2 * up - 1)), "sqrt B": gain}
    planted_defects(close(gain / bend), found.learning_rate, wrong)
    assert_allclose(found.loss_decrease, gain**2 / (2 * bend), rtol=1e-10)
    if size == 16:
        assert_allclose(found.loss_decrease, 0.036660, atol=5e-7)


# --- estimators ---

RNG = np.random.default_rng(3)
EXAMPLES = RNG.normal(size=(2000, 6)) @ np.diag([1, 1.2, 1.4, 1.6, 1.8, 2.2]) + np.array([0.6, -0.5, 0.4, 0.7, 0, 0.3])
