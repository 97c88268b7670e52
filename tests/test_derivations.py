"""What docstrings cite is in the repository, and what the derivations cite too."""

from __future__ import annotations

import re
from pathlib import Path

import gradnoise as gn

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "derivations"


def test_every_page_that_a_docstring_cites_is_there() -> None:
    cited = set()
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text("utf-8")
        assert "papers/" not in text, f"{path} cites a private note"
        cited |= set(re.findall(r"docs/[\w/]+\.md", text))
    assert len(cited) > 5
    missing = {page for page in cited if not (ROOT / page).is_file()}
    assert not missing


def test_the_pages_name_functions_and_tests_that_exist() -> None:
    index = (PAGES / "README.md").read_text("utf-8")
    pages = sorted(PAGES.glob("*.md"))
    assert len(pages) > 5
    for page in pages:
        text = page.read_text("utf-8")
        assert page.name == "README.md" or f"]({page.name})" in index, f"{page.name} is not in the index"
        for linked in re.findall(r"\]\(([\w./]+\.md)\)", text):
            assert (PAGES / linked).is_file(), (page.name, linked)
        for test in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text):
            assert (ROOT / test).exists(), (page.name, test)
        for room, name in re.findall(r"`(theory|sde|scaling|diagnose)\.(\w+)`", text):
            assert hasattr(getattr(gn, room), name), (page.name, name)
