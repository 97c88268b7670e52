"""Temperature, gradient noise scales, best steps and the estimators of signal and noise: enumeration, search, simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

from gradnoise import theory
from gradnoise.results import Estimate, mean_of
from gradnoise.testing import assert_estimate, assert_fails, planted_defects

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
G = np.array([0.3, -0.2])


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


def test_temperature():
    """A slow mode's variance is T·C/h; T·C = (g/2N)·F without replacement; the golden heavy-ball variances of §2.5."""
    slow = 1e-7
    for mu in (0.0, 0.9):
        law = {"learning_rate": 0.3, "batch_size": 8, "momentum": mu}
        variance = theory.stationary_covariance([[slow]], [[1.7]], **law)[0, 0]
        found = theory.temperature(**law)
        planted_defects(
            close(variance * slow / 1.7, rtol=1e-6),
            found,
            {"missing factor 2": 2 * found, "momentum twice": found / (1 - mu / 2)} if mu else {"N": found / 50},
        )
    without = {"learning_rate": 0.3, "batch_size": 8, "num_examples": 50}
    temperature = theory.temperature(**without, momentum=0.6, sampling="without_replacement")
    assert_allclose(temperature, theory.noise_scale(**without, momentum=0.6) / 100 * 50 / 49, rtol=1e-12)
    for (eta, mu, h), golden in {(0.1, 0.9, 2): 0.263889, (0.5, 0.5, 3): 0.333333, (0.3, 0, 1.5): 0.129032}.items():
        found = theory.stationary_covariance([[h]], [[1.0]], learning_rate=eta, batch_size=1, momentum=mu)
        assert_allclose(found, golden, atol=5e-7)


def test_noise_scale_collapse():
    """smith_chaudhari.md A8: excess mean loss / g is tr F/(4N) for every η, B, μ with ηh small, and off by 1/(1−B/N) if g is ηN/B."""
    h, N = np.array([2.18, 0.94, 0.51, 0.17]), 1000
    F = np.diag([1.1, 0.9, 0.4, 0.35]) + 0.05
    settings = [(0.01, 10, 0), (0.02, 20, 0), (0.04, 39, 0), (0.04, 20, 0.5), (0.01, 50, 0.8), (0.05, 500, 0)]
    for rate, size, mu in settings:
        law = {"learning_rate": rate, "batch_size": size, "momentum": mu, "num_examples": N}
        sigma = theory.stationary_covariance(np.diag(h), F * (N - 1) / N, **law, sampling="without_replacement")
        excess = 0.5 * np.sum(h * np.diag(sigma))
        check = close(excess / (np.trace(F) / (4 * N)), rtol=0.05)
        found = theory.noise_scale(**law)
        wrong = {"momentum forgotten": found * (1 - mu)} if mu else {}
        planted_defects(check, found, wrong | {"factor 2": 2 * found})
    assert_allclose(found * 2, rate * N / size, rtol=1e-12)  # B = N/2: the approximate g is off by exactly 2


def test_optimum_batch_size():
    """The inverse of the noise scale; golden value of smith_chaudhari.md §2.5."""
    for rate, size, mu in itertools.product([0.1, 0.7], [20, 300], [0.0, 0.8]):
        scale = theory.noise_scale(learning_rate=rate, batch_size=size, num_examples=1000, momentum=mu)
        found = theory.optimum_batch_size(noise_scale=scale, learning_rate=rate, num_examples=1000, momentum=mu)
        approximate = rate * 1000 / (scale * (1 - mu))
        planted_defects(close(size), found, {"B much smaller than N": approximate})
    assert_allclose(theory.optimum_batch_size(noise_scale=0.9, learning_rate=0.2, num_examples=1000), 181.8, atol=0.05)


def expected_decrease(rate, size):
    return rate * G @ G - 0.5 * rate**2 * (G @ H @ G + np.trace(H @ C) / size)


@pytest.mark.parametrize("size", [1, 10, 300.0])
def test_best_step_by_search(size):
    """C3: numeric optimum of the expected decrease; half of it lost at the critical batch size."""
    found = theory.best_step(G, C, H, batch_size=size)
    search = optimize.minimize_scalar(lambda rate: -expected_decrease(rate, size), bounds=(0, 5), method="bounded")
    noise_free = G @ G / (G @ H @ G)
    planted_defects(close(search.x, 1e-4), found.learning_rate, {"no noise": noise_free * 1.001, "half": search.x / 2})
    planted_defects(close(-search.fun, 1e-8), found.loss_decrease, {"missing factor 1/2": 2 * found.loss_decrease})
    critical = theory.critical_noise_scale(G, C, H)
    planted_defects(
        close(noise_free / (1 + critical / size), 1e-12),
        found.learning_rate,
        {"the simple scale": noise_free / (1 + theory.gradient_noise_scale(G, C) / size)},
    )


