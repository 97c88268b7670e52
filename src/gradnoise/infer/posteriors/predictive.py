"""Posterior predictives: responses for new inputs, and the log density of held-out examples, with Monte Carlo errors."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._text import placed
from gradnoise._types import AnyArray, Array
from gradnoise.infer.posteriors.held_out import new_inputs, ready_made
from gradnoise.results import Estimate, mean_of
from gradnoise.stream import seed_of

MANY_CHAINS = 16  # from here on, standard errors come from the spread over chains
FIRST = 6  # rows that are shown
_BLOCK = 1 << 21  # log densities held at once


@dataclass(frozen=True, eq=False, repr=False)
class Predictive:
    """Posterior predictive for n inputs; `print` it for the first rows.

    Two laws: of the **predictions** (a mean, a probability, a rate: what the parameters say), which narrows to nothing as data
    grow, and of the **responses** (what will be observed), which does not.

    Attributes
    ----------
    mean
        `Problem.predict` averaged over draws, shape (n, ...), with its Monte Carlo standard error.
    sd
        Standard deviation of the predictions over draws: how unsure the posterior is of them.
    predictions
        `Problem.predict` of every draw (chain, draw, n, ...).
    responses
        One response a draw by `Problem.sample` (chain, draw, n, ...); None where the problem has no `sample`.
    """

    mean: Estimate
    sd: Array
    predictions: AnyArray
    responses: AnyArray | None

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether responses are labels: class numbers (predictions have one axis more) or 0 and 1 for a predicted probability."""
        if self.responses is None or self.responses.shape != self.predictions.shape:
            return self.responses is not None
        binary = bool(np.isin(self.responses, (0, 1)).all())
        return binary and bool((self.predictions >= 0).all() and (self.predictions <= 1).all())

    @functools.cached_property
    def response_sd(self) -> Array | None:
        """Standard deviation of the responses (n, ...): of what will be observed; None without `sample`, and for class numbers."""
        if self.responses is None or self.responses.shape != self.predictions.shape:
            return None
        return np.asarray(np.std(self.responses, (0, 1), dtype=np.float64))

    def interval(self, level: float = 0.9, of: str | None = None) -> tuple[Array, Array]:
        """Equal-tailed interval, lower and upper end (n, ...).

        Parameters
        ----------
        level
            Probability between the ends.
        of
            "responses": what will be observed lies there with this probability; "predictions": the mean, probability or rate
            does. None: of responses, but of predictions where responses are labels (`labelled`) or there are none.
        """
        values = self._values(self._default() if of is None else _checks.one_of("of", of, ("responses", "predictions")))
        low, high = np.quantile(np.asarray(values, np.float64), tails(level), axis=(0, 1))
        return low, high

    def __repr__(self) -> str:
        chains, draws, *shape = self.predictions.shape
        count, of = math.prod(shape), self._default()
        some = self._values(of).reshape(chains, draws, -1)[..., :FIRST]
        ends = np.quantile(np.asarray(some, np.float64), [0.05, 0.95], axis=(0, 1))
        lines = [
            f"Predictive for {shape[0] if shape else 1} inputs, {chains} x {draws} draws. 5% to 95% is of {of}.",
            " ".join(f"{head:>11}" for head in ("", "mean", "error", "sd", "5%", "95%")),
        ]
        for at, low, high in zip(itertools.islice(np.ndindex(*shape), FIRST), *ends, strict=True):
            mean, low, high = (placed(float(place), float(self.sd[at])) for place in (self.mean.value[at], low, high))
            cells = mean, f"{self.mean.standard_error[at]:.4g}", f"{self.sd[at]:.4g}", low, high
            lines.append(" ".join([f"{list(at)!s:>11}", *(f"{cell:>11}" for cell in cells)]))
        return "\n".join([*lines, f"... and {count - FIRST:,} more"] if count > FIRST else lines)

    def _default(self) -> str:
        return "predictions" if self.responses is None or self.labelled else "responses"

    def _values(self, of: str) -> AnyArray:
        if of == "predictions":
            return self.predictions
        if self.responses is None:
            msg = "of must be 'predictions' here, got 'responses': the problem has no `sample`."
            raise ValueError(msg)
        return self.responses


