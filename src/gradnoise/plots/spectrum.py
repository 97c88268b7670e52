"""Spectrum: eigenvalues of curvature and gradient noise, and how far the noise lies along the curvature."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from gradnoise._types import Array
from gradnoise.plots import style


def noise_spectrum(
    hessian_eigenvalues: Iterable[float | None], noise_eigenvalues: Iterable[float | None], *, axes: Axes | None = None
) -> Axes:
    """Draw the eigenvalues of the mean loss's Hessian H and of the per-example gradient covariance C, largest first.

    Parameters
    ----------
    hessian_eigenvalues, noise_eigenvalues
        (D,) and (D',), in any order: mean loss / parameter² and (loss / parameter)². What is not positive has no place
        on the logarithmic axis and is left out.
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Lines in the order H, C.
    """
    axes = style.blank(axes)
    hessian = _falling(style.numbers("hessian_eigenvalues", hessian_eigenvalues))
    noise = _falling(style.numbers("noise_eigenvalues", noise_eigenvalues))
    for values, colour, shape, text in (
        (hessian, style.BLUE, "o", "curvature H"),
        (noise, style.ORANGE, "s", "gradient noise C"),
    ):
        place = np.arange(1, values.size + 1)
        axes.plot(place, values, color=colour, marker=style.marker(values.size, shape), ms=4, lw=1.4, label=text)
    style.logarithmic(axes, "y", hessian, noise)
    style.counted(axes, max(hessian.size, noise.size))
    style.label(axes, "number of the eigenvalue, largest first", "eigenvalue")
    style.legend(axes)
    return axes


def noise_alignment(
    curvature: Iterable[float | None], noise_along: Iterable[float | None], *, axes: Axes | None = None
) -> Axes:
    """Draw the noise variance along each eigenvector of H against its curvature, with the line where both are equal.

    Parameters
    ----------
    curvature, noise_along
        (D,) each: λ_i, and uᵢᵀC uᵢ for the eigenvector u_i of λ_i.
    axes
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Lines in the order points, identity.
    """
    axes = style.blank(axes)
    along, across = style.numbers("noise_along", noise_along), style.numbers("curvature", curvature)
    if along.shape != across.shape:
        msg = f"noise_along must have the shape of curvature, {across.shape}, got {along.shape}."
        raise ValueError(msg)
    axes.plot(
        across, along, "o", color=style.ORANGE, ms=5 if along.size <= style.MANY else 2.5, label="one eigendirection"
    )
    style.logarithmic(axes, "x", across)
    style.logarithmic(axes, "y", along)
    axes.axline((1, 1), (10, 10), color=style.MUTED, lw=1, ls="--", label="C = H")
    style.label(axes, "curvature λ along the eigenvector", "gradient noise along it")
    style.legend(axes)
    return axes


def _falling(values: Array) -> Array:
    """Sort descending, NaN last."""
    out: Array = -np.sort(-values)
    return out
