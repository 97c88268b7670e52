"""The compiled chunk: any number of steps of one group of chains.

Three nested loops with traced bounds, all aligned to absolute steps:
    window (W steps: recorders read its rows) > block (K steps: randomness drawn at once) > step.
The pair (problem, process) is the one unbatched argument; its numbers and matrices are traced leaves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise.engine.recorders import View
from gradnoise.engine.sizes import Plan
from gradnoise.stream import Stream

BOUND = 1e12  # params beyond it, or not finite, count as diverged
# XLA splits loops over its thread pool and the split loops lose SIMD (1.7 to 7.9 times slower); only this pass is left out
UNSPLIT = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}


class Clock(NamedTuple):
    """When: all traced int32, local to the run's era. `emit` holds (first, every) of each recorder."""

    start: Any
    stop: Any
    burn_in: Any
    emit: tuple[tuple[Any, Any], ...]


def take(array: Any, index: Any) -> Any:
    """Gather rows: array[index] for int32 index (...), without clamping."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(index.ndim, index.ndim + array.ndim - 1)),
        collapsed_slice_dims=(0,),
        start_index_map=(0,),
    )
    sizes = (1, *array.shape[1:])
    return lax.gather(array, index[..., None], numbers, sizes, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


def flat(params: Any) -> Any:
    """Pytree with leading axis g -> (g, D)."""
    leaves = [a.reshape(a.shape[0], -1) for a in jax.tree.leaves(params)]
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves, 1)


def start(problem: Any, process: Any, plan: Plan, params: Any) -> dict[str, Any]:
    """Return the carry of one group at step 0 from its params (leading axis g)."""
    vector = flat(params)
    return {
        "params": params,
        "state": jax.vmap(lambda p: process.init(problem, p))(params),
        "bad": jnp.full(plan.group, -1, jnp.int32),
        "rows": jnp.ones((plan.group, plan.window if plan.kernels else 1, plan.spec.num_params + 1), vector.dtype),
        "recorders": tuple(k.init(vector, plan.spec) for k in plan.kernels),
    }


def chunk(problem: Any, process: Any, plan: Plan, keys: Any, clock: Clock, carry: Any) -> tuple[Any, Any]:
    """Advance one group from local step clock.start to clock.stop; return the carry and what the recorders emitted."""
    many, width, keep = plan.group > 1, plan.window, bool(plan.kernels)

    def one(params: Any, state: Any, draws: Any) -> Any:
        rows = process.reads == "rows"
        batch = jax.tree.map(lambda a: take(a, draws["indices"]), problem.data) if rows else problem.data
        return process.step(problem, params, state, batch, draws)

    def block(b: Any, c: Any) -> Any:
        t0 = b * plan.block
        steps = t0 + jnp.arange(plan.block, dtype=jnp.int32)
        draw = functools.partial(_draw, process, steps, plan)
        draws = jax.vmap(draw, out_axes=1)(keys) if many else draw(keys[0])

        def step(i: Any, c: Any) -> Any:
            params, state, rows = c
            now = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), draws)
            params, state = (jax.vmap(one) if many else one)(params, state, now)
            if not keep:
                return params, state, rows
            row = flat(params)[:, None] if many else flat(_back(params))
            at = (jnp.int32(0), t0 % width + i, jnp.int32(0)) if many else (t0 % width + i, jnp.int32(0))
            return params, state, lax.dynamic_update_slice(rows, row, at)

        # This loop boundary is load-bearing: without it XLA fuses the generator into the gather, in scalar code.
        low, high = jnp.maximum(clock.start - t0, 0), jnp.minimum(clock.stop - t0, plan.block)
        return lax.fori_loop(low, high, step, c)

    def window(w: Any, c: Any) -> Any:
        carry, outs = c
        t0 = w * width
        low, high = jnp.maximum(clock.start, t0), jnp.minimum(clock.stop, t0 + width)
        inner = (carry["params"], carry["state"], carry["rows"])
        # one chain: its axis is dropped inside the loops, where a batch of one would cost extra operations a step
        inner = inner if many else jax.tree.map(lambda a: a[0], inner)
        inner = lax.fori_loop(low // plan.block, (high + plan.block - 1) // plan.block, block, inner)
        params, state, rows = inner if many else _back(inner)
        size = jnp.max(jnp.abs(flat(params)), 1)
        if keep:
            new = (jnp.arange(width) >= low - t0) & (jnp.arange(width) < high - t0)
            size = jnp.max(jnp.abs(jnp.where(new[:, None], rows[:, :, :-1], 0)), (1, 2))
        finite = size < BOUND
        bad = jnp.where((carry["bad"] < 0) & ~finite, w, carry["bad"])
        done = [
            k.update(problem, acc, out, View(rows, t0, low, high, clock.burn_in, first, every))
            for k, acc, out, (first, every) in zip(plan.kernels, carry["recorders"], outs, clock.emit, strict=True)
        ]
        new = {"params": params, "state": state, "bad": bad, "rows": rows, "recorders": tuple(a for a, _ in done)}
        return new, tuple(o for _, o in done)

    outs = tuple(
        jnp.zeros((n, plan.group, k.width(plan.spec)), carry["rows"].dtype) if n else ()
        for n, k in zip(plan.slots, plan.kernels, strict=True)
    )
    end: tuple[Any, Any] = lax.fori_loop(clock.start // width, (clock.stop + width - 1) // width, window, (carry, outs))
    return end


def _draw(process: Any, steps: Any, plan: Plan, key: Any) -> Any:
    return process.draw(Stream(key), steps, plan.spec)


def _back(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[None], tree)


@functools.cache
def compiled(platform: str) -> tuple[Callable[..., Any], Callable[..., Any], tuple[str, ...]]:
    """Return (start, chunk) jitted for a platform, and notes. jit's own cache then goes by functions, shapes and plan."""
    notes: tuple[str, ...] = ()
    options: dict[str, Any] | None = UNSPLIT if platform == "cpu" else None
    if options:
        try:
            jax.jit(lambda x: x + 1, compiler_options=options).lower(np.float32(0)).compile()
        except Exception as error:  # a future XLA may rename the option: run slower, and say so
            notes, options = (f"XLA refused {options}: {error}; simulations run slower",), None
    static = "plan"
    return (
        jax.jit(start, static_argnames=static),
        jax.jit(chunk, static_argnames=static, compiler_options=options),
        notes,
    )
