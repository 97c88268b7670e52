"""Square-root, svag and EMA rules: invariants recomputed from the new settings, composition, inverse, refusals (T22, T25)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import solve_continuous_lyapunov

from gradnoise import scaling, theory
from gradnoise.testing import assert_fails, planted_defects

ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.98, "b2": 0.999, "eps": 1e-8, "batch_size": 256}
ADAMW = ADAM | {"optimizer": "adamw", "weight_decay": 0.1, "num_steps": 1001, "ema_decay": 0.999, "clip_norm": 1.0}
RMSPROP = {"optimizer": "rmsprop", "learning_rate": 2e-3, "decay": 0.99, "eps": 1e-6, "batch_size": 64}
RMSPROP |= {"eps_in_sqrt": True, "weight_decay": 1e-4}


def constants(s, l=1.0):
    """σ₀, ε₀, c₁, c₂ and decay per unit of time, from the definitions; σ = √(l/B)."""
    eta = s["learning_rate"]
    eps = math.sqrt(s["eps"]) if s.get("eps_in_sqrt") else s["eps"]
    out = [eta * math.sqrt(l / s["batch_size"]), eta * eps]
    out += [(1 - s[key]) / eta**2 for key in ("b1", "b2", "decay") if key in s]
    return out + ([s["weight_decay"] / eta] if s["optimizer"] == "adamw" else [])


def keeps(settings, new, l=1.0):
    assert_allclose(constants(new, l), constants(settings), rtol=1e-12)


@pytest.mark.parametrize("settings", [ADAM, ADAMW, RMSPROP], ids=lambda s: s["optimizer"])
@pytest.mark.parametrize("factor", [0.25, 1.5, 4])
def test_square_root_keeps_the_sde(settings, factor):
    """T22, with the ablations of sde_scaling.md §7.5 as planted defects."""
    new = scaling.square_root(settings, factor)
    b = "decay" if "decay" in settings else "b2"
    wrong = {
        "linear learning rate": dict(new) | {"learning_rate": factor * settings["learning_rate"]},
        "eps unscaled": dict(new) | {"eps": settings["eps"]},
        "beta unscaled": dict(new) | {b: settings[b]},
        "eps as if outside the root": dict(new) | {"eps": settings["eps"] / factor ** (1 if b == "b2" else 0.5)},
    }
    if settings["optimizer"] == "adamw":
        wrong["decay unscaled"] = dict(new) | {"weight_decay": settings["weight_decay"]}
    planted_defects(lambda s: keeps(settings, s), dict(new), wrong)
    invariants = dict(new.invariants)
    timescale = invariants.pop("learning_rate*weight_decay/batch_size", None)
    assert_allclose(list(invariants.values()), constants(settings), rtol=1e-12)
    if settings["optimizer"] == "adamw":
        assert timescale == pytest.approx(new["learning_rate"] * new["weight_decay"] / new["batch_size"], rel=1e-12)
        assert timescale == pytest.approx(1e-3 * 0.1 / 256, rel=1e-12)
    assert new["batch_size"] == factor * settings["batch_size"]
    if "num_steps" in settings:
        assert new["num_steps"] == math.ceil(1001 / factor)
        assert new["clip_norm"] == pytest.approx(factor**-0.5)
        assert new["ema_decay"] == pytest.approx(0.999**factor)
    else:
        assert new.get("weight_decay") == settings.get("weight_decay")  # coupled: part of the gradient


@pytest.mark.parametrize("moments", ["linear", "power"])
def test_composition_and_inverse(moments):
    once = scaling.square_root(ADAMW, 6, moments=moments)
    twice = scaling.square_root(scaling.square_root(ADAMW, 2, moments=moments), 3, moments=moments)
    assert_allclose([v for k, v in twice.items() if k != "optimizer"], [v for k, v in once.items() if k != "optimizer"])
    assert dict(once.inverse()) == ADAMW
    assert dict(once.inverse().inverse()) == dict(once)
    assert once.inverse().factor == pytest.approx(1 / 6)
    assert "learning_rate: 0.001 -> 0.00244949" in repr(once)


def test_power_form():
    """β^κ is the linear form to first order, keeps the half-life in examples, and never leaves (0, 1)."""
    new = scaling.square_root(ADAM, 64, moments="power")
    assert new["b1"] == pytest.approx(0.98**64)
    assert new.invariants["-log(b1)/learning_rate**2"] == pytest.approx(
        -math.log(new["b1"]) / new["learning_rate"] ** 2
    )
    linear = scaling.square_root(ADAM, 2)
    assert_allclose(scaling.square_root(ADAM, 2, moments="power")["b1"], linear["b1"], atol=0.02**2)


@pytest.mark.parametrize("settings", [ADAM, RMSPROP], ids=lambda s: s["optimizer"])
@pytest.mark.parametrize("l", [1, 2.5, 16])
def test_svag_keeps_the_sde(settings, l):
    """T22: the square-root rule with κ = 1/l, the small batch being emulated by amplification."""
    new = scaling.svag(settings, l)
    wrong = {} if l == 1 else {"l for ℓ": scaling.svag(settings, l**2), "plain": settings}
    check = lambda s: keeps(settings, s, l)  # noqa: E731
    check(dict(new))
    for defect, s in wrong.items():
        assert_fails(check, dict(s), defect=defect)
    assert new.coefficients == theory.svag_coefficients(l)
    assert new["batch_size"] == settings["batch_size"]
    assert_allclose(list(new.invariants.values()), constants(settings), rtol=1e-12)
    assert dict(new.inverse()) == settings
    assert new.valid
    doubled = scaling.svag(ADAM | {"num_steps": 100, "ema_decay": 0.99}, 4)
    assert (doubled["num_steps"], doubled["ema_decay"]) == (400, pytest.approx(0.99**0.25))


def test_svag_of_sgd_and_momentum():
    """Settings and invariants recomputed from the new numbers: η·l/B, and √η·l/B with (1−μ)/√η."""
    plain = scaling.svag({"learning_rate": 0.8, "batch_size": 16}, 4)
    assert dict(plain) == {"learning_rate": 0.2, "batch_size": 16}
    assert plain.invariants == {"learning_rate*l/batch_size": pytest.approx(0.2 * 4 / 16)}
    new = scaling.svag({"learning_rate": 0.8, "batch_size": 16, "momentum": 0.9, "num_steps": 10}, 4)
    assert new["num_steps"] == 40
    eta, mu = new["learning_rate"], new["momentum"]
    right = [math.sqrt(eta) * 4 / 16, (1 - mu) / math.sqrt(eta)]
    check = lambda values: assert_allclose(values, right, rtol=1e-12)  # noqa: E731
    wrong = {"memory kept": [right[0], 0.1 / math.sqrt(eta)]}
    planted_defects(check, list(new.invariants.values()), wrong)


@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_svag_tends_to_the_sde(mu):
    """Stationary covariance of heavy ball with noise l·C against the underdamped SDE's, H and C not commuting: the error halves as l doubles."""
    H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
    settings = {"learning_rate": 0.1, "batch_size": 4, "momentum": mu}
    # the underdamped SDE of 7.2: dV = -(μ̃V + Hx)dt + √h S^½ dW, dX = V dt, h = √η, μ̃ = (1-μ)/h
    h = math.sqrt(0.1)
    friction = (1 - mu) / h
    if mu:
        A = np.block([[np.zeros((2, 2)), np.eye(2)], [-H, -friction * np.eye(2)]])
        Q = np.zeros((4, 4))
        Q[2:, 2:] = h * C / 4
        sde = solve_continuous_lyapunov(A, -Q)[:2, :2]
    else:
        sde = theory.stationary_covariance(H, C, learning_rate=0.1, batch_size=4, time="continuous")

    def error(l, change=None):
        new = dict(scaling.svag(settings, l)) | (change or {})
        return np.abs(theory.stationary_covariance(H, l * C, **new) - sde).max() / np.abs(sde).max()

    errors = [error(l) for l in (8, 16, 32, 64)]
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ((ratios > 1.8) & (ratios < 2.2)).all()
    assert errors[-1] < 0.02
    assert error(32, {"learning_rate": 0.1 / 32 ** (2 if mu == 0 else 1)}) > 0.3  # planted: the other rule's step
    if mu:
        assert error(32, {"momentum": mu}) > 0.3  # planted: the memory kept


