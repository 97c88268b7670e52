"""Identities over all formulas at once that random mutants of the code survived before (`benchmarks/mutants.py`).

A default is the convention, the sampling enters through the noise of a batch alone, and a covariance is symmetric to the last bit.
"""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from calls import called, public_formulas, valid_call
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_fails

# the meaning of an argument that is left out, wherever it is optional: shared/design.md §5 and §9
DEFAULTS = {
    "momentum": 0.0,
    "nesterov": False,
    "sampling": "with_replacement",
    "time": "discrete",
    "position": "mean",
    "ridge": 0.0,
    "label_noise": 0.0,
    "kind": "full",
    "eps": 1e-8,
    "b1": 0.9,
    "thin": 1,
    "quadratic": False,
    "log": False,
    "num_chains": 1,
    "burn_in": 0,
    "every": 1,
    "injected": 0.0,  # times the identity
    "mean_q": 0.0,  # times ones
    "mean_p": 0.0,
    "fraction": 0.5,
    "above_prior": False,
    "transverse_curvatures": (),
    "exponent": "trace",
    "well": "gaussian",
    "num_directions": 1,
    "num_params": 1,
    "seed": 0,
}
MATRICES, VECTORS = {"injected"}, {"mean_q", "mean_p"}
DEAR = {"least_squares_tail_exponent", "tail_exponent_estimate"}  # a second each
SIZE = 3


def parameters(name):
    if "." in name:
        item = vars(getattr(theory, name.partition(".")[0]))[name.partition(".")[2]]
        return inspect.signature(item).parameters if inspect.isfunction(item) else {}
    return inspect.signature(getattr(theory, name)).parameters


def optional():
    """(formula, argument) of every argument that may be left out and has a row above."""
    for name in sorted(set(public_formulas()) - DEAR):
        for argument, given in parameters(name).items():
            if argument in DEFAULTS and given.default is not inspect.Parameter.empty:
                yield name, argument


def numbers(result):
    """All numbers of a result: an array, a tuple, a record's fields and theirs."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, tuple | list):
        return np.concatenate([numbers(part) for part in result]) if result else np.zeros(0)
    if isinstance(result, dict):
        return numbers(list(result.values()))
    array = np.asarray(result)
    return array.ravel().astype(float) if array.dtype.kind in "fiub" else np.zeros(0)


def explicit(argument):
    if argument in MATRICES:
        return np.zeros((SIZE, SIZE))
    return np.zeros(SIZE) if argument in VECTORS else DEFAULTS[argument]


@pytest.mark.parametrize(("name", "argument"), list(optional()))
def test_what_is_left_out_is_the_convention(name, argument):
    given = valid_call(name)
    given.pop(argument, None)
    stated = numbers(called(name, given | {argument: explicit(argument)}))
    assert_allclose(numbers(called(name, given)), stated, rtol=1e-13, atol=0)


# svag_noise has two batches without a common example; the regression's error is free of the size of the noise
OTHERWISE = {"batch_noise", "svag_noise", "hessian_regression_error"}


def sampled():
    for name in public_formulas():
        if {"sampling", "gradient_covariance"} <= set(parameters(name)) and name not in OTHERWISE:
            yield name


@pytest.mark.parametrize("name", list(sampled()))
def test_sampling_enters_through_the_noise_alone(name):
    """Without replacement is with replacement and C (N − B)/(N − 1): nothing else about a law may know."""
    given = valid_call(name) | {"num_examples": 60, "batch_size": 40}
    scaled = given | {"gradient_covariance": given["gradient_covariance"] * (60 - 40) / (60 - 1)}
    law = numbers(called(name, given | {"sampling": "without_replacement"}))
    assert_allclose(law, numbers(called(name, scaled)), rtol=1e-7, atol=1e-14)
    plain = numbers(called(name, given))
    assert_fails(assert_allclose, law, plain, rtol=1e-3, defect="the sampling forgotten")


# what depends on the coordinates by its meaning: diagonal steps, elementwise updates, modes; and what takes no parameters, but a chain
COORDINATES = {
    "batch_means_error",
    "continuous_covariance",
    "fisher_scoring_injection",
    "mode_covariance",
    "online_gradient_covariance",
    "adam_law",
    "rmsprop_law",
    "best_sign_step",
    "mean_field_covariance",
    "hessian_regression_error",
    "kinetic_tuning",
}
TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]


def turned(value):
    """A matrix, vector, tensor or rows of data in turned coordinates; a state of several blocks turns block by block."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fc":
        return value
    for axis, length in enumerate(value.shape):
        if length in (3, 6):  # not the examples
            turn = np.kron(np.eye(length // 3), TURN)
            value = np.moveaxis(np.tensordot(turn, value, axes=(1, axis)), 0, axis)
    return value


# lists of curvatures or of standard deviations, not vectors in the space of the parameters
LISTS = {
    "transverse_curvatures", "standard_deviation", "multipliers", "weights", "step_sizes", "rates", "y",
    "noise_skewness", "noise_kurtosis", "noise_share",
}  # fmt: skip


def geometric():
    """Formulas with a matrix over the parameters or rows of data, all of whose arguments are arrays and numbers."""
    for name in sorted(set(public_formulas()) - COORDINATES - DEAR):
        given = {} if "." in name else valid_call(name)
        arrays = [key for key, value in given.items() if np.ndim(value) >= 1 and key not in LISTS]
        if arrays and not any(callable(value) for value in given.values()):
            yield name


def parts(result):
    """Arrays of a result and of the fields of its records, by place; functions and other records' sources left out."""
    if dataclasses.is_dataclass(result):
        public = [field.name for field in dataclasses.fields(result) if not field.name.startswith("_")]
        result = [getattr(result, name) for name in public]
    if isinstance(result, tuple | list):
        return [array for part in result for array in parts(part)]
    return [np.asarray(result)] if np.asarray(result).dtype.kind in "fiubc" else []


@pytest.mark.parametrize("name", list(geometric()))
def test_turned_coordinates(name):
    """A law does not know its coordinates: matrices turn on both sides, vectors on one, numbers and spectra stay."""
    given = valid_call(name)
    there = parts(called(name, {key: value if key in LISTS else turned(value) for key, value in given.items()}))
    here = parts(called(name, given))
    assert len(here) == len(there) > 0, name
    for before, after in zip(here, there, strict=True):
        if before.ndim == 1 and np.allclose(before, after, rtol=1e-6, atol=1e-12):
            continue  # a spectrum
        assert_allclose(after, turned(before), rtol=1e-6, atol=1e-8 * np.abs(before).max())
