"""CSV files: header first, then the whole text, with what goes wrong in such files told by name."""

from __future__ import annotations

import csv
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradnoise import _checks
from gradnoise.datasets import files
from gradnoise.datasets.columns import MISSING, Column, Reading, Wanted, check_names
from gradnoise.datasets.frames import columns_of
from gradnoise.datasets.notation import PLAIN

SEPARATORS = {"\\t": "\t", "tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}
LONGEST_LINE = 1 << 22


def separator_of(value: Any) -> str:
    """Return the separator: one ASCII character, or a word for it."""
    mark = SEPARATORS.get(value, value) if isinstance(value, str) else value
    if not isinstance(mark, str) or len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0':
        msg = f"separator must be one ASCII character (or 'tab' or 'space'), got {_checks.shown(value)}."
        raise ValueError(msg)
    return mark


def comment_of(value: Any) -> str | None:
    """Return what begins a line that is skipped, or None."""
    if value is not None and not (
        isinstance(value, str) and 0 < len(value) <= 8 and value.isascii() and value.isprintable()
    ):
        msg = f"comment must be the few characters that begin a line to be skipped, such as '#', got {_checks.shown(value)}."
        raise ValueError(msg)
    return value


def read_text(
    path: Path, what: str, wanted: Wanted, drop: tuple[str, ...], reading: Reading
) -> tuple[list[Column], list[str]]:
    """Return the columns of a CSV file and notes."""
    names = _header(path, what, reading)
    check_names(what, [name for name in names if name], wanted, drop)
    try:
        text = files.text_of(path, what)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(_damaged(path, what, error)) from error
    text = text.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")  # line ends of old Macs
    frame, names, notes = _frame(text, what, names, reading, wanted["target"])
    frame.columns = _complete(names)
    kept = frame.drop(list(drop))
    empty = kept.select(kept.columns[0]).to_series().is_null() if kept.width == 1 else _all_null(kept)
    if empty.any():
        notes.append(f"Skipped {int(empty.sum())} rows without any value.")
        kept = kept.filter(~empty)
    return columns_of(kept, reading), notes


def _all_null(frame: Any) -> Any:
    import polars as pl

    return frame.select(pl.all_horizontal(pl.all().is_null())).to_series()


def _complete(names: list[str]) -> list[str]:
    """Give columns without a name one that says so."""
    return [name or f"column {i + 1} (no name)" for i, name in enumerate(names)]


def _header(path: Path, what: str, reading: Reading) -> list[str]:
    """Return the names in the first line, stripped, reading no more than it."""
    try:
        with files.opened(path) as raw:
            files.check_beginning(raw.read(512), what)
            raw.seek(0)
            with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
                names = next(csv.reader(_lines(text, what, reading.comment), delimiter=reading.separator), [])
    except UnicodeDecodeError as error:
        msg = f"{what} is not UTF-8: {error.reason} at byte {error.start} of its beginning. Convert it: iconv -f latin1 -t utf8."
        raise ValueError(msg) from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(_damaged(path, what, error)) from error
    names = [name.strip() for name in names]
    if all(len(name) > 2 and name[0] == name[-1] == "'" and "'" not in name[1:-1] for name in names):
        names = [name[1:-1] for name in names]
    if not any(names):
        msg = f"{what} is empty: its first line, the header, has no names."
        raise ValueError(msg)
    if names[0].lower().startswith("sep=") and not any(names[1:]):
        mark = names[0][4:5] or reading.separator
        msg = f"{what} begins with a spreadsheet's note of its separator: pass comment='sep=' and separator={mark!r}."
        raise ValueError(msg)
    return names


def _lines(text: io.TextIOWrapper, what: str, comment: str | None) -> Iterator[str]:
    """Yield the lines that are neither a comment nor, before the header, blank."""
    begun = False
    for line in iter(lambda: text.readline(LONGEST_LINE), ""):
        if len(line) == LONGEST_LINE:
            msg = f"{what} has a first line of more than {LONGEST_LINE:,} characters, which is no header."
            raise ValueError(msg)
        if (comment and line.startswith(comment)) or not (begun or line.strip()):
            continue
        begun = True
        yield line


def _frame(
    text: bytes, what: str, names: list[str], reading: Reading, target: str | None
) -> tuple[Any, list[str], list[str]]:
    """Return the polars frame, the names of its columns and notes; a trailing separator, or R's row names, may widen it."""
    import polars as pl

    panic = getattr(pl.exceptions, "PanicException", pl.exceptions.PolarsError)  # polars panics on some broken files
    options: dict[str, Any] = {
        "separator": reading.separator, "comment_prefix": reading.comment, "null_values": [*MISSING[1:], *reading.codes],
        "infer_schema_length": None, "infer_schema": reading.notation == PLAIN, "raise_if_empty": False,
    }  # fmt: skip
    try:
        width = _first_row(text, reading)
        if width == len(names) + 1 and reading.comment is None and "\n" not in "".join(names):
            wide = pl.read_csv(text, has_header=False, skip_rows=1, **options)
            if wide.width == width and wide.height:
                if wide[wide.columns[-1]].is_null().all():
                    return wide.drop(wide.columns[-1]), names, []
                return (
                    wide,
                    ["", *names],
                    ["The rows have one field more than the header: the first is taken as the name of the row."],
                )
        heading = pl.read_csv(text, n_rows=0, **options).columns
        # labels keep their text: 01 and 1 are numbers only where the target is one
        labels = {heading[names.index(target)]: pl.String} if target in names and len(heading) == len(names) else None
        frame = pl.read_csv(text, schema_overrides=labels, **options)
    except (pl.exceptions.PolarsError, OSError, panic) as error:
        raise ValueError(_unreadable(text, what, names, reading, error)) from error
    if frame.width != len(names):
        raise ValueError(_unreadable(text, what, names, reading, None))
    return frame, names, []


def _rows(text: bytes, reading: Reading, count: int) -> Iterator[list[str]]:
    """Yield the first rows below the header, split as a CSV reader does."""
    lines = io.StringIO(text[:LONGEST_LINE].decode("utf-8", "replace"), newline="")
    wanted = (line for line in lines if not (reading.comment and line.startswith(reading.comment)))
    try:
        rows = csv.reader(wanted, delimiter=reading.separator)
        yield from itertools.islice((row for row in rows if row), 1, count + 1)
    except csv.Error:
        return


def _first_row(text: bytes, reading: Reading) -> int:
    return len(next(_rows(text, reading, 1), []))


def _unreadable(text: bytes, what: str, names: list[str], reading: Reading, error: BaseException | None) -> str:
    """Say what is wrong: the encoding, or the first row with too many fields, else what polars says."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return (
            f"{what} cannot be read as CSV: it is not UTF-8 (byte {wrong.start}). Convert it: iconv -f latin1 -t utf8."
        )
    for number, row in enumerate(_rows(text, reading, 100_000), start=1):
        if len(row) > len(names):
            told = f"{what} cannot be read as CSV: row {number} has {len(row)} fields, the header {len(names)}."
            if reading.separator == ",":
                told += " Text with commas, and numbers with commas in them, must stand in quotes; or take another separator: separator=';'."
            return told
    first = next(iter(str(error or "").splitlines()), "") or "its header and its rows do not fit together"
    return f"{what} cannot be read as CSV: {_checks.shown(first, 160)}."


def _damaged(path: Path, what: str, error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    told = f"{what} cannot be read as CSV: {_checks.shown(first, 160)}."
    if path.name.lower().endswith(".gz"):
        told += " It is no whole gzip file; plain text must have the ending .csv."
    return told
