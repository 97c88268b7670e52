"""The policy for what a column may hold: missing values, strings, classes, constants, weights.

Nothing is repaired silently: each decision is an error that names the column, or a note.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradnoise._types import AnyArray, Array
from gradnoise.datasets.tables import MAX_COLUMNS, Column


class Target(NamedTuple):
    """A target as numbers, with its class labels and a note."""

    y: Array
    class_labels: tuple[str, ...] | None
    notes: list[str]


def complete_rows(what: str, columns: list[Column], missing: str) -> tuple[list[Column], list[str]]:
    """Return columns without missing values: an error, or rows dropped and counted."""
    count = len(columns[0].values) if columns else 0
    if count == 0:
        msg = f"{what} has a header but no rows of data."
        raise ValueError(msg)
    gone = {column.name: column.missing for column in columns}
    by_column = ", ".join(f"{name!r}: {int(mask.sum())}" for name, mask in gone.items() if mask.any())
    if not by_column:
        return columns, []
    if missing == "error":
        msg = f"{what} has missing values ({by_column}). Pass missing='drop' to drop the rows that hold them."
        raise ValueError(msg)
    rows = ~np.logical_or.reduce(list(gone.values()))
    if not rows.any():
        msg = f"{what} has missing values in every row ({by_column}), so that missing='drop' leaves none. Leave out the worst columns."
        raise ValueError(msg)
    note = f"Dropped {count - int(rows.sum())} of {count} rows with missing values ({by_column})."
    return [column.kept(rows) for column in columns], [note]


def finite(what: str, column: Column) -> Array:
    """Return the numbers of a column; infinity is an error."""
    bad = np.isinf(column.values)
    if bad.any():
        msg = (
            f"column {column.name!r} of {what} must be finite, but row {int(bad.argmax())} is {column.values[bad][0]}."
        )
        raise ValueError(msg)
    return np.asarray(column.values, dtype=np.float64)


def target_of(what: str, column: Column, model: str | None) -> Target:
    """Return the target as the model needs it."""
    if column.kind not in ("number", "bool", "text"):
        msg = f"target {column.name!r} of {what} must hold numbers or labels, got {column.kind}."
        raise TypeError(msg)
    if column.kind == "number":
        finite(what, column)
    values, counts = np.unique(column.values, return_counts=True)
    if len(values) == 1:
        msg = f"target {column.name!r} of {what} must vary, but is {values[0]!s} in all {len(column.values)} rows."
        raise ValueError(msg)
    if model in ("logistic", "softmax"):
        return _classes(what, column, model, values, counts)
    if column.kind != "number":
        use = "logistic" if len(values) == 2 else "softmax"
        msg = f"target {column.name!r} of {what} must hold numbers for model={model!r}, but holds labels such as {values[0]!s}. Labels are classes: use model={use!r}."
        raise TypeError(msg)
    if model == "poisson" and (values[0] < 0 or (values != np.floor(values)).any()):
        bad = values[(values < 0) | (values != np.floor(values))][0]
        msg = f"target {column.name!r} of {what} must hold counts 0, 1, 2, … for model='poisson', got {bad:g}."
        raise ValueError(msg)
    return Target(np.asarray(column.values, dtype=np.float64), None, [])


def _classes(what: str, column: Column, model: str, values: AnyArray, counts: AnyArray) -> Target:
    if model == "logistic" and len(values) != 2:
        msg = f"target {column.name!r} of {what} must have exactly two classes for model='logistic', got {len(values)}. More classes: model='softmax'; numbers: model='linear'."
        raise ValueError(msg)
    if model == "softmax" and column.kind == "number" and (values != np.floor(values)).any():
        bad = values[values != np.floor(values)][0]
        msg = f"target {column.name!r} of {what} must hold class labels for model='softmax', got the number {bad:g}. Use model='linear'?"
        raise ValueError(msg)
    labels = tuple(f"{v:g}" if column.kind == "number" else str(v) for v in values)
    shown = [f"{label} = {i} ({n} rows)" for i, (label, n) in enumerate(zip(labels, counts, strict=True))]
    listed = ", ".join(shown[:10]) + (f", … ({len(shown)} classes)" if len(shown) > 10 else "")
    y = np.searchsorted(values, column.values).astype(np.float64)
    return Target(y, labels, [f"Classes of the target {column.name!r}: {listed}."])


def weights_of(what: str, column: Column) -> Array:
    """Return example weights: nonnegative, finite, not all zero."""
    if column.kind != "number":
        msg = f"weights column {column.name!r} of {what} must hold numbers, got {column.kind}."
        raise TypeError(msg)
    weights = finite(what, column)
    if weights.min() < 0:
        msg = f"weights column {column.name!r} of {what} must be nonnegative, but row {int(weights.argmin())} is {weights.min():g}."
        raise ValueError(msg)
    if not weights.any():
        msg = f"weights column {column.name!r} of {what} must not be 0 everywhere."
        raise ValueError(msg)
    return weights


def offset_of(what: str, column: Column) -> Array:
    """Return the offset of a Poisson model: finite numbers, logs of the exposure."""
    if column.kind != "number":
        msg = f"offset column {column.name!r} of {what} must hold numbers, got {column.kind}."
        raise TypeError(msg)
    return finite(what, column)


def features_of(what: str, columns: list[Column], encode: str) -> tuple[Array, tuple[str, ...], list[str]]:
    """Return X, its names and notes: strings refused or one-hot encoded, booleans as 0 and 1, constants dropped."""
    odd = [f"{c.name!r} ({c.kind})" for c in columns if c.kind not in ("number", "bool", "text")]
    if odd:
        msg = f"features of {what} must hold numbers, booleans or strings, got {', '.join(odd[:5])}. Leave the column out or convert it."
        raise TypeError(msg)
    text = [c for c in columns if c.kind == "text"]
    if text and encode == "error":
        shown = ", ".join(f"{c.name!r} (such as {_least_numeric(c)!r})" for c in text[:5])
        msg = f"features of {what} hold strings: {shown}. Pass encode='onehot', or leave the column out."
        raise ValueError(msg)
    encoded: list[tuple[str, Array]] = []
    notes, constant = [], []
    for column in columns:
        if (column.values == column.values[0]).all():
            constant.append(column.name)
        elif column.kind == "text":
            levels = sorted(set(column.values))
            encoded += [(f"{column.name}={level}", (column.values == level).astype(np.float64)) for level in levels[1:]]
            notes.append(f"One-hot encoded {column.name!r}: {len(levels)} levels, {levels[0]!r} is the reference.")
        else:
            encoded.append((column.name, finite(what, column._replace(values=column.values.astype(np.float64)))))
    if constant:
        more = f" and {len(constant) - 10} more" if len(constant) > 10 else ""
        notes.append(f"Dropped constant features: {', '.join(map(repr, constant[:10]))}{more}.")
    if not encoded:
        msg = f"{what} has no feature that varies" + (
            f": {', '.join(map(repr, constant[:5]))} are constant." if constant else "."
        )
        raise ValueError(msg)
    if len(encoded) > MAX_COLUMNS:
        msg = f"encode='onehot' makes {len(encoded)} columns of {what}, more than {MAX_COLUMNS}. Leave out columns with many levels."
        raise ValueError(msg)
    return np.stack([values for _, values in encoded], axis=1), tuple(name for name, _ in encoded), notes


def _least_numeric(column: Column) -> str:
    """Return the first value that is no number: in a column of numbers, the typing error."""

    def is_text(value: str) -> bool:
        try:
            float(value)
        except ValueError:
            return True
        return False

    return str(next((v for v in column.values if is_text(v)), column.values[0]))
