"""Compilation: its CPU seconds (trace, lower, compile), with a warm cache on disk, and how often it happens at all.

python benchmarks/startup.py [seconds] [count]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import harness

harness.single_threaded()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import ours  # noqa: E402
from problems import SETTINGS, Setting, wine  # noqa: E402

import gradnoise as gn  # noqa: E402
from gradnoise.engine.parallel import Program  # noqa: E402

COMPILED: list[float] = []  # seconds of each compilation of this process
EVENT = "/jax/core/compile/backend_compile_duration"
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: COMPILED.append(seconds) if name == EVENT else None
)


def programs() -> dict[str, tuple[Setting, Any, int, Any]]:
    """Built-in models, rules and recorders whose compilation is timed."""
    adam = gn.rule(optax.adam, learning_rate=0.001)
    p1, p2b, p3 = (make() for make in SETTINGS.values())
    both = [gn.record.moments(), gn.record.draws(every=10)]
    of = lambda s, rule: gn.processes.compose(gn.oracles.minibatch(s.batch_size), rule)  # noqa: E731
    return {
        "P1, one chain": (p1, ours.sgd_process(p1), 1, None),
        "P1, 256 chains, moments and draws": (p1, ours.sgd_process(p1), 256, both),
        "P2b, 256 chains, moments": (p2b, ours.sgd_process(p2b), 256, gn.record.moments()),
        "P2b, shuffled, 64 chains, moments": (
            p2b,
            gn.processes.compose(gn.oracles.minibatch(100, "shuffled"), gn.rule(optax.sgd, learning_rate=0.01)),
            64,
            gn.record.moments(),
        ),
        "P3, one chain, Adam, moments": (p3, of(p3, adam), 1, gn.record.moments()),
        "P3, 32 chains, Adam, draws": (p3, of(p3, adam), 32, gn.record.draws(every=10)),
    }


def seconds(repeats: int) -> list[dict[str, Any]]:
    """CPU seconds, medians; the cache is a new folder."""
    goals = []
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for name, (setting, process, chains, record) in programs().items():
        job = ours.job_of(setting, process, chains, record)
        program = Program(job.problem, job.process, job.plan)
        task = ours.tasks_of(job, program, 64)[0]
        problem, placed = program.placed[0]

        def build(
            program: Any = program, task: Any = task, problem: Any = problem, placed: Any = placed
        ) -> list[float]:
            jax.clear_caches()
            marks = [time.process_time()]
            traced = program.chunk.trace(problem, placed, program.plan, task.keys, task.clock, task.carry)
            marks.append(time.process_time())
            lowered = traced.lower()
            marks.append(time.process_time())
            lowered.compile()
            return [*np.diff([*marks, time.process_time()]), time.process_time() - marks[0]]

        cold = [build() for _ in range(repeats)]
        with tempfile.TemporaryDirectory() as folder:
            _cache(folder)
            build()
            warm = [build() for _ in range(repeats)]
            _cache(None)
        trace, lower, compile_, total = (statistics.median(column) for column in zip(*cold, strict=True))
        print(f"\n{name}: trace {trace:.2f} + lower {lower:.2f} + compile {compile_:.2f} CPU s")
        cached = statistics.median(w[-1] for w in warm)
        goals.append(harness.verdict(f"{name}: trace + lower + compile, s", total, 3.0, 1.5, at_least=False))
        goals.append(harness.verdict(f"{name}: the same with a warm cache, s", cached, 0.5, 0.18, at_least=False))
    return goals


def _cache(folder: str | None) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", folder)


def count() -> list[dict[str, Any]]:
    """Compilations of `simulate`: start, chunk and the probe of the compiler option at first, none when numbers change."""
    print("\nCompilations of simulate")
    setting, goals = wine(), []
    rule = gn.rule(optax.sgd, learning_rate=0.01, momentum=0.9)
    plain: dict[str, Any] = {
        "problem": setting.problem, "oracle": gn.oracles.minibatch(32), "rule": rule, "num_steps": 1000, "num_chains": 64,
        "burn_in": 100, "record": [gn.record.moments(), gn.record.draws(every=10)], "progress": False, "threads": 1,
    }  # fmt: skip
    other = gn.models.linear_regression(setting.X[::-1].copy(), 2 * setting.y, observation_scale=0.7, intercept=False)
    changes: dict[str, dict[str, Any]] = {
        "again": {},
        "learning rate and momentum": {"rule": rule.replace(learning_rate=0.02, momentum=0.5)},
        "num_steps": {"num_steps": 1237},
        "burn_in and every": {"burn_in": 333, "record": [gn.record.moments(), gn.record.draws(every=7)]},
        "key": {"key": 7},
        "128 more chains": {"num_chains": 192},
        "other data, other observation scale": {"problem": other},
        "two threads": {"threads": 2},
    }
    np.asarray(jax.numpy.zeros(1) + 1)
    groups = {name: {**plain, "num_chains": 128, **change} for name, change in {"first run": {}, **changes}.items()}
    for name, arguments in groups.items():
        found = _compilations(lambda a=arguments: _simulate(a))
        limit = 3 if name == "first run" else 0
        goals.append(harness.verdict(f"{name}: compilations", found, limit, limit, at_least=False))
    return goals


def _simulate(arguments: dict[str, Any]) -> Any:
    arguments = dict(arguments)
    return gn.simulate(arguments.pop("problem"), arguments.pop("oracle"), arguments.pop("rule"), **arguments)


def _compilations(run: Callable[[], Any]) -> int:
    before = len(COMPILED)
    run()
    return len(COMPILED) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="seconds, count; default: both")
    parser.add_argument("--quick", action="store_true", help="once each, nothing recorded")
    arguments = parser.parse_args()
    names = arguments.names or ["count", "seconds"]
    goals = count() if "count" in names else []  # first: a first run must be the first of this process
    goals += seconds(1 if arguments.quick else 3) if "seconds" in names else []
    if not arguments.quick:
        harness.record("startup", ", ".join(names), {}, goals)


if __name__ == "__main__":
    main()
