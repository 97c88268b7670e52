"""Interleaved measurement: rounds A B C A B C …, process CPU time, medians; judged against goals; recorded as JSON lines.

A neighbour's load slows all members of a round alike, and CPU time leaves out waiting, so ratios of medians within one run
can be trusted on a shared machine; wall times and absolute numbers of different runs cannot.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
PACKAGES = ("gradnoise", "jax", "jaxlib", "numpy", "scipy", "optax", "blackjax", "numba", "torch")


def single_threaded() -> None:
    """Pin BLAS and PyTorch to one thread; call it before anything imports NumPy."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


@dataclass(frozen=True)
class Variant:
    """A contestant: `run` does `units` units of work (chain-steps) and waits for the result."""

    name: str
    run: Callable[[], Any]
    units: float


@dataclass(frozen=True)
class Goal:
    """`numerator` over `denominator` (names of variants) against a floor that must hold and an aim that was reached once."""

    label: str
    numerator: str
    denominator: str
    accept: float
    aim: float
    at_least: bool = True


@dataclass(frozen=True)
class Row:
    """Times of one variant, ns a unit, one entry a round."""

    name: str
    cpu: tuple[float, ...]
    wall: tuple[float, ...]
    burst_ms: float

    @property
    def median(self) -> float:
        return statistics.median(self.cpu)


def measure(variants: Sequence[Variant], *, rounds: int, burst: float) -> dict[str, Row]:
    """Run every variant once a round, each for at least `burst` CPU seconds."""
    names = [v.name for v in variants]
    if len(set(names)) < len(names):
        msg = f"variants must have different names, got {names}."
        raise ValueError(msg)
    repeats = {v.name: _calibrate(v, burst) for v in variants}
    times: dict[str, list[tuple[float, float]]] = {v.name: [] for v in variants}
    for _ in range(rounds):
        for v in variants:
            times[v.name].append(_burst(v, repeats[v.name]))
    rows = {}
    for v in variants:
        work = v.units * repeats[v.name]
        cpu, wall = zip(*times[v.name], strict=True)
        scale = 1e9 / work
        rows[v.name] = Row(
            v.name, tuple(c * scale for c in cpu), tuple(w * scale for w in wall), statistics.median(cpu) * 1e3
        )
    return rows


def _burst(variant: Variant, repeats: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        variant.run()
    return time.process_time() - cpu, time.perf_counter() - wall


def _calibrate(variant: Variant, burst: float) -> int:
    variant.run()  # compiles
    repeats = 1
    while (cpu := _burst(variant, repeats)[0]) < burst:
        # CPU time is charged in ticks of some milliseconds on virtual machines: grow by at most 8, then aim 30 % beyond
        repeats = max(repeats + 1, int(repeats * min(8.0, 1.3 * burst / max(cpu, 1e-9))))
    return repeats


def table(title: str, rows: dict[str, Row], base: str) -> None:
    """Print medians, spread and the ratio of each row to `base`, with the quartiles of the ratios of single rounds."""
    print(f"\n{title:44s} {'ns/unit (CPU)':>14s} {'lowest':>10s} {'highest':>10s} {'/ ' + base:>12s}   quartiles")
    for row in rows.values():
        ratio, low, high = ratio_of(row, rows[base])
        print(
            f"  {row.name:42s} {row.median:14,.0f} {min(row.cpu):10,.0f} {max(row.cpu):10,.0f} {ratio:12.3g}   {low:.3g}–{high:.3g}",
            flush=True,
        )


def ratio_of(numerator: Row, denominator: Row) -> tuple[float, float, float]:
    """Return the ratio of medians, and the quartiles of the ratios round by round."""
    each = [a / b for a, b in zip(numerator.cpu, denominator.cpu, strict=True)]
    low, _, high = statistics.quantiles(each, n=4)
    return numerator.median / denominator.median, low, high


def judge(goals: Sequence[Goal], rows: dict[str, Row]) -> list[dict[str, Any]]:
    """Judge every goal whose two variants ran."""
    return [
        verdict(
            goal.label, ratio_of(rows[goal.numerator], rows[goal.denominator])[0], goal.accept, goal.aim, goal.at_least
        )
        for goal in goals
        if goal.numerator in rows and goal.denominator in rows
    ]


def verdict(label: str, value: float, accept: float, aim: float, at_least: bool = True) -> dict[str, Any]:
    """Compare one number with its floor and its aim, and print the line."""
    passed, aimed = (value >= accept, value >= aim) if at_least else (value <= accept, value <= aim)
    sign, word = ("≥", "≤")[not at_least], "aim reached" if aimed else "pass" if passed else "MISS"
    print(f"  {label:62s} {value:8.3g}   accept {sign} {accept:g}   aim {aim:g}   {word}", flush=True)
    return {"label": label, "value": value, "accept": accept, "aim": aim, "at_least": at_least, "passed": passed}


def record(command: str, title: str, rows: dict[str, Row], goals: list[dict[str, Any]], **more: Any) -> None:
    """Append one JSON line to `records/<command>.jsonl`."""
    RECORDS.mkdir(exist_ok=True)
    entry = {
        "title": title,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "rows": [
            {
                "name": r.name,
                "cpu_ns": round(r.median, 1),
                "lowest": round(min(r.cpu), 1),
                "highest": round(max(r.cpu), 1),
                "wall_ns": round(statistics.median(r.wall), 1),
                "burst_ms": round(r.burst_ms, 1),
                "rounds": len(r.cpu),
            }
            for r in rows.values()
        ],
        "goals": goals,
        **more,
        "environment": environment(),
    }
    with (RECORDS / f"{command}.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


def environment() -> dict[str, Any]:
    """Versions, machine, load and commit."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_in_src": bool(_git("status", "--porcelain", "--", "../src")),
        "versions": versions,
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                flags = " avx512" if "avx512f" in Path("/proc/cpuinfo").read_text() else ""
                return line.split(":", 1)[1].strip() + flags
    return platform.processor()
