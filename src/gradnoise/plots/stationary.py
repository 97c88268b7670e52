"""Stationary variance of SGD along the eigenvectors of the curvature: predictions, simulation, posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gradnoise._types import Array
from gradnoise.plots import style

# key of a direction's record, colour, dashes, width, words
LINES: tuple[tuple[str, str, Any, float, str], ...] = (
    ("posterior", style.GREEN, (0, (1, 1.2)), 1.6, "posterior"),
    ("continuous", style.AMBER, (0, (5, 2)), 1.4, "predicted, continuous time"),
    ("discrete", style.BLUE, "-", 1.6, "predicted, discrete time"),
    ("shuffled_predicted", style.PURPLE, "-", 1.6, "predicted, shuffled"),
)
POINTS: tuple[tuple[str, str, str, str, str], ...] = (
    ("simulated", "simulated_standard_error", style.BLUE, "o", "simulated"),
    ("shuffled_simulated", "shuffled_standard_error", style.PURPLE, "s", "simulated, shuffled"),
)


def stationary_variances(directions: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw the stationary variance along every eigenvector of H: lines predicted, points simulated with two standard errors.

    Parameters
    ----------
    directions
        D records with the keys `continuous`, `discrete`, `posterior`, `simulated`, `simulated_standard_error`,
        `shuffled_predicted`, `shuffled_simulated`, `shuffled_standard_error` (parameter²; None where not computed).
        A column without any number is left out.
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        x counts the directions from 1; y is logarithmic.
    """
    axes = style.blank(axes, (5.0, 4.2))
    place, shown = np.arange(1, len(directions) + 1), []
    for key, colour, dashes, width, text in LINES:
        values = style.column("directions", directions, key)
        shown.append(values)
        if np.isfinite(values).any():
            axes.plot(place, values, color=colour, ls=dashes, lw=width, marker=_tick(len(place)), ms=13, mew=width, label=text)
    for key, error, colour, shape, text in POINTS:
        values = style.column("directions", directions, key)
        shown.append(values)
        _points(axes, place, values, 2 * style.column("directions", directions, error), colour, shape, text)
    style.logarithmic(axes, "y", *shown)
    style.whole(axes)
    style.label(axes, "eigendirection of the curvature, as in the table", "stationary variance, parameter²")
    style.legend(axes)
    return axes


def variance_ratios(directions: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw simulated over predicted (exact, discrete time) variance along every eigenvector, with two standard errors.

    Parameters
    ----------
    directions
        As in `stationary_variances`.
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Points at 1 where theory holds; y is logarithmic if any ratio is off by more than a half.
    """
    axes = style.blank(axes)
    place, shown = np.arange(1, len(directions) + 1), []
    axes.axhline(1, color=style.MUTED, lw=1, ls="--")
    for (key, error, colour, shape, text), against in zip(POINTS, ("discrete", "shuffled_predicted"), strict=True):
        predicted = style.column("directions", directions, against)
        ratio = style.column("directions", directions, key) / predicted
        spread = 2 * style.column("directions", directions, error) / predicted
        words = "independent minibatches" if key == "simulated" else "shuffled epochs"
        _points(axes, place, ratio, spread, colour, shape, words, dodge=0.12 if key == "simulated" else -0.12)
        del text
        shown += [ratio, ratio + spread]
    inside = np.concatenate(shown)
    if np.nanmax(inside, initial=1) > 1.5 or np.nanmin(inside, initial=1) < 0.67:
        style.logarithmic(axes, "y", inside, np.ones(1))
    style.whole(axes)
    style.label(axes, "eigendirection of the curvature, as in the table", "simulated / predicted variance")
    style.legend(axes)
    return axes


def predicted_against_simulated(directions: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw simulated against predicted variance on logarithmic axes, with two standard errors and the identity line.

    Parameters
    ----------
    directions
        As in `stationary_variances`: independent minibatches against the exact discrete-time prediction, and shuffled
        epochs against theirs, where computed.
    axes
        Where to draw; None makes a square figure.

    Returns
    -------
    Axes
        Both axes in parameter².
    """
    axes = style.blank(axes, (5.0, 4.8))
    across, along = [], []
    for (key, error, colour, shape, _), against in zip(POINTS, ("discrete", "shuffled_predicted"), strict=True):
        predicted = style.column("directions", directions, against)
        simulated = style.column("directions", directions, key)
        words = "independent minibatches" if key == "simulated" else "shuffled epochs"
        spread = 2 * style.column("directions", directions, error)
        _points(axes, predicted, simulated, spread, colour, shape, words, joined=False)
        across.append(predicted)
        along.append(simulated)
    style.logarithmic(axes, "x", *across)
    style.logarithmic(axes, "y", *along)
    axes.axline((1, 1), (10, 10), color=style.MUTED, lw=1, ls="--", label="equal")
    style.label(axes, "predicted stationary variance, parameter²", "simulated stationary variance, parameter²")
    style.legend(axes)
    return axes


def _points(
    axes: Axes,
    x: Array,
    values: Array,
    spread: Array,
    colour: str,
    shape: str,
    words: str,
    *,
    dodge: float = 0.0,
    joined: bool = True,
) -> None:
    """Draw points with error bars; beyond `style.MANY`, a thin line in a band."""
    if not np.isfinite(values).any():
        return
    if values.size <= style.MANY or not joined:
        size = 4.5 if values.size <= style.MANY else 2.0
        axes.errorbar(
            x + dodge if values.size > 1 else x, values, yerr=np.nan_to_num(spread), fmt=shape, color=colour, ms=size, elinewidth=1, mfc="none", label=words
        )  # fmt: skip
        return
    axes.plot(x, values, color=colour, lw=0.7, alpha=0.8, label=words)
    axes.fill_between(x, values - spread, values + spread, color=colour, alpha=0.25, lw=0)


def _tick(count: int) -> str:
    """Return a dash as marker where a line has too few points to be one."""
    return "_" if count <= 3 else ""
