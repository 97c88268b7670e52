"""The observation scale that a linear regression's residuals tell. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.optimize

from gradnoise._types import AnyArray, Array, ArrayLike

RANK = 1e-13  # singular values of columns of one length below this, relative to the largest, are 0 up to rounding
ROWS = 2048  # rows of a block: it stays in the cache
GRID = 400  # points between the least and the largest variance at which a sign change is looked for
ROUNDING = 4.0  # rounding errors of one residual, in units of eps times the numbers it is the difference of


class Reduced(NamedTuple):
    """A least-squares problem in D numbers: min |root φ - moment|² + rest over φ; θ = turn φ, columns of `root` of length 1."""

    root: Array
    moment: Array
    rest: float
    turn: Array


def residual_scale(X: ArrayLike, y: ArrayLike, prior_precision: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the observation scale s of a linear regression, consistent with its own ridge solution.

    The fixed point s² = Σ w_n r_n² / (Σ w_n - γ), with r the residuals of θ = (G + s²Λ)⁻¹Xᵀwy, G = Xᵀ diag(w) X, and
    γ = Tr G(G + s²Λ)⁻¹ the effective number of parameters: where the evidence is stationary in s (MacKay 1992, "Bayesian
    interpolation"). A flat prior (Λ = 0) gives the unbiased RSS/(N - rank). Of several fixed points it is the smallest.

    Columns and y are centred where X has a column of ones, and all columns get one length: units and origins do not matter.

    Raises
    ------
    ValueError
        Where the residuals are 0 up to rounding (of y in its own type, and of float64), or as many parameters are free as there are
        rows.

    Examples
    --------
    >>> residual_scale(np.ones((3, 1)), [1.0, 2.0, 3.0], [0.0])
    1.0
    """
    inputs, targets = np.asarray(X), np.asarray(y)
    w = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
    total = float(w.sum())
    reduced = _reduced(inputs, targets.astype(np.float64), w)
    # R φ - z and √Λ θ in one basis, in which both are diagonal: each fixed point is then a matter of D numbers
    cosines, sines, along, outside = _diagonalised(reduced, np.sqrt(np.asarray(prior_precision, np.float64)))
    least = reduced.rest + outside

    def found(variance: float) -> float:
        data, prior = cosines**2, variance * sines**2
        away = prior / (data + prior)
        freedom = total - float((data / (data + prior)).sum())
        return (least + float(away**2 @ along**2)) / freedom if freedom > 1e-9 * total else 0.0

    start = least / total
    if start <= _rounding(targets, w) ** 2 or not found(start) > 0:
        msg = f"observation_scale must be given: X of shape {inputs.shape} fits y exactly, up to rounding, and leaves no residual to estimate it from."
        raise ValueError(msg)
    return math.sqrt(_fixed_point(found, start, (least + float(along @ along)) / total))


def _fixed_point(found: Callable[[float], float], start: float, largest: float) -> float:
    """Return the smallest v >= start with found(v) = v; `found` lies above there."""

    def gap(log: float) -> float:
        return math.log(found(math.exp(log))) - log

    low = math.log(start)
    if gap(low) <= 0:  # a flat prior does not depend on v; nor is there anything below
        return math.exp(low)
    high = low + math.log(max(largest / start, 1.0)) + 1
    while gap(high) > 0:
        high += 1 + (high - low)
    points = np.linspace(low, high, GRID)
    last = next(i for i, point in enumerate(points) if gap(float(point)) <= 0)
    root: float = scipy.optimize.brentq(gap, points[last - 1], points[last], xtol=1e-14, rtol=1e-14)
    return found(math.exp(root))


def _reduced(inputs: AnyArray, targets: Array, w: Array) -> Reduced:
    """Reduce X, y to D numbers by QR of blocks of rows, centred where a column is constant: X is not copied."""
    size, counted = inputs.shape[1], w > 0
    used = inputs if counted.all() else inputs[counted]
    level = np.where(used.min(0) == used.max(0), used[0].astype(np.float64), 0.0)  # of columns that are constant
    ones = int(np.flatnonzero(level)[-1]) if level.any() else None
    parts = [slice(at, at + ROWS) for at in range(0, len(inputs), ROWS)]
    centre, origin, height = np.zeros(size), 0.0, 1.0
    if ones is not None:
        centre = sum((w[part] @ inputs[part].astype(np.float64) for part in parts), centre) / float(w.sum())
        origin, height, centre[ones] = float(w @ targets) / float(w.sum()), float(level[ones]), 0.0
    root = np.zeros((0, size + 1))
    for part in parts:
        block = np.c_[inputs[part].astype(np.float64) - centre, targets[part] - origin] * np.sqrt(w[part])[:, None]
        root = np.asarray(np.linalg.qr(np.vstack([root, block]), mode="r"))
    root = np.vstack([root, np.zeros((max(0, size + 1 - len(root)), size + 1))])
    lengths = np.linalg.norm(root[:, :size], axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    turn = np.diag(1 / lengths)
    moment = root[:size, size].copy()
    if ones is not None:  # θ_ones also carries the centres of the others, and the origin of y
        turn[ones] -= np.where(np.arange(size) == ones, 0.0, centre / height / lengths)
        moment = moment + root[:size, ones] * origin / height
    return Reduced(root[:size, :size] / lengths, moment, float(root[size, size]) ** 2, turn)


def _diagonalised(reduced: Reduced, deviation: Array) -> tuple[Array, Array, Array, float]:
    """Return c, s, z (k,) and a number: |R φ - z|² = Σ (c_i a_i - z_i)² + number and |√Λ θ|² = Σ s_i² a_i² in one basis, c² + s² = 1."""
    both = np.vstack([reduced.root, deviation[:, None] * reduced.turn])
    lengths = np.linalg.norm(both, axis=0)
    u, values, _ = np.linalg.svd(both / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
    kept = u[:, values > RANK * values[0]]
    size = len(reduced.moment)
    left, cosines, turned = np.linalg.svd(kept[:size], full_matrices=False)
    cosines = np.where(cosines > RANK, cosines, 0.0)
    sines = np.linalg.norm(kept[size:] @ turned.T, axis=0)
    along = np.where(cosines > 0, left.T @ reduced.moment, 0.0)
    return cosines, sines, along, max(0.0, float(((reduced.moment - left @ along) ** 2).sum()))


def _rounding(targets: AnyArray, w: Array) -> float:
    """Return what rounding leaves of a residual that is 0: half a unit in the last place of y, and float64's own of y about its mean."""
    total = float(w.sum())
    y = targets.astype(np.float64)
    size = math.sqrt(float(w @ y**2) / total)
    spread = math.sqrt(float(w @ (y - float(w @ y) / total) ** 2) / total)
    own = 0.5 * float(np.finfo(targets.dtype).eps) if targets.dtype.kind == "f" else 0.0
    return own * size + ROUNDING * float(np.finfo(np.float64).eps) * spread
