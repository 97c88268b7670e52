"""Acceptance tests of sde_scaling.md section 8 without a home elsewhere: adaptive svag (T2), estimators at 20 000 repeats (T10), eps in and out of the root."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import scaling, theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_estimate, planted_defects

SKEWED = np.random.default_rng(2).exponential(size=(7, 3)) @ np.array([[1, 0.4, 0], [0, 2, 0.3], [0, 0, 0.5]])
PRINTED = {1: (1, 1.0), 2: (4, 0.6875), 4: (16, 0.3672), 8: (64, 0.1865)}


@pytest.mark.parametrize("ell", sorted(PRINTED))
def test_adaptive_combination_t2(ell):
    """All 49 pairs of seven skewed gradients: covariance × ℓ², skewness × (3ℓ²−1)/(2ℓ³); Adam's ℓ is l = ℓ² here."""
    pairs = np.array(list(itertools.product(range(7), repeat=2)))
    mean = SKEWED.mean(0)

    def combined(l):
        c_plus, c_minus = theory.svag_coefficients(l)
        return c_plus * SKEWED[pairs[:, 0]] + c_minus * SKEWED[pairs[:, 1]] - mean

    def moments(rows):
        return rows.T @ rows / len(rows), np.einsum("ni,nj,nk->ijk", rows, rows, rows) / len(rows)

    covariance, third = moments(SKEWED - mean)

    def check(rows):
        second, cubed = moments(rows)
        assert_allclose(rows.mean(0), 0, atol=1e-13 * ell)
        assert_allclose(second, ell**2 * covariance, rtol=1e-12, atol=1e-12 * ell**2)
        assert_allclose(cubed / ell**3, (3 * ell**2 - 1) / (2 * ell**3) * third, rtol=1e-11, atol=1e-12)

    wrong = {"ℓ for ℓ²": combined(ell)} if ell > 1 else {"halves added": combined(1) * 2}
    planted_defects(check, combined(ell**2), wrong)
    found = theory.svag_moments(ell**2)
    assert_allclose((found.covariance, found.skewness), PRINTED[ell], atol=6e-5)
    new = scaling.svag(
        {"optimizer": "rmsprop", "learning_rate": 1e-3, "b2": 0.99, "eps": 1e-8, "batch_size": 32}, ell**2
    )
    assert_allclose(
        (new["learning_rate"], 1 - new["b2"], new["eps"]), (1e-3 / ell, 0.01 / ell**2, 1e-8 * ell), rtol=1e-12
    )


@pytest.mark.law
def test_signal_and_noise_t10():
    """Ĝ = (Ks − q)/(K−1), N̂ = q − Ĝ: unbiased over 20 000 repeats of K = 20 batches of 4; signal and noise of one batch."""
    rng, repeats, batch = np.random.default_rng(10), 20_000, 4
    pool = SKEWED - SKEWED.mean(0) + np.array([0.3, -0.2, 0.1])
    signal, noise = 0.14, float(np.trace(np.cov(pool.T, bias=True)))
    rows = pool[rng.integers(7, size=(repeats, 20, batch))].mean(2)
    q, s = np.sum(rows**2, 2).mean(1), np.sum(rows.mean(1) ** 2, 1)
    found = [theory.gradient_estimates(gradients, batch_size=batch) for gradients in rows[:40]]
    assert_allclose([f.squared_gradient.value for f in found], ((20 * s - q) / 19)[:40], rtol=1e-10)
    assert_allclose([f.noise_trace.value for f in found], (batch * (q - (20 * s - q) / 19))[:40], rtol=1e-10)
    planted_defects(
        lambda g: assert_estimate(mean_of((20 * s - q) / 19), g, detects=0.1),
        signal,
        {"biased |mean|²": signal + noise / 80},
    )
    planted_defects(
        lambda n: assert_estimate(mean_of(batch * (q - (20 * s - q) / 19)), n, detects=0.02),
        noise,
        {"per batch": noise / batch, "N - 1": noise * 7 / 6},
    )


@pytest.mark.parametrize("inside", [False, True])
def test_square_root_rule_of_the_step_itself(inside):
    """B → κB divides v by κ where noise dominates: then the step multiplies η/(√v + ε), or η/√(v + ε), by κ for every v, as σ₀, ε₀ ask."""
    settings = {
        "optimizer": "rmsprop",
        "learning_rate": 0.01,
        "b2": 0.999,
        "eps": 0.3,
        "batch_size": 16,
        "eps_in_sqrt": inside,
    }
    v, kappa = np.array([1e-6, 0.01, 0.3, 2.0, 50.0]), 4

    def step(s, v):
        return s["learning_rate"] / (np.sqrt(v + s["eps"]) if inside else np.sqrt(v) + s["eps"])

    def check(s):
        assert_allclose(step(s, v / kappa), kappa * step(settings, v), rtol=1e-12)

    new = dict(scaling.square_root(settings, kappa))
    other = math.sqrt(kappa) if inside else 1 / math.sqrt(kappa)
    planted_defects(
        check, new, {"eps of the other place": new | {"eps": new["eps"] * other}, "eps kept": new | {"eps": 0.3}}
    )
    amplified = dict(scaling.svag(settings, kappa))
    assert_allclose(step(amplified, v * kappa), step(settings, v) / kappa, rtol=1e-12)
