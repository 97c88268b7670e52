"""Weight decay with and without the learning rate: the whole run is simulated before and after each rule, in both forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradnoise import scaling
from gradnoise.testing import assert_mean, planted_defects

START, CHAINS = 2.0, 400
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "b1": 0.98, "b2": 0.999, "eps": 1e-8, "batch_size": 16}
ADAMW |= {"num_steps": 6400}
SGD = {"optimizer": "sgd", "learning_rate": 1e-3, "batch_size": 16, "num_steps": 6400}


def run(settings, share=0.25, seed=0):
    """θ of every chain after a share of the run, from 2: gradients are noise of variance 1/B, so that the decay alone moves the mean."""
    rng, theta = np.random.default_rng(seed), np.full(CHAINS, START)
    rate, decay, size = settings["learning_rate"], settings["weight_decay"], settings["batch_size"]
    alone = settings.get("decay_form") == "independent"
    first, second = np.zeros(CHAINS), np.full(CHAINS, 1 / size)
    for k in range(1, round(share * settings["num_steps"]) + 1):
        g = rng.normal(size=CHAINS) / math.sqrt(size)
        if settings["optimizer"] == "adamw":
            first = settings["b1"] * first + (1 - settings["b1"]) * g
            second = settings["b2"] * second + (1 - settings["b2"]) * g**2
            move = first / (1 - settings["b1"] ** k) / (np.sqrt(second) + settings["eps"])
        else:  # the decay of SGD is the L2 term of the gradient, or stands alone
            move = g
        theta = theta - rate * move - (decay if alone else rate * decay) * theta
    return theta[:, None]


@pytest.mark.law
@pytest.mark.parametrize("rule", ["square_root", "linear"])
@pytest.mark.parametrize("form", ["times_learning_rate", "independent"])
def test_a_quarter_of_the_run_has_the_same_decay(rule, form):
    """2·e^(-.5) = 1.213 after a quarter; with the factor of the other form 1.76, 1.94, .27 or .0007."""
    base = ADAMW if rule == "square_root" else SGD
    rate = 1.0 if form == "independent" else base["learning_rate"]
    settings = base | {"weight_decay": 2 / (base["num_steps"] * rate), "decay_form": form}
    assert_mean(run(settings), [START * math.exp(-0.5)], [[1.0]], detects=0.05)
    new = dict(getattr(scaling, rule)(settings, 16))
    assert new["num_steps"] == 400
    other = {
        ("square_root", "times_learning_rate"): 16.0,  # what each form must not be multiplied by
        ("square_root", "independent"): 4.0,
        ("linear", "times_learning_rate"): 16.0,
        ("linear", "independent"): 1.0,
    }[rule, form]
    planted_defects(
        lambda s: assert_mean(run(s, seed=1), [START * math.exp(-0.5)], [[1.0]], detects=0.05),
        new,
        {"the other form's factor": new | {"weight_decay": other * settings["weight_decay"]}},
    )


@pytest.mark.parametrize("moments", ["linear", "power"])
def test_independent_decay_keeps_its_timescale_and_has_a_way_back(moments):
    settings = ADAMW | {"weight_decay": 1e-3, "decay_form": "independent"}
    new = scaling.square_root(settings, 8, moments=moments)
    assert new["weight_decay"] == pytest.approx(8e-3, rel=1e-12)
    assert new["decay_form"] == "independent"
    kept = new.invariants
    assert kept["weight_decay/batch_size"] == pytest.approx(1e-3 / 16, rel=1e-12)
    assert kept["weight_decay/learning_rate**2"] == pytest.approx(
        new["weight_decay"] / new["learning_rate"] ** 2, rel=1e-12
    )
    assert "learning_rate*weight_decay/batch_size" not in kept
    assert dict(new.inverse()) == settings
    twice = scaling.square_root(scaling.square_root(settings, 2, moments=moments), 4, moments=moments)
    assert twice["weight_decay"] == pytest.approx(new["weight_decay"], rel=1e-12)
    plain = scaling.square_root(ADAMW | {"weight_decay": 1e-3}, 8, moments=moments)
    named = scaling.square_root(ADAMW | {"weight_decay": 1e-3, "decay_form": "times_learning_rate"}, 8, moments=moments)
    assert plain["weight_decay"] == named["weight_decay"] == pytest.approx(math.sqrt(8) * 1e-3, rel=1e-12)


def decays_per_time(settings, time):
    """What a unit of the rule's time takes off, from the steps themselves."""
    alone = settings.get("decay_form") == "independent"
    return settings["weight_decay"] * (1 if alone else settings["learning_rate"]) / time(settings)


