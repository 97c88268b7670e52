"""What `Problem` makes of its arguments, and what it says about those that it cannot take."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

import gradnoise as gn


def log_likelihood(params: Any, example: Any) -> Any:
    return -jnp.sum((params["a"] - example["x"]) ** 2)


DATA = {"x": np.arange(5.0)}


@pytest.mark.parametrize(
    ("given", "shape"), [(0.5, ()), (2, ()), ([1, 2.5], (2,)), ([[1.0, 2.0]], (1, 2)), (np.float64(3), ())]
)
def test_python_numbers_and_lists_of_them_are_params(given: Any, shape: tuple[int, ...]) -> None:
    problem = gn.Problem(log_likelihood, DATA, {"a": given})
    leaf = problem.init["a"]
    assert (np.shape(leaf), leaf.dtype, problem.num_params) == (shape, np.float64, int(np.prod(shape)))
    np.testing.assert_allclose(gn.find_mode(problem).vector, 2.0)


def test_pytrees_of_arrays_are_kept_as_they_are() -> None:
    init = {"layers": [np.zeros(2, np.float32), np.ones(3, np.float32)], "pair": (np.zeros(1), 1.0)}
    problem = gn.Problem(lambda p, e: e - p["layers"][1][0] ** 2, np.zeros(4), init)
    assert problem.init["layers"][0] is init["layers"][0]
    assert [leaf.dtype for leaf in problem.init["layers"]] == [np.float32, np.float32]
    assert problem.init["pair"][1] == 1.0
    assert problem.num_params == 7


@pytest.mark.parametrize("given", [True, "one", np.zeros(2, int), [[1.0, 2.0], [3.0, "x"]]])
def test_what_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"init\['a'\].* must be a floating-point array"):
        gn.Problem(log_likelihood, DATA, {"a": given})


FRAME = {"x": np.arange(5.0), "weight": np.ones(5), "z": np.ones(5)}


@pytest.mark.parametrize("frame", [pd.DataFrame(FRAME), pl.DataFrame(FRAME)])
def test_a_frame_is_refused_with_what_to_pass(frame: Any) -> None:
    words = r"^data must be .*, got a DataFrame\. Pass data={'x': frame\['x'\]\.to_numpy\(\), 'weight': .*, \.\.\.}\.$"
    with pytest.raises(TypeError, match=words):
        gn.Problem(log_likelihood, frame, {"a": 0.0})
    with pytest.raises(TypeError, match=r"data\['x'\] must be .*, got a Series\. Pass data\['x'\] as \.to_numpy\(\)\."):
        gn.Problem(log_likelihood, {"x": frame["x"]}, {"a": 0.0})


def test_one_number_is_one_layer() -> None:
    x, y = np.random.default_rng(0).normal(size=(9, 64)), np.arange(9) % 3
    assert gn.models.mlp(x, y, widths=4).num_params == gn.models.mlp(x, y, widths=(4,)).num_params
    net = gn.models.convolutional(x, y, channels=2, image_shape=(8, 8))
    assert net.num_params == gn.models.convolutional(x, y, channels=(2,), image_shape=(8, 8)).num_params
    for bad in ("four", 0, (4, 0.5)):
        with pytest.raises((TypeError, ValueError), match="widths must be"):
            gn.models.mlp(x, y, widths=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"image_shape must be \(H, W\)"):
        gn.models.convolutional(x, y, image_shape=8)  # type: ignore[arg-type]
