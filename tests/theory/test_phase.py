"""Position and velocity, temperature, oscillation, displacement, continuous-time memory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import expm, solve_continuous_lyapunov

from gradnoise import theory
from gradnoise.testing import assert_covariance, planted_defects

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])
P = np.array([[0.4, 0.1], [0.1, 0.3]])


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


@pytest.mark.law
@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.6, False), (0.5, True)])
def test_position_velocity_law(Sgd, mu, nesterov):
    setting = {"learning_rate": 0.4, "momentum": mu, "nesterov": nesterov}
    sgd = Sgd(noise=C / 4, rate=0.4, mu=mu, nesterov=nesterov, seed=1)
    apart = int(np.ceil(2 * theory.relaxation_times(H, **setting).max()))
    sgd.advance(4 * apart)
    kept = []
    for _ in range(20):
        before = sgd.advance(apart - 1)
        after = sgd.advance()
        kept.append(np.hstack([after, after - before]))
    law = theory.position_velocity_law(H, C, batch_size=4, **setting)
    still = theory.position_velocity_law(H, C, batch_size=4, learning_rate=0.4)
    wrong = {
        "velocity backwards": np.block([[law.position, -law.cross], [-law.cross.T, law.velocity]]),
        "velocity x 1.1": np.block([[law.position, law.cross], [law.cross.T, 1.1 * law.velocity]]),
        "independent": np.block([[law.position, 0 * law.cross], [0 * law.cross, law.velocity]]),
    }
    if mu:
        wrong["momentum forgotten"] = np.block([[still.position, still.cross], [still.cross.T, still.velocity]])
    right = np.block([[law.position, law.cross], [law.cross.T, law.velocity]])
    planted_defects(lambda p: assert_covariance(np.stack(kept, 1), p, mean=np.zeros(4), detects=0.06), right, wrong)


@pytest.mark.parametrize(
    ("rate", "mu", "h", "printed"),
    [(0.1, 0.9, 2.0, 0.263889), (0.5, 0.5, 3.0, 0.333333), (0.3, 0.0, 1.5, 0.129032)],
)
def test_closed_forms_smith_chaudhari_2_5(rate, mu, h, printed):
    """Acceptance test A7: Var θ, increments, and half of them as Cov(θ, increment)."""
    law = theory.position_velocity_law([[h]], [[1.0]], learning_rate=rate, batch_size=1, momentum=mu)
    assert_allclose(law.position, printed, atol=6e-7)
    assert_allclose(law.position, rate * (1 + mu) / (h * (1 - mu) * (2 * (1 + mu) - rate * h)), rtol=1e-10)
    assert_allclose(law.velocity, 2 * rate**2 / ((1 - mu) * (2 * (1 + mu) - rate * h)), rtol=1e-10)
    assert_allclose(law.cross, law.velocity / 2, rtol=1e-10)


def underdamped(rate, mu):
    """Generator and covariance of dθ = u dt, du = −(1−μ)u dt − P(Hθ dt + dW)."""
    step = rate * P
    K = np.block([[np.zeros((2, 2)), -np.eye(2)], [step @ H, (1 - mu) * np.eye(2)]])
    Q = np.zeros((4, 4))
    Q[2:, 2:] = step @ C / 4 @ step
    return K, solve_continuous_lyapunov(K, Q)


def test_position_velocity_continuous():
    K, Z = underdamped(0.7, 0.6)
    setting = {"learning_rate": 0.7, "batch_size": 4, "momentum": 0.6, "preconditioner": P}
    law = theory.position_velocity_law(H, C, time="continuous", **setting)
    assert_allclose(law.position, Z[:2, :2], rtol=1e-10)
    planted_defects(close(Z[:2, 2:]), law.cross, {"transposed": law.cross.T, "the paper's zero": 0 * law.cross})
    second = 0.7 * P @ C / 4 @ (0.7 * P) / (2 * (1 - 0.6))
    planted_defects(close(Z[2:, 2:]), law.velocity, {"eq. (24), second relation": second})
    # eq. (24)'s second relation is short by what makes the cross term antisymmetric
    assert_allclose(theory.continuous_autocovariance(H, C, lag=0, **setting), law.position, rtol=1e-12)
    right = theory.continuous_autocovariance(H, C, lag=3.3, **setting)
    wrong = {
        "transposed": right.T,
        "overdamped": theory.continuous_autocovariance(H, C, lag=3.3 / 0.4, **setting | {"momentum": 0.0}),
        "velocity uncorrelated": (expm(-3.3 * K)[:2, :2] @ Z[:2, :2]),
    }
    planted_defects(close((expm(-3.3 * K) @ Z)[:2, :2]), right, wrong)
    assert_allclose(theory.continuous_autocovariance(H, C, lag=-3.3, **setting), right.T, rtol=1e-12)


def test_continuous_autocovariance_is_the_limit_of_the_discrete_one():
    rate = 1e-4
    chain = theory.linear_chain(H, C, learning_rate=rate, batch_size=4)
    right = theory.continuous_autocovariance(H, C, lag=5000, learning_rate=rate, batch_size=4)
    planted_defects(close(chain.autocovariance(5000), rtol=2e-3), right, {"transposed": right.T})


def test_effective_temperature():
    """Sum of halves is the excess loss; L §2.6's printed values; equipartition of each direction by the Lyapunov solution."""
    vectors = np.linalg.eigh(H)[1]
    for rate, mu, printed in ((0.5, 0.0, 0.0756151), (0.9, 0.0, 0.7221636), (0.5, 0.5, 0.1194660)):
        setting = {"learning_rate": rate, "batch_size": 4, "momentum": mu}
        right = theory.effective_temperature(H, C, **setting)
        assert_allclose(right.sum() / 2, printed, atol=6e-8)
        sigma = theory.stationary_covariance(H, C, **setting)
        s = np.diag(vectors.T @ C @ vectors) / 4
        closed = rate * s / (2 * (1 - mu)) / (1 - rate * np.linalg.eigvalsh(H) / (2 * (1 + mu)))
        wrong = {
            "missing factor 2": 2 * right,
            "descending": right[::-1],
            "continuous time": theory.effective_temperature(H, C, time="continuous", **setting),
        }
        planted_defects(close(closed), right, wrong)
        assert_allclose(right.sum(), np.trace(H @ sigma), rtol=1e-12)


