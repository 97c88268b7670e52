"""docs/acceptance.md names a test that exists, or a step to wait for, for every acceptance test of the notes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "acceptance.md").read_text()
# note -> the ids of its acceptance tests
IDS = {
    "mandt2017.md": [f"T{i}" for i in range(1, 15)],
    "discrete_noise.md": [f"D{i}" for i in range(1, 24)],
    "sde_scaling.md": [f"T{i}" for i in range(1, 26)],
    "smith_chaudhari.md": [
        *(f"A{i}" for i in range(1, 10)),
        *(f"B{i}" for i in range(1, 14)),
        "B13b",
        *(f"B{i}" for i in range(14, 18)),
        *(f"C{i}" for i in range(1, 9)),
        *("§4.1", "§4.2", "§4.7"),
    ],
    "recent.md": [*(f"§2.{i}" for i in range(1, 8)), "§3.5"],
}


def rows(page):
    """(note, id, what covers it) of every row."""
    for part in page.split("\n## ")[1:]:
        note = re.match(r"`([\w.]+)`", part).group(1)
        for line in part.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 3 and cells[0] not in ("id", "---"):
                yield note, cells[0], cells[2]


@cache
def functions_of(file):
    return {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}


def gaps(page):
    found = []
    for note, name, covered in rows(page):
        tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", covered)
        if not tests and not re.match(r"waits for (a step|step \d)", covered):
            found.append(f"{note} {name}: neither a test nor a step")
        found += [
            f"{note} {name}: {file}::{test}"
            for file, test in tests
            if not (ROOT / file).exists() or test not in functions_of(file)
        ]
    return found


@pytest.mark.parametrize("note", sorted(IDS))
def test_every_acceptance_test_has_one_row(note):
    assert [name for of, name, _ in rows(PAGE) if of == note] == IDS[note]


def test_every_test_named_exists():
    assert not gaps(PAGE)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "test_gaussian_mean_t13`",
            "test_gaussian_mean_t31`",
            "T13: tests/theory/test_acceptance_mandt.py::test_gaussian_mean_t31",
        ),
        (
            "test_svag.py::test_every_pair`,",
            "test_swag.py::test_every_pair`,",
            "T1: tests/theory/test_swag.py::test_every_pair",
        ),
        (
            "`tests/infer/test_vem.py::test_variational_em_settles_at_its_fixed_point`",
            "some day",
            "T8: neither a test nor a step",
        ),
    ],
)
def test_a_broken_row_is_seen(old, new, says):
    assert PAGE.count(old) >= 1
    assert any(says in gap for gap in gaps(PAGE.replace(old, new)))
