"""The folder of a report: which files in it are ours, so that nothing of the user's is removed or overwritten.

A folder is ours if it holds a report.json that we wrote. Draws are ours if that file lists them and they are what `Posterior.save`
writes; a page is ours if it has our title.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradnoise import _checks, _files
from gradnoise.infer.posteriors.export import is_ours
from gradnoise.pages.plain import plain, write_json

DATA, PAGE = "report.json", "index.html"
DRAWS = re.compile(r"draws-[a-z0-9-]+\.nc")  # as an old report.json may list them: names, never paths
TITLE = re.compile(r"<title>Gradient noise of .* – gradnoise</title>", re.DOTALL)


def require_place(out: Any, *, force: bool) -> Path:
    """Return the folder of a report, made where it was missing, before anything is computed.

    Parameters
    ----------
    out, force
        As in `report`.

    Raises
    ------
    FileExistsError
        If it holds files that are not ours, unless `force`.
    OSError
        If it is no folder, or nothing can be written there.
    """
    folder = _checks.path("out", out)
    if folder.exists() and not folder.is_dir():
        msg = f"out must name a folder, but {folder} is something else."
        raise NotADirectoryError(msg)
    foreign = [] if force or not folder.is_dir() else _foreign(folder)
    if foreign:
        shown = ", ".join(map(repr, foreign[:3])) + (", …" if len(foreign) > 3 else "")
        msg = (
            f"out must be a new or empty folder, or one of an older report, but {folder} holds {shown}, which no report wrote. Choose another "
            f"folder, or pass force=True: that writes {PAGE}, {DATA} and draws there, over files of these two names, and leaves all others."
        )
        raise FileExistsError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _files.probe(folder)
        for name in (DATA, PAGE):
            if (folder / name).is_dir():
                raise IsADirectoryError(0, f"{name} is a folder")
    except OSError as error:
        raise _files.refused(error, f"out must be a folder that can be written, but {folder} is not") from error
    return folder


@dataclass
class Shelf:
    """What a report writes into its folder.

    Attributes
    ----------
    folder
        The folder.
    paths
        Method -> file of its draws, as far as they are written.
    """

    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)

    def store_draws(self, results: dict[str, Any], draws: Mapping[str, Any]) -> Exception | None:
        """Write the draws that are not yet written; those that fail cost no others. Return the first failure."""
        failed: Exception | None = None
        planned = dict(self.paths)
        for name in draws:
            planned.setdefault(name, self._free(name, set(planned.values())))
        self._list(results, planned)
        with contextlib.suppress(OSError):  # first, so that they are known to be ours should we be killed
            write_json(self.folder / DATA, plain(results))
        for name in [name for name in draws if name not in self.paths]:
            try:
                self.paths[name] = draws[name].save(planned[name])
            except Exception as error:
                failed = failed or error
        self._list(results, self.paths)
        return failed

    def clear(self) -> None:
        """Remove page and draws of an older report, which would lie about the new numbers."""
        for name in _listed(self.folder) or ():
            if is_ours(self.folder / name):
                (self.folder / name).unlink()
        if _is_our_page(self.folder / PAGE):
            (self.folder / PAGE).unlink()

    def remove(self) -> None:
        """Remove the folder, made for nothing, unless somebody has put something there."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _list(self, results: dict[str, Any], paths: Mapping[str, Path]) -> None:
        results["files"] = {"draws": {name: path.name for name, path in paths.items()}}

    def _free(self, method: str, taken: set[Path]) -> Path:
        """Return a file name for the draws of a method that nothing has yet."""
        slug = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")
        names = (f"draws-{slug}{suffix}.nc" for suffix in itertools.chain([""], (f"-{i}" for i in itertools.count(2))))
        paths = (self.folder / name for name in names)
        return next(path for path in paths if path not in taken and not os.path.lexists(path))


def require_our_page(page: Path) -> None:
    """Raise FileExistsError if there is a page that no report wrote."""
    if page.exists() and not _is_our_page(page):
        msg = f"path must be where an older page may be replaced, but {page} is not a page of ours. Remove it, or copy {DATA} elsewhere."
        raise FileExistsError(msg)


def _foreign(folder: Path) -> list[str]:
    """Return the names of what stands in the way: everything in a folder that is not ours, else a page that is not."""
    names = sorted(entry.name for entry in folder.iterdir() if not _files.PART.fullmatch(entry.name))
    if _listed(folder) is None:
        return names
    return [PAGE] if PAGE in names and not _is_our_page(folder / PAGE) else []


def _listed(folder: Path) -> list[str] | None:
    """Return the draws that the report.json of an older report lists; None where there is none of ours."""
    try:
        held = json.loads((folder / DATA).read_text("utf-8"))
        ours = {"version", "command", "platform"} <= set(held["meta"]) and isinstance(held["summary"], list)
        draws = ((held.get("files") or {}).get("draws") or {}).values()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, not JSON, or other JSON
        return None
    return [name for name in draws if isinstance(name, str) and DRAWS.fullmatch(name)] if ours else None


def _is_our_page(page: Path) -> bool:
    try:
        with page.open(encoding="utf-8") as file:
            return TITLE.search(file.read(1 << 16)) is not None
    except (OSError, ValueError):
        return False
