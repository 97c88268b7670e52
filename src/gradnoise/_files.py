"""Files that are never half written, and one writer at a time.

A file is written beside its place, under a name that nobody else has, and renamed when all of it is on the disk. So a full disk, a
kill or a power cut leaves the older file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
NEW = os.O_CREAT | os.O_EXCL | NO_LINKS  # a file that was not there; never through a link
PART = re.compile(r"\.gradnoise-[0-9a-f]{16}\.part")  # how a file is called until it is whole
LOCK = "gradnoise lock"  # how our lock files begin


def write(path: Path, data: bytes | memoryview, *, part: Path | None = None) -> None:
    """Write a file whole or not at all; missing folders are made.

    Parameters
    ----------
    path, data
        The file and what it holds.
    part
        Where it is written first; None: a new name beside it.

    Raises
    ------
    OSError
        With the path, where the disk is full or the place cannot be written. What was there is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(_part()) if part is None else part
        _fill(os.open(part, os.O_WRONLY | NEW, 0o666), 0, data, part)
        try:
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise refused(error, f"{path} could not be written") from error
    _settle(path.parent)


def probe(folder: Path, name: str | None = None) -> None:
    """Make an empty file in a folder and remove it again; OSError where that cannot be."""
    file = folder / (_part() if name is None else name)
    os.close(os.open(file, os.O_WRONLY | NEW, 0o666))
    file.unlink()


def _part() -> str:
    return f".gradnoise-{secrets.token_hex(8)}.part"


def append(path: Path, data: bytes | memoryview, *, committed: int, new: bool) -> None:
    """Write after the first `committed` bytes of a file that only we write, and put it on the disk; what stood there is cut off."""
    try:
        _fill(os.open(path, os.O_RDWR | (NEW if new else NO_LINKS), 0o666), committed, data, path if new else None)
    except OSError as error:
        raise refused(error, f"{path} could not be written") from error


def refused(error: OSError, what: str) -> OSError:
    """Return an error of the same kind whose first words say what could not be done."""
    said = type(error)(f"{what}: {error.strerror or error}.")
    said.errno = error.errno
    return said


class Lock:
    """The right to write one path, held by this process until it ends or leaves `alone`.

    Attributes
    ----------
    left
        Names of files that a process which was killed had noted here.
    """

    def __init__(self, file: Path, descriptor: int, left: tuple[str, ...]) -> None:
        self._file, self._descriptor, self.left = file, descriptor, left

    def note(self, names: tuple[str, ...]) -> None:
        """Note the files that are about to be made: should this process be killed, the next one knows that they are ours."""
        text = f"{LOCK}\n{json.dumps({'process': os.getpid(), 'files': names})}\n".encode()
        try:
            text = text.ljust(os.fstat(self._descriptor).st_size)  # one write over the older note: a kill leaves either
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text)
        except OSError as error:
            raise refused(error, f"{self._file} could not be written") from error


@contextlib.contextmanager
def alone(path: Path, argument: str) -> Iterator[Lock]:
    """Hold the right to write `path`, by a lock on a file beside it, which goes when it is given back.

    A process that is killed loses its lock. File systems without locks (some network ones) are written without.

    Parameters
    ----------
    path
        In a folder that exists.
    argument
        What the caller's user calls the path.

    Raises
    ------
    BlockingIOError
        If another run holds it, at once.
    FileExistsError
        If the lock's name is taken by a file that is not ours.
    """
    file = path.with_name(f".{path.name}.lock")
    descriptor, left = _locked(file, path, argument)
    try:
        lock = Lock(file, descriptor, left)
        lock.note(left)
        yield lock
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _locked(file: Path, path: Path, argument: str) -> tuple[int, tuple[str, ...]]:
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        except OSError as error:
            raise refused(
                error, f"{argument} must be a path beside which {file.name} can be written, but {file} cannot"
            ) from error
        try:
            held = _lock(descriptor)
            text = os.read(descriptor, 1 << 16).decode("utf-8", "replace")
            if text and not text.startswith(LOCK):
                msg = (
                    f"{argument} must be a path beside which {file.name} is free, but {file} is a file of another kind."
                )
                raise FileExistsError(msg)
            noted = _noted(text)
            if not held:
                who = f" (process {noted['process']})" if "process" in noted else ""
                msg = f"{argument} must be a path that no other run is writing, but {path} is being written by another process{who}."
                raise BlockingIOError(msg)
            if _is(file, descriptor):  # else the one before us has just removed it: another may hold the new one
                return descriptor, tuple(noted.get("files", ()))
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Return whether the lock was free, or the file system has none."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
    return True


def _noted(text: str) -> dict[str, Any]:
    """Return what a lock file holds; nothing where its process was killed while it wrote."""
    try:
        noted = json.loads(text.removeprefix(LOCK))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _is(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _fill(descriptor: int, start: int, data: bytes | memoryview, path: Path | None) -> None:
    """Write, flush and close; where that fails and `path` is given, remove it."""
    try:
        with os.fdopen(descriptor, "wb") as file:  # does not cut it: `start` bytes stay
            file.seek(start)
            file.truncate()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        if path is not None:
            path.unlink(missing_ok=True)
        raise


def _settle(folder: Path) -> None:
    """Put a rename on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
