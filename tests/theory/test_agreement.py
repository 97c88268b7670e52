"""Agreement: each formula against an independent computation (enumeration, Kronecker solve, SciPy, quadrature), with planted defects."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from gradnoise import theory
from gradnoise.testing import planted_defects

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
P = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])
SETTING = {"num_examples": 1000, "batch_size": 10}
POSTERIOR = np.linalg.inv(H) / 1000


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


def augmented(rate, mu, nesterov=False):
    """Transition and gain on (θ, m), written from the update rule, not from the library's (θ, P m)."""
    step, one = rate * P, np.eye(3)
    if nesterov:
        F = np.block([[one - (1 + mu) * step @ H, -(mu**2) * step], [H, mu * one]])
        return F, np.vstack([-(1 + mu) * step, one])
    return np.block([[one - step @ H, -mu * step], [H, mu * one]]), np.vstack([-step, one])


def kronecker(F, Q):
    n = len(F)
    return np.linalg.solve(np.eye(n * n) - np.kron(F, F), Q.ravel()).reshape(n, n)


def test_stein():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(5, 5))
    F *= 0.97 / np.abs(np.linalg.eigvals(F)).max()
    Q = np.cov(rng.normal(size=(5, 20)))
    Z = solve_discrete_lyapunov(F, Q)
    planted_defects(
        close(Z),
        theory.stein(F, Q),
        {"F transposed": theory.stein(F.T, Q), "continuous time": solve_continuous_lyapunov(np.eye(5) - F, Q)},
    )


def test_stein_at_critical_damping():
    """F has no basis of eigenvectors here."""
    mu = 0.49
    r = (1 - math.sqrt(mu)) ** 2
    F = np.array([[1 - r, -mu], [r, mu]])
    assert_allclose(theory.stein(F, np.diag([1.0, 0.3])), kronecker(F, np.diag([1.0, 0.3])), rtol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 100])
def test_power_sums(count):
    F = np.array([[0.9, 0.2], [-0.3, 0.95]])
    powers = [np.linalg.matrix_power(F, j) for j in range(count + 1)]
    once = sum(powers[:count], np.zeros((2, 2)))
    twice = sum(((count - j) * powers[j] for j in range(count)), np.zeros((2, 2)))
    for found, right in zip(theory.power_sums(F, count), (powers[-1], once, twice), strict=True):
        assert_allclose(found, right, rtol=1e-12, atol=1e-12)
    if count > 1:
        planted_defects(close(twice), theory.power_sums(F, count)[2], {"weights from zero": twice - once})


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
def test_discrete_law_and_mode_covariance(mu, nesterov):
    F, G = augmented(0.8, mu, nesterov)
    right = kronecker(F, G @ C @ G.T / 10)[:3, :3]
    setting = {"learning_rate": 0.8, "preconditioner": P, "momentum": mu, "nesterov": nesterov}
    found = theory.stationary_covariance(H, C, batch_size=10, **setting)
    wrong = {
        "noise x 1.05": theory.stationary_covariance(H, 1.05 * C, batch_size=10, **setting),
        "time": theory.stationary_covariance(H, C, batch_size=10, time="continuous", **setting),
        "momentum": theory.stationary_covariance(H, C, batch_size=10, **setting | {"momentum": mu + 0.01}),
    }
    planted_defects(close(right), found, wrong)
    chain = theory.chain_from_noise(H, C / 10, **setting)
    planted_defects(
        close(right),
        chain.covariance,
        {"noise x 1.05": theory.chain_from_noise(H, 1.05 * C / 10, **setting).covariance},
    )
    values, vectors = np.linalg.eigh(H)
    s, w = vectors.T @ C @ vectors, vectors.T @ P @ vectors
    rates, noise = 0.3 * values, 0.3 * s
    scalar = theory.chain_from_noise(H, C, injected=P, learning_rate=0.3, momentum=mu, nesterov=nesterov)
    modal = vectors.T @ scalar.covariance @ vectors / 0.3
    law = {"momentum": mu, "nesterov": nesterov}
    planted_defects(
        close(modal),
        theory.mode_covariance(rates, noise, injected=w / 0.3, **law),
        {
            "injected noise forgotten": theory.mode_covariance(rates, noise, **law),
            "heavy ball for Nesterov": theory.mode_covariance(rates, noise, injected=w / 0.3, momentum=mu + 0.01),
        },
    )


