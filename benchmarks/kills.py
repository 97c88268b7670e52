"""Kill a checkpointed run at random moments and let it go on: what it ends with must be bit for bit what an undisturbed run gives.

    python benchmarks/kills.py --kills 50

Each run is a process of its own that saves after every chunk, of about 20 ms; it is killed (SIGKILL) after a random share of
the time that a run takes, and started again on the same path until it ends. Then its numbers and its folder are looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import optax

import gradnoise as gn
from gradnoise.engine import loop as execution

STEPS, EVERY = 40_000, 10


def simulate(path: Path) -> None:
    """Run to the end from what `path` holds, and write a digest of everything that was recorded."""
    execution.CHECKPOINT_SECONDS, execution.CHUNK_SECONDS = 0.0, 0.02
    r = np.random.default_rng(0)
    inputs = r.normal(size=(200, 5))
    problem = gn.models.linear_regression(inputs, inputs[:, 0] + r.normal(size=200), observation_scale=1.0)
    run = gn.simulate(
        problem, gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=0.05, momentum=0.5), num_steps=STEPS, num_chains=4,
        record=[gn.record.draws(EVERY), gn.record.moments(), gn.record.loss(500)], checkpoint=path, progress=False,
    )  # fmt: skip
    back = gn.Run.load(path)
    held = [each for it in (run, back) for each in (it.draws, it.losses, it.mean, it.covariance, it.state)]
    halves = [hashlib.blake2b(b"".join(a.tobytes() for a in held[i : i + 5])).hexdigest() for i in (0, 5)]
    path.with_name("digest").write_text(halves[0] if halves[0] == halves[1] else "the file and the run differ")


def run_once(path: Path, seconds: float | None) -> bool:
    """Start a run and kill it after some time; return whether it came to its end before."""
    child = os.fork()  # nothing has run here, so there is no thread that the child would miss
    if child == 0:
        code = 1
        try:
            simulate(path)
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + (seconds or 3600.0)
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                sys.exit(f"the run failed, with {os.listdir(path.parent)} in its folder")
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*fork.*")
    chance, began = random.Random(options.seed), time.monotonic()
    kills, runs, half_made = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference" / "ck"
        start = time.monotonic()
        run_once(reference, None)
        lasts, wanted = time.monotonic() - start, reference.with_name("digest").read_text()
        while kills < options.kills:
            path = Path(folder) / f"run{runs}" / "ck"
            while not run_once(path, chance.uniform(0.2, 1.0) * lasts if kills < options.kills else None):
                kills += 1
                with contextlib.suppress(FileNotFoundError):
                    half_made += any(file.name.endswith(".part") for file in path.parent.iterdir())
            runs += 1
            print(f"{kills} kills, {runs} runs came to their end", flush=True)
            names = sorted(file.name.partition(".")[0] for file in path.parent.iterdir())
            if path.with_name("digest").read_text() != wanted:
                sys.exit(f"run {runs} ends with other numbers than an undisturbed one, after {kills} kills")
            if names != ["ck", "ck", "ck", "digest"]:
                sys.exit(f"files are left over: {sorted(os.listdir(path.parent))}")
    print(
        f"{kills} kills of {runs} runs ({half_made} while the file was half written): every run ended bit for bit as an undisturbed one "
        f"of {lasts:.1f} s, nothing left over; {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
