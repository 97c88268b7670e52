"""LocalGeometry: against NumPy, and its numbers under rescaling."""

from __future__ import annotations

import numpy as np
import pytest

from gradnoise import derivatives, find_mode, measure, models

R = np.random.default_rng(1)
X = R.normal(size=(150, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 2.0]])
Y = X @ [0.4, -1.0, 0.2] + 0.5 * R.standard_t(5, size=150)
PROBLEM = models.linear_regression(X, Y, observation_scale=0.5, prior_scale=0.3)
THETA = np.array([0.1, -0.3, 0.2, 0.05])


def test_numbers_agree_with_numpy():
    local = measure.local_geometry(PROBLEM, THETA)
    A = np.c_[X, np.ones(150)]
    H = A.T @ A / 150 / 0.25 + np.eye(4) / 0.09 / 150
    g = A * ((A @ THETA - Y) / 0.25)[:, None] + THETA / 0.09 / 150
    C = np.cov(g.T, bias=True)
    np.testing.assert_allclose(local.hessian, H, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(local.gradient_covariance, C, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(local.gradient, g.mean(0), rtol=1e-11)
    values, vectors = np.linalg.eigh(H)
    np.testing.assert_allclose(local.eigenvalues, values)
    np.testing.assert_allclose(local.noise_eigenvalues, np.linalg.eigvalsh(C)[::-1])
    V = local.noise_eigenvectors
    np.testing.assert_allclose(V @ np.diag(local.noise_eigenvalues) @ V.T, C, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(local.noise_along_curvature, np.diag(vectors.T @ C @ vectors), rtol=1e-10)
    np.testing.assert_allclose(local.noise_to_curvature, np.diag(vectors.T @ C @ vectors) / values, rtol=1e-10)
    spectrum = np.linalg.eigvalsh(C)
    np.testing.assert_allclose(local.noise_trace, spectrum.sum())
    np.testing.assert_allclose(local.effective_rank, spectrum.sum() ** 2 / (spectrum**2).sum())
    np.testing.assert_allclose(local.alignment, np.trace(C @ H) / np.linalg.norm(C) / np.linalg.norm(H))
    np.testing.assert_allclose(local.gradient_noise_scale, np.trace(C) / (g.mean(0) @ g.mean(0)))
    assert local.names == ("x0", "x1", "x2", "intercept")
    assert "effective_rank" in repr(local)


def test_a_mode_params_and_a_vector_are_the_same_point():
    found = find_mode(PROBLEM)
    at = [measure.local_geometry(PROBLEM, p).gradient_covariance for p in (found, found.params, list(found.vector))]
    np.testing.assert_array_equal(at[0], at[1])
    np.testing.assert_array_equal(at[0], at[2])
    assert measure.local_geometry(PROBLEM, found).gradient_noise_scale > 1e20


def test_rows_counted_twice_change_nothing_per_example():
    twice = models.linear_regression(np.r_[X, X], np.r_[Y, Y], observation_scale=0.5, prior_scale=np.inf)
    once = models.linear_regression(X, Y, observation_scale=0.5, prior_scale=np.inf)
    a, b = measure.local_geometry(once, THETA), measure.local_geometry(twice, THETA)
    np.testing.assert_allclose(a.hessian, b.hessian, rtol=1e-12)
    np.testing.assert_allclose(a.gradient_covariance, b.gradient_covariance, rtol=1e-11, atol=1e-12)


def test_units_of_columns_leave_the_numbers_without_units():
    unit = np.array([10.0, 10.0, 10.0])
    plain = models.linear_regression(X, Y, observation_scale=0.5, prior_scale=np.inf, intercept=False)
    scaled = models.linear_regression(X * unit, Y, observation_scale=0.5, prior_scale=np.inf, intercept=False)
    a, b = measure.local_geometry(plain, THETA[:3]), measure.local_geometry(scaled, THETA[:3] / unit)
    np.testing.assert_allclose(b.hessian, 100 * a.hessian, rtol=1e-11)
    np.testing.assert_allclose(b.gradient_covariance, 100 * a.gradient_covariance, rtol=1e-10, atol=1e-9)
    for name in ("effective_rank", "alignment", "noise_to_curvature", "gradient_noise_scale"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-9)


def test_a_right_model_has_noise_equal_to_curvature_and_a_wrong_scale_does_not():
    """Fisher information: C = H; an observation scale wrong by s multiplies C/H by the square of it."""
    r = np.random.default_rng(0)
    x = r.normal(size=(40_000, 2))
    y = x @ [1.0, 2.0] + 0.5 * r.normal(size=40_000)
    for scale in (0.5, 1.0):
        problem = models.linear_regression(x, y, observation_scale=scale, prior_scale=np.inf)
        ratio = measure.local_geometry(problem, find_mode(problem)).noise_to_curvature
        np.testing.assert_allclose(ratio, (0.5 / scale) ** 2, rtol=0.05)  # standard error 0.8 %


def test_averaged_geometry_is_the_laws():
    found = find_mode(PROBLEM)
    for at in ("laplace", "posterior"):
        law = measure.gaussian_law(PROBLEM, found, at=at, key=4)
        local = measure.local_geometry(PROBLEM, found, at=at, key=4)
        np.testing.assert_array_equal(local.gradient_covariance, law.gradient_covariance)
        np.testing.assert_array_equal(local.hessian, law.hessian)
        assert local.at == at


def test_bad_input_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"params must have shape \(4,\), got \(3,\)"):
        measure.local_geometry(PROBLEM, np.zeros(3))
    with pytest.raises(ValueError, match=r"at must be one of 'mode', 'laplace', 'posterior', got 'here'"):
        measure.local_geometry(PROBLEM, THETA, at="here")
    monkeypatch.setattr(derivatives, "DENSE", 3)
    with pytest.raises(ValueError, match=r"problem must have at most 3 parameters .* got 4"):
        measure.local_geometry(PROBLEM, THETA)
