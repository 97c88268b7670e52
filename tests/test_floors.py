"""The floors of the house: imports go to a lower floor only, files stay short, and nothing is called `utils`."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

PACKAGE = "gradnoise"
ROOT = Path(__file__).resolve().parents[1] / "src" / PACKAGE
LONGEST = 350
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc"}

FLOORS = {
    "_types": 0, "_checks": 0, "_scaled": 0, "_tree": 0, "_files": 0, "_text": 0, "results": 0,
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
NO_JAX = {
    "_types",
    "_checks",
    "_scaled",
    "_files",
    "_text",
    "results",
    "theory",
    "diagnose",
    "testing",
    "scaling",
    "datasets",
    "sde",
}


def unit_of(module: str) -> str:
    """gradnoise.theory.linear.chain -> theory."""
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
    planted = {
        "gradnoise.oracles": "from gradnoise.oracles.full_batches import gaussian",
        "gradnoise.oracles.gaussian": "",
    }
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
        "gradnoise.theory.linear.chain": "import numpy\nfrom gradnoise import _checks\nfrom gradnoise._types import Array",
        "gradnoise.engine.simulation": "import jax\nfrom gradnoise.processes import compose\nfrom gradnoise.engine.run import Run",
        "gradnoise.engine.run": "from gradnoise import __version__\nfrom gradnoise.results import Estimate",
        "gradnoise._checks": "from gradnoise._types import Array",
        "gradnoise.cli": "import gradnoise\nfrom gradnoise import pages",
    }
    assert breaches(allowed) == []


# --- rooms: packages of many names hold folders, and a file bears the name that it exports

ROOMED = ("theory", "infer", "measure")
MOST_FILES = 15
LONGEST_CHAIN = 25  # modules that must load before the top one, counted with it; it may only shrink
# public names that share no word with the file or the room that defines them: the list may only shrink
UNSHARED = {
    "NotAMinimum", "Condition", "Scaled", "ema", "ema_shift", "max_factor_for_linear", "max_kappa", "max_learning_rate_for_sde",
    "scale_invariant_norm", "mlp", "NotConverged", "Standardisation", "bundled", "example", "openml", "split", "standardise",
    "effective_sample_size", "kl_floor", "Interrupted", "Report", "StageFailed", "report", "rerender", "noise_alignment",
    "predicted_against_simulated", "variance_ratios", "Decreasing", "sample", "Gaussian", "difference_covariance", "gaussian",
    "InsensitiveSample", "Passed", "assert_covariance", "assert_fails", "assert_mean", "assert_uniform", "declare", "declared",
    "Divergence", "Failure", "resume",
}  # fmt: skip


def room_of(module: str) -> str | None:
    """gradnoise.theory.linear.chain -> theory.linear."""
    parts = module.split(".")
    return ".".join(parts[1:3]) if len(parts) > 3 and parts[1] in ROOMED else None


def rooms(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which rooms of its own package each room imports."""
    known = set(sources) | {f"{m}.__init__" for m in sources if any(o.startswith(f"{m}.") for o in sources)}
    out: dict[str, set[str]] = {}
    for module, source in sources.items():
        if room := room_of(module):
            others = {room_of(target) or room_of(f"{target}.x") for _, target in imports(source, module, known)}
            mine = {other for other in others if other and other != room and other.split(".")[0] == room.split(".")[0]}
            out.setdefault(room, set()).update(mine)
    return out


