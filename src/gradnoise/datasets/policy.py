"""The policy for what a column may hold: missing values, strings, constants, one-hot encoding.

Nothing is repaired silently: each decision is an error that names the column, or a note. A note that begins with "Caution"
tells of what may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradnoise._types import AnyArray, Array
from gradnoise.datasets import files
from gradnoise.datasets.columns import EXACT, MAX_COLUMNS, Column, Reading
from gradnoise.datasets.oddities import FEW, code_in_numbers, oddity_of


def complete_rows(
    what: str, columns: list[Column], missing: str, roles: Sequence[str | None] = ()
) -> tuple[list[Column], list[str]]:
    """Return columns without missing values: an error that counts what they cost, or rows dropped and counted."""
    count = len(columns[0].values) if columns else 0
    if count == 0:
        msg = f"{what} has a header but no rows of data."
        raise ValueError(msg)
    gone = {column.name: column.missing for column in columns}
    gone = {name: mask for name, mask in sorted(gone.items(), key=lambda one: -one[1].sum()) if mask.any()}
    if not gone:
        return columns, []
    more = f", and {len(gone) - 12} more columns" if len(gone) > 12 else ""
    by_column = ", ".join(f"{name!r}: {int(mask.sum())}" for name, mask in list(gone.items())[:12]) + more
    lost = np.logical_or.reduce(list(gone.values()))
    advice = _advice(gone, roles, len(columns) - sum(role is not None for role in roles))
    if missing == "error":
        msg = (
            f"{what} has missing values ({by_column}). Pass missing='drop' to drop the rows that hold them: {int(lost.sum())} of {count}"
            f"{'; ' + advice if advice else ''}."
        )
        raise ValueError(msg)
    if lost.all():
        msg = f"{what} has missing values in every row ({by_column}), so that missing='drop' leaves none{'; ' + advice if advice else '. Leave out the worst columns (drop=…)'}."
        raise ValueError(msg)
    notes = [f"Dropped {int(lost.sum())} of {count} rows with missing values ({by_column})."]
    if 2 * lost.sum() > count:
        notes.append(f"Caution: most rows were dropped, as they have missing values{'; ' + advice if advice else ''}.")
    return [column.kept(~lost) for column in columns], notes


def _advice(gone: dict[str, AnyArray], roles: Sequence[str | None], num_features: int) -> str:
    """Name the columns without which far fewer rows would go, and how many then; one feature at least must stay."""
    masks = list(gone.values())
    free = sorted((name for name in gone if name not in roles), key=lambda name: -gone[name].sum())[
        : min(5, num_features - 1)
    ]
    left = [int(_any([m for n, m in gone.items() if n not in free[:k]], masks[0]).sum()) for k in range(len(free) + 1)]
    worth = [left[0] - now - 0.1 * k * len(masks[0]) for k, now in enumerate(left)]
    best = int(np.argmax(worth))
    return f"with {' and '.join(f'drop={name!r}' for name in free[:best])} it is {left[best]}" if best else ""


def _any(masks: list[AnyArray], like: AnyArray) -> AnyArray:
    return np.asarray(np.logical_or.reduce([np.zeros_like(like), *masks]))


def finite(what: str, column: Column) -> Array:
    """Return the numbers of a column; infinity is an error."""
    bad = np.isinf(column.values)
    if bad.any():
        msg = (
            f"column {column.name!r} of {what} must be finite, but row {int(bad.argmax())} is {column.values[bad][0]}."
        )
        raise ValueError(msg)
    return np.asarray(column.values, dtype=np.float64)


def features_of(
    what: str, columns: list[Column], encode: str, reading: Reading | None = None, counted: AnyArray | None = None
) -> tuple[Array, tuple[str, ...], list[str]]:
    """Return X, its names and notes: strings refused or one-hot encoded, booleans as 0 and 1, constants dropped.

    Whether a feature varies, and which levels it has, is read off the rows that are `counted` (None: all), those of positive
    weight. A level without such rows is no level: its rows, which say nothing, stand at the reference.
    """
    reading = Reading() if reading is None else reading
    columns = [_as_boolean(column) for column in columns]
    odd = [f"{c.name!r} ({c.kind})" for c in columns if c.kind not in ("number", "bool", "text")]
    if odd:
        first = next(c.name for c in columns if c.kind not in ("number", "bool", "text"))
        msg = f"features of {what} must hold numbers, booleans or strings, got {', '.join(odd[:5])}. Leave the column out (drop={first!r}) or convert it."
        raise TypeError(msg)
    constant = [c.name for c in columns if _constant(c.values if counted is None else c.values[counted])]
    varying = [c for c in columns if c.name not in constant]
    _judge_text(what, [c for c in varying if c.kind == "text"], encode, reading)
    levels = {
        c.name: sorted(set(c.values if counted is None else c.values[counted])) for c in varying if c.kind == "text"
    }
    names = [
        name
        for c in varying
        for name in ([f"{c.name}={v}" for v in levels[c.name][1:]] if c.kind == "text" else [c.name])
    ]
    notes = [told for c in varying for told in _remarks(c, levels)]
    if constant:
        more = f" and {len(constant) - 10} more" if len(constant) > 10 else ""
        notes.append(f"Dropped constant features: {', '.join(map(repr, constant[:10]))}{more}.")
    if not names:
        told = f": {', '.join(map(repr, constant[:5]))} are constant." if constant else "."
        msg = f"{what} has no feature that varies{told}"
        raise ValueError(msg)
    _check_width(what, names, varying, levels)
    return _filled(what, varying, levels, len(names)), tuple(names), notes


def _as_boolean(column: Column) -> Column:
    """Return text that says true and false in any case as booleans."""
    folded = {value.casefold() for value in set(column.values)} if column.kind == "text" else set()
    if not folded or not folded <= {"true", "false"}:
        return column
    return Column(column.name, "bool", np.array([value.casefold() == "true" for value in column.values], dtype=object))


def _constant(values: AnyArray) -> bool:
    return bool((values == values[0]).all()) if len(values) else True


def _judge_text(what: str, text: list[Column], encode: str, reading: Reading) -> None:
    """Refuse strings, with the remedy that helps each column; with one-hot encoding only those that are no categories."""
    found = {column.name: oddity_of(column, reading) for column in text}
    told = [oddity.told for oddity in found.values() if oddity]
    more = f" {len(told) - 5} more columns are like that." if len(told) > 5 else ""
    if encode == "onehot":
        stopped = [oddity.told for oddity in found.values() if oddity and oddity.stops]
        if stopped:
            msg = f"features of {what} must not be one-hot encoded: {' '.join(stopped[:5])}{more}"
            raise ValueError(msg)
        return
    if not text:
        return
    shown = ", ".join(f"{c.name!r} (such as {_least_numeric(c, reading)!r})" for c in text[:5])
    fit = [c for c in text if not (found[c.name] and found[c.name].stops)]  # type: ignore[union-attr]
    msg = f"features of {what} hold strings: {shown}{', …' if len(text) > 5 else ''}. {' '.join(told[:5])}{more}"
    if fit:
        wide = sum(len(set(c.values)) - 1 for c in fit)
        those = "them" if len(fit) == len(text) > 1 else ", ".join(repr(c.name) for c in fit[:5])
        msg += f" Pass encode='onehot' to make {wide} column{'s' * (wide != 1)} of 0 and 1 of {those}, or leave the column out (drop={fit[0].name!r})."
    raise ValueError(" ".join(msg.split()))


def _remarks(column: Column, levels: dict[str, list[str]]) -> list[str]:
    """Note what was done to a feature, and what may be wrong with it."""
    if column.kind == "text":
        held = levels[column.name]
        notes = [f"One-hot encoded {column.name!r}: {len(held)} levels, {held[0]!r} is the reference."]
        if gone := sorted(set(column.values) - set(held)):
            notes.append(
                f"Left out levels of {column.name!r} whose rows all have weight 0: {', '.join(map(repr, gone[:10]))}."
            )
        if len(held) > FEW and 10 * len(held) > len(column.values):
            notes.append(
                f"Caution: {column.name!r} has {len(held)} levels, {len(column.values) / len(held):.2g} rows each on average: "
                f"their coefficients are little more than the prior. Merge levels, or leave it out (drop={column.name!r})."
            )
        return notes
    if column.kind != "number":
        return []
    notes = [code_in_numbers(column)] if code_in_numbers(column) else []
    if column.exact is not None and len(set(column.exact)) > len(np.unique(column.values)):
        notes.append(
            f"Caution: {column.name!r} holds whole numbers beyond {EXACT:.0f}, of which some became equal as float64."
        )
    return notes


def _check_width(what: str, names: list[str], varying: list[Column], levels: dict[str, list[str]]) -> None:
    """Refuse too many columns, and two of one name, before anything is built."""
    if len(names) > MAX_COLUMNS:
        most = max(levels, key=lambda name: len(levels[name]))
        msg = f"encode='onehot' makes {len(names)} columns of {what}, more than {MAX_COLUMNS}: {most!r} alone has {len(levels[most])} levels. Leave out columns with many levels (drop={most!r})."
        raise ValueError(msg)
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        msg = f"encode='onehot' makes two columns called {twice!r} of {what}, one of them of a level. Rename a column."
        raise ValueError(msg)
    rows = len(varying[0].values)
    files.fits(what, 24.0 * rows * len(names), f"becomes {rows:,} rows of {len(names):,} features")


def _filled(what: str, varying: list[Column], levels: dict[str, list[str]], width: int) -> Array:
    X, at = np.zeros((len(varying[0].values), width)), 0
    for column in varying:
        if column.kind == "text":
            place = {level: i for i, level in enumerate(levels[column.name])}
            codes = np.array([place.get(value, 0) for value in column.values])
            rows = np.flatnonzero(codes)
            X[rows, at + codes[rows] - 1] = 1.0
            at += len(place) - 1
        else:
            X[:, at] = finite(what, column._replace(values=column.values.astype(np.float64)))
            at += 1
    return X


def _least_numeric(column: Column, reading: Reading) -> str:
    """Return the first value that is no number: in a column of numbers, the typing error."""
    numeric = reading.notation.number
    return str(next((v for v in column.values if numeric(str(v)) is None), column.values[0]))
