"""What records compute when asked, against brute force: matrices over all minibatches, simulated paths, leave-one-out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.optimize import brentq

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_covariance, assert_estimate, planted_defects

# --- least squares: every minibatch of a small data set ---

X = np.array([[1.0, 0.3], [0.2, -0.8], [-0.7, 1.1], [0.5, 0.4]])
Y = np.array([0.7, -0.3, 0.9, 1.6])
RIDGE, RATE = 0.1, 0.3


def close(expected, rtol=1e-9):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-14)


def factors(rate, size=2, ridge=RIDGE):
    """I − η(X̄ + ρ) of every batch drawn with replacement."""
    rows = [list(batch) for batch in itertools.product(range(4), repeat=size)]
    return np.array([np.eye(2) - rate * (X[r].T @ X[r] / size + ridge * np.eye(2)) for r in rows])


def moment_radius(rate, order, ridge=RIDGE):
    power = J = factors(rate, ridge=ridge)
    for _ in range(order - 1):
        power = np.array([np.kron(a, b) for a, b in zip(power, J, strict=True)])
    return np.abs(np.linalg.eigvals(power.mean(0))).max()


def law(**changes):
    return theory.least_squares_moments(X, Y, **{"learning_rate": RATE, "batch_size": 2, "ridge": RIDGE} | changes)


def test_second_moment_radius_is_that_of_all_batches():
    planted_defects(
        close(moment_radius(RATE, 2)),
        law().second_moment_radius,
        {
            "the mean's, squared": moment_radius(RATE, 1) ** 2,
            "ridge forgotten": moment_radius(RATE, 2, ridge=0.0),
            "root": law().second_moment_radius ** 0.5,
        },
    )


def test_edges_are_where_moments_of_all_batches_stop_shrinking():
    def excess(rate, order):
        return moment_radius(rate, order) - 1

    second, fourth = (brentq(excess, 0.05, 3.0, args=(order,), xtol=1e-12) for order in (2, 4))
    edges = theory.least_squares_edges(X, batch_size=2, ridge=RIDGE)
    mean = 2 / np.linalg.eigvalsh(X.T @ X / 4 + RIDGE * np.eye(2))[-1]
    planted_defects(close(second, 1e-8), law().second_moment_edge, {"the mean's edge": mean, "the fourth's": fourth})
    planted_defects(close(fourth, 1e-8), law().fourth_moment_edge, {"the second's edge": second})
    planted_defects(
        close(fourth, 1e-8),
        edges.fourth_moment,
        {
            "the second's edge": edges.second_moment,
            "ridge forgotten": theory.least_squares_edges(X, batch_size=2).fourth_moment,
        },
    )


def test_chain_of_least_squares_has_the_law_of_all_batches():
    """State-dependent noise: the covariance solves Σ = E[JΣJᵀ] + η²S₀, and lags shrink by E J."""
    J, rows = factors(RATE), [list(batch) for batch in itertools.product(range(4), repeat=2)]
    H = X.T @ X / 4 + RIDGE * np.eye(2)
    optimum = np.linalg.solve(H, X.T @ Y / 4)
    pulls = np.array([X[r].T @ (X[r] @ optimum - Y[r]) / 2 + RIDGE * optimum for r in rows])
    forced = RATE**2 * (pulls.T @ pulls) / len(rows)
    double = np.mean([np.kron(j, j) for j in J], axis=0)
    spread = np.linalg.solve(np.eye(4) - double, forced.ravel()).reshape(2, 2)
    constant = theory.chain_from_noise(H, forced / RATE**2, learning_rate=RATE)
    found = law().chain
    planted_defects(close(spread), found.covariance, {"noise at the optimum alone": constant.covariance})
    ahead = np.linalg.matrix_power(J.mean(0), 3) @ spread
    planted_defects(close(ahead), found.autocovariance(3), {"noise at the optimum alone": constant.autocovariance(3)})


# --- currents ---

H = np.array([[2.0, 0.3], [0.3, 0.5]])
D = np.array([[1.0, 0.8], [0.8, 1.2]])
HEAT = 0.25
SIGMA = solve_continuous_lyapunov(H, 2 * HEAT * D)


def test_frequency_by_the_return_of_the_flow():
    """e^{−QUt} is the identity after one period, with Q and U from a Lyapunov solver."""
    U = HEAT * np.linalg.inv(SIGMA)
    eddy = H @ np.linalg.inv(U) - D  # Q
    frequency = theory.circulation(H, D, temperature=HEAT).frequencies[0]

    def returns(omega):
        assert omega > 0
        assert_allclose(expm(-eddy @ U * 2 * np.pi / omega), np.eye(2), atol=1e-9)
        assert np.abs(expm(-eddy @ U * np.pi / omega) + np.eye(2)).max() < 1e-9  # not a multiple of it

    planted_defects(
        returns, frequency, {"per turn": frequency / (2 * np.pi), "twice": 2 * frequency, "half": frequency / 2}
    )


def test_velocity_by_the_fokker_planck_current():
    """j = drift − TD∇ log p, differentiated numerically; the density is that of a Lyapunov solver."""
    flow, x, step = theory.circulation(H, D, temperature=HEAT), np.array([0.4, -0.7]), 1e-5

    def log_density(theta):
        return -theta @ np.linalg.solve(SIGMA, theta) / 2

    slope = [(log_density(x + step * e) - log_density(x - step * e)) / (2 * step) for e in np.eye(2)]
    right = -H @ x - HEAT * D @ slope
    planted_defects(
        close(right, 1e-8),
        flow.velocity(x),
        {"sign of Q": -flow.velocity(x), "the whole drift": -H @ x, "Qθ": -flow.antisymmetric @ x},
    )


@pytest.mark.law
def test_entropy_production_by_the_heat_of_simulated_paths():
    """σ = E ∮ (TD)⁻¹F∘dθ over time: 20 000 Euler paths from the stationary law, t = 2."""
    rng, chains, step, steps = np.random.default_rng(7), 20_000, 0.01, 200
    theta = rng.normal(size=(chains, 2)) @ np.linalg.cholesky(SIGMA).T
    root, inverse = np.sqrt(2 * HEAT * step) * np.linalg.cholesky(D), np.linalg.inv(HEAT * D)
    heat = np.zeros(chains)
    for _ in range(steps):
        ahead = theta - step * theta @ H + rng.normal(size=theta.shape) @ root.T
        heat += np.einsum("ni,ij,nj->n", -(theta + ahead) / 2 @ H, inverse, ahead - theta)
        theta = ahead
    right = theory.circulation(H, D, temperature=HEAT).entropy_production
    planted_defects(
        lambda p: assert_estimate(mean_of(heat / (step * steps)), p, detects=0.15),
        right,
        {"missing factor 2": right / 2, "temperature in it": right * HEAT, "D forgotten": right * np.linalg.det(D)},
    )


# --- estimates and chains ---


def test_resolution_by_leave_one_out():
    """Signal over its jackknife error, each left-out estimate from all pairs of distinct gradients."""
    g = np.random.default_rng(3).normal(size=(9, 3)) + 0.8

    def signal(rows):
        return np.mean([a @ b for a, b in itertools.permutations(rows, 2)])

    left_out = np.array([signal(np.delete(g, i, axis=0)) for i in range(9)])
    error = np.sqrt(8 * left_out.var())
    found = theory.gradient_estimates(g).resolution
    planted_defects(
        close(signal(g) / error),
        found,
        {"inverse": 1 / found, "error of one": signal(g) / error / 3, "|mean|²": g.mean(0) @ g.mean(0) / error},
    )


@pytest.mark.law
def test_any_linear_chain():
    """A chain that is no optimiser: three state numbers, two read, F without symmetry."""
    F = np.array([[0.6, 0.5, 0.0], [-0.3, 0.4, 0.2], [0.1, 0.0, -0.7]])
    noise = np.array([[1.0, 0.3, -0.2], [0.3, 0.5, 0.1], [-0.2, 0.1, 0.8]])
    R = np.array([[1.0, -0.5, 0.2], [0.3, 0.8, 1.0]])
    chain = theory.LinearChain(F, noise, R)
    rng, root, z = np.random.default_rng(11), np.linalg.cholesky(noise), np.zeros((4096, 3))
    states = []
    for step in range(20 + 16 * 8):
        z = z @ F.T + rng.normal(size=z.shape) @ root.T
        if step >= 20 and step % 8 == 0:
            states.append(z)
    states = np.stack(states, axis=1)
    flipped = theory.LinearChain(F.T, noise, R)
    planted_defects(
        lambda p: assert_covariance(states, p, mean=np.zeros(3)),
        chain.state_covariance,
        {"F transposed": flipped.state_covariance, "noise alone": noise, "noise x 1.05": 1.05 * chain.state_covariance},
    )
    planted_defects(
        lambda p: assert_covariance(states @ R.T, p, mean=np.zeros(2)),
        chain.covariance,
        {"F transposed": flipped.covariance, "R forgotten": chain.state_covariance[:2, :2]},
    )
