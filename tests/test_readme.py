"""README's example runs as it stands, and its two commands are those that CI runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_readme_has_two_commands_and_ci_runs_the_second() -> None:
    first, second = blocks("bash")
    assert first.count("\n") == 1
    assert "gradnoise report" in first
    install, _, test = second.strip().rpartition(" && ")
    assert test == "pytest"
    ci = (ROOT / ".ci" / "run").read_text()
    assert install.replace("pip install", "pip install --quiet") in ci
    assert "\npytest\n" in ci


def test_readme_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    script = tmp_path / "example.py"
    script.write_text(code)
    names = runpy.run_path(str(script))
    ratio = (names["run"].covariance / names["predicted"]).diagonal()
    assert ratio.min() > 0.8
    assert ratio.max() < 1.25
    assert "constant SGD" in capsys.readouterr().out
    assert names["posterior"].verdict.level == "trustworthy"
