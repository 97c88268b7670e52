"""Tables as named columns: files are opened header first, so that a wrong file costs nothing.

Errors name the file, what was expected and what came.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray

MAX_COLUMNS = 20_000  # Hessian and gradient covariance are dense (D, D): beyond this they do not fit in memory
MISSING = ["NaN", "nan", "NA", "N/A", "n/a", "?", "null", "NULL", "None"]  # besides the empty field
EXTENSIONS = (".csv", ".csv.gz", ".parquet", ".npz")


class Column(NamedTuple):
    """One column: numbers as float64 (NaN where missing), everything else as objects (None where missing)."""

    name: str
    kind: str  # "number", "bool", "text", or the name of a type that no policy covers
    values: AnyArray

    @property
    def missing(self) -> AnyArray:
        """Where values are missing, (N,) bool."""
        if self.kind == "number":
            return np.isnan(self.values)
        return np.array([v is None for v in self.values], dtype=bool)

    def kept(self, rows: AnyArray) -> Column:
        return self._replace(values=self.values[rows])


def check_names(what: str, names: Sequence[str], wanted: dict[str, str | None]) -> None:
    """Check the header: not too wide, no name twice, and the wanted columns (argument -> name) are there."""
    if len(names) > MAX_COLUMNS:
        msg = f"{what} has {len(names)} columns, more than {MAX_COLUMNS}: curvature and noise are dense (D, D) matrices. Select columns first."
        raise ValueError(msg)
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twice:
        msg = f"{what} has duplicate column names: {', '.join(map(repr, sorted(set(twice))[:5]))}. Rename them."
        raise ValueError(msg)
    for argument, name in wanted.items():
        if name is not None and name not in seen:
            raise ValueError(_no_such_column(what, argument, name, names))
    given = [name for name in wanted.values() if name is not None]
    if len(set(given)) < len(given):
        both = next(name for name in given if given.count(name) > 1)
        roles = " and ".join(argument for argument, name in wanted.items() if name == both)
        msg = f"{roles} must be different columns, got {both!r} for each."
        raise ValueError(msg)


def _no_such_column(what: str, argument: str, name: str, names: Sequence[str]) -> str:
    folded = {other.casefold().strip(): other for other in names}
    near = [folded[m] for m in difflib.get_close_matches(name.casefold().strip(), folded, 5, 0.5)]
    listed = ", ".join(map(repr, near or names[:8])) + ("" if near or len(names) <= 8 else ", …")
    msg = f"{argument} must name a column of {what}, got {name!r}. {'Nearest' if near else 'Its columns'}: {listed}."
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return msg + " The header holds another separator: pass separator=';' (or '\\t')."
    if names and all(_is_number(other) for other in names):
        return msg + " The first line holds numbers only: the file needs a header line with names."
    return msg


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read(source: Any, wanted: dict[str, str | None], separator: str) -> tuple[str, list[Column], list[str]]:
    """Return what the source is called, its columns and notes. `source` is a path or a data frame."""
    if not isinstance(source, (str, os.PathLike)):
        return _read_frame(source, wanted)
    path = Path(source)
    what = repr(path.name)
    if not path.exists():
        msg = f"no file at {str(path)!r} (working directory {os.getcwd()!r})."
        raise FileNotFoundError(msg)
    if not path.is_file():
        msg = f"{str(path)!r} must be a file, but is a directory."
        raise IsADirectoryError(msg)
    extension = next((e for e in sorted(EXTENSIONS, key=len, reverse=True) if path.name.lower().endswith(e)), None)
    if extension is None:
        msg = f"{what} must end in one of {', '.join(EXTENSIONS)}. Other formats: read it yourself and pass the data frame."
        raise ValueError(msg)
    if path.stat().st_size == 0:
        msg = f"{what} is empty (0 bytes)."
        raise ValueError(msg)
    if extension == ".npz":
        return what, *_read_npz(path, what, wanted)
    if extension == ".parquet":
        return what, _read_parquet(path, what, wanted), []
    return what, _read_csv(path, what, wanted, separator), []


def _read_csv(path: Path, what: str, wanted: dict[str, str | None], separator: str) -> list[Column]:
    import polars as pl

    if not isinstance(separator, str) or len(separator) != 1:
        msg = f"separator must be one character, got {_checks.shown(separator)}."
        raise ValueError(msg)
    check_names(what, _csv_header(path, what, separator), wanted)
    try:
        frame = pl.read_csv(
            path, separator=separator, infer_schema_length=None, null_values=MISSING, raise_if_empty=False
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(_unreadable(what, "CSV", error)) from error
    return _columns(frame)


def _csv_header(path: Path, what: str, separator: str) -> list[str]:
    """Return the names in the first line, reading no more than it."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            names = next(csv.reader(text, delimiter=separator), [])
    except UnicodeDecodeError as error:
        msg = f"{what} is not UTF-8: {error.reason} at byte {error.start} of its beginning. Convert it: iconv -f latin1 -t utf8."
        raise ValueError(msg) from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(_unreadable(what, "CSV", error)) from error
    if not any(name.strip() for name in names):
        msg = f"{what} is empty: its first line, the header, has no names."
        raise ValueError(msg)
    return names


