"""Run: the result of a simulation, which saves, loads, extends and resumes."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import AnyArray, Array
from gradnoise.engine import checkpoint as _checkpoint
from gradnoise.engine.job import Job, State
from gradnoise.engine.loop import execute
from gradnoise.engine.progress import Report, reporting
from gradnoise.engine.recorders import SUMS
from gradnoise.engine.replay import without_diverged
from gradnoise.engine.statistics import Pieces, mixed_groups, pieces_of, unheard
from gradnoise.results import Estimate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run: `.run` holds everything computed so far and can be extended."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(f"interrupted after {run.num_steps:,} of {run.requested_steps:,} steps; .run holds them")


class Divergence(RuntimeError):
    """A chain diverged: its params are beyond 1e12, or not finite. `.chains` maps chain to step, `.run` holds the rest."""

    def __init__(self, run: Run) -> None:
        self.run, self.chains = run, dict(run.diverged)
        first = sorted(run.diverged.items(), key=lambda item: item[1])
        named = ", ".join(f"chain {c} at step {s}" for c, s in first[:5]) + (", …" if len(first) > 5 else "")
        super().__init__(
            f"{len(first)} of {run.num_chains} chains diverged: {named} (params not finite or beyond 1e12). The usual cause "
            "is a learning rate beyond the stability edge (theory.stability_edge), or, at step 1, a gradient that is not finite "
            "where the chains start; on_divergence='keep' drops such chains."
        )


class Failure(RuntimeError):
    """A chunk failed (out of memory, a worker killed), or what followed the last one; `.run` holds all steps done and can be extended."""

    def __init__(self, run: Run, error: Exception) -> None:
        self.run = run
        super().__init__(
            f"the run failed after {run.num_steps:,} steps, which .run holds: {type(error).__name__}: {error}"
        )


@dataclass(frozen=True)
class Run:
    """What `simulate` returns. Diverged chains are dropped whole from every statistic and named in `diverged`.

    Attributes
    ----------
    requested_steps
        Steps asked for; `num_steps` of them are done.
    """

    _job: Job
    _state: State
    requested_steps: int

    @property
    def problem(self) -> Any:
        """The problem."""
        return self._job.problem

    @property
    def process(self) -> Any:
        """The process."""
        return self._job.process

    @property
    def num_steps(self) -> int:
        """Steps done, burn-in included."""
        return self._state.step

    @property
    def num_chains(self) -> int:
        """Chains started."""
        return self._job.num_chains

    @property
    def burn_in(self) -> int:
        """Steps left out at the start."""
        return self._job.burn_in

    @property
    def diverged(self) -> dict[int, int]:
        """Chain -> step at which it diverged."""
        return dict(self._state.diverged)

    @property
    def chains(self) -> AnyArray:
        """Numbers of the chains that are kept, in the order of `draws`."""
        return np.array([c for c in range(self.num_chains) if c not in self._state.diverged], dtype=np.int64)

    @property
    def seconds(self) -> float:
        """Wall time, compilation included."""
        return self._state.seconds

    @property
    def compile_seconds(self) -> float:
        """Wall time of the first chunk: compilation and a few steps."""
        return self._state.compile_seconds

    @property
    def notes(self) -> tuple[str, ...]:
        """What the engine had to do differently than planned."""
        if not (count := unheard(self._job, self._state)):
            return self._state.notes
        groups = len(mixed_groups(self._job, self._state))
        lost = (
            f"chains that diverged were added up with others, in {groups} of {self._job.num_groups} groups: the moments of their {count} healthy "
            + (
                "chains are missing, as the problem is not known here."
                if self._job.problem is None
                else "chains come from running these groups again without the others, when moments are first asked for."
            )
        )
        return (*self._state.notes, lost)

    @property
    def draws(self) -> AnyArray:
        """Recorded states (chain, draw, D), in the order of `Problem.flatten`."""
        return self._emitted("draws", "gn.record.draws(every=...)")

    @property
    def averages(self) -> AnyArray:
        """Means over consecutive windows (chain, window, D)."""
        return self._emitted("averages", "gn.record.averages(window=...)")

    @property
    def losses(self) -> AnyArray:
        """Mean loss over all data (chain, time)."""
        return self._emitted("loss", "gn.record.loss(every=...)")[..., 0]

    def _emitted(self, name: str, how: str) -> AnyArray:
        if name not in self._state.emitted:
            msg = f"{name} were not recorded; ask for them with record={how}."
            raise ValueError(msg)
        return np.swapaxes(self._state.all_emitted(name), 0, 1)[self.chains]

    @functools.cached_property
    def pieces(self) -> Pieces:
        """Count, mean and scatter of each chain (or batch of the one chain): what standard errors come from."""
        if not any(r.name in SUMS for r in self._job.recorders):
            msg = "moments were not recorded; ask for them with record=gn.record.moments()."
            raise ValueError(msg)
        return pieces_of(self._job, self._state, without_diverged(self._job, self._state))

    @property
    def mean(self) -> Array:
        """Mean over steps and chains (D,)."""
        return self.pieces.total_mean()

    @property
    def mean_standard_error(self) -> Array:
        """Standard error of `mean` (D,), from the spread over chains (batches of the one chain)."""
        return self.mean_estimate.standard_error  # type: ignore[no-any-return]

    @property
    def mean_estimate(self) -> Estimate:
        """`mean` with its standard error."""
        return _weighted(self.pieces.mean, self.pieces.count, self.pieces.serial)

    @property
    def covariance(self) -> Array:
        """Covariance over steps and chains about the mean over chains (D, D); above 1000 parameters only on request."""
        return self.covariance_estimate.value  # type: ignore[no-any-return]

    @property
    def covariance_standard_error(self) -> Array:
        """Standard error of each entry of `covariance` (D, D)."""
        return self.covariance_estimate.standard_error  # type: ignore[no-any-return]

    @functools.cached_property
    def covariance_estimate(self) -> Estimate:
        """`covariance` with its standard error: `.n` chains (or batches: see `standard_error_from`)."""
        return _symmetric(_weighted(self.pieces.second_moments(self.mean), self.pieces.count, self.pieces.serial))

    @property
    def variance(self) -> Array:
        """Variance of each parameter over steps and chains (D,)."""
        return self.variance_estimate.value  # type: ignore[no-any-return]

    @functools.cached_property
    def variance_estimate(self) -> Estimate:
        """`variance` with its standard error (D,); it takes `gn.record.variances()` or `.moments()`."""
        return _weighted(self.pieces.squares(self.mean), self.pieces.count, self.pieces.serial)

    @property
    def standard_error_from(self) -> str:
        """What standard errors are taken from: "chains", "groups of chains" or "batches of one chain"."""
        return self.pieces.kind

    def second_moment(self, about: Any) -> Estimate:
        """Second moment about a known point (D,), with its standard error (D, D): what a law test compares."""
        point = _checks.vector("about", about, len(self.mean))
        return _symmetric(_weighted(self.pieces.second_moments(point), self.pieces.count, self.pieces.serial))

    @property
    def state(self) -> AnyArray:
        """Last states (num_chains, D), diverged chains included."""
        rows = [_tree.flatten_rows(carry["params"]) for carry in self._state.carries]
        return np.concatenate(rows)[: self.num_chains]

    def save(self, path: str | Path) -> Path:
        """Write the run to `path` (npz) and, beside it, one file a recorder that emits; of older files only a run is replaced."""
        return _checkpoint.save(_checks.path("path", path), self._job, self._state)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a run written by `save` or by a checkpoint. The file holds a pickle: open only what you trust."""
        job, state = _checkpoint.load(_checks.path("path", path))
        return cls(job, state, state.step)

    def extend(
        self,
        num_steps: int,
        *,
        progress: bool | Report = True,
        checkpoint: str | Path | None = None,
        until: Callable[[Run], bool] | None = None,
        on_divergence: str = "raise",
    ) -> Run:
        """Go on for `num_steps` more steps; bit-identical to one long run. This run stays as it is."""
        more = _checks.integer("num_steps", num_steps)
        if until is not None:
            _checks.function("until", until)
        old = self._state
        state = State(
            old.step, list(old.carries), {k: list(v) for k, v in old.emitted.items()}, dict(old.diverged), old.seconds,
            old.compile_seconds, old.notes, old.stored, old.digest,
        )  # fmt: skip
        return advance(
            self._job, state, self.num_steps + more, progress=progress, checkpoint=checkpoint, until=until,
            on_divergence=on_divergence,
        )  # fmt: skip

    def __repr__(self) -> str:
        process = type(self.process).__name__
        lost = f", {len(self.diverged)} diverged" if self.diverged else ""
        kept = ", ".join(r.name for r in self._job.recorders)
        return (
            f"Run({process}, num_chains={self.num_chains}{lost}, num_steps={self.num_steps:,}, burn_in={self.burn_in:,}, "
            f"recorded: {kept or 'nothing'}, {self.seconds:.1f} s)"
        )


