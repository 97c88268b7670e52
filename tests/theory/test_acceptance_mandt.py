"""Acceptance tests of mandt2017.md section 7 on real minibatches: averaged iterates (T10, T14), online C (T11), Gaussian mean (T13)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_covariance, assert_estimate, planted_defects

COUNT, BATCH, WINDOW = 10_000, 10, 1000


def window_means(X, y, rate, *, chains, windows, shuffled=False, seed=0):
    """Means over one pass each of minibatch SGD on ½(y − xθ)² + |θ|²/2N, unit prior, after one pass of burn-in: (chains, windows, D)."""
    rng, (count, size) = np.random.default_rng(seed), X.shape
    theta = np.tile(np.linalg.solve(X.T @ X + np.eye(size), X.T @ y), (chains, 1))
    data, kept = np.column_stack([X, y]), []
    for window in range(windows + 1):
        if shuffled:
            order = rng.permuted(np.tile(np.arange(count, dtype=np.int32), (chains, 1)), axis=1)
        total = np.zeros_like(theta)
        for step in range(WINDOW):
            rows = (
                order[:, step * BATCH : (step + 1) * BATCH] if shuffled else rng.integers(count, size=(chains, BATCH))
            )
            batch = data[rows]
            residual = np.matmul(batch[:, :, :size], theta[:, :, None])[:, :, 0] - batch[:, :, size]
            pull = np.matmul(residual[:, None, :], batch[:, :, :size])[:, 0]
            theta = theta - rate * (pull / BATCH + theta / count)
            total += theta
        if window:
            kept.append(total / WINDOW)
    return np.stack(kept, 1)


@pytest.fixture(scope="module")
def specified():
    """x ~ N(0, I) in 10 dimensions, unit noise, true weights from the prior."""
    rng = np.random.default_rng(10)
    X = rng.normal(size=(COUNT, 10))
    return X, X @ rng.normal(size=10) + rng.normal(size=COUNT)


def geometry(X, y):
    """Hessian and gradient covariance of the mean loss at the optimum, prior included."""
    count, size = X.shape
    hessian = (X.T @ X + np.eye(size)) / count
    mode = np.linalg.solve(count * hessian, X.T @ y)
    return hessian, np.cov((X * (X @ mode - y)[:, None]).T, bias=True)


# slow: the same law at a smaller rate
@pytest.mark.law
@pytest.mark.parametrize(
    ("rate", "detects", "low", "high"),
    [(0.03, 0.33, 0.94, 1.04), pytest.param(0.003, 0.33, 0.64, 0.74, marks=pytest.mark.slow)],
)
def test_averaged_iterates_t10(specified, rate, detects, low, high):
    """Window averages have the covariance of the exact chain of this very data set, at both rates; ρ₁ and the ratio of variances as printed."""
    X, y = specified
    hessian, _ = geometry(X, y)
    sample = window_means(X, y, rate, chains=500, windows=6)
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=BATCH, ridge=1 / COUNT)
    right = law.chain.average(WINDOW)
    wrong = {"one example less a step": right * 1.5, "constant noise of the iterates": law.covariance}
    planted_defects(lambda s: assert_covariance(sample, s, mean=law.mean, detects=detects), right, wrong)
    posterior = np.linalg.inv(hessian) / COUNT
    ratio = float(np.trace(np.linalg.solve(posterior, right)) / 10)
    assert low < ratio < high
    measured = mean_of(np.einsum("cwd,de,cwe->c", sample - law.mean, COUNT * hessian, sample - law.mean) / 60)
    assert_estimate(measured, ratio, detects=0.1)
    found = 1 + theory.averaging_errors(hessian, learning_rate=rate, num_examples=COUNT, batch_size=BATCH)
    assert_allclose(found.mean(), ratio, rtol=0.02)
    if rate == 0.03:
        assert theory.gaussian_kl(right, posterior) < 0.03
        assert theory.averaging_correlation(hessian, learning_rate=rate, window=WINDOW).max() < 0.06
        later, sooner = sample[:, 1:] - law.mean, sample[:, :-1] - law.mean
        rho = np.einsum("cwd,cwd->c", later, sooner) / 5 / np.trace(right)
        right_rho = (4 * law.chain.average(2 * WINDOW) - 2 * right) / 2
        assert_estimate(mean_of(rho), np.trace(right_rho) / np.trace(right), detects=0.1, relative=False)


@pytest.mark.law
def test_averaged_shuffled_epochs_t10(specified):
    """Aligned with reshuffled epochs the averages collapse to less than a tenth: predicted, and refused where independence is assumed."""
    X, y = specified
    hessian, covariance = geometry(X, y)
    sample = window_means(X, y, 0.03, chains=150, windows=2, shuffled=True)
    mode = np.linalg.solve(COUNT * hessian, X.T @ y)
    measured = mean_of(np.einsum("cwd,de,cwe->c", sample - mode, COUNT * hessian, sample - mode) / 20)
    setting = {"learning_rate": 0.03, "batch_size": BATCH, "num_examples": COUNT}
    predicted = theory.epoch_average_covariance(hessian, covariance, **setting)
    constant = float(np.sum(predicted * hessian)) * COUNT / 10
    # what the gradient noise gains away from the optimum follows θ, which moves within the epoch, and does not cancel
    ratio = constant + 0.03 / (2 * BATCH) * float(np.trace(hessian) + np.trace(hessian) / 10)
    assert measured.value < 0.1
    assert constant < ratio < 0.1
    independent = theory.iterate_average_covariance(
        hessian, covariance, learning_rate=0.03, batch_size=BATCH, window=WINDOW
    )
    wrong = {"independent batches": float(np.sum(independent * hessian)) * COUNT / 10, "constant noise": constant}
    planted_defects(lambda r: assert_estimate(measured, r, detects=0.35), ratio, wrong)
    with pytest.raises(
        ValueError, match=r"sampling must be 'with_replacement' or 'without_replacement'.*not independent noise"
    ):
        theory.iterate_average_covariance(hessian, covariance, window=WINDOW, sampling="shuffled", **setting)


@pytest.mark.law
def test_misspecified_regression_t14():
    """Noise that grows with |x₁|: averages have the sandwich H⁻¹CH⁻¹/N as covariance, up to 7 times the posterior's variance."""
    rng = np.random.default_rng(14)
    X = rng.normal(size=(COUNT, 5))
    y = X @ rng.normal(size=5) + (0.3 + 1.5 * np.abs(X[:, 0])) * rng.normal(size=COUNT)
    hessian, covariance = geometry(X, y)
    inverse = np.linalg.inv(hessian)
    sandwich, posterior = inverse @ covariance @ inverse / COUNT, inverse / COUNT
    sample = window_means(X, y, 0.05, chains=600, windows=6, seed=1)
    law = theory.least_squares_moments(X, y, learning_rate=0.05, batch_size=BATCH, ridge=1 / COUNT)
    right = law.chain.average(WINDOW)
    wrong = {"the posterior": posterior, "half the noise": right / 2}
    planted_defects(lambda s: assert_covariance(sample, s, mean=law.mean, detects=0.25), right, wrong)
    assert np.linalg.norm(right - sandwich) < 0.1 * np.linalg.norm(sandwich)
    measured = np.einsum("cwd,cwe->de", sample - law.mean, sample - law.mean) / sample[..., 0].size
    assert np.linalg.norm(measured - sandwich) < 0.1 * np.linalg.norm(sandwich)
    ratios = np.linalg.eigvals(np.linalg.solve(posterior, sandwich)).real
    assert ratios.min() > 2
    assert ratios.max() > 6


