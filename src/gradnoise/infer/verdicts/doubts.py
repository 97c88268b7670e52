"""What mean and covariance do not tell of draws: shape, the Gaussian law itself, and the sandwich. Sentences of the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradnoise import theory
from gradnoise._types import Array
from gradnoise.infer.verdicts.ratios import spread
from gradnoise.infer.verdicts.sandwich import Widths
from gradnoise.infer.verdicts.shape import Shape
from gradnoise.measure import Nearness

TELLING = 0.01  # nats: a posterior as near as that is not called "not Gaussian"
WIDTH_OF_TARGET = (
    0.25  # relative difference within which a target is the sandwich, wherever H and C were taken for either
)

PARTIAL = ("scalar", "diagonal", "diagonal_closed", "sqrt")  # preconditioners that reach no posterior in general


def remedy_for(method: str, settings: Mapping[str, Any]) -> str:
    """Name what reaches the posterior where this method does not: a full step or a correction; empty where nothing is known to."""
    if method.startswith("constant SGD"):
        return "a full preconditioner or corrected Langevin" if settings.get("preconditioner") in PARTIAL else ""
    return "corrected Langevin" if method.startswith(("Langevin", "SGLD", "Fisher scoring")) else ""


def doubts_of(shape: Shape | None, nearness: Nearness | None, drift_matters: bool, limit: float) -> list[str]:
    """Say what mean and covariance do not tell beforehand: a shape that is not Gaussian, noise that rests on a quadratic loss."""
    said = []
    if shape is not None and shape.divergence > limit:
        said.append(f"{shape.sentence('will be')}.")
    if drift_matters and nearness is not None and nearness.at_most > limit:
        said.append(
            f"The posterior is up to {nearness.at_most:.2g} nats from Gaussian (importance weights), and this sampler's law rests on a "
            "quadratic loss: its variances may be further off than predicted."
        )
    return said


def of_law(nearness: Nearness, numbers: dict[str, float], own: float, most: float) -> list[str]:
    """Say where the Gaussian law, the target, is itself too far from the posterior; `own`: the sampler's distance from it; `most`: nats in all."""
    numbers["law_kl_to_posterior"] = nearness.kl
    if nearness.at_most + own <= most:
        return []
    if nearness.at_most < own:  # the sampler's own distance is the larger part
        return [
            f"The draws may be up to {own + nearness.at_most:.2g} nats from the posterior: {own:.2g} from the Gaussian law that they aim at, "
            f"which is itself at most {nearness.at_most:.1g} from it."
        ]
    certain = "is not" if nearness.at_least > TELLING else "may not be"
    return [
        f"The posterior {certain} Gaussian: the variational law, to which this sampler is tuned and by which it is judged, is "
        f"{nearness.estimate} nats from it (importance weights, Pareto k̂ {nearness.pareto_k:.2g}), and this sampler's draws "
        f"up to {nearness.at_most + own:.2g}."
    ]


def about_widths(
    widths: Widths | None, target: tuple[Array, Array], limit: float, numbers: dict[str, float]
) -> tuple[list[str], dict[str, float]]:
    """Say how sandwich and posterior differ, and whether the target is another than the posterior."""
    if widths is None:
        return [], numbers
    numbers = numbers | {
        "sandwich_ratio_smallest": float(widths.ratios.min()),
        "sandwich_ratio_largest": float(widths.ratios.max()),
        "misspecified_directions": float(widths.misspecified.sum()),
    }
    said = [widths.sentence()] if widths.misspecified.any() else []
    if theory.gaussian_kl(target[1], widths.posterior) <= limit:
        return said, numbers
    low, high = spread(target[1], widths.posterior)[[0, -1]]
    other = f"The target is not the posterior: its variances are {low:.3g} to {high:.3g} times the posterior's."
    if np.abs(spread(widths.sandwich, target[1]) - 1).max() > WIDTH_OF_TARGET:
        return [other, *said], numbers
    return [f"{other} The target has the sandwich's width, within {100 * WIDTH_OF_TARGET:.0f} %."], numbers
