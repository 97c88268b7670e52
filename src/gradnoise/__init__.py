"""gradnoise: measure, predict, simulate and use the noise of stochastic gradients.

Names load on first use, so that `import gradnoise.theory` does not import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = [
    "advice",
    "datasets",
    "diagnose",
    "engine",
    "infer",
    "measure",
    "models",
    "oracles",
    "pages",
    "plots",
    "processes",
    "results",
    "rules",
    "scaling",
    "sde",
    "testing",
    "theory",
]
_NAMES = {
    "Divergence": "engine",
    "Failure": "engine",
    "Estimate": "results",
    "Interrupted": "engine",
    "Mode": "mode",
    "Problem": "problem",
    "Run": "engine",
    "Stream": "stream",
    "find_mode": "mode",
    "record": "engine",
    "report": "pages",
    "resume": "engine",
    "rule": "rules",
    "simulate": "engine",
}
__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"gradnoise.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"gradnoise.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    msg = f"module 'gradnoise' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from gradnoise.engine import Divergence, Failure, Interrupted, Run, record, resume, simulate
    from gradnoise.mode import Mode, find_mode
    from gradnoise.pages import report
    from gradnoise.problem import Problem
    from gradnoise.results import Estimate
    from gradnoise.rules import rule
    from gradnoise.stream import Stream
