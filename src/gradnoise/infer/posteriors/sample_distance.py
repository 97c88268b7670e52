"""A posterior against its prediction, against a reference, and moved to another covariance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from gradnoise import _checks
from gradnoise._types import AnyArray, Array
from gradnoise.stream import seed_of

PIECES = 8  # at least so many stretches of chain are exchanged with each other
MOST_DRAWS = 2048


class SampleDistance(NamedTuple):
    """Sliced Wasserstein distance between two samples, in standard deviations of the reference.

    Attributes
    ----------
    value
        √max(0, raw² - floor²): what is left beyond sampling error.
    raw
        Root mean square over directions of the W₂ distance between the projected samples.
    floor
        What `raw` would be if the laws were equal, from stretches of each sample against each other.
    p_value
        Share of exchanges of stretches between the samples that are as far apart: exact if the laws are equal.
    worst
        Largest W₂ over the directions looked at.
    """

    value: float
    raw: float
    floor: float
    p_value: float
    worst: float


def sample_distance(
    ours: AnyArray, theirs: AnyArray, reference: Array, *, num_directions: int, num_exchanges: int, key: Any
) -> SampleDistance:
    """Compare draws (chain, draw, D) of two laws along random directions, whitened by the reference's covariance."""
    random = np.random.default_rng(seed_of(key))
    root = np.linalg.cholesky(reference)
    axes = random.standard_normal((len(root), _checks.integer("num_directions", num_directions)))
    axes = scipy.linalg.solve_triangular(root.T, axes / np.linalg.norm(axes, axis=0))
    a, b = (_pieces(np.asarray(draws, np.float64) @ axes) for draws in (ours, theirs))
    each = _wasserstein(a, b)
    raw = float(each.mean())
    floor = (_within(a, random) + _within(b, random)) / 4
    pool, as_far = [*a, *b], 0
    for _ in range(_checks.integer("num_exchanges", num_exchanges)):
        order = random.permutation(len(pool))
        mixed = [pool[i] for i in order]
        as_far += bool(_wasserstein(mixed[: len(a)], mixed[len(a) :]).mean() >= raw)
    return SampleDistance(
        math.sqrt(max(0.0, raw - floor)),
        math.sqrt(raw),
        math.sqrt(floor),
        (1 + as_far) / (1 + num_exchanges),
        math.sqrt(float(each.max())),
    )


def _pieces(projected: Array) -> list[Array]:
    """Cut chains into stretches, at least PIECES in all, each thinned so that all hold MOST_DRAWS at most."""
    chains, draws = projected.shape[:2]
    cuts = min(draws, -(-PIECES // chains))
    pieces = [piece for chain in projected for piece in np.array_split(chain, cuts)]
    every = max(1, -(-chains * draws // MOST_DRAWS))
    return [piece[::every] for piece in pieces]


def _wasserstein(a: list[Array], b: list[Array]) -> Array:
    """W₂² between two samples along every direction, at as many quantiles as the smaller has draws."""
    x, y = np.sort(np.concatenate(a), 0), np.sort(np.concatenate(b), 0)
    count = min(len(x), len(y))
    levels = (np.arange(count) + 0.5) / count
    return np.asarray(np.mean((_quantiles(x, levels) - _quantiles(y, levels)) ** 2, axis=0))


def _quantiles(values: Array, levels: Array) -> Array:
    return (
        values
        if len(values) == len(levels)
        else values[np.minimum((levels * len(values)).astype(int), len(values) - 1)]
    )


def _within(pieces: list[Array], random: Any) -> float:
    """Mean W₂² between random halves of one sample's stretches."""
    found = []
    for _ in range(8):
        order = random.permutation(len(pieces))
        half = len(pieces) // 2
        found.append(_wasserstein([pieces[i] for i in order[:half]], [pieces[i] for i in order[half:]]).mean())
    return float(np.mean(found))


def moved(draws: AnyArray, mean: Array, covariance: Array, to_mean: Array, target: Array) -> AnyArray:
    """Map draws of N(mean, covariance) to (to_mean, target) by the linear map that moves them least (optimal transport)."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    middle, axes = np.linalg.eigh(root @ target @ root)
    step = inverse @ ((axes * np.sqrt(np.maximum(middle, 0))) @ axes.T) @ inverse
    return np.asarray(to_mean + (np.asarray(draws, np.float64) - mean) @ step.T)
