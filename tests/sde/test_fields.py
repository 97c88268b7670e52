"""Records on vectors and stacks: shapes, matrix roots, units, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import sde
from gradnoise.testing import assert_fails

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
RATE = {"learning_rate": 0.3, "batch_size": 4}
ADAM = {"b1": 0.9, "b2": 0.99, "eps": 0.2, "bias_correction": False}


def laws(a=1.0, p=1.0, rate=RATE):
    """Every record with the loss multiplied by a and the parameters by p: η has its own unit in each method."""
    adaptive = rate | {"learning_rate": rate["learning_rate"] * p}
    plain = rate | {"learning_rate": rate["learning_rate"] * p**2 / a}
    eps = {"eps": 0.2 * a / p}
    adam = ADAM | eps
    curvature, noise = H * a / p**2, C * a**2 / p**2

    def slope(x):
        return x @ curvature

    return {
        "sgd": sde.sgd(slope, noise, order=2, hessian=curvature, **plain),
        "momentum": sde.momentum(slope, noise, momentum=0.7, order=2, hessian=curvature, **plain),
        "nesterov": sde.nesterov(slope, noise, momentum=0.7, order=2, hessian=curvature, **plain),
        "rmsprop": sde.rmsprop(slope, noise, b2=0.99, **eps, **adaptive),
        "adam": sde.adam(slope, noise, **adam, **adaptive),
        "rmspropw": sde.rmspropw(slope, noise, b2=0.99, weight_decay=0.5 / p, **eps, **adaptive),
        "adamw": sde.adamw(slope, noise, weight_decay=0.5 / p, **adam, **adaptive),
        "sign_sgd": sde.sign_sgd(slope, np.sqrt(np.diag(noise)), **adaptive),
    }


STATES = np.random.default_rng(0).uniform(0.5, 1.5, (3, 5, 6))


def state_of(law):
    return STATES[..., : 2 * len(law.parts)]


def unit_of(part, a, p):
    """Unit of each part; the velocity's is parameter/time, time being √η: p/(p/√a)."""
    gradient = a / p
    return {"position": p, "velocity": a**0.5, "first_moment": gradient, "second_moment": gradient**2}[part]


@pytest.mark.parametrize("name", list(laws()))
def test_dimensions(name):
    """Loss × ½, parameters × 3: drift in state per time, covariance in state² per time, whatever the method's time."""
    a, p = 0.5, 3.0
    plain, moved = laws()[name], laws(a, p)[name]
    time = moved.time_step / plain.time_step
    units = np.concatenate([np.full(2, unit_of(part, a, p)) for part in plain.parts])
    z = state_of(plain)

    def same(found, expected):
        assert_allclose(found, expected, rtol=1e-10, atol=1e-13)

    drift = plain.drift(0.3, z) * units / time
    same(moved.drift(0.3, z * units), drift)
    covariance = plain.covariance(0.3, z) * np.outer(units, units) / time
    same(moved.covariance(0.3, z * units), covariance)
    assert_fails(same, moved.drift(0.3, z * units), drift * 3, defect="exponent of the parameter")
    assert_fails(same, moved.covariance(0.3, z * units), covariance / 2, defect="exponent of the loss")


@pytest.mark.parametrize("name", list(laws()))
def test_stacks(name):
    """Any leading shape; one state at a time gives the same."""
    law = laws()[name]
    z = state_of(law)
    drift, diffusion = law.drift(0.3, z), law.diffusion(0.3, z)
    assert drift.shape == z.shape
    assert diffusion.shape == (*z.shape, 2)
    assert_allclose(law.drift(0.3, z[1, 2]), drift[1, 2], rtol=1e-13)
    assert_allclose(law.diffusion(0.3, z[1, 2]), diffusion[1, 2], rtol=1e-13)
    assert law.params(z).shape == (3, 5, 2)
    assert len(law.parts) * 2 == z.shape[-1]


def test_noise_covariance():
    """Per unit of time: ηC/B for SGD, hC/B on the velocity, σ₀²PCP for RMSprop; C may depend on the parameters."""
    law = laws()
    x = np.array([0.3, -0.2])
    assert_allclose(law["sgd"].covariance(0.0, x), 0.3 * C / 4, rtol=1e-12)
    assert_allclose(law["momentum"].covariance(0.0, np.append(x, x))[2:, 2:], 0.3**0.5 * C / 4, rtol=1e-12)
    u = np.array([0.7, 1.9])
    P = np.diag(1 / (0.15 * np.sqrt(u) + 0.06))
    found = law["rmsprop"].covariance(0.0, np.append(x, u))[:2, :2]
    assert_allclose(found, 0.15**2 * P @ C @ P, rtol=1e-12)
    assert_fails(assert_allclose, found, 0.15 * P @ C @ P, rtol=1e-12, defect="σ for σ²")
    moving = sde.sgd(lambda x: x @ H, lambda x: x[..., :1, None] ** 2 * C, **RATE)
    assert_allclose(moving.covariance(0.0, STATES[..., :2])[1, 2], 0.075 * STATES[1, 2, 0] ** 2 * C, rtol=1e-12)
    without = sde.sgd(lambda x: x @ H, C, sampling="without_replacement", num_examples=4, **RATE)
    assert not without.diffusion(0.0, x).any()  # B = N: no noise
    bent = sde.sgd(lambda x: x @ H, C, order=2, hessian=lambda x: np.broadcast_to(H, (*x.shape, 2)), **RATE)
    assert_allclose(bent.drift(0.0, STATES[..., :2]), law["sgd"].drift(0.0, STATES[..., :2]), rtol=1e-12)


