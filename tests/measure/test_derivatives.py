"""Derivatives in float64: against formulas written out in NumPy, over cut and uncut blocks, compiled once."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradnoise import Problem, derivatives, models


def logistic(n=53, d=4, seed=0, **options):
    r = np.random.default_rng(seed)
    X = r.normal(size=(n, d)) @ np.diag(np.arange(1, d + 1))
    y = (r.random(n) < 1 / (1 + np.exp(-X[:, 0]))).astype(float)
    return models.logistic_regression(X, y, prior_scale=0.7, intercept=False, **options), X, y


def by_hand(X, y, theta, tau=0.7**-2):
    """Loss, gradient, Hessian and example gradients of logistic regression."""
    n, d = X.shape
    p = 1 / (1 + np.exp(-X @ theta))
    value = (
        -np.sum(y * np.log(p) + (1 - y) * np.log1p(-p)) + 0.5 * tau * theta @ theta - d / 2 * np.log(tau / 2 / np.pi)
    )
    each = X * (p - y)[:, None] + tau * theta / n
    return value / n, each.mean(0), X.T @ (X * (p * (1 - p))[:, None]) / n + tau * np.eye(d) / n, each


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of seven rows; tests that use it have sizes of their own, compiled under this setting."""
    monkeypatch.setattr(derivatives, "_LEAST_ROWS", 7)
    monkeypatch.setattr(derivatives, "_BLOCK_NUMBERS", 7)
    monkeypatch.setattr(derivatives, "_DIRECTIONS", 3)


