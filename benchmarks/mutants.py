"""Mutation score of the closed forms: random defects in theory, sde and scaling, and whether any test sees them.

    python benchmarks/mutants.py --count 1500 --resume            # goes on where the record ends
    python benchmarks/mutants.py --module theory/linear/chain.py --count 50
    python benchmarks/mutants.py --again survived --tests tests/theory/test_survivors.py    # after new tests: the survivors alone

The tests are collected once. A first pass notes which functions every test calls, and how long it takes. Each mutant then lives in a fork:
the changed module is compiled, its code is put into the functions in place, and the tests that call the changed function run from
quick to slow, doctests last, up to the first that fails. No file is written but the record, so nobody else sees a mutant.
Left alone: docstrings, messages, `_checks`, `if ...: raise`, annotations, tolerances of solvers. Mutants in `equivalent_mutants.tsv`
(reason beside each) do not count. Record: one line a mutant, `records/mutants.jsonl`.
"""

from __future__ import annotations

import argparse
import collections
import functools
import gc
import inspect
import itertools
import json
import math
import os
import pickle
import random
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mutations import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gradnoise"
ROOMS = ("theory", "sde", "scaling")
RECORD = Path(__file__).parent / "records" / "mutants.jsonl"
EQUIVALENT = Path(__file__).parent / "equivalent_mutants.tsv"
SLACK = 8  # CPU seconds over twice what the tests took: beyond that a mutant has hung
BYTES = 6 * 2**30


def functions_of(namespace: dict[str, Any], module: str) -> dict[str, Any]:
    """Qualified name -> function, also behind properties, caches and class methods."""
    found: dict[str, Any] = {}
    for value in namespace.values():
        members = vars(value).values() if inspect.isclass(value) else [value]
        for member in members:
            for inner in ("fget", "func", "__func__", "__wrapped__"):
                member = getattr(member, inner, None) or member
            if inspect.isfunction(member) and member.__module__ == module:
                found[member.__qualname__] = member
    return found


def install(mutant: Mutant) -> None:
    """Put the mutant's code into the live functions, its constants into every module that has imported them."""
    module = "gradnoise." + mutant.file[:-3].replace("/", ".")
    live, fresh = vars(sys.modules[module]), {"__name__": module, "__file__": str(SOURCE / mutant.file)}
    exec(mutant.code(), fresh)
    old = functions_of(live, module)
    for name, function in functions_of(fresh, module).items():
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(old[name], part, getattr(function, part))
    for name, value in fresh.items():
        plain = not (callable(value) or inspect.ismodule(value) or name.startswith("__"))
        if plain and repr(value) != repr(live[name]):
            for other in [m for key, m in list(sys.modules.items()) if key.startswith("gradnoise")]:
                if getattr(other, name, None) is live[name] and other is not sys.modules[module]:
                    setattr(other, name, value)
            live[name] = value


