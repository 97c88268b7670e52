"""Agreement: the printed numbers of recent.md sections 2.1 to 2.4."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])
E2 = np.array([0.0, 1.0])


def sym(*upper: float) -> np.ndarray:
    """Upper triangle, row by row, to a symmetric matrix."""
    size = int((np.sqrt(8 * len(upper) + 1) - 1) / 2)
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


@pytest.mark.parametrize(
    ("setting", "sigma", "ahead", "average", "ema", "times"),
    [
        (
            {"learning_rate": 0.5, "batch_size": 4},
            (0.0641027, -0.0209858, 0.0712323),
            (0.0031479, -0.0106848, -0.0253548, 0.0565721),
            (0.0086672, -0.0116109, 0.0370393),
            (0.0047468, -0.0068005, 0.0216648),
            (8.179707, 4.204426),
        ),
        (
            {"learning_rate": 0.1, "batch_size": 4, "injected": 0.2 / 50 * np.eye(2)},
            (0.0196620, -0.0109630, 0.0578727),
            (0.0160585, -0.0105066, -0.0110047, 0.0553080),
            (0.0114138, -0.0100663, 0.0501186),
            (0.0072735, -0.0083369, 0.0405166),
            (44.205056, 22.106884),
        ),
        (
            {"learning_rate": 0.1, "batch_size": 4, "momentum": 0.9, "injected": 0.02 * np.eye(2)},
            (0.1687089, -0.0226922, 0.2551709),
            (0.1418347, -0.0204959, -0.0285956, 0.2393405),
            (0.0295165, -0.0310578, 0.1602719),
            (0.0136715, -0.0137776, 0.0651488),
            (2.670522, 10.023580),
        ),
    ],
)
def test_table_recent_2_1(setting, sigma, ahead, average, ema, times):
    chain = theory.linear_chain(H, C, **setting)
    assert_allclose(chain.covariance, sym(*sigma), atol=6e-8)
    assert_allclose(chain.autocovariance(1).ravel(), ahead, atol=6e-8)
    assert_allclose(chain.average(10), sym(*average), atol=6e-8)
    assert_allclose(chain.ema(0.9), sym(*ema), atol=6e-8)
    assert_allclose((chain.iact(E2), chain.iact(E2, quadratic=True)), times, atol=6e-7)


def test_thinning_recent_2_1():
    chain = theory.linear_chain(H, C, learning_rate=0.1, batch_size=4, momentum=0.9)
    assert_allclose([k * chain.iact(E2, thin=k) for k in (1, 10, 20)], (4.26, 4.40, 10.16), atol=0.006)


def test_long_run_bound_recent_2_2():
    chain = theory.linear_chain(H, C, learning_rate=0.5, batch_size=4)
    assert_allclose(chain.long_run_covariance, sym(0.1044560, -0.1835527, 0.5826591), atol=6e-8)
    assert_allclose(1500 * chain.average(1500), sym(0.10433, -0.18306, 0.58112), atol=6e-6)


def test_iact_of_exact_posterior_recent_2_2():
    for mu in (0, 0.6):
        best = theory.optimal_preconditioner(H, C, num_examples=50, batch_size=4, momentum=mu)
        chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, momentum=mu, preconditioner=best)
        assert_allclose([chain.iact(e) for e in np.eye(2)], (9.505495, 13.255495), atol=6e-7)


def test_sandwich_recent_2_3():
    target = np.linalg.solve(H, np.linalg.solve(H, C).T) / 50
    assert_allclose(target, sym(0.0083565, -0.0146842, 0.0466127), atol=6e-8)
    found = theory.preconditioner_for(target, H, C, batch_size=4)
    assert_allclose(found, sym(0.0814001, -0.0488400, 0.3256003), atol=6e-8)
    heavy = theory.preconditioner_for(target, H, C, batch_size=4, momentum=0.6)
    assert_allclose(heavy, 0.0627451 * np.linalg.inv(H), rtol=1e-6)
    chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, preconditioner=found)
    assert_allclose([chain.iact([1.0, 0.0]), chain.iact(E2)], 50 / 4, rtol=1e-12)


def test_any_target_recent_2_3():
    target = sym(0.03, 0.01, 0.05)
    found = theory.preconditioner_for(target, H, C, batch_size=4, momentum=0.6)
    assert_allclose(found, sym(0.2129120, 0.1430093, 0.2295987), atol=6e-8)
    law = theory.stationary_covariance(H, C, learning_rate=1, batch_size=4, momentum=0.6, preconditioner=found)
    assert_allclose(law, target, rtol=1e-12)


def test_published_solution_is_inexact_recent_2_3():
    noise = C / 4
    sandwich = np.linalg.solve(H, np.linalg.solve(H, C).T) / 50
    published = (C @ np.linalg.inv(H) + np.linalg.inv(H) @ C) @ np.linalg.inv(noise + C / 50) / 50
    # P is not symmetric: the published map needs a chain of its own
    F = np.eye(2) - published @ H
    chain = theory.LinearChain(F, published @ noise @ published.T, np.eye(2))
    ratios = np.sort(np.linalg.eigvals(np.linalg.solve(sandwich, chain.covariance)).real)
    assert_allclose(ratios, (0.704, 1.728), atol=6e-4)


CORRECTED = [
    (0.1332535 * np.eye(2), 32.9397),
    (np.diag([0.1106677, 0.2917604]), 15.9765),
]


@pytest.mark.parametrize(("preconditioner", "time"), CORRECTED)
def test_corrected_langevin_recent_2_4(preconditioner, time):
    preconditioner = preconditioner * (1 - 1e-6)  # printed digits may round beyond the bound
    added = theory.langevin_correction(H, C, preconditioner=preconditioner, num_examples=50, batch_size=4)
    chain = theory.chain_from_noise(H, C / 4 + added, learning_rate=1, preconditioner=preconditioner)
    assert_allclose(chain.covariance, np.linalg.inv(H) / 50, rtol=1e-12)
    assert_allclose(chain.worst_iact(), time, rtol=1e-5)
    with pytest.raises(ValueError, match="preconditioner must be at most"):
        theory.langevin_correction(H, C, preconditioner=1.01 * preconditioner, num_examples=50, batch_size=4)


@pytest.mark.parametrize(("rate", "bias", "time"), [(0.0069029, 0.05, 654.187), (0.0271030, 0.20, 165.905)])
def test_plain_langevin_recent_2_4(rate, bias, time):
    law = theory.langevin_covariance(H, C, step_size=2 * rate / 50, num_examples=50, batch_size=4)
    assert_allclose(np.linalg.eigvals(50 * H @ law).max() - 1, bias, rtol=1e-4)
    chain = theory.linear_chain(H, C, learning_rate=rate, batch_size=4, injected=2 * rate / 50 * np.eye(2))
    assert_allclose(chain.covariance, law, rtol=1e-12)
    assert_allclose(chain.worst_iact(), time, rtol=1e-5)


def test_constant_sgd_recent_2_4():
    best = theory.optimal_preconditioner(H, C, num_examples=50, batch_size=4)
    chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, preconditioner=best)
    assert_allclose(chain.worst_iact(), 15.5236, atol=6e-5)


@pytest.mark.parametrize(
    ("mu", "times"), [(0, (3.910703, 9.033969)), (0.6, (1.175720, 2.489072)), (0.9, (0.469303, 9.709771))]
)
def test_momentum_pays_at_small_noise_recent_2_4(mu, times):
    need = (1 - mu) / (1 + mu) * H + 50 / 400 * C
    rate = 2 * (1 - mu) / np.linalg.eigvalsh(need)[-1] * (1 - 1e-12)
    added = theory.langevin_correction(
        H, C, preconditioner=rate * np.eye(2), num_examples=50, batch_size=400, momentum=mu
    )
    chain = theory.chain_from_noise(H, C / 400 + added, learning_rate=rate, momentum=mu)
    assert_allclose(chain.worst_iact(), times[0], rtol=3e-6)
    grid = [chain.iact((np.cos(t), np.sin(t)), quadratic=True) for t in np.linspace(0, np.pi, 61)]
    assert_allclose(max(grid), times[1], rtol=3e-5)  # the printed maximum is one over 60 angles
    fine = max(chain.iact((np.cos(t), np.sin(t)), quadratic=True) for t in np.linspace(0, np.pi, 4001))
    assert_allclose(chain.worst_iact(quadratic=True), fine, rtol=1e-6)
