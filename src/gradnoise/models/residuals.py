"""The observation scale that a linear regression's residuals tell. NumPy only."""

from __future__ import annotations

import math

import numpy as np

from gradnoise._types import AnyArray, Array, ArrayLike


def residual_scale(X: ArrayLike, y: ArrayLike, prior_precision: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the observation scale s of a linear regression, consistent with its own ridge solution.

    The fixed point s² = Σ w_n r_n² / (Σ w_n - γ), with r the residuals of θ = (G + s²Λ)⁻¹Xᵀwy, G = Xᵀ diag(w) X, and
    γ = Tr G(G + s²Λ)⁻¹ the effective number of parameters: where the evidence is stationary in s (MacKay 1992, "Bayesian
    interpolation"). A flat prior (Λ = 0) gives the unbiased RSS/(N - rank).

    Examples
    --------
    >>> residual_scale(np.ones((3, 1)), [1.0, 2.0, 3.0], [0.0])
    1.0
    """
    inputs, targets = np.asarray(X), np.asarray(y, np.float64)
    w = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
    gram, moment = _normal_equations(inputs, targets, w)
    unit = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))  # columns of very different size stay apart
    gram, moment, precision = gram / np.outer(unit, unit), moment / unit, np.diag(np.asarray(prior_precision) / unit**2)
    least = np.linalg.lstsq(gram, moment)[0]
    rest = float(w @ (targets - inputs @ (least / unit)) ** 2)
    variance = rest / float(w.sum())
    for _ in range(1000):
        ridge = gram + variance * precision
        off = np.linalg.lstsq(ridge, moment)[0] - least
        freedom = float(w.sum() - np.trace(np.linalg.lstsq(ridge, gram)[0]))
        before = variance
        variance = (rest + float(off @ gram @ off)) / freedom if freedom > 1e-9 else 0.0
        if variance <= 1e-20 * float(w @ targets**2):
            msg = f"observation_scale must be given: X of shape {inputs.shape} fits y exactly and leaves no residual to estimate it from."
            raise ValueError(msg)
        if abs(variance - before) <= 1e-13 * variance:
            return math.sqrt(variance)
    msg = "observation_scale must be given: its estimate from the residuals did not settle in 1000 iterations."
    raise ValueError(msg)


def _normal_equations(inputs: AnyArray, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return Xᵀ diag(w) X and Xᵀ diag(w) y in float64, by blocks of rows: X is not copied."""
    rows, size = max(1, (1 << 20) // inputs.shape[1]), inputs.shape[1]
    gram, moment = np.zeros((size, size)), np.zeros(size)
    for at in range(0, len(inputs), rows):
        block, w = inputs[at : at + rows].astype(np.float64), weights[at : at + rows]
        gram += block.T @ (block * w[:, None])
        moment += block.T @ (w * targets[at : at + rows])
    return gram, moment