def _read_parquet(path: Path, what: str, wanted: dict[str, str | None]) -> list[Column]:
    import polars as pl

    try:
        names = list(pl.read_parquet_schema(path))
        check_names(what, names, wanted)
        return _columns(pl.read_parquet(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(_unreadable(what, "Parquet", error)) from error


def _unreadable(what: str, kind: str, error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"{what} cannot be read as {kind}: {_checks.shown(first, 160)}."


def _read_npz(path: Path, what: str, wanted: dict[str, str | None]) -> tuple[list[Column], list[str]]:
    """Arrays of the target's length are features (trailing axes flattened); `feature_names` names the columns."""
    shapes = _npz_shapes(path, what)
    check_names(what, list(shapes), wanted)
    length = shapes[str(wanted["target"])][:1]
    if any(len(shapes[name]) != 1 for name in wanted.values() if name is not None):
        msg = f"{what}: target, weights and offset must be arrays of shape (N,), got {', '.join(f'{n}: {shapes[n]}' for n in wanted.values() if n)}."
        raise ValueError(msg)
    taken = [name for name, shape in shapes.items() if shape[:1] == length and name != "feature_names"]
    width = sum(int(np.prod(shapes[name][1:])) for name in taken)
    if width > MAX_COLUMNS:
        check_names(what, [str(i) for i in range(width)], {})
    columns: list[Column] = []
    with np.load(path, allow_pickle=False) as arrays:
        for name in taken:
            flat = arrays[name].reshape(length[0], int(np.prod(shapes[name][1:])))
            labels = [name] if len(shapes[name]) == 1 else [f"{name}[{i}]" for i in range(flat.shape[1])]
            if "feature_names" in shapes and shapes["feature_names"] == (flat.shape[1],) and len(shapes[name]) == 2:
                labels = [str(label) for label in arrays["feature_names"]]
            columns += [_from_array(label, flat[:, i]) for i, label in enumerate(labels)]
    check_names(what, [column.name for column in columns], wanted)
    left = [f"{name} {shape}" for name, shape in shapes.items() if name not in taken and name != "feature_names"]
    notes = [f"Left out arrays of another length than the target: {', '.join(left)}."] if left else []
    return columns, notes


def _npz_shapes(path: Path, what: str) -> dict[str, tuple[int, ...]]:
    """Return name -> shape from the headers of the arrays, without reading them."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    reader = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = reader(file)
                if dtype.hasobject:
                    msg = f"{what}: array {member.removesuffix('.npy')!r} holds Python objects, which are not read. Save numbers or strings."
                    raise TypeError(msg)
                shapes[member.removesuffix(".npy")] = tuple(shape)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ValueError(_unreadable(what, "NPZ", error)) from error
    return shapes


def _from_array(name: str, values: AnyArray) -> Column:
    if values.dtype.kind == "b":
        return Column(name, "bool", values.astype(object))
    if values.dtype.kind in "iuf":
        return Column(name, "number", values.astype(np.float64))
    kind = "text" if values.dtype.kind == "U" else str(values.dtype)
    return Column(name, kind, np.array(values.tolist(), dtype=object))


def _read_frame(source: Any, wanted: dict[str, str | None]) -> tuple[str, list[Column], list[str]]:
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
    check_names(what, [str(name) for name in names], wanted)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    return what, _columns(frame.to_native()), []


def _columns(native: Any) -> list[Column]:
    import narwhals as nw

    frame = nw.from_native(native, eager_only=True)
    return [_from_series(str(name), series) for name, series in zip(frame.columns, frame.iter_columns(), strict=True)]


def _from_series(name: str, series: Any) -> Column:
    import narwhals as nw

    dtype = series.dtype
    if dtype.is_numeric():
        values = series.cast(nw.Float64).to_numpy()
        return Column(name, "number", np.asarray(values, dtype=np.float64))
    values = np.array([*series.to_list(), None], dtype=object)[:-1]  # the last None keeps NumPy from guessing a shape
    values[series.is_null().to_numpy().astype(bool)] = None  # pandas has three ways to say null
    if dtype == nw.Boolean:
        return Column(name, "bool", values)
    held = {type(v) for v in values if v is not None}
    if dtype in (nw.String, nw.Categorical, nw.Enum) or held <= {str}:
        return Column(name, "text", values)
    return Column(name, str(dtype), values)
