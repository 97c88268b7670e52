"""Laws of the small rooms by simulation or quadrature that shares nothing with them: temperature, displacement, Occam factor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_estimate, planted_defects

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])


@pytest.mark.law
@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_temperature_of_a_slow_mode(Sgd, mu):
    """hE θ² = T·C where ηh/(1−μ) = 0.02: 4096 chains; the discrete step adds half of that at most."""
    rate, size, h, c = 0.1, 4, 0.2 * (1 - mu), 1.7
    sgd = Sgd(noise=np.array([[c / size]]), rate=rate, mu=mu, hessian=np.array([[h]]), seed=int(10 * mu))
    sample = sgd.sample(100, snapshots=12)
    measured = mean_of(h / c * np.mean(sample[..., 0] ** 2, axis=1))
    found = theory.temperature(learning_rate=rate, batch_size=size, momentum=mu)
    wrong = {"missing factor 2": 2 * found, "sum instead of mean": found * size, "g/2N of N = B": found / 2}
    planted_defects(lambda t: assert_estimate(measured, t * (1 + 0.01 * (1 - mu)), detects=0.1), found, wrong)


@pytest.mark.law
@pytest.mark.parametrize("lag", [2, 3])
def test_mean_square_displacement_of_simulated_chains(Sgd, lag):
    chain = theory.linear_chain(H, C, learning_rate=0.3, batch_size=4, momentum=0.7)
    sgd = Sgd(noise=C / 4, rate=0.3, mu=0.7, seed=lag)
    sgd.advance(120)
    moved = []
    for _ in range(12):
        before = sgd.advance(20)
        moved.append(np.sum((sgd.advance(lag) - before) ** 2, axis=1))
    measured = mean_of(np.mean(moved, axis=0))
    found = theory.mean_square_displacement(chain, lag)
    wrong = {
        "one lag short": theory.mean_square_displacement(chain, lag - 1),
        "never forgotten": 2 * np.trace(chain.covariance),
        "missing factor 2": found / 2,
    }
    planted_defects(lambda m: assert_estimate(measured, m), found, wrong)


def test_occam_factor_by_quadrature():
    """Posterior volume over prior volume: ∫exp(−½θᵀAθ)/∫exp(−½λ|θ|²) on a grid."""
    A, prior = np.array([[5.0, 1.2], [1.2, 2.0]]), 0.7
    axis = np.linspace(-12, 12, 1201)
    x, y = np.meshgrid(axis, axis)
    posterior = np.exp(-(A[0, 0] * x**2 + 2 * A[0, 1] * x * y + A[1, 1] * y**2) / 2).sum()
    ratio = np.log(posterior / np.exp(-prior * (x**2 + y**2) / 2).sum())
    found = theory.log_occam_factor(A, prior_precision=prior)
    diagonal = theory.log_occam_factor(np.diag(np.diag(A)), prior_precision=prior)
    wrong = {"factor 1/2 missing": 2 * found, "diagonal alone": diagonal, "prior variance": found + np.log(prior) * 2}
    planted_defects(lambda value: assert_allclose(value, ratio, rtol=1e-9), found, wrong)