def test_ema_against_matrix_power():
    """T25: κ small steps of (θ, y) with a constant gradient against one big step, exactly."""
    eta, rho, g = 0.03, 0.97, 1.7
    for kappa in (3, 8, 64):
        small = np.array([[1, 0, -eta * g], [1 - rho, rho, 0], [0, 0, 1]])
        big_rho = scaling.ema({"ema_decay": rho, "batch_size": 4}, kappa)["ema_decay"]
        big = np.array([[1, 0, -kappa * eta * g], [1 - big_rho, big_rho, 0], [0, 0, 1]])
        state = np.array([0.4, -1.2, 1.0])
        right = (np.linalg.matrix_power(small, kappa) @ state - big @ state)[1]
        found = scaling.ema_shift([g], learning_rate=eta, decay=rho, factor=kappa)
        leading = -eta * kappa * (kappa - 1) * (1 - rho) / 2 * g
        planted_defects(
            lambda p, right=right: assert_allclose(p, [right], rtol=1e-12),
            found,
            {"leading order": np.array([leading]), "wrong sign": -found},
        )
    assert scaling.ema({"ema_decay": 0.99, "batch_size": 4}, 3, form="linear")["ema_decay"] == pytest.approx(0.97)
    new = scaling.ema({"ema_decay": 0.99, "batch_size": 4}, 3)
    assert new.invariants == {"-log(ema_decay)/batch_size": pytest.approx(-math.log(new["ema_decay"]) / 12)}
    assert new.valid
    assert scaling.linear({"learning_rate": 0.1, "batch_size": 4, "ema_decay": 0.99}, 3)["ema_decay"] == 0.99**3


