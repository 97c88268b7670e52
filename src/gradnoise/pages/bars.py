"""Bars: one progress line a stage on an interactive stderr, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Report = Callable[[int, int], None]


class Stages:
    """Times stages and shows them: a line with a bar while one runs, a tick and its seconds when it is done."""

    def __init__(self, names: tuple[str, ...], show: bool) -> None:
        self.names = names
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.current = ""
        self._bar: Any = None
        self._task: Any = None
        self._show = show and sys.stderr.isatty()

    def __enter__(self) -> Stages:
        if self._show:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
            )
            self._bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self._bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def stage(self, name: str, parts: int = 1) -> Iterator[Callable[[str], Report]]:
        """Run a stage; yields what makes a progress function for each of its `parts` by name."""
        self.current, began, cpu = name, time.perf_counter(), time.process_time()
        done = -1
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=parts)

        def part(label: str) -> Report:
            nonlocal done
            done += 1
            return self._part(f"{name}: {label}", done)

        try:
            yield part
        finally:
            self.seconds[name] = time.perf_counter() - began
            self.cpu_seconds[name] = time.process_time() - cpu
        if self._bar is not None:
            self._bar.update(self._task, description=name, completed=parts, total=parts)

    def _part(self, label: str, before: int) -> Report:
        def show(done: int, total: int) -> None:
            if self._bar is not None:
                self._bar.update(self._task, description=label, completed=before + done / max(total, 1))

        show(0, 1)
        return show
