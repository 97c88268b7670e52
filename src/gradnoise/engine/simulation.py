"""simulate and resume: arguments to a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.special import ndtri

from gradnoise import _checks, _tree
from gradnoise._types import AnyArray, Array
from gradnoise.engine import checkpoint as _checkpoint
from gradnoise.engine.job import Job, State
from gradnoise.engine.progress import Report
from gradnoise.engine.recorders import Recorder, as_recorders, default_recorder
from gradnoise.engine.run import Run, advance
from gradnoise.engine.sizes import make_plan, require_memory
from gradnoise.processes import compose
from gradnoise.stream import Spec, Stream, chain_keys, seed_of


def simulate(
    problem: Any,
    oracle: Any,
    rule: Any = None,
    *,
    num_steps: int,
    num_chains: int = 1,
    key: Any = 0,
    init: Any = None,
    burn_in: int = 0,
    record: Recorder | Sequence[Recorder] | str | None = "auto",
    checkpoint: str | Path | None = None,
    progress: bool | Report = True,
    dtype: Any = None,
    on_divergence: str = "raise",
    workers: int = 1,
    threads: int | None = None,
    until: Callable[[Run], bool] | None = None,
) -> Run:
    """Run many chains of a stochastic-gradient process and record them.

    Results are bit-identical on one platform over how the run is cut, threads, devices and workers, interruption and
    resuming: every random number depends on (seed, chain, absolute step, purpose, position) alone.

    Parameters
    ----------
    problem
        A `Problem`.
    oracle, rule
        An oracle and a rule (`simulate(problem, oracle, rule)`), or a process alone (`simulate(problem, process)`).
    num_steps
        Steps of each chain, `burn_in` included.
    num_chains
        Independent chains.
    key
        Seed: an int below 2^64 or a JAX key.
    init
        Where chains start: None (`problem.init`), params (all chains alike), params with a leading chain axis or an array
        (num_chains, D), a `Mode` (or anything with `.params`), a `Run` (its last states), a covariance (D, D) (Gaussian
        around `problem.init`), or a pair (any of the first, covariance).
    burn_in
        Steps left out of every recorder, 0 <= burn_in < num_steps.
    record
        A recorder or several: `gn.record.draws(every)`, `.moments()`, `.variances()`, `.averages(window)`, `.loss(every)`; None:
        nothing. "auto": moments; above 1000 parameters, where matrices (D, D) cost more than the steps, variances (the
        run prints what was recorded).
    checkpoint
        A path, written atomically at most every 10 s, by one run at a time. A file there is continued if it belongs to this run, and
        never overwritten if it does not.
    progress
        A bar on an interactive terminal (True), nothing (False), or a function of (steps done, steps in all).
    dtype
        "float32" (default) or "float64".
    on_divergence
        "raise" `Divergence`, or "keep" the chains that stay finite.
    workers
        Spawned processes; 1 uses threads of this one.
    threads
        Host threads; None: one a core (one a device on accelerators).
    until
        Called with the run so far after 1024, 2048, 4096, ... steps; a true result stops the run.

    Returns
    -------
    Run

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, before anything is compiled.
    Divergence, Interrupted
        With `.run`, which holds what was computed.
    """
    if not hasattr(problem, "batch_loss"):
        msg = f"problem must be a gn.Problem, got {_checks.shown(problem)}."
        raise TypeError(msg)
    process = _process(oracle, rule)
    num_steps = _checks.integer("num_steps", num_steps)
    num_chains = _checks.integer("num_chains", num_chains, high=1 << 24)
    burn_in = _burn_in(burn_in, num_steps)
    name = _dtype(dtype)
    process.check(Spec(problem.num_examples, problem.num_params, name))
    _check_stable(process, problem, init)
    recorders = as_recorders(
        default_recorder(problem.num_params) if isinstance(record, str) and record == "auto" else record
    )
    workers = _checks.integer("workers", workers, high=1 << 12)
    threads = None if threads is None else _checks.integer("threads", threads, high=1 << 12)
    seed = seed_of(key)
    path = None if checkpoint is None else _checkpoint.require_place(checkpoint)
    _checks.progress(progress)
    _checks.one_of("on_divergence", on_divergence, ("raise", "keep"))
    if until is not None:
        _checks.function("until", until)
    params = initial_params(problem, init, num_chains, seed)
    plan = make_plan(problem, process, recorders, num_chains, name)
    require_memory(problem, process, recorders, plan, num_chains, num_steps - burn_in)
    job = Job(problem, process, recorders, plan, seed, num_chains, burn_in, params, threads, workers)
    state = State()
    if path is not None and path.is_file():
        state = _checkpoint.state_of(path, job)
        if state.step > num_steps:
            msg = f"num_steps must be at least the {state.step} steps that {checkpoint} already holds, got {num_steps}."
            raise ValueError(msg)
    return advance(
        job, state, num_steps, progress=progress, checkpoint=checkpoint, until=until, on_divergence=on_divergence
    )


def resume(
    path: str | Path, num_steps: int | None = None, *, progress: bool | Report = True, on_divergence: str = "raise"
) -> Run:
    """Continue a checkpoint to `num_steps` steps in all; None: return what it holds.

    The file holds a pickle of the problem and the process: open only what you trust. Where they could not be pickled
    (lambdas), call `simulate` again with the same arguments and ``checkpoint=path``.
    """
    run = Run.load(path)
    if num_steps is None or _checks.integer("num_steps", num_steps, low=run.num_steps) == run.num_steps:
        return run
    return run.extend(num_steps - run.num_steps, progress=progress, checkpoint=path, on_divergence=on_divergence)


def _process(oracle: Any, rule: Any) -> Any:
    if rule is not None:
        return compose(oracle, rule)
    if not all(hasattr(oracle, name) for name in ("init", "draw", "step", "reads", "words_per_step")):
        msg = (
            "rule must be given with an oracle: simulate(problem, oracle, gn.rule(optax.sgd, learning_rate=...)), or pass a "
            f"process alone; got {_checks.shown(oracle)} and no rule."
        )
        raise TypeError(msg)
    return oracle


def _burn_in(burn_in: Any, num_steps: int) -> int:
    steps = _checks.integer("burn_in", burn_in, low=0)
    if steps >= num_steps:
        msg = f"burn_in must be < num_steps = {num_steps}, got {steps}."
        raise ValueError(msg)
    return steps


def _dtype(dtype: Any) -> str:
    if dtype is None:
        return "float32"
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    return _checks.one_of("dtype", name, ("float32", "float64"))


def _check_stable(process: Any, problem: Any, init: Any) -> None:
    """Refuse a learning rate beyond the edge where rule and curvature are both known: init is a Mode, the law linear."""
    hessian = getattr(init[0] if isinstance(init, tuple) and init else init, "hessian", None)
    if hessian is not None and hasattr(process, "linear"):
        chain = process.linear(hessian, np.zeros_like(hessian), problem.num_examples)
        if chain:
            _ = chain.covariance  # raises for an unstable chain, naming the edge


def initial_params(problem: Any, init: Any, num_chains: int, seed: int) -> AnyArray:
    """Return the initial params of all chains, (num_chains, D) float64."""
    d = problem.num_params
    if isinstance(init, tuple) and len(init) == 2 and _is_matrix(init[1], d) and not _tree.alike(init, problem.init):
        centre = initial_params(problem, init[0], num_chains, seed)
        return centre + _gaussian(_checks.symmetric("init", init[1], d, definite="semi"), num_chains, seed)
    if init is None:
        init = problem.init
    if isinstance(init, Run):
        if init.num_chains != num_chains:
            msg = f"init must be a run of num_chains = {num_chains} chains, got {init.num_chains}."
            raise ValueError(msg)
        return np.asarray(init.state, np.float64)
    init = (
        init.vector if hasattr(init, "vector") else getattr(init, "params", init)
    )  # a Mode keeps its point in float64
    if getattr(init, "shape", None) == (d,):
        init = problem.unflatten(np.asarray(init))
    if _is_matrix(init, d) and _is_matrix(init, num_chains, d):
        msg = f"init of shape ({d}, {d}) is ambiguous with num_chains = {num_chains} = D: pass (params, covariance) or params."
        raise ValueError(msg)
    if _is_matrix(init, num_chains, d):
        return _finite(np.asarray(init, np.float64))
    if _is_matrix(init, d):
        return initial_params(problem, (problem.init, init), num_chains, seed)
    return _from_tree(problem, init, num_chains)


def _from_tree(problem: Any, init: Any, num_chains: int) -> AnyArray:
    wanted = [tuple(np.shape(a)) for a in jax.tree.leaves(problem.init)]
    shapes = [tuple(np.shape(a)) for a in jax.tree.leaves(init)]
    same = _tree.alike(init, problem.init)
    if same and shapes == wanted:
        return _finite(np.tile(problem.flatten(init).astype(np.float64), (num_chains, 1)))
    if same and shapes == [(num_chains, *s) for s in wanted]:
        leaves = [np.asarray(a, np.float64).reshape(num_chains, -1) for a in jax.tree.leaves(init)]
        return _finite(np.concatenate(leaves, axis=1))
    msg = (
        f"init must be params with leaves of shape {wanted} (or with a leading chain axis of {num_chains}), a Mode, a Run, or a "
        f"covariance ({problem.num_params}, {problem.num_params}); got leaves of shape {shapes or _checks.shown(init)}."
    )
    raise ValueError(msg)


def _is_matrix(value: Any, rows: int, columns: int | None = None) -> bool:
    return getattr(value, "shape", None) == (rows, rows if columns is None else columns)


def _finite(params: AnyArray) -> AnyArray:
    if not np.isfinite(params).all():
        msg = f"init must be finite, but chain {int(np.argwhere(~np.isfinite(params))[0][0])} holds NaN or infinity."
        raise ValueError(msg)
    return params


def _gaussian(covariance: Array, num_chains: int, seed: int) -> Array:
    """Return draws (num_chains, D) of N(0, covariance), one a chain's own stream."""
    values, vectors = np.linalg.eigh(covariance)
    keys = Stream(chain_keys(seed, np.arange(num_chains))).child("init").key
    together = Stream(keys.T[:, :, None])  # the streams of all chains: the words of each are those it gives alone
    z = ndtri(together.uniform(np.zeros(1, np.uint32), len(values), "float64")[0])
    return np.asarray((z * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
