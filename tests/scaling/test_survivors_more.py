"""Identities of the scaling rules that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from numpy.testing import assert_allclose

from gradnoise import scaling
from gradnoise.scaling.records import Condition

SGD = {"learning_rate": 0.1, "batch_size": 32}
ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "batch_size": 64}
RMSPROP = {"optimizer": "rmsprop", "learning_rate": 2e-3, "decay": 0.99, "eps": 1e-6, "batch_size": 64}
BELOW_ONE = [(SGD, "momentum"), (SGD, "ema_decay"), (ADAM, "b1"), (ADAM, "b2"), (ADAM, "ema_decay"), (RMSPROP, "decay")]


def rule(settings):
    return scaling.square_root if "eps" in settings else scaling.linear


@pytest.mark.parametrize(("settings", "key"), BELOW_ONE)
def test_memories_end_below_one(settings, key):
    rule(settings)(settings | {key: 0.999}, 2)
    for value in (1.0, 1.5, -0.1):
        with pytest.raises(ValueError, match=f"settings\\['{key}'\\]"):
            rule(settings)(settings | {key: value}, 2)


@pytest.mark.parametrize(
    ("settings", "key"),
    [(s, key) for s in (SGD, ADAM, RMSPROP) for key in s if key not in ("optimizer", "batch_size")],
)
@pytest.mark.parametrize("value", [float("nan"), "much"])
def test_values_that_are_no_numbers_are_named(settings, key, value):
    with pytest.raises((TypeError, ValueError), match=f"settings\\['{key}'\\]"):
        rule(settings)(settings | {key: value}, 2)


@pytest.mark.parametrize(
    ("settings", "key"), [(s, key) for s in (SGD, ADAM, RMSPROP) for key in s if key != "optimizer"]
)
def test_a_required_key_that_is_missing_is_named(settings, key):
    missing = "b2" if key == "decay" else key  # without either name, the common one
    with pytest.raises(ValueError, match=f"settings must have .*'{missing}'"):
        rule(settings)({name: value for name, value in settings.items() if name != key}, 2)


def test_whole_numbers_of_steps_stay_whole():
    """n steps at factor κ, a short decimal, with n/κ whole in exact arithmetic: rounding in floats adds no step."""
    for tenths, whole in itertools.product((7, 11, 14, 23, 28), range(1_000_000, 1_000_400, 10)):
        count = Fraction(tenths, 10) * whole
        assert count.denominator == 1
        new = scaling.linear({"learning_rate": 0.1, "batch_size": 10, "num_steps": int(count)}, tenths / 10)
        assert new["num_steps"] == whole


@pytest.mark.parametrize("l", [3.0, 5.0])
def test_svag_keeps_the_memory_of_the_average_at_odd_factors(l):
    """ρ' > 0 with ρ'^l = ρ."""
    assert_allclose(scaling.svag(SGD | {"ema_decay": 0.9}, l)["ema_decay"] ** l, 0.9, rtol=1e-12)


def test_a_condition_holds_strictly_below_its_limit():
    assert [Condition(value, 1.0, "x").holds for value in (0.999, 1.0, 1.001)] == [True, False, False]


def test_sampling_without_replacement_may_cost_one_part_in_twenty():
    """The variance that the rule forgets, 1 − (N − B)/N, is the share of the data in a batch."""
    for size, holds in ((48, True), (49, True), (52, False), (60, False)):
        new = scaling.linear(SGD | {"batch_size": size // 2}, size / (size // 2), num_examples=1000)
        assert new["batch_size"] == size
        assert new.valid is holds


@pytest.mark.parametrize(("decay", "size", "whole"), [(1.1, 10, 11), (1.15, 100, 115), (1.005, 1000, 1005)])
def test_a_ramp_to_a_whole_batch_is_not_rounded_down(decay, size, whole):
    """1.15 · 100 is 114.99999999999999 in floats."""
    assert scaling.ramp(SGD | {"batch_size": size}, decay)["batch_size"] == whole


def test_a_ramp_needs_room_for_its_own_factor_only():
    """κ(1 − β₁) = 0.72 at κ = 1.2, and would be beyond 1 at κ = 2."""
    new = scaling.ramp(ADAM | {"b1": 0.4, "batch_size": 100}, 1.2)
    assert_allclose([new["batch_size"], new["b1"]], [120, 1 - 1.2 * 0.6], rtol=1e-12)
