"""Diagnostics against the closed forms of AR(1) and VAR(1)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, signal, stats

from gradnoise import diagnose
from gradnoise.testing import assert_estimate, assert_fails

F = np.array([[0.7, 0.3], [-0.1, 0.4]])  # not symmetric: complex memory, no common eigenbasis with Z
OMEGA = np.array([[1.0, 0.4], [0.4, 0.3]])
Z = linalg.solve_discrete_lyapunov(F, OMEGA)
A = np.array([1.0, -0.6])


def ar1(rng, chains, steps, r, sd=2.0, mean=3.0):
    noise = rng.normal(size=(chains, steps)) * np.sqrt(1 - r**2)
    noise[:, 0] /= np.sqrt(1 - r**2)
    return mean + sd * signal.lfilter([1.0], [1.0, -r], noise, axis=1)


def var1(rng, chains, steps):
    x = np.empty((chains, steps, 2))
    state = rng.normal(size=(chains, 2)) @ np.linalg.cholesky(Z).T
    root = np.linalg.cholesky(OMEGA)
    for t in range(steps):
        x[:, t] = state
        state = state @ F.T + rng.normal(size=(chains, 2)) @ root.T
    return x


def finite_window(rho, steps):
    """T·Var(mean)/Var of a chain with autocorrelations rho_0, rho_1, ..."""
    lags = np.arange(1, steps)
    return 1 + 2 * np.sum((1 - lags / steps) * rho[1:steps])


@pytest.mark.parametrize("r", [-0.5, 0.3, 0.9])
def test_autocorrelation_time_of_ar1(r):
    x = ar1(np.random.default_rng(1), 20_000, 60, r)
    for quadratic, decay in ((False, r), (True, r**2)):
        time = diagnose.integrated_autocorrelation_time(x, quadratic=quadratic)
        exact = finite_window(decay ** np.arange(60.0), 60)
        closed = (1 + decay) / (1 - decay) - 2 * decay * (1 - decay**60) / (60 * (1 - decay) ** 2)
        assert exact == pytest.approx(closed, rel=1e-12)  # the docstring's formula
        assert_estimate(time, exact, detects=0.15)
        assert_fails(assert_estimate, time, 1.2 * exact, detects=0.15)
        assert time.standard_error / time.value < 2 * np.sqrt(2 / 20_000)


def test_autocorrelation_time_of_var1_along_a_direction_and_of_a_quadratic_form():
    x = var1(np.random.default_rng(2), 8192, 100)
    powers = [np.linalg.matrix_power(F, k) for k in range(100)]
    along = np.array([A @ p @ Z @ A for p in powers]) / (A @ Z @ A)
    form = np.array([[1.0, 0.2], [0.2, 3.0]])
    squares = np.array([np.trace(form @ p @ Z @ form @ Z @ p.T) for p in powers]) / np.trace(form @ Z @ form @ Z)
    time = diagnose.integrated_autocorrelation_time
    assert_estimate(time(x, A), finite_window(along, 100), detects=0.15)
    assert_estimate(time(x, A, quadratic=True), finite_window(along**2, 100), detects=0.15)
    assert_estimate(time(x, form, quadratic=True, mean=[0, 0]), finite_window(squares, 100), detects=0.15)
    each = np.array([p @ Z for p in powers])
    rho = np.array([each[:, i, i] / Z[i, i] for i in range(2)])
    assert_estimate(time(x), [finite_window(c, 100) for c in rho], detects=0.15)
    size = diagnose.effective_sample_size(x, A)
    assert size.value == pytest.approx(8192 * 100 / time(x, A).value)
    assert_estimate(size, 8192 * 100 / finite_window(along, 100), detects=0.15)


def test_standard_error_of_the_autocorrelation_time_covers():
    rng = np.random.default_rng(3)
    exact = finite_window(0.6 ** np.arange(200.0), 200)
    times = [diagnose.integrated_autocorrelation_time(ar1(rng, 64, 200, 0.6)) for _ in range(400)]
    z = [t.z(exact) for t in times]
    assert np.std([t.value for t in times]) == pytest.approx(np.mean([t.standard_error for t in times]), rel=0.2)
    assert np.std(z) < 1.5


def test_jackknife_agrees_with_leaving_chains_out_by_hand():
    x = ar1(np.random.default_rng(4), 7, 11, 0.5)
    time = diagnose.integrated_autocorrelation_time
    left_out = [time(np.delete(x, c, axis=0)).value for c in range(7)]
    by_hand = np.sqrt(6 * np.var(left_out))
    assert time(x).standard_error == pytest.approx(by_hand, rel=1e-10)
    two = time(x[:2])
    assert two.standard_error == pytest.approx(np.sqrt(2) * two.value)


def test_batch_means_of_ar1():
    rng = np.random.default_rng(5)
    r, steps, length = 0.8, 40_000, 100
    fits = [diagnose.batch_means(ar1(rng, 1, steps, r)[0], length) for _ in range(100)]
    long_run = 4.0 * (1 + r) / (1 - r) * (1 - 2 * r / (1 - r**2) / length)  # with its bias -c/b
    variances = np.array([fit.standard_error**2 * steps for fit in fits])
    error = np.std(variances, ddof=1) / 10
    assert abs(variances.mean() - long_run) < stats.t.isf(1e-6, 99) * error
    assert stats.t.isf(1e-6, 99) * error < 0.05 * long_run
    z = np.array([fit.z(3.0) for fit in fits])
    assert np.std(z) == pytest.approx(1, abs=0.35)
    assert fits[0].n == 400


def test_batch_means_shapes_and_dropped_steps():
    x = np.random.default_rng(6).normal(size=(103, 2))
    fit = diagnose.batch_means(x)
    assert (fit.n, fit.value.shape) == (10, (2,))
    assert fit.value == pytest.approx(x[3:].mean(0))  # the first three fill no batch
    with pytest.raises(ValueError, match="at least two batches, got length = 60 for 103 steps"):
        diagnose.batch_means(x, 60)


def test_gaussian_fit_and_its_floor():
    rng = np.random.default_rng(7)
    root = np.linalg.cholesky(Z)
    x = rng.normal(size=(2000, 2)) @ root.T + A
    fit = diagnose.gaussian_fit(x)
    np.testing.assert_allclose(fit.mean, x.mean(0))
    np.testing.assert_allclose(fit.covariance, np.cov(x.T))
    assert fit.effective_size == 2000
    assert fit.kl_floor == pytest.approx(6 / 8000)
    assert diagnose.gaussian_fit(x, effective_size=50).kl_floor == pytest.approx(6 / 200)


def test_floor_is_the_mean_kl_of_fits_to_draws_of_the_right_law():
    rng = np.random.default_rng(8)
    dim, count = 6, 300
    kls, with_mean = [], []
    for _ in range(600):
        fit = diagnose.gaussian_fit(rng.normal(size=(count, dim)))
        kl = 0.5 * (np.trace(fit.covariance) - dim - np.linalg.slogdet(fit.covariance)[1])
        kls.append(kl)
        with_mean.append(kl + 0.5 * fit.mean @ fit.mean)
    assert np.mean(kls) == pytest.approx(diagnose.kl_floor(dim, count), rel=0.05)
    assert np.mean(with_mean) == pytest.approx(diagnose.kl_floor(dim, count, fitted_mean=True), rel=0.05)


def test_effective_size_of_a_fit_sees_memory():
    rng = np.random.default_rng(9)
    x = np.stack([ar1(rng, 256, 200, 0.9) for _ in range(3)], axis=2)
    expected = 256 * 200 / ((1 + 0.81) / (1 - 0.81))
    assert diagnose.gaussian_fit(x).effective_size == pytest.approx(expected, rel=0.2)
    scaled = diagnose.gaussian_fit(x * [1e-6, 1, 1e6]).effective_size
    assert scaled == pytest.approx(diagnose.gaussian_fit(x).effective_size, rel=1e-6)


def test_stationarity():
    rng = np.random.default_rng(10)
    x = np.stack([ar1(rng, 500, 101, 0.7), ar1(rng, 500, 101, -0.2)], axis=2)
    limit = stats.t.isf(1e-6 / 4, 499)
    assert diagnose.stationarity(x).worst_z < limit
    drifting = x + np.linspace(0, 1, 101)[:, None] * [1.0, 0.0]
    halves = diagnose.stationarity(drifting)
    assert halves.mean_shift.z(0)[0] > limit > abs(halves.mean_shift.z(0)[1])
    growing = (x - 3) * np.linspace(0.8, 1.2, 101)[:, None]
    assert diagnose.stationarity(growing).variance_growth.z(0).min() > limit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diagnose.integrated_autocorrelation_time(np.ones(5)), r"shape \(chain, step\)"),
        (lambda: diagnose.integrated_autocorrelation_time(np.ones((1, 5))), "at least 2 independent chains"),
        (lambda: diagnose.integrated_autocorrelation_time([[1, np.nan], [2, 3]]), "chain 0, step 1 is nan"),
        (lambda: diagnose.integrated_autocorrelation_time(np.ones((3, 5))), "must vary"),
        (lambda: diagnose.integrated_autocorrelation_time(np.eye(3)[None].repeat(2, 0), [1, 2]), r"shape \(3,\)"),
        (lambda: diagnose.effective_sample_size([[1, -1], [-1, 1]]), "without any spread"),
        (lambda: diagnose.batch_means(np.ones((2, 2, 2))), r"trajectory must have shape"),
        (lambda: diagnose.gaussian_fit(np.ones((2, 3))), "more than D = 3"),
        (lambda: diagnose.gaussian_fit(np.random.default_rng(0).normal(size=(1, 9, 2))), "at least two chains"),
        (lambda: diagnose.gaussian_fit(np.ones((2, 9, 2))), "covariance is singular"),
        (lambda: diagnose.kl_floor(3, 0), "n_eff must be > 0"),
        (lambda: diagnose.stationarity(np.ones((2, 3))), "two independent|2 independent chains of 4 steps"),
        (lambda: diagnose.stationarity(np.ones((2, 8))), "coordinate 0 is constant"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