def test_continuous_covariance():
    """The underdamped SDE as a 2D-dimensional Lyapunov equation, and the paper's (25) as the planted defect."""
    rate, mu = 0.5, 0.9
    step, zero, one = rate * P, np.zeros((3, 3)), np.eye(3)
    drift = np.block([[zero, one], [-step @ H, -(1 - mu) * one]])
    noise = np.block([[zero, zero], [zero, step @ C @ step / 10]])
    right = solve_continuous_lyapunov(drift, -noise)[:3, :3]
    setting = {"learning_rate": rate, "preconditioner": P, "batch_size": 10, "time": "continuous"}
    found = theory.stationary_covariance(H, C, momentum=mu, **setting)
    printed = theory.stationary_covariance(H, C, **setting | {"learning_rate": rate / (1 - mu)})
    planted_defects(close(right), found, {"eq. (25) as printed": printed, "missing factor 2": 2 * right})
    assert_allclose(theory.stationary_covariance(H, C, momentum=mu, nesterov=True, **setting), found)
    rates, noise = np.array([0.2, 0.5]), np.array([[1.0, 0.3], [0.3, 0.4]])
    injected = np.array([[0.1, 0.05], [0.05, 0.2]])
    right = solve_continuous_lyapunov(np.diag(rates), noise + injected)
    planted_defects(
        close(right),
        theory.continuous_covariance(rates, noise, injected=injected),
        {
            "injected noise forgotten": theory.continuous_covariance(rates, noise),
            "momentum": theory.continuous_covariance(rates, noise, momentum=0.01),
        },
    )


def test_batch_noise_by_enumeration():
    g = np.array([[1.0, 0.2], [-0.4, 0.6], [0.3, -1.1], [0.5, 1.0], [2.0, 0.1]])
    covariance = np.cov(g.T, bias=True)
    subsets = np.array([g[list(rows)].mean(0) for rows in itertools.combinations(range(5), 2)])
    pairs = np.array([g[list(rows)].mean(0) for rows in itertools.product(range(5), repeat=2)])
    without = {"batch_size": 2, "sampling": "without_replacement", "num_examples": 5}
    planted_defects(
        close(np.cov(subsets.T, bias=True)),
        theory.batch_noise(covariance, **without),
        {"with replacement": covariance / 2, "N for N - 1": theory.batch_noise(covariance, **without) * 4 / 5},
    )
    planted_defects(
        close(np.cov(pairs.T, bias=True)),
        theory.batch_noise(covariance, batch_size=2),
        {"sum instead of mean": covariance * 2, "without replacement": theory.batch_noise(covariance, **without)},
    )
    planted_defects(close(3 / 8), theory.noise_factor(**without), {"N for N - 1": 3 / 10, "with replacement": 1 / 2})


