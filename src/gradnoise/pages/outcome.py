"""How a report ends: finished, with a stage that failed, or interrupted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class StageFailed(RuntimeError):
    """A stage of a report failed; `.stage` names it, `.results` holds what was computed, and `.path` (None: not written) as a file."""

    def __init__(self, stage: str, path: Path | None, results: dict[str, Any], cause: BaseException) -> None:
        self.stage, self.path, self.results = stage, path, results
        where = (
            "what was computed could not be written"
            if path is None
            else f"what was computed before it is in {str(path)!r}"
        )
        super().__init__(f"stage {stage!r} failed: {cause} ({where})")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a report: `.path` holds the stages that were finished; None if there were none, and nothing was written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        told = (
            "no stage was finished, so nothing was written"
            if path is None
            else f"the stages that were finished are in {path.name}"
        )
        super().__init__(f"interrupted; {told}")


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes
    ----------
    page, data
        Paths of index.html and report.json.
    draws
        Method -> path of its draws (NetCDF, ArviZ's schema).
    results
        Everything in report.json.
    """

    page: Path
    data: Path
    draws: dict[str, Path]
    results: dict[str, Any] = field(repr=False)

    @property
    def summary(self) -> list[dict[str, str]]:
        """The sentences on top of the page, each with its level."""
        return list(self.results["summary"])

    def __str__(self) -> str:
        return "\n".join([*(f"[{s['level']}] {s['text']}" for s in self.summary), f"page: {self.page}"])
