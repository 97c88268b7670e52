"""The Gaussian variational law: exact where the posterior is Gaussian, against quadrature and a long NUTS run elsewhere."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from gradnoise import Problem, derivatives, find_mode, measure, models
from gradnoise.measure.dense import gaussian_law as laws
from gradnoise.theory import gaussian_kl

R = np.random.default_rng(2)
X = R.normal(size=(80, 4)) @ (np.eye(4) + 0.3 * R.normal(size=(4, 4)))
T = X @ [0.4, -1.0, 0.2, 0.0] + 0.5 * R.standard_t(4, size=80)
B = (R.random(80) < 1 / (1 + np.exp(-2 * T))).astype(float)


def test_linear_regression_is_exact_and_the_noise_contains_k():
    """C̄ = C(mode) + K(Σ), K(Σ) = (1/N) Σ x xᵀΣx xᵀ - G Σ G in the likelihood's units (Mandt et al. 2017, sec. 2.1)."""
    s = 0.7
    problem = models.linear_regression(X, T, observation_scale=s, prior_scale=0.5, intercept=False)
    found = find_mode(problem)
    got = measure.gaussian_law(problem, found, num_draws=10)
    covariance = np.linalg.inv(X.T @ X / s**2 + 4 * np.eye(4))
    np.testing.assert_allclose(got.covariance, covariance, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(got.mean, covariance @ X.T @ T / s**2, rtol=1e-10)
    gram = X.T @ X / 80
    spread = np.einsum("ni,ij,nj->n", X, covariance, X)
    K = (X.T @ (X * spread[:, None]) / 80 - gram @ covariance @ gram) / s**4
    C = derivatives.gradient_moments(problem, found.vector)[1]
    np.testing.assert_allclose(got.gradient_covariance, C + K, rtol=1e-10, atol=1e-13)
    # the planted defect: K five percent too large, or left out, is seen
    assert np.max(np.abs(got.gradient_covariance - C - 1.05 * K)) > 1e-4
    np.testing.assert_allclose(got.noise_drift, 1 + np.trace(K) / np.trace(C), rtol=1e-10)
    H = found.hessian
    whitened = np.trace(np.linalg.solve(H, C + K)) / np.trace(np.linalg.solve(H, C))
    np.testing.assert_allclose(got.whitened_noise_drift, whitened, rtol=1e-10)
    assert got.exact_moments
    assert got.num_iterations == 1


def test_one_parameter_agrees_with_quadrature():
    problem = models.logistic_regression(X[:12, :1], B[:12], prior_scale=3.0, intercept=False)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    m, v = 0.0, 1.0
    for _ in range(500):
        points = (m + np.sqrt(v) * nodes)[:, None]
        slope = weights @ [derivatives.gradient(problem, p)[0] for p in points]
        curvature = weights @ [derivatives.hessian(problem, p)[0, 0] for p in points]
        if abs(slope / curvature) < 1e-12 and abs(v - 1 / (12 * curvature)) < 1e-12:
            break
        m, v = m - 0.7 * slope / curvature, 0.3 * v + 0.7 / (12 * curvature)
    noise = weights @ [derivatives.gradient_moments(problem, p)[1][0, 0] for p in (m + np.sqrt(v) * nodes)[:, None]]
    got = measure.gaussian_law(problem, find_mode(problem), num_draws=4096)
    np.testing.assert_allclose(got.mean, m, rtol=2e-3)
    np.testing.assert_allclose(got.covariance, v, rtol=2e-3)
    np.testing.assert_allclose(got.gradient_covariance, noise, rtol=2e-3)
    laplace = measure.gaussian_law(problem, find_mode(problem), num_draws=4096, at="laplace")
    assert abs(laplace.covariance[0, 0] / v - 1) > 0.02  # so the agreement above says something


def test_stationary_on_its_own_draws():
    problem = models.logistic_regression(X, B)
    got = measure.gaussian_law(problem, find_mode(problem), key=7)
    assert max(got.distance, got.covariance_change) <= 1e-6
    np.testing.assert_allclose(np.linalg.inv(80 * got.hessian), got.covariance, rtol=1e-5, atol=1e-8)
    normals, _ = laws._normals(got.num_draws, 5, 7)
    each = got.mean + normals @ np.linalg.cholesky(got.covariance).T
    np.testing.assert_allclose(np.mean([derivatives.gradient(problem, t) for t in each], 0), 0, atol=1e-7)
    C = np.mean([derivatives.gradient_moments(problem, t)[1] for t in each], 0)
    np.testing.assert_allclose(got.gradient_covariance, C, rtol=1e-11)


def test_units_of_columns_change_nothing_but_units():
    unit = np.array([10.0, 0.1, 3.0, 1.0])
    plain = models.logistic_regression(X, B, prior_scale=np.inf, intercept=False)
    scaled = models.logistic_regression(X * unit, B, prior_scale=np.inf, intercept=False)
    a, b = (measure.gaussian_law(p, find_mode(p)) for p in (plain, scaled))
    np.testing.assert_allclose(b.mean * unit, a.mean, rtol=1e-6)
    np.testing.assert_allclose(b.covariance * np.outer(unit, unit), a.covariance, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(b.whitened_noise_drift, a.whitened_noise_drift, rtol=1e-6)


def test_keys():
    problem = models.logistic_regression(X, B)
    found = find_mode(problem)
    one, same, other = (measure.gaussian_law(problem, found, key=k) for k in (3, jax.random.key(3), 4))
    np.testing.assert_array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)
    np.testing.assert_allclose(one.mean, other.mean, atol=0.1 * np.sqrt(np.diag(one.covariance)).min())


@pytest.mark.parametrize(("draws", "size"), [(10, 5), (64, 3), (6, 5)])
def test_normals_are_mirrored_and_white(draws, size):
    z, exact = laws._normals(draws, size, 1)
    assert z.shape == (draws, size)
    np.testing.assert_array_equal(z[: draws // 2], -z[draws // 2 :])
    assert exact == (draws >= 2 * size)
    assert np.allclose(z.T @ z / draws, np.eye(size), atol=1e-12) == exact


def test_number_of_draws_is_stated():
    small = models.logistic_regression(X, B)
    assert laws._num_draws(small, None) == 128
    assert laws._num_draws(models.softmax_regression(np.zeros((50, 40)), np.arange(50) % 2, num_classes=2), None) == 328
    large = Problem(saddle, np.zeros((200_000, 1)), np.zeros(60))
    assert laws._num_draws(large, None) == 40  # 3e10 / (N D²), made even
    assert laws._num_draws(large, 512) == 512
    assert measure.gaussian_law(small, find_mode(small), num_draws=64).num_draws == 64
    with pytest.raises(ValueError, match=r"num_draws must be even"):
        laws._num_draws(small, 5)


def saddle(params, example):
    return jnp.sum(params**2) * jnp.sum(example)


def wells(params, example):
    return -example * (params**2 - 1) ** 2


def test_two_modes_are_not_called_gaussian():
    problem = Problem(wells, np.full(2, 0.1), np.float64(0.9))
    with pytest.raises(measure.NotConverged, match=r"gaussian_law (met an averaged Hessian|did not converge)"):
        measure.gaussian_law(problem, find_mode(problem))
    with pytest.raises(ValueError, match=r"params must be a mode, but the Hessian there has an eigenvalue <= 0"):
        measure.gaussian_law(problem, [0.0])


def test_too_few_iterations_are_said():
    problem = models.logistic_regression(X, B)
    with pytest.raises(measure.NotConverged, match=r"did not converge in max_iterations = 2"):
        measure.gaussian_law(problem, find_mode(problem), max_iterations=2)


@pytest.fixture(scope="module")
def breast_cancer():
    features, target = load_breast_cancer(return_X_y=True)
    problem = models.logistic_regression((features - features.mean(0)) / features.std(0), target)
    with np.load(Path(__file__).parents[1] / "data" / "breast_cancer_nuts.npz") as reference:
        return problem, find_mode(problem), {name: reference[name] for name in reference}


def test_the_reference_is_long_enough(breast_cancer):
    """Two halves of the NUTS run differ by less than a quarter of what is asked of the law."""
    *_, nuts = breast_cancer
    (m, n), (S, T) = nuts["half_means"], nuts["half_covariances"]
    assert gaussian_kl(S, T, m, n) < 0.015
    assert nuts["effective_sample_size"].min() > 1e5


@pytest.mark.parametrize("key", [0, 1, 2])
def test_breast_cancer_law_is_close_to_nuts_where_laplace_is_not(breast_cancer, key):
    problem, found, nuts = breast_cancer
    got = measure.gaussian_law(problem, found, key=key)
    kl = gaussian_kl(got.covariance, nuts["covariance"], got.mean, nuts["mean"])
    assert kl <= 0.06
    assert gaussian_kl(nuts["covariance"], got.covariance, nuts["mean"], got.mean) <= 0.08
    laplace = gaussian_kl(np.linalg.inv(569 * found.hessian), nuts["covariance"], found.vector, nuts["mean"])
    np.testing.assert_allclose(laplace, 1.05, atol=0.03)
    assert 1.7 < got.noise_drift < 1.9
    assert got.num_iterations <= 20
