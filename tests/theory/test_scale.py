"""Identity: the scale column of every docstring, and any linear change of parameters."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from calls import DIMENSIONLESS, SCALES, C, H, P, called, evaluated, public_formulas, valid_call
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_fails

LOOSE = {
    "optimal_preconditioner",
    "adam_law",
    "rmsprop_law",
    "tail_exponent_estimate",
    "reverse_learning_rate",
}  # found by iteration


@pytest.mark.parametrize("row", SCALES, ids=[f"{row.call}-{i}" for i, row in enumerate(SCALES)])
def test_dimensions(row):
    """Loss × ½ (N × 2, so that N·loss keeps its value) and parameters × 3."""
    plain, scaled = evaluated(row), evaluated(row, 0.5, 3.0)
    assert np.abs(plain).max() > 0, "zero has every scale"

    def exponents(x, y):
        assert_allclose(
            scaled, plain * 0.5**x * 3.0**y, rtol=1e-6 if row.call in LOOSE else 1e-8, atol=1e-12 * np.abs(scaled).max()
        )

    exponents(row.loss, row.parameter)
    assert_fails(exponents, row.loss + 1, row.parameter, defect="exponent of the loss")
    assert_fails(exponents, row.loss, row.parameter + 1, defect="exponent of the parameter")


@functools.cache
def returned(call):
    """Name of the type that a valid call returns."""
    return type(called(call, valid_call(call))).__name__


def without_a_scale(rows, dimensionless):
    """Public formulas that no row calls; a computed field counts when a row reads it from what the call returns."""
    done = {row.call for row in rows} | set(dimensionless)
    for row in rows:
        if isinstance(row.read, str):
            done.add(f"{returned(row.call)}.{row.read}")
    return sorted(set(public_formulas()) - done - SEEN_THROUGH)


SEEN_THROUGH = {
    "LeastSquaresMoments.chain",  # a LinearChain: a row reads its covariance
}


def test_every_formula_is_rescaled():
    assert not without_a_scale(SCALES, DIMENSIONLESS)
    assert not {row.call for row in SCALES} & set(DIMENSIONLESS)


@pytest.mark.parametrize("name", ["stein", "LinearChain.ema", "Circulation.frequencies", "rate_edge"])
def test_a_formula_without_a_row_is_missed(name):
    rows = [row for row in SCALES if name not in (row.call, f"Circulation.{row.read}")]
    numbers = {key: value for key, value in DIMENSIONLESS.items() if key != name}
    assert without_a_scale(rows, numbers) == [name]


@pytest.mark.parametrize("name", sorted(DIMENSIONLESS))
def test_dimensionless_ones_take_numbers_alone(name):
    """No argument of theirs has a scale in any other formula."""
    scaled = {"hessian", "gradient_covariance", "learning_rate", "noise", "temperature", "step_size"}
    assert not scaled & set(valid_call(name))
    assert DIMENSIONLESS[name][1]


@pytest.mark.parametrize(
    "law",
    [
        {},
        {"time": "continuous"},
        {"momentum": 0.4},
        {"momentum": 0.4, "nesterov": True},
        {"sampling": "shuffled", "num_examples": 63},
    ],
)
def test_any_linear_change_of_parameters(law):
    """θ' = Jθ: H → J⁻ᵀHJ⁻¹, C → J⁻ᵀCJ⁻¹, P → JPJᵀ, Σ → JΣJᵀ."""
    J = np.array([[1.0, 0.4, -0.2], [0.0, 2.0, 0.3], [0.5, 0.0, 0.7]])
    K = np.linalg.inv(J)
    setting = {"learning_rate": 0.5, "batch_size": 10, **law}
    plain = theory.stationary_covariance(H, C, preconditioner=P, **setting)
    moved = theory.stationary_covariance(K.T @ H @ K, K.T @ C @ K, preconditioner=J @ P @ J.T, **setting)
    assert_allclose(moved, J @ plain @ J.T, rtol=1e-10)
    assert_fails(assert_allclose, moved, J.T @ plain @ J, rtol=1e-10, defect="transposed change of parameters")
