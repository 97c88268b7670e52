"""What all figures share: one palette that colour-blind readers tell apart, axes without pyplot, numbers in words.

Colours follow Okabe and Ito (2008), darkened where they are too pale for a line on white. A page replaces each of these
values by a variable of its style sheet, so every one of them is used for one role only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gradnoise import _checks
from gradnoise._types import Array

INK = "#1b1f24"
MUTED = "#5b6470"
RULE = "#d3d9e0"
BLUE = "#0072b2"
ORANGE = "#d55e00"
AMBER = "#d99100"
GREEN = "#00896a"
PURPLE = "#a8518a"
SKY = "#3b9fd8"
PALETTE = {
    "ink": INK,
    "muted": MUTED,
    "rule": RULE,
    "blue": BLUE,
    "orange": ORANGE,
    "amber": AMBER,
    "green": GREEN,
    "purple": PURPLE,
    "sky": SKY,
}
# colour and line of each kind of posterior approximation: told apart by dashes as well
METHODS: dict[str, tuple[str, Any]] = {
    "corrected": (BLUE, "-"),
    "full": (ORANGE, "-"),
    "diagonal": (SKY, (0, (5, 2))),
    "scalar": (AMBER, (0, (5, 1.5, 1, 1.5))),
    "gaussian": (GREEN, (0, (3, 1.5))),
    "laplace": (PURPLE, (0, (1, 1.2))),
}
DOTS = (0, (1.5, 2))
SIZE = (4.3, 3.3)  # inches: a phone shows it at about full size
MANY = 60  # points beyond which markers and error bars give way to lines and bands
DECADES = 12  # a logarithmic axis shows at most so many: less is rounding error
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def blank(axes: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """Return `axes`, or new ones in a figure of their own, with thin frames and a quiet grid."""
    if axes is None:
        axes = Figure(figsize=size, layout="constrained").add_subplot()
        axes.figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.grid(True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes; the words are taken as they are, a `$` starts no formula."""
    axes.set_xlabel(x, color=INK, fontsize=10, parse_math=False)
    axes.set_ylabel(y, color=INK, fontsize=10, parse_math=False)


def legend(axes: Axes, columns: int = 2) -> None:
    """Put the key below the axes, where it covers no data; nothing where no line has a name."""
    if not axes.get_legend_handles_labels()[1]:
        return
    key = axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.47, -0.19),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=2.2,
        columnspacing=1.4,
    )
    for text in key.get_texts():
        text.set_parse_math(False)


def logarithmic(axes: Axes, which: str, *values: Array) -> None:
    """Make one axis logarithmic and fit it to the positive `values`; linear where there are none.

    Parameters
    ----------
    axes
        The axes.
    which
        "x" or "y".
    values
        Arrays of any shape; NaN is left out.
    """
    shown = np.concatenate([np.ravel(v) for v in values]) if values else np.empty(0)
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if not shown.size:
        return
    high = math.log10(shown.max())
    low = max(math.log10(shown.min()), high - DECADES)
    margin = 0.06 * (high - low) + 0.08
    limits = 10 ** (low - margin), 10 ** (high + margin)
    decades = high - low + 2 * margin
    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log", nonpositive="mask")
        axes.set_xlim(*limits)
    else:
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(*limits)
    between: tuple[float, ...] = (
        (1.0,) if decades > 2.7 else (1.0, 2.0, 5.0) if decades > 0.7 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    )
    axis.set_major_locator(LogLocator(subs=between, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def power(value: float) -> str:
    """Write a tick: plain between 0.001 and 9999, else as a power of ten.

    >>> power(0.02), power(300.0), power(1e-5), power(2e7)
    ('0.02', '300', '10⁻⁵', '2·10⁷')
    """
    if value <= 0 or 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10**exponent:.2g}"
    return ("" if mantissa == "1" else f"{mantissa}·") + "10" + str(exponent).translate(_SUPERSCRIPTS)


def counted(axes: Axes, count: int) -> None:
    """Let x run from 1 to `count` with ticks on whole numbers: it counts directions."""
    margin = max(0.5, 0.02 * count)
    axes.set_xlim(1 - margin, count + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def looks(kinds: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return colour and dashes of each method by name; the second of a kind has dots, a kind unknown here a muted line.

    Parameters
    ----------
    kinds
        Kind of each method by name, see `METHODS`.
    """
    out: dict[str, tuple[str, Any]] = {}
    for name, kind in kinds.items():
        colour, dashes = METHODS.get(kind, (MUTED, "-"))
        out[name] = (colour, DOTS) if (colour, dashes) in out.values() else (colour, dashes)
    return out


def marker(count: int, shape: str) -> str:
    """Return the marker shape, or none where there are too many points to tell apart."""
    return shape if count <= MANY else ""


def numbers(name: str, values: Iterable[float | None]) -> Array:
    """Return a float vector with NaN for None."""
    array = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if array.ndim != 1 or not array.size:
        msg = f"{name} must hold at least one number, got shape {array.shape}."
        raise ValueError(msg)
    return array


def column(name: str, records: Sequence[Mapping[str, Any]], key: str) -> Array:
    """Return `record[key]` of all records as a float vector, NaN for None.

    >>> column("directions", [{"posterior": 1.5}, {"posterior": None}], "posterior")
    array([1.5, nan])
    """
    for i, record in enumerate(records):
        if key not in record:
            msg = f"{name}[{i}] must have the key {key!r}, got {_checks.shown(sorted(record))}."
            raise ValueError(msg)
    return numbers(name, [record[key] for record in records])
