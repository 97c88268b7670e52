"""What every run takes, and its checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from gradnoise import _checks
from gradnoise.engine.checkpoint import require_place
from gradnoise.stream import seed_of

MOST_THIN = 1 << 29
_NOT_NAMED = ("problem", "self", "simulation")  # parameters that no keyword of a user's is meant to be


class Simulation(TypedDict, total=False):
    """What every sampler hands to `simulate` as it is.

    Attributes
    ----------
    dtype
        "float32" (default) or "float64".
    checkpoint
        A path, written at most every 10 s; the same call goes on from it.
    workers, threads
        Processes, and host threads of one.
    """

    dtype: Any
    checkpoint: str | Path | None
    workers: int
    threads: int | None


SIMULATION: dict[str, Any] = {"dtype": None, "checkpoint": None, "workers": 1, "threads": None}  # the defaults


def checked_thin(thin: Any) -> int:
    """Return the steps between draws as a whole number that the engine can count."""
    if (step := _checks.integer("thin", thin)) > MOST_THIN:
        msg = f"thin must be at most {MOST_THIN:,}, got {step:,}."
        raise ValueError(msg)
    return step


def check_memory(num_draws: int, num_chains: int, num_params: int) -> None:
    """Refuse more draws, in float64, than this machine can hold."""
    need = 8.0 * num_draws * num_chains * num_params
    if need > _checks.memory():
        msg = (
            f"num_draws must be smaller: {num_chains} x {num_draws:,} draws of {num_params} parameters take {need / 1e9:.3g} GB, more than "
            f"the {_checks.memory() / 1e9:.3g} GB of this machine."
        )
        raise ValueError(msg)


def check_run(
    *,
    num_draws: Any,
    num_chains: Any,
    key: Any,
    thin: Any,
    burn_in: Any,
    simulation: Mapping[str, Any] | None = None,
    progress: Any = True,
    own: Callable[..., Any] | None = None,
) -> None:
    """Check what every run takes, before the mode is looked for; `own` is the function that was called. Its argument names are listed in the error message."""
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    if thin is not None:
        checked_thin(thin)
    if burn_in is not None:
        _checks.integer("burn_in", burn_in, low=0)
    _checks.progress(progress)
    names = [] if own is None else [name for name in inspect.signature(own).parameters if name not in _NOT_NAMED]
    _checks.keywords(simulation or {}, [*names, *Simulation.__annotations__])
    if (simulation or {}).get("checkpoint") is not None:
        require_place(simulation["checkpoint"])  # type: ignore[index]
