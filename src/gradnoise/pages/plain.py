"""Plain data: results as JSON holds them, and files that are never half written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np


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
    """Write results as JSON without NaN, whole or not at all."""
    write_text(path, json.dumps(results, allow_nan=False, ensure_ascii=False, indent=1))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)
