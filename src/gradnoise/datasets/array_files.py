"""NPZ files: shapes from the headers first, so that a file that lies about its size costs nothing."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray
from gradnoise.datasets import files
from gradnoise.datasets.columns import MAX_COLUMNS, Column, Reading, Wanted, check_names
from gradnoise.datasets.frames import from_numbers, from_text, objects

Shapes = dict[str, tuple[int, ...]]
BAD = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError)


def read_arrays(
    path: Path, what: str, wanted: Wanted, drop: tuple[str, ...], reading: Reading
) -> tuple[list[Column], list[str]]:
    """Arrays of the target's length are features (trailing axes flattened); `feature_names` names the columns."""
    shapes, size = _shapes(path, what)
    given = [name for name in wanted.values() if name is not None]
    check_names(what, list(shapes), wanted)
    length = shapes[str(wanted["target"])][:1]
    if any(len(shapes[name]) != 1 for name in given):
        msg = f"{what}: target, weights and offset must be arrays of shape (N,), got {', '.join(f'{n}: {shapes[n]}' for n in given)}."
        raise ValueError(msg)
    taken = [name for name, shape in shapes.items() if shape[:1] == length and name != "feature_names"]
    left = [f"{name} {shape}" for name, shape in shapes.items() if name not in taken and name != "feature_names"]
    if set(taken) <= set(given) and left:
        msg = f"{what} has no array as long as the target {wanted['target']!r} {length}, so that there are no features: {', '.join(left[:5])}."
        raise ValueError(msg)
    width = sum(math.prod(shapes[name][1:]) for name in taken)
    if width > MAX_COLUMNS:
        check_names(what, [str(i) for i in range(width)], {})
    files.fits(what, 3.0 * size + 8.0 * width * length[0], f"holds arrays of {size / 1e9:.3g} GB")
    try:
        columns = _columns(path, shapes, taken, reading)
    except BAD as error:
        raise ValueError(_unreadable(what, error)) from error
    check_names(what, [column.name for column in columns], wanted, drop)
    notes = [f"Left out arrays of another length than the target: {', '.join(left)}."] if left else []
    return [column for column in columns if column.name not in drop], notes


def _columns(path: Path, shapes: Shapes, taken: list[str], reading: Reading) -> list[Column]:
    columns: list[Column] = []
    with np.load(path, allow_pickle=False) as arrays:
        for name in taken:
            rows, wide = shapes[name][0], math.prod(shapes[name][1:])
            flat = arrays[name].reshape(rows, wide)
            labels = [name] if len(shapes[name]) == 1 else [f"{name}[{i}]" for i in range(wide)]
            if "feature_names" in shapes and shapes["feature_names"] == (wide,) and len(shapes[name]) == 2:
                labels = [str(label) for label in arrays["feature_names"]]
            columns += [_from_array(label, flat[:, i], reading) for i, label in enumerate(labels)]
    return columns


def _shapes(path: Path, what: str) -> tuple[Shapes, int]:
    """Return name -> shape from the headers of the arrays, without reading them, and the bytes of all."""
    shapes, total = {}, 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    one = version == (1, 0)
                    reader = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
                    shape, _, dtype = reader(file)
                    rest = member.file_size - file.tell()
                if dtype.hasobject:
                    msg = f"{what}: array {name!r} holds Python objects, which are not read. Save numbers or strings."
                    raise TypeError(msg)
                if math.prod(shape) * dtype.itemsize != rest:
                    msg = f"array {name!r} of shape {shape} would take {math.prod(shape) * dtype.itemsize:,} bytes, the file has {rest:,}"
                    raise ValueError(msg)
                total += member.file_size
                shapes[name] = tuple(int(n) for n in shape)
    except BAD as error:
        raise ValueError(_unreadable(what, error)) from error
    return shapes, total


def _unreadable(what: str, error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"{what} cannot be read as NPZ: {_checks.shown(first, 240)}."


def _from_array(name: str, values: AnyArray, reading: Reading) -> Column:
    if values.dtype.kind == "b":
        return Column(name, "bool", values.astype(object))
    if values.dtype.kind in "iuf":
        return from_numbers(name, values, reading)
    if values.dtype.kind in "US":
        texts = values if values.dtype.kind == "U" else np.char.decode(values, "utf-8", "replace")
        return from_text(name, objects(texts.tolist()), reading, typed=True)
    return Column(name, str(values.dtype), objects(values.tolist()))
