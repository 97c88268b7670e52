"""How numbers are written: decimal mark, mark between thousands, signs beside them."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gradnoise import _checks

DECIMALS = {"point": ".", "comma": ","}
THOUSANDS = {"none": "", "comma": ",", "point": ".", "space": " ", "apostrophe": "'"}
SIGNS = ("error", "drop")
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | {"\u2019": "'", "\u2212": "-"})
_BESIDE = r"[$€£¥₹₩₽¢%‰]|(?:USD|EUR|GBP|CHF|JPY|Rs\.?|kr\.?|R\$|US\$|A\$|C\$)"

_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:\.\d{3})+")  # 1.234 may be a thousand


@dataclass(frozen=True)
class Notation:
    """How a number is written: names from `DECIMALS` and `THOUSANDS`; `signs` "drop" takes away $, €, % … beside it.

    Examples
    --------
    >>> Notation().number("-1.5e3"), Notation("comma", "point").number("1.234,5"), Notation(signs="drop").number("42 %")
    (-1500.0, 1234.5, 42.0)
    >>> Notation().number("1,234") is None
    True
    """

    decimal: str = "point"
    thousands: str = "none"
    signs: str = "error"

    def number(self, text: str) -> float | None:
        """Return the number that the text is, or None."""
        whole = self.digits(text)
        return None if whole is None else float(whole)

    def digits(self, text: str) -> str | None:
        """Return the text as Python writes the number, or None where it is none."""
        text = text.translate(_SPACES).strip()
        if self.signs == "drop":
            text = _without_signs(text)
        found = _pattern(self.decimal, self.thousands).fullmatch(text)
        if found is None:
            return None
        grouped, mark = THOUSANDS[self.thousands], DECIMALS[self.decimal]
        if found["point"]:  # a plain number in a file whose other numbers have decimal commas
            return text
        return (text.replace(grouped, "") if grouped else text).replace(mark, ".")

    def options(self) -> list[str]:
        """Return what has to be passed for this notation, as arguments of `datasets.load`."""
        pairs = [(name, getattr(self, name), getattr(PLAIN, name)) for name in ("decimal", "thousands", "signs")]
        return [f"{name}='{value}'" for name, value, usual in pairs if value != usual]


def _without_signs(text: str) -> str:
    """Take currency and percent signs away; an amount in brackets is negative."""
    bare = re.sub(rf"^([-+]?)\s*(?:{_BESIDE})\s*|\s*(?:{_BESIDE})$", r"\1", text)
    inner = re.fullmatch(r"\((.*)\)", bare.strip())
    if inner is None:
        return bare.strip()
    return "-" + re.sub(rf"^(?:{_BESIDE})\s*|\s*(?:{_BESIDE})$", "", inner[1].strip())


@functools.cache
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    mark, group = re.escape(DECIMALS[decimal]), re.escape(THOUSANDS[thousands])
    power = r"(?:[eE][-+]?\d+)?"
    # two digits between marks, but the last three, is how lakhs are written: 12,34,567
    whole = rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{2,3}})*{group}\d{{3}}|\d+)" if group else r"\d+"
    written = rf"[-+]?(?:{whole}(?:{mark}\d*)?|{mark}\d+){power}"
    plain = r"(?P<point>(?!x)x)"  # nothing
    if decimal == "comma" and thousands != "point":  # but 1.234 may be a thousand
        plain = rf"(?P<point>(?![-+]?[1-9]\d{{0,2}}(?:\.\d{{3}})+$)[-+]?(?:\d+\.\d*|\.\d+){power})"
    return re.compile(rf"{plain}|{written}|[-+]?(?:inf|Inf|INF|infinity|Infinity)")


PLAIN = Notation()


def notation(decimal: str, thousands: str, signs: str) -> Notation:
    """Return a notation from arguments, each a name or the mark itself."""
    marks = {mark: name for name, mark in (DECIMALS | THOUSANDS).items() if mark} | {"’": "apostrophe"}
    wanted = Notation(
        _checks.one_of("decimal", marks.get(decimal, decimal), DECIMALS),
        _checks.one_of("thousands", marks.get(thousands, thousands), THOUSANDS),
        _checks.one_of("signs", signs, SIGNS),
    )
    if wanted.decimal == wanted.thousands:
        msg = f"decimal and thousands must be different marks, got {wanted.decimal!r} for each."
        raise ValueError(msg)
    return wanted


def _others() -> Iterator[Notation]:
    """Every notation, the simplest first; of two that read the same, the first is taken."""
    every = [Notation(*three) for three in itertools.product(DECIMALS, THOUSANDS, SIGNS)]
    possible = [one for one in every if one.decimal != one.thousands]
    yield from sorted(possible, key=lambda one: len(one.options()))


def likely_notation(texts: Iterable[str]) -> tuple[Notation, int]:
    """Return the notation in which most of the texts are numbers, and how many: '1,234' is a thousand where all have three digits."""
    texts = list(texts)
    best, most = PLAIN, sum(PLAIN.number(text) is not None for text in texts)
    for other in _others():
        count = sum(other.number(text) is not None for text in texts)
        better = count > most or (count == most and _grouping(best, other, texts))
        if better:
            best, most = other, count
    return best, most


def _grouping(best: Notation, other: Notation, texts: list[str]) -> bool:
    """Whether commas before groups of three digits are read as decimal commas by `best`, as thousands by `other`."""
    swapped = best.decimal == "comma" and best.thousands == "none"
    return swapped and other == Notation("point", "comma", best.signs) and any("," in text for text in texts)


def as_written(texts: list[str], wanted: Notation) -> Notation:
    """Return the notation of one column: in a file of decimal commas a column may have points, where one of them is surely decimal."""
    plain = [PLAIN.number(text) for text in texts]
    mixed = wanted.decimal == "comma" and None not in plain
    return PLAIN if mixed and any("." in text and not _GROUPED.fullmatch(text) for text in texts) else wanted
