"""What a feature costs over the plain step, in the engine: ratios of CPU medians, with their goals.

    python benchmarks/features.py [rules] [record] [shuffled] [gaussian] [chunks] [--rounds 7] [--quick]

rules: momentum and Adam over SGD. record: moments and draws over no recording. shuffled: over drawing with replacement.
gaussian: Gaussian noise of the minibatch covariance over the full gradient. chunks: the host loop (chunks of 0.3 s, progress,
checkpoint) over one dispatch.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness

harness.single_threaded()

import optax  # noqa: E402
import ours  # noqa: E402
from harness import Goal, Variant  # noqa: E402
from problems import synthetic, wine  # noqa: E402

import gradnoise as gn  # noqa: E402
from gradnoise.engine import loop as execution  # noqa: E402
from gradnoise.engine.job import State  # noqa: E402

Group = tuple[str, list[Variant], str, list[Goal]]  # title, contestants, base, goals


def rules() -> Iterator[Group]:
    """P1 with momentum and Adam."""
    setting, oracle = wine(), gn.oracles.minibatch(32)
    for chains, steps in ((64, 4096), (256, 1024), (1, 65536)):
        processes = {
            "SGD": ours.sgd_process(setting),
            "momentum": gn.processes.compose(oracle, gn.rule(optax.sgd, learning_rate=0.01, momentum=0.9)),
            "Adam": gn.processes.compose(oracle, gn.rule(optax.adam, learning_rate=0.001)),
        }
        variants = [ours.engine(name, setting, p, chains, steps) for name, p in processes.items()]
        judged = (
            [] if chains == 1 else [_goal("momentum", "SGD", chains, 1.2, 1.0), _goal("Adam", "SGD", chains, 1.5, 1.2)]
        )
        yield f"P1 rules, {chains} chains", variants, "SGD", judged


def record() -> Iterator[Group]:
    """P1 with moments per chain and with every tenth state."""
    setting = wine()
    process, nothing, moments, draws = ours.sgd_process(setting), "nothing", "moments", "draws every 10"
    for chains, steps, accept, aim in ((1, 131072, 1.4, 1.37), (64, 4096, 1.3, 1.16), (256, 1024, 1.3, 1.18)):
        slots = ours.job_of(setting, process, chains, gn.record.draws(every=10)).plan.slots[0]
        kept = min(steps, 10 * slots)  # one call cannot emit more
        variants = [
            ours.engine(nothing, setting, process, chains, steps),
            ours.engine(moments, setting, process, chains, steps, gn.record.moments()),
            ours.engine(draws, setting, process, chains, kept, gn.record.draws(every=10)),
        ]
        goals = [_goal(moments, nothing, chains, accept, aim), _goal(draws, nothing, chains, 1.2, 1.03)]
        yield f"P1 recording, {chains} chains", variants, nothing, goals


def shuffled() -> Iterator[Group]:
    """P1 by epochs: Feistel permutation (N = 4898), sort (N = 569)."""
    for n, accept, aim in ((4898, 4.0, 2.5), (569, 7.0, 6.5)):
        setting = wine(n)
        independent, epochs = "with replacement", "shuffled"
        rule = gn.rule(optax.sgd, learning_rate=0.01)
        variants = [
            ours.engine(name, setting, gn.processes.compose(gn.oracles.minibatch(32, sampling), rule), 64, 2048)
            for name, sampling in ((independent, "with_replacement"), (epochs, "shuffled"))
        ]
        yield (
            f"P1 sampling, N = {n}, 64 chains",
            variants,
            independent,
            [_goal(epochs, independent, 64, accept, aim, n)],
        )


def gaussian() -> Iterator[Group]:
    """P2b, one chain: Gaussian and two-point noise over the exact gradient."""
    setting, rule, full = synthetic(), gn.rule(optax.sgd, learning_rate=0.01), "full gradient"
    oracles = {
        full: gn.oracles.full_batch(),
        "gaussian": gn.oracles.gaussian(setting.batch_size),
        "gaussian, signs": gn.oracles.gaussian(setting.batch_size, kind="signs"),
    }
    variants = [ours.engine(name, setting, gn.processes.compose(o, rule), 1, 512) for name, o in oracles.items()]
    goals = [_goal(name, full, 1, 4.0, 2.9) for name in ("gaussian", "gaussian, signs")]
    yield "P2b noise of the SDE, one chain", variants, full, goals


def chunks(seconds: float = 3.0) -> Iterator[Group]:
    """P1, 64 chains with moments, about 3 s: the host loop of `simulate` over one dispatch of as many steps."""
    setting = wine()
    process, one, loop, saving = ours.sgd_process(setting), "one dispatch", "host loop", "host loop, saved every chunk"
    steps = int(seconds / 64 / 250e-9) // 1024 * 1024
    job = ours.job_of(setting, process, 64, gn.record.moments())
    path = Path(tempfile.mkdtemp()) / "run.npz"

    def run(interval: float) -> Any:
        previous, execution.CHECKPOINT_SECONDS = execution.CHECKPOINT_SECONDS, interval
        try:
            return execution.execute(job, State(), steps, report=lambda _done, _total: None, path=path)
        finally:
            execution.CHECKPOINT_SECONDS = previous

    variants = [
        ours.engine(one, setting, process, 64, steps, gn.record.moments()),
        Variant(loop, lambda: run(execution.CHECKPOINT_SECONDS), 64 * steps),
        Variant(saving, lambda: run(0.0), 64 * steps),
    ]
    goals = [_goal(name, one, 64, 1.03, 1.003) for name in (loop, saving)]
    yield "P1 chunks of 0.3 s, 64 chains", variants, one, goals


def _goal(name: str, base: str, chains: int, accept: float, aim: float, n: int | None = None) -> Goal:
    where = f"C = {chains}" + (f", N = {n}" if n else "")
    return Goal(f"{name} / {base}, {where}", name, base, accept, aim, at_least=False)


GROUPS = {f.__name__: f for f in (rules, record, shuffled, gaussian, chunks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 40 ms, nothing recorded")
    arguments = parser.parse_args()
    rounds, burst = (3, 0.04) if arguments.quick else (arguments.rounds, 0.12)
    for name in arguments.names or GROUPS:
        for title, variants, base, goals in GROUPS[name]():
            rows = harness.measure(variants, rounds=rounds, burst=burst)
            harness.table(title, rows, base)
            judged = harness.judge(goals, rows)
            if not arguments.quick:
                harness.record("features", title, rows, judged)


if __name__ == "__main__":
    main()
