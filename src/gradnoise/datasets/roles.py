"""Columns with a role: the target as the model needs it, example weights, offset and exposure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradnoise._types import AnyArray, Array
from gradnoise.datasets.columns import Column, Reading
from gradnoise.datasets.oddities import FEW, SENTINELS, Oddity, code_in_numbers, oddity_of, tells_rows
from gradnoise.datasets.policy import finite

SPAN, LARGEST = 25.0, 80.0  # of logarithms of an exposure: e²⁵ = 7e10, and e⁸⁸ is the end of float32


class Target(NamedTuple):
    """A target as numbers, with its class labels and a note."""

    y: Array
    class_labels: tuple[str, ...] | None
    notes: list[str]


def target_of(
    what: str, column: Column, model: str | None, reading: Reading | None = None, counted: AnyArray | None = None
) -> Target:
    """Return the target as the model needs it; it must vary over the rows that are `counted` (None: all), which also make its classes."""
    if column.kind not in ("number", "bool", "text"):
        msg = f"target {column.name!r} of {what} must hold numbers or labels, got {column.kind}."
        raise TypeError(msg)
    if column.kind == "number":
        finite(what, column)
    held = column.values if column.exact is None else column.exact
    every = np.unique(held)
    values, counts = np.unique(held if counted is None else held[counted], return_counts=True)
    if len(values) == 1:
        where = f"all {len(column.values)} rows" if len(every) == 1 else "all rows of positive weight"
        msg = f"target {column.name!r} of {what} must vary, but is {values[0]!s} in {where}."
        raise ValueError(msg)
    odd = None
    if column.kind == "text":
        odd = oddity_of(column, Reading() if reading is None else reading, feature=False)
    code = code_in_numbers(column) if column.kind == "number" else ""
    if model in ("logistic", "softmax"):
        return _classes(what, column, model, values, counts, odd)
    if column.kind != "number":
        raise TypeError(_no_numbers(what, column, model, values, odd))
    if model == "poisson" and (every[0] < 0 or (every != np.floor(every)).any()):
        bad = every[(every < 0) | (every != np.floor(every))][0]
        msg = (
            f"target {column.name!r} of {what} must hold counts 0, 1, 2, … for model='poisson', got {bad:g}. For a rate, give the count as "
            "the target and its exposure (time at risk, area, population) with exposure='COLUMN'; for other numbers, model='linear'."
        )
        if bad in SENTINELS:
            msg += f" If {bad:g} stands for a missing value: missing_codes='{bad:.0f}'."
        raise ValueError(msg)
    return Target(np.asarray(column.values, dtype=np.float64), None, [code] if code else [])


def _no_numbers(what: str, column: Column, model: str | None, values: AnyArray, odd: Oddity | None) -> str:
    told = f"target {column.name!r} of {what} must hold numbers for model={model!r}"
    if odd is not None:
        return f"{told}. {odd.told}"
    use = "logistic" if len(values) == 2 else "softmax"
    return f"{told}, but holds labels such as {values[0]!s}. Labels are classes: use model={use!r}."


def _classes(what: str, column: Column, model: str, values: AnyArray, counts: AnyArray, odd: Oddity | None) -> Target:
    told = f"target {column.name!r} of {what} must"
    if odd is not None and odd.stops:
        msg = f"{told} hold class labels for model={model!r}. {odd.told}"
        raise ValueError(msg)
    number = column.kind == "number"
    if model == "logistic" and len(values) != 2:
        msg = f"{told} have exactly two classes for model='logistic', got {len(values)}. More classes: model='softmax'; numbers: model='linear'."
        if number and values[0] >= 0 and values[-1] <= 1:
            msg += " Proportions: give each group two rows, y = 1 and y = 0, and their counts with weights='COLUMN'."
        raise ValueError(msg)
    if model == "softmax" and number and (column.values != np.floor(column.values)).any():
        bad = column.values[column.values != np.floor(column.values)][0]
        msg = f"{told} hold class labels for model='softmax', got the number {bad:g}. Use model='linear'?"
        raise ValueError(msg)
    if len(values) > FEW and tells_rows(len(values), len(column.values)):
        msg = f"{told} hold class labels for model={model!r}, but has {len(values)} different values in {len(column.values)} rows. Use model='linear' for numbers."
        raise ValueError(msg)
    labels = tuple(_label(value) for value in values)
    shown = [f"{label} = {i} ({n} rows)" for i, (label, n) in enumerate(zip(labels, counts, strict=True))]
    listed = ", ".join(shown[:10]) + (f", … ({len(shown)} classes)" if len(shown) > 10 else "")
    held = column.values if column.exact is None else column.exact
    y = np.minimum(np.searchsorted(values, held), len(values) - 1).astype(np.float64)
    notes = [f"Classes of the target {column.name!r}: {listed}."]
    gone = np.setdiff1d(held, values)
    if gone.size:
        notes.append(
            f"Left out classes whose rows all have weight 0: {', '.join(_label(value) for value in gone[:10])}."
        )
    return Target(y, labels, notes)


def _label(value: object) -> str:
    """Return a label with all its digits: 1000001, 0.1, yes."""
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _numbers(what: str, role: str, column: Column) -> Array:
    if column.kind != "number":
        odd = oddity_of(column, Reading(), feature=False) if column.kind == "text" else None
        msg = f"{role} column {column.name!r} of {what} must hold numbers, got {column.kind}.{' ' + odd.told if odd else ''}"
        raise TypeError(msg)
    return finite(what, column)


def weights_of(what: str, column: Column) -> Array:
    """Return example weights: nonnegative, finite, not all zero."""
    weights = _numbers(what, "weights", column)
    if weights.min() < 0:
        msg = f"weights column {column.name!r} of {what} must be nonnegative, but row {int(weights.argmin())} is {weights.min():g}."
        raise ValueError(msg)
    if not weights.any():
        msg = f"weights column {column.name!r} of {what} must not be 0 everywhere."
        raise ValueError(msg)
    return weights


def offset_of(what: str, column: Column, y: Array) -> tuple[Array, list[str]]:
    """Return the offset of a Poisson model, logs of the exposure, and a note where its own logarithm fits the counts better."""
    offset = _numbers(what, "offset", column)
    name, low, high = column.name, float(offset.min()), float(offset.max())
    remedy = f"give log({name}), or pass exposure={name!r}, which takes the logarithm itself"
    if high - low > SPAN or high > LARGEST:
        msg = f"offset column {name!r} of {what} must hold the logarithm of an exposure, but runs from {low:g} to {high:g}, an exposure of e^{high:.3g}. If {name!r} is the exposure: {remedy}."
        raise ValueError(msg)
    if low > 0 and high > low:
        as_log, as_exposure = _deviance(y, np.exp(offset - high)), _deviance(y, offset)
        if as_log > 1.5 * as_exposure + 10:
            return offset, [
                f"Caution: the offset {name!r} is added as the logarithm of an exposure (deviance of the counts without features: {as_log:.4g}); "
                f"taken as the exposure itself it fits better ({as_exposure:.4g}). If so, {remedy}."
            ]
    return offset, []


def _deviance(y: Array, exposure: Array) -> float:
    """Deviance of counts of which the means are proportional to the exposure."""
    mean = exposure * (y.sum() / exposure.sum())
    return float(2 * np.sum(np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / mean), 0.0) - (y - mean)))


def exposure_of(what: str, column: Column) -> tuple[Array, list[str]]:
    """Return the logarithm of an exposure, which must be positive, and a note."""
    exposure = _numbers(what, "exposure", column)
    if exposure.min() <= 0:
        msg = f"exposure column {column.name!r} of {what} must be positive, but row {int(exposure.argmin())} is {exposure.min():g}. A column of logarithms is an offset='COLUMN'."
        raise ValueError(msg)
    return np.log(exposure), [f"The offset is the logarithm of the exposure {column.name!r}."]
