"""Stability: how far the learning rate is from the edge at which the quadratic diverges."""

from __future__ import annotations

from matplotlib.axes import Axes

from gradnoise import _checks
from gradnoise.plots import style

CLOSE = 0.5  # half of the edge: where discrete and continuous time part visibly (a factor 1.33 in variance)


def stability_gauge(fraction_of_edge: float, *, axes: Axes | None = None) -> Axes:
    """Draw a bar from 0 to the learning rate as a fraction of the stability edge, with the edge at 1.

    Parameters
    ----------
    fraction_of_edge
        Learning rate / largest stable learning rate, > 0. Beyond the edge the scale grows.
    axes
        Where to draw; None makes a flat figure.

    Returns
    -------
    Axes
        One bar of width `fraction_of_edge`.
    """
    fraction = _checks.positive("fraction_of_edge", fraction_of_edge)
    axes = style.blank(axes, (4.3, 1.1))
    end = max(1.25, 1.1 * fraction)
    axes.axvspan(1, end, color=style.ORANGE, alpha=0.18, lw=0)
    axes.axvspan(CLOSE, 1, color=style.AMBER, alpha=0.16, lw=0)
    axes.barh([0], [fraction], height=0.5, color=style.BLUE if fraction < 1 else style.ORANGE)
    axes.axvline(1, color=style.INK, lw=1.6)
    axes.set_xlim(0, end)
    axes.set_ylim(-0.55, 0.95)
    axes.set_yticks([])
    axes.text(0.99, 0.88, "edge", color=style.INK, ha="right", va="top", fontsize=9)
    axes.text(min(1.01, end), 0.88, " diverges", color=style.INK, ha="left", va="top", fontsize=9)
    axes.spines["left"].set_visible(False)
    style.label(axes, "learning rate / stability edge", "")
    return axes
