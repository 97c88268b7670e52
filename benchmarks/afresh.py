"""Problems drawn afresh through the samplers: crashes, refusals and levels. It goes on where it stopped.

    python benchmarks/afresh.py --problems 60 --record afresh.jsonl
    python benchmarks/afresh.py --problems 15 --record afresh.jsonl --seed 1000

Each problem is linear, logistic, Poisson or softmax, of up to 5 000 rows (two in sixty have 200 000), with columns of scales 1e-3
to 1e3 (half of them standardised afterwards, as users are told to), in every third problem with a column that nearly repeats
another, in float32 or float64, with a proper or a flat prior. A crash is anything but a `Posterior` or a refusal that names an
argument: a ValueError, TypeError, Refused or NotAMinimum raised by the library itself before the run.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

import gradnoise as gn
from gradnoise import infer

SAMPLERS = ("sample", "constant_sgd", "corrected_langevin", "iterate_averaging")
REFUSALS = ("ValueError", "TypeError", "Refused", "NotAMinimum", "NotConverged")
EVERY_LARGE = 30  # one problem in so many has LARGE rows
LARGE = 200_000
DRAWS = 200
MOST_STEPS = 100_000  # of a chain


def drawn(seed: int) -> tuple[Any, dict[str, Any]]:
    """Return a problem and what it is."""
    rng = np.random.default_rng(seed)
    kind = ("linear", "logistic", "poisson", "softmax")[seed % 4]
    rows = LARGE if seed % EVERY_LARGE == EVERY_LARGE - 1 else int(10 ** rng.uniform(1.7, 3.7))
    columns = int(rng.integers(1, 13))
    x = rng.standard_normal((rows, columns))
    if twins := bool(seed % 3 == 0 and columns > 1):
        x[:, 1] = x[:, 0] + 10 ** rng.uniform(-6, -1) * rng.standard_normal(rows)
    signal = x @ rng.normal(0, 0.5 / np.sqrt(columns), columns)
    x = x * 10 ** rng.uniform(-3, 3, columns)
    if standardised := bool(rng.random() < 0.5):
        x = (x - x.mean(0)) / x.std(0)
    dtype = ("float32", "float64")[int(rng.integers(2))]
    prior = (1.0, 10.0, np.inf)[int(rng.integers(3))]
    offset = 0.0 if rng.random() < 0.7 else 10 ** rng.uniform(0, 6)
    told = {
        "kind": kind, "rows": rows, "columns": columns, "twins": twins, "standardised": standardised, "dtype": dtype,
        "prior": prior, "offset": offset if kind == "linear" else 0.0,
    }  # fmt: skip
    x = x.astype(dtype)
    models = gn.models
    if kind == "linear":
        return models.linear_regression(x, offset + signal + rng.standard_normal(rows), prior, 1.0), told
    if kind == "logistic":
        return models.logistic_regression(x, (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(float), prior), told
    if kind == "poisson":
        return models.poisson_regression(x, rng.poisson(np.exp(0.3 + np.clip(signal, -3, 3))), prior), told
    classes = np.digitize(signal + rng.logistic(size=rows), [-0.7, 0.7])
    return models.softmax_regression(x, classes, prior), told


def outcome(seed: int, sampler: str) -> dict[str, Any]:
    """Draw a problem and run one sampler on it; say what came."""
    began, stage = time.perf_counter(), "drawing"
    row: dict[str, Any] = {"seed": seed, "sampler": sampler}
    try:
        problem, told = drawn(seed)
        row, stage = row | told, "sampling"
        settings: dict[str, Any] = {"num_draws": DRAWS, "progress": False, "key": seed}
        if sampler != "sample":
            settings |= capped(sampler, problem, min(32, max(1, problem.num_examples // 4)))
        found = getattr(infer, sampler)(problem, **settings)
        broken = [reason for reason in found.verdict.reasons if reason.startswith("No verdict")]
        row |= {"outcome": "verdict", "level": found.verdict.level, "method": found.method, "unjudged": broken}
        if not np.isfinite(found.draws).all():
            row |= {"outcome": "crash", "message": "draws that are not finite"}
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = "gradnoise" in Path(frames[-1].filename).parts
        refused = type(error).__name__ in REFUSALS and ours and " must " in f" {error} "
        kind = "refusal" if refused or (ours and type(error).__name__ in ("Refused", "NotAMinimum")) else "crash"
        where = " < ".join(f"{Path(f.filename).name}:{f.name}" for f in reversed(frames[-4:]))
        message = f"{type(error).__name__}: {error}"
        row |= {"outcome": kind, "message": message[:600], "where": where, "stage": stage}
    return row | {"seconds": round(time.perf_counter() - began, 2)}


def capped(sampler: str, problem: Any, batch_size: int) -> dict[str, Any]:
    """Return batch size and mode, and thinning and burn-in where the planned run would be longer than MOST_STEPS a chain.

    Such a run has not settled: its verdict must say so, and nothing may fail.
    """
    mode = gn.find_mode(problem)
    planned = infer.plan(sampler, problem, batch_size=batch_size, mode=mode)
    known = {"batch_size": batch_size, "mode": mode}
    if planned.length(DRAWS).num_steps <= MOST_STEPS:
        return known
    thin = {} if sampler == "iterate_averaging" else {"thin": MOST_STEPS // DRAWS // 2}
    return known | {"burn_in": MOST_STEPS // 2, "num_draws": DRAWS if thin else 20} | thin


def shape(message: str) -> str:
    """Return a message without its numbers, so that equal ones count together."""
    return re.sub(r"[-+]?\d[\d,.]*(e[-+]?\d+)?", "#", message)[:160]


def main() -> None:
    """Run what the record does not hold yet, then print the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first problem")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--record", type=Path, default=Path("afresh.jsonl"))
    options = parser.parse_args()
    lines = options.record.read_text("utf-8").splitlines() if options.record.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["seed"], row["sampler"]) for row in rows}
    for seed in range(options.seed, options.seed + options.problems):
        for sampler in options.samplers:
            if (seed, sampler) in done:
                continue
            row = outcome(seed, sampler)
            rows.append(row)
            with options.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            last = row.get("level") or row["message"]
            print(f"{seed} {sampler}: {row['outcome']} {last[:150]} ({row['seconds']} s)", flush=True)
    print()
    for sampler in options.samplers:
        ours = [row for row in rows if row["sampler"] == sampler]
        levels = collections.Counter(row["level"] for row in ours if "level" in row)
        counts = collections.Counter(row["outcome"] for row in ours)
        unjudged = sum(bool(row.get("unjudged")) for row in ours)
        slowest = max((row["seconds"] for row in ours), default=0.0)
        print(
            f"{sampler}: {len(ours)} problems, {counts['crash']} crashes, {counts['refusal']} refusals, {dict(levels)}, "
            f"{unjudged} without a verdict, slowest {slowest} s"
        )
    for kind in ("crash", "refusal"):
        for message, count in collections.Counter(
            shape(row["message"]) for row in rows if row["outcome"] == kind
        ).most_common():
            print(f"{kind} × {count}: {message}")


if __name__ == "__main__":
    main()
