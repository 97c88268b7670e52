"""Least squares on fresh Gaussian inputs: golden values of discrete_noise.md 3.2-3.7, and the finite-data law as N grows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize_scalar

from gradnoise import theory
from gradnoise.testing import planted_defects

A = np.diag([1.0, 0.5, 0.2])
NOISE = 0.5**0.5


@pytest.mark.parametrize(
    ("setting", "variances", "excess"),
    [
        ({"learning_rate": 0.3, "batch_size": 4}, (0.0249382, 0.0223584, 0.0210517), 0.02016387),
        ({"learning_rate": 0.3, "batch_size": 1}, (0.1609805, 0.1325722, 0.1198791), 0.12562122),
        ({"learning_rate": 1, "batch_size": 8}, (0.0893326, 0.0543764, 0.0440372), 0.06266411),
        ({"learning_rate": 0.1, "batch_size": 4, "momentum": 0.8}, (0.0387780, 0.0369449, 0.0359259), 0.03221782),
    ],
)
def test_table_discrete_noise_3_3(setting, variances, excess):
    law = theory.gaussian_inputs_moments(A, label_noise=NOISE, **setting)
    assert_allclose(np.diag(law.covariance), variances, atol=5e-8)
    assert law.excess_loss == pytest.approx(excess, abs=5e-9)
    mu, share = setting.get("momentum", 0), setting["learning_rate"] / setting["batch_size"]
    a = np.diag(A)
    q = 2 * (1 - mu) - ((1 - mu) / (1 + mu) + 1 / setting["batch_size"]) * setting["learning_rate"] * a
    t = (a / q).sum()
    assert_allclose(np.diag(law.covariance), share * 0.5 / (q * (1 - share * t)), rtol=1e-12)


def test_edges_discrete_noise_3_2():
    def edge(inputs, size):
        return theory.gaussian_inputs_moments(inputs, learning_rate=1e-3, batch_size=size).second_moment_edge

    printed = (0.5912100, 0.9296325, 1.2883575, 1.7708398, 1.9388345)
    assert_allclose([edge(A, size) for size in (1, 2, 4, 16, 64)], printed, atol=5e-8)
    assert_allclose([edge([[1.0]], size) for size in (1, 4, 64)], (0.666667, 1.333333, 1.939394), atol=5e-7)
    assert edge(0.7 * np.eye(5), 4) == pytest.approx(2 * 4 / (0.7 * (4 + 1 + 5)))
    eta = edge(A, 4)  # Σ 1/(2/(ηa) − 1 − 1/B) = B
    assert np.sum(1 / (2 / (eta * np.diag(A)) - 1 - 1 / 4)) == pytest.approx(4)


def test_gaussian_inputs_moments_by_many_rows():
    """Quadrature in place of data: a product of Gauss-Hermite rules has the fourth moments of a Gaussian exactly."""
    nodes, weights = np.array([-(3**0.5), 0, 3**0.5]), np.array([1, 4, 1])  # sixths
    grid = [(i, j) for i in range(3) for j in range(3)]
    inputs = np.array([[0.9, 0.2], [0.2, 0.4]])
    root = np.linalg.cholesky(inputs)
    rows = np.concatenate([np.tile(root @ nodes[[i, j]], (weights[i] * weights[j], 1)) for i, j in grid])
    truth = np.array([1.0, -1.0])
    setting = {"learning_rate": 0.25, "batch_size": 3, "momentum": 0.4, "ridge": 0.3, "label_noise": 0.2}
    finite = theory.least_squares_moments(rows, rows @ truth, **setting)

    def check(law):
        assert_allclose(law.mean, finite.mean, rtol=1e-12)
        assert_allclose(law.covariance, finite.covariance, rtol=1e-12)
        assert_allclose(law.second_moment_edge, finite.second_moment_edge, rtol=1e-12)

    planted_defects(
        check,
        theory.gaussian_inputs_moments(inputs, truth=truth, **setting),
        {
            "sign of AΣA": theory.least_squares_moments(rows, rows @ truth, **setting | {"batch_size": 4}),
            "truth forgotten": theory.gaussian_inputs_moments(inputs, **setting),
            "ridge forgotten": theory.gaussian_inputs_moments(inputs, truth=truth, **setting | {"ridge": 0.0}),
        },
    )


def risk(law, inputs, truth):
    gap = law.mean - truth
    return (np.trace(inputs @ law.covariance) + gap @ inputs @ gap) / 2


def test_ridge_and_input_noise_discrete_noise_3_4():
    inputs, truth = np.diag([1, 0.5]), np.array([1.0, -1.0])
    golden = {
        0.3: ((0.7692308, -0.625), (0.00545165, -0.00149514, 0.00442172), 0.06561472),
        -0.1: ((1.1111111, -1.25), (0.00244476, -0.00073642, 0.00331434), 0.02384880),
    }
    for ridge, (mean, printed, loss) in golden.items():
        law = theory.gaussian_inputs_moments(inputs, learning_rate=0.25, batch_size=4, truth=truth, ridge=ridge)
        assert_allclose(law.mean, mean, atol=5e-8)
        assert_allclose(law.covariance[[0, 0, 1], [0, 1, 1]], printed, atol=5e-9)
        assert risk(law, inputs, truth) == pytest.approx(loss, abs=5e-9)
    blur = np.diag([0.3, 0.2])
    best = np.linalg.solve(inputs + blur, inputs @ truth)
    residual = truth @ inputs @ np.linalg.solve(inputs + blur, blur @ truth)
    law = theory.gaussian_inputs_moments(
        inputs + blur, learning_rate=0.25, batch_size=4, truth=best, label_noise=residual**0.5
    )
    assert_allclose(law.mean, (0.7692308, -0.7142857), atol=5e-8)
    assert residual == pytest.approx(0.3736264, abs=5e-8)
    assert_allclose(np.diag(law.covariance), (0.0158493, 0.0141810), atol=5e-8)


def test_negative_ridge_d15():
    """γ* < 0 exactly where ηa > 1."""

    def loss(ridge, rate, size=4, noise=0.25):
        law = theory.gaussian_inputs_moments(
            [[1.0]], learning_rate=rate, batch_size=size, truth=[1.0], ridge=ridge, label_noise=noise**0.5
        )
        return risk(law, np.eye(1), np.ones(1))

    def best(rate, size=4, noise=0.25, bounds=(-0.15, 0.1)):
        return minimize_scalar(loss, args=(rate, size, noise), bounds=bounds, method="bounded", options={"xatol": 1e-9})

    printed = {
        0.5: (0.0083748, 0.0124585, 0.0125),
        0.9: (0.0074802, 0.0432198, 0.0432692),
        1.1: (-0.0167584, 0.0977393, 0.0982143),
        1.2: (-0.0511588, 0.1780209, 0.1875),
    }
    for rate, (ridge, value, at_zero) in printed.items():
        found = best(rate)
        assert found.x == pytest.approx(ridge, abs=1e-6)
        assert found.fun == pytest.approx(value, abs=5e-8)
        assert loss(0.0, rate) == pytest.approx(at_zero, abs=5e-8)
    for size in (4, 16):
        assert best(0.99, size, bounds=(-0.05, 0.05)).x > 0 > best(1.01, size, bounds=(-0.05, 0.05)).x
    found = best(1.36, noise=0.0, bounds=(-0.2, -0.03))  # beyond the edge 4/3 only a negative ridge is stable
    assert found.x == pytest.approx(-0.103034, abs=1e-5)
    assert found.fun == pytest.approx(0.233790, abs=5e-7)


def test_linear_scaling_d16():
    def excess(rate, size):
        return theory.gaussian_inputs_moments(A, learning_rate=rate, batch_size=size, label_noise=NOISE).excess_loss

    printed = (0.00439146, 0.00442638, 0.00449818, 0.00465024, 0.00499356, 0.00589970, 0.00732015)
    assert_allclose([excess(0.02 * size, size) for size in (1, 2, 4, 8, 16, 32, 48)], printed, atol=5e-9)
    rates = (0.0257404, 0.0509790, 0.1, 0.1925389, 0.3579199, 0.6249788, 0.9869626)
    wanted = excess(0.1, 4)
    found = [
        brentq(lambda r, b=size: excess(r, b) - wanted, 1e-3, min(1.2, 0.3 * size)) for size in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert_allclose(found, rates, atol=5e-8)


def test_one_mode_rule_discrete_noise_3_7():
    """η(B) = 2VB/(s² + Va(B+2)) keeps the variance V."""
    a, noise, wanted = 0.8, 0.3, 0.05
    for size in (1, 4, 64):
        rate = 2 * wanted * size / (noise + wanted * a * (size + 2))
        law = theory.gaussian_inputs_moments([[a]], learning_rate=rate, batch_size=size, label_noise=noise**0.5)
        assert law.covariance[0, 0] == pytest.approx(wanted)


def test_sign_of_the_rank_one_term_d14():
    """2·10⁵ Gaussian inputs: + is right to 1 %, − wrong by more than 40 % (Ziyin et al. print −)."""
    rng = np.random.default_rng(5)
    inputs = np.array([[1.0, 0.2, 0.0], [0.2, 0.6, 0.1], [0.0, 0.1, 0.3]])
    rows = rng.normal(size=(200_000, 3)) @ np.linalg.cholesky(inputs).T
    truth = np.array([1.0, -2.0, 0.5])
    C = theory.least_squares_noise(rows, rows @ truth, np.zeros((3, 3)), ridge=1.0)
    gap = np.linalg.solve(inputs + np.eye(3), inputs @ truth) - truth
    level, pull = gap @ inputs @ gap * inputs, np.outer(inputs @ gap, inputs @ gap)
    plus, minus = (np.linalg.norm(C - level - sign * pull) / np.linalg.norm(C) for sign in (1, -1))
    assert plus < 0.02
    assert minus > 0.4
