"""Named columns, and the header that they came from: a wrong header is found before the data are read.

Errors name the file, what was expected and what came.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gradnoise._types import AnyArray
from gradnoise.datasets.notation import PLAIN, Notation

MAX_COLUMNS = 20_000  # Hessian and gradient covariance are dense (D, D): beyond this they do not fit in memory
EXACT = 2.0**53  # beyond it not every whole number is a float64
# what programs write for "no value": the empty field, R, NumPy, pandas, spreadsheets, UCI
MISSING = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NAN", "<NA>", "?", "null", "NULL", "Null", "None", "NaT",
    "#N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How the text of a table is read.

    Attributes
    ----------
    separator, comment
        Of CSV files: one character between fields; what begins a line that is skipped, or None.
    codes
        What stands for a missing value besides `MISSING`, as text.
    notation
        How numbers are written.
    """

    separator: str = ","
    comment: str | None = None
    codes: tuple[str, ...] = ()
    notation: Notation = field(default=PLAIN)

    @property
    def given(self) -> bool:
        """Whether the user told how to read numbers that stand in text."""
        return bool(self.codes) or self.notation != PLAIN


class Column(NamedTuple):
    """One column: numbers as float64 (NaN where missing), everything else as objects (None where missing).

    `exact` are the whole numbers themselves, as objects, where float64 does not hold all of them.
    """

    name: str
    kind: str  # "number", "bool", "text", or the name of a type that no policy covers
    values: AnyArray
    exact: AnyArray | None = None

    @property
    def missing(self) -> AnyArray:
        """Where values are missing, (N,) bool."""
        if self.kind == "number":
            return np.isnan(self.values)
        return np.array([v is None for v in self.values], dtype=bool)

    def kept(self, rows: AnyArray) -> Column:
        """Return the rows with these numbers, or where a mask is true."""
        return self._replace(values=self.values[rows], exact=None if self.exact is None else self.exact[rows])


Wanted = dict[str, str | None]  # argument -> name of the column


def check_names(what: str, names: Sequence[str], wanted: Wanted, drop: Sequence[str] = ()) -> None:
    """Check the header: not too wide, no name twice, and the wanted columns (argument -> name) are there."""
    if len(names) > MAX_COLUMNS:
        msg = f"{what} has {len(names)} columns, more than {MAX_COLUMNS}: curvature and noise are dense (D, D) matrices. Select columns first."
        raise ValueError(msg)
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twice:
        msg = f"{what} has duplicate column names: {', '.join(map(repr, sorted(set(twice))[:5]))}. Rename them."
        raise ValueError(msg)
    for argument, name in [*wanted.items(), *(("drop", name) for name in drop)]:
        if name is not None and name not in seen:
            raise ValueError(_no_such_column(what, argument, name, names))
    unfit = next((name for name in names if not _can_be_written(name)), None)
    if unfit is not None:
        msg = f"{what} has the column name {unfit!r}, which holds a character that no file can hold. Rename it."
        raise ValueError(msg)
    given = [name for name in (*wanted.values(), *dict.fromkeys(drop)) if name is not None]
    if len(set(given)) < len(given):
        both = next(name for name in given if given.count(name) > 1)
        roles = [argument for argument, name in wanted.items() if name == both] + ["drop"] * (both in drop)
        msg = f"{' and '.join(roles)} must be different columns, got {both!r} for each."
        raise ValueError(msg)


def _can_be_written(name: str) -> bool:
    try:
        return b"\0" not in name.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _no_such_column(what: str, argument: str, name: str, names: Sequence[str]) -> str:
    folded = {other.casefold().strip(): other for other in names}
    near = [folded[m] for m in difflib.get_close_matches(name.casefold().strip(), folded, 5, 0.5)]
    listed = ", ".join(map(repr, near or names[:8])) + ("" if near or len(names) <= 8 else ", …")
    msg = f"{argument} must name a column of {what}, got {name!r}. {'Nearest' if near else 'Its columns'}: {listed}."
    if names and names[0].lstrip().startswith(("#", "%", "//")):
        mark = names[0].lstrip()[0] if names[0].lstrip()[0] != "/" else "//"
        return msg + f" The first line begins with {mark!r}: to skip such lines pass comment='{mark}'."
    if len(names) == 1 and any(mark in names[0] for mark in ",;\t|"):
        found = max(",;\t|", key=names[0].count)
        told = "tab" if found == "\t" else found
        return msg + f" The header holds another separator: pass separator='{told}'."
    if len(names) == 1 and len(names[0].split()) > 1 and name in names[0].split():
        return msg + " The header holds spaces between its names: pass separator='space'."
    if names and all(PLAIN.number(other) is not None for other in names):
        return msg + " The first line holds numbers only: the file needs a header line with names."
    return msg