def check_all(problem, X, y):
    theta = np.linspace(-0.4, 0.5, X.shape[1])
    value, slope, curvature, each = by_hand(X, y, theta)
    np.testing.assert_allclose(derivatives.loss(problem, theta), value, rtol=1e-13)
    np.testing.assert_allclose(derivatives.gradient(problem, theta), slope, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(derivatives.hessian(problem, theta), curvature, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(derivatives.example_gradients(problem, theta), each, rtol=1e-11, atol=1e-14)
    mean, covariance = derivatives.gradient_moments(problem, theta)
    np.testing.assert_allclose(mean, slope, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(covariance, np.cov(each.T, bias=True), rtol=1e-11, atol=1e-13)
    v = np.arange(X.shape[1]) - 1.3
    np.testing.assert_allclose(derivatives.hessian_product(problem, theta, v), curvature @ v, rtol=1e-11, atol=1e-13)


def test_one_block_agrees_with_formulas():
    check_all(*logistic())


# a whole number of blocks, and last blocks of one, five and seven rows
# slow: one block, and a last block between one row and a whole one; each size compiles everything anew
@pytest.mark.parametrize(
    "n", [pytest.param(7, marks=pytest.mark.slow), 8, pytest.param(61, marks=pytest.mark.slow), 63]
)
def test_many_blocks_agree_with_formulas(small_blocks, n):
    check_all(*logistic(n, 5))


def test_a_row_counted_twice_would_be_seen(small_blocks):
    problem, X, y = logistic(30, 5, seed=3)
    theta = np.full(5, 0.2)
    doubled = by_hand(np.vstack([X, X[-5:]]), np.append(y, y[-5:]), theta)[1]
    assert np.max(np.abs(derivatives.gradient(problem, theta) - doubled)) > 1e-3


def test_averages_are_means_over_vectors():
    problem, _, _ = logistic(40, 3, seed=1)
    vectors = np.random.default_rng(2).normal(size=(6, 3))
    each = [
        (derivatives.gradient(problem, v), derivatives.hessian(problem, v), derivatives.gradient_moments(problem, v)[1])
        for v in vectors
    ]
    for got, wanted in zip(derivatives.averages(problem, vectors), zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(got, np.mean(wanted, 0), rtol=1e-12, atol=1e-15)
    slope, curvature = derivatives.average_curvature(problem, vectors)
    np.testing.assert_allclose(slope, np.mean([e[0] for e in each], 0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(curvature, np.mean([e[1] for e in each], 0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(derivatives.losses(problem, vectors), [derivatives.loss(problem, v) for v in vectors])


def test_network_hessian_agrees_with_finite_differences():
    r = np.random.default_rng(0)
    problem = models.mlp(r.normal(size=(20, 2)), r.integers(0, 3, 20), widths=(3,), key=1)
    theta = r.normal(size=problem.num_params) / 2
    basis = np.eye(problem.num_params) * 1e-5
    slopes = [
        (derivatives.gradient(problem, theta + e) - derivatives.gradient(problem, theta - e)) / 2e-5 for e in basis
    ]
    np.testing.assert_allclose(derivatives.hessian(problem, theta), slopes, atol=1e-9)
    rises = [(derivatives.loss(problem, theta + e) - derivatives.loss(problem, theta - e)) / 2e-5 for e in basis]
    np.testing.assert_allclose(derivatives.gradient(problem, theta), rises, atol=1e-9)


def linear_in_params(params, example):
    return -jnp.sum(params * example)


def test_covariance_is_centred_before_it_is_squared():
    x = np.random.default_rng(0).normal(size=(500, 2))
    _, covariance = derivatives.gradient_moments(Problem(linear_in_params, x + 1e8, np.zeros(2)), np.zeros(2))
    np.testing.assert_allclose(covariance, np.cov(x.T, bias=True), rtol=1e-6)


def test_float32_data_are_computed_in_float64():
    _, X, y = logistic(31, 3)
    low = models.logistic_regression(X.astype(np.float32), y, prior_scale=0.7, intercept=False)
    high = models.logistic_regression(X.astype(np.float32).astype(np.float64), y, prior_scale=0.7, intercept=False)
    assert low.data["inputs"].dtype == np.float32
    theta = np.array([0.3, -0.2, 0.1])
    np.testing.assert_array_equal(derivatives.hessian(low, theta), derivatives.hessian(high, theta))
    assert derivatives.hessian(low, theta).dtype == np.float64
    assert not jax.config.jax_enable_x64


def test_a_scalar_parameter_works():
    problem = Problem(linear_in_params, np.arange(5.0), np.float32(0))
    mean, covariance = derivatives.gradient_moments(problem, [1.0])
    np.testing.assert_allclose((mean[0], covariance[0, 0]), (2.0, 2.0))
    assert derivatives.hessian(problem, [1.0]).shape == (1, 1)


@pytest.mark.parametrize("size", [1, 4, 31, 650, 5000, 10**7])
def test_blocks_stay_below_64_megabytes(size):
    rows = derivatives._rows(245_057, size)
    assert rows == 1 or rows * size * 8 <= 64 * 2**20


def test_other_hyperparameters_and_data_compile_nothing():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )

    def everything(problem):
        theta = np.full(3, 0.1)
        derivatives.averages(problem, np.eye(3))
        derivatives.average_curvature(problem, np.eye(3))
        derivatives.losses(problem, np.eye(3))
        return derivatives.loss_and_gradient(problem, theta), derivatives.hessian(problem, theta)

    first, _, _ = logistic(37, 3)
    everything(first)
    assert compiled
    compiled.clear()
    (before, _), _ = everything(first)
    other = dataclasses.replace(first, hyperparams={"prior_precision": np.array([1.0, 2.0, 3.0])})
    (after, _), _ = everything(other)
    everything(logistic(37, 3, seed=9)[0])
    assert compiled == []
    assert before != after


def test_wrong_shapes_are_named():
    problem, _, _ = logistic()
    with pytest.raises(ValueError, match=r"vector must have shape \(D = 4,\), got \(3,\)"):
        derivatives.loss(problem, np.zeros(3))
    with pytest.raises(ValueError, match=r"vectors must have shape \(M, D = 4\), got \(4,\)"):
        derivatives.averages(problem, np.zeros(4))
    with pytest.raises(ValueError, match=r"direction must have shape \(4,\)"):
        derivatives.hessian_product(problem, np.zeros(4), np.zeros(5))