VARIANCE = {"curvature": 1.3, "standard_deviation": 0.7, "learning_rate": 0.01, "batch_size": 4}


@pytest.mark.parametrize("name", ["sign_variance", "rmsprop_variance", "adamw_variance"])
def test_dimensions_of_the_variances(name):
    a, p = 0.5, 3.0
    extra = {"rmsprop_variance": {"eps": 0.2}, "adamw_variance": {"weight_decay": 0.4}}.get(name, {})
    units = {
        "curvature": a / p**2,
        "standard_deviation": a / p,
        "learning_rate": p,
        "eps": a / p,
        "weight_decay": 1 / p,
    }
    setting = VARIANCE | extra
    moved = {k: v * units.get(k, 1) for k, v in setting.items()}
    function = getattr(sde, name)
    assert_allclose(function(**moved), function(**setting) * p**2, rtol=1e-12)
    assert_fails(assert_allclose, function(**moved), function(**setting) * p, rtol=1e-12, defect="exponent")


@pytest.mark.parametrize("method", ["rmsprop_moments", "adam_moments"])
def test_dimensions_of_the_moments(method):
    a, p = 0.5, 3.0
    u0 = {"second_moment": np.array([2.0, 3.0])} if method == "rmsprop_moments" else {}
    extra = {} if method == "rmsprop_moments" else {"b1": 0.9}

    def moments(a, p):
        setting = {"learning_rate": 0.1 * p, "batch_size": 4, "b2": 0.99, "eps": 0.2 * a / p, "time": 0.3 * p**2}
        warm = {k: v * (a / p) ** 2 for k, v in u0.items()}
        law = (np.array([1.0, 0.5]) * a / p**2, np.array([1.0, 4.0]) * (a / p) ** 2)
        return getattr(sde, method)(*law, start=np.array([0.3, -0.1]) * p, **setting, **extra, **warm)

    plain, moved = moments(1, 1), moments(a, p)
    assert_allclose(moved.mean, plain.mean * p, rtol=1e-6)
    assert_allclose(moved.second, plain.second * p**2, rtol=1e-6)
    assert_allclose(moved.second_moment, plain.second_moment * (a / p) ** 2, rtol=1e-6)
    assert_fails(assert_allclose, moved.second, plain.second * p, rtol=1e-6, defect="exponent of the parameter")


def slope(x):
    return x @ H


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sde.sgd(slope, C, order=3, **RATE), "order must be between 1 and 2"),
        (lambda: sde.sgd(slope, C, order=2, **RATE), "hessian must be given when order=2"),
        (lambda: sde.sgd(slope, -C, **RATE), "gradient_covariance must have no negative eigenvalue"),
        (lambda: sde.sgd(slope, C, learning_rate=-1, batch_size=4), "learning_rate must be > 0"),
        (lambda: sde.sgd(slope, C, sampling="shuffled", **RATE), "'shuffled'"),
        (lambda: sde.momentum(slope, C, momentum=1.0, **RATE), r"momentum must lie in \[0, 1\)"),
        (lambda: sde.rmsprop(slope, C, b2=1.0, eps=0.0, **RATE), r"b2 must lie in \(0, 1\)"),
        (lambda: sde.adam(slope, C, b1=0.9, b2=0.99, eps=-1.0, **RATE), "eps must lie in"),
        (lambda: sde.adamw(slope, C, b1=0.9, b2=0.99, eps=0.0, weight_decay=-1, **RATE), "weight_decay must lie in"),
        (lambda: sde.sign_sgd(slope, [1.0, 0.0], **RATE), "standard_deviation must be > 0"),
        (lambda: sde.sgd(lambda x: 1.0, C, **RATE).drift(0.0, np.ones(2)), "gradient must return the shape"),
        (lambda: laws()["adam"].drift(0.0, np.ones(4)), r"state must have shape \(\.\.\., 3·D\)"),
        (lambda: sde.sign_variance(**VARIANCE | {"curvature": 0.0}), "curvature must be > 0"),
        (
            lambda: sde.rmsprop_moments(
                [1.0], [0.0], start=[0.1], second_moment=[1.0], time=1.0, b2=0.9, eps=0.1, **RATE
            ),
            "gradient_variance must be > 0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="gradient must be a function"):
        sde.sgd(H, C, **RATE)
    with pytest.raises(TypeError, match="schedule must be a pair of functions"):
        sde.sgd(slope, C, schedule=lambda t: 1.0, **RATE)


def test_every_record_is_covered_here():
    returns_record = {n for n in sde.__all__ if inspect.isfunction(getattr(sde, n))}
    returns_record = {n for n in returns_record if inspect.signature(getattr(sde, n)).return_annotation == "SDE"}
    assert returns_record == set(laws())