@dataclass(frozen=True, eq=False)
class LogPredictive:
    """Log predictive density of m held-out examples: log of the likelihood averaged over draws.

    Attributes
    ----------
    pointwise
        One a held-out example (m,), with its Monte Carlo standard error.
    total
        Sum over the examples, with its Monte Carlo standard error (from the draws, for these examples).
    mean
        Mean over the examples, with the standard error over examples: what other examples would have given.
    """

    pointwise: Estimate = field(repr=False)
    total: Estimate
    mean: Estimate


def predictive(problem: Any, draws: AnyArray, inputs: Any, key: Any, offset: Any = None) -> Predictive:
    """Return predictions and responses for all draws (chain, draw, D), in float64 where the problem's data are."""
    if problem.predict is None:
        msg = "problem must have `predict` for posterior predictives, but it has none. Give Problem(..., predict=...), or use log_predictive."
        raise ValueError(msg)
    inputs = new_inputs(problem, inputs, offset)
    wide = any(np.asarray(leaf).dtype == np.float64 for leaf in jax.tree.leaves(problem.data))
    shape, responses = draws.shape[:2], None
    with jax.enable_x64(wide):
        flat = jnp.asarray(draws.reshape(-1, draws.shape[-1]), jnp.float64 if wide else jnp.float32)
        predictions = np.asarray(_predictions(problem, flat, inputs)).reshape(*shape, *_tail(problem, inputs, flat))
        if problem.sample is not None:
            keys = jax.random.split(jax.random.key(seed_of(key)), len(flat))
            made = np.asarray(_responses(problem, keys, flat, inputs))
            responses = made.reshape(*shape, *made.shape[1:])
    values = np.asarray(predictions, np.float64)
    return Predictive(monte_carlo(values), values.std((0, 1)), predictions, responses)


def _tail(problem: Any, inputs: Any, flat: Any) -> tuple[int, ...]:
    return tuple(jax.eval_shape(_predictions, problem, flat[:1], inputs).shape[1:])


@jax.jit
def _predictions(problem: Any, draws: Any, inputs: Any) -> Any:
    more = () if problem.hyperparams is None else (problem.hyperparams,)
    return jax.lax.map(lambda v: problem.predict(_tree.unflatten(v, problem.init), inputs, *more), draws)


@jax.jit
def _responses(problem: Any, keys: Any, draws: Any, inputs: Any) -> Any:
    more = () if problem.hyperparams is None else (problem.hyperparams,)

    def one(pair: Any) -> Any:
        return problem.sample(pair[0], _tree.unflatten(pair[1], problem.init), inputs, *more)

    return jax.lax.map(one, (keys, draws))


def log_predictive(problem: Any, draws: AnyArray, data: Any) -> LogPredictive:
    """Return the log predictive density of held-out examples, laid out like `problem.data`.

    A weight of w in the data of a ready-made model stands for w rows: the example's log density counts w times.
    """
    count, shape = _check_like(problem, data), draws.shape[:2]
    data, weights = _apart(problem, data, count)
    values, errors, influence, at = [], [], np.zeros(shape), 0
    for logs in _blocks(problem, draws, data, count):
        top = logs.max(0)
        ratio = np.exp(logs - top).reshape(*shape, -1)
        mean = monte_carlo(ratio)
        values.append(np.log(mean.value) + top)
        errors.append(mean.standard_error / mean.value)
        influence += (ratio / mean.value) @ weights[at : at + len(top)]  # d(total)/d(weight of a draw)
        at += len(top)
    pointwise, num_draws = np.concatenate(values), int(np.prod(shape))
    total = float(monte_carlo(influence[..., None]).standard_error[0])
    return LogPredictive(
        Estimate(pointwise, np.concatenate(errors), num_draws),
        Estimate(float(weights @ pointwise), total, num_draws),
        _over_rows(pointwise, weights),
    )


def _apart(problem: Any, data: Any, count: int) -> tuple[Any, Array]:
    """Return data in which every example counts once, and how often each does count (m,)."""
    if not (ready_made(problem.log_likelihood) and "weight" in data):
        return data, np.ones(count)
    return {**data, "weight": np.ones(count)}, np.asarray(data["weight"], np.float64)


