"""The floors of the house: imports go to a lower floor only, files stay short, and nothing is called `utils`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = "gradnoise"
ROOT = Path(__file__).resolve().parents[1] / "src" / PACKAGE
LONGEST = 350
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc"}

FLOORS = {
    "_types": 0, "_checks": 0, "_tree": 0, "_files": 0, "_text": 0, "results": 0,
    "problem": 1, "stream": 1, "derivatives": 1, "theory": 1, "diagnose": 1, "testing": 1,
    "models": 2, "datasets": 2, "mode": 2, "measure": 2, "oracles": 2, "rules": 2, "sde": 2, "scaling": 2,
    "processes": 3,
    "engine": 4,
    "infer": 5,
    "advice": 6,
    "plots": 7,
    "pages": 8, "studies": 8,  # 7b: above plots
    "cli": 9, "__main__": 10, "bridges": 9,
}  # fmt: skip
CELLAR = "_types"  # array types only: the rest of the ground floor stands on it
# known breaches of "no module has the name of a public function beside it": to be renamed, never added to
NO_JAX = {"_types", "_checks", "_files", "_text", "results", "theory", "diagnose", "testing", "scaling", "datasets", "sde"}  # fmt: skip


def unit_of(module: str) -> str:
    """gradnoise.theory.chain -> theory."""
    unit = module.split(".")[1] if "." in module else "__init__"
    return "__init__" if unit == "__version__" else unit


def imports(source: str, module: str, known: set[str]) -> list[tuple[int, str]]:
    """Lines and full names of all imports, also inside functions and TYPE_CHECKING blocks; relative ones resolved."""
    found = []
    package = module if f"{module}.__init__" in known else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            stem = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                whole = f"{stem}.{alias.name}"
                submodule = whole in known or (stem == PACKAGE and alias.name in {*FLOORS, "__version__"})
                found.append((node.lineno, whole if submodule else stem))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found += [(node.lineno, a.value) for a in node.args if isinstance(a, ast.Constant)]
    return found


def modules(root: Path) -> dict[str, str]:
    """Module name -> source; a package's own file has the package's name."""
    out = {}
    for path in sorted(root.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return out


def breaches(sources: dict[str, str]) -> list[str]:
    """Everything in these modules that the floor table forbids, one sentence each."""
    known = set(sources) | {f"{m}.__init__" for m in sources if any(o.startswith(f"{m}.") for o in sources)}
    out, edges = [], {}
    for module, source in sources.items():
        unit, name = unit_of(module), module.rpartition(".")[2]
        out += [f"{module} has {n} lines, more than {LONGEST}" for n in [source.count("\n")] if n > LONGEST]
        out += [f"{module} is called {name}" for _ in [0] if name in FORBIDDEN]
        if unit == "__init__":
            continue  # the lazy table of names
        if unit not in FLOORS:
            out.append(f"{module}: {unit} has no floor")
            continue
        edges[module] = set()
        for line, target in imports(source, module, known):
            if unit in NO_JAX and target.split(".")[0] in ("jax", "jaxlib", "optax"):
                out.append(f"{module}:{line} imports {target}, but {unit} is free of JAX")
            if target.split(".")[0] != PACKAGE:
                continue
            other = unit_of(target)
            if other == unit:
                edges[module].add(next((m for m in (target, target.rpartition(".")[0]) if m in sources), target))
            elif other == "__init__":
                if unit != "cli" and target != f"{PACKAGE}.__version__":
                    out.append(f"{module}:{line} imports {target}, the top of the house")
            elif other not in FLOORS:
                out.append(f"{module}:{line} imports {target}, which has no floor")
            elif FLOORS[other] >= FLOORS[unit] and not (FLOORS[unit] == 0 and other == CELLAR):
                out.append(f"{module}:{line} (floor {FLOORS[unit]}) imports {target} (floor {FLOORS[other]})")
    return out + [f"cycle: {' -> '.join(cycle)}" for cycle in cycles(edges)]


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Import cycles inside packages, each found once by a depth-first walk."""
    out: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            out.append([*path[path.index(node) :], node])
        elif node not in done:
            for other in sorted(edges.get(node, ())):
                walk(other, [*path, node])
            done.add(node)

    for node in sorted(edges):
        walk(node, [])
    return out


def test_the_house_stands():
    sources = modules(ROOT)
    assert len(sources) > 10
    assert not breaches(sources)


