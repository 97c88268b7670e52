"""Equilibria of scale-invariant losses: the exact identity by simulation, and the bounds it implies (T9)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import scaling, theory
from gradnoise.testing import assert_fails, planted_defects

# sde_scaling.md §7.4, SDE proxy: R, G, N̂
REFERENCE = scaling.Equilibrium(3.559, 0.0703, 0.1421)
DECAY = 0.02


A = np.random.default_rng(7).normal(size=(64, 10)) * np.sqrt(np.linspace(0.5, 2.5, 10))


def gradients(x):
    """Gradients of the 64 losses (a·x)²/|x|² at every chain, (chains, 64, 10): orthogonal to x, one by one."""
    square = np.sum(x**2, axis=1)[:, None, None]
    along = (x @ A.T)[..., None]
    return (2 * along * A - 2 * along**2 / square * x[:, None]) / square


def run(batch, steps, l=1.0, chains=128):
    """R, G, N over the last two thirds of a run of SGD or svag, minibatches with replacement as multinomial weights."""
    rng = np.random.default_rng(batch)
    eta = scaling.svag({"learning_rate": 0.02 * batch, "batch_size": batch}, l)["learning_rate"]
    plus, minus = theory.svag_coefficients(l)
    x = rng.normal(size=(chains, 10))
    x *= math.sqrt(3.03) / np.linalg.norm(x, axis=1, keepdims=True)
    kept = []
    for step in range(steps):
        each = gradients(x)
        weights = [c * rng.multinomial(batch, np.full(64, 1 / 64), chains) / batch for c in (plus, minus) if c]
        if step >= steps // 3:
            full = each.mean(1)
            N = np.sum(each.var(1), axis=1) / batch
            kept.append([np.mean(np.sum(x**2, axis=1)), np.mean(np.sum(full**2, axis=1)), np.mean(N)])
        x = x - eta * (np.einsum("cn,cnd->cd", sum(weights), each) + DECAY * x)
    R, G, N = np.mean(kept, axis=0)
    rate = eta * DECAY * (2 - eta * DECAY)  # what still drifts over the window, accounted for exactly
    R += (np.mean(np.sum(x**2, axis=1)) - kept[0][0]) / (len(kept) * rate)
    return R, G, N, eta


@pytest.fixture(scope="module")
def runs():
    return {batch: run(batch, steps) for batch, steps in ((4, 1100), (16, 400), (64, 300), (128, 400))}


def test_identity_of_sgd(runs):
    """T9: within 0.5 % at every batch size."""
    for R, G, N, eta in runs.values():
        setting = {"noise_trace": N, "squared_gradient": G, "learning_rate": eta, "weight_decay": DECAY}
        found = scaling.scale_invariant_norm(**setting)
        wrong = {"missing factor 2": 2 * found, "noise alone": found * N / (N + G)}
        planted_defects(lambda p, R=R: assert_allclose(p, R, rtol=0.005), found, wrong)


def test_the_bounds_hold(runs):
    """T9: B = 4 stands for the SDE (2 % off, §7.4: too much for B = 16, whose C is 1.09); N/G falls, and C-closeness is lost before the theorem says so."""
    laws = {b: scaling.Equilibrium(R, G, eta * N) for b, (R, G, N, eta) in runs.items()}
    sde = laws[4]
    ratio = {b: law.squared_params / sde.squared_params for b, law in laws.items()}
    assert ratio[16] < 1.15
    assert ratio[128] > math.sqrt(2)
    noise_to_signal = [N / G for _, G, N, _ in runs.values()]
    assert noise_to_signal == sorted(noise_to_signal, reverse=True)
    for b in (64, 128):
        C = scaling.equilibrium_closeness(laws[b], sde)
        signal = {"noise_per_time": sde.noise_per_time, "squared_gradient": sde.squared_gradient}
        assert runs[b][3] <= scaling.max_learning_rate_for_sde(**signal, closeness=C)
        small = {"noise_trace": runs[4][2], "squared_gradient": runs[4][1]}
        assert b / 4 <= scaling.max_factor_for_linear(**small, closeness=C)
    C = scaling.equilibrium_closeness(laws[128], sde)
    assert runs[128][3] > 0.1 * scaling.max_learning_rate_for_sde(**signal, closeness=C)  # not vacuous


def test_identity_of_svag():
    R, G, N, eta = run(64, 700, l=4)
    setting = {"noise_trace": N, "squared_gradient": G, "learning_rate": 4 * eta, "weight_decay": DECAY}

    def check(p):
        assert_allclose(p, R, rtol=0.01)

    check(scaling.scale_invariant_norm(**setting, l=4))
    assert_fails(check, scaling.scale_invariant_norm(**setting), defect="plain SGD")
    assert_fails(check, scaling.scale_invariant_norm(**setting, l=math.inf), defect="the SDE")


# sde_scaling.md §7.4: batch, R/R̄, G/Ḡ, N̂/N̄, "C needed", "bound η <="
TABLE = [
    (1, 1.003, 1.009, 0.997, 1.009, 0.035),
    (4, 1.022, 1.016, 0.982, 1.022, 0.091),
    (16, 1.093, 1.058, 0.924, 1.093, 0.395),
    (64, 1.526, 1.276, 0.700, 1.526, 2.69),
    (128, 2.408, 1.464, 0.493, 2.408, 9.70),
    (256, 4.491, 1.555, 0.324, 4.491, 38.8),
]


@pytest.mark.parametrize(("batch", "r", "g", "n", "needed", "bound"), TABLE)
def test_golden_closeness(batch, r, g, n, needed, bound):
    R, G, N = REFERENCE.squared_params, REFERENCE.squared_gradient, REFERENCE.noise_per_time
    measured = scaling.Equilibrium(r * R, g * G, n * N)
    C = scaling.equilibrium_closeness(measured, REFERENCE)
    wrong = {"R alone inverted": 1 / r, "product of ratios": C * max(g, 1 / g)}
    planted_defects(lambda c: assert_allclose(c, needed, atol=6e-4), C, wrong)
    assert_allclose(scaling.equilibrium_closeness(REFERENCE, measured), C, rtol=1e-12)
    found = scaling.max_learning_rate_for_sde(noise_per_time=N, squared_gradient=G, closeness=C)
    printed = 0.5e-3 if bound < 1 else 0.5e-2 if bound < 10 else 0.5e-1
    assert_allclose(found, bound, rtol=0, atol=printed + 2.02 * 2 * C * 0.6e-3)  # rounding of the bound and of C
    assert found >= 0.02 * batch  # the theorem
    assert_fails(assert_allclose, found * G / N, C**2, rtol=1e-6, defect="C² for C² − 1")


def test_golden_linear_bound():
    """κ ≤ 5.5, 20.7, 135, 485 at the C of B = 4, 16, 64, 128 from the B = 1 run with N/G = 100; and B* = 101 at √2."""
    run = {"noise_trace": 100.0, "squared_gradient": 1.0}
    for (_, _, _, _, C, _), golden, kappa in zip(TABLE[1:5], (5.5, 20.7, 135, 485), (4, 16, 64, 128), strict=True):
        tight = scaling.max_factor_for_linear(**run, closeness=C)
        weak = scaling.max_factor_for_linear(**run, closeness=C, form="weak")
        planted_defects(
            lambda p, golden=golden: assert_allclose(p, golden, rtol=0.01), tight, {"weak form": weak, "C²": C**2}
        )
        assert kappa <= tight <= weak
        assert_allclose(weak, C**2 * 101, rtol=1e-12)
    edge = scaling.max_learning_rate_for_sde(noise_per_time=0.1421, squared_gradient=0.0703)
    assert round(edge, 2) == 2.02
    assert round(edge / 0.02) == 101


def test_dimensions():
    """Loss × a, parameters × p: R × p², G and N × a²/p², η × p²/a, λ × a/p², N̂ × a."""
    a, p = 0.5, 3.0
    setting = {"noise_trace": 7.0, "squared_gradient": 2.0, "learning_rate": 0.1, "weight_decay": 0.3}
    scales = {"noise_trace": a**2 / p**2, "squared_gradient": a**2 / p**2, "learning_rate": p**2 / a}
    scales["weight_decay"] = a / p**2
    moved = {k: v * scales[k] for k, v in setting.items()}
    for l in (1.0, 4.0, math.inf):
        plain = scaling.scale_invariant_norm(**setting, l=l)
        assert_allclose(scaling.scale_invariant_norm(**moved, l=l), plain * p**2, rtol=1e-12)
        assert_fails(
            assert_allclose, scaling.scale_invariant_norm(**moved, l=l), plain * p, rtol=1e-12, defect="exponent"
        )
    bound = scaling.max_learning_rate_for_sde(noise_per_time=0.7, squared_gradient=2.0)
    found = scaling.max_learning_rate_for_sde(noise_per_time=0.7 * a, squared_gradient=2.0 * a**2 / p**2)
    assert_allclose(found, bound * p**2 / a, rtol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="closeness must lie in"):
        scaling.max_factor_for_linear(noise_trace=1, squared_gradient=1, closeness=1.0)
    with pytest.raises(ValueError, match="form must be one of 'tight', 'weak'"):
        scaling.max_factor_for_linear(noise_trace=1, squared_gradient=1, form="printed")
    with pytest.raises(ValueError, match="weight_decay must be below"):
        scaling.scale_invariant_norm(noise_trace=1, squared_gradient=1, learning_rate=2, weight_decay=1.5)
    with pytest.raises(ValueError, match="squared_gradient must be > 0"):
        scaling.Equilibrium(1.0, 0.0, 1.0)
