"""Recorders: what to keep while running. This module is `gn.record`.

A recorder's *kernel* is its static part inside the compiled chunk: ``init`` makes its accumulator, ``update`` reads the
window of states just run. All times are data, so that another `every` does not recompile. A window is `W` consecutive
steps at absolute multiples of `W`; sums are taken over complete windows only, so a run may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise import _checks
from gradnoise.derivatives import DENSE
from gradnoise.stream import Spec

SUMS = ("moments", "variances")  # recorders that add up and emit nothing
BATCHES = 64  # batches that one chain's standard error is taken from


class View(NamedTuple):
    """The window just run: rows (g, W, D+1), last column one; local steps `low`..`high` of it are new."""

    rows: Any
    start: Any
    low: Any
    high: Any
    burn_in: Any
    first: Any  # the chunk's first emission happens after this many (local) steps ...
    every: Any  # ... and then again after as many

    @property
    def complete(self) -> Any:
        """Whether the window is full."""
        return self.high == self.start + self.rows.shape[1]

    def due(self, step: Any) -> Any:
        """Emissions of this chunk in its steps up to `step`."""
        return jnp.maximum(step - self.first + self.every, 0) // self.every

    def row(self, steps_done: Any) -> Any:
        """States (g, D) after so many (local) steps."""
        return lax.dynamic_index_in_dim(self.rows, steps_done - 1 - self.start, 1, keepdims=False)[:, :-1]


class Kernel(Protocol):
    """Static part of a recorder."""

    def width(self, spec: Spec) -> int:
        """Numbers a chain emits at a time; 0: it emits nothing."""

    def init(self, params: Any, spec: Spec) -> Any:
        """Accumulator of one group, from its flat initial params (g, D)."""

    def update(self, problem: Any, accumulator: Any, out: Any, view: View) -> tuple[Any, Any]:
        """Accumulator and emitted buffer (slots, g, width) after a window."""


def two_sum(pair: tuple[Any, Any], x: Any) -> tuple[Any, Any]:
    """Add x to a compensated pair (high, low), which is read as high + low in float64 on the host."""
    high, low = pair
    total = high + x
    back = total - high
    return total, low + ((high - (total - back)) + (x - back))


@dataclass(frozen=True)
class EmitState:
    """Emits the params."""

    def width(self, spec: Spec) -> int:
        """D."""
        return spec.num_params

    def init(self, params: Any, spec: Spec) -> Any:
        """Nothing to accumulate."""
        del params, spec
        return ()

    def update(self, problem: Any, accumulator: Any, out: Any, view: View) -> tuple[Any, Any]:
        """Copy the rows that are due."""
        del problem

        def put(j: Any, out: Any) -> Any:
            return lax.dynamic_update_index_in_dim(out, view.row(view.first + j * view.every), j, 0)

        return accumulator, lax.fori_loop(view.due(view.low), view.due(view.high), put, out)


@dataclass(frozen=True)
class EmitLoss:
    """Emits the mean loss over all data."""

    def width(self, spec: Spec) -> int:
        """One number."""
        del spec
        return 1

    def init(self, params: Any, spec: Spec) -> Any:
        """Nothing to accumulate."""
        del params, spec
        return ()

    def update(self, problem: Any, accumulator: Any, out: Any, view: View) -> tuple[Any, Any]:
        """Evaluate the loss at the rows that are due."""

        def put(j: Any, out: Any) -> Any:
            params = problem.unflatten(view.row(view.first + j * view.every))
            losses = jax.vmap(problem.loss)(params)
            return lax.dynamic_update_index_in_dim(out, losses[:, None].astype(out.dtype), j, 0)

        return accumulator, lax.fori_loop(view.due(view.low), view.due(view.high), put, out)


@dataclass(frozen=True)
class EmitAverage:
    """Emits the mean of the last `every` iterates; windows do not overlap."""

    def width(self, spec: Spec) -> int:
        """D."""
        return spec.num_params

    def init(self, params: Any, spec: Spec) -> Any:
        """Compensated sum of deviations from the initial params."""
        del spec
        return {"reference": params, "sum": (jnp.zeros_like(params), jnp.zeros_like(params))}

    def update(self, problem: Any, accumulator: Any, out: Any, view: View) -> tuple[Any, Any]:
        """Add row by row, in one order however the run is cut."""
        del problem
        reference = accumulator["reference"]

        def add(t: Any, pair: Any) -> Any:
            return two_sum(pair, view.row(t + 1) - reference)

        def close(j: Any, c: Any) -> Any:
            at, pair, out = c
            end = view.first + j * view.every
            high, low = lax.fori_loop(at, end, add, pair)
            mean = reference + (high + low) / view.every.astype(high.dtype)
            return end, (jnp.zeros_like(high), jnp.zeros_like(low)), lax.dynamic_update_index_in_dim(out, mean, j, 0)

        begin = jnp.clip(view.burn_in, view.low, view.high)
        c = (begin, accumulator["sum"], out)
        at, pair, out = lax.fori_loop(view.due(view.low), view.due(view.high), close, c)
        return {"reference": reference, "sum": lax.fori_loop(at, view.high, add, pair)}, out


@dataclass(frozen=True)
class SumMoments:
    """Sums y yᵀ with y = [θ - reference, 1], which is count, sum and products in one product a window.

    Attributes
    ----------
    kind
        "chains": a sum for each chain. "pooled": one for the group (many chains of many params). "batches": one chain, up
        to 64 batches of windows, merged in pairs when they are full.
    diagonal
        Whether sums of y and of y² alone are kept, (2, D + 1) numbers instead of (D + 1)².
    """

    kind: str
    diagonal: bool = False

    def width(self, spec: Spec) -> int:
        """Zero: it emits nothing."""
        del spec
        return 0

    def init(self, params: Any, spec: Spec) -> Any:
        """Zero sums; the reference moves to the first state after burn-in. `counted`: chains of a pooled sum."""
        g, d = params.shape
        lead = {"chains": (g,), "pooled": (), "batches": (BATCHES,)}[self.kind]
        zero = jnp.zeros((*lead, 2 if self.diagonal else d + 1, d + 1), spec.dtype)
        out = {"sums": (zero, zero), "reference": params if self.kind == "chains" else params[:1]}
        if self.kind == "pooled":
            return {**out, "counted": jnp.ones(g, bool)}
        return {**out, "windows": jnp.int32(0), "length": jnp.int32(1)} if self.kind == "batches" else out

    def update(self, problem: Any, accumulator: Any, out: Any, view: View) -> tuple[Any, Any]:
        """Add the window if it is complete."""
        del problem
        steps = view.start + jnp.arange(view.rows.shape[1])
        late = steps >= view.burn_in

        def add(acc: dict[str, Any]) -> dict[str, Any]:
            at = jnp.clip(view.burn_in - view.start, 0, view.rows.shape[1] - 1)
            begins = (view.burn_in >= view.start) & late.any()
            now = lax.dynamic_index_in_dim(view.rows, at, 1, keepdims=False)[:, :-1]
            use = late[:, None]
            if self.kind == "pooled":  # a chain that is left out must not even be the reference
                now = lax.dynamic_index_in_dim(now, jnp.argmax(acc["counted"]), 0)
                use = use & acc["counted"][:, None, None]
            reference = jnp.where(begins, now[: acc["reference"].shape[0]], acc["reference"])
            y = jnp.where(use, view.rows - jnp.pad(reference, ((0, 0), (0, 1)))[:, None], 0)
            return self._add({**acc, "reference": reference}, y)

        return lax.cond(view.complete & late.any(), add, lambda acc: acc, accumulator), out

    def _add(self, acc: dict[str, Any], y: Any) -> dict[str, Any]:
        if self.kind == "chains":
            fresh = jnp.stack([y.sum(1), (y * y).sum(1)], 1) if self.diagonal else jnp.einsum("gwi,gwj->gij", y, y)
            return {**acc, "sums": two_sum(acc["sums"], fresh)}
        flat = y.reshape(-1, y.shape[-1])
        if self.kind == "pooled":
            return {**acc, "sums": two_sum(acc["sums"], flat.T @ flat)}
        slot = acc["windows"] // acc["length"]
        sums, length = lax.cond(slot == BATCHES, _halve, lambda s, n: (s, n), acc["sums"], acc["length"])
        slot = acc["windows"] // length
        old = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, slot, 0, keepdims=False), sums)
        fresh = jnp.stack([flat.sum(0), (flat * flat).sum(0)]) if self.diagonal else flat.T @ flat
        new = two_sum(old, fresh)
        sums = jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, slot, 0), sums, new)
        return {**acc, "sums": sums, "length": length, "windows": acc["windows"] + 1}


def _halve(sums: Any, length: Any) -> tuple[Any, Any]:
    """Merge batches in pairs: 64 batches become 32 of twice the length."""
    high, low = sums
    total, low_total = two_sum((high[0::2], low[0::2] + low[1::2]), high[1::2])
    pad = [(0, BATCHES // 2), (0, 0), (0, 0)]
    return (jnp.pad(total, pad), jnp.pad(low_total, pad)), length * 2


@dataclass(frozen=True)
class Recorder:
    """One thing to keep; make it with `draws`, `moments`, `variances`, `averages` or `loss`.

    Attributes
    ----------
    name
        "draws", "moments", "variances", "averages" or "loss".
    every
        Steps between two emissions (1 for moments and variances).
    """

    name: str
    every: int = 1

    def kernel(self, moments_kind: str) -> Kernel:
        """Return the static part."""
        if self.name == "moments":
            return SumMoments(moments_kind)
        if self.name == "variances":
            return SumMoments("batches" if moments_kind == "batches" else "chains", diagonal=True)
        kinds: dict[str, Kernel] = {"draws": EmitState(), "averages": EmitAverage(), "loss": EmitLoss()}
        return kinds[self.name]

    def emitted(self, steps: int, burn_in: int) -> int:
        """Emissions in the first `steps` steps of a run."""
        return 0 if self.name in SUMS else max(steps - burn_in, 0) // self.every


def draws(every: int = 1) -> Recorder:
    """Keep the params every `every` steps: draw j is the state after step burn_in + (j+1)·every."""
    return Recorder("draws", _checks.integer("every", every, high=1 << 29))


def moments() -> Recorder:
    """Keep mean and covariance of the states after burn-in, per chain, with standard errors.

    Matrices (D, D) for each chain, or 64 of them for one: above 1000 parameters `variances` costs hardly anything beside it.
    """
    return Recorder("moments")


def variances() -> Recorder:
    """Keep mean and variances (no covariances) of the states after burn-in, per chain, with standard errors."""
    return Recorder("variances")


def averages(window: int) -> Recorder:
    """Keep the mean of each `window` consecutive iterates after burn-in; windows do not overlap."""
    return Recorder("averages", _checks.integer("window", window, high=1 << 29))


def loss(every: int) -> Recorder:
    """Keep the mean loss over all data every `every` steps (costs a pass over the data each time)."""
    return Recorder("loss", _checks.integer("every", every, high=1 << 29))


def default_recorder(num_params: int) -> Recorder:
    """Moments, or where matrices (D, D) would cost more than the steps, variances."""
    return moments() if num_params <= DENSE else variances()


def as_recorders(record: Recorder | Sequence[Recorder] | str | None) -> tuple[Recorder, ...]:
    """Return the recorders as a tuple: one, a list, or None."""
    if record is not None and not isinstance(record, (Recorder, list, tuple)):
        msg = f"record must be a recorder or a list of them, such as gn.record.moments(), got {_checks.shown(record)}."
        raise TypeError(msg)
    items = () if record is None else (record,) if isinstance(record, Recorder) else tuple(record)
    for item in items:
        if not isinstance(item, Recorder):
            msg = f"record must hold recorders such as gn.record.moments(), got {_checks.shown(item)}."
            raise TypeError(msg)
    names = [item.name for item in items]
    if all(name in names for name in SUMS):
        msg = "record must hold moments or variances, not both: moments hold the variances."
        raise ValueError(msg)
    if len(set(names)) < len(names):
        msg = f"record must hold each recorder once, got {names}."
        raise ValueError(msg)
    return items


def read_pair(pair: Any) -> Any:
    """Return a compensated pair as float64 on the host."""
    return np.asarray(pair[0], np.float64) + np.asarray(pair[1], np.float64)
