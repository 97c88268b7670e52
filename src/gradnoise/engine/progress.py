"""Progress of a run, on a terminal or to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]  # steps done, steps in all


@contextmanager
def reporting(progress: bool | Report, label: str = "simulate") -> Iterator[Report]:
    """Yield a function to call after each chunk: the user's, a rich bar on an interactive stderr, or nothing."""
    if callable(progress):
        yield progress
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,} steps")
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"{label} (compiling)", total=None)
        yield lambda done, total: bar.update(task, description=label, completed=done, total=total)