def test_max_kappa():
    largest = scaling.max_kappa(ADAM)
    assert largest == pytest.approx(50)
    assert scaling.square_root(ADAM | {"batch_size": 10}, 50)["b1"] == pytest.approx(0)
    with pytest.raises(ValueError, match=r"factor must be <= 50 for b1 = 0\.98, got 51.*moments='power'"):
        scaling.square_root(ADAM, 51)  # one step further
    assert scaling.max_kappa(RMSPROP) == pytest.approx(100)
    sgd = {"learning_rate": 0.1, "batch_size": 32}
    edge = theory.stability_edge([[2.0, 0.3], [0.3, 0.5]])
    assert scaling.max_kappa(sgd, stability_edge=edge) * 0.1 == pytest.approx(edge)
    with pytest.raises(ValueError, match="stability_edge must be given"):
        scaling.max_kappa(sgd)


def bisected(works):
    """Largest κ at which `works`, which it does up to some κ and not beyond."""
    low, high = 1.0, 4096.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if works(middle) else (low, middle)
    return low


def test_max_kappa_by_bisection():
    """Adam: an average with a decay in [0, 1) exists; SGD: 4000 steps on the quadratic at the larger rate do not grow."""
    smallest = 1 - max(1 - ADAM["b1"], 1 - ADAM["b2"])
    averages = bisected(lambda kappa: 0 <= 1 - kappa * (1 - smallest) < 1)
    found = scaling.max_kappa(ADAM)
    planted_defects(
        lambda kappa: assert_allclose(kappa, averages, rtol=1e-9),
        found,
        {"one step further": found + 1, "of β₂": 1 / (1 - ADAM["b2"])},
    )
    H, sgd = np.array([[2.0, 0.3], [0.3, 0.5]]), {"learning_rate": 0.1, "batch_size": 32}

    def stays(kappa):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.abs(np.linalg.matrix_power(np.eye(2) - 0.1 * kappa * H, 4000)).max() <= 1

    found = scaling.max_kappa(sgd, stability_edge=theory.stability_edge(H))
    planted_defects(
        lambda kappa: assert_allclose(kappa, bisected(stays), rtol=1e-3),
        found,
        {"missing factor 2": found / 2, "edge alone": found * 0.1},
    )


