"""The stationary law with curvature and noise averaged over itself: where noise depends on the state, values at the mode miss it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array, ArrayLike
from gradnoise.measure.dense import score_averages
from gradnoise.measure.dense.fewer_rows import FewerRows, fewer_rows
from gradnoise.problem import Problem

TOLERANCE = 0.003  # relative change of variances in the last iteration
LIMIT = 40
PASSES = 6  # over all rows, where iterations read fewer
PATIENCE = 8  # iterations after which a law that still changes by 30 % is taken to run away
RUNAWAY = 100.0  # times the trace at the start: there is no stationary variance
MEMORY = 3  # iterations that the next one is extrapolated from
WORK = 3e8  # rows times draws times D² of one iteration: about a tenth of a second
ROWS = 40  # times D: the fewest rows that stand in for all


class SelfConsistentLaw(NamedTuple):
    """A Gaussian N(mean, covariance) that is stationary with the H and C averaged over itself.

    Attributes
    ----------
    mean, covariance
        (D,) and (D, D), in units of the parameters.
    hessian
        H averaged over it (D, D).
    gradient_covariance
        C averaged over it (D, D), per example.
    persistent
        The part of it that each example contributes whatever the state, Cov_n E_θ g_n(θ) (D, D): what an epoch cancels.
    """

    mean: Array
    covariance: Array
    hessian: Array
    gradient_covariance: Array
    persistent: Array


class _Update(NamedTuple):
    """θ ← θ - η P m + ξ."""

    learning_rate: float
    batch_size: int
    momentum: float
    preconditioner: Array | None
    injected: Array | None
    sampling: str
    num_examples: int
    drop_last: bool


def stationary_law(
    problem: Any,
    mode: Any,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    sampling: str = "with_replacement",
    preconditioner: ArrayLike | None = None,
    injected: ArrayLike | None = None,
    start: ArrayLike | None = None,
    reference: SelfConsistentLaw | None = None,
    rough: bool = False,
    drop_last: bool = True,
) -> SelfConsistentLaw | None:
    """Return the stationary law of SGD or Langevin dynamics with curvature and noise averaged over that law itself.

    Iterated: average H, C and ∇L over the law, move its mean to E∇L = 0, take the exact discrete-time law of these. For a
    quadratic loss and independent batches the fixed point is the exact stationary covariance, state-dependent noise included
    (C̄ depends on the law's second moments alone). Shuffled epochs: what an example's gradient is on average over the law
    cancels over an epoch, the rest changes from epoch to epoch and is taken as independent; this split is approximate.

    Where one iteration over all rows takes long, fewer rows tell how H, C and ∇L change from a law at which all rows were read to
    the next, and all are read again to check the outcome.

    Parameters
    ----------
    problem
        A `Problem` of at most 1000 parameters.
    mode
        Where the mean starts: a `Mode`, params or a vector (D,).
    learning_rate, momentum, preconditioner
        η, μ, P of m ← μm + ĝ; θ ← θ - ηPm + ξ, P (D, D) or None for the identity.
    batch_size, sampling
        B, and "with_replacement", "without_replacement" or "shuffled" (the mean over the positions of an epoch).
    drop_last
        Shuffled epochs only: False keeps the last, smaller batch, as data loaders do by default.
    injected
        Cov ξ (D, D), parameter²; None: no injected noise.
    start
        Covariance (D, D) to start from; None: the law for H and C at the mode.
    reference
        A law with E∇L = 0 whose H and C over all rows are known; spares a pass over many rows where sampling is independent.
    rough
        Whether changes from `reference` on fewer rows will do, without the check over all.

    Returns
    -------
    SelfConsistentLaw | None
        None where the iteration leaves the stable region or does not settle, or where there is no noise: such a law is then
        not predicted.

    Examples
    --------
    Two rows, batch 1: the noise at the mode alone gives 0.003657, its growth with the distance (1 - 0.1·h_n) the rest.

    >>> from gradnoise import models
    >>> problem = models.linear_regression(
    ...     [[1.0], [2.0]], [1.0, 1.0], prior_scale=float("inf"), observation_scale=1.0, intercept=False
    ... )
    >>> law = stationary_law(problem, [0.6], learning_rate=0.1, batch_size=1)
    >>> float(law.covariance[0, 0].round(4))  # 0.0016/0.415
    0.0039
    """
    derivatives.check_dense(problem)
    centre, size = derivatives.as_vector("mode", problem, mode), problem.num_params
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    update = _Update(
        _checks.positive("learning_rate", learning_rate),
        _checks.batch_size(batch_size, problem.num_examples, kind),
        _checks.momentum(momentum),
        None if preconditioner is None else _checks.symmetric("preconditioner", preconditioner, size, definite="positive"),
        None if injected is None else _checks.symmetric("injected", injected, size, definite="semi"),
        kind,
        problem.num_examples,
        _checks.drop_last(drop_last, kind),
    )  # fmt: skip
    if start is not None:
        begin = _checks.symmetric("start", start, size, definite="semi")
    else:
        _, noise = derivatives.gradient_moments(problem, centre)
        begin = _law(derivatives.hessian(problem, centre), noise, noise, update)
    if np.diag(begin).min() <= 0:
        return None
    return _settle(_Averages(problem, update, reference), centre, begin, update, rough=_checks.flag("rough", rough))


class _Averages:
    """H, C and ∇L averaged over Gaussian laws: over all rows, or as changes on fewer rows from the last law read in full."""

    def __init__(self, problem: Any, update: _Update, known: SelfConsistentLaw | None) -> None:
        self.problem, self.shuffled = problem, update.sampling == "shuffled"
        size, examples = problem.num_params, problem.num_examples
        self.normals = mirrored_normals(examples, size)
        rows = int(max(WORK / (len(self.normals) * size**2), ROWS * size))
        self.few = fewer_rows(problem, rows) if 4 * rows < examples else None
        self.offset: tuple[Array, ...] | None = None
        if self.few is not None and known is not None and not self.shuffled:
            whole = (np.zeros(size), known.hessian, known.gradient_covariance, known.gradient_covariance)
            self._compare(whole, known.mean, known.covariance)

    def whole(self, mean: Array, covariance: Array) -> tuple[Array, ...]:
        """Read all rows; later changes are counted from here."""
        found = self._over(self.problem, mean, covariance)
        self._compare(found, mean, covariance)
        return found

    def roughly(self, mean: Array, covariance: Array) -> tuple[Array, ...]:
        """Read fewer rows, if there are many."""
        if self.few is None:
            return self._over(self.problem, mean, covariance)
        if self.offset is None:
            return self.whole(mean, covariance)
        slope, hessian, *noises = self._over(self.few, mean, covariance)
        by = self.offset
        return (
            slope + by[0],
            hessian + by[1],
            *(_semidefinite(noise + far) for noise, far in zip(noises, by[2:], strict=True)),
        )

    def _compare(self, whole: tuple[Array, ...], mean: Array, covariance: Array) -> None:
        if self.few is not None:
            part = self._over(self.few, mean, covariance)
            self.offset = tuple(ours - theirs for ours, theirs in zip(whole, part, strict=True))

    def _over(self, rows: Any, mean: Array, covariance: Array) -> tuple[Array, ...]:
        values, vectors = np.linalg.eigh(covariance)
        points = mean + self.normals @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        over = score_averages.averages(rows, points)
        return (*over, _persistent(rows, points) if self.shuffled else over.gradient_covariance)


def _settle(
    averages: _Averages, mean: Array, start: Array, update: _Update, *, rough: bool
) -> SelfConsistentLaw | None:
    """Settle on fewer rows, check on all, and go on from there."""
    covariance = start
    for _ in range(PASSES):
        found = _iterate(averages, mean, covariance, start, update)
        if found is None or averages.few is None or rough:
            return found
        over = averages.whole(found.mean, found.covariance)
        new = _stationary(over, update)
        if new is None:
            return None
        mean, covariance = found.mean - np.linalg.solve(over[1], over[0]), found.covariance
        if _change(new, covariance) < TOLERANCE:
            return SelfConsistentLaw(mean, new, *over[1:])
    return None


def _iterate(
    averages: _Averages, mean: Array, covariance: Array, start: Array, update: _Update
) -> SelfConsistentLaw | None:
    tried: list[tuple[Array, Array]] = []
    for iteration in range(LIMIT):
        over = averages.roughly(mean, covariance)
        new = _stationary(over, update)
        if new is None or np.trace(new) > RUNAWAY * np.trace(start):
            return None
        mean = mean - np.linalg.solve(over[1], over[0])
        change = _change(new, covariance)
        if change < TOLERANCE:
            return SelfConsistentLaw(mean, new, *over[1:])
        if iteration >= PATIENCE and change > 0.3:
            return None
        tried = [*tried, (covariance, new)][-MEMORY:]
        covariance = _extrapolated(tried)
    return None


def _stationary(over: tuple[Array, ...], update: _Update) -> Array | None:
    """Exact covariance for these averages; None beyond the edge, and for negative curvature."""
    try:
        new = _law(over[1], over[2], over[3], update)
    except ValueError:
        return None
    return new if np.isfinite(new).all() else None


def _change(new: Array, old: Array) -> float:
    return float(np.max(np.abs(np.diag(new) / np.diag(old) - 1)))


def _extrapolated(tried: list[tuple[Array, Array]]) -> Array:
    """Where the iteration is heading (Anderson's mixing), while its steps shrink; else simply its last outcome.

    For a quadratic loss the next law is affine in the last one, and a few steps tell the fixed point.
    """
    scale = np.sqrt(np.diag(tried[-1][1]))
    steps = [((new - old) / np.outer(scale, scale)).ravel() for old, new in tried]
    last = tried[-1][1]
    if len(tried) < 2 or np.linalg.norm(steps[-1]) >= np.linalg.norm(steps[-2]):
        return last
    weights = np.linalg.lstsq(np.stack([steps[-1] - step for step in steps[:-1]], axis=1), steps[-1], rcond=1e-8)[0]
    mixed = last - sum(w * (last - new) for w, (_, new) in zip(weights, tried[:-1], strict=True))
    floor = np.linalg.eigvalsh(last / np.outer(scale, scale))[0] / 2
    return mixed if np.linalg.eigvalsh(mixed / np.outer(scale, scale))[0] > floor else last


def _law(hessian: Array, noise: Array, persistent: Array, update: _Update) -> Array:
    """Exact discrete-time covariance for constant H and C, injected noise added."""
    common: dict[str, Any] = update._asdict()
    injected = common.pop("injected")
    if update.sampling == "shuffled":
        total = theory.stationary_covariance(hessian, persistent, **common)
        # what changes from epoch to epoch is independent from step to step; over an epoch the law knows its mean alone
        size: dict[str, Any] = {
            "num_examples": update.num_examples,
            "batch_size": update.batch_size,
            "drop_last": update.drop_last,
        }
        fresh = theory.epoch_noise_autocovariance(_semidefinite(noise - persistent), lag=0, **size)
        rest = {**common, "sampling": "with_replacement", "batch_size": 1, "drop_last": True}
        total = total + theory.stationary_covariance(hessian, fresh, **rest)
    else:
        total = theory.stationary_covariance(hessian, noise, **common)
    if injected is None:
        return total
    silent = {name: value for name, value in common.items() if name != "drop_last"} | {"sampling": "with_replacement"}
    return total + theory.linear_chain(hessian, np.zeros_like(noise), injected=injected, **silent).covariance


def _persistent(problem: Problem | FewerRows, points: Array) -> Array:
    """Covariance over examples of their gradients averaged over the points, (D, D)."""
    with jax.enable_x64(True):
        mean = np.asarray(_mean_gradients(problem, points))
    return _checks.symmetrised(np.cov(mean.T, bias=True).reshape(points.shape[1], points.shape[1]))


@jax.jit
def _mean_gradients(problem: Any, points: Any) -> Any:
    """Average every example's gradient over the points, (N, D)."""

    def add(total: Any, point: Any) -> Any:
        return total + derivatives._example_gradients(problem, point), None

    zero = jnp.zeros((problem.num_examples, points.shape[1]))
    return lax.scan(add, zero, points)[0] / len(points)


def _semidefinite(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return _checks.symmetrised((vectors * np.maximum(values, 0.0)) @ vectors.T)


def mirrored_normals(num_examples: int, size: int) -> Array:
    """Mirrored normals with covariance exactly I, so that averages of quadratics are exact."""
    count = int(min(256, max(32, size + 8, WORK / (2 * num_examples * size**2))))
    half = np.random.default_rng(0).standard_normal((max(count, size + 1), size))
    half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    return np.concatenate([half, -half])
