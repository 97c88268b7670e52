"""Divergence: KL of each method from the reference, both directions, with what sampling error alone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradnoise.plots import style

SMALLEST = 1e-6  # nats: less is drawn at the left end


def divergences(methods: Sequence[Mapping[str, Any]], *, axes: Axes | None = None) -> Axes:
    """Draw KL(method ‖ reference) and KL(reference ‖ method) of each method on a logarithmic axis, with the sampling floor.

    Parameters
    ----------
    methods
        Records with `name`, `kl_to_reference`, `kl_from_reference`, `kl_floor` (nats; None where not computed). A method
        without any divergence gets an empty row.
    axes
        Where to draw; None makes a figure as high as the list is long.

    Returns
    -------
    Axes
        The first method on top, at y = 0, the next at y = 1. Lines in the order to, from, floor; a divergence below a
        tenth of the smallest floor, or 1e-6, stands at the left end.
    """
    axes = style.blank(axes, (4.3, 1.5 + 0.46 * len(methods)))
    row = np.arange(len(methods))
    forward = style.column("methods", methods, "kl_to_reference")
    backward = style.column("methods", methods, "kl_from_reference")
    floor = style.column("methods", methods, "kl_floor")
    positive = floor[np.isfinite(floor) & (floor > 0)]
    low = max(SMALLEST, positive.min() / 10) if positive.size else SMALLEST
    forward, backward = np.maximum(forward, low), np.maximum(backward, low)
    axes.plot(forward, row + 0.18, "o", color=style.BLUE, ms=6, ls="none")
    axes.plot(backward, row + 0.18, "D", color=style.ORANGE, mfc="none", ms=5.5, mew=1.5, ls="none")
    axes.plot(floor, row + 0.18, "|", color=style.MUTED, ms=14, mew=2, ls="none")
    style.logarithmic(axes, "x", forward, backward, floor, np.array([low]))
    for y, method in zip(row, methods, strict=True):
        axes.text(
            0.0, y - 0.22, str(method["name"])[:60], transform=axes.get_yaxis_transform(), color=style.INK, fontsize=9, va="center", parse_math=False
        )  # fmt: skip
        axes.axhline(y - 0.45, color=style.RULE, lw=0.6)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    style.label(axes, "KL divergence, nats", "")
    # the key's own marks: a method without numbers must not empty it
    marks = [
        Line2D([], [], color=style.BLUE, marker="o", ms=6, ls="none", label="method ‖ reference"),
        Line2D(
            [], [], color=style.ORANGE, marker="D", mfc="none", ms=5.5, mew=1.5, ls="none", label="reference ‖ method"
        ),
        Line2D([], [], color=style.MUTED, marker="|", ms=12, mew=2, ls="none", label="sampling error alone"),
    ]
    axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9, labelcolor=style.INK)  # fmt: skip
    return axes
