"""Plain data: results as JSON holds them, and files that are never half written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import _files
from gradnoise._text import HIDDEN


def plain(value: Any) -> Any:
    """Return NumPy as lists and Python numbers; NaN and infinity as None (null)."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Write results as JSON without NaN, whole or not at all; hidden characters are escaped as JSON does it."""
    text = json.dumps(results, allow_nan=False, ensure_ascii=False, indent=1)
    write_text(path, HIDDEN.sub(lambda hit: hit[0] if hit[0] == "\n" else f"\\u{ord(hit[0]):04x}", text))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    _files.write(path, text.encode("utf-8"))