@pytest.mark.parametrize("form", ["times_learning_rate", "independent"])
@pytest.mark.parametrize(
    ("settings", "time"),
    [
        (ADAMW, lambda s: s["learning_rate"] ** 2),
        (SGD, lambda s: s["learning_rate"]),
        (SGD | {"optimizer": "momentum", "momentum": 0.9}, lambda s: math.sqrt(s["learning_rate"])),
    ],
    ids=["adamw", "sgd", "momentum"],
)
def test_svag_keeps_the_decay_per_time(settings, time, form):
    settings = settings | {"weight_decay": 1e-2, "decay_form": form}
    new = scaling.svag(settings, 4)
    if (
        settings["optimizer"] == "momentum" and form == "times_learning_rate"
    ):  # L2: a part of the gradient, which stays as it is
        assert new["weight_decay"] == 1e-2
        return
    assert decays_per_time(new, time) == pytest.approx(decays_per_time(settings, time), rel=1e-12)
    if form == "independent":
        assert new["weight_decay"] == pytest.approx(1e-2 / 4, rel=1e-12)
        name = {"adamw": "weight_decay/learning_rate**2", "sgd": "weight_decay/learning_rate"}.get(
            settings["optimizer"], "weight_decay/sqrt(learning_rate)"
        )
        assert new.invariants[name] == pytest.approx(decays_per_time(new, time), rel=1e-12)


def test_linear_rule_and_ramp_with_an_independent_decay():
    settings = SGD | {"weight_decay": 1e-3, "decay_form": "independent"}
    new = scaling.linear(settings, 4)
    assert (new["learning_rate"], new["weight_decay"]) == (pytest.approx(4e-3), pytest.approx(4e-3))
    assert new.invariants["weight_decay/batch_size"] == pytest.approx(1e-3 / 16)
    assert scaling.linear(SGD | {"weight_decay": 1e-3}, 4)["weight_decay"] == 1e-3
    assert scaling.ramp(settings, 4)["weight_decay"] == pytest.approx(4e-3)
    assert scaling.ramp(ADAMW | {"weight_decay": 1e-3}, 4)["weight_decay"] == pytest.approx(2e-3)


def test_a_decay_that_takes_everything_off_is_refused():
    settings = ADAMW | {"weight_decay": 0.05, "decay_form": "independent"}
    assert scaling.max_kappa(settings) == pytest.approx(20)
    assert scaling.max_kappa(
        SGD | {"weight_decay": 0.05, "decay_form": "independent"}, stability_edge=1.0
    ) == pytest.approx(20)
    assert scaling.max_kappa(ADAMW | {"weight_decay": 0.05}) == pytest.approx(50)
    with pytest.raises(
        ValueError, match=r"factor must be below 20 for weight_decay = 0\.05 with decay_form='independent', got 24"
    ):
        scaling.square_root(settings, 24)
    with pytest.raises(ValueError, match=r"factor must be below 20"):
        scaling.linear(SGD | {"weight_decay": 0.05, "decay_form": "independent"}, 24)
    with pytest.raises(ValueError, match=r"settings\['weight_decay'\] must be below 1"):
        scaling.square_root(settings | {"weight_decay": 1.0}, 2)
    with pytest.raises(ValueError, match=r"settings\['decay_form'\] must be one of"):
        scaling.square_root(settings | {"decay_form": "decoupled"}, 2)
