"""Tail of SGD's stationary law on least squares: random matrices multiply, and the tail is a power law (Kesten)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike
from gradnoise.results import Estimate
from gradnoise.theory.least_squares.edges_and_moments import modal_basis
from gradnoise.theory.least_squares.rows import checked_rows
from gradnoise.theory.tails.tail_exponent import positive_root, unbiased_growth

_ENUMERATED = 200_000  # batches counted one by one, at most
_LARGEST = 64.0  # beyond, the tail is made by products too rare for any particle to meet


def least_squares_tail_exponent(
    X: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    sampling: str = "with_replacement",
    ridge: float = 0.0,
    num_particles: int = 1024,
    num_steps: int = 300,
    seed: int = 0,
) -> Estimate:
    r"""Exponent κ of the tail P(|θ − θ*| > r) ∝ r^{−κ} of minibatch SGD on least squares; E|θ|^k is finite iff k < κ.

    Equation: Λ(κ) = lim (1/n) ln E|J_n⋯J_1 u|^κ = 0 with J = I − η(X̄ + ρ), X̄ the mean of x xᵀ over a batch. One dimension:
    E|1 − η(X̄+ρ)|^κ = 1, exactly, over all batches where they are at most 200 000. Else particles weighted by |Ju|^κ and
    resampled, in 16 independent groups: the standard error is theirs. Infinity where no batch expands: the law is bounded.

    =============  ======  ======  ==================================
    argument       symbol  shape   scale
    =============  ======  ======  ==================================
    X              x       (N, D)  √loss/parameter
    learning_rate  η       ()      parameter²/loss
    batch_size     B       ()      examples a step
    ridge          ρ       ()      loss/parameter²
    num_particles  –       ()      per group; their bias is removed and its uncertainty in the standard error (`tail_exponent_estimate`)
    num_steps      n       ()      steps of Λ(κ), a quarter of them burn-in
    seed           –       ()      of the estimate
    sampling       –       –       "with_replacement" (default), "without_replacement"
    returns        κ       ()      dimensionless, with standard error
    =============  ======  ======  ==================================

    Assumptions: steps draw independently; noise at θ* not zero; J invertible and not all batches alike.
    Limit: κ = 2 at the second-moment edge and κ = 4 at the fourth-moment edge. It is the tail, not the bulk: the exponent
    2B/(ηa) − B of Ziyin et al. describes the bulk of the law.

    Reference: Kesten (1973), Random difference equations and renewal theory for products of random matrices; Gurbuzbalaban,
    Simsekli, Zhu (2021), The heavy-tail phenomenon in SGD; Ziyin, Liu, Mori, Ueda (2022), §6.6, for the bulk. The
    sum over batches and the particles are derived here.

    >>> edge = 2 * (1 + 4 + 9) / (1 + 16 + 81)  # of the second moment: 2 E x²/E x⁴
    >>> round(least_squares_tail_exponent([[1], [2], [3]], learning_rate=edge, batch_size=1).value, 9)
    2.0
    """
    rows, rate = checked_rows(X), _checks.positive("learning_rate", learning_rate)
    sampling = _checks.one_of("sampling", sampling, ("with_replacement", "without_replacement"))
    size = _checks.batch_size(batch_size, len(rows), sampling)
    curvature = rows.T @ rows / len(rows) + _checks.real("ridge", ridge) * np.eye(rows.shape[1])
    basis, _ = modal_basis(curvature, None)
    particles = _checks.integer("num_particles", num_particles, low=16)
    name = "batch_size" if size > particles else "num_particles"
    _checks.fits(name, 16.0 * particles * (8 * size + 32 * rows.shape[1]), "one step")
    steps = _checks.integer("num_steps", num_steps, low=8, high=100_000)
    seed = _checks.integer("seed", seed, low=0)
    features = rows @ basis
    if features.shape[1] == 1 and _outcomes(len(rows), size, sampling) <= _ENUMERATED:
        return Estimate(_scalar_exponent(*_factors(features[:, 0] ** 2, rate, size, sampling, ridge), rate), 0.0, 1)
    if rate * ((features**2).sum(1).max() + ridge) <= 2:
        return Estimate(math.inf, 0.0, 1)

    def growth(power: float, particles: int = particles) -> Array:
        return _growth(features, power, rate, size, sampling, ridge, particles, steps, np.random.default_rng(seed))

    # where the root is, an eighth of the particles says well enough
    near = _crossing(lambda power: growth(power, max(16, particles // 8)), steps - steps // 4, rate)
    return _refined(growth, near, steps - steps // 4)


def _outcomes(count: int, size: int, sampling: str) -> int:
    return math.comb(count + size - 1, size) if sampling == "with_replacement" else math.comb(count, size)


def _batches(count: int, size: int, sampling: str) -> Iterator[tuple[int, ...]]:
    if sampling == "with_replacement":
        return itertools.combinations_with_replacement(range(count), size)
    return itertools.combinations(range(count), size)


def _factors(squares: Array, rate: float, size: int, sampling: str, ridge: float) -> tuple[Array, Array]:
    """ln|1 − η(X̄+ρ)| of every batch and the logarithm of its probability."""
    rows = np.array(list(_batches(len(squares), size, sampling)))
    # a multiset has as many orders as B! over the factorials of its multiplicities
    orders = [
        math.lgamma(size + 1) - sum(math.lgamma(c + 1) for c in np.unique(r, return_counts=True)[1]) for r in rows
    ]
    weights = np.asarray(orders)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(1 - rate * (squares[rows].mean(1) + ridge))), weights - logsumexp(weights)


def _scalar_exponent(logs: Array, weights: Array, rate: float) -> float:
    if logs.max() <= 0:
        return math.inf
    if np.isfinite(logs).all() and np.exp(weights) @ logs >= 0:
        raise ValueError(_no_law(rate))

    def growth(power: float) -> float:
        return float(logsumexp(power * logs + weights))

    return positive_root(growth)


def _growth(
    features: Array,
    power: float,
    rate: float,
    size: int,
    sampling: str,
    ridge: float,
    particles: int,
    steps: int,
    rng: np.random.Generator,
) -> Array:
    """Λ(power) from each of 16 groups of particles."""
    count, dim = features.shape
    u = rng.normal(size=(16, particles, dim))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    total = np.zeros(16)
    for step in range(steps):
        chosen = _drawn(rng, u.shape[:2], count, size, sampling)
        moved = (1 - rate * ridge) * u
        for place in range(size):
            x = features[chosen[..., place]]
            moved -= (rate / size * np.einsum("gpd,gpd->gp", x, u))[..., None] * x
        squares = np.maximum(np.einsum("gpd,gpd->gp", moved, moved), 1e-300)
        weights = power / 2 * np.log(squares)
        if step >= steps // 4:
            peak = weights.max(1)
            total += peak + np.log(np.exp(weights - peak[:, None]).mean(1))
        moved /= np.sqrt(squares)[..., None]
        rows = _resampled(rng, weights) + particles * np.arange(16)[:, None]
        u = np.take(moved.reshape(-1, dim), rows.ravel(), axis=0).reshape(u.shape)
    return total / (steps - steps // 4)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], count: int, size: int, sampling: str) -> AnyArray:
    if sampling == "with_replacement":
        return rng.integers(count, size=(*shape, size))
    return np.argpartition(rng.random((*shape, count)), size - 1, axis=-1)[..., :size]


def _resampled(rng: np.random.Generator, weights: Array) -> AnyArray:
    """Systematic resampling within each group."""
    heights = np.cumsum(np.exp(weights - weights.max(1, keepdims=True)), axis=1)
    groups, count = weights.shape
    # ticks at k + offset, k = 0 … count − 1, on a scale where all weights sum to count: those below a height come before it
    below = np.ceil(heights / heights[:, -1:] * count - rng.random((groups, 1))).astype(np.int64)
    below[:, -1] = count
    copies = np.diff(np.clip(below, 0, count), axis=1, prepend=0)
    return np.repeat(np.tile(np.arange(count), groups), copies.ravel()).reshape(groups, count)


def _crossing(growth: Callable[[float], Array], steps: int, rate: float) -> float:
    """Root of Λ, bracketed."""

    @functools.cache
    def level(power: float) -> float:
        return float(unbiased_growth(growth(power), steps).value)

    high = 1.0
    while level(high) < 0:
        high *= 2
        if high > _LARGEST:
            msg = f"learning_rate must be larger: the tail exponent is beyond {_LARGEST:g}, where an estimate means nothing."
            raise ValueError(msg)
    low = high / 2
    while level(low) >= 0:
        low /= 2
        if low < 1e-2:
            raise ValueError(_no_law(rate))
    return float(brentq(level, low, high, xtol=1e-3, rtol=1e-2))


def _refined(growth: Callable[[float], Array], near: float, steps: int) -> Estimate:
    """Root of Λ near `near`: where the chord of its values 10 % to either side meets 0, and a step of the same slope from there."""
    for _ in range(4):
        low, high = 0.9 * near, 1.1 * near
        below, above = (float(unbiased_growth(growth(power), steps).value) for power in (low, high))
        slope = (above - below) / (high - low)
        if slope <= 0:  # nothing but noise
            break
        met = float(np.clip(low - below / slope, 0.5 * near, 2 * near))
        left = unbiased_growth(growth(met), steps)
        root = met - left.value / slope
        if 0.85 * near <= met <= 1.15 * near:
            return Estimate(root, left.standard_error / slope, left.n)
        near = met
    msg = f"num_particles and num_steps must be larger: the growth of E|θ|^κ is too uncertain near κ = {near:.3g}."
    raise ValueError(msg)


def _no_law(rate: float) -> str:
    return f"learning_rate must be below the almost-sure edge, got {rate:.6g}: the products of steps grow, so there is no stationary law."
