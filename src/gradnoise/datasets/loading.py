"""Load a file or a data frame as a Dataset, with a stated policy for everything a table can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradnoise import _checks
from gradnoise.datasets import policy, roles, tables, text_files
from gradnoise.datasets.columns import Column, Reading, Wanted
from gradnoise.datasets.notation import notation
from gradnoise.datasets.record import MODELS, Dataset


def load(
    source: Any,
    *,
    target: Any,
    model: str | None = None,
    weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    drop: Any = (),
    encode: str = "error",
    missing: str = "error",
    missing_codes: Any = (),
    decimal: str = "point",
    thousands: str = "none",
    signs: str = "error",
    separator: str = ",",
    comment: str | None = None,
) -> Dataset:
    """Load a table: one column is the target, an optional one holds example weights, another an offset, all others are features.

    Parameters
    ----------
    source
        Path of a .csv, .csv.gz, .parquet or .npz file, taken literally (in .npz every array as long as the target is a
        feature, trailing axes flattened), or any data frame that narwhals knows (polars, pandas, pyarrow, …).
    target
        Name of the target column.
    model
        "linear": numbers. "logistic": exactly two classes. "softmax": two classes or more. "poisson": counts.
        None guesses nothing: the target must hold numbers, and they are kept.
    weights
        Name of the column of example weights: nonnegative, finite, not all zero.
    offset
        Only for model "poisson": name of the column that is added to the linear predictor, the log of an exposure (time at
        risk, area).
    exposure
        In place of `offset`: name of the column that holds the exposure itself; its logarithm is the offset.
    drop
        Names of columns to leave out; one name or a list.
    encode
        "error": a feature of strings is an error that names it. "onehot": it becomes one 0/1 column a level, less
        the first level in alphabetical order (the reference). Dates, names of rows and numbers in another notation are
        refused also then.
    missing
        "error": missing values are an error that counts them by column. "drop": rows that hold any are dropped and
        counted. Missing are: empty fields, null, NaN, NA, N/A, ?, None, and a few more that programs write.
    missing_codes
        What else stands for a missing value, in text and in numbers: a list, or text with commas between, such as ".,-999".
    decimal, thousands
        How numbers are written in text: "point" or "comma"; "none", "comma", "point", "space" or "apostrophe".
    signs
        "drop" takes $, €, % and their like away from numbers: 42% becomes 42. "error" leaves them, so that they are text.
    separator
        Of CSV files: one character, or "tab", "space".
    comment
        Of CSV files: what begins a line that is skipped, such as "#".

    Returns
    -------
    Dataset
        Its `notes` say what was done: rows dropped, columns encoded or dropped, classes and their numbers.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        One clear error for a wrong path, an unknown ending, an empty file, a wrong or duplicate column name, more
        than 20 000 columns (before the data are read), a target with one value, infinite numbers, one row, …

    Notes
    -----
    Also: spaces around text are taken away; an index column (without a name, or called "X", "rownames" …) that holds row
    numbers is left out, with a note; boolean features become 0 and 1; features that do not vary over the rows of positive
    weight are dropped, with a note; infinities are an error; labels of classes (strings, booleans, numbers) are sorted, and
    numbered 0, 1, … in that order.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"dose": [0.1, 0.4, 0.9], "unit": [1, 1, 1], "ill": ["no", "yes", "yes"]})
    >>> data = load(frame, target="ill", model="logistic")
    >>> data.y.tolist(), data.feature_names
    ([0.0, 1.0, 1.0], ('dose',))
    >>> print(*data.notes, sep=chr(10))
    Classes of the target 'ill': no = 0 (1 rows), yes = 1 (2 rows).
    Dropped constant features: 'unit'.
    """
    if model is not None:
        _checks.one_of("model", model, MODELS)
    _checks.one_of("encode", encode, ("error", "onehot"))
    _checks.one_of("missing", missing, ("error", "drop"))
    for role, name in (("offset", offset), ("exposure", exposure)):
        if name is not None and model != "poisson":
            msg = f"{role} must come with model='poisson', got {_checks.shown(name)} with model={model!r}."
            raise ValueError(msg)
    if offset is not None and exposure is not None:
        msg = f"offset and exposure must not be given both, got {_checks.shown(offset)} and {_checks.shown(exposure)}: the offset is the log of the exposure."
        raise ValueError(msg)
    reading = Reading(
        text_files.separator_of(separator),
        text_files.comment_of(comment),
        _texts("missing_codes", missing_codes, split=True),
        notation(decimal, thousands, signs),
    )
    optional = {"weights": weights, "offset": offset, "exposure": exposure}
    wanted = {"target": str(target), **{role: None if name is None else str(name) for role, name in optional.items()}}
    what, columns, notes = tables.read(source, wanted, _texts("drop", drop), reading)
    return assemble(what, columns, wanted, model=model, encode=encode, missing=missing, notes=notes, reading=reading)


def _texts(name: str, value: Any, *, split: bool = False) -> tuple[str, ...]:
    """Return one name, or a list of them, as text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip()) if split else (value,)
    if isinstance(value, (int, float)):
        return (str(value),)
    if not isinstance(value, Iterable):
        msg = f"{name} must be text or a list of texts, got {_checks.shown(value)}."
        raise TypeError(msg)
    return tuple(dict.fromkeys(str(one) for one in value))


def assemble(
    what: str,
    columns: list[Column],
    wanted: Wanted,
    *,
    model: str | None,
    encode: str,
    missing: str,
    notes: list[str],
    reading: Reading | None = None,
) -> Dataset:
    """Apply the policy to named columns."""
    columns, dropped = policy.complete_rows(what, columns, missing, tuple(wanted.values()))
    count = len(columns[0].values)
    if count < 2:
        msg = f"{what} must have at least two rows of data, got {count}."
        raise ValueError(msg)
    named = {column.name: column for column in columns}
    weights = None if wanted["weights"] is None else roles.weights_of(what, named[wanted["weights"]])
    counted = None if weights is None else weights > 0
    target = roles.target_of(what, named[str(wanted["target"])], model, reading, counted)
    offset, told = None, list[str]()
    if (name := wanted.get("offset")) is not None:  # the bundled tables have none
        offset, told = roles.offset_of(what, named[name], target.y)
    if (name := wanted.get("exposure")) is not None:
        offset, told = roles.exposure_of(what, named[name])
    rest = [column for column in columns if column.name not in wanted.values()]
    X, names, encoded = policy.features_of(what, rest, encode, reading, counted)
    said = (*notes, *dropped, *target.notes, *told, *encoded)
    return Dataset(X, target.y, names, str(wanted["target"]), target.class_labels, weights, model, said, offset)
