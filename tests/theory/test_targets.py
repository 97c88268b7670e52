"""Identity: what is tuned to a target reaches it exactly, and nothing does better than its bound."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
P = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])
W = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]])


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9])
def test_targets_are_reached_exactly(mu, sampling):
    setting = {"num_examples": 60, "batch_size": 10, "sampling": sampling, "momentum": mu}
    posterior = np.linalg.inv(H) / 60
    best = theory.optimal_preconditioner(H, C, **setting)
    assert_allclose(theory.preconditioner_for(posterior, H, C, **setting), best, rtol=1e-9)
    for target in (posterior, 2.5 * posterior, W / 30):
        step = theory.preconditioner_for(target, H, C, **setting)
        law = theory.stationary_covariance(H, C, learning_rate=1, preconditioner=step, **setting)
        assert_allclose(law, target, rtol=1e-9, atol=1e-12)
    # half the largest step, the rest by injection
    added = theory.langevin_correction(H, C, preconditioner=best / 2, **setting)
    noise = theory.batch_noise(C, batch_size=10, sampling=sampling, num_examples=60)
    law = theory.chain_from_noise(H, noise + added, learning_rate=1, momentum=mu, preconditioner=best / 2).covariance
    assert_allclose(law, posterior, rtol=1e-11)
    none = theory.langevin_correction(H, C, preconditioner=best, **setting)
    assert np.abs(none).max() < 1e-12


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_corrected_langevin_is_exact_at_any_fraction(fraction, sampling):
    setting = {"num_examples": 60, "batch_size": 10, "sampling": sampling}
    tuned = theory.corrected_langevin_tuning(H, C, fraction=fraction, **setting)
    chain = theory.linear_chain(
        H, C, learning_rate=1, preconditioner=tuned.preconditioner, injected=tuned.injected_covariance, **setting
    )
    assert_allclose(chain.covariance, np.linalg.inv(H) / 60, rtol=1e-12)
    assert_allclose(chain.relaxation_time, tuned.relaxation_time, rtol=1e-8)
    assert_allclose(tuned.eta, fraction * tuned.eta_max)
    lowest = np.linalg.eigvalsh(tuned.injected_covariance)[0]
    assert (abs(lowest) < 1e-15) == (fraction == 1.0)
    added = theory.langevin_correction(H, C, preconditioner=tuned.preconditioner, **setting)
    P_ = tuned.preconditioner
    assert_allclose(P_ @ added @ P_, tuned.injected_covariance, atol=1e-14)
    if sampling == "with_replacement":
        root = np.linalg.inv(np.linalg.cholesky(H))
        assert_allclose(tuned.eta_max, 2 / (1 + 6 * np.linalg.eigvalsh(root @ C @ root.T)[-1]), rtol=1e-12)


def test_corrected_langevin_without_gradient_noise_along_a_direction():
    """Where C is singular constant SGD is stuck; corrected Langevin is not."""
    tuned = theory.corrected_langevin_tuning(H, np.diag([1.0, 0.0, 0.3]), num_examples=60, batch_size=10)
    chain = theory.chain_from_noise(
        H,
        np.diag([1.0, 0.0, 0.3]) / 10,
        learning_rate=1,
        preconditioner=tuned.preconditioner,
        injected=tuned.injected_covariance,
    )
    assert_allclose(chain.covariance, np.linalg.inv(H) / 60, rtol=1e-12)


# --- orderings that hold, and one that does not ---


def random_pair(rng, size=4):
    A, B = rng.normal(size=(2, size, 2 * size))
    return A @ A.T / size, B @ B.T / size


def test_diagonal_optimum_is_below_the_closed_form_and_that_below_its_bound():
    """On 60 random pairs; the paper's corollary 3 minimises only the bound −½ log|corr C|, and a scalar can beat it."""
    rng, gaps, scalar_wins = np.random.default_rng(0), [], 0
    for _ in range(60):
        A, B = random_pair(rng)
        scale = {"num_examples": 1000, "batch_size": 10, "time": "continuous"}
        posterior = np.linalg.inv(A) / 1000
        best, closed, scalar = (
            theory.gaussian_kl(
                theory.stationary_covariance(
                    A,
                    B,
                    learning_rate=1,
                    batch_size=10,
                    time="continuous",
                    preconditioner=theory.optimal_preconditioner(A, B, kind=kind, **scale),
                ),
                (posterior + posterior.T) / 2,
            )
            for kind in ("diagonal", "diagonal_closed", "scalar")
        )
        scale_free = np.sqrt(np.diag(B))
        bound = -np.linalg.slogdet(B / np.outer(scale_free, scale_free))[1] / 2
        assert best <= min(closed, scalar) + 1e-9
        assert closed <= bound + 1e-9
        gaps.append(closed - best)
        scalar_wins += scalar < closed
    assert max(gaps) > 0.1
    assert scalar_wins > 0


def test_full_preconditioner_is_stable_at_full_batch_where_the_continuous_one_is_not():
    best, small = (
        theory.optimal_preconditioner(H, C, num_examples=10, batch_size=10, time=t) for t in ("discrete", "continuous")
    )
    law = theory.stationary_covariance(H, C, learning_rate=1, batch_size=10, preconditioner=best)
    assert_allclose(law, np.linalg.inv(H) / 10, rtol=1e-12)
    assert np.linalg.eigvals(np.linalg.solve(C, H)).real.max() > 1
    with pytest.raises(ValueError, match="stability edge"):
        theory.stationary_covariance(H, C, learning_rate=1, batch_size=10, preconditioner=small)


def test_no_linear_method_beats_the_long_run_bound():
    """V ⪰ H⁻¹SH⁻¹ with equality for every P and μ; injected noise only adds."""
    bound = np.linalg.solve(H, np.linalg.solve(H, C).T) / 10
    for law in ({}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}):
        setting = {"learning_rate": 0.6, "batch_size": 10, "preconditioner": P, **law}
        assert_allclose(theory.linear_chain(H, C, **setting).long_run_covariance, bound, rtol=1e-11)
        more = theory.linear_chain(H, C, injected=0.01 * W, **setting).long_run_covariance - bound
        assert np.linalg.eigvalsh(more)[0] > 0
