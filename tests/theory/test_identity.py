"""Identity: limits, invariances, closed forms where matrices commute."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_fails

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
P = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])
W = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]])


def test_no_jax():
    code = "import gradnoise.theory, sys; assert 'jax' not in sys.modules, 'jax was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- limits ---


@pytest.mark.parametrize("law", [{"momentum": 0.0}, {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}])
def test_continuous_time_is_the_limit_of_small_steps(law):
    """Relative distance falls like the learning rate."""
    gaps = []
    for rate in (1e-3, 1e-4):
        discrete, small = (
            theory.stationary_covariance(H, C, learning_rate=rate, batch_size=7, time=t, **law)
            for t in ("discrete", "continuous")
        )
        gaps.append(np.abs(discrete / small - 1).max())
    assert gaps[1] < 2e-3
    assert 8 < gaps[0] / gaps[1] < 12


@pytest.mark.parametrize("law", [{}, {"nesterov": True}])
def test_momentum_zero_is_sgd(law):
    plain = theory.stationary_covariance(H, C, learning_rate=0.3, batch_size=7)
    assert_allclose(
        theory.stationary_covariance(H, C, learning_rate=0.3, batch_size=7, momentum=0.0, **law), plain, rtol=1e-14
    )
    tiny = theory.stationary_covariance(H, C, learning_rate=0.3, batch_size=7, momentum=1e-9, **law)
    assert_allclose(tiny, plain, rtol=1e-8)


def test_preconditioner_is_a_learning_rate_where_it_is_a_multiple_of_one():
    for law in ({"momentum": 0.0}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}):
        for extra in ({}, {"time": "continuous"}, {"sampling": "shuffled", "num_examples": 30}):
            one = theory.stationary_covariance(H, C, learning_rate=0.3, batch_size=7, **law, **extra)
            two = theory.stationary_covariance(
                H, C, learning_rate=0.1, batch_size=7, preconditioner=3 * np.eye(3), **law, **extra
            )
            assert_allclose(one, two, rtol=1e-12)


def test_one_batch_an_epoch_is_sampling_without_replacement():
    """n = 1: N = B gives nothing, N < 2B a fresh subset each step."""
    for size in (7, 9, 13):
        setting = {"learning_rate": 0.3, "batch_size": 7, "num_examples": size, "momentum": 0.5}
        shuffled = theory.stationary_covariance(H, C, sampling="shuffled", **setting)
        fresh = theory.stationary_covariance(H, C, sampling="without_replacement", **setting)
        assert_allclose(shuffled, fresh, rtol=1e-12, atol=1e-18)
        assert (np.abs(fresh).max() == 0) == (size == 7)


def test_shuffled_limits_and_positions():
    rates = np.array([1e-6, 2e-6])
    n = 1000
    independent = np.diag(theory.mode_covariance(rates, np.ones((2, 2))))
    for position, expected in (("mean", rates * n / 3), ("end", (rates * n) ** 2 / 12)):
        found = np.diag(theory.shuffled_weights(rates, num_examples=n, batch_size=1, position=position)) / independent
        assert_allclose(found, expected, rtol=3e-3)
    setting = {"learning_rate": 0.3, "batch_size": 3, "num_examples": 13, "momentum": 0.6}
    at = [theory.shuffled_covariance(H, C, position=k, **setting) for k in range(5)]
    assert_allclose(at[0], at[4], rtol=1e-12)
    assert_allclose(at[4], theory.shuffled_covariance(H, C, position="end", **setting), rtol=1e-12)
    assert_allclose(np.mean(at[1:], axis=0), theory.shuffled_covariance(H, C, **setting), rtol=1e-12)


def test_long_epochs_forget_that_they_are_shuffled():
    """x = ηλN/B ≫ 1."""
    setting = {"learning_rate": 0.5, "batch_size": 1, "num_examples": 100_000}
    shuffled, independent = (
        theory.stationary_covariance(H, C, sampling=s, **setting) for s in ("shuffled", "without_replacement")
    )
    assert_allclose(shuffled, independent, rtol=3e-4)


def test_shuffled_epochs_of_many_steps_and_soft_directions_lose_no_digits():
    """x from 1e-5 to 1e3 with 10⁵ steps an epoch, against the plain sum in extended precision."""
    rates, n = np.array([1e-10, 1e-7, 1e-4, 1e-2]), 100_000
    found = np.diag(theory.shuffled_weights(rates, num_examples=n, batch_size=1, position="end"))
    j = np.arange(n, dtype=np.longdouble)
    direct = []
    for value in rates:
        w = np.exp(j * np.log1p(-np.longdouble(value)))
        direct.append(n * np.sum((w - w.mean()) ** 2) / (n - 1))
    expected = np.array(direct, dtype=float) / -np.expm1(2 * n * np.log1p(-rates))
    assert_allclose(found, expected, rtol=2e-5)
    assert_allclose(found[1:], expected[1:], rtol=1e-8)


def test_langevin_tends_to_the_posterior():
    posterior = np.linalg.inv(H) / 50
    for extra in ({}, {"preconditioner": P}, {"sampling": "shuffled"}, {"sampling": "without_replacement"}):
        for time in ("discrete", "continuous"):
            if time == "continuous" and extra.get("sampling") == "shuffled":
                continue
            law = theory.langevin_covariance(H, C, step_size=1e-9, num_examples=50, batch_size=7, time=time, **extra)
            assert_allclose(law, posterior, rtol=1e-4)
    wide = theory.langevin_covariance(H, C, step_size=0.01, num_examples=50, batch_size=7)
    assert np.linalg.eigvalsh(wide - posterior)[0] > 0
    less = theory.langevin_covariance(H, C, step_size=0.01, num_examples=50, batch_size=7, sampling="shuffled")
    assert np.linalg.eigvalsh(wide - less)[0] > 0  # shuffling helps Langevin


def test_averages_limits():
    setting = {"learning_rate": 0.4, "batch_size": 7, "momentum": 0.6, "nesterov": True}
    chain = theory.linear_chain(H, C, **setting)
    assert_allclose(chain.average(1), chain.covariance, rtol=1e-13)
    assert_allclose(chain.ema(0.0), chain.covariance, rtol=1e-13)
    sandwich = np.linalg.solve(H, np.linalg.solve(H, C).T) / 7
    assert_allclose(chain.long_run_covariance, sandwich, rtol=1e-12)
    assert_allclose(1e7 * chain.average(10**7), sandwich, rtol=1e-4)
    two = (2 * chain.covariance + chain.autocovariance(1) + chain.autocovariance(-1)) / 4
    assert_allclose(theory.iterate_average_covariance(H, C, window=2, **setting), two, rtol=1e-12)


def test_times_are_sums_of_autocorrelations():
    chain = theory.linear_chain(H, C, learning_rate=0.4, batch_size=7, momentum=0.6, injected=0.01 * W)
    a = np.array([0.3, -1.0, 0.5])
    for thin in (1, 2, 5):
        lags = np.array([a @ chain.autocovariance(thin * j) @ a for j in range(400)])
        assert_allclose(chain.iact(a, thin=thin), 2 * np.sum(lags / lags[0]) - 1, rtol=1e-12)
        assert_allclose(chain.iact(a, quadratic=True, thin=thin), 2 * np.sum((lags / lags[0]) ** 2) - 1, rtol=1e-12)
        assert_allclose(
            chain.iact(np.outer(a, a), quadratic=True, thin=thin), chain.iact(a, quadratic=True, thin=thin), rtol=1e-13
        )
    assert_allclose(chain.effective_sample_size(a, 1000, 8, quadratic=True), 8000 / chain.iact(a, quadratic=True))


def test_velocity_block():
    """Cov(η m) = η(HΣ + ΣH)/(1+μ), discrete_noise.md §2.1."""
    chain = theory.linear_chain(H, C, learning_rate=0.4, batch_size=7, momentum=0.6)
    drift = H @ chain.covariance
    assert_allclose(chain.state_covariance[3:, 3:], 0.4 * (drift + drift.T) / 1.6, rtol=1e-12)


def test_paper_matrix_equation():
    """(1−μ)(PHΣ+ΣHP) − (1+μ²)/(1−μ²)PHΣHP + μ/(1−μ²)(PHPHΣ+ΣHPHP) = PSP, and not with the sign of the second term flipped."""
    mu = 0.6
    sigma = theory.stationary_covariance(H, C, learning_rate=1, batch_size=7, momentum=mu, preconditioner=P)
    once, twice, middle = P @ H @ sigma, P @ H @ P @ H @ sigma, P @ H @ sigma @ H @ P

    def residual(sign):
        left = (
            (1 - mu) * (once + once.T)
            - sign * (1 + mu**2) / (1 - mu**2) * middle
            + mu / (1 - mu**2) * (twice + twice.T)
        )
        assert_allclose(left, P @ C @ P / 7, rtol=1e-10)

    residual(1)
    assert_fails(residual, -1, defect="sign of HΣH")


def test_excess_loss():
    """½Tr(HΣ) = ½ Σ η C_ii/B /[(1−μ)(2 − ηh_i/(1+μ))], discrete_noise.md §2.6; C_ii in H's basis, H and C not commuting."""
    values, vectors = np.linalg.eigh(H)
    for mu in (0.0, 0.5):
        sigma = theory.stationary_covariance(H, C, learning_rate=0.5, batch_size=7, momentum=mu)
        noise = np.diag(vectors.T @ C @ vectors) / 7
        assert_allclose(
            np.trace(H @ sigma), np.sum(0.5 * noise / ((1 - mu) * (2 - 0.5 * values / (1 + mu)))), rtol=1e-12
        )


