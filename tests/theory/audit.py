"""What a public formula owes, read from the source: docstring parts, a test that calls it, a defect planted in that test.

A test reaches what it calls itself and what the functions, classes and constants of its own file that it names do, and so on.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

LAW = {"assert_covariance", "assert_mean", "assert_estimate", "assert_uniform"}  # declared error rates
COMPARED = {"assert_allclose", "assert_array_equal", "approx", "isclose", "allclose", "planted_defects", "assert_fails"}
# brute force: a computation that shares nothing with the formula
INDEPENDENT = {
    *("linalg", "random", "default_rng", "integrate", "optimize", "itertools", "stats", "roots", "polynomial", "Sgd"),
    *(
        "solve_continuous_lyapunov",
        "solve_discrete_lyapunov",
        "expm",
        "quad",
        "solve_ivp",
        "brentq",
        "minimize",
        "minimize_scalar",
    ),
}
MODULES = {"theory", "sde", "scaling"}  # theory.f outside a string is f called, or on its way to be
PLANTS = {"planted_defects", "assert_fails"}
DIGITS = re.compile(r"\d")


@cache
def definitions(path: Path) -> dict[str, ast.AST]:
    """Top-level names of a file: functions, classes, assigned constants."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id: node for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def reached(path: Path, test: str) -> list[ast.AST]:
    """All nodes of a test and of what it names in its own file (fixtures by their argument)."""
    known, seen, nodes, waiting = definitions(path), set(), [], [test]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        for node in ast.walk(known[name]):
            nodes.append(node)
            if isinstance(node, ast.Name):
                waiting.append(node.id)
            elif isinstance(node, ast.arg):
                waiting.append(node.arg)
    return nodes


def last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def calls(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are called, or handed over to be called: f(...), theory.f(...), partial(theory.f, ...), [theory.f]."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            found.add(last_name(node.func))
        elif isinstance(node, ast.Attribute) and last_name(node.value) in MODULES:
            found.add(node.attr)
    return found


def reads(nodes: Iterable[ast.AST]) -> set[str]:
    """Attributes that are read; getattr(record, "name") too."""
    nodes = list(nodes)
    named = (
        {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        if "getattr" in calls(nodes)
        else set()
    )
    return named | {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


def plants(nodes: Iterable[ast.AST], defect: str) -> bool:
    """Whether the defect is a key of a mapping, or `defect=`, beside a call that requires it to be seen."""
    nodes = list(nodes)
    keys = [k for n in nodes if isinstance(n, ast.Dict) for k in n.keys]
    keys += [k.value for n in nodes if isinstance(n, ast.Call) for k in n.keywords if k.arg == "defect"]
    keys += [e for n in nodes if isinstance(n, ast.Tuple) for e in n.elts]  # rows of a parametrised test
    keys += [
        n.slice for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
    ]  # wrong["..."] = ...
    return bool(PLANTS & calls(nodes)) and any(isinstance(k, ast.Constant) and k.value == defect for k in keys)


def kind(nodes: Iterable[ast.AST]) -> str | None:
    """ "law": declared error rates; "agreement": compared with brute force or with printed digits; None: an identity."""
    nodes = list(nodes)
    called = calls(nodes)
    if called & LAW:
        return "law"
    if not (called & COMPARED or any(isinstance(n, ast.Assert) for n in nodes)):
        return None
    printed = any(
        isinstance(n, ast.Constant) and isinstance(n.value, float) and len(DIGITS.findall(repr(n.value))) >= 5
        for n in nodes
    )
    loops = any(isinstance(n, ast.For | ast.While) for n in nodes)
    named = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)}
    brute = (reads(nodes) | called | named) & INDEPENDENT
    return "agreement" if printed or loops or brute else None


def gaps_in_tests(
    name: str, tests: Mapping[str, list[ast.AST]], defect: str, makers: Mapping[str, set[str]]
) -> list[str]:
    """What the registered tests of a formula lack. `makers`: record -> what makes one, for "Record.field"."""
    record, _, called = name.rpartition(".")

    def uses(nodes: list[ast.AST]) -> bool:
        if not record or record not in makers:
            return called in calls(nodes)
        return called in reads(nodes) and bool(makers[record] & calls(nodes))

    using = {test: nodes for test, nodes in tests.items() if uses(nodes)}
    idle = [f"{test} does not call {name}" for test in tests if test not in using]
    if not any(kind(nodes) for nodes in using.values()):
        idle.append(f"no law or agreement test calls {name}")
    if not any(plants(nodes, defect) for nodes in using.values()):
        idle.append(f"no test that calls {name} plants {defect!r}")
    return idle


def gaps_in_docstring(text: str, arguments: Iterable[str]) -> list[str]:
    """What the docstring of a formula lacks: a function's has a symbol table."""
    found = [f"no {part!r}" for part in ("Equation", "Assumptions: ", "Limit: ") if part not in text]
    if not re.search(r"Reference: .*([12]\d{3}|derived|papers/|§|eq\.|textbook)", text, re.DOTALL):
        found.append("no source")
    if not doctest.DocTestParser().get_examples(text):
        found.append("no doctest")
    lines = text.splitlines()
    bars = [i for i, line in enumerate(lines) if line.startswith("====")]
    if len(bars) < 3:
        return [*found, "no symbol table"]
    header = lines[bars[0] + 1].split()
    if header[1:] != ["symbol", "shape", "scale"]:
        found.append(f"symbol table with the header {header}")
    named = " ".join(line.split("  ")[0] for line in lines[bars[1] + 1 : bars[2]])  # "burn_in, every": two of a row
    return found + [
        f"the symbol table lacks {argument}" for argument in arguments if not re.search(rf"\b{argument}\b", named)
    ]


def gaps_in_rule(text: str, arguments: Iterable[str]) -> list[str]:
    """What the docstring of a scaling rule lacks: numpydoc sections, because its argument is a mapping."""
    found = [f"no {part!r}" for part in ("Equation", "Assumptions: ", "Limit: ") if part not in text]
    lines = text.splitlines()
    found += [
        f"no section {name}"
        for name in ("Parameters", "Returns", "Raises", "References", "Examples")
        if name not in lines
    ]
    if not doctest.DocTestParser().get_examples(text):
        found.append("no doctest")
    return found + [f"no parameter {argument}" for argument in arguments if argument not in lines]


def gaps_in_summary(text: str) -> list[str]:
    """What the docstring of a method or property lacks: its record's table has the symbols."""
    found = [] if re.search(r"[=≈∝]", text) else ["no equation"]
    if not re.search(r"\((D|n)\b[^)=]*\)|\bnumber\b", text.partition(">>>")[0]):
        found.append("no shape")
    found += [f"no {part!r}" for part in ("Scale: ", "Limit: ") if part not in text]
    if not doctest.DocTestParser().get_examples(text):
        found.append("no doctest")
    return found


def docstring_of(item: Any) -> str:
    return inspect.getdoc(getattr(item, "func", item)) or ""


def parameters(item: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(item).parameters if name != "self"]


def formulas_of(module: Any, classes: Iterable[str] = ()) -> list[str]:
    """Public functions, the classes named, and whatever a record computes when asked: "Circulation.frequencies"."""
    found = []
    for name in module.__all__:
        item = getattr(module, name)
        if inspect.isfunction(item) or name in classes:
            found.append(name)
        if inspect.isclass(item):
            found += [f"{name}.{key}" for key, value in vars(item).items() if _computes(key, value)]
    return sorted(found)


def _computes(key: str, value: Any) -> bool:
    return not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property | cached_property))
