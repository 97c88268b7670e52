"""The linear scaling rule: what it keeps, when it may be trusted, what it refuses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import linalg

from gradnoise.scaling import linear
from gradnoise.testing import planted_defects

SETTINGS = {"optimizer": "sgd", "learning_rate": 0.03, "batch_size": 48, "momentum": 0.8, "weight_decay": 1e-4}


def heavy_ball_variance(eta, size, mu, curvature, noise=1.7):
    """Stationary variance of θ by brute force: m <- μm + g, θ <- θ − ηm, Var g = noise/B."""
    step = np.array([[1 - eta * curvature, -eta * mu], [curvature, mu]])
    kick = np.array([[-eta], [1.0]])
    return linalg.solve_discrete_lyapunov(step, kick @ kick.T * noise / size)[0, 0]


@pytest.mark.parametrize("factor", [0.25, 1.5, 4])
def test_new_settings_and_invariants(factor):
    new = linear(SETTINGS, factor)
    assert isinstance(new, Mapping)
    assert dict(new) == SETTINGS | {"learning_rate": 0.03 * factor, "batch_size": round(48 * factor)}
    assert isinstance(new["batch_size"], int)
    assert linear(dict(new), 1.0).invariants == pytest.approx(new.invariants)
    assert new.invariants["learning_rate/batch_size"] == pytest.approx(0.03 / 48)
    assert new.invariants["learning_rate/(batch_size*(1-momentum))"] == pytest.approx(0.03 / 48 / 0.2)


def test_small_step_variance_is_kept_and_the_rate_alone_is_not():
    new = linear(SETTINGS, 4)
    mu, soft = 0.8, 1e-4
    before = heavy_ball_variance(0.03, 48, mu, soft)
    wrong = {"batch size left as it was": heavy_ball_variance(new["learning_rate"], 48, mu, soft)}
    wrong["momentum scaled too"] = heavy_ball_variance(new["learning_rate"], new["batch_size"], 1 - 4 * (1 - mu), soft)
    kept = heavy_ball_variance(new["learning_rate"], new["batch_size"], mu, soft)
    planted_defects(lambda v: np.testing.assert_allclose(v, before, rtol=1e-4), kept, wrong)


@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_stiffest_variance_is_the_exact_change(mu):
    curvature = 5.0
    edge = 2 * (1 + mu) / curvature
    new = linear(SETTINGS | {"momentum": mu}, 2, stability_edge=edge)
    before = heavy_ball_variance(0.03, 48, mu, curvature)
    after = heavy_ball_variance(0.06, 96, mu, curvature)
    assert new.validity["stiffest_variance"].value == pytest.approx(after / before - 1, rel=1e-9)
    assert new.validity["stability"].value == pytest.approx(0.06 / edge)


def test_validity():
    assert linear(SETTINGS, 4).validity == {}
    assert linear(SETTINGS, 4).valid
    good = linear(SETTINGS, 4, stability_edge=50.0, num_examples=10**5)
    assert good.valid
    assert set(good.validity) == {"stability", "stiffest_variance", "batch_share"}
    beyond = linear(SETTINGS, 4, stability_edge=0.1)
    assert not beyond.valid
    assert not beyond.validity["stability"].holds
    assert "stiffest_variance" not in beyond.validity  # there is no stationary variance
    assert "stiffest_variance" not in linear(SETTINGS | {"nesterov": True}, 2, stability_edge=1.0).validity
    large = linear(SETTINGS, 4, num_examples=1000)
    assert large.validity["batch_share"].value == pytest.approx(0.192)
    assert not large.valid
    assert not large.inverse().valid  # the way back starts from a batch that is too large


@pytest.mark.parametrize("factor", [3, 1 / 3, 0.7291666666666666])
def test_inverse_is_exact(factor):
    settings = SETTINGS | {"num_steps": 1001, "warmup_steps": 100}
    new = linear(settings, factor)
    assert new["num_steps"] == int(np.ceil(1001 / factor - 1e-6))

    def is_original(found):
        assert dict(found) == settings

    wrong = {"nothing undone": new, "steps left": settings | {"num_steps": new["num_steps"]}}
    planted_defects(is_original, new.inverse(), wrong)
    assert dict(new.inverse().inverse()) == dict(new)
    assert new.inverse().factor == pytest.approx(1 / factor)
    assert "batch_size: 48 ->" in repr(new)
    assert "weight_decay" not in repr(new)


@pytest.mark.parametrize(
    ("change", "factor", "message"),
    [
        ({}, 0, "factor must be > 0"),
        ({}, -2, "factor must be > 0"),
        ({}, float("nan"), "factor must be a finite number"),
        ({}, 1.01, r"factor must make batch_size a whole number, got 48 x 1\.01 = 48\.48\. Use 1 or 49/48"),
        ({}, 0.01, "whole number.*Use 1/48"),
        ({"batch_size": 0}, 2, r"settings\['batch_size'\] must be >= 1"),
        ({"learning_rate": 0.0}, 2, r"settings\['learning_rate'\] must be > 0"),
        ({"momentum": 1.0}, 2, r"settings\['momentum'\] must lie in \[0, 1\)"),
        ({"optimizer": "adam"}, 2, "'adam'.*square-root rule"),
        ({"optimizer": "sdg"}, 2, "'sdg', but the linear rule holds for sgd, momentum, nesterov only"),
        ({"eps": 1e-8}, 2, "settings has 'eps'.*square-root rule"),
        ({"clip": 1.0}, 2, "settings has 'clip', which the linear rule does not know"),
    ],
)
def test_bad_settings(change, factor, message):
    with pytest.raises(ValueError, match=message):
        linear(SETTINGS | change, factor)


def test_missing_settings_and_wrong_types():
    with pytest.raises(ValueError, match="settings must have 'batch_size'"):
        linear({"learning_rate": 0.1}, 2)
    with pytest.raises(TypeError, match="settings must be a mapping"):
        linear([("learning_rate", 0.1)], 2)
    with pytest.raises(TypeError, match="whole number"):
        linear(SETTINGS | {"batch_size": 4.5}, 2)
    with pytest.raises(TypeError, match=r"settings\['nesterov'\] must be True or False"):
        linear(SETTINGS | {"nesterov": "yes"}, 2)