def _over_rows(values: Array, weights: Array) -> Estimate:
    """Mean over rows with its standard error, each value standing for `weights` rows."""
    rows = float(weights.sum())
    mean = float(weights @ values) / rows
    square = float(weights @ (values - mean) ** 2)
    return Estimate(mean, math.sqrt(square / (rows - 1) / rows) if rows > 1 else math.nan, round(rows))


def log_likelihoods(problem: Any, draws: AnyArray) -> Array:
    """Log-likelihood of every example of the problem under every draw (chain, draw, N)."""
    blocks = list(_blocks(problem, draws, problem.data, problem.num_examples))
    return np.concatenate(blocks, 1).reshape(*draws.shape[:2], -1)


def _blocks(problem: Any, draws: AnyArray, data: Any, count: int) -> Iterator[Array]:
    """Yield log-likelihoods (draws, examples), some examples at a time."""
    flat = np.asarray(draws, np.float64).reshape(-1, draws.shape[-1])
    rows = max(1, _BLOCK // len(flat))
    for at in range(0, count, rows):
        block = jax.tree.map(lambda leaf, at=at: leaf[at : at + rows], data)
        with jax.enable_x64(True):
            logs = np.asarray(_log_densities(problem, flat, block))
        yield logs


@jax.jit
def _log_densities(problem: Any, draws: Any, block: Any) -> Any:
    wide = _tree.cast(block, jnp.float64)
    light = _tree.cast((problem.init, problem.hyperparams), jnp.float64)
    more = () if problem.hyperparams is None else (light[1],)

    def one(vector: Any) -> Any:
        params = _tree.unflatten(vector, problem.init)
        return jax.vmap(lambda example: problem.log_likelihood(params, example, *more))(wide)

    return jax.lax.map(one, draws, batch_size=16)


def _check_like(problem: Any, data: Any) -> int:
    """Check that data are laid out like the problem's; return how many examples there are."""
    also = " For a ready-made model, log_predictive(X, y) does it." if ready_made(problem.log_likelihood) else ""
    wanted = jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), problem.data)
    shapes = jax.tree.map(lambda leaf: tuple(np.shape(leaf)[1:]), data)
    counts = {int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
    if not _tree.alike(data, problem.data) or shapes != wanted or len(counts) != 1 or not min(counts):
        msg = f"data must be laid out like problem.data, one leading axis of examples before shapes {wanted}, got {shapes} (intercept columns included).{also}"
        raise ValueError(msg)
    return counts.pop()


def tails(level: Any) -> list[float]:
    """Return the probabilities of an equal-tailed interval's ends."""
    tail = (1 - _checks.within("level", level, 0, 1, closed="neither")) / 2
    return [tail, 1 - tail]


def monte_carlo(values: Array) -> Estimate:
    """Mean over chains and draws of values (chain, draw, ...), with its standard error.

    From the spread of chain means where there are 16 chains or more, else by effective draws (arviz-stats, method "mean").
    """
    chains, draws = values.shape[:2]
    if chains >= MANY_CHAINS:
        return mean_of(values.mean(1))
    mean, error = (
        values.mean((0, 1)),
        values.std((0, 1), ddof=1) if chains * draws > 1 else np.full(values.shape[2:], np.nan),
    )
    effective = effective_draws(values.reshape(chains, draws, -1), "mean").reshape(mean.shape)
    return Estimate(mean, error / np.sqrt(effective), chains * draws)


def effective_draws(values: Array, method: str) -> Array:
    """Effective draws of every quantity of values (chain, draw, K): arviz-stats' ess, "mean", "bulk" or "tail"; (K,).

    NaN for fewer than four draws; the number of draws where a quantity is constant.
    """
    from arviz_stats.base.array import array_stats

    chains, draws, size = values.shape
    out = np.full(size, np.nan)
    if draws < 4:
        return out if method != "mean" else np.full(size, float(chains * draws))
    more = {"prob": (0.05, 0.95)} if method == "tail" else {}
    moving = np.ptp(values, axis=(0, 1)) > 0
    out[~moving] = chains * draws
    if moving.any():
        out[moving] = array_stats.ess(values[..., moving], chain_axis=0, draw_axis=1, method=method, **more)
    return out
