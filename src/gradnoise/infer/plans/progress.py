"""What planning says while it lasts: a line for every stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def announce(said: str, progress: Any) -> None:
    """Print a line on stderr, where a progress bar would be shown."""
    if progress is True:
        from rich.console import Console

        Console(stderr=True, highlight=False).print(said, markup=False)


@contextmanager
def telling(progress: Any, *, lasting: bool = True) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes the name of each stage: printed line by line, or (not `lasting`) shown on a terminal until the end.

    Nothing where `progress` is not True.
    """
    if progress is not True:
        yield lambda _stage: None
        return
    if lasting:
        yield lambda stage: announce(f"Planning: {stage}", progress)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _stage: None
        return
    with console.status("Planning") as shown:
        yield lambda stage: shown.update(f"Planning: {stage}")
