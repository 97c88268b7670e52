"""Where groups of chains run: host threads (default) or spawned worker processes.

A group is the unit of work: it goes whole to a thread, device or worker, so results are bit-identical wherever it runs.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from gradnoise import _tree
from gradnoise.engine.chunk import Clock, compiled
from gradnoise.engine.sizes import Plan


class Task(NamedTuple):
    """One group's share of a chunk: `carry` None means start from `params`."""

    group: int
    keys: Any
    clock: Clock
    carry: Any
    params: Any = None


def on_host(tree: Any) -> Any:
    """Return the pytree with device arrays as NumPy arrays; Python numbers stay as they are."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) if hasattr(leaf, "dtype") else leaf, tree)


class Pool(Protocol):
    """Runs tasks, each result (carry, emitted) on the host."""

    def map(self, tasks: list[Task]) -> list[tuple[Any, Any]]:
        """Run all tasks; results in their order."""

    def close(self) -> None:
        """Free what the pool holds."""


class Program:
    """The compiled functions with (problem, process) placed on the devices, cast to the dtype of the run."""

    def __init__(self, problem: Any, process: Any, plan: Plan) -> None:
        self.plan, self.x64 = plan, plan.spec.dtype == "float64"
        self.devices = jax.local_devices()
        self.on_cpu = self.devices[0].platform == "cpu"
        self.start, self.chunk, self.notes = compiled(self.devices[0].platform)
        if problem.align is not None and plan.aligned:
            problem = dataclasses.replace(problem, data=problem.align(problem.data))
        pair = _tree.cast((problem, process), plan.spec.dtype)
        with jax.enable_x64(self.x64):
            self.placed = [jax.device_put(pair, device) for device in self.devices]

    def run(self, task: Task) -> tuple[Any, Any]:
        """Run one task and wait for it; results are NumPy arrays."""
        device = task.group % len(self.devices)
        with jax.enable_x64(self.x64), jax.default_device(self.devices[device]):
            problem, process = self.placed[device]
            carry = task.carry
            if carry is None:
                carry = self.start(problem, process, self.plan, task.params)
            if int(task.clock.stop) == int(task.clock.start):
                return jax.device_get(carry), None
            result: tuple[Any, Any] = jax.device_get(
                self.chunk(problem, process, self.plan, task.keys, task.clock, carry)
            )
            return result


class Threads:
    """Host threads, one blocking call each on the one CPU device; one a device where there are several."""

    def __init__(self, program: Program, threads: int | None) -> None:
        self.program = program
        self.threads = threads or max(len(program.devices), _cores() if program.on_cpu else 1)
        self.pool = ThreadPoolExecutor(self.threads)
        self.warm: set[bool] = set()

    def map(self, tasks: list[Task]) -> list[tuple[Any, Any]]:
        """Run all tasks."""
        starts = tasks[0].carry is None
        alone = len(tasks) if self.threads == 1 else int(starts not in self.warm)
        # the first call of each program compiles it: two threads would both do so
        first = [self.program.run(task) for task in tasks[:alone]]
        self.warm.add(starts)
        return first + list(self.pool.map(self.program.run, tasks[alone:]))

    def close(self) -> None:
        """Stop the threads."""
        self.pool.shutdown()


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Spawned processes, each with its own copy of the data and its own compilation."""

    def __init__(self, problem: Any, process: Any, plan: Plan, workers: int) -> None:
        try:
            payload = pickle.dumps((on_host((problem, process)), plan))
        except Exception as error:
            msg = (
                f"workers={workers} needs a problem and a process that can be pickled, but: {error}. Define "
                "log_likelihood and log_prior at the top level of a module, or use workers=1 (threads)."
            )
            raise ValueError(msg) from error
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(payload,))

    def map(self, tasks: list[Task]) -> list[tuple[Any, Any]]:
        """Run all tasks."""
        try:
            return list(self.pool.map(_work, tasks))
        except BrokenProcessPool as error:
            msg = (
                "a worker process died: killed for memory, or a script that starts workers without "
                "`if __name__ == '__main__':` around the call (spawned processes import the script again)."
            )
            raise RuntimeError(msg) from error

    def close(self) -> None:
        """Stop the processes."""
        self.pool.shutdown()


_PROGRAM: list[Program] = []  # a worker process has one program for its whole life


def _begin(payload: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business: it finishes the chunk
    (problem, process), plan = pickle.loads(payload)
    _PROGRAM[:] = [Program(problem, process, plan)]


def _work(task: Task) -> tuple[Any, Any]:
    return _PROGRAM[0].run(task)
