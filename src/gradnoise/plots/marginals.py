"""Marginals: the density of one parameter under the reference and under each method."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gradnoise.plots import style

WIDER = 0.5  # the view: at most the reference's range and half of it on either side; a far too wide method looks flat


def marginal_densities(
    marginal: Mapping[str, Any], *, kinds: Mapping[str, str] | None = None, key: bool = True, axes: Axes | None = None
) -> Axes:
    """Draw one parameter's marginal density: the reference as a filled shape, each method as a line.

    Parameters
    ----------
    marginal
        `parameter` (its name), `reference` and `methods` (by name): each density as `x` and `density`, two sequences of
        one length, in the parameter's unit and its inverse. `reference` may be None.
    kinds
        Kind of each method by name ("scalar", "diagonal", "full", "corrected", "gaussian", "laplace"): its colour and
        dashes. None gives each method the next colour.
    key
        Whether to draw a key; small multiples share one.
    axes
        Where to draw; None makes a small figure.

    Returns
    -------
    Axes
        One line a method, in the order of `methods`.
    """
    for name in ("parameter", "reference", "methods"):
        if name not in marginal:
            msg = f"marginal must have the key {name!r}, got {sorted(marginal)}."
            raise ValueError(msg)
    axes = style.blank(axes, (3.1, 2.3))
    spare = cycle(style.METHODS)
    looks = style.looks(kinds if kinds is not None else dict(zip(marginal["methods"], spare, strict=False)))
    low, high = np.inf, -np.inf
    for name, density in marginal["methods"].items():
        colour, dashes = looks.get(name, (style.MUTED, "-"))
        x, height = _curve(name, density)
        low, high = min(low, x.min()), max(high, x.max())
        axes.plot(x, height, color=colour, ls=dashes, lw=1.6, label=name)
    if marginal["reference"] is not None:
        x, height = _curve("reference", marginal["reference"])
        axes.fill_between(x, height, color=style.INK, alpha=0.16, lw=0, label="reference")
        margin = WIDER * (x.max() - x.min())
        low, high = min(x.min(), max(low, x.min() - margin)), max(x.max(), min(high, x.max() + margin))
        axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    name = str(marginal["parameter"])
    style.label(axes, name if len(name) <= 34 else f"{name[:33]}…", "")
    if key:
        style.legend(axes, 1)
    return axes


def _curve(name: str, density: Mapping[str, Any]) -> tuple[Any, Any]:
    x, height = np.asarray(density["x"], np.float64), np.asarray(density["density"], np.float64)
    if x.ndim != 1 or x.shape != height.shape or not x.size:
        msg = f"marginal: x and density of {name!r} must be sequences of one length, got shapes {x.shape} and {height.shape}."
        raise ValueError(msg)
    return x, height
