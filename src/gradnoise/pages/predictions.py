"""Predictions of the stationary law: continuous time, exact discrete time, shuffled epochs, and averaged over the law itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import theory
from gradnoise._types import Array
from gradnoise.measure import LocalGeometry, SelfConsistentLaw, stationary_law

HALVINGS = 6  # of the default learning rate, at most


class Settings(NamedTuple):
    """SGD as the user runs it.

    Attributes
    ----------
    learning_rate, batch_size, momentum
        η, B, μ.
    edge
        Learning rate at which the quadratic diverges.
    chosen
        "user", or how the learning rate was chosen.
    """

    learning_rate: float
    batch_size: int
    momentum: float
    edge: float
    chosen: str


class Predictions(NamedTuple):
    """Variances (D,) along the eigenvectors of H at the mode, what the runs start from, and times in steps.

    `averaged` and `shuffled_averaged` take H and C averaged over the law itself (`measure.stationary_law`); None where that does not settle.
    Shuffled epochs keep their last, smaller batch, as loaders do by default; `shuffled_dropped` (at the mode) is without it, None where
    the batch size divides the data.
    """

    continuous: Array
    discrete: Array
    averaged: Array | None
    shuffled: Array
    shuffled_averaged: Array | None
    start: Array
    shuffled_start: Array
    relaxation: Array
    quadratic_time: Array
    shuffled_dropped: Array | None = None


def choose_settings(hessian: Array, learning_rate: float | None, batch_size: int, momentum: float) -> Settings:
    """Return the settings; a learning rate at or beyond the stability edge is refused."""
    edge = theory.stability_edge(hessian, momentum=momentum)
    if learning_rate is None:
        return Settings(edge / 4, batch_size, momentum, edge, "default: a quarter of the stability edge")
    if learning_rate >= edge:
        msg = (
            f"learning_rate must be below the stability edge {edge:.6g} of this problem, got {learning_rate:g}: "
            f"the largest curvature is {np.linalg.eigvalsh(hessian)[-1]:.6g}. Beyond the edge SGD diverges and has no stationary law."
        )
        raise ValueError(msg)
    return Settings(learning_rate, batch_size, momentum, edge, "user")


def settled(problem: Any, geometry: LocalGeometry, settings: Settings) -> tuple[Settings, SelfConsistentLaw | None]:
    """Return the law averaged over itself, with a default learning rate halved until there is one.

    Noise that grows with the state has a stationary variance only below a second-moment edge, which heavy-tailed inputs can
    push far below the edge of the mean.
    """
    for halvings in range(HALVINGS + 1):
        rate = settings.learning_rate / 2**halvings
        now = settings._replace(learning_rate=rate)
        if halvings:
            now = now._replace(
                chosen=f"default: 1/{4 * 2**halvings} of the stability edge (at 1/{2 * 2**halvings} the variance does not settle)"
            )
        start = theory.stationary_covariance(geometry.hessian, geometry.gradient_covariance, **_common(now))
        found = stationary_law(problem, geometry.vector, start=start, **_common(now))
        if found is not None or settings.chosen == "user":
            return now, found
    return settings, None


def predict(problem: Any, geometry: LocalGeometry, settings: Settings, mean: SelfConsistentLaw | None) -> Predictions:
    """All predictions of the stationary law, in the eigenbasis of H at the mode; `mean` is from `settled`."""
    basis, common = geometry.eigenvectors, _common(settings)
    of = geometry.hessian, geometry.gradient_covariance
    discrete = theory.stationary_covariance(*of, **common)
    epochs: dict[str, Any] = {**common, "sampling": "shuffled", "num_examples": geometry.num_examples}
    loader = {**epochs, "drop_last": False}
    shuffled = theory.stationary_covariance(*of, **loader)
    over = stationary_law(problem, geometry.vector, start=shuffled, sampling="shuffled", drop_last=False, **common)
    rest = geometry.num_examples % settings.batch_size
    relaxation, times = _times(of if mean is None else (mean.hessian, mean.gradient_covariance), basis, settings)
    return Predictions(
        along(basis, theory.stationary_covariance(*of, time="continuous", **common)),
        along(basis, discrete),
        None if mean is None else along(basis, mean.covariance),
        along(basis, shuffled),
        None if over is None else along(basis, over.covariance),
        discrete,
        theory.stationary_covariance(*of, position="end", **loader),
        relaxation,
        times,
        along(basis, theory.stationary_covariance(*of, **epochs)) if rest else None,
    )


def _times(of: tuple[Array, Array], basis: Array, settings: Settings) -> tuple[Array, Array]:
    """Relaxation times and quadratic autocorrelation times (D,) along the columns of a basis, steps."""
    common: dict[str, Any] = {"learning_rate": settings.learning_rate, "momentum": settings.momentum}
    relaxation = np.array([theory.relaxation_times([[h]], **common)[0] for h in along(basis, of[0])])
    chain = theory.linear_chain(*of, **_common(settings))
    variances = along(basis, chain.covariance)
    moving = variances > 1e-12 * variances.max()
    times = [chain.iact(v, quadratic=True) if m else r for v, m, r in zip(basis.T, moving, relaxation, strict=True)]
    return relaxation, np.array(times)


def _common(settings: Settings) -> dict[str, Any]:
    return {"learning_rate": settings.learning_rate, "batch_size": settings.batch_size, "momentum": settings.momentum}


def along(basis: Array, covariance: Array) -> Array:
    """Variances along the columns of a basis, diag(VᵀΣV); never below 0 by rounding."""
    return np.asarray(np.maximum(np.einsum("di,de,ei->i", basis, covariance, basis, optimize=True), 0.0))
