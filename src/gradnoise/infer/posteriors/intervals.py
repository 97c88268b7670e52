"""Credible intervals of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from gradnoise._text import placed
from gradnoise._types import Array
from gradnoise.infer.posteriors.predictive import tails

PLACES = ("mean", "low", "high")  # columns whose digits end where those of a standard deviation do


@dataclass(frozen=True, eq=False)
class Intervals:
    """Equal-tailed credible intervals, one a parameter; ``low, high = ...`` unpacks them, `print` shows a table.

    Attributes
    ----------
    names
        Parameters.
    low, high
        Ends (D,): the quantiles (1 - level)/2 and (1 + level)/2.
    level
        Probability between them.
    """

    names: tuple[str, ...]
    low: Array = field(repr=False)
    high: Array = field(repr=False)
    level: float

    def __iter__(self) -> Iterator[Array]:
        return iter((self.low, self.high))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table as one dict a parameter."""
        return [
            {"parameter": name, "low": float(low), "high": float(high)}
            for name, low, high in zip(self.names, self.low, self.high, strict=True)
        ]

    def __str__(self) -> str:
        ends = {"low": percent(self.level)[0], "high": percent(self.level)[1]}
        return table(self.rows(), ends, {}, (self.high - self.low) / 3)


def table(rows: list[dict[str, Any]], heads: dict[str, str], form: dict[str, str], spreads: Array | None = None) -> str:
    """Return rows of numbers behind a first column of names as text; `heads` renames columns, `form` formats them.

    With `spreads`, one a row, places (`PLACES`) have the digits that these leave them.
    """
    first, *columns = rows[0]
    width = max(len(first), *(len(row[first]) for row in rows))
    lines = [" ".join([f"{first:<{width}}", *(f"{heads.get(c, c):>12}" for c in columns)])]
    for i, row in enumerate(rows):
        told = {} if spreads is None else {c: placed(row[c], float(spreads[i])) for c in columns if c in PLACES}
        cells = [f"{told.get(c) or format(row[c], form.get(c, '.4g')):>12}" for c in columns]
        lines.append(" ".join([f"{row[first]:<{width}}", *cells]))
    return "\n".join(lines)


def percent(level: float) -> tuple[str, str]:
    """Return the names of an interval's ends: 0.9 -> ("5%", "95%")."""
    tail = 50 * (1 - level)
    return f"{tail:.4g}%", f"{100 - tail:.6g}%"


def intervals_of(posterior: Any, level: float) -> Intervals:
    """Return equal-tailed intervals, of the Gaussian law itself where it is known."""
    probabilities = tails(level)
    if posterior.exact:
        sd = np.sqrt(np.diag(posterior.covariance))
        low, high = posterior.mean + ndtri(probabilities)[:, None] * sd
    else:
        low, high = np.quantile(np.asarray(posterior.draws, np.float64), probabilities, axis=(0, 1))
    return Intervals(posterior.names, low, high, float(level))
