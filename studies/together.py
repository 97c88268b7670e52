"""One chain of many plans in one compiled call: problems and processes of one shape are stacked, traced arguments."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise._types import Array
from gradnoise.engine.chunk import take
from gradnoise.engine.simulation import initial_params
from gradnoise.infer.plans.plan import Plan
from gradnoise.stream import Spec, Stream, chain_keys

MEMORIES = 2  # autocorrelation times between draws: neighbours are correlated by e⁻⁴
AT_ONCE = 125  # data sets a call of the compiled code


def run_together(plans: list[Plan], num_draws: int, *, thin: int | None = None, at_once: int = AT_ONCE) -> Array:
    """Return draws (plan, draw, D): one chain of every plan, thinned by the longest memory.

    Plan i has the random numbers, the start and the steps of ``plans[i].run(num_chains=1, key=i, thin=thin)``; its burn-in is
    rounded up to a multiple of `thin`.
    """
    window = max(plan.window for plan in plans)
    if thin is None:
        thin = window if window > 1 else max(math.ceil(MEMORIES * max(plan.iact, 1.0)) for plan in plans)
    forget = -(-max(plan.length(1).burn_in for plan in plans) // thin)
    starts = [
        initial_params(p.problem, (p.problem.unflatten(p.where.mean), p.start), 1, i)[0] for i, p in enumerate(plans)
    ]
    keys = np.stack([chain_keys(i, np.arange(1))[0] for i in range(len(plans))])
    size = (plans[0].problem.num_examples, plans[0].problem.num_params)
    out = []
    for at in range(0, len(plans), at_once):
        part = slice(at, at + at_once)
        problems, processes = (stacked([getattr(p, n) for p in plans[part]]) for n in ("problem", "process"))
        start = np.stack(starts[part]).astype(np.float32)
        blocks = (thin, forget, num_draws)
        out.append(np.asarray(_together(problems, processes, keys[part], start, size, blocks, window > 1)))
    return np.concatenate(out)


def stacked(trees: list[Any], floating: Any = np.float32) -> Any:
    """Stack records of one shape along a new first axis, floating leaves as `floating`."""

    def one(*leaves: Any) -> Any:
        kind = np.asarray(leaves[0]).dtype
        return np.stack([np.asarray(a, floating if kind.kind == "f" else kind) for a in leaves])

    return jax.tree.map(one, *trees)


@functools.partial(jax.jit, static_argnames=("size", "blocks", "average"))
def _together(
    problems: Any,
    processes: Any,
    keys: Any,
    starts: Any,
    size: tuple[int, int],
    blocks: tuple[int, int, int],
    average: bool,
) -> Any:
    spec = Spec(*size, "float32")
    thin, forget, num_draws = blocks

    def one(problem: Any, process: Any, key: Any, start: Any) -> Any:
        def step(carry: Any, draws: Any) -> Any:
            params, state, total = carry
            batch = jax.tree.map(lambda a: take(a, draws["indices"]), problem.data)
            params, state = process.step(problem, params, state, batch, draws)
            return (params, state, total + params), None

        def block(carry: Any, i: Any) -> Any:
            draws = process.draw(Stream(key), i * thin + jnp.arange(thin, dtype=jnp.int32), spec)
            params, state, total = jax.lax.scan(step, (*carry, jnp.zeros(size[1], jnp.float32)), draws)[0]
            return (params, state), total / thin if average else params

        count = jnp.arange(forget + num_draws, dtype=jnp.int32)
        return jax.lax.scan(block, (start, process.init(problem, start)), count)[1][forget:]

    return jax.vmap(one)(problems, processes, keys, starts)
