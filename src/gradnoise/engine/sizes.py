"""Plan: the static sizes of a run. They come from the problem and `num_chains` alone, never from the machine.

Results may change in the last bit with the number of chains batched together (softmax, MLP), so the group size must not
depend on devices, threads or workers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks
from gradnoise.engine.recorders import Kernel, Recorder
from gradnoise.stream import Spec, Stream

GROUP = 64  # most chains batched together
WINDOW = 256  # steps between two additions to the moments, at absolute multiples
BLOCK = 64  # most steps whose randomness is drawn at once
BLOCK_BYTES = 1 << 18  # random words of a block stay in the cache
GROUP_BYTES = 1 << 26  # rows gathered, state and words of a group's step
WINDOW_BYTES = 1 << 24
EMIT_BYTES = 1 << 22  # what one recorder may emit in a chunk
PER_CHAIN_BYTES = 1 << 26  # moments are kept per chain up to this size in all
LARGE_STEP_FLOPS = 100_000  # above: batching chains brings nothing on a CPU, so more and smaller groups


class Plan(NamedTuple):
    """Static sizes and kernels of a compiled chunk.

    Attributes
    ----------
    group, window, block
        g chains batched together, W steps a window, K steps a block (K divides W).
    spec
        N, D, dtype.
    kernels, slots
        Static parts of the recorders, and how many emissions of each fit in one chunk.
    """

    group: int
    window: int
    block: int
    spec: Spec
    kernels: tuple[Kernel, ...]
    slots: tuple[int, ...]

    @property
    def aligned(self) -> bool:
        """Whether aligned rows pay: their one more operation a step costs few recorded chains 1.3 to 1.7 times the time."""
        return not self.kernels or self.group >= 8


def make_plan(problem: Any, process: Any, recorders: tuple[Recorder, ...], num_chains: int, dtype: str) -> Plan:
    """Choose g, W and K."""
    spec = Spec(problem.num_examples, problem.num_params, dtype)
    item, d = np.dtype(dtype).itemsize, spec.num_params
    words = max(process.words_per_step(spec), 1)
    rows = _rows_per_step(process, spec)
    row_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(problem.data)) / spec.num_examples
    groups = 8 if 6 * rows * d > LARGE_STEP_FLOPS else 2
    group = _power_of_two(max(1, min(GROUP, -(-num_chains // groups))))
    while group > 1 and (
        group * ((rows if process.reads == "rows" else 0) * row_bytes + 4 * d * item) > GROUP_BYTES
        or group * words * 8 > GROUP_BYTES
    ):
        group //= 2
    kind = _moments_kind(num_chains, d, item)
    if kind == "pooled":  # a padded chain could not be taken out of a pooled sum
        group = math.gcd(group, num_chains)
    window = WINDOW
    while window > 8 and group * window * (d + 1) * item > WINDOW_BYTES:
        window //= 2
    block = min(BLOCK, window)
    while block > 2 and 4 * block * group * words > BLOCK_BYTES:
        block //= 2
    kernels = tuple(r.kernel(kind) for r in recorders)
    slots = tuple(
        max(1, min(1 << 16, EMIT_BYTES // (group * item * w))) if (w := k.width(spec)) else 0 for k in kernels
    )
    return Plan(group, window, block, spec, kernels, slots)


def require_memory(
    problem: Any, process: Any, recorders: tuple[Recorder, ...], plan: Plan, num_chains: int, kept_steps: int
) -> None:
    """Refuse what the memory of this machine cannot hold, before anything is compiled.

    A block of two steps of one chain holds its random words and row numbers, and a step the rows that it gathers: bytes from the
    sizes alone. What the recorders emit stays in memory until the end.
    """
    spec, most = plan.spec, _checks.memory()
    item = np.dtype(spec.dtype).itemsize
    rows = _rows_per_step(process, spec) if process.reads == "rows" else 0
    row = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(problem.data)) / spec.num_examples
    need = 2 * 4 * max(process.words_per_step(spec), 1) + rows * (4 + row)
    if need > most:
        msg = (
            f"batch_size must be smaller: its random numbers and the rows that a step reads ({rows:,}) take {need / 1e9:.3g} GB a chain, "
            f"more than the {most / 1e9:.3g} GB of this machine."
        )
        raise ValueError(msg)
    kernels = zip(recorders, plan.kernels, strict=True)
    held = sum(r.emitted(kept_steps, 0) * num_chains * k.width(spec) * item for r, k in kernels)
    if held > most:
        msg = (
            f"num_steps, num_chains and record must be smaller: what is recorded would take {held / 1e9:.3g} GB, more than the "
            f"{most / 1e9:.3g} GB of this machine. Thin it (every), or keep moments alone."
        )
        raise ValueError(msg)


def _moments_kind(num_chains: int, d: int, item: int) -> str:
    if num_chains == 1:
        return "batches"
    return "chains" if num_chains * (d + 1) ** 2 * item * 2 <= PER_CHAIN_BYTES else "pooled"


def _power_of_two(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def _rows_per_step(process: Any, spec: Spec) -> int:
    """Rows of data that one step of one chain reads."""
    if process.reads == "all":
        return spec.num_examples
    key, steps = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((2,), jnp.int32)
    with jax.enable_x64(spec.dtype == "float64"):
        drawn = jax.eval_shape(lambda k, s: process.draw(Stream(k), s, spec), key, steps)
    return int(np.prod(drawn["indices"].shape[1:]))