def test_noise_scale_by_enumeration():
    """(η/N)² Cov(total gradient) = (η/N) g F, over all batches without replacement; F is normalised by N − 1."""
    g = np.array([1.0, -0.4, 0.3, 0.5, 2.0])
    totals = [5 * np.mean(rows) for rows in itertools.combinations(g, 2)]
    rate, mu = 0.3, 0.6
    right = (rate / 5) ** 2 * np.var(totals) / (rate / 5 * np.var(g, ddof=1)) / (1 - mu)
    found = theory.noise_scale(learning_rate=rate, batch_size=2, num_examples=5, momentum=mu)
    planted_defects(close(right), found, {"N/B": rate * 5 / 2 / (1 - mu), "momentum forgotten": found * (1 - mu)})


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
def test_edges_by_bisection(mu, nesterov):
    def radius(rate):
        return np.abs(np.linalg.eigvals(augmented(rate, mu, nesterov)[0])).max() - 1

    right = optimize.brentq(radius, 0.5, 20, xtol=1e-13)
    law = {"momentum": mu, "nesterov": nesterov}
    found = theory.stability_edge(H, preconditioner=P, **law)
    wrong = {"missing factor 2": found / 2, "preconditioner forgotten": theory.stability_edge(H, **law)}
    if mu:
        wrong["Nesterov and heavy ball swapped"] = theory.stability_edge(
            H, preconditioner=P, momentum=mu, nesterov=not nesterov
        )
    planted_defects(close(right, 1e-8), found, wrong)
    stiffest = np.linalg.eigvals(P @ H).real.max()
    planted_defects(
        close(right * stiffest, 1e-8), theory.rate_edge(**law), {"SGD's edge": 2.0} if mu else {"1 for 2": 1.0}
    )
    fraction = theory.stability_fraction(H, learning_rate=0.3, preconditioner=P, **law)
    planted_defects(close(0.3 / right, 1e-8), fraction, {"inverse": 1 / fraction})
    chain = theory.chain_from_noise(H, C, learning_rate=found * (1 - 1e-6), preconditioner=P, **law)
    assert 0 < 1 - chain.spectral_radius < 1e-4
    with pytest.raises(ValueError, match="learning_rate must be below the stability edge"):
        theory.chain_from_noise(H, C, learning_rate=found * (1 + 1e-9), preconditioner=P, **law)


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.5, False), (0.5, True)])
def test_relaxation_times(mu, nesterov):
    F = augmented(0.3, mu, nesterov)[0] if mu else np.eye(3) - 0.3 * P @ H
    right = -1 / np.log(np.abs(np.linalg.eigvals(F)).max())
    times = theory.relaxation_times(H, learning_rate=0.3, preconditioner=P, momentum=mu, nesterov=nesterov)
    slower = theory.relaxation_times(H, learning_rate=0.3, preconditioner=P, momentum=mu + 0.1, nesterov=nesterov)
    planted_defects(
        close(right),
        times.max(),
        {"continuous time": (1 - mu) / (0.3 * np.linalg.eigvals(P @ H).real.min()), "momentum": slower.max()},
    )
    chain = theory.chain_from_noise(H, C, learning_rate=0.3, preconditioner=P, momentum=mu, nesterov=nesterov)
    assert_allclose(chain.relaxation_time, right, rtol=1e-10)


def test_gaussian_kl_by_quadrature():
    q, p = stats.norm(0.3, math.sqrt(2.0)), stats.norm(-0.5, math.sqrt(0.7))
    right = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -30, 30)[0]
    found = theory.gaussian_kl([[2.0]], [[0.7]], [0.3], [-0.5])
    wrong = {
        "direction": theory.gaussian_kl([[0.7]], [[2.0]], [-0.5], [0.3]),
        "factor 1/2 missing": 2 * right,
        "means forgotten": theory.gaussian_kl([[2.0]], [[0.7]]),
    }
    planted_defects(close(right, 1e-8), found, wrong)
    d = np.array([0.3, -0.2, 0.5])
    text = (
        np.trace(np.linalg.solve(H, C))
        - 3
        + d @ np.linalg.solve(H, d)
        + np.linalg.slogdet(H)[1]
        - np.linalg.slogdet(C)[1]
    ) / 2
    assert_allclose(theory.gaussian_kl(C, H, d), text, rtol=1e-12)
    assert_allclose(theory.gaussian_kl(C, H, None, -d), text, rtol=1e-12)


def test_gaussian_kl_is_sound_far_from_one():
    """Condition number 1e12 and a divergence near 1e-20 that naive formulas lose."""
    wide = np.diag([1e-9, 1e3])
    shift = np.diag([1 + 1e-10, 1 - 1e-10])
    assert_allclose(theory.gaussian_kl(wide @ shift, wide), 5e-21, rtol=1e-3)


def test_mean_field_covariance_is_the_best_diagonal():
    best = optimize.minimize(
        lambda logs: theory.gaussian_kl(np.diag(np.exp(logs)), POSTERIOR), np.full(3, -6.0), tol=1e-10
    )
    found = theory.mean_field_covariance(H, num_examples=1000)
    wrong = {"marginal variances": np.diag(np.diag(POSTERIOR)), "1/N forgotten": found * 1000}
    planted_defects(lambda covariance: assert_allclose(np.diag(covariance), np.exp(best.x), rtol=1e-4), found, wrong)