def shadowed(sources: dict[str, str]) -> set[str]:
    """Modules whose name their package also gives to a function: the attribute is then one or the other."""
    out = set()
    for module, source in sources.items():
        for node in ast.parse(source).body:
            bound = [a.asname or a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
            bound += [node.name] if isinstance(node, ast.FunctionDef) else []
            origin = getattr(node, "module", None)
            out |= {f"{module}.{name}" for name in bound if f"{module}.{name}" in sources and origin != module}
    return out


def test_no_module_has_the_name_of_a_public_function_beside_it():
    assert shadowed(modules(ROOT)) == set()
    planted = {"gradnoise.oracles": "from gradnoise.oracles.smooth import gaussian", "gradnoise.oracles.gaussian": ""}
    assert shadowed(planted) == {"gradnoise.oracles.gaussian"}
    planted["gradnoise.oracles"] = "from gradnoise.oracles import gaussian"  # the module itself
    assert shadowed(planted) == set()


PLANTED = [
    ("theory.chain", "import gradnoise.engine", "(floor 1) imports gradnoise.engine (floor 4)"),
    ("theory.chain", "from gradnoise import diagnose", "(floor 1) imports gradnoise.diagnose (floor 1)"),
    ("models", "from gradnoise.rules import rule", "(floor 2) imports gradnoise.rules (floor 2)"),
    ("oracles.base", "def f():\n    from gradnoise.processes.composition import compose", "oracles.base:2 (floor 2)"),
    ("infer.laplace", "if TYPE_CHECKING:\n    from gradnoise.advice import x", "infer.laplace:2 (floor 5)"),
    ("pages.report", "import importlib\nimportlib.import_module('gradnoise.cli')", "pages.report:2 (floor 8)"),
    ("measure.noise", "from ..engine import simulate", "imports gradnoise.engine (floor 4)"),
    ("measure.noise", "from gradnoise import Problem", "the top of the house"),
    ("_types", "from gradnoise import _checks", "(floor 0) imports gradnoise._checks (floor 0)"),
    ("results", "from gradnoise import _checks", "(floor 0) imports gradnoise._checks (floor 0)"),
    ("theory.chain", "import jax.numpy as jnp", "theory is free of JAX"),
    ("datasets.frames", "def f():\n    import jax", "datasets is free of JAX"),
    ("attic", "x = 1", "attic has no floor"),
    ("theory.chain", "from gradnoise.attic import x", "gradnoise.attic, which has no floor"),
    ("engine.utils", "x = 1", "is called utils"),
    ("common", "x = 1", "is called common"),
    ("mode", "x = 1\n" * 351, "has 351 lines, more than 350"),
]


@pytest.mark.parametrize(("module", "source", "report"), PLANTED)
def test_a_planted_breach_is_reported(module, source, report):
    assert any(report in breach for breach in breaches({f"gradnoise.{module}": source})), breaches(
        {f"gradnoise.{module}": source}
    )


def test_a_planted_cycle_is_reported():
    package = {
        "gradnoise.theory": "from gradnoise.theory.a import f",
        "gradnoise.theory.a": "from gradnoise.theory import b",
        "gradnoise.theory.b": "def g():\n    from gradnoise.theory.c import h",
        "gradnoise.theory.c": "from .a import f",
    }
    names = "gradnoise.theory.{} -> gradnoise.theory.{} -> gradnoise.theory.{} -> gradnoise.theory.{}"
    assert breaches(package) == ["cycle: " + names.format("a", "b", "c", "a")]
    package["gradnoise.theory.c"] = "from gradnoise._checks import real"
    assert breaches(package) == []
    package["gradnoise.theory.c"] = "from gradnoise.theory import f"  # through the package's own file
    assert any(breach.startswith("cycle") for breach in breaches(package))


def test_what_is_allowed_is_not_reported():
    allowed = {
        "gradnoise": "from gradnoise.engine import simulate",
        "gradnoise.theory.chain": "import numpy\nfrom gradnoise import _checks\nfrom gradnoise._types import Array",
        "gradnoise.engine.driver": "import jax\nfrom gradnoise.processes import compose\nfrom gradnoise.engine.run import Run",
        "gradnoise.engine.run": "from gradnoise import __version__\nfrom gradnoise.results import Estimate",
        "gradnoise._checks": "from gradnoise._types import Array",
        "gradnoise.cli": "import gradnoise\nfrom gradnoise import pages",
    }
    assert breaches(allowed) == []
