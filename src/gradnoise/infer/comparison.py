"""A posterior against its prediction, against a reference, and moved to another covariance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from gradnoise import _checks, diagnose, measure, theory
from gradnoise import mode as modes
from gradnoise._types import AnyArray, Array
from gradnoise.infer.ratios import along_directions, axes
from gradnoise.results import Estimate
from gradnoise.stream import seed_of

PIECES = 8  # at least so many stretches of chain are exchanged with each other
MOST_DRAWS = 2048


class Divergences(NamedTuple):
    """KL divergences between Gaussian fits, with the floor that sampling error alone would give.

    Attributes
    ----------
    to_reference
        KL(this ‖ reference), nats.
    from_reference
        KL(reference ‖ this), nats.
    floor
        What both would be in the mean if the laws were equal: D(D+1)/(4n) + D/(2n), summed over both samples.
    """

    to_reference: float
    from_reference: float
    floor: float


class Direction(NamedTuple):
    """One eigendirection of the target: what was predicted there and what came.

    Attributes
    ----------
    name
        The parameter with the largest weight in it.
    target_sd
        Standard deviation of the target along it, in units of the parameters.
    predicted
        Predicted variance over the target's.
    achieved
        The run's variance over the target's, with its standard error √(2/n)·value for n effective draws.
    mean_shift
        Mean of the run minus that of the target, in the target's standard deviations, with its standard error.
    """

    name: str
    target_sd: float
    predicted: float
    achieved: Estimate
    mean_shift: Estimate

    @property
    def kept(self) -> bool:
        """Whether the run kept to the prediction: within 20 % of it and four standard errors."""
        return bool(abs(self.achieved.value - self.predicted) < 0.2 * self.predicted + 4 * self.achieved.standard_error)


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


def directions_of(
    *,
    names: tuple[str, ...],
    achieved: tuple[Array, Array],
    predicted: Array | None,
    target: tuple[Array, Array],
    effective_draws: float,
) -> tuple[Direction, ...]:
    """Return one record an eigenvector of the target, the widest first."""
    values, vectors = axes(target[1])
    ratios = along_directions(achieved[1], target[1], vectors)
    planned = ratios if predicted is None else along_directions(predicted, target[1], vectors)
    sd = np.sqrt(values)
    shifts = vectors.T @ (achieved[0] - target[0]) / sd
    return tuple(
        Direction(
            names[int(np.abs(vectors[:, i]).argmax())],
            float(sd[i]),
            float(planned[i]) if predicted is not None else math.nan,
            Estimate(float(ratios[i]), float(ratios[i] * math.sqrt(2 / effective_draws)), round(effective_draws)),
            Estimate(float(shifts[i]), float(math.sqrt(ratios[i] / effective_draws)), round(effective_draws)),
        )
        for i in reversed(range(len(values)))
    )


def divergences_of(ours: Any, theirs: Any) -> Divergences:
    """Compare the Gaussian fits of two posteriors."""
    a, b = (ours.covariance, ours.mean), (theirs.covariance, theirs.mean)
    floors = [
        0.0 if p.exact else diagnose.kl_floor(len(p.mean), p.effective_draws, fitted_mean=True) for p in (ours, theirs)
    ]
    return Divergences(
        theory.gaussian_kl(a[0], b[0], a[1], b[1]), theory.gaussian_kl(b[0], a[0], b[1], a[1]), sum(floors)
    )


def sandwich_of(posterior: Any) -> tuple[Array, Array]:
    """Return the centre and H⁻¹CH⁻¹/N, with H and C where the sampler was tuned, or at the mode."""
    plan = posterior.plan
    if plan is not None and not hasattr(plan, "where"):
        msg = f"target must be a covariance (D, D) for {posterior.method}: the sandwich needs matrices that do not fit above 1000 parameters."
        raise ValueError(msg)
    if plan is not None:
        where, count = plan.where, plan.problem.num_examples
        centre, hessian, noise = where.mean, where.hessian, where.gradient_covariance
    else:
        problem = posterior.known_problem("calibrate(target='sandwich')")
        found, count = modes.find_mode(problem), problem.num_examples
        local = measure.local_geometry(problem, found)
        centre, hessian, noise = found.vector, local.hessian, local.gradient_covariance
    inverse = np.linalg.inv(hessian)
    return centre, _checks.symmetric("sandwich", inverse @ noise @ inverse / count, definite="positive")


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