def test_rooms_stand_on_each_other_and_none_is_full():
    sources = modules(ROOT)
    found = rooms(sources)
    assert len(found) > 15
    assert cycles(found) == []
    for package in ROOMED:
        files = [m for m in sources if room_of(m) and m.split(".")[1] == package]
        for room in {room_of(m) for m in files}:
            assert sum(room_of(m) == room for m in files) <= MOST_FILES, room
        beside = [m for m in sources if m.split(".")[1:2] == [package] and len(m.split(".")) == 3]
        assert all(any(o.startswith(f"{m}.") for o in sources) for m in beside), f"{package} holds rooms, not modules"
    planted = {
        "gradnoise.theory.linear.chain": "from gradnoise.theory.tails.stable import f",
        "gradnoise.theory.tails.stable": "from gradnoise.theory.linear.modes import g",
    }
    assert cycles(rooms(planted)) == [["theory.linear", "theory.tails", "theory.linear"]]


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def related(one: str, other: str) -> bool:
    """One word: the same, or another form of it (plan and plans, sample and sampling)."""
    shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one == other or shared >= 5 or (shared >= 4 and shared == min(len(one), len(other)))


def strangers(sources: dict[str, str]) -> set[str]:
    """Public names of packages that share no word with the file or the folder of their `def` or `class`."""
    out = set()
    for package, source in sources.items():
        if package.split(".")[-1].startswith("_") or not any(m.startswith(f"{package}.") for m in sources):
            continue
        public = {
            element.value
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__" and isinstance(node.value, ast.List)
            for element in node.value.elts
            if isinstance(element, ast.Constant)
        }  # fmt: skip
        for module, text in sources.items():
            if module.startswith(f"{package}.") or module == package:
                near = words("_".join(module.split(".")[-2:]))
                defined = {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
                for name in defined & public:
                    if not any(related(a, b) for a in words(name) for b in near):
                        out.add(name)
    return out


def test_a_file_bears_the_name_that_it_exports():
    found = strangers(modules(ROOT))
    assert found <= UNSHARED, f"no word in common with file or room: {sorted(found - UNSHARED)}"
    assert found >= UNSHARED, f"mended, so take them off the list: {sorted(UNSHARED - found)}"
    planted = {"gradnoise.infer": '__all__ = ["constant_sgd", "nuts"]', "gradnoise.infer.tuned": "def constant_sgd(): pass", "gradnoise.infer.nuts": "def nuts(): pass"}  # fmt: skip
    assert strangers(planted) == {"constant_sgd"}


def longest_chain(sources: dict[str, str]) -> list[str]:
    """The longest chain of imports at module level; a package's face stands for the module that defines the name, or for all."""
    known = set(sources) | {f"{m}.__init__" for m in sources if any(o.startswith(f"{m}.") for o in sources)}
    tops = {m: [n for n in ast.parse(s).body if isinstance(n, ast.Import | ast.ImportFrom)] for m, s in sources.items()}
    origin = {
        (m, a.asname or a.name): n.module
        for m in sources if f"{m}.__init__" in known
        for n in tops[m] if isinstance(n, ast.ImportFrom) and n.module
        for a in n.names
    }  # fmt: skip

    def targets(module: str) -> set[str]:
        out = set()
        for node in tops[module]:
            for a in node.names:
                stem = node.module if isinstance(node, ast.ImportFrom) else a.name
                whole = f"{stem}.{a.name}"
                out.add(whole if whole in sources else origin.get((stem, a.name), stem))
        return {t for t in out if t in sources and t != module}

    @functools.cache
    def chain(module: str) -> tuple[str, ...]:
        below = max((chain(t) for t in targets(module)), key=len, default=())
        face = f"{module}.__init__" in known and not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.parse(sources[module]).body)  # fmt: skip
        return below if face else (module, *below)

    return list(max(map(chain, sources), key=len))


def test_the_chain_of_imports_is_short():
    found = longest_chain(modules(ROOT))
    assert len(found) == LONGEST_CHAIN, " <- ".join(found)
    planted = {
        "gradnoise.a": "from gradnoise.b import f\nfrom gradnoise import d",
        "gradnoise.b": "from gradnoise.b.deep import f",
        "gradnoise.b.deep": "from gradnoise.c import g",
        "gradnoise.c": "import numpy",
        "gradnoise.d": "def late():\n    from gradnoise.a import x",
    }
    assert longest_chain(planted) == ["gradnoise.a", "gradnoise.b.deep", "gradnoise.c"]
