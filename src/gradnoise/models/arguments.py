"""Checks of the models' arguments, each with the value in the form it is kept in. X stays in its floating type."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike


def design(X: ArrayLike, intercept: bool, names: tuple[str, ...] | None) -> tuple[AnyArray, tuple[str, ...]]:
    """Return X with its column of ones, in its own floating type, and the names of its columns: given, or the frame's, or default."""
    values, headings = unframed("X", X)
    inputs = _numbers("X", values)
    if inputs.ndim != 2 or 0 in inputs.shape:
        msg = f"X must have shape (N, D) with N, D >= 1, got {inputs.shape}."
        raise ValueError(msg)
    if names is None:
        names = headings or default_names(inputs.shape[1])
    if len(names) != inputs.shape[1]:
        msg = f"names must name the {inputs.shape[1]} columns of X, got {len(names)}."
        raise ValueError(msg)
    if not intercept:
        return inputs, tuple(names)
    return np.concatenate([inputs, np.ones((len(inputs), 1), inputs.dtype)], 1), (*names, "intercept")


def default_names(size: int) -> tuple[str, ...]:
    """Return the names x0, x1, … of columns that came without."""
    return tuple(f"x{i}" for i in range(size))


def unframed(name: str, value: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return a data frame (any that narwhals knows) as an array, with its headings where all are text; else `value` and None."""
    import narwhals as nw
    import narwhals.selectors as ncs

    try:
        frame: Any = nw.from_native(value, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, nw.DataFrame):
            return value, None
        headings = tuple(frame.columns)
        frame = frame.with_columns(ncs.boolean().cast(nw.Int8))  # beside numbers they would make an array of objects
    except nw.exceptions.DuplicateError as error:
        msg = f"{name} must have columns of different names: {' '.join(str(error).split())}"
        raise ValueError(msg) from error
    return frame.to_numpy(), headings if all(isinstance(h, str) for h in headings) else None


def _numbers(name: str, value: ArrayLike) -> AnyArray:
    """Return `value` as a finite floating array: floating types are kept, whole numbers become float32."""
    array = np.asarray(value)
    if array.dtype.kind in "fc" or jnp.issubdtype(array.dtype, jnp.floating):
        pass
    elif array.dtype.kind in "iub":
        array = array.astype(np.float32)
    else:
        msg = f"{name} must hold numbers, got dtype {array.dtype}. datasets.load encodes strings, categories and data frames."
        raise TypeError(msg)
    if array.dtype.kind == "c":
        msg = f"{name} must hold real numbers, got dtype {array.dtype}."
        raise TypeError(msg)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        msg = f"{name} must be finite, but entry {first} is {float(array[first])}. datasets.load has a policy for missing values."
        raise ValueError(msg)
    return array


def column(name: str, value: ArrayLike, length: int) -> AnyArray:
    """Return `value` as a floating vector with one number a row of X."""
    array = _numbers(name, value)
    if array.shape != (length,):
        msg = f"{name} must have shape (N,) = ({length},) like the rows of X, got {array.shape}."
        raise ValueError(msg)
    return array


def real_targets(y: ArrayLike, inputs: AnyArray) -> AnyArray:
    """Return y (N,) in the floating type of X."""
    return column("y", y, len(inputs)).astype(inputs.dtype, copy=False)


def classes(y: ArrayLike, length: int, num_classes: int | None, *, name: str = "y") -> tuple[AnyArray, int]:
    """Return the labels as int32 and the number of classes."""
    labels = column(name, y, length)
    if (labels < 0).any() or (labels != np.floor(labels)).any():
        msg = f"{name} must hold class numbers 0, 1, 2, …, got {labels[(labels < 0) | (labels != np.floor(labels))][0]:g}. datasets.load encodes other labels."
        raise ValueError(msg)
    targets = np.asarray(y).astype(np.int32)
    found = np.unique(targets)
    if num_classes is None and (len(found) < 2 or int(found[-1]) != len(found) - 1):
        msg = f"{name} must hold every class 0, …, K-1 with K >= 2 when num_classes is None, got classes {_checks.shown(found.tolist())}."
        raise ValueError(msg)
    count = len(found) if num_classes is None else _checks.integer("num_classes", num_classes, low=2)
    if int(found[-1]) >= count:
        msg = f"{name} must hold class numbers below num_classes = {count}, got {int(found[-1])}."
        raise ValueError(msg)
    return targets, count


def aligned(data: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Return data whose inputs (N, D) have columns of zeros up to a multiple of eight, where D <= 32; beyond, as they are.

    XLA gathers and multiplies such rows with vector instructions: a step takes 0.7 to 0.8 times as long (0.56 at D = 4); at
    D = 50 nothing is gained. The likelihoods of the regressions accept both widths.
    """
    inputs = data["inputs"]
    missing = -inputs.shape[1] % 8
    if not missing or inputs.shape[1] > 32:
        return data
    return {**data, "inputs": np.pad(inputs, ((0, 0), (0, missing)))}


def data(inputs: AnyArray, targets: AnyArray, weights: ArrayLike | None) -> dict[str, AnyArray]:
    """Return the problem's data: inputs, targets and, where given, weights."""
    out = {"inputs": inputs, "targets": targets}
    if weights is not None:
        weight = column("weights", weights, len(inputs)).astype(inputs.dtype, copy=False)
        if (weight < 0).any() or not weight.any():
            msg = f"weights must be >= 0 and not all 0, got a smallest of {float(weight.min()):g}."
            raise ValueError(msg)
        out["weight"] = weight
    return out


def precision(size: int, prior_scale: float, intercept: bool, intercept_prior_scale: float | None) -> Array:
    """Return prior precisions (D,); 0 where the scale is infinite."""
    out = np.full(size, _inverse_square("prior_scale", prior_scale))
    if intercept_prior_scale is not None:
        if not intercept:
            msg = f"intercept_prior_scale must be None when intercept is False, got {_checks.shown(intercept_prior_scale)}."
            raise ValueError(msg)
        out[-1] = _inverse_square("intercept_prior_scale", intercept_prior_scale)
    return out


def _inverse_square(name: str, scale: float) -> float:
    return 0.0 if scale == math.inf else _checks.positive(name, scale) ** -2
