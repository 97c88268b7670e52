"""Identities of the kinetic flows that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise.theory.kinetic_flows import coefficients, mode_maps, program_of, refreshed

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