@pytest.mark.law
def test_noise_scale_by_simulation():
    """E|ĝ|² of a batch of B is |g|²(1 + 𝓑/B): 50 000 batches of 8 examples."""
    rows = np.random.default_rng(4).normal(size=(50_000, 8, 2)) @ np.linalg.cholesky(C).T + G
    measured = mean_of(np.sum(rows.mean(1) ** 2, axis=1) / (G @ G))
    scale = theory.gradient_noise_scale(G, C)
    planted_defects(
        lambda found: assert_estimate(measured, 1 + found / 8),
        scale,
        {
            "missing factor 2": 2 * scale,
            "det for trace": np.linalg.det(C) / (G @ G),
            "|g| for |g|²": scale * np.sqrt(G @ G),
        },
    )


def test_noise_scales_equal_for_isotropic_curvature():
    simple = theory.gradient_noise_scale(G, C)
    planted_defects(
        close(simple),
        theory.critical_noise_scale(G, C, 3 * np.eye(2)),
        {"H diagonal": theory.critical_noise_scale(G, C, np.diag(np.diag(H)))},
    )
    # signal and noise of a batch of that size are equal
    planted_defects(close(G @ G), np.trace(C) / simple, {"missing factor 2": 2 * np.trace(C) / simple})


# --- estimators ---

RNG = np.random.default_rng(3)
EXAMPLES = RNG.normal(size=(2000, 6)) @ np.diag([1, 1.2, 1.4, 1.6, 1.8, 2.2]) + np.array([0.6, -0.5, 0.4, 0.7, 0, 0.3])


def pairs(count, seed, replace=True, small=8, big=64):
    """Squared norms of nested batch means."""
    rng = np.random.default_rng(seed)
    if replace:
        rows = rng.integers(0, 2000, (count, big))
    else:
        rows = rng.random((count, 2000)).argpartition(big, axis=1)[:, :big]
        rows = rng.permuted(rows, axis=1)
    chosen = EXAMPLES[rows]
    return [np.sum(chosen[:, :k].mean(1) ** 2, axis=1) for k in (small, big)]


@pytest.mark.parametrize("replace", [True, False])
def test_two_batch_estimates(replace):
    """C1, C2: unbiased, with the finite-population targets without replacement."""
    count = 60_000 if replace else 8_000
    found = theory.two_batch_estimates(*pairs(count, 1, replace), small_batch_size=8, big_batch_size=64)
    signal, trace = np.sum(EXAMPLES.mean(0) ** 2), EXAMPLES.var(0).sum()
    if not replace:
        F = EXAMPLES.var(0, ddof=1).sum()
        signal, trace = signal - F / 2000, F
    planted_defects(
        lambda p: assert_estimate(found.squared_gradient, p, detects=0.15),
        signal,
        {"norm of the big batch": signal + trace / 64},
    )
    planted_defects(
        lambda p: assert_estimate(found.noise_trace, p, detects=0.1), trace, {"harmonic weights": trace * (1 - 8 / 64)}
    )
    assert_estimate(found.gradient_noise_scale, trace / signal, detects=0.2)
    assert found.resolution > 20


def test_standard_error_of_the_ratio():
    """The ratio of averages over 500 repeats of 400 pairs spreads as the delta method says."""
    small, big = pairs(200_000, 5)
    runs = [
        theory.two_batch_estimates(s, b, small_batch_size=8, big_batch_size=64).gradient_noise_scale
        for s, b in zip(small.reshape(500, 400), big.reshape(500, 400), strict=True)
    ]
    spread = np.std([run.value for run in runs])
    planted_defects(
        close(spread, rtol=0.15),
        np.mean([run.standard_error for run in runs]),
        {"standard deviation for error": np.mean([run.standard_error for run in runs]) * 20},
    )


def test_standard_error_of_the_ratio_by_the_jackknife():
    """Exactly the delta method: leave-one-out over pairs gives the same to second order."""
    rng = np.random.default_rng(6)
    small, big = 5 + rng.normal(size=3000), 4 + rng.normal(size=3000)  # both as noisy, so that each term counts
    setting = {"small_batch_size": 1, "big_batch_size": 4}
    found = theory.two_batch_estimates(small, big, **setting).gradient_noise_scale
    signal, noise = (4 * big - small) / 3, (small - big) / (1 - 1 / 4)
    left_out = (noise.sum() - noise) / (signal.sum() - signal)
    jackknife = np.sqrt(2999 * left_out.var())
    independent = found.value * math.hypot(
        noise.std() / noise.mean() / math.sqrt(3000), signal.std() / signal.mean() / math.sqrt(3000)
    )
    planted_defects(close(jackknife, rtol=0.01), found.standard_error, {"errors independent": independent})


