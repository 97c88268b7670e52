"""Load a file or a data frame as a Dataset, with a stated policy for everything a table can hold."""

from __future__ import annotations

from typing import Any

from gradnoise import _checks
from gradnoise.datasets import policy, tables
from gradnoise.datasets.record import MODELS, Dataset


def load(
    source: Any,
    *,
    target: Any,
    model: str | None = None,
    weights: Any = None,
    offset: Any = None,
    encode: str = "error",
    missing: str = "error",
    separator: str = ",",
) -> Dataset:
    """Load a table: one column is the target, an optional one holds example weights, another an offset, all others are features.

    Parameters
    ----------
    source
        Path of a .csv, .csv.gz, .parquet or .npz file (in .npz every array as long as the target is a feature,
        trailing axes flattened), or any data frame that narwhals knows (polars, pandas, pyarrow, …).
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
    encode
        "error": a feature of strings is an error that names it. "onehot": it becomes one 0/1 column a level, less
        the first level in alphabetical order (the reference).
    missing
        "error": missing values are an error that counts them by column. "drop": rows that hold any are dropped and
        counted. Missing are: empty fields, null, NaN, NA, N/A, ?, None.
    separator
        Of CSV files.

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
    Also: boolean features become 0 and 1; constant features are dropped, with a note; infinities are an error;
    labels of classes (strings, booleans, numbers) are sorted, and numbered 0, 1, … in that order.

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
    if offset is not None and model != "poisson":
        msg = f"offset must come with model='poisson', got {_checks.shown(offset)} with model={model!r}."
        raise ValueError(msg)
    optional = {"weights": weights, "offset": offset}
    wanted = {"target": str(target), **{role: None if name is None else str(name) for role, name in optional.items()}}
    what, columns, notes = tables.read(source, wanted, separator)
    return assemble(what, columns, wanted, model=model, encode=encode, missing=missing, notes=notes)


def assemble(
    what: str,
    columns: list[tables.Column],
    wanted: dict[str, str | None],
    *,
    model: str | None,
    encode: str,
    missing: str,
    notes: list[str],
) -> Dataset:
    """Apply the policy to named columns."""
    columns, dropped = policy.complete_rows(what, columns, missing)
    count = len(columns[0].values)
    if count < 2:
        msg = f"{what} must have at least two rows of data, got {count}."
        raise ValueError(msg)
    named = {column.name: column for column in columns}
    target = policy.target_of(what, named[str(wanted["target"])], model)
    weights = None if wanted["weights"] is None else policy.weights_of(what, named[wanted["weights"]])
    name = wanted.get("offset")  # the bundled tables have none
    offset = None if name is None else policy.offset_of(what, named[name])
    rest = [column for column in columns if column.name not in wanted.values()]
    X, names, encoded = policy.features_of(what, rest, encode)
    said = (*notes, *dropped, *target.notes, *encoded)
    return Dataset(X, target.y, names, str(wanted["target"]), target.class_labels, weights, model, said, offset)
