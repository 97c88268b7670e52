"""Robust regression: golden values, the density against quadrature, its limit, outliers, bad input."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import gradnoise as gn
from gradnoise.models import likelihoods, robust_linear_regression

X = np.array([[1, 0], [1, 1], [1, 2], [1, -1], [0.5, 2], [1, 0.5]])
Y = np.array([0.3, 1.2, 1.9, -1, 2.1, 4])


def _matrix(a: float, b: float, c: float) -> np.ndarray:
    return np.array([[a, b], [b, c]])


def test_golden_values_of_the_note() -> None:
    """papers/recent.md §2.3, to the seven digits printed."""
    problem = robust_linear_regression(X, Y, 0.5, np.inf, 1.0, intercept=False)
    mode = gn.find_mode(problem)
    close = {"rtol": 0, "atol": 6e-8}
    np.testing.assert_allclose(mode.vector, [0.1693155, 0.9798796], **close)
    local = gn.measure.local_geometry(problem, mode)
    np.testing.assert_allclose(local.hessian, _matrix(0.4092673, 0.2951726, 1.0249122), **close)
    np.testing.assert_allclose(local.gradient_covariance, _matrix(0.0098897, 0.0062297, 0.0176301), **close)
    inverse = np.linalg.inv(local.hessian)
    sandwich = inverse @ local.gradient_covariance @ inverse / 6
    np.testing.assert_allclose(sandwich, _matrix(0.0123065, -0.0029664, 0.0034851), **close)
    r = Y - X @ mode.vector  # the note's P holds for noise that grows with the spread, linearised: S = (C + K)/B
    bend = (2 * np.pi) ** -0.25 * np.exp(-(r**2) / 4) * (1 - r**2 / 2)
    each = np.einsum("n,ni,nj->nij", bend, X, X)
    spread = np.einsum("nij,jk,nkl->il", each, sandwich, each) / 6 - local.hessian @ sandwich @ local.hessian
    step = gn.theory.preconditioner_for(sandwich, local.hessian, local.gradient_covariance + spread, batch_size=2)
    np.testing.assert_allclose(step, _matrix(1.2591866, -0.3197171, 0.4728801), **close)


@pytest.mark.parametrize(("beta", "scale"), [(0.5, 1.0), (0.3, 2.5), (1.0, 0.4)])
def test_the_loss_is_the_density_power_divergence_with_its_integral_by_quadrature(beta: float, scale: float) -> None:
    problem = robust_linear_regression(X, Y, beta, np.inf, scale, intercept=False)
    theta = np.array([0.2, 0.7])
    density = scipy.stats.norm(0, scale).pdf
    integral = scipy.integrate.quad(lambda y: density(y) ** (1 + beta), -40 * scale, 40 * scale)[0]
    wanted = (density(Y - X @ theta) ** beta - 1) / beta - integral / (1 + beta) + 1
    with jax.enable_x64(True):
        got = -6 * problem.loss(theta)
    assert float(got) == pytest.approx(wanted.sum(), rel=1e-12)
    assert abs(wanted.sum() - (wanted + integral / (1 + beta)).sum()) > 0.1  # without the integral it would be seen


def test_small_beta_is_least_squares() -> None:
    common = {"prior_scale": 2.0, "observation_scale": 0.7, "intercept": False}
    plain = gn.models.linear_regression(X, Y, **common)
    almost = robust_linear_regression(X, Y, 1e-7, **common)
    theta = np.array([0.4, 0.9])
    with jax.enable_x64(True):
        assert float(almost.loss(theta)) == pytest.approx(float(plain.loss(theta)), rel=1e-5)
    np.testing.assert_allclose(gn.find_mode(almost).vector, gn.find_mode(plain).vector, rtol=1e-5)


def outliers(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    x, theta = r.normal(size=(n, 3)), np.array([1.0, -2.0, 0.5])
    noise = 0.5 * r.normal(size=n)
    noise[: n // 10] = 8.0 + r.normal(size=n // 10)  # one in ten, all to one side
    return x, x @ theta + 1 + noise, np.array([*theta, 1.0])


def test_outliers_move_least_squares_and_not_the_robust_fit() -> None:
    x, y, truth = outliers(0)
    problem = robust_linear_regression(x, y, 0.5, 10.0)
    mode = gn.find_mode(problem)
    assert problem.hyperparams["observation_scale"] == pytest.approx(0.5, rel=0.2)
    assert np.abs(mode.vector - truth).max() < 0.1
    assert np.abs(gn.find_mode(gn.models.linear_regression(x, y, 10.0)).vector - truth).max() > 0.5
    np.testing.assert_allclose(problem.init, mode.vector, atol=1e-3)  # the graduated start is the mode, but for s


def test_another_beta_or_scale_compiles_nothing() -> None:
    first = robust_linear_regression(X, Y, 0.5, 1.0, 1.0)
    gn.derivatives.hessian(first, first.init)
    function = gn.derivatives._gradient_and_hessian
    before = function._cache_size()
    gn.derivatives.hessian(robust_linear_regression(X, Y, 0.25, 2.0, 0.5), first.init)
    assert function._cache_size() == before
    assert first.log_likelihood is likelihoods.robust_log_likelihood


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta": 0.0}, "beta must be > 0"),
        ({"beta": "much"}, "beta must be a finite number"),
        ({"observation_scale": -1.0}, "observation_scale must be > 0"),
        ({"prior_scale": 0.0}, "prior_scale must be > 0"),
        ({"y": np.zeros(6)}, "observation_scale must be given: half of the residuals are 0"),
        ({"y": np.zeros(5)}, r"y must have shape \(N,\) = \(6,\)"),
    ],
)
def test_bad_arguments(change: dict, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        robust_linear_regression(**{"X": X, "y": Y, **change})
