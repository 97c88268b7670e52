"""Batch-size ramp in place of a decay of the learning rate (Smith et al. 2018; recent.md 3.5): the law, the settings, the cap."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import scaling, theory
from gradnoise.testing import planted_defects

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "batch_size": 256}


def excess(settings):
    """Stationary excess loss by summing the chain's response, without a formula of theory."""
    rate, size, mu = settings["learning_rate"], settings["batch_size"], settings.get("momentum", 0.0)
    F = np.block([[np.eye(2) - rate * H, -rate * mu * np.eye(2)], [H, mu * np.eye(2)]])
    into = np.vstack([-rate * np.eye(2), np.eye(2)])
    Z = np.linalg.solve(np.eye(16) - np.kron(F, F), (into @ C @ into.T / size).ravel()).reshape(4, 4)
    return float(np.sum(H * Z[:2, :2])) / 2


@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_ramp_of_sgd_keeps_the_stationary_loss(mu):
    """smith_chaudhari.md §4.2: η/5 and 5B have one stationary loss, up to the factor of the finite step."""
    settings = {"learning_rate": 0.02, "batch_size": 32, "momentum": mu}
    new = scaling.ramp(settings, 5)
    decayed = excess(settings | {"learning_rate": 0.004})
    r = 0.02 * np.linalg.eigvalsh(H)[-1] / (2 * (1 + mu))
    room = 1 / (1 - r)
    wrong = {
        "learning rate decayed too": dict(new) | {"learning_rate": 0.004},
        "batch kept": dict(new) | {"batch_size": 32},
    }

    def same(s):
        assert 1 - 1e-12 <= excess(s) / decayed <= room + 1e-12

    planted_defects(same, dict(new), wrong)
    assert dict(new) == settings | {"batch_size": 160}
    assert new.original["learning_rate"] == pytest.approx(0.004)
    assert_allclose(excess(new.original), decayed, rtol=1e-12)
    exact = theory.stationary_covariance(H, C, learning_rate=0.02, batch_size=160, momentum=mu)
    assert_allclose(np.sum(H * exact) / 2, excess(new), rtol=1e-10)


def test_ramp_of_adam_keeps_the_sde_of_the_decay():
    """η/√2, 2B at each halving; σ₀ = η/√B, ηε and (1−β)/η² are those of the decayed run."""
    new = scaling.ramp(ADAM, 2)

    def constants(s):
        eta = s["learning_rate"]
        return eta / s["batch_size"] ** 0.5, eta * s["eps"], (1 - s["b1"]) / eta**2, (1 - s["b2"]) / eta**2

    decayed = constants(ADAM | {"learning_rate": 5e-4})
    wrong = {
        "as SGD": dict(new) | {"learning_rate": 1e-3},
        "betas kept": dict(new) | {"b2": 0.999},
        "no ramp": dict(ADAM) | {"learning_rate": 5e-4, "batch_size": 512},
    }
    planted_defects(lambda s: assert_allclose(constants(s), decayed, rtol=1e-12), dict(new), wrong)
    assert_allclose(new["learning_rate"], 1e-3 / 2**0.5)


def test_ramp_stops_at_the_critical_batch():
    """Beyond it the learning rate decays: the temperature η/B falls by the decay all the same."""
    settings = {"learning_rate": 0.1, "batch_size": 32}
    for critical, size in ((1000, 160), (96.7, 96), (32, 32), (10, 32)):
        new = scaling.ramp(settings, 5, critical_batch_size=critical)
        assert new["batch_size"] == size
        assert_allclose(new["learning_rate"] / size, 0.1 / 32 / 5, rtol=1e-12)
    adam = scaling.ramp(ADAM, 4, critical_batch_size=512)
    assert_allclose(adam["learning_rate"], 1e-3 / 4 * 2**0.5)


def test_ramp_takes_the_whole_batch_below():
    """1.3 · 32 = 41.6: the batch is 41 with and without a critical batch, and the temperature η/B falls by the decay all the same."""
    settings = {"learning_rate": 0.1, "batch_size": 32}
    for limit in (None, 100.0):
        new = scaling.ramp(settings, 1.3, critical_batch_size=limit)
        assert new["batch_size"] == 41
        assert_allclose(new["learning_rate"] / 41, 0.1 / 32 / 1.3, rtol=1e-12)
    assert scaling.ramp({"learning_rate": 0.1, "batch_size": 10}, 1.1)["batch_size"] == 11
    assert scaling.ramp(ADAM, 11, critical_batch_size=2560)["batch_size"] == 2560


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 0.5}, "decay must lie in"),
        ({"settings": {"learning_rate": 0.1}}, "settings must have 'batch_size'"),
        ({"critical_batch_size": 0.0}, "critical_batch_size must be > 0"),
        ({"settings": ADAM, "decay": 11}, r"decay must be <= 10 for b1 = 0\.9, got 11.*critical_batch_size <= 2560"),
        ({"decay": float("inf")}, "decay must"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"settings": {"learning_rate": 0.1, "batch_size": 32}, "decay": 2} | changes
    with pytest.raises(ValueError, match=message):
        scaling.ramp(**arguments)