FREQUENCIES = [
    (0.05, 0.04993, 0.04995),
    (0.1, 0.08807, 0.08815),
    (0.5, 0.2233, 0.2239),
    (2, 0.456, 0.460),
    (10, 1.025, 1.077),
]


@pytest.mark.parametrize(("h", "continuous", "discrete"), [*FREQUENCIES, (30, 1.776, 2.189)])
def test_oscillation_frequencies_kunin(h, continuous, discrete):
    """smith_chaudhari.md 4.4; the discrete one is the angle of the transition's eigenvalues (acceptance test C5)."""
    setting = {"learning_rate": 0.1, "momentum": 0.9}
    half = 6e-4 if h >= 2 else 6e-5  # the digits printed
    found = theory.oscillation_frequencies([[h]], time="continuous", **setting)
    assert_allclose(found, continuous, atol=half)
    right = theory.oscillation_frequencies([[h]], **setting)
    assert_allclose(right, discrete, atol=half)
    eigenvalue = np.linalg.eigvals(theory.linear_chain([[h]], [[1.0]], batch_size=1, **setting).transition)
    wrong = {"continuous time": found} if h >= 0.5 else {"missing factor 2": right * 2}
    planted_defects(close(np.abs(np.angle(eigenvalue)).max(keepdims=True), rtol=1e-8), right, wrong)


def test_mean_square_displacement():
    """smith_chaudhari.md 4.4 and C7: equal to the Green–Kubo sum of velocity correlations."""
    chain = theory.linear_chain([[0.3]], [[0.3]], learning_rate=0.1, batch_size=1, momentum=0.9)
    for lag, printed in ((1, 0.015915), (5, 0.31851), (20, 1.37528), (100, 1.01090)):
        assert_allclose(theory.mean_square_displacement(chain, lag), printed, rtol=4e-5)
    chain = theory.linear_chain(H, C, learning_rate=0.3, batch_size=4, momentum=0.7)
    kept = [float(np.trace(chain.autocovariance(k))) for k in range(13)]

    def velocity(k):  # Tr Cov(u_{t+k}, u_t)
        return 2 * kept[k] - kept[k + 1] - kept[abs(k - 1)]

    sum_ = 11 * velocity(0) + 2 * sum((11 - k) * velocity(k) for k in range(1, 11))
    right = theory.mean_square_displacement(chain, 11)
    planted_defects(close(sum_, 1e-9), right, {"missing factor 2": right / 2, "diffusion": 11 * velocity(0)})


def test_anomalous_diffusion_c6():
    """C = H, h_l = l^−α: displacement grows as t^{1/α} at intermediate times."""
    h = np.arange(1, 601) ** -2.0
    chain = theory.LinearChain(np.diag(1 - 0.05 * h), np.diag(0.05**2 * h), np.eye(600))
    sigma, rates = chain.noise.diagonal() / (1 - (1 - 0.05 * h) ** 2), 1 - 0.05 * h
    times = np.array([400, 4000])
    found = [2 * np.sum(sigma * (1 - rates**t)) for t in times]
    small = theory.LinearChain(chain.transition[:40, :40], chain.noise[:40, :40], np.eye(40))
    assert_allclose(theory.mean_square_displacement(small, 400), 2 * np.sum((sigma * (1 - rates**400))[:40]), rtol=1e-9)
    slope = np.log(found[1] / found[0]) / np.log(10)
    assert_allclose(slope, 0.5, atol=0.03)
