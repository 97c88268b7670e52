"""Columns from data frames: numbers as float64, text stripped, what stands for nothing as missing."""

from __future__ import annotations

import decimal
import re
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray
from gradnoise.datasets.columns import EXACT, MISSING, Column, Reading, Wanted, check_names
from gradnoise.datasets.notation import PLAIN, as_written

NUMBERS = (int, float, decimal.Decimal, np.integer, np.floating)


def read_frame(
    source: Any, wanted: Wanted, drop: tuple[str, ...], reading: Reading
) -> tuple[str, list[Column], list[str]]:
    """Return what a data frame is called, its columns and notes."""
    import narwhals as nw

    what = f"the {type(source).__name__}"
    try:
        frame = nw.from_native(source)
        names = frame.collect_schema().names() if isinstance(frame, nw.LazyFrame) else frame.columns
    except nw.exceptions.DuplicateError as error:
        msg = f"{what} has duplicate column names: {' '.join(str(error).split())}. Rename them."
        raise ValueError(msg) from error
    except TypeError as error:
        msg = f"source must be a path or a data frame (polars, pandas, pyarrow, …), got {_checks.shown(source)}."
        raise TypeError(msg) from error
    check_names(what, [str(name) for name in names], wanted, drop)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    kept = [(str(name), series) for name, series in zip(frame.columns, frame.iter_columns(), strict=True)]
    columns = [column_of(name, series, reading, typed=True) for name, series in kept if name not in drop]
    return what, columns, _merged(what, [one for one in kept if one[0] not in drop], columns, wanted)


def _merged(what: str, kept: list[Any], columns: list[Column], wanted: Wanted) -> list[str]:
    """Note where labels became equal as spaces around them were taken away; in a target that is an error."""
    notes = []
    for (name, series), column in zip(kept, columns, strict=True):
        if column.kind != "text":
            continue
        before = {str(value) for value in series.to_list() if isinstance(value, str) and value.strip() not in MISSING}
        after = {value for value in column.values if value is not None}
        if {value.strip() for value in before} == after and len(before) > len(after):
            told = f"{len(before)} labels of {name!r} are {len(after)} without the spaces around them"
            if name in wanted.values():
                msg = f"target {name!r} of {what} must have labels that differ by more than the spaces around them: {told}."
                raise ValueError(msg)
            notes.append(f"Took spaces away: {told}.")
    return notes


def columns_of(frame: Any, reading: Reading, *, typed: bool = False) -> list[Column]:
    """Return the columns of a polars frame read from a file; from CSV, numbers may still stand as text."""
    import narwhals as nw

    native = nw.from_native(frame, eager_only=True)
    return [column_of(name, native[name], reading, typed=typed) for name in native.columns]


def column_of(name: str, series: Any, reading: Reading, *, typed: bool) -> Column:
    """Return one narwhals series as a column; text in a `typed` source stays text unless the user told how to read it."""
    import narwhals as nw

    dtype = series.dtype
    if dtype.is_numeric():
        return _number(name, series, reading)
    values = objects(series.to_list())
    values[series.is_null().to_numpy().astype(bool)] = None  # pandas has three ways to say null
    if dtype == nw.Boolean:
        return Column(name, "bool", values)
    held = {type(v) for v in values if v is not None}
    if held and all(issubclass(kind, NUMBERS) and kind is not bool for kind in held) and dtype == nw.Object:
        return from_numbers(name, values, reading)
    if held == {bool} and dtype == nw.Object:
        return Column(name, "bool", values)
    labels = dtype in (nw.String, nw.Categorical, nw.Enum) or held <= {str}
    if labels or (dtype == nw.Object and all(issubclass(kind, (str, *NUMBERS)) for kind in held)):
        return from_text(name, values, reading, typed=typed)
    return Column(name, str(dtype), values)


def objects(values: list[Any]) -> AnyArray:
    """Return a list as a vector of objects; the last None keeps NumPy from guessing a shape."""
    return np.array([*values, None], dtype=object)[:-1]


def _number(name: str, series: Any, reading: Reading) -> Column:
    import narwhals as nw

    values = np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    exact = None
    if (series.dtype.is_integer() or series.dtype.is_decimal()) and (np.abs(values) >= EXACT).any():
        exact = objects(series.to_list())
    return _coded(Column(name, "number", values, exact), reading)


def from_numbers(name: str, values: AnyArray, reading: Reading) -> Column:
    """Return Python numbers (None where missing) as a column, whole numbers beyond 2⁵³ kept."""
    floats = np.array([np.nan if value is None else _float(value) for value in values], dtype=np.float64)
    whole = all(isinstance(value, (int, np.integer)) for value in values if value is not None)
    exact = values if whole and (np.abs(floats) >= EXACT).any() else None
    return _coded(Column(name, "number", floats, exact), reading)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        return np.inf if value > 0 else -np.inf


def _coded(column: Column, reading: Reading) -> Column:
    """Turn codes such as -999 into missing values."""
    codes = [number for number in map(PLAIN.number, reading.codes) if number is not None]
    if not codes:
        return column
    hit = np.isin(column.values, codes)
    return column._replace(values=np.where(hit, np.nan, column.values))


def from_text(name: str, values: AnyArray, reading: Reading, *, typed: bool) -> Column:
    """Return text as a column: stripped, missing where it stands for nothing, and numbers where all of it is."""
    import polars as pl

    text = pl.Series([None if value is None else str(value) for value in values], dtype=pl.String).str.strip_chars()
    gone = text.is_null() | text.is_in([*MISSING, *reading.codes])
    kept = text.set(gone, None)
    if not typed or reading.given:
        numbers = _numbers(kept, reading)
        if numbers is not None and not _leading_zeros_tell(kept, numbers):
            return _coded(Column(name, "number", numbers, _whole(kept, numbers)), reading)
    return Column(name, "text", objects(kept.to_list()))


def _numbers(text: Any, reading: Reading) -> AnyArray | None:
    """Return the numbers of a text column, NaN where missing; None where one is no number, or there is none."""
    import polars as pl

    if text.is_null().all():
        return None
    if reading.notation == PLAIN:
        found = text.cast(pl.Float64, strict=False)
        unread = text.filter(found.is_null() & text.is_not_null()).unique().to_list()
        if unread and all(PLAIN.number(level) is not None for level in unread):  # a minus of typesetters, say
            known = {level: PLAIN.number(level) for level in unread}
            read = [known.get(level, value) for level, value in zip(text.to_list(), found.to_list(), strict=True)]
            found = pl.Series(read, dtype=pl.Float64)
    else:
        levels = [level for level in text.unique().to_list() if level is not None]
        how = as_written(levels, reading.notation)
        known = {None: None, **{level: how.number(level) for level in levels}}
        found = pl.Series([known[value] for value in text.to_list()], dtype=pl.Float64)
    if found.null_count() > text.null_count() or found.is_nan().any():
        return None
    return np.asarray(found.fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _leading_zeros_tell(text: Any, numbers: AnyArray) -> bool:
    """Whether labels such as 01 and 1 would become one."""
    levels = text.drop_nulls().unique()
    return len(levels) > len(np.unique(numbers[~np.isnan(numbers)])) and bool(levels.str.contains(r"^\d+$").all())


def _whole(text: Any, numbers: AnyArray) -> AnyArray | None:
    """Return whole numbers beyond 2⁵³ as Python's, where all are whole."""
    if not (np.abs(numbers) >= EXACT).any():
        return None
    values = text.to_list()
    if not all(value is None or re.fullmatch(r"[-+]?\d+", value) for value in values):
        return None
    return objects([None if value is None else int(value) for value in values])
