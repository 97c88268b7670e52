"""What a column of text really holds: numbers in another notation, codes for missing values, dates, names of rows."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from gradnoise.datasets.columns import Column, Reading
from gradnoise.datasets.notation import PLAIN, likely_notation

CODES = {
    ".", "..", "...", "-", "--", "---", "–", "—", "*", "**", "#", "!", "??", "na", "n.a.", "n.a", "nil", "none", "nd", "n.d.", "nr",
    "missing", "unknown", "unk", "undefined", "no data", "not available", "not applicable", "void", "blank", "999?", "x",
}  # fmt: skip
SENTINELS = tuple(sign * code for code in (9, 99, 999, 9999, 99999, 999999) for sign in (1, -1))
SAMPLE = 1000  # levels that tell the notation
FEW = 10  # text with more levels than this, and than half of the rows, tells one row from another and no more
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[ap]m)?(?:\s*(?:z|utc|gmt|[-+]\d{2}:?\d{2}))?"
_DAY = "|".join((
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}", r"\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2})", rf"\d{{1,2}}[- ]?{_MONTH}[- ,]*\d{{2,4}}",
    rf"{_MONTH}[- ]\d{{1,2}}[-, ]+\d{{4}}", rf"{_MONTH}[- ]\d{{2,4}}", r"\d{4}[-/](?:0[1-9]|1[0-2])", r"\d{4}[- ]?q[1-4]", r"q[1-4][- ]\d{4}",
))  # fmt: skip
DATE = re.compile(
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(?:{_DAY})(?:[t ,]+{_CLOCK})?|{_CLOCK}", re.IGNORECASE
)
UNIT = re.compile(r"[-+]?\d+(?:\.\d*)?\s*([A-Za-zµ°²³/]+)")


class Oddity(NamedTuple):
    """What a text column is, what helps, and whether to one-hot encode it would be wrong."""

    told: str
    stops: bool


def oddity_of(column: Column, reading: Reading, *, feature: bool = True) -> Oddity | None:
    """Return what is odd about a text column without missing values, or None where it holds categories.

    A `feature` may be left out; a target, weights or an offset must be another column.
    """
    counts = Counter(str(value) for value in column.values)
    total, name = sum(counts.values()), column.name
    if reading.notation == PLAIN and all(PLAIN.number(text) is not None for text in counts):
        return Oddity(
            f"{name!r} holds numbers that are stored as text, such as {next(iter(counts))!r}: convert the column to numbers.",
            False,
        )
    notation, _ = likely_notation(list(counts)[:SAMPLE])
    odd = Counter({text: count for text, count in counts.items() if notation.number(text) is None})
    numeric = total - sum(odd.values())
    if 2 * numeric >= total and numeric:
        return _numbers(column, counts, odd, notation, reading)
    dates = sum(count for text, count in counts.items() if DATE.fullmatch(text))
    if 2 * dates > total:
        example = next(text for text in counts if DATE.fullmatch(text))
        way = f"leave it out (drop={name!r}), or turn" if feature else "choose another column, or turn"
        return Oddity(f"{name!r} holds dates or times such as {example!r}: {way} it into numbers first.", True)
    units = Counter(found[1] for text in counts if (found := UNIT.fullmatch(text)))
    if units and 2 * units.most_common(1)[0][1] > len(counts):
        unit = units.most_common(1)[0][0]
        return Oddity(f"{name!r} holds numbers with the unit {unit!r}: write the numbers alone.", len(counts) > 2 * FEW)
    if tells_rows(len(counts), total):
        return Oddity(
            f"{name!r} has {len(counts)} different values in {total} rows, such as {column.values[0]!r}: names or numbers of rows. {f'Leave it out (drop={name!r})' if feature else 'Choose another column'}.",
            True,
        )
    return None


def tells_rows(levels: int, rows: int) -> bool:
    """Whether so many levels in so many rows are names of rows, not categories."""
    return (levels == rows and rows >= 5) or (levels > FEW and 2 * levels > rows)


def _numbers(column: Column, counts: Counter[str], odd: Counter[str], notation: object, reading: Reading) -> Oddity:
    """Tell of a column of numbers: in another notation than the one that is read, or with something between them."""
    name, total = column.name, sum(counts.values())
    other = [option for option in notation.options() if option not in reading.notation.options()]  # type: ignore[attr-defined]
    changed = next((text for text in counts if text not in odd and reading.notation.number(text) is None), None)
    told, remedies = f"{name!r} holds numbers", []
    if changed is not None:
        told += f" such as {changed!r}"
        remedies.append(" and ".join(other) or _less(reading))
    known = all(text.casefold() in CODES for text in odd)
    if odd:
        shown = [text for text, _ in odd.most_common(5)]
        told += (
            f", but {', '.join(map(repr, shown))}{' …' if len(odd) > 5 else ''} in {sum(odd.values())} of {total} rows"
        )
        if any(text[0] in "<>" for text in odd):
            remedies.append(f"a number for such limits, or drop={name!r}")
        elif len(odd) <= 5:
            means = "it stands for a missing value" if len(odd) == 1 else "these stand for missing values"
            remedies.append(f"missing_codes={','.join(shown)!r} if {means}")
    told += ": pass " + ", and ".join(remedies) + "." if remedies else ": correct them."
    levels = len(counts) - len(odd)
    return Oddity(told, changed is not None or known or levels > 2 * FEW)


def _less(reading: Reading) -> str:
    """Return the remedy where the usual notation reads what the wanted one does not."""
    if reading.notation.decimal == "comma" and reading.notation.thousands != "point":
        return "thousands='point' if the point stands between thousands"
    return "decimal='point'" if reading.notation.decimal == "comma" else "thousands='none'"


def code_in_numbers(column: Column) -> str:
    """Say where a column of numbers seems to hold a code such as -999: repeated, extreme, and far from all others."""
    values, counts = np.unique(column.values[~np.isnan(column.values)], return_counts=True)
    for at, rest in ((0, values[1:]), (-1, values[:-1])):
        if len(values) > 3 and values[at] in SENTINELS and counts[at] > 1:
            gap = abs(values[at] - (rest[0] if at == 0 else rest[-1]))
            if gap > 1.5 * (rest[-1] - rest[0]):
                code = f"{values[at]:.0f}"
                return (
                    f"Caution: {column.name!r} holds {code} in {counts[at]} of {len(column.values)} rows, far from all other values "
                    f"({rest[0]:g} to {rest[-1]:g}): if it stands for a missing value, pass missing_codes='{code}'."
                )
    return ""
