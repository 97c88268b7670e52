"""Tables as named columns: a file is taken literally by its path, and opened by its ending."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise.datasets import files
from gradnoise.datasets.array_files import read_arrays
from gradnoise.datasets.columns import Column, Reading, Wanted, check_names
from gradnoise.datasets.frames import columns_of, read_frame
from gradnoise.datasets.text_files import read_text

EXTENSIONS = (".csv", ".csv.gz", ".parquet", ".npz")
NAMELESS = re.compile(r"|Unnamed: ?\d+(\.\d+)*|column \d+ \(no name\)|\.\.\.\d+|_duplicated_\d+")
ROW_NAMES = {"rownames", "row.names", "row_names", "rowname"}  # where R's data sets are kept as CSV
COUNTERS = {"x", "index", "level_0", "__index_level_0__", *ROW_NAMES}  # what an index becomes on its way through a file


def read(
    source: Any, wanted: Wanted, drop: tuple[str, ...] = (), reading: Reading | None = None
) -> tuple[str, list[Column], list[str]]:
    """Return what the source is called, its columns and notes. `source` is a path or a data frame."""
    reading = Reading() if reading is None else reading
    if not isinstance(source, (str, os.PathLike)):
        what, columns, notes = read_frame(source, wanted, drop, reading)
    else:
        what, columns, notes = _read_file(_checks.path("source", source), wanted, drop, reading)
    columns, left = _without_index(columns, wanted)
    dropped = [f"Columns left out as asked: {', '.join(map(repr, drop))}."] if drop else []
    return what, columns, [*notes, *dropped, *left]


def _read_file(
    path: Path, wanted: Wanted, drop: tuple[str, ...], reading: Reading
) -> tuple[str, list[Column], list[str]]:
    what = repr(path.name)
    files.regular(path)
    extension = next((e for e in sorted(EXTENSIONS, key=len, reverse=True) if path.name.lower().endswith(e)), None)
    if extension is None:
        msg = f"{what} must end in one of {', '.join(EXTENSIONS)}. Other formats: read it yourself and pass the data frame."
        if path.name.lower().endswith((".tsv", ".tab", ".txt", ".dat", ".tsv.gz", ".txt.gz")):
            msg += " Text in columns: give it the ending .csv, and pass separator='tab' or the character between the columns."
        raise ValueError(msg)
    if extension == ".npz":
        return what, *read_arrays(path, what, wanted, drop, reading)
    if extension == ".parquet":
        return what, _read_parquet(path, what, wanted, drop, reading), []
    return what, *read_text(path, what, wanted, drop, reading)


def _read_parquet(path: Path, what: str, wanted: Wanted, drop: tuple[str, ...], reading: Reading) -> list[Column]:
    import polars as pl

    panic = getattr(pl.exceptions, "PanicException", pl.exceptions.PolarsError)
    try:
        with path.open("rb") as file:  # an open file: as a path, brackets and stars would be a pattern
            names = list(pl.read_parquet_schema(file))
            check_names(what, names, wanted, drop)
            file.seek(0)
            frame = pl.read_parquet(file).drop(list(drop))
    except (pl.exceptions.PolarsError, OSError, panic) as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        msg = f"{what} cannot be read as Parquet: {_checks.shown(first, 160)}."
        raise ValueError(msg) from error
    return columns_of(frame, reading, typed=True)


def _without_index(columns: list[Column], wanted: Wanted) -> tuple[list[Column], list[str]]:
    """Leave out what only counts or names the rows, and columns without name and values; of the second kind of name, only where another feature remains."""
    roles = set(wanted.values())
    free = [column for column in columns if column.name not in roles]
    gone: dict[str, str] = {}
    for column in free:
        told = _told(column)
        if told and (NAMELESS.fullmatch(column.name) or len(free) - len(gone) > 1):
            gone[column.name] = told
    return [c for c in columns if c.name not in gone or c.name in roles], list(gone.values())


def _told(column: Column) -> str:
    """Say why a column is left out, or nothing."""
    nameless, missing = NAMELESS.fullmatch(column.name) is not None, column.missing
    if nameless and missing.all():
        return f"Left out {column.name!r}, which has neither a name nor values."
    if missing.any() or not (nameless or column.name.casefold() in COUNTERS):
        return ""
    if column.kind == "number":
        steps = np.diff(column.values)
        counts = bool((steps == 1).all()) and column.values[0] in (0, 1)
        apart = len(np.unique(column.values)) == len(column.values) and bool((column.values % 1 == 0).all())
        if counts or (apart and (nameless or column.name.casefold() in ROW_NAMES)):
            first, last = column.values.min(), column.values.max()
            return f"Left out {column.name!r}, which holds row numbers ({first:.0f} to {last:.0f})."
        return ""
    apart = column.kind == "text" and len(set(column.values)) == len(column.values)
    if apart and (nameless or column.name.casefold() in ROW_NAMES):
        return f"Left out {column.name!r}, which holds the names of the rows (such as {column.values[0]!r})."
    return ""