def test_validity():
    assert set(scaling.square_root(ADAM, 2).validity) == {"memory"}
    assert scaling.square_root(ADAM, 8).valid
    assert not scaling.square_root(ADAM, 16).valid
    told = scaling.square_root(ADAM, 2, num_examples=10**6, gradient_noise_scale=400.0)
    assert told.validity["signal"].value == pytest.approx(512 / 400)
    assert not told.validity["signal"].holds
    assert told.validity["batch_share"].holds
    new = scaling.linear({"learning_rate": 0.1, "batch_size": 32}, 4, gradient_noise_scale=1000)
    assert new.validity["signal"].value == pytest.approx(0.128)
    assert new.valid


@pytest.mark.parametrize(
    ("rule", "settings", "argument", "message"),
    [
        ("square_root", ADAM, 0, "factor must be > 0"),
        ("square_root", ADAM, 1.001, "factor must make batch_size a whole number"),
        ("square_root", {"learning_rate": 0.1, "batch_size": 4}, 2, r"settings\['optimizer'\] must be one of 'adam'"),
        ("square_root", ADAM | {"optimizer": "muon"}, 2, "Muon.*no rule is known"),
        ("square_root", {k: v for k, v in ADAM.items() if k != "b1"}, 2, "settings must have 'b1'"),
        (
            "square_root",
            ADAM | {"momentum": 0.9},
            2,
            "settings has 'momentum', which the square-root rule does not know",
        ),
        ("square_root", ADAM | {"b1": 1.0}, 2, r"settings\['b1'\] must lie in \[0, 1\)"),
        ("square_root", ADAM | {"eps": -1}, 2, r"settings\['eps'\] must lie in"),
        ("square_root", ADAM | {"decay": 0.9}, 2, "settings has 'decay', which only rmsprop has"),
        ("square_root", RMSPROP | {"b1": 0.9}, 2, r"settings\['b1'\] must be 0"),
        ("square_root", RMSPROP | {"b2": 0.9}, 2, "'b2' or 'decay', not both"),
        ("svag", ADAM, 0.5, r"l must be >= 1"),
        ("svag", ADAM | {"clip_norm": 1.0}, 2, r"settings\['clip_norm'\] must be left out"),
        ("svag", {"optimizer": "lion", "learning_rate": 1, "batch_size": 2}, 2, "'lion', but the svag rule"),
        ("ema", {"ema_decay": 0.9}, 2, "settings must be a mapping with 'ema_decay' and 'batch_size'"),
        ("ema", {"ema_decay": 1.0, "batch_size": 2}, 2, r"settings\['ema_decay'\] must lie in"),
    ],
)
def test_bad_settings(rule, settings, argument, message):
    with pytest.raises(ValueError, match=message):
        getattr(scaling, rule)(settings, argument)


def test_bad_words():
    with pytest.raises(ValueError, match="moments must be one of 'linear', 'power'"):
        scaling.square_root(ADAM, 2, moments="square")
    with pytest.raises(ValueError, match="factor must be <= 10 for ema_decay"):
        scaling.ema({"ema_decay": 0.9, "batch_size": 2}, 11, form="linear")
    with pytest.raises(TypeError, match="settings must be a mapping"):
        scaling.svag([("learning_rate", 0.1)], 2)
    with pytest.raises(TypeError, match=r"settings\['eps_in_sqrt'\] must be True or False"):
        scaling.square_root(ADAM | {"eps_in_sqrt": 1}, 2)
