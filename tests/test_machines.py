"""The list of tests that other machines run names tests that exist, about a hundred cases of them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_names_tests_that_exist() -> None:
    lines = [
        line for line in (ROOT / "tests/machines.txt").read_text("utf-8").splitlines() if line[:1] not in ("", "#")
    ]
    assert len(lines) == len(set(lines)) > 30
    for line in lines:
        path, _, name = line.partition("::")
        functions = {node.name for node in ast.parse((ROOT / path).read_text("utf-8")).body if hasattr(node, "name")}
        assert name in functions, line
