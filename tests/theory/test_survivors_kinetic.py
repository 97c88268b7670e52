"""Identities of the kinetic flows that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise.theory import kinetic_covariance, kinetic_tuning
from gradnoise.theory.langevin.kinetic_flows import coefficients, mode_maps, program_of, refreshed
from gradnoise.theory.langevin.kinetic_tuning import _Limits, _worst_times

ADDING = ["BAOAB", "OBABO", "UBU", "ABO", "BUB", "sghmc", "sghmc_naive"]


@pytest.mark.parametrize("scheme", ADDING)
def test_what_friction_renews_is_what_a_free_step_adds(scheme):
    """Without a force a velocity at rest has, after one step, the share 1 − e^(−2γh) (or Euler's 2γh) of its covariance."""
    program = program_of(scheme)
    _, _, injected = mode_maps(0.0, program, 0.3, 0.7)
    assert_allclose(refreshed(program, 0.3, 0.7), np.sum(injected[1] ** 2), rtol=1e-12)


@pytest.mark.parametrize("scheme", [*ADDING, "sghmc_half"])
def test_no_injected_number_is_idle(scheme):
    """Every one of the normals that a step draws moves the position or the velocity."""
    _, _, injected = mode_maps(1.7, program_of(scheme), 0.3, 0.7)
    assert (np.abs(injected).max(0) > 1e-6).all()


@pytest.mark.parametrize("rubbed", [0.01, 0.04, 0.0999, 0.1001, 0.9])
def test_exact_drift_with_friction_in_more_digits(rubbed):
    """l₃² = (2x − 4 tanh(x/2))/γ² in 80-bit floats, on both sides of where its series takes over."""
    time, x = 0.5, np.longdouble(rubbed)
    exact = np.sqrt(2 * x - 4 * np.tanh(x / 2)) / (x / np.longdouble(time))
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no longer float on this machine")
    assert_allclose(coefficients("U", time, rubbed / time)[4], float(exact), rtol=3e-12)


@pytest.mark.parametrize("scheme", ["BAOAB", "UBU", "sghmc"])
def test_a_setting_has_a_memory_where_its_step_is_stable(scheme):
    """Exact gradients, any noise share: times are finite where both eigenvalues lie inside the circle, and nowhere else."""
    rng, program = np.random.default_rng(6), program_of(scheme)
    step, friction = np.exp(rng.uniform(-3, 2, 400)), np.exp(rng.uniform(-3, 3, 400))
    rate = np.array([1.3])
    found = _worst_times(rate, np.zeros(1), program, step, friction, _Limits(True, 1.0, 1.0))
    transition, _, _ = mode_maps(rate, program, step[:, None], friction[:, None])
    radius = np.abs(np.linalg.eigvals(transition[:, 0])).max(-1)
    assert (np.isfinite(found) == (radius < 1)).all()
    assert 50 < np.isfinite(found).sum() < 390


@pytest.mark.parametrize("batch_size", [40, 400])
def test_uncorrected_tuning_keeps_the_budget_where_modes_are_correlated(batch_size):
    """With another mass than the curvature the search sees single modes; the bound is kept with all correlations."""
    H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.65], [-0.65, 0.5]])
    tuned = kinetic_tuning(H, C, num_examples=50, batch_size=batch_size, mass=None, corrected=False)
    assert 0.01 < tuned.variance_error <= 0.05 * (1 + 1e-5)


def test_share_of_the_minibatch_noise_and_sampling():
    """What the chain spreads with nothing injected, over the posterior, in its worst direction; C (N − B)/(N − 1) without replacement."""
    rng = np.random.default_rng(8)
    H, C = (a @ a.T / 3 + 0.3 * np.eye(3) for a in rng.standard_normal((2, 3, 3)))
    given = {"num_examples": 50, "batch_size": 20}
    tuned = kinetic_tuning(H, C, **given, sampling="without_replacement")
    same = kinetic_tuning(H, C * 30 / 49, **given)
    assert_allclose([tuned.iact, tuned.noise_share], [same.iact, same.noise_share], rtol=1e-9)
    setting = given | {"step_size": same.step_size, "friction": same.friction, "mass": H}
    spread = kinetic_covariance(H, C * 30 / 49, injected_covariance=np.zeros((3, 3)), **setting)
    assert_allclose(same.noise_share, np.linalg.eigvals(50 * H @ spread).real.max(), rtol=1e-8)