def advance(
    job: Job,
    state: State,
    num_steps: int,
    *,
    progress: bool | Report,
    checkpoint: str | Path | None,
    until: Callable[[Run], bool] | None,
    on_divergence: str,
) -> Run:
    """Advance a state to `num_steps`, and raise what must be raised with the run inside."""
    run = Run(job, state, num_steps)
    ask = None if until is None else lambda: bool(until(Run(job, state, num_steps)))
    path = None if checkpoint is None else _checks.path("checkpoint", checkpoint)
    _require_continuable(job, state)
    if path is not None and path.is_file() and (state.stored is None or state.stored.path != path.resolve()):
        _checkpoint.require_same(path, _checkpoint.read(path).meta, job)
    stop = _checks.one_of("on_divergence", on_divergence, ("raise", "keep")) == "raise"
    before = state.step
    writes = path is not None and state.step < num_steps  # a file that holds all steps is only read
    writing = _checkpoint.writing(path, job) if writes else contextlib.nullcontext()
    with writing as writer, reporting(progress) as report:
        try:
            outcome = execute(job, state, num_steps, report=report, until=ask, writer=writer, stop_on_divergence=stop)
        except Exception as error:
            if state.step == before:
                raise
            raise Failure(run, error) from error
    if outcome == "interrupted":
        raise Interrupted(run)
    if outcome == "diverged":
        raise Divergence(run)
    return run


