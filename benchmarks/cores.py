"""Two host threads against one, by wall time. Only an idle machine can tell: the load is printed, and judged with the number.

python benchmarks/cores.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import harness

harness.single_threaded()

import ours  # noqa: E402
from problems import SETTINGS  # noqa: E402

from gradnoise.engine.parallel import Program, Threads  # noqa: E402

CHAINS = 256
STEPS = {"P1": 8192, "P2b": 2048, "P3": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    goals, busy = [], os.getloadavg()[0]
    for name, make in SETTINGS.items():
        setting = make()
        job = ours.job_of(setting, ours.sgd_process(setting), CHAINS)
        program = Program(job.problem, job.process, job.plan)
        tasks = ours.tasks_of(job, program, STEPS[name])
        pools = {n: Threads(program, n) for n in (1, 2)}
        times: dict[int, list[float]] = {n: [] for n in pools}
        for pool in pools.values():
            pool.map(tasks)
        for _ in range(arguments.rounds):
            for n, pool in pools.items():
                began = time.perf_counter()
                pool.map(tasks)
                times[n].append(time.perf_counter() - began)
        one, two = (statistics.median(times[n]) for n in (1, 2))
        best = min(times[1]) / min(times[2])
        print(
            f"\n{name}, {CHAINS} chains: one thread {one * 1e3:.0f} ms, two {two * 1e3:.0f} ms; best of rounds {best:.2f}"
        )
        goals.append(harness.verdict(f"{name}: wall, one thread / two", one / two, 1.6, 1.8))
    judged = busy < 0.5
    print(
        f"\nload average {busy:.2f}: " + ("idle, the verdicts count" if judged else "busy, the verdicts do not count")
    )
    harness.record("cores", f"{CHAINS} chains", {}, goals, load_before=busy, verdicts_count=judged)


if __name__ == "__main__":
    main()