@pytest.mark.parametrize("size", [1, 4])
def test_gradient_estimates(size):
    """T10: unbiased over 20 000 repeats of K = 20 gradients; the jackknife error is the spread."""
    rng = np.random.default_rng(size)
    batches = EXAMPLES[rng.integers(0, 2000, (20_000, 20, size))].mean(2)
    runs = [theory.gradient_estimates(batch, batch_size=size) for batch in batches[:4000]]
    signal, trace = np.sum(EXAMPLES.mean(0) ** 2), EXAMPLES.var(0).sum()
    signals = mean_of([run.squared_gradient.value for run in runs])
    noises = mean_of([run.noise_trace.value for run in runs])
    planted_defects(
        lambda p: assert_estimate(signals, p, detects=0.2), signal, {"biased |mean|²": signal + trace / (20 * size)}
    )
    planted_defects(
        lambda p: assert_estimate(noises, p), trace, {"divided by K": trace * 19 / 20, "per batch": trace / 2}
    )
    errors = np.sqrt(np.mean([run.squared_gradient.standard_error**2 for run in runs]))
    spread = signals.standard_error * math.sqrt(signals.n)

    def on_the_safe_side(error):  # few noisy gradients: the jackknife is up to √2 too wide, never too narrow
        assert 0.97 < error / spread < 1.3

    planted_defects(on_the_safe_side, errors, {"error of a mean": errors / math.sqrt(20), "sd": errors * 1.5})


def test_unresolved_signal_is_said():
    found = theory.gradient_estimates([[1.0, 0.0], [-1.0, 0.1], [0.0, -0.2]])
    assert found.squared_gradient.value < 0
    assert found.gradient_noise_scale == Estimate(math.inf, math.inf, 3)
    assert found.resolution < 0
    found = theory.two_batch_estimates([5.0, 7.0], [0.1, 0.2], small_batch_size=1, big_batch_size=4)
    assert found.gradient_noise_scale.value == math.inf


def test_dimensions_of_the_estimates():
    """Loss × ½, parameters × 3: gradients × 1/6."""
    rows = EXAMPLES[:30]
    plain, scaled = theory.gradient_estimates(rows), theory.gradient_estimates(rows / 6)
    small, big = pairs(50, 2)
    settings = {"small_batch_size": 8, "big_batch_size": 64}
    pair, pair_scaled = (theory.two_batch_estimates(f * small, f * big, **settings) for f in (1, 1 / 36))
    for a, b in ((plain, scaled), (pair, pair_scaled)):
        for name, power in (("squared_gradient", 2), ("noise_trace", 2), ("gradient_noise_scale", 0)):
            check = close(getattr(a, name).value / 6**power)
            check(getattr(b, name).value)
            assert_allclose(getattr(b, name).standard_error, getattr(a, name).standard_error / 6**power, rtol=1e-9)
            assert_fails(check, getattr(b, name).value * 6, defect="exponent of the gradient")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.temperature(learning_rate=0, batch_size=2), "learning_rate must be > 0"),
        (lambda: theory.temperature(learning_rate=1, batch_size=2, sampling="shuffled"), "'shuffled'"),
        (lambda: theory.gradient_noise_scale([0, 0], C), "gradient must not be zero"),
        (lambda: theory.gradient_noise_scale([1.0], C), "gradient_covariance must have shape"),
        (lambda: theory.critical_noise_scale([0, 1], C, -H), "hessian must curve upwards along the gradient"),
        (lambda: theory.best_step(G, C, -H, batch_size=2), "hessian must curve upwards along the gradient"),
        (lambda: theory.best_step(G, C, H, batch_size=0), "batch_size must be > 0"),
        (lambda: theory.optimum_batch_size(noise_scale=-1, learning_rate=1, num_examples=9), "noise_scale must lie in"),
        (lambda: theory.two_batch_estimates([1, 2], [1], small_batch_size=1, big_batch_size=2), "big_squared_norms"),
        (
            lambda: theory.two_batch_estimates([1, 2], [1, 2], small_batch_size=4, big_batch_size=4),
            "big_batch_size must be >= 5",
        ),
        (
            lambda: theory.two_batch_estimates([-1, 2], [1, 2], small_batch_size=1, big_batch_size=4),
            "small_squared_norms must hold",
        ),
        (lambda: theory.gradient_estimates([[1.0], [2.0]]), r"gradients must have shape \(K, D\), K >= 3"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
