"""Checks of words, functions, keywords, paths and problems."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise._checks.scalars import shown


def function(name: str, value: Any) -> Any:
    """Return `value` if it can be called."""
    if not callable(value):
        msg = f"{name} must be a function, got {shown(value)}."
        raise TypeError(msg)
    return value


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the allowed words."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        msg = f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}."
        raise ValueError(msg)
    return str(value)


def words(name: str, value: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """Return a list of allowed words, at least one, as a tuple."""
    allowed = tuple(allowed)
    many = isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1) != 0
    if not many or not (given := tuple(value)):
        msg = f"{name} must be a list of names such as {list(allowed)}, got {shown(value)}."
        raise TypeError(msg)
    return tuple(one_of(name, word, allowed) for word in given)


def keywords(given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise for the first keyword that is not allowed, with the nearest one that is."""
    allowed = tuple(allowed)
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(allowed)}."
            msg = f"got an unexpected argument {name!r}: {known}"
            raise TypeError(msg)


def progress(value: Any) -> Any:
    """Return `value` if it is True, False or a function (steps done, steps in all)."""
    if not (isinstance(value, bool | np.bool_) or (callable(value) and _takes_two(value))):
        msg = f"progress must be True, False or a function of (steps done, steps in all), got {shown(value)}."
        raise TypeError(msg)
    return value


def _takes_two(value: Any) -> bool:
    """Whether a function can be called with two arguments; where it does not tell, it can."""
    try:
        inspect.signature(value).bind(0, 1)
    except TypeError:
        return False
    except ValueError:  # no signature
        return True
    return True


def problem(value: Any) -> Any:
    """Return `value` if it is a problem. This floor is below `Problem`, so its methods are looked at."""
    if not hasattr(value, "batch_loss"):
        msg = (
            f"problem must be a gn.Problem, got {shown(value)}. Make one: gn.models.logistic_regression(X, y) or another of gn.models, "
            "or gn.Problem(log_likelihood, data, init, log_prior)."
        )
        raise TypeError(msg)
    return value


def path(name: str, value: Any) -> Path:
    """Return `value` as a path, taken literally (no wildcards), `~` expanded; whether it exists is not asked."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        msg = f"{name} must be a path (text or a pathlib.Path), got {shown(value)}."
        raise TypeError(msg)
    text = os.fspath(value)
    try:
        bad = not text or "\0" in text or not os.fsencode(text)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        bad = True
    if bad:
        msg = f"{name} must be a path that the file system can hold, got {shown(value)}."
        raise ValueError(msg)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        msg = f"{name} must start with a home folder that exists, got {shown(value)}."
        raise ValueError(msg) from error
