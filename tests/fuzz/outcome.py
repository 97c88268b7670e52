"""What a call may do: give an answer, or refuse in one clear error that names an argument. Everything else is a fault."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

SLOWEST = 10.0  # CPU seconds of one call
REFUSALS = (ValueError, TypeError)  # Refused, NotConverged, NoMode, InsensitiveSample are some of these
FOREIGN = ("jax", "numpy", "scipy", "optax", "polars", "h5py", "h5netcdf", "xarray", "matfree")


class Refused(NamedTuple):
    """A clear refusal; `names`: words of which the message must hold one."""

    message: str
    kind: str


class Expected(NamedTuple):
    """What a reference says where there is no answer: the argument that must be named, any of these."""

    names: tuple[str, ...]


def refuses(*names: str) -> Expected:
    """Return the expectation of a refusal that names one of these arguments."""
    return Expected(names)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the answer, or a `Refused`; a fault raises AssertionError with its story."""
    began = time.process_time()
    try:
        value = function(*args, **kwargs)
    except Exception as error:
        value = _refusal(function, error)
    taken = time.process_time() - began
    assert taken < SLOWEST, f"{_name(function)} took {taken:.1f} CPU seconds"
    return value


def _refusal(function: Any, error: Exception) -> Refused:
    """Return a refusal of ours, or fail: raised in our code, a kind that says "your input", an argument in its first words."""
    said = f"{type(error).__name__}: {error}"
    place = _raised_in(error)
    ours = "gradnoise" in place or type(error).__module__.startswith("gradnoise")
    assert ours, f"{_name(function)}: an error from inside {place}: {said}"
    assert isinstance(error, REFUSALS) or type(error).__module__.startswith("gradnoise"), f"{_name(function)}: {said}"
    text = str(error)
    assert text, f"{_name(function)}: an empty {type(error).__name__}"
    return Refused(text, type(error).__name__)


def _raised_in(error: Exception) -> str:
    """File of the frame that raised."""
    trace, last = error.__traceback__, ""
    while trace is not None:
        last, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return last


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", repr(function))


def names_an_argument(function: Any, refused: Refused, also: Iterable[str] = ()) -> bool:
    """Whether the message holds the name of an argument of `function`, or one of the words `also`."""
    try:
        names = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = set()
    return any(word in refused.message for word in names | set(also))


def numbers_of(value: Any) -> list[Any]:
    """Every array of numbers in an answer: fields of records, entries of mappings and tuples."""
    if isinstance(value, str | bytes | bool) or value is None or callable(value):
        return []
    if isinstance(value, dict):
        return [a for v in value.values() for a in numbers_of(v)]
    if isinstance(value, tuple | list):
        return [a for v in value for a in numbers_of(v)]
    if hasattr(value, "__dataclass_fields__"):
        return [a for name in value.__dataclass_fields__ for a in numbers_of(getattr(value, name))]
    try:
        array = np.asarray(value, dtype=np.complex128)
    except (TypeError, ValueError):
        return []
    return [array]


def has_silent_nan(value: Any) -> bool:
    """Whether any number of an answer is NaN."""
    return any(np.isnan(array).any() for array in numbers_of(value))
