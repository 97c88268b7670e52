"""Stationary variance of SGD along the eigenvectors of the curvature: predictions, simulation, posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from gradnoise import _checks
from gradnoise._types import AnyArray, Array
from gradnoise.plots import style

# key of a direction's record, colour, dashes, width, words
LINES: tuple[tuple[str, str, Any, float, str], ...] = (
    ("posterior", style.GREEN, (0, (1, 1.2)), 1.6, "posterior"),
    ("continuous", style.AMBER, (0, (5, 2)), 1.4, "continuous time"),
    ("discrete", style.SKY, (0, (5, 1.5, 1, 1.5)), 1.4, "discrete, at the mode"),
    ("averaged", style.BLUE, "-", 1.6, "discrete, averaged"),
    ("shuffled_predicted", style.ORANGE, (0, (5, 1.5, 1, 1.5)), 1.4, "shuffled, at the mode"),
    ("shuffled_averaged", style.PURPLE, "-", 1.6, "shuffled, averaged"),
)


class Group(NamedTuple):
    """One way of drawing batches: keys of a direction's record and of the section, and how its points look.

    `against` is the section's key that names the prediction to compare with, `predicted` what it is if the section has none.
    """

    simulated: str
    error: str
    against: str
    predicted: str
    colour: str
    shape: str
    words: str
    dodge: float


GROUPS = (
    Group(
        "simulated",
        "simulated_standard_error",
        "compared_with",
        "discrete",
        style.BLUE,
        "o",
        "independent minibatches",
        0.12,
    ),
    Group(
        "shuffled_simulated",
        "shuffled_standard_error",
        "shuffled_compared_with",
        "shuffled_predicted",
        style.PURPLE,
        "s",
        "shuffled epochs",
        -0.12,
    ),
)


def stationary_variances(stationary: Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """Draw the stationary variance along every eigenvector of H: lines predicted, points simulated with two standard errors.

    Parameters
    ----------
    stationary
        The section of a report: `directions` holds D records with the keys `continuous`, `discrete` (curvature and noise at
        the mode), `averaged` (both averaged over the law itself), `posterior`, `simulated`, `simulated_standard_error`,
        `shuffled_predicted`, `shuffled_averaged`, `shuffled_simulated`, `shuffled_standard_error` (parameter²; None where
        not computed). A column without any number is left out.
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        x counts the directions from 1; y is logarithmic.
    """
    axes = style.blank(axes, (4.3, 4.1))
    directions = _directions(stationary)
    place, shown = np.arange(1.0, len(directions) + 1), []
    for key, colour, dashes, width, text in LINES:
        values = style.column("directions", directions, key)
        shown.append(values)
        if np.isfinite(values).any():
            thin = width if len(place) <= style.MANY else width / 2
            axes.plot(
                place, values, color=colour, ls=dashes, lw=thin, marker=_tick(len(place)), ms=13, mew=width, label=text
            )
    for group in GROUPS:
        values = style.column("directions", directions, group.simulated)
        shown.append(values)
        _points(
            axes,
            place,
            values,
            2 * style.column("directions", directions, group.error),
            group,
            f"simulated, {group.words.split()[0]}",
        )
    style.logarithmic(axes, "y", *shown)
    style.counted(axes, len(place))
    style.label(axes, "eigendirection of the curvature, as in the table", "stationary variance, parameter²")
    style.legend(axes)
    return axes


def variance_ratios(stationary: Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """Draw simulated over predicted (discrete time) variance along every eigenvector, with two standard errors.

    Parameters
    ----------
    stationary
        As in `stationary_variances`; `compared_with` and `shuffled_compared_with` name the prediction to divide by
        (default: `discrete` and `shuffled_predicted`).
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Points at 1 where theory holds; y is logarithmic if any ratio is off by more than a half.
    """
    axes = style.blank(axes, (4.3, 3.7))
    directions = _directions(stationary)
    place, shown = np.arange(1.0, len(directions) + 1), []
    axes.axhline(1, color=style.MUTED, lw=1, ls="--")
    for group in GROUPS:
        predicted = style.column("directions", directions, stationary.get(group.against) or group.predicted)
        predicted[predicted == 0] = np.nan  # no noise, no ratio
        ratio = style.column("directions", directions, group.simulated) / predicted
        spread = 2 * style.column("directions", directions, group.error) / predicted
        aside = group.dodge if len(place) <= style.MANY else 0.0
        _points(axes, place + aside, ratio, spread, group, group.words)
        shown += [ratio, ratio + spread]
    inside = np.concatenate(shown)
    if np.nanmax(inside, initial=1) > 1.5 or np.nanmin(inside, initial=1) < 0.67:
        style.logarithmic(axes, "y", inside, np.ones(1))
    style.counted(axes, len(place))
    style.label(axes, "eigendirection of the curvature, as in the table", "simulated / predicted variance")
    style.legend(axes)
    return axes


def predicted_against_simulated(stationary: Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """Draw simulated against predicted variance on logarithmic axes, with two standard errors and the identity line.

    Parameters
    ----------
    stationary
        As in `variance_ratios`: independent minibatches against their prediction in discrete time, and shuffled epochs
        against theirs, where computed.
    axes
        Where to draw; None makes a square figure.

    Returns
    -------
    Axes
        Both axes in parameter².
    """
    axes = style.blank(axes, (4.3, 4.3))
    directions = _directions(stationary)
    across, along = [], []
    for group in GROUPS:
        predicted = style.column("directions", directions, stationary.get(group.against) or group.predicted)
        simulated = style.column("directions", directions, group.simulated)
        spread = 2 * style.column("directions", directions, group.error)
        _points(axes, predicted, simulated, spread, group, group.words, joined=False)
        across.append(predicted)
        along.append(simulated)
    style.logarithmic(axes, "x", *across)
    style.logarithmic(axes, "y", *along)
    axes.axline((1, 1), (10, 10), color=style.MUTED, lw=1, ls="--", label="equal")
    style.label(axes, "predicted stationary variance, parameter²", "simulated stationary variance, parameter²")
    style.legend(axes)
    return axes


def _directions(stationary: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if "directions" not in stationary:
        msg = f"stationary must have the key 'directions', got {_checks.shown(sorted(stationary))}."
        raise ValueError(msg)
    directions: Sequence[Mapping[str, Any]] = stationary["directions"]
    return directions


def _points(
    axes: Axes, x: AnyArray, values: Array, spread: Array, group: Group, words: str, *, joined: bool = True
) -> None:
    """Draw points with error bars; beyond `style.MANY`, a thin line in a band (small points where x has no order)."""
    if not np.isfinite(values).any():
        return
    if values.size > style.MANY and joined:
        axes.plot(x, values, color=group.colour, lw=0.7, alpha=0.8, label=words)
        axes.fill_between(x, values - spread, values + spread, color=group.colour, alpha=0.25, lw=0)
        return
    size = 4.5 if values.size <= style.MANY else 2.0
    bars = np.nan_to_num(spread)
    axes.errorbar(
        x, values, yerr=bars, fmt=group.shape, color=group.colour, ms=size, elinewidth=1, mfc="none", label=words
    )


def _tick(count: int) -> str:
    """Return a dash as marker where a line has too few points to be one."""
    return "_" if count <= 3 else ""
