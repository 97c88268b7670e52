"""Identities of the SDEs and of the scaling rules that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad_vec
from scipy.linalg import expm

from gradnoise import scaling, sde, theory
from gradnoise.testing import assert_fails

H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
X, PIECE = np.array([0.3, -0.7]), np.array([1.3, 0.4])
RATE = {"learning_rate": 0.05}
ADAPTIVE = RATE | {"b2": 0.9, "eps": 0.3}
LAWS = {
    "sgd": RATE | {"order": 2, "hessian": H},
    "momentum": RATE | {"momentum": 0.6, "order": 2, "hessian": H},
    "nesterov": RATE | {"momentum": 0.6, "order": 2, "hessian": H},
    "rmsprop": ADAPTIVE,
    "adam": ADAPTIVE | {"b1": 0.8},
    "rmspropw": ADAPTIVE | {"weight_decay": 0.3},
    "adamw": ADAPTIVE | {"b1": 0.8, "weight_decay": 0.3},
    "sign_sgd": RATE,
}
OPTIONAL = {
    "order": (1, ("sgd", "momentum", "nesterov")),
    "bias_correction": (True, ("adam", "adamw")),
    "weight_decay": (0.0, ("rmspropw", "adamw")),
    "sampling": ("with_replacement", tuple(LAWS)),
}


def built(name, **setting):
    return getattr(sde, name)(lambda x: x @ H, np.diag(C) if name == "sign_sgd" else C, **setting)


def fields(name, **change):
    """Drift and covariance at one instant and state, positive second moment."""
    law = built(name, **LAWS[name] | {"batch_size": 4} | change)
    state = np.concatenate([X, *[PIECE] * (len(law.parts) - 1)])
    return np.concatenate([law.drift(0.7, state), law.covariance(0.7, state).ravel()])


@pytest.mark.parametrize("name", LAWS)
def test_four_of_ten_without_replacement_are_six_with(name):
    """(N − B)/(B (N − 1)) = 6/36: the batch enters every SDE through the variance of its mean alone."""
    law = fields(name, sampling="without_replacement", num_examples=10)
    assert_allclose(law, fields(name, batch_size=6), rtol=1e-12)
    assert_fails(assert_allclose, law, fields(name), rtol=1e-3, defect="the sampling forgotten")


@pytest.mark.parametrize(("name", "argument"), [(name, key) for key, (_, names) in OPTIONAL.items() for name in names])
def test_what_is_left_out_is_the_convention(name, argument):
    kept = {
        key: value
        for key, value in LAWS[name].items()
        if key != argument and not (argument == "order" and key == "hessian")
    }
    law = built(name, batch_size=4, **kept)
    stated = built(name, batch_size=4, **kept, **{argument: OPTIONAL[argument][0]})
    state = np.concatenate([X, *[PIECE] * (len(law.parts) - 1)])
    for read in ("drift", "covariance"):
        assert_allclose(getattr(law, read)(0.7, state), getattr(stated, read)(0.7, state), rtol=1e-13)


@pytest.mark.parametrize("l", [1.0, 3.0, np.inf])
def test_norm_at_equilibrium_solves_its_balance_with_strong_decay(l):
    """R (2λ − (η/l) λ²) = η (N + G/l) where ηλ is no longer small, so that its square shows."""
    rate, decay, noise, signal = 0.8, 0.9, 7.0, 2.0
    setting = {"noise_trace": noise, "squared_gradient": signal, "learning_rate": rate, "weight_decay": decay}
    found = scaling.scale_invariant_norm(**setting, l=l)
    # one step of a scale-invariant loss: |θ|² → (1 − ηλ/l)²|θ|² + (η/l)²(l N + G), the gradient across θ, svag noise l N
    if l < np.inf:
        step = rate / l
        assert_allclose((1 - step * decay) ** 2 * found + step**2 * (l * noise + signal), found, rtol=1e-12)
    else:
        assert_allclose(2 * decay * found, rate * noise, rtol=1e-12)
    if l == 1:
        assert found == scaling.scale_invariant_norm(**setting)


@pytest.mark.parametrize("name", ["rmspropw", "adamw"])
def test_eps_is_in_the_noise_too(name):
    """No second moment yet: P = ε, so that the noise is that of SGD with rate η/ε, in the same time."""
    eps = 0.3
    setting = (
        LAWS[name] | {"eps": eps, "batch_size": 4} | ({"b1": 0.0, "bias_correction": False} if name == "adamw" else {})
    )
    law = built(name, **setting)
    state = np.concatenate([X, *[np.zeros(2)] * (len(law.parts) - 1)])
    assert_allclose(law.covariance(0.7, state)[:2, :2], RATE["learning_rate"] * C / 4 / eps**2, rtol=1e-12)


def test_exact_sde_of_sgd_in_three_dimensions():
    """One step of time η: F = I − ηH and the noise η²S, hence the discrete stationary law; H and C turned against each other."""
    rng = np.random.default_rng(7)
    hessian, covariance = (a @ a.T + 0.3 * np.eye(3) for a in rng.standard_normal((2, 3, 3)))
    rate = 0.5 / np.linalg.eigvalsh(hessian)[-1]
    law = sde.sgd_exact(hessian, covariance, learning_rate=rate, batch_size=4)
    F, omega = law.transition(law.time_step)
    assert_allclose(F, np.eye(3) - rate * hessian, rtol=1e-10, atol=1e-13)
    assert_allclose(omega, rate**2 * covariance / 4, rtol=1e-10, atol=1e-13)
    stationary = theory.stationary_covariance(hessian, covariance, learning_rate=rate, batch_size=4)
    assert_allclose(law.stationary_covariance, stationary, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("time", [0.3, 5.0])
def test_transition_of_a_drift_that_is_not_symmetric(time):
    """Against the integral ∫₀ᵗ e^{As} Q e^{Aᵀs} ds."""
    A, Q = np.array([[-1.0, 2.0], [-0.4, -0.3]]), np.array([[1.0, 0.2], [0.2, 0.5]])
    F, omega = sde.LinearSDE(A, Q, 0.1).transition(time)
    assert_allclose(F, expm(A * time), rtol=1e-10)
    assert_allclose(omega, quad_vec(lambda s: expm(A * s) @ Q @ expm(A.T * s), 0, time, epsrel=1e-12)[0], rtol=1e-9)


@pytest.mark.parametrize("l", [2.0, 4.0])
def test_svag_keeps_the_memory_of_the_average(l):
    """ρ per step and l times as many steps: ρ' with ρ'^l = ρ."""
    new = scaling.svag({"learning_rate": 0.8, "batch_size": 128, "ema_decay": 0.9}, l)
    assert_allclose(new["ema_decay"] ** l, 0.9, rtol=1e-12)


def test_the_limit_of_the_linear_rule_is_a_matter_of_the_ratio():
    """Doubling noise and signal together changes nothing."""
    for form in ("tight", "weak"):
        one = scaling.max_factor_for_linear(noise_trace=100.0, squared_gradient=4.0, form=form)
        assert_allclose(
            one, scaling.max_factor_for_linear(noise_trace=25.0, squared_gradient=1.0, form=form), rtol=1e-14
        )


@pytest.mark.parametrize("time", [0.05, 0.4])
def test_adamw_moves_by_the_corrected_moments(time):
    """Where m = ∇L, dX/dt = −m̂/(√v̂ + ε) − γX with m̂ = m/γ₁, v̂ = v/γ₂ of a young buffer."""
    setting = LAWS["adamw"] | {"batch_size": 4}
    rate, eps = setting["learning_rate"], setting["eps"]
    young1, young2 = (-np.expm1(-(1 - setting[key]) / rate * time) for key in ("b1", "b2"))
    state = np.concatenate([X, X @ H, PIECE])
    step = X @ H / young1 / (np.sqrt(PIECE / young2) + eps)
    drift = built("adamw", **setting).drift(time, state)[:2]
    assert_allclose(drift, -step - setting["weight_decay"] * X, rtol=1e-12)


def test_close_means_within_root_two():
    ratio = {"noise_trace": 100.0, "squared_gradient": 4.0}
    stated = scaling.max_factor_for_linear(**ratio, closeness=2**0.5, form="tight")
    assert_allclose(scaling.max_factor_for_linear(**ratio), stated, rtol=1e-14)
    ratio = {"noise_per_time": 100.0, "squared_gradient": 4.0}
    stated = scaling.max_learning_rate_for_sde(**ratio, closeness=2**0.5)
    assert_allclose(scaling.max_learning_rate_for_sde(**ratio), stated, rtol=1e-14)