class Forks:
    """Pytest plugin: collects, then runs tests in forks."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.failed = arguments, False
        self.caches: list[Any] = []
        self.calls: dict[str, set[tuple[str, str]]] = {}
        self.seconds: dict[str, float] = {}
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed |= report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.caches = [o for o in gc.get_objects() if isinstance(o, functools._lru_cache_wrapper)]
        gc.freeze()
        status, answer = self.fork(self.baseline, 3600)
        self.calls, self.seconds, broken = pickle.loads(answer)
        if status or broken:
            sys.exit(f"without a mutant these tests fail: {broken or status}")
        print(f"{len(self.items)} tests, {sum(self.seconds.values()):.0f} s", flush=True)
        campaign(self, self.arguments)
        return True

    def passes(self, name: str) -> bool:
        self.failed, item = False, self.items[name]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def baseline(self) -> bytes:
        calls, seconds, broken = {}, {}, []
        roots = {f"{SOURCE / room}/": room for room in ROOMS}
        for name in self.items:
            seen: set[tuple[str, str]] = set()

            def note(frame: Any, event: str, _: Any, seen: set[tuple[str, str]] = seen) -> None:
                if event == "call" and frame.f_code.co_filename.startswith(str(SOURCE)):
                    seen.add((frame.f_code.co_filename, frame.f_code.co_qualname.split(".<locals>")[0]))

            for cache in self.caches:
                cache.cache_clear()
            start = time.process_time()
            sys.setprofile(note)
            good = self.passes(name)
            sys.setprofile(None)
            seconds[name] = time.process_time() - start
            broken += [] if good else [name]
            calls[name] = {(f[len(str(SOURCE)) + 1 :], q) for f, q in seen if any(f.startswith(r) for r in roots)}
        return pickle.dumps((calls, seconds, broken))

    def attack(self, mutant: Mutant) -> bytes:
        if "gradnoise." + mutant.file[:-3].replace("/", ".") not in sys.modules:
            return b""  # none of the tests asked for has loaded it
        try:
            install(mutant)
        except Exception as error:
            return f"import: {type(error).__name__}".encode()
        for name in self.tests_for(mutant):
            if not self.passes(name):
                return name.encode()
        return b""

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Names of the tests that call the function (the module, where the mutant is outside any function), quick ones first."""
        inside = {n for n, seen in self.calls.items() if (mutant.file, mutant.function) in seen}
        if not inside and mutant.function not in self.functions:
            inside = {n for n, seen in self.calls.items() if any(f == mutant.file for f, _ in seen)}
        ordered = sorted(inside, key=lambda n: (n.startswith("src/"), self.seconds[n]))
        spent = itertools.accumulate(self.seconds[n] for n in ordered)
        return [n for n, total in zip(ordered, spent, strict=True) if total <= self.arguments.patience]

    def limit(self, mutant: Mutant) -> float:
        return SLACK + 2 * sum(self.seconds[n] for n in self.tests_for(mutant))

    @functools.cached_property
    def functions(self) -> set[str]:
        return {q for seen in self.calls.values() for _, q in seen}

    def fork(self, work: Any, limit: float) -> tuple[int, bytes]:
        """Run `work` in a fork; its exit status (-9: over the limit) and what it returned."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                null = os.open(os.devnull, os.O_RDWR)
                for descriptor in (1, 2):
                    os.dup2(null, descriptor)
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
                resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
                with os.fdopen(writer, "wb") as pipe:
                    pipe.write(work())
                os._exit(0)
            except BaseException:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            if not select.select([pipe], [], [], 4 * limit)[0]:  # asleep, not at work: the CPU limit does not end that
                os.kill(child, signal.SIGKILL)
            answer = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer


def campaign(forks: Forks, arguments: argparse.Namespace) -> None:
    """Choose mutants, run them, write the record, print the score."""
    known = read_record() if arguments.resume or arguments.again else {}
    everything = [
        m for room in ROOMS for path in sorted((SOURCE / room).rglob("*.py")) for m in mutants_of(path, SOURCE)
    ]
    wanted = [m for m in chosen(everything, arguments) if arguments.again or m.key not in known]
    if arguments.again:
        skip = read_equivalent()
        pool = [m for m in everything if m.file.startswith(tuple(arguments.module)) and m.key not in skip]
        wanted = [m for m in pool if known.get(m.key, {}).get("out") == arguments.again]
    print(f"{len(everything)} mutants possible, {len(wanted)} to run", flush=True)
    for at, mutant in enumerate(wanted):
        start = time.time()
        status, answer = forks.fork(functools.partial(forks.attack, mutant), forks.limit(mutant))
        by = answer.decode() if status == 0 else f"exit {status}"
        out = "caught" if by and not by.startswith("exit") else "timeout" if by else "survived"
        line = dict(zip(("file", "function", "was", "now", "nth"), mutant.key, strict=True))
        known[mutant.key] = {**line, "kind": mutant.kind, "line": mutant.line, "out": out, "by": short(by)}
        if out != "caught":
            print(f"{at} {out} {mutant} {by} ({time.time() - start:.1f} s)", flush=True)
        if at % 10 == 9:
            write_record(known)
    present = {m.key for m in everything}
    write_record({key: line for key, line in known.items() if key in present})
    score(read_record())


def chosen(everything: list[Mutant], arguments: argparse.Namespace) -> list[Mutant]:
    """At least --least of every module (all, where it has fewer), then as many more of all as asked for."""
    draw, equivalent = random.Random(arguments.seed), read_equivalent()
    pool = [m for m in everything if m.key not in equivalent and m.file.startswith(tuple(arguments.module))]
    draw.shuffle(pool)
    rank: collections.Counter[str] = collections.Counter()
    first, rest = [], []
    for mutant in pool:
        rank[mutant.file] += 1
        (first if rank[mutant.file] <= arguments.least else rest).append(mutant)
    return first + rest[: max(0, arguments.count - len(first))]


def short(test: str) -> str:
    return test.removeprefix("tests/").removeprefix("src/gradnoise/").split("[")[0]


def read_record() -> dict[Any, dict[str, Any]]:
    lines = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []
    return {tuple(line[k] for k in ("file", "function", "was", "now", "nth")): line for line in lines}


def write_record(known: dict[Any, dict[str, Any]]) -> None:
    RECORD.write_text("".join(json.dumps(known[key], ensure_ascii=False) + "\n" for key in sorted(known)))


def read_equivalent() -> set[tuple[str, str, str, str, int]]:
    rows = EQUIVALENT.read_text().splitlines()[1:] if EQUIVALENT.exists() else []
    return {(f, q, was, now, int(nth)) for f, q, was, now, nth, _ in (row.split("\t") for row in rows)}


def score(record: dict[Any, dict[str, Any]]) -> None:
    """Print caught / judged for every module, and the survivors."""
    equivalent, table = read_equivalent(), collections.defaultdict(collections.Counter)
    for key, line in record.items():
        table[line["file"]]["equivalent" if key in equivalent else line["out"]] += 1
        table[line["file"]]["doctest"] += line["by"].startswith(ROOMS) and ".py::gradnoise." in line["by"]
    whole: collections.Counter[str] = sum(table.values(), collections.Counter())
    for file, row in [*sorted(table.items()), ("all", whole)]:
        caught, judged = row["caught"] + row["timeout"], row["caught"] + row["timeout"] + row["survived"]
        print(
            f"{file:32} {caught:5} of {judged:5} ({row['doctest']} by a doctest alone, {row['equivalent']} equivalent)"
        )
    for key, line in sorted(record.items()):
        if line["out"] == "survived" and key not in equivalent:
            print("survived", f"{key[0]}:{line['line']}", *key[1:], sep=" | ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", nargs="+", default=[""], help="theory/linear/chain.py, or theory/")
    parser.add_argument("--least", type=int, default=25, help="mutants of every module, before the rest of --count")
    parser.add_argument("--patience", type=float, default=math.inf, help="seconds of tests a mutant must survive")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--tests", nargs="+", help="files of tests; else all of theory, sde and scaling, and the doctests"
    )
    parser.add_argument("--again", choices=["survived", "timeout", "caught"])
    parser.add_argument("--score", action="store_true", help="print the record's score and stop")
    arguments = parser.parse_args()
    if arguments.score:
        return score(read_record())
    os.chdir(ROOT)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # NumPy is not loaded yet
    places = [f"{kind}/{room}" for kind in ("tests", "src/gradnoise") for room in ROOMS]
    options = ["-o", "addopts=", "--doctest-modules", "--import-mode=importlib", "-m", "not slow", "-s", "-q"]
    sys.exit(
        pytest.main([*options, "-p", "no:cacheprovider", *(arguments.tests or places)], plugins=[Forks(arguments)])
    )


if __name__ == "__main__":
    main()
