"""Checks of arguments: one clear error that names the argument, what was expected and what came.

Every check returns the value in the form the caller computes with, so that `learning_rate = positive("learning_rate",
learning_rate)` is both the check and the conversion. No JAX here.
"""

from __future__ import annotations

import difflib
import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise._types import Array, ArrayLike

SAMPLINGS = ("with_replacement", "without_replacement", "shuffled")
# What a matrix may differ from its transpose by and still be the same one: sums of float32, taken in another order on another
# processor, differ by about 1e-6 of the two rows' sizes; products of float64 by less than 1e-8 of the largest entry.
BYTES_OF_INDEX = 24  # of an example of a batch: the random words and row numbers of two steps
ROUNDING, SMALL_ROUNDING = 1e-5, 1e-8
# Definiteness is judged on the matrix with unit diagonal, so that no choice of units decides it. There the eigenvalues of a
# (D, D) matrix are known to about D times the precision: float64's for "positive", as what follows inverts the matrix; float32's
# for "semi", as sums of float32 leave that much below zero. A diagonal entry below SMALL_ROUNDING of the largest is taken as such.
SINGULAR, NEGATIVE = 4 * float(np.finfo(np.float64).eps), 4 * float(np.finfo(np.float32).eps)

# Sizes that squares or ratios can be taken of: what lies outside overflows, or divides by zero, a line further on.
LARGEST, SMALLEST = 1e150, 1e-300
MOST = 2**64 - 1


def shown(value: object, limit: int = 80) -> str:
    """Return `repr(value)` cut to `limit` characters; arrays by shape and dtype."""
    if isinstance(value, np.ndarray) and value.size > 9:
        return f"an array of shape {value.shape}, dtype {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def real(name: str, value: Any) -> float:
    """Return `value` as a finite float whose square is one too."""
    number = _number(name, value)
    if abs(number) > LARGEST:
        msg = f"{name} must be at most {LARGEST:g} in size, so that float64 holds its square, got {shown(value)}. Change its unit."
        raise ValueError(msg)
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not (
        isinstance(value, numbers.Real) or (hasattr(value, "dtype") and np.ndim(value) == 0)
    ):
        msg = f"{name} must be a finite number, got {shown(value)}."
        raise TypeError(msg)
    if np.iscomplexobj(value) or getattr(getattr(value, "dtype", None), "kind", "f") in "mMSUO":  # dates, text
        msg = f"{name} must be a real number, got {shown(value)}."
        raise TypeError(msg)
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond float64
        number = math.inf
    if not math.isfinite(number):
        msg = f"{name} must be a finite number, got {shown(value)}."
        raise ValueError(msg)
    return number


def positive(name: str, value: Any) -> float:
    """Return `value` as a finite float > 0."""
    number = real(name, value)
    if number <= 0:
        msg = f"{name} must be > 0, got {shown(value)}."
        raise ValueError(msg)
    return _not_tiny(name, number)


def _not_tiny(name: str, number: float) -> float:
    if 0 < abs(number) < SMALLEST:
        msg = f"{name} must be 0 or at least {SMALLEST:g} in size, so that float64 holds its inverse, got {number:g}. Change its unit."
        raise ValueError(msg)
    return number


def within(name: str, value: Any, low: float, high: float, *, closed: str = "both") -> float:
    """Return `value` as a float in the interval from `low` to `high`; `closed` is "both", "left", "right" or "neither"."""
    number = _number(name, value)
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        brackets = (
            ("[" if closed in ("both", "left") else "(")
            + f"{low:g}, {high:g}"
            + ("]" if closed in ("both", "right") else ")")
        )
        msg = f"{name} must lie in {brackets}, got {shown(value)}."
        raise ValueError(msg)
    return _not_tiny(name, real(name, value))


def momentum(value: Any) -> float:
    """Return the momentum as a float in [0, 1)."""
    return within("momentum", value, 0.0, 1.0, closed="left")