# --- closed forms where everything commutes ---


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.6, False), (0.6, True)])
def test_commuting_closed_forms(mu, nesterov):
    h, c, rate = np.array([2.0, 0.7, 0.1]), np.array([1.0, 0.2, 3.0]), 0.4
    found = theory.stationary_covariance(
        np.diag(h), np.diag(c), learning_rate=rate, batch_size=7, momentum=mu, nesterov=nesterov
    )
    r = rate * h
    if nesterov:
        expected = (
            rate
            / 7
            * c
            * (1 + mu + mu * r * (1 + 2 * mu))
            / (h * (1 - mu + mu * r) * (2 * (1 + mu) - r * (1 + 2 * mu)))
        )
    else:
        expected = rate / 7 * c / ((1 - mu) * h * (2 - r / (1 + mu)))
    assert_allclose(found, np.diag(expected), rtol=1e-13, atol=1e-18)


def test_langevin_commuting_closed_form():
    h, c, epsilon, examples = np.array([2.0, 0.7, 0.1]), np.array([1.0, 0.2, 3.0]), 0.01, 50
    step = epsilon * examples / 2
    expected = (1 / (examples * h) + step * c / (2 * 7 * h)) / (1 - step * h / 2)
    found = theory.langevin_covariance(np.diag(h), np.diag(c), step_size=epsilon, num_examples=examples, batch_size=7)
    assert_allclose(found, np.diag(expected), rtol=1e-13, atol=1e-18)


