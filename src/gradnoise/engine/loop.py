"""The host loop: chunk after chunk, with progress, checkpoints, Ctrl-C and the search for diverged chains."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradnoise.engine.checkpoint import Writer
from gradnoise.engine.chunk import BOUND, Clock, flat
from gradnoise.engine.job import Job, State
from gradnoise.engine.parallel import Pool, Program, Task, Threads, Workers
from gradnoise.engine.progress import Report
from gradnoise.stream import chain_keys

CHUNK_SECONDS = 0.3
FIRST_STEPS = 64
CHECKPOINT_SECONDS = 10.0
ERA = 1 << 30  # about the most steps counted in 32 bits; beyond, the chain key changes
FIRST_MARK = 1024  # `until` is asked at steps 1024, 2048, 4096, ...


def era_length(job: Job) -> int:
    """Return the steps of an era: a multiple of windows and of the sampling's epochs."""
    unit = math.lcm(1024, job.process.period(job.plan.spec))
    return max(ERA // unit, 1) * unit


def execute(
    job: Job,
    state: State,
    num_steps: int,
    *,
    report: Report,
    until: Callable[[], bool] | None = None,
    writer: Writer | None = None,
    stop_on_divergence: bool = True,
) -> str:
    """Advance `state` to `num_steps`; return "done", "until", "interrupted" or "diverged"."""
    length = era_length(job)
    if num_steps >= min(length, (1 << 31) - 1) and length > ERA:
        msg = f"num_steps must stay below {ERA}: an epoch of this shuffled sampling does not divide 2^30 steps."
        raise ValueError(msg)
    pool = _pool(job, state)
    try:
        with _catching_interrupt() as interrupted:
            return _loop(job, state, num_steps, length, pool, report, until, writer, stop_on_divergence, interrupted)
    finally:
        pool.close()


def _pool(job: Job, state: State) -> Pool:
    if job.workers > 1:
        return Workers(job.problem, job.process, job.plan, job.workers)
    program = Program(job.problem, job.process, job.plan)
    state.notes = program.notes
    return Threads(program, job.threads)


def _loop(
    job: Job,
    state: State,
    num_steps: int,
    length: int,
    pool: Pool,
    report: Report,
    until: Callable[[], bool] | None,
    writer: Writer | None,
    stop_on_divergence: bool,
    interrupted: Callable[[], bool],
) -> str:
    began, before = time.perf_counter(), state.seconds
    steps, saved, first = FIRST_STEPS, -math.inf, True
    outcome = "done"
    if not state.carries:
        _start(job, state, pool)
    while state.step < num_steps:
        clock_began = time.perf_counter()
        stop = next_stop(job, state.step, num_steps, steps, length, until is not None)
        fresh = _advance(job, state, pool, stop, length)
        elapsed = time.perf_counter() - clock_began
        state.seconds = before + time.perf_counter() - began
        if first:
            state.compile_seconds, first = state.compile_seconds + elapsed, False
        else:
            steps = int(np.clip(steps * CHUNK_SECONDS / max(elapsed, 1e-6), max(steps // 4, 1), steps * 8))
        report(state.step, num_steps)
        outcome = _outcome(job, state, fresh, stop_on_divergence, until, interrupted)
        due = writer is not None and time.perf_counter() - saved > CHECKPOINT_SECONDS
        if writer is not None and (due or outcome != "done" or state.step == num_steps):
            writer.save(job, state)
            saved = time.perf_counter()
        if outcome != "done":
            break
    return outcome


def _outcome(
    job: Job,
    state: State,
    fresh: list[int],
    stop_on_divergence: bool,
    until: Callable[[], bool] | None,
    interrupted: Callable[[], bool],
) -> str:
    if (fresh and stop_on_divergence) or len(state.diverged) == job.num_chains:
        return "diverged"
    if interrupted():
        return "interrupted"
    if until is not None and _is_mark(state.step) and until():
        return "until"
    return "done"


def _is_mark(step: int) -> bool:
    return step >= FIRST_MARK and (step & (step - 1)) == 0


def start_carries(job: Job, pool: Pool, groups: Sequence[int]) -> list[Any]:
    """Return the carries of groups at step 0."""
    none = Clock(np.int32(0), np.int32(0), np.int32(0), ())
    return [carry for carry, _ in pool.map([Task(q, None, none, None, job.start_params(q)) for q in groups])]


def _start(job: Job, state: State, pool: Pool) -> None:
    state.carries = start_carries(job, pool, range(job.num_groups))
    chains = job.num_groups * job.plan.group
    for recorder, kernel in zip(job.recorders, job.plan.kernels, strict=True):
        if width := kernel.width(job.plan.spec):
            state.emitted[recorder.name] = [np.zeros((0, chains, width), job.plan.spec.dtype)]


def next_stop(job: Job, t: int, num_steps: int, steps: int, length: int, marks: bool) -> int:
    """Where the next chunk ends: by time, and never beyond an era, a full buffer or a mark."""
    window = job.plan.window
    stop = t + steps
    stop = stop // window * window if stop // window * window > t else stop
    stop = min(stop, num_steps, (t // length + 1) * length)
    for recorder, slots in zip(job.recorders, job.plan.slots, strict=True):
        if slots:
            done = recorder.emitted(t, job.burn_in)
            stop = min(stop, job.burn_in + (done + slots + 1) * recorder.every - 1)
    if marks:
        stop = min(stop, max(FIRST_MARK, 1 << t.bit_length()))
    return stop


def _clock(job: Job, t: int, stop: int, length: int) -> Clock:
    base = t // length * length
    low, high = -(1 << 30), (1 << 31) - 1
    emit = []
    for recorder in job.recorders:
        first = job.burn_in + (recorder.emitted(t, job.burn_in) + 1) * recorder.every - base
        # an emission beyond this chunk is never due; clipping keeps first + every within 32 bits
        emit.append((np.int32(min(first, high - recorder.every)), np.int32(recorder.every)))
    return Clock(
        np.int32(t - base), np.int32(stop - base), np.int32(np.clip(job.burn_in - base, low, high)), tuple(emit)
    )


def tasks_of(job: Job, carries: Mapping[int, Any], t: int, stop: int, length: int) -> list[Task]:
    """Return the tasks that advance groups (group -> carry) from step t to `stop`."""
    clock, era = _clock(job, t, stop, length), t // length
    return [Task(q, chain_keys(job.seed, job.chains(q), era), clock, carry) for q, carry in carries.items()]


def _advance(job: Job, state: State, pool: Pool, stop: int, length: int) -> list[int]:
    """Run one chunk of all groups; return the chains that diverged in it."""
    t, before = state.step, state.carries
    results = pool.map(tasks_of(job, dict(enumerate(before)), t, stop, length))
    for i, recorder in enumerate(job.recorders):
        n = recorder.emitted(stop, job.burn_in) - recorder.emitted(t, job.burn_in)
        if n:
            state.emitted[recorder.name].append(np.concatenate([out[i][:n] for _, out in results], axis=1))
    state.carries, state.step = [carry for carry, _ in results], stop
    fresh = _newly_bad(job, state)
    for chain, window in fresh.items():
        state.diverged[chain] = _diverged_at(job, pool, before, chain, window, (t, stop, length))
    return list(fresh)


def _newly_bad(job: Job, state: State) -> dict[int, int]:
    bad = np.concatenate([carry["bad"] for carry in state.carries])[: job.num_chains]
    return {int(c): int(bad[c]) for c in np.flatnonzero(bad >= 0) if int(c) not in state.diverged}


def _diverged_at(job: Job, pool: Pool, carries: list[Any], chain: int, window: int, when: tuple[int, int, int]) -> int:
    """Replay the window with the same program, by bisection, until the step is known."""
    t, stop, length = when
    base, (group, place) = t // length * length, divmod(chain, job.plan.group)

    def run(carry: Any, start: int, end: int) -> Any:
        task = Task(group, chain_keys(job.seed, job.chains(group), t // length), _clock(job, start, end, length), carry)
        return pool.map([task])[0][0]

    low = max(t, base + window * job.plan.window)
    high = min(stop, base + (window + 1) * job.plan.window)
    carry = run(carries[group], t, low) if low > t else carries[group]
    if job.plan.kernels:  # the window's states are there to be looked at
        rows = np.abs(run(carry, low, high)["rows"][place, :, :-1]).max(1)
        inside = ~(rows < BOUND)
        inside[: (low - base) % job.plan.window] = False
        return low - (low - base) % job.plan.window + int(inside.argmax()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        tried = run(carry, low, middle)
        if np.max(np.abs(flat(tried["params"])[place])) < BOUND:
            carry, low = tried, middle
        else:
            high = middle
    return high


@contextmanager
def _catching_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C sets a flag, read between chunks; a second one stops at once. Only the main thread can catch it."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(signum: int, frame: Any) -> None:
        del frame
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, previous)