def _require_continuable(job: Job, state: State) -> None:
    if job.problem is None:
        msg = f"run must hold its problem and process to go on: {state.notes[-1]}"
        raise ValueError(msg)
    if state.digest is not None and state.digest != job.digest:
        msg = (
            "run must be continued by the versions that wrote it: gradnoise or JAX has changed since, so the numbers would not be "
            "those of one run. It can still be read; start a new run with init=run to go on from its last states."
        )
        raise ValueError(msg)


def _memory(values: Array) -> Array:
    """Factor on the variance of a mean of successive batches, from their lag-one correlation; at least 1."""
    gap = values - values.mean(0)
    correlation = (gap[1:] * gap[:-1]).sum(0) / np.maximum((gap**2).sum(0), np.finfo(float).tiny)
    correlation = np.clip(correlation, 0.0, 0.95)
    return np.asarray((1 + correlation) / (1 - correlation))


def _symmetric(found: Estimate) -> Estimate:
    """Return a matrix and its errors symmetric to the last bit."""
    return Estimate(_checks.symmetrised(found.value), _checks.symmetrised(found.standard_error), found.n)


def _weighted(values: Array, count: Array, serial: bool = False) -> Estimate:
    """Mean over pieces weighted by their counts, with the standard error of a ratio estimate.

    Batches of one chain (`serial`) remember each other where the chain is slow: the error allows for it.
    """
    n, weights = len(values), count / count.sum()
    mean = np.tensordot(weights, values, 1)
    if n < 2:
        return Estimate(mean, np.full_like(mean, math.inf), n)
    gap = (values - mean) * weights.reshape(-1, *([1] * (values.ndim - 1)))
    variance = (gap**2).sum(0) * n / (n - 1)
    return Estimate(mean, np.sqrt(variance * _memory(values) if serial else variance), n)