@pytest.mark.law
@pytest.mark.parametrize("batch", [2, 10, 100])
def test_online_gradient_covariance_t11(batch):
    """Trace of the raw estimate (1 − 1/B) tr C, corrected tr C, both to 2 %; and against all members of a minibatch at once."""
    rng = np.random.default_rng(11)
    pool = rng.exponential(size=(300, 3)) @ np.diag([1.0, 0.3, 2.0])
    C = np.cov(pool.T, bias=True)
    members = pool[rng.integers(300, size=(60_000, batch))]
    found = theory.online_gradient_covariance(members[:, 0], members.mean(1), batch_size=batch)
    apart = members[:, 0] - members.mean(1)
    raw = np.einsum("kd,kd->", apart, apart) / 60_000 / np.trace(C)
    assert_allclose(raw, 1 - 1 / batch, rtol=0.02)
    assert_allclose(np.trace(found.value) / np.trace(C), 1.0, rtol=0.02)
    wrong = {"as printed: no B/(B-1)": C * batch / (batch - 1) if batch < 100 else 0.9 * C}
    planted_defects(lambda c: assert_estimate(found, c, detects=0.3, relative=False), C, wrong)


@pytest.mark.law
def test_gaussian_mean_t13():
    """½|θ − x_n|² (appendix A): Σ = ηC/(B(2−η)) within 3 %, not ηC/2B; batches drawn from the examples themselves."""
    rng = np.random.default_rng(13)
    pool = rng.exponential(size=(500, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    C, theta, kept = np.cov(pool.T, bias=True), np.tile(pool.mean(0), (4096, 1)), []
    for step in range(900):
        theta = theta - 0.1 * (theta - pool[rng.integers(500, size=(4096, 5))].mean(1))
        if step >= 150 and step % 15 == 0:
            kept.append(theta)
    right = theory.stationary_covariance(np.eye(2), C, learning_rate=0.1, batch_size=5)
    assert_allclose(right, 0.1 * C / (5 * 1.9), rtol=1e-12)
    wrong = {"continuous time": 0.1 * C / 10, "eq. (37): no rate": C / 5}
    sample = np.stack(kept, 1)
    planted_defects(lambda s: assert_covariance(sample, s, mean=pool.mean(0), detects=0.04), right, wrong)
    assert_allclose(np.cov(sample.reshape(-1, 2).T), right, rtol=0.03)


# --- the golden instance G3, simulated ---

A3 = np.array([[2, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 0.5]])
C3 = np.array([[1, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
EPS = 0.0260869565217
G3 = {"num_examples": 1000, "batch_size": 10}
POSTERIOR = np.linalg.inv(A3) / 1000


def pooled(sample):
    flat = sample.reshape(-1, 3)
    return flat.T @ flat / len(flat)


@pytest.mark.law
@pytest.mark.parametrize("share", [0.5, 1.0, 2.0])
@pytest.mark.false_fail(1e-6)
def test_optimum_t2(Sgd, share):
    """Simulated KL(q‖posterior) within .03 of the discrete .4489, .1630, .6658 at half, once and twice eps*."""
    right = theory.stationary_covariance(A3, C3, learning_rate=share * EPS, batch_size=10)
    chains = Sgd(noise=C3 / 10, rate=share * EPS, hessian=A3, seed=2)
    sample = chains.sample(int(90 / share), snapshots=14)
    wrong = {"continuous time x 1.1": 1.1 * right, "another rate": right * 1.2}
    planted_defects(lambda s: assert_covariance(sample, s, mean=np.zeros(3), detects=0.06), right, wrong)
    printed = {0.5: 0.4488722254, 1.0: 0.1630179566, 2.0: 0.6658228617}[share]
    assert_allclose(theory.gaussian_kl(right, POSTERIOR), printed, rtol=1e-8)
    assert_allclose(theory.gaussian_kl(pooled(sample), POSTERIOR), printed, atol=0.03)


@pytest.mark.law
def test_full_preconditioner_t3(Sgd):
    """H_d is the posterior in the simulation too (KL below 5e-4), H* is not quite (.0014); at B = N only H_d is stable."""
    for time, low, high in (("discrete", 0.0, 5e-4), ("continuous", 8e-4, 3e-3)):
        P = theory.optimal_preconditioner(A3, C3, time=time, **G3)
        sample = Sgd(noise=C3 / 10, P=P, hessian=A3, seed=3).sample(40, snapshots=30)
        assert low <= theory.gaussian_kl(pooled(sample), POSTERIOR) < high
        right = theory.stationary_covariance(A3, C3, learning_rate=1.0, batch_size=10, preconditioner=P)
        planted_defects(
            lambda s, x=sample: assert_covariance(x, s, mean=np.zeros(3), detects=0.07),
            right,
            {"noise x 1.08": 1.08 * right},
        )
    whole = {"num_examples": 1000, "batch_size": 1000}
    assert np.linalg.eigvals(np.linalg.solve(C3, A3)).real.max() > 1  # N/B
    stable = theory.optimal_preconditioner(A3, C3, **whole)
    assert theory.stability_fraction(A3, learning_rate=1.0, preconditioner=stable) < 1
    assert (
        theory.stability_fraction(
            A3, learning_rate=1.0, preconditioner=theory.optimal_preconditioner(A3, C3, time="continuous", **whole)
        )
        > 1
    )


@pytest.mark.law
def test_momentum_t5(Sgd):
    """eps = .05, mu = .1 of the paper (momentum .9): within 3 % of the discrete value, more than 12 % from eq. (25) as printed."""
    sample = Sgd(noise=C3 / 10, rate=0.05, mu=0.9, hessian=A3, seed=5).sample(60, snapshots=24)
    right = theory.stationary_covariance(A3, C3, learning_rate=0.05, batch_size=10, momentum=0.9)
    printed = 10 * theory.stationary_covariance(A3, C3, learning_rate=0.05, batch_size=10, time="continuous")
    planted_defects(
        lambda s: assert_covariance(sample, s, mean=np.zeros(3)),
        right,
        {"eq. (25)": printed, "noise x 1.05": 1.05 * right},
    )
    found = pooled(sample)
    assert np.linalg.norm(found - right) < 0.03 * np.linalg.norm(right)
    assert np.linalg.norm(found - printed) > 0.12 * np.linalg.norm(printed)


@pytest.mark.law
def test_langevin_t6(Sgd):
    """SGLD at eps = 1e-4: within 3 % of the discrete value; the printed formula gives a third of it."""
    sample = Sgd(noise=C3 / 10, rate=0.05, injected=1e-4 * np.eye(3), hessian=A3, seed=6).sample(60, snapshots=20)
    right = theory.langevin_covariance(A3, C3, step_size=1e-4, **G3)
    small = theory.langevin_covariance(A3, C3 * 2 / 1000, step_size=1e-4, time="continuous", **G3)  # as printed
    wrong = {"as printed": small, "noise x 1.05": 1.05 * right}
    planted_defects(lambda s: assert_covariance(sample, s, mean=np.zeros(3)), right, wrong)
    assert np.linalg.norm(pooled(sample) - right) < 0.03 * np.linalg.norm(right)
    assert np.linalg.norm(small) < 0.5 * np.linalg.norm(right)


# slow: the scalar's softest direction takes thousands of steps; the full one is simulated by default
@pytest.mark.law
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("full", 0.0, 6e-4), pytest.param("scalar", 0.09, 0.115, marks=pytest.mark.slow)]
)
def test_fisher_scoring_t7(Sgd, kind, low, high):
    """H* of SGFS simulated: KL below 5e-4; the scalar .1036 ± .01 against .1015 in continuous time."""
    injected, law = np.diag([0.01, 0.02, 0.03]), {"step_size": EPS, "batch_size": 10}
    G = theory.fisher_scoring_preconditioner(A3, C3, kind=kind, time="continuous", injected=injected, **law | G3)
    right = theory.fisher_scoring_covariance(A3, C3, preconditioner=G, injected=injected, **law)
    chains = Sgd(noise=C3 / 10, rate=EPS, P=G, injected=EPS * G @ injected @ G, hessian=A3, seed=7)
    gap = 2 * theory.relaxation_times(A3, learning_rate=EPS, preconditioner=G).max()
    sample = chains.sample(min(int(gap), 400), snapshots=8)
    planted_defects(
        lambda s: assert_covariance(sample, s, mean=np.zeros(3), detects=0.12),
        right,
        {"noise x 1.2": 1.2 * right},
    )
    assert low <= theory.gaussian_kl(pooled(sample), POSTERIOR) < high


@pytest.mark.law
def test_averages_t9(Sgd):
    """Means of T = 100 at eps*: within 4 % of the discrete value; at eps T λ_min ≥ 200 within 5 % of A⁻¹CA⁻¹/TS, preconditioned or not."""
    right = theory.iterate_average_covariance(A3, C3, learning_rate=EPS, batch_size=10, window=100)
    chains = Sgd(noise=C3 / 10, rate=EPS, hessian=A3, seed=9, chains=20_000)
    chains.advance(500)
    sample = sum(chains.advance() for _ in range(100))[:, None] / 100
    inverse = np.linalg.inv(A3)
    wrong = {"leading term alone": inverse @ C3 @ inverse / 1000, "noise x 1.1": 1.1 * right}
    planted_defects(lambda s: assert_covariance(sample, s, mean=np.zeros(3), detects=0.1), right, wrong)
    assert np.linalg.norm(pooled(sample) - right) < 0.04 * np.linalg.norm(right)
    for P in (np.eye(3), np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])):
        slow = np.linalg.eigvals(P @ A3).real.min()
        window = int(200 / (EPS * slow)) + 1
        mean = theory.iterate_average_covariance(
            A3, C3, learning_rate=EPS, batch_size=10, window=window, preconditioner=P
        )
        assert_allclose(mean * window * 10, inverse @ C3 @ inverse, atol=0.05 * np.abs(inverse @ C3 @ inverse).max())
