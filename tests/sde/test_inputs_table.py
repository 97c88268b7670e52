"""Bad input to every argument of every public function of `sde` and `scaling`: one error that names it and what was expected."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from audit import formulas_of
from wrong_values import (
    no_count,
    no_covariance,
    no_decay,
    no_flag,
    no_function,
    no_level,
    no_levels,
    no_size,
    no_symmetric,
    no_vector,
    no_word,
    problems,
)

from gradnoise import scaling, sde

H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
STEP = {"learning_rate": 0.1, "batch_size": 4}
MEMORY = {"b1": 0.9, "b2": 0.99, "eps": 1e-3}
FIELD = {"gradient": lambda x: x @ H, "gradient_covariance": C} | STEP
TWO = {
    name: np.array(value)
    for name, value in (("curvature", [1.0, 0.5]), ("gradient_variance", [1.0, 4.0]), ("start", [0.3, 0.3]))
}
MOMENTS = TWO | STEP | {"time": 0.05, "second_moment": np.array([4.0, 4.0])}
ONE = {"curvature": 2.0, "standard_deviation": 0.4} | STEP
ADAM = STEP | MEMORY | {"optimizer": "adam"}
LOUD = {"noise_trace": 3.0, "squared_gradient": 0.5}
GIVEN = {"num_examples": 1000, "gradient_noise_scale": 50.0}

CALLS = {
    "sde.sgd": FIELD | {"order": 2, "hessian": H},
    "sde.sgd_exact": {"hessian": H, "gradient_covariance": C} | STEP,
    "sde.momentum": FIELD | {"momentum": 0.5, "order": 2, "hessian": H},
    "sde.nesterov": FIELD | {"momentum": 0.5, "order": 2, "hessian": H},
    "sde.rmsprop": FIELD | {"b2": 0.99, "eps": 1e-3},
    "sde.rmspropw": FIELD | {"b2": 0.99, "eps": 1e-3, "weight_decay": 0.1},
    "sde.adam": FIELD | MEMORY,
    "sde.adamw": FIELD | MEMORY | {"weight_decay": 0.1},
    "sde.sign_sgd": {"gradient": lambda x: x @ H, "standard_deviation": np.array([1.0, 0.5])} | STEP,
    "sde.adam_moments": MOMENTS | MEMORY,
    "sde.rmsprop_moments": MOMENTS | {"b2": 0.99, "eps": 1e-3},
    "sde.adamw_variance": ONE | {"weight_decay": 0.1},
    "sde.rmsprop_variance": ONE | {"eps": 0.05},
    "sde.sign_variance": ONE,
    "scaling.linear": {"settings": STEP | {"momentum": 0.5}, "factor": 2.0, "stability_edge": 1.5} | GIVEN,
    "scaling.square_root": {"settings": ADAM, "factor": 2.0} | GIVEN,
    "scaling.svag": {"settings": STEP | {"momentum": 0.5}, "l": 2.0},
    "scaling.ema": {"settings": {"ema_decay": 0.9, "batch_size": 4}, "factor": 2.0},
    "scaling.ramp": {"settings": STEP, "decay": 2.0, "critical_batch_size": 100.0},
    "scaling.ema_shift": {"gradient": np.array([1.0, 2.0]), "learning_rate": 0.1, "decay": 0.9, "factor": 2},
    "scaling.max_kappa": {"settings": STEP, "stability_edge": 1.5},
    "scaling.max_factor_for_linear": LOUD | {"closeness": 1.4},
    "scaling.max_learning_rate_for_sde": {"noise_per_time": 3.0, "squared_gradient": 0.5, "closeness": 1.4},
    "scaling.scale_invariant_norm": LOUD | {"learning_rate": 0.1, "weight_decay": 0.1, "l": 2.0},
    "scaling.equilibrium_closeness": {
        "first": scaling.Equilibrium(1.0, 2.0, 3.0),
        "second": scaling.Equilibrium(1.5, 2.5, 3.5),
    },
}


def no_settings(value):
    unknown = {"an unknown name": value | {"learning_rat": 0.1}}
    lacking = {f"without {name}": {k: v for k, v in value.items() if k != name} for name in ("batch_size",)}
    return {"a list": [0.1, 4], "None": None} | unknown | lacking


def no_order(_):
    return {"three": 3, "zero": 0, "a fraction": 1.5, "text": "abc"}


def no_memory(value):
    return no_decay(value) | {"above one": 1.5}


def no_amplification(_):
    return {"below one": 0.5, "NaN": np.nan, "text": "abc"}


def no_closeness(_):
    return {"one": 1.0, "below": 0.5, "NaN": np.nan, "text": "abc", "None": None}


def no_equilibrium(_):
    return {"a number": 1.0, "None": None}


WRONG = {
    no_function: "gradient schedule",
    no_covariance: "gradient_covariance",
    no_symmetric: "hessian",
    no_levels: "standard_deviation gradient_variance second_moment",
    no_vector: "curvature start",
    no_size: "learning_rate time noise_per_time noise_trace squared_gradient factor stability_edge gradient_noise_scale critical_batch_size",
    no_level: "eps weight_decay",
    no_memory: "momentum b1 b2",
    no_count: "batch_size num_examples",
    no_order: "order",
    no_word: "sampling form moments",
    no_flag: "bias_correction",
    no_settings: "settings",
    no_amplification: "l",
    no_closeness: "closeness",
    no_equilibrium: "first second",
}
KIND = {argument: kind for kind, names in WRONG.items() for argument in names.split()}
SPECIAL = {
    ("scaling.ema_shift", "gradient"): no_vector,
    ("scaling.ema_shift", "factor"): no_count,
    ("scaling.ema_shift", "decay"): no_decay,
    ("scaling.ramp", "decay"): no_amplification,
    **{
        (f"sde.{n}", a): no_size
        for n in ("adamw_variance", "rmsprop_variance", "sign_variance")
        for a in ("curvature", "standard_deviation")
    },
}
MODULES = {"sde": sde, "scaling": scaling}
FUNCTIONS = {
    f"{m}.{n}": getattr(module, n) for m, module in MODULES.items() for n in formulas_of(module) if "." not in n
}
ARGUMENTS = [(name, a) for name, function in FUNCTIONS.items() for a in inspect.signature(function).parameters]


def kind_of(name, argument):
    return SPECIAL.get((name, argument)) or KIND.get(argument)


def test_every_argument_has_its_wrong_values():
    assert set(CALLS) == set(FUNCTIONS)
    assert not [f"{name}.{argument}" for name, argument in ARGUMENTS if kind_of(name, argument) is None]


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=[f"{n}-{a}" for n, a in ARGUMENTS])
def test_bad_input(name, argument):
    base, default = CALLS[name], inspect.signature(FUNCTIONS[name]).parameters[argument].default
    wrong = kind_of(name, argument)(base.get(argument, np.eye(2) if default is None else default))
    if default is None:
        wrong = {label: bad for label, bad in wrong.items() if bad is not None}
    assert not problems(lambda kwargs: FUNCTIONS[name](**kwargs), base, argument, wrong)


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if "sampling" in inspect.signature(f).parameters])
def test_samplings_that_are_no_white_noise(name):
    with pytest.raises(ValueError, match="'shuffled'"):
        FUNCTIONS[name](**CALLS[name], sampling="shuffled", num_examples=40)
    with pytest.raises(ValueError, match="batch_size must be <= num_examples = 3"):
        FUNCTIONS[name](**CALLS[name], sampling="without_replacement", num_examples=3)


def test_a_state_of_another_size():
    law = sde.momentum(**CALLS["sde.momentum"])
    with pytest.raises(ValueError, match=r"state must have shape \(\.\.\., D x 2\), .*got \(3,\)"):
        law.params([1.0, 2.0, 3.0])