def integer(name: str, value: Any, *, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int with low <= value (<= high)."""
    if isinstance(value, bool) or not (
        isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
    ):
        msg = f"{name} must be a whole number, got {shown(value)}."
        raise TypeError(msg)
    number = int(value)
    if number < low or (high is not None and number > high):
        wanted = f">= {low}" if high is None else f"between {low} and {high}"
        msg = f"{name} must be {wanted}, got {shown(number)}."
        raise ValueError(msg)
    if number > MOST:
        msg = f"{name} must be at most 2**64 - 1, got {shown(number)}."
        raise ValueError(msg)
    return number


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; a word like "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{name} must be True or False, got {shown(value)}."
        raise TypeError(msg)
    return bool(value)


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


def problem(value: Any) -> Any:
    """Return `value` if it is a problem: told by what it can do, as this floor is below it."""
    if not hasattr(value, "batch_loss"):
        msg = (
            f"problem must be a gn.Problem, got {shown(value)}. Make one: gn.models.logistic_regression(X, y) or another of gn.models, "
            "or gn.Problem(log_likelihood, data, init, log_prior)."
        )
        raise TypeError(msg)
    return value


def integers(name: str, value: Any, *, low: int = 1) -> tuple[int, ...]:
    """Return whole numbers >= low as a tuple; one number alone is a tuple of one."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (integer(name, value, low=low),)
    return tuple(integer(name, number, low=low) for number in value)


def words(name: str, value: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """Return a list of allowed words, at least one, as a tuple."""
    allowed = tuple(allowed)
    if isinstance(value, str) or not isinstance(value, Iterable) or not (given := tuple(value)):
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
    if not (isinstance(value, bool | np.bool_) or callable(value)):
        msg = f"progress must be True, False or a function of (steps done, steps in all), got {shown(value)}."
        raise TypeError(msg)
    return value


def memory() -> float:
    """Bytes of memory that this machine (or the container it is) has; infinite where that cannot be known."""
    found = math.inf
    try:
        found = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        found = found if limit == "max" else min(found, float(limit))
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # no such number here: only what is larger than any machine is refused
        pass
    return found if found > 0 else math.inf


def batch_size(value: Any, num_examples: int | None = None, sampling: str = "with_replacement") -> int:
    """Return the batch size; without replacement (and shuffled) it must not exceed `num_examples`."""
    size = integer("batch_size", value)
    sampling = one_of("sampling", sampling, SAMPLINGS)
    if sampling != "with_replacement":
        if num_examples is None:
            msg = f"num_examples must be given when sampling={sampling!r}: the noise is (C/B)(N-B)/(N-1)."
            raise ValueError(msg)
        if size > num_examples:
            msg = f"batch_size must be <= num_examples = {num_examples} when sampling={sampling!r}, got {size}."
            raise ValueError(msg)
    return size


def drop_last(value: Any, sampling: str = "shuffled") -> bool:
    """Return whether an epoch's last, smaller batch is dropped; only shuffled epochs have one that could be kept."""
    dropped = flag("drop_last", value)
    if not dropped and sampling != "shuffled":
        msg = f"drop_last must be True (its default) when sampling={sampling!r}, got False: only sampling='shuffled' has a smaller last batch."
        raise ValueError(msg)
    return dropped


def drawn_batch(value: Any, num_examples: int, sampling: str = "with_replacement") -> int:
    """Return the batch size of a sampler, whose random numbers and rows must fit in memory."""
    size = batch_size(value, num_examples, sampling)
    if size * BYTES_OF_INDEX > memory():
        msg = (
            f"batch_size must be smaller: the random numbers of {size:,} examples take {size * BYTES_OF_INDEX / 1e9:.3g} GB a step, more than the "
            f"{memory() / 1e9:.3g} GB of this machine."
        )
        raise ValueError(msg)
    return size


def array(name: str, value: ArrayLike) -> Array:
    """Return `value` as a finite float64 array of any shape."""
    return _finite(name, value)


def vector(name: str, value: ArrayLike, size: int | None = None) -> Array:
    """Return `value` as a finite float64 vector, of shape (size,) where given."""
    array = _finite(name, value)
    if array.ndim != 1 or (size is not None and array.shape != (size,)):
        msg = f"{name} must have shape ({'D' if size is None else size},), got {array.shape}."
        raise ValueError(msg)
    return array


def square(
    name: str, value: ArrayLike, size: int | None = None, *, like: str | None = None, largest: float = LARGEST
) -> Array:
    """Return `value` as a finite float64 square matrix (D, D); `like` names the argument that `size` was read from."""
    array = _finite(name, value, largest)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        msg = f"{name} must be a square matrix (D, D), got shape {array.shape}."
        raise ValueError(msg)
    if size is not None and array.shape[0] != size:
        if like is not None:  # which of the two is wrong cannot be known
            msg = f"{name} and {like} must have the same shape, got {array.shape} and {(size, size)}."
        else:
            msg = f"{name} must have shape ({size}, {size}) like the other matrices, got {array.shape}."
        raise ValueError(msg)
    return array


def symmetric(
    name: str, value: ArrayLike, size: int | None = None, *, definite: str = "any", like: str | None = None
) -> Array:
    """Return `value` as a symmetric float64 matrix; `definite` is "any", "semi" (eigenvalues >= 0 up to rounding) or "positive".

    Neither answer depends on the units of the parameters: D⁻¹ᐟ²AD⁻¹ᐟ², D the diagonal of A, has its eigenvalues judged.
    """
    array = square(name, value, size, like=like, largest=1e300)  # what uses it says what it needs
    sizes, gaps = np.abs(array), np.abs(array - array.T)
    scale, rows = float(sizes.max()), np.sqrt(np.maximum(sizes.max(0), sizes.max(1)))
    if (gaps > ROUNDING * np.outer(rows, rows) + SMALL_ROUNDING * scale).any():
        msg = (
            f"{name} must be symmetric, but differs from its transpose by {gaps.max():.3g} (largest entry {scale:.3g})."
        )
        raise ValueError(msg)
    array = symmetrised(array)
    if definite == "positive":
        _positive(name, array)
    elif definite == "semi" and scale > 0:
        unit = array / scale
        low = _lowest(unit, np.maximum(np.abs(np.diag(unit)), SMALL_ROUNDING))
        if low < -NEGATIVE * len(array):
            msg = f"{name} must have no negative eigenvalue, but its smallest is {_shown_lowest(array, low)}."
            raise ValueError(msg)
    return array


def symmetrised(matrices: ArrayLike) -> Array:
    """Return (..., D, D) equal to its transpose to the last bit, as no product of matrices is on every processor."""
    half = np.asarray(matrices, np.float64) / 2  # halves first: entries near the largest float must not overflow
    return np.asarray(half + np.swapaxes(half, -1, -2))


def _positive(name: str, array: Array) -> None:
    diagonal = np.diag(array)
    low = -np.inf if diagonal.min() <= 0 else _lowest(array, diagonal)
    if low > SINGULAR * len(array):
        return
    if low > -SINGULAR * len(array):
        msg = (
            f"{name} must be positive definite, but it is singular up to rounding: scaled to a unit diagonal its smallest eigenvalue is {low:.3g}. "
            "The usual cause is columns that repeat each other."
        )
        raise ValueError(msg)
    msg = f"{name} must be positive definite, but its smallest eigenvalue is {_shown_lowest(array, low)}."
    raise ValueError(msg)


def _lowest(array: Array, diagonal: Array) -> float:
    """Return the smallest eigenvalue of the matrix scaled by the roots of `diagonal` (> 0); -inf where that overflows."""
    roots = np.sqrt(diagonal)
    with np.errstate(over="ignore"):
        scaled = array / roots[:, None] / roots
    return float(np.linalg.eigvalsh(scaled)[0]) if np.isfinite(scaled).all() else -np.inf


def _shown_lowest(array: Array, scaled: float) -> str:
    """Say the smallest eigenvalue; where its sign is lost to the range of the entries, the one of the scaled matrix."""
    low = float(np.linalg.eigvalsh(array)[0])
    return f"{low:.6g}" if low <= 0 else f"{scaled:.6g} (scaled to a unit diagonal)"


def _finite(name: str, value: ArrayLike, largest: float = LARGEST) -> Array:
    try:
        array = None if np.iscomplexobj(value) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # words; rows of different lengths; beyond float64
        msg = f"{name} must be an array of numbers, got {shown(value)}."
        raise TypeError(msg) from error
    if array is None:  # NumPy would drop the imaginary part with a mere warning
        msg = f"{name} must be real, got complex numbers: {shown(value)}."
        raise TypeError(msg)
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        msg = f"{name} must be finite, but entry {first} is {array[first]}."
        raise ValueError(msg)
    if array.size and max(array.max(), -array.min()) > largest:
        first = tuple(int(i) for i in np.argwhere(np.abs(array) > largest)[0])
        msg = f"{name} must hold numbers of at most {largest:g} in size, but entry {first} is {array[first]}. Change its unit."
        raise ValueError(msg)
    return array
