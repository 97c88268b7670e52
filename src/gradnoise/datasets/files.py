"""The bytes of a file: it must be a file, hold what its ending says, and fit into memory when it is expanded."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path
from typing import IO

from gradnoise import _checks

MUCH, RATIO = 1 << 28, 100  # text beyond 256 MB that is over 100 times its file was not written by a table's owner
ROOM = 5  # text, its columns and the features from them, in sizes of the text
BEGINNINGS = (
    (b"\x1f\x8b", "a gzip file", "Give it the ending .csv.gz"),
    (b"PK\x03\x04", "a zip archive (or .xlsx)", "Unpack it, or save the sheet as CSV"),
    (b"PK\x05\x06", "an empty zip archive", "Look into it"),
    (b"PAR1", "a Parquet file", "Give it the ending .parquet"),
    (b"\x93NUMPY", "a NumPy array (.npy)", "Save the arrays with np.savez"),
    (b"BZh", "a bzip2 file", "Unpack it with bunzip2"),
    (b"\xfd7zXZ", "an xz file", "Unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it with unzstd"),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)", "Save the sheet as CSV"),
    (b"\x89HDF", "an HDF5 file", "Read it yourself and pass the data frame"),
    (b"ARROW1", "an Arrow file", "Read it yourself and pass the data frame"),
    (b"SQLite format", "an SQLite data base", "Read it yourself and pass the data frame"),
    (b"%PDF", "a PDF document", "Look for the table itself"),
)
WIDE = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
MARKUP = (
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "XML"),
    (b'{"', "JSON"),
    (b"[{", "JSON"),
)


def regular(path: Path) -> None:
    """Raise unless the path is a file with something in it: no folder, pipe or device."""
    shown = repr(str(path))
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"no file at {shown} (working directory {os.getcwd()!r})."
        raise FileNotFoundError(msg) from error
    except OSError as error:  # a name that is too long, a loop of links, a folder that is closed to us
        msg = f"{shown} cannot be opened: {error.strerror}."
        raise OSError(msg) from error
    if stat.S_ISDIR(found.st_mode):
        msg = f"{shown} must be a file, but is a directory."
        raise IsADirectoryError(msg)
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
        msg = f"{shown} must be a file, but is {kinds.get(stat.S_IFMT(found.st_mode), 'something else')}. Write the table to a file first."
        raise ValueError(msg)
    if found.st_size == 0:
        msg = f"{path.name!r} is empty (0 bytes)."
        raise ValueError(msg)


def fits(what: str, size: float, told: str) -> None:
    """Raise where `size` bytes are more than there is memory for."""
    if size > _checks.memory():
        msg = f"{what} {told}, which takes about {size / 1e9:.3g} GB of memory; there are {_checks.memory() / 1e9:.3g} GB. Select rows or columns first."
        raise ValueError(msg)


def opened(path: Path) -> IO[bytes]:
    """Open a .csv or .csv.gz file for its text."""
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def text_of(path: Path, what: str) -> bytes:
    """Return the text of a .csv or .csv.gz file, which may expand to what memory holds, and not beyond all measure."""
    size = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        return _expanded(path, what, size)
    fits(what, ROOM * size, f"holds {size / 1e9:.3g} GB of text")
    return path.read_bytes()


def _expanded(path: Path, what: str, size: int) -> bytes:
    parts, total, room = [], 0, _checks.memory()
    with gzip.open(path, "rb") as file:
        while part := file.read(1 << 22):
            total += len(part)
            if total > MUCH and total > RATIO * size:
                msg = f"{what} expands to more than {total / 1e6:.0f} MB, over {RATIO} times its size. If that is right, unpack it and pass the .csv."
                raise ValueError(msg)
            if ROOM * total > room:
                fits(what, ROOM * total, f"expands to more than {total / 1e9:.3g} GB of text")
            parts.append(part)
    return b"".join(parts)


def check_beginning(head: bytes, what: str) -> None:
    """Raise where the first bytes are not those of CSV text in UTF-8."""
    for magic, kind, remedy in BEGINNINGS:
        if head.startswith(magic) and (not head.isascii() or min(head) < 9):  # "PAR1" may be a name
            msg = f"{what} must hold CSV text, but its first bytes are those of {kind}. {remedy}."
            raise ValueError(msg)
    for magic, kind in WIDE:
        if head.startswith(magic):
            raise ValueError(_recode(what, kind))
    if b"\0" in head:
        both = sum(byte == 0 for byte in head[1::2]), sum(byte == 0 for byte in head[::2])
        if max(both) > 0.4 * len(head) / 2:
            raise ValueError(_recode(what, "UTF-16LE" if both[0] > both[1] else "UTF-16BE"))
        msg = f"{what} must hold CSV text, but holds NUL bytes: it is a binary file."
        raise ValueError(msg)
    for magic, kind in MARKUP:
        if head.lstrip().lower().startswith(magic):
            msg = f"{what} must hold CSV text, but begins like {kind}. Was an error page or another format saved under this name?"
            raise ValueError(msg)


def _recode(what: str, kind: str) -> str:
    return f"{what} must be UTF-8, but is {kind}. Convert it: iconv -f {kind} -t UTF-8."