@pytest.mark.parametrize("mu", [0.0, 0.8])
@pytest.mark.parametrize("preconditioner", [None, P])
def test_optimal_learning_rate_by_search(mu, preconditioner):
    setting = {"momentum": mu, "preconditioner": preconditioner}
    scale = {"num_examples": 30, "batch_size": 10}

    def divergence(log_rate):
        law = theory.stationary_covariance(H, C, learning_rate=np.exp(log_rate), batch_size=10, **setting)
        return theory.gaussian_kl(law, np.linalg.inv(H) / 30)

    found = theory.optimal_learning_rate(C, hessian=H, **setting, **scale)
    edge = theory.stability_edge(H, **setting)
    search = optimize.minimize_scalar(
        divergence, bounds=(np.log(edge / 1e4), np.log(edge * 0.9999)), method="bounded", options={"xatol": 1e-10}
    )
    small = theory.optimal_learning_rate(C, time="continuous", **setting, **scale)
    wrong = {
        "continuous time": small,
        "noise x 1.05": theory.optimal_learning_rate(1.05 * C, hessian=H, **setting, **scale),
    }
    planted_defects(close(np.exp(search.x), 1e-6), found, wrong)


@pytest.mark.parametrize("time", ["discrete", "continuous"])
@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_best_diagonal_by_search(mu, time):
    scale = {"num_examples": 60, "batch_size": 10, "momentum": mu, "time": time}

    def divergence(logs):
        try:
            law = theory.stationary_covariance(
                H, C, learning_rate=1, batch_size=10, momentum=mu, preconditioner=np.diag(np.exp(logs)), time=time
            )
        except ValueError:
            return 1e3
        return theory.gaussian_kl(law, np.linalg.inv(H) / 60)

    found = theory.optimal_preconditioner(H, C, kind="diagonal", **scale)
    kinds = {
        kind: theory.optimal_preconditioner(H, C, kind=kind, **scale) for kind in ("scalar", "sqrt", "diagonal_closed")
    }
    search = optimize.minimize(
        divergence,
        np.log(np.diag(kinds["scalar"])),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000},
    )
    planted_defects(lambda p: assert_allclose(np.diag(p), np.exp(search.x), rtol=1e-5), found, kinds)
    assert divergence(np.log(np.diag(found))) <= min(divergence(np.log(np.diag(k))) for k in kinds.values())


def test_worst_times_by_brute_force():
    """All symmetric forms at once: the D²×D² matrix of A → sym Σ_j Γ_j A Γ_jᵀ from explicit autocovariances."""
    for thin in (1, 3):
        chain = theory.linear_chain(H, C, learning_rate=0.3, batch_size=10, momentum=0.6)
        inverse_root = np.linalg.inv(np.linalg.cholesky(chain.covariance))
        lags = [inverse_root @ chain.autocovariance(thin * j) @ inverse_root.T for j in range(-300, 301)]
        quadratic = np.linalg.eigvalsh(symmetrised(sum(np.kron(g, g) for g in lags)))[-1]
        linear = np.linalg.eigvalsh(symmetrised(sum(lags)))[-1]
        planted_defects(
            close(linear, 1e-8),
            chain.worst_iact(thin=thin),
            {
                "best coordinate": max(chain.iact(e, thin=thin) for e in np.eye(3)),
                "thinning forgotten": linear * 1.01 if thin == 1 else chain.worst_iact(),
            },
        )
        planted_defects(
            close(quadratic, 1e-6),
            chain.worst_iact(quadratic=True, thin=thin),
            {"best coordinate": max(chain.iact(e, quadratic=True, thin=thin) for e in np.eye(3)), "linear": linear},
        )


def symmetrised(matrix):
    return (matrix + matrix.T) / 2


def test_worst_time_where_noise_is_singular():
    chain = theory.linear_chain(H, np.diag([1.0, 0.0, 0.0]), learning_rate=0.3, batch_size=10)
    assert chain.worst_iact() >= chain.iact([1.0, 0.0, 0.0])
    lone = theory.LinearChain([[0.5]], [[1.0]], [[1.0]])
    assert_allclose(lone.worst_iact(quadratic=True), lone.iact([1.0], quadratic=True))
