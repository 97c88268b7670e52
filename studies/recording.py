"""Records of studies: studies/records/<name>.json with the command, the time and the machine; and tables as text."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RECORDS = Path(__file__).parent / "records"


def plain(value: Any) -> Any:
    """Return NumPy as lists and Python numbers, floats to six digits; NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def write(name: str, result: Mapping[str, Any], seconds: float) -> Path:
    """Write a study's record."""
    made = {
        "command": f"python -m studies.{name}",
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, jax {version('jax')}",
        **plain(result),
    }
    path = RECORDS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    return path


def read(name: str) -> dict[str, Any]:
    """Read a study's record."""
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], form: Mapping[str, str] | None = None) -> str:
    """Return rows as lines of text, numbers to three digits unless `form` says otherwise."""
    form = form or {}

    def cell(column: str, value: Any) -> str:
        if isinstance(value, float):
            return format(value, form.get(column, ".3g"))
        return "-" if value is None else str(value)

    cells = [[cell(c, row.get(c)) for c in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    lines = [[*columns], *cells]
    return "\n".join("  ".join(f"{text:<{w}}" for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)
