"""Two host threads against one, by wall time; only rounds in which no other job took a tenth of a core count.

python benchmarks/cores.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import harness

harness.single_threaded()

import ours  # noqa: E402
from problems import SETTINGS  # noqa: E402

from gradnoise.engine.parallel import Program, Threads  # noqa: E402

CHAINS = 256
STEPS = {"P1": 8192, "P2b": 2048, "P3": 256}
TRIES = 40


def others() -> float:
    """CPU seconds that other processes have used since the machine started."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK") - time.process_time()


def timed(pool: Threads, tasks: list[Any]) -> tuple[float, float]:
    """Wall seconds, and cores that other jobs took meanwhile."""
    began, busy = time.perf_counter(), others()
    pool.map(tasks)
    wall = time.perf_counter() - began
    return wall, (others() - busy) / wall


def undisturbed(pools: list[Threads], tasks: list[Any], rounds: int) -> list[tuple[float, ...]]:
    """Wall seconds of each pool in rounds that no other job disturbed; fewer than asked for where the machine is busy."""
    kept: list[tuple[float, ...]] = []
    for pool in pools:
        pool.map(tasks)
    for _ in range(TRIES):
        times, disturbed = zip(*(timed(pool, tasks) for pool in pools), strict=True)
        if max(disturbed) < 0.1:
            kept.append(times)
        if len(kept) == rounds:
            break
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    goals = []
    for name, make in SETTINGS.items():
        setting = make()
        job = ours.job_of(setting, ours.sgd_process(setting), CHAINS)
        program = Program(job.problem, job.process, job.plan)
        tasks = ours.tasks_of(job, program, STEPS[name])
        rows = undisturbed([Threads(program, 1), Threads(program, 2)], tasks, arguments.rounds)
        if len(rows) < 3:
            print(f"{name}: the machine was busy ({len(rows)} of {TRIES} rounds undisturbed), no verdict")
            continue
        one, two = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"\n{name}, {CHAINS} chains, {len(rows)} rounds: one thread {one * 1e3:.0f} ms, two {two * 1e3:.0f} ms")
        goals.append(harness.verdict(f"{name}, {CHAINS} chains: wall, one thread / two", one / two, 1.6, 1.8))
    if goals:
        harness.record("cores", f"{CHAINS} chains", {}, goals)


if __name__ == "__main__":
    main()
