"""Job and State: what a run is, and how far it has come."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from gradnoise._types import AnyArray
from gradnoise.engine import chunk as _chunk
from gradnoise.engine.parallel import on_host
from gradnoise.engine.recorders import Recorder
from gradnoise.engine.sizes import Plan
from gradnoise.stream import Stream

FORMAT = 2  # of checkpoints; a change of it, or of the version, refuses older files


@dataclass(frozen=True)
class Job:
    """Everything that determines the numbers of a run, but for its length.

    Attributes
    ----------
    problem, process, recorders, plan
        What runs, what is kept, and the static sizes.
    seed, num_chains, burn_in
        As given to `simulate`.
    params
        Initial params (num_chains, D), NumPy.
    threads, workers
        Where it runs; the numbers do not depend on it.
    """

    problem: Any
    process: Any
    recorders: tuple[Recorder, ...]
    plan: Plan
    seed: int
    num_chains: int
    burn_in: int
    params: AnyArray
    threads: int | None = None
    workers: int = 1

    @property
    def num_groups(self) -> int:
        """Groups of chains; the last may be padded."""
        return -(-self.num_chains // self.plan.group)

    def chains(self, group: int) -> AnyArray:
        """Chain numbers of a group, padding included."""
        return group * self.plan.group + np.arange(self.plan.group)

    def start_params(self, group: int) -> Any:
        """Return the initial params of a group as a pytree with a leading chain axis."""
        rows = self.params[np.minimum(self.chains(group), self.num_chains - 1)].astype(self.plan.spec.dtype)
        return self.problem.unflatten(rows)

    def carry_structure(self) -> Any:
        """Shapes and tree of one group's carry."""
        with jax.enable_x64(self.plan.spec.dtype == "float64"):
            return jax.eval_shape(
                functools.partial(_chunk.start, plan=self.plan), self.problem, self.process, params=self.start_params(0)
            )

    @functools.cached_property
    def digest(self) -> str:
        """Fingerprint of the step's program, data, numbers, seed, chains and recorders."""
        from gradnoise import __version__

        h = hashlib.blake2b(digest_size=16)
        settings = (FORMAT, __version__, self.recorders, self.plan.spec, self.plan.window, self.plan.group)
        h.update(repr((*settings, self.seed, self.num_chains, self.burn_in)).encode())
        h.update(self._program().encode())
        for leaf in [*jax.tree.leaves((self.problem, self.process)), self.params]:
            array = np.ascontiguousarray(leaf)
            h.update(f"{array.dtype}{array.shape}".encode())
            h.update(array.tobytes())
        return h.hexdigest()

    def _program(self) -> str:
        """Text of draw and step as JAX sees them, without memory addresses."""
        spec, problem, process = self.plan.spec, self.problem, self.process
        params = jax.tree.map(lambda a: a[0], self.start_params(0))

        def one(problem: Any, process: Any, params: Any, key: Any) -> Any:
            draws = process.draw(Stream(key), jnp.arange(2, dtype=jnp.int32), spec)
            now = jax.tree.map(lambda a: a[0], draws)
            batch = problem.data
            if process.reads == "rows":
                batch = jax.tree.map(lambda a: jnp.asarray(a)[now["indices"]], batch)
            return process.step(problem, params, process.init(problem, params), batch, now)

        with jax.enable_x64(spec.dtype == "float64"):
            closed = jax.make_jaxpr(one)(problem, process, params, np.zeros(2, np.uint32))
        constants = [hashlib.blake2b(np.ascontiguousarray(c).tobytes()).hexdigest() for c in _constants(closed)]
        return re.sub(r"0x[0-9a-f]+", "", str(closed)) + " ".join(constants)

    def bare(self) -> dict[str, Any]:
        """Return the fields without the user's functions: enough to read what was recorded."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "problem": None, "process": None}

    @functools.cached_property
    def payload(self) -> bytes:
        """The job, pickled; empty where its functions cannot be pickled (lambdas)."""
        try:
            return pickle.dumps({**self.bare(), "problem": on_host(self.problem), "process": on_host(self.process)})
        except Exception:  # pickle raises many kinds; a file without it still resumes through simulate(checkpoint=...)
            return b""


class Stored(NamedTuple):
    """What a file already holds of a state: its path, the token of its side files, emissions of each recorder and their checksums."""

    path: Path
    token: str
    counts: dict[str, int]
    sums: dict[str, int]


@dataclass
class State:
    """How far a run has come.

    Attributes
    ----------
    step
        Steps done.
    carries
        One carry a group, NumPy.
    emitted
        What recorders emitted: name -> list of (emissions, chains, width).
    diverged
        Chain -> step at which it diverged.
    seconds, compile_seconds
        Wall time in all, and of the first chunk (compilation and a few steps).
    notes
        What the engine or a file had to say.
    stored
        What a file holds of it, or None.
    digest
        Of the job that wrote it, where it was read from a file.
    """

    step: int = 0
    carries: list[Any] = field(default_factory=list)
    emitted: dict[str, list[AnyArray]] = field(default_factory=dict)
    diverged: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    stored: Stored | None = None
    digest: str | None = None

    def all_emitted(self, name: str) -> AnyArray:
        """Return the emissions of one recorder, (emissions, chains, width)."""
        parts = self.emitted[name]
        if len(parts) > 1:
            self.emitted[name] = parts = [np.concatenate(parts)]
        return parts[0]


def _constants(value: Any) -> Iterator[Any]:
    """Arrays that a program captured, at any depth: its printed text does not show them."""
    if isinstance(value, jax.extend.core.ClosedJaxpr):
        yield from value.consts
        value = value.jaxpr
    if isinstance(value, jax.extend.core.Jaxpr):
        for equation in value.eqns:
            yield from (v.val for v in equation.invars if isinstance(v, jax.extend.core.Literal))
            for inner in equation.params.values():
                yield from _constants(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _constants(inner)
