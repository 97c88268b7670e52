"""The exact linear SDE of SGD: golden values, equality with the discrete chain at every step, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import sde, theory
from gradnoise.testing import assert_fails, planted_defects

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
SETTING = {"learning_rate": 0.3, "batch_size": 4}


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-14)


def test_golden_recent_2_7():
    law = sde.sgd_exact(H, C, **SETTING)
    upper = np.triu_indices(2)
    assert_allclose(law.drift_matrix[upper], (-3.1044214, -0.5064875, -0.5719838), atol=6e-8)
    assert_allclose(law.diffusion_matrix[upper], (0.1623777, -0.0137428, 0.0329918), atol=6e-8)
    planted_defects(
        lambda sigma: assert_allclose(sigma[upper], (0.0283103, -0.0132248, 0.0405503), atol=6e-8),
        law.stationary_covariance,
        {
            "continuous time": theory.stationary_covariance(H, C, time="continuous", **SETTING),
            "missing factor 2": law.stationary_covariance / 2,
        },
    )


@pytest.mark.parametrize("hessian", [H, np.diag([1.0, 0.0]), np.array([[0.5, 1.0], [1.0, -0.3]])])
def test_equal_to_sgd_at_every_step(hessian):
    """Mean and covariance after one and seven steps; flat and saddle directions too."""
    law = sde.sgd_exact(hessian, C, **SETTING)
    F, noise = np.eye(2) - 0.3 * hessian, 0.09 * C / 4
    omega = np.zeros((2, 2))
    for k in range(1, 8):
        omega = F @ omega @ F.T + noise
        if k in (1, 7):
            mean, covariance = law.transition(0.3 * k)
            order_1 = sde.LinearSDE(-hessian, 0.3 * C / 4, 0.3).transition(0.3 * k)
            wrong = {"order-1 diffusion": order_1[1], "noise x 1.05": 1.05 * omega}
            planted_defects(close(np.linalg.matrix_power(F, k)), mean, {"order-1 drift": order_1[0]})
            planted_defects(close(omega), covariance, wrong)


def test_stationary_law():
    found = sde.sgd_exact(H, C, **SETTING).stationary_covariance
    wrong = {"continuous time": theory.stationary_covariance(H, C, time="continuous", **SETTING)}
    planted_defects(close(theory.stationary_covariance(H, C, **SETTING)), found, wrong)
    without = SETTING | {"sampling": "without_replacement", "num_examples": 50}
    found = sde.sgd_exact(H, C, **without).stationary_covariance
    assert_allclose(found, theory.stationary_covariance(H, C, **without), rtol=1e-10)
    mean, covariance = sde.sgd_exact(H, C, **SETTING).transition(1e3)  # without overflow
    assert np.abs(mean).max() < 1e-10
    assert_allclose(covariance, theory.stationary_covariance(H, C, **SETTING), rtol=1e-10)
    flat = sde.sgd_exact(np.diag([1.0, 0.0]), C, **SETTING)
    with pytest.raises(ValueError, match="drift_matrix must pull back"):
        _ = flat.stationary_covariance


def test_small_step_limit():
    for eta in (1e-3, 1e-5):
        law = sde.sgd_exact(H, C, learning_rate=eta, batch_size=4)
        assert_allclose(law.drift_matrix, -H, rtol=2 * eta)
        assert_allclose(law.diffusion_matrix, eta * C / 4, rtol=2 * eta)


@pytest.mark.parametrize(("defect", "a", "b"), [("drift", 1, -2), ("diffusion", 2, -1)])
def test_dimensions(defect, a, b):
    """Loss × ½, parameters × 3, time × (parameters²/loss): A ∝ 1/time, Q ∝ parameter²/time."""
    plain = sde.sgd_exact(H, C, **SETTING)
    moved = sde.sgd_exact(H * 0.5 / 9, C * 0.25 / 9, learning_rate=0.3 * 9 / 0.5, batch_size=4)
    time = 9 / 0.5
    pairs = {"drift": (moved.drift_matrix, plain.drift_matrix / time)}
    pairs["diffusion"] = (moved.diffusion_matrix, plain.diffusion_matrix * 9 / time)
    found, expected = pairs[defect]
    assert_allclose(found, expected, rtol=1e-10)
    assert_fails(assert_allclose, found, expected * 3, rtol=1e-10, defect="exponent of the parameter")


def test_refusals():
    edge = 1 / np.linalg.eigvalsh(H)[-1]
    sde.sgd_exact(H, C, learning_rate=0.999 * edge, batch_size=4)
    for rate in (edge * (1 + 1e-12), 0.6):
        with pytest.raises(ValueError, match=r"learning_rate must be below 1/\(largest curvature\) = 0\.48"):
            sde.sgd_exact(H, C, learning_rate=rate, batch_size=4)
    with pytest.raises(ValueError, match="hessian must be symmetric"):
        sde.sgd_exact([[1.0, 0.5], [0.0, 1.0]], C, **SETTING)
    with pytest.raises(ValueError, match="'shuffled'"):
        sde.sgd_exact(H, C, sampling="shuffled", **SETTING)
    with pytest.raises(ValueError, match="time must be > 0"):
        sde.sgd_exact(H, C, **SETTING).transition(0.0)
