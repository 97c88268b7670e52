"""Samplers against peers at equal steps, nothing kept: the speed bars of the study of peers, over constant SGD in a plain scan.

    python benchmarks/samplers.py [--rounds 7] [--quick]

P1 and P2b of `problems`, one chain and 64. SGLD of BlackJAX runs inside one compiled scan, that of posteriors in eager PyTorch
(skipped where it is not installed).
"""

from __future__ import annotations

import argparse

import harness

harness.single_threaded()

import ours  # noqa: E402
import peers_jax  # noqa: E402
import peers_torch  # noqa: E402
from harness import Goal, Variant  # noqa: E402
from problems import SETTINGS, Setting  # noqa: E402

import gradnoise as gn  # noqa: E402

SGD, SGLD, SCAN = "gradnoise SGD", "gradnoise SGLD", "SGD in a scan"
BLACKJAX, POSTERIORS = "BlackJAX SGLD in a scan", "posteriors SGLD, eager"

# at most so much of the scan's time: (bar, what hand-written scans with predrawn numbers reached there)
AT_MOST = {
    (SGD, "P2b", 1): (0.65, 0.6),
    (SGD, "P1", 1): (0.16, 0.135),
    (SGLD, "P2b", 1): (0.7, 0.64),
    (SGLD, "P1", 1): (0.22, 0.2),
    (SGD, "P2b", 64): (0.9, 0.87),
    (SGD, "P1", 64): (0.78, 0.73),
    (SGLD, "P2b", 64): (0.95, 0.88),
    (SGLD, "P1", 64): (1.1, 0.98),
}
# a peer takes at least so many times what SGLD here takes
AT_LEAST = {
    (BLACKJAX, "P2b", 1): (1.8, 2.1),
    (BLACKJAX, "P1", 1): (5.0, 6.7),
    (BLACKJAX, "P2b", 64): (1.0, 1.2),
    (BLACKJAX, "P1", 64): (1.0, 1.5),
    (POSTERIORS, "P2b", 1): (80.0, 93.0),
    (POSTERIORS, "P1", 1): (80.0, 450.0),
}


def contestants(setting: Setting, chains: int) -> list[Variant]:
    """Return everything that runs with so many chains."""
    one, _, slow = setting.steps
    fast, few = (one, slow) if chains == 1 else (4096, max(slow // 4, 64))
    langevin = gn.processes.langevin(
        gn.oracles.minibatch(setting.batch_size), learning_rate=setting.learning_rate, num_examples=setting.num_examples
    )
    out = [
        ours.engine(SGD, setting, ours.sgd_process(setting), chains, fast),
        ours.engine(SGLD, setting, langevin, chains, fast),
        peers_jax.scanned(SCAN, setting, peers_jax.sgd(setting), chains, few),
        peers_jax.scanned(BLACKJAX, setting, peers_jax.sgld(setting), chains, few),
    ]
    if chains == 1 and peers_torch.posteriors is not None:
        out.append(peers_torch.sgld(POSTERIORS, setting, few))
    return out


def goals(problem: str, chains: int) -> list[Goal]:
    """Return the bars of a group."""
    many = "one chain" if chains == 1 else f"{chains} chains"
    small = [
        Goal(f"{problem} {many}: {name} / {SCAN}", name, SCAN, *limits, at_least=False)
        for (name, p, c), limits in AT_MOST.items()
        if (p, c) == (problem, chains)
    ]
    large = [
        Goal(f"{problem} {many}: {name} / {SGLD}", name, SGLD, *limits)
        for (name, p, c), limits in AT_LEAST.items()
        if (p, c) == (problem, chains)
    ]
    return small + large


def main() -> None:
    """Measure, print and record every group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 40 ms, nothing recorded")
    arguments = parser.parse_args()
    rounds, burst = (3, 0.04) if arguments.quick else (arguments.rounds, 0.12)
    for name in ("P1", "P2b"):
        setting = SETTINGS[name]()
        for chains in (1, 64):
            title = f"{name} samplers, {'one chain' if chains == 1 else f'{chains} chains'}"
            rows = harness.measure(contestants(setting, chains), rounds=rounds, burst=burst)
            harness.table(title, rows, SCAN)
            judged = harness.judge(goals(name, chains), rows)
            if not arguments.quick:
                harness.record("samplers", title, rows, judged)


if __name__ == "__main__":
    main()
