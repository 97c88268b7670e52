"""Stochastic-variance amplified gradients: exact enumeration over all pairs of a finite set (sde_scaling.md T1, T2, C4)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_fails, planted_defects

RNG = np.random.default_rng(0)
GRADIENTS = RNG.exponential(size=(7, 3)) @ np.array([[1.0, 0.3, 0.0], [0.0, 0.8, -0.5], [0.2, 0.0, 1.5]])
FACTORS = [1, 2, 2.5, 4, 8, 16, 32]


def close(expected):
    return lambda found: assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def combined(l):
    plus, minus = theory.svag_coefficients(l)
    return (plus * GRADIENTS[:, None] + minus * GRADIENTS[None]).reshape(49, 3)


def cumulants(rows):
    x = rows - rows.mean(0)
    covariance = x.T @ x / len(x)
    third = np.einsum("ni,nj,nk->ijk", x, x, x) / len(x)
    fourth = np.einsum("ni,nj,nk,nl->ijkl", x, x, x, x) / len(x)
    pairs = [np.einsum(f"{a},{b}->ijkl", covariance, covariance) for a, b in (("ij", "kl"), ("ik", "jl"), ("il", "jk"))]
    return covariance, third, fourth - sum(pairs)


@pytest.mark.parametrize("l", FACTORS)
def test_every_pair(l):
    """T1 and C4: mean kept, covariance × l, third and fourth cumulants as the formulas say."""
    rows = combined(l)
    assert_allclose(rows.mean(0), GRADIENTS.mean(0), rtol=1e-12)
    once, amplified, factors = cumulants(GRADIENTS), cumulants(rows), theory.svag_moments(l)
    wrong = {"amplified twice": once[0] * (l + 0.05), "one batch": once[0] * 0.5}
    planted_defects(close(amplified[0]), once[0] * factors.covariance, wrong)
    planted_defects(close(amplified[1]), once[1] * factors.third, {"third as l": once[1] * (l + 0.01)})
    planted_defects(close(amplified[2]), once[2] * factors.fourth, {"fourth as l²": once[2] * (l**2 + 0.01)})
    skew, kurtosis = ([c[k][(0,) * (k + 2)] / c[0][0, 0] ** (1 + k / 2) for c in (once, amplified)] for k in (1, 2))
    planted_defects(close(skew[1] / skew[0]), factors.skewness, {"not normalised": factors.third * 1.01})
    planted_defects(close(kurtosis[1] / kurtosis[0]), factors.excess_kurtosis, {"vanishing": 1 / (l + 0.01)})


def test_golden_sde_scaling_7_1():
    third = [1, 2.5, 3.25, 5.5, 11.5, 23.5, 47.5]
    fourth = [1, 3.5, 5.125, 11.5, 39.5, 143.5, 543.5]
    assert [theory.svag_moments(l).third for l in FACTORS] == third
    assert [theory.svag_moments(l).fourth for l in FACTORS] == fourth
    adaptive = [theory.svag_moments(ell**2) for ell in (1, 2, 4, 8)]  # T2
    assert [m.covariance for m in adaptive] == [1, 4, 16, 64]
    assert [round(m.skewness, 4) for m in adaptive] == [1, 0.6875, 0.3672, 0.1865]


def test_one_is_plain_sgd():
    assert theory.svag_coefficients(1) == (1.0, 0.0)
    assert_allclose(combined(1).reshape(7, 7, 3)[:, 3], GRADIENTS, rtol=0)


@pytest.mark.parametrize("l", [1, 2.5, 8])
def test_svag_noise(l):
    """Independent batches, and all ordered pairs of disjoint batches of 2 out of 7."""
    C = np.cov(GRADIENTS.T, bias=True)
    plus, minus = theory.svag_coefficients(l)
    means = {pair: GRADIENTS[list(pair)].mean(0) for pair in itertools.combinations(range(7), 2)}
    disjoint = [plus * means[a] + minus * means[b] for a in means for b in means if not set(a) & set(b)]
    without = theory.svag_noise(C, l, batch_size=2, sampling="without_replacement", num_examples=7)
    independent = theory.batch_noise(C, batch_size=2, sampling="without_replacement", num_examples=7) * l
    wrong = {"with replacement": theory.svag_noise(C, l, batch_size=2)}
    if l > 1:
        wrong["halves independent"] = independent
    planted_defects(close(np.cov(np.array(disjoint).T, bias=True)), without, wrong)
    planted_defects(
        close(cumulants(combined(l))[0] / 4), theory.svag_noise(C, l, batch_size=4), {"no batch": C * l / 4.1}
    )


def test_stationary_covariance_of_svag():
    """T7: H Σ + Σ H − (η/l) HΣH = η S; in one dimension the error against the SDE is (ηh/l)/(2 − ηh/l)."""
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 4, 4))
    H, S = A @ A.T + 0.5 * np.eye(4), B @ B.T
    eta = 0.5 / np.linalg.eigvalsh(H)[-1]
    sde = theory.stationary_covariance(H, S, learning_rate=eta, batch_size=1, time="continuous")
    errors = []
    for l in (1, 2, 4, 8, 16):
        noise = theory.svag_noise(S, l, batch_size=1)
        sigma = theory.stationary_covariance(H, noise, learning_rate=eta / l, batch_size=1)
        residual = H @ sigma + sigma @ H - eta / l * H @ sigma @ H - eta * S
        assert np.abs(residual).max() < 1e-12 * np.abs(S).max()
        errors.append(np.linalg.norm(sigma - sde) / np.linalg.norm(sde))
        one = theory.stationary_covariance([[2.0]], [[1.0 * l]], learning_rate=0.25 / l, batch_size=1)[0, 0] / 0.0625
        assert_allclose(one - 1, (0.5 / l) / (2 - 0.5 / l), rtol=1e-12)
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ((ratios > 1.95) & (ratios < 2.15)).all()
    assert_fails(close(sde), 2 * sde, defect="missing factor 2")


def test_bad_input():
    with pytest.raises(ValueError, match=r"l must be >= 1, got 0\.5"):
        theory.svag_coefficients(0.5)
    with pytest.raises(ValueError, match=r"batch_size must be <= num_examples/2 = 3\.5"):
        theory.svag_noise(np.eye(2), 2, batch_size=4, sampling="without_replacement", num_examples=7)
    with pytest.raises(ValueError, match="num_examples must be given"):
        theory.svag_noise(np.eye(2), 2, batch_size=4, sampling="without_replacement")
