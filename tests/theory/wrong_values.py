"""What an argument must not be, by its kind, and what is wrong with the error that a function raises for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

BAD_ARRAYS = {"NaN": np.array([[1.0, np.nan], [np.nan, 1.0]]), "text": "abc", "complex": 1j * np.eye(2)}


def no_matrix(_):
    return BAD_ARRAYS | {"a number": 1.0, "a stack": np.ones((2, 3, 3))}


def no_square(value):
    return no_matrix(value) | {"a row": value[0], "not square": value[:1]}


def no_squares(value):
    return BAD_ARRAYS | {"a number": 1.0, "a row": value[0], "not square": value[:1]}


def no_symmetric(value):
    return no_square(value) | {"skew": value + np.triu(np.full_like(value, 0.3), 1)}


def no_covariance(value):
    swapped = value.copy()
    swapped[0, -1] = swapped[-1, 0] = 50 * np.abs(value).max()
    return no_symmetric(value) | {"negative": -value, "indefinite": swapped}


def no_positive(value):
    flat = value.copy()
    flat[0] = flat[:, 0] = 0.0
    return no_covariance(value) | {"singular": flat}


def no_stack(_):
    return BAD_ARRAYS | {"a number": 1.0}


def no_vector(value):
    entry = np.array(value, dtype=float)
    entry[0] = np.nan
    return {"NaN": entry, "text": "abc", "complex": 1j * np.asarray(value), "a matrix": np.outer(value, value)}


def no_levels(value):
    return no_vector(value) | {"negative": -np.abs(value)}


def no_tensor(value):
    return BAD_ARRAYS | {"a matrix": value[0], "a number": 1.0}


NOT_REAL = {"NaN": np.nan, "infinity": np.inf, "text": "abc", "None": None, "complex": 1j, "a list": [1.0, 2.0]}


def no_real(_):
    return NOT_REAL


def no_level(_):
    return NOT_REAL | {"negative": -0.37}


def no_size(_):
    return NOT_REAL | {"negative": -0.37, "zero": 0.0}


def no_part(_):
    return NOT_REAL | {"negative": -0.37, "above one": 1.37}


def no_decay(value):
    return no_part(value) | {"one": 1.0}


def no_whole(_):
    return {"a fraction": 2.5, "text": "abc", "None": None, "NaN": np.nan, "True": True}


def no_index(value):
    return no_whole(value) | {"negative": -3}


def no_count(value):
    return no_index(value) | {"zero": 0}


def no_word(_):
    return {"another word": "nonsense", "None": None}


def no_position(_):
    return {"another word": "nonsense", "beyond": 10**6, "negative": -1, "a fraction": 2.5}


def no_flag(_):
    return {"a word": "no", "None": None}


def no_function(_):
    return {"a number": 1.0, "None": None}


def no_chain(_):
    return {"a matrix": np.eye(3), "None": None}


def said_of(call: Callable[[], Any]) -> str | None:
    """What a call says when it refuses; None where it answers. Errors other than ValueError and TypeError keep their name."""
    try:
        call()
    except (ValueError, TypeError) as error:
        kind = "" if type(error) in (ValueError, TypeError) else f"{type(error).__name__}: "
        return kind + str(error)
    return None


def shows(bad: Any) -> tuple[str, ...]:
    """What a message may print of a bad value: itself, or the shape that it lacks; for an array its shape, entry or eigenvalue."""
    if isinstance(bad, Mapping):
        return ("got", *map(repr, bad))
    if np.ndim(bad) or isinstance(bad, complex):
        return ("got", " is ", "differs")
    if bad is None:
        return ("None", "must be given", "shape ()")
    return (repr(bad), f"{bad:g}", "shape ()") if isinstance(bad, float | int) else (repr(bad), str(bad))


def problems(
    call: Callable[[dict[str, Any]], Any], base: Mapping[str, Any], argument: str, wrong: Mapping[str, Any]
) -> list[str]:
    """What is wrong with the errors of `call(base)` when `argument` takes each of the `wrong` values."""
    found = []
    for label, bad in wrong.items():
        said = said_of(lambda bad=bad: call({**base, argument: bad}))
        if said is None:
            found.append(f"{label}: accepted")
        elif argument not in said or not any(word in said for word in (" must ", "does not know")) or "Error: " in said:
            found.append(f"{label}: {said}")
        elif not any(shown in said for shown in shows(bad)):
            found.append(f"{label}: the message does not show {bad!r}: {said}")
    return found