def test_divergence_law_of_the_learning_rate():
    """KL(a η*) − KL(η*) = (D/2)(a − 1 − ln a) in continuous time, whatever H and C (mandt2017.md §2.2, §2.5)."""
    posterior = np.linalg.inv(H) / 1000
    for preconditioner in (None, np.diag([0.3, 1.0, 2.0]), P):
        best = theory.optimal_learning_rate(
            C, num_examples=1000, batch_size=10, preconditioner=preconditioner, time="continuous"
        )
        gaps = [
            theory.gaussian_kl(
                theory.stationary_covariance(
                    H, C, learning_rate=a * best, batch_size=10, preconditioner=preconditioner, time="continuous"
                ),
                posterior,
            )
            for a in (1, 2, 0.5)
        ]
        assert_allclose(np.array(gaps[1:]) - gaps[0], [1.5 * (a - 1 - np.log(a)) for a in (2, 0.5)], rtol=1e-10)


def test_ill_conditioned_problem_keeps_its_digits():
    """Condition number 1e8: relaxation 1e9 steps."""
    h = np.geomspace(1e-8, 1.0, 9)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(9, 9)))[0]
    hessian = rotation * h @ rotation.T
    for mu, tolerance in ((0.0, 1e-6), (0.9, 1e-6)):
        law = theory.stationary_covariance(hessian, hessian, learning_rate=0.1, batch_size=10, momentum=mu)
        frame = rotation.T @ law @ rotation
        assert_allclose(np.diag(frame), 0.1 / 10 / ((1 - mu) * (2 - 0.1 * h / (1 + mu))), rtol=tolerance)
