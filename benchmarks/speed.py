"""The engine against other ways to run the same step, one chain and 256: ratios of CPU medians, with their goals.

    python benchmarks/speed.py [--problem P1] [--rounds 7] [--quick] [--check]

Each problem runs one chain and 256 chains as two interleaved groups. `--check` runs every contestant for the same number of
steps and compares the losses they reach, instead of timing them.
"""

from __future__ import annotations

import argparse

import harness

harness.single_threaded()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import ours  # noqa: E402
import peers_jax  # noqa: E402
import peers_loops  # noqa: E402
import peers_torch  # noqa: E402
from harness import Goal, Variant  # noqa: E402
from problems import SETTINGS, Setting  # noqa: E402

import gradnoise as gn  # noqa: E402
from gradnoise.engine.chunk import UNSPLIT  # noqa: E402

ENGINE, LANGEVIN = "engine", "engine, Langevin"
NUMBA, NUMPY, TORCH, GEMM = "numba loop", "NumPy loop", "PyTorch, eager", "matrix products at gemm rate"
SCAN, SCAN_UNSPLIT, DISPATCH = "scan, split each step", "scan, split each step, loops whole", "one dispatch a step"
SGLD_SCAN, SGLD_DISPATCH = "BlackJAX SGLD in a scan", "BlackJAX SGLD, one dispatch a step"

# (numerator, denominator) -> {(problem, chains): (accept, aim)}; from engine.md, "Proposed goals"
GOALS = {
    (NUMBA, ENGINE): {("P1", 1): (0.6, 0.87), ("P2b", 1): (0.7, 0.89), ("P1", 256): (0.9, 1.21)},
    (GEMM, ENGINE): {("P3", 1): (0.35, 0.5)},
    (NUMPY, ENGINE): {("P1", 1): (20, 38)},
    (TORCH, ENGINE): {("P1", 1): (300, 780), ("P2b", 1): (50, 120), ("P3", 1): (8, 16)},
    (DISPATCH, ENGINE): {
        ("P1", 1): (200, 720),
        ("P2b", 1): (30, 75),
        ("P3", 1): (5, 10),
        ("P1", 256): (3, 6),
        ("P2b", 256): (1.4, 2.2),
    },
    (SCAN, ENGINE): {("P1", 1): (10, 25), ("P1", 256): (2, 2.1), ("P2b", 256): (1.5, 2.0), ("P3", 1): (1.5, 2.1)},
}


def contestants(setting: Setting, chains: int, steps: tuple[int, int, int] | None = None) -> list[Variant]:
    """Everything that runs this problem with so many chains; `steps` overrides the steps a call."""
    one, many, slow = steps or setting.steps
    fast = one if chains == 1 else many
    few = max(slow // (1 if chains == 1 else 4), 8) if steps is None else slow
    langevin = gn.processes.langevin(
        gn.oracles.minibatch(setting.batch_size), learning_rate=setting.learning_rate, num_examples=setting.num_examples
    )
    sgd, sgld = peers_jax.sgd(setting), peers_jax.sgld(setting)
    out = [
        ours.engine(ENGINE, setting, ours.sgd_process(setting), chains, fast),
        ours.engine(LANGEVIN, setting, langevin, chains, fast),
        peers_jax.scanned(SCAN, setting, sgd, chains, few),
        peers_jax.scanned(SCAN_UNSPLIT, setting, sgd, chains, few, UNSPLIT),
        peers_jax.scanned(SGLD_SCAN, setting, sgld, chains, few),
        peers_jax.dispatched(DISPATCH, setting, sgd, chains, few),
        peers_jax.dispatched(SGLD_DISPATCH, setting, sgld, chains, few),
        peers_loops.numpy_loop(NUMPY, setting, chains, few),
    ]
    if peers_loops.numba is not None:
        out.append(peers_loops.numba_loop(NUMBA, setting, chains, fast))
    if peers_torch.torch is not None and chains == 1:
        out.append(peers_torch.eager(TORCH, setting, few))
    if setting.kind == "network" and steps is None:
        out.append(peers_loops.gemm(GEMM, setting))
    return out


def goals(problem: str, chains: int) -> list[Goal]:
    """Return the goals of a group."""
    many = "one chain" if chains == 1 else f"{chains} chains"
    return [
        Goal(f"{problem} {many}: {numerator} / {denominator}", numerator, denominator, *limits[problem, chains])
        for (numerator, denominator), limits in GOALS.items()
        if (problem, chains) in limits
    ]


def check(setting: Setting, chains: int, steps: int = 512) -> None:
    """Every contestant reaches the loss that the engine reaches in as many steps."""
    losses = {}
    for variant in contestants(setting, chains, (steps, steps, steps)):
        params = jax.tree.map(lambda a: np.asarray(a, np.float32), variant.run())
        losses[variant.name] = float(np.mean(jax.vmap(setting.problem.loss)(params)))
    start = float(setting.problem.loss(setting.problem.init))
    progress = start - losses[ENGINE]
    for name, loss in losses.items():
        word = "same" if abs(loss - losses[ENGINE]) < 0.1 * progress else "DIFFERS"
        print(f"{setting.name} {chains:3d} chains  {name:40s} loss {start:.4f} → {loss:.4f}  {word}", flush=True)


def compare(setting: Setting, chains: int, rounds: int, burst: float, keep: bool) -> None:
    """Measure, print and record one group."""
    title = f"{setting.name}, {'one chain' if chains == 1 else f'{chains} chains'}"
    rows = harness.measure(contestants(setting, chains), rounds=rounds, burst=burst)
    harness.table(title, rows, ENGINE)
    if LANGEVIN in rows:
        for name in (SGLD_SCAN, SGLD_DISPATCH):
            print(f"  {name} / {LANGEVIN}: {harness.ratio_of(rows[name], rows[LANGEVIN])[0]:.3g}")
    judged = harness.judge(goals(setting.name, chains), rows)
    if keep:
        harness.record("speed", title, rows, judged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=SETTINGS, action="append", help="default: all")
    parser.add_argument("--chains", type=int, choices=(1, 256), action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 40 ms, nothing recorded")
    parser.add_argument("--check", action="store_true", help="compare the losses reached instead of the times")
    arguments = parser.parse_args()
    for name in arguments.problem or SETTINGS:
        setting = SETTINGS[name]()
        for chains in arguments.chains or (1, 256):
            if arguments.check:
                check(setting, chains)
            else:
                rounds, burst = (3, 0.04) if arguments.quick else (arguments.rounds, 0.12)
                compare(setting, chains, rounds, burst, keep=not arguments.quick)


if __name__ == "__main__":
    main()
