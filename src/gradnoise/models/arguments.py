"""Checks of the models' arguments, each with the value in the form it is kept in.

X stays in its floating type. Whole numbers become float32 where it holds them exactly, else float64. What would be read as something
else than it is (masked entries, dates, categories) is refused by name.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike

EXACT = {"float32": 2**24, "float64": 2**53}  # whole numbers up to here are exact
LARGEST = 1e50  # size of any number: its square must stay within float64, and the square of that too
HEAVIEST = 1e30  # weights lie between its inverse and this, where float32 has numbers
HELD = 1e-3  # of the observation scale: what y may be rounded by without a word
LOG_EXPOSURE, LOG_RANGE = (
    80.0,
    40.0,
)  # of an offset: float32 ends at exp(88), and no two exposures differ by a factor of exp(40)


def design(X: ArrayLike, intercept: bool, names: tuple[str, ...] | None) -> tuple[AnyArray, tuple[str, ...]]:
    """Return X with its column of ones, in its own floating type, and the names of its columns: given, or the frame's, or default."""
    values, headings = unframed("X", X)
    inputs = _numbers("X", values)
    if inputs.ndim != 2 or 0 in inputs.shape:
        msg = f"X must have shape (N, D) with N, D >= 1, got {inputs.shape}."
        raise ValueError(msg)
    if names is None:
        names = headings or default_names(inputs.shape[1])
    elif isinstance(names, str) or np.ndim(names) != 1:
        msg = f"names must be a list of names, one for each column of X, got {_checks.shown(names)}."
        raise TypeError(msg)
    if len(names) != inputs.shape[1]:
        msg = f"names must name the {inputs.shape[1]} columns of X, got {len(names)}."
        raise ValueError(msg)
    if not intercept:
        return inputs, tuple(names)
    return np.concatenate([inputs, np.ones((len(inputs), 1), inputs.dtype)], 1), (*names, "intercept")


def default_names(size: int) -> tuple[str, ...]:
    """Return the names x0, x1, … of columns that came without."""
    return tuple(f"x{i}" for i in range(size))


def unframed(name: str, value: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return a data frame (any that narwhals knows) as an array, with its headings where all are text; else `value` and None.

    Raises
    ------
    TypeError, ValueError
        For columns of dates, times or categories, two columns of one name, sparse matrices, and masked arrays that hide something.
    """
    import narwhals as nw
    import narwhals.selectors as ncs

    check_container(name, value)
    try:
        frame: Any = nw.from_native(value, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        if not isinstance(frame, nw.DataFrame):
            return value, None
        headings = tuple(frame.columns)
        _check_columns(name, dict(frame.schema))
        frame = frame.with_columns(ncs.boolean().cast(nw.Int8))  # beside numbers they would make an array of objects
    except nw.exceptions.DuplicateError as error:
        msg = f"{name} must have columns of different names: {' '.join(str(error).split())}"
        raise ValueError(msg) from error
    return frame.to_numpy(), headings if all(isinstance(h, str) for h in headings) else None


def check_container(name: str, value: Any) -> None:
    """Refuse what NumPy would read as something else."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        hidden = int(np.ma.count_masked(value))
        msg = f"{name} must not hide entries, but {hidden} of {value.size} are masked: what lies below a mask is no data. Drop those rows, or fill them in: {name}.filled(value)."
        raise ValueError(msg)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        msg = f"{name} must be a dense array, got a sparse matrix ({type(value).__name__}). Give {name}.toarray()."
        raise TypeError(msg)


def _check_columns(name: str, schema: dict[Any, Any]) -> None:
    """Refuse columns of a frame that are no numbers but that an array would hold as numbers."""
    import narwhals as nw

    odd = [f"{heading!r} ({kind})" for heading, kind in schema.items() if kind.is_temporal()]
    if odd:
        msg = f"{name} must hold numbers, got dates or times in {', '.join(odd[:5])}. Leave the column out, or give the time since a day as a number."
        raise TypeError(msg)
    odd = [f"{heading!r}" for heading, kind in schema.items() if kind in (nw.Categorical, nw.Enum)]
    if odd:
        msg = f"{name} must hold numbers, got categories in {', '.join(odd[:5])}. datasets.load(frame, ..., encode='onehot') encodes them."
        raise TypeError(msg)


def _numbers(name: str, value: ArrayLike) -> AnyArray:
    """Return `value` as a finite floating array: float32 and float64 are kept, whole numbers stay exact, half precision becomes float32."""
    check_container(name, value)
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        largest = 0 if array.dtype.kind == "b" or not array.size else max(abs(int(array.max())), abs(int(array.min())))
        if largest > EXACT["float64"]:
            msg = f"{name} must hold whole numbers up to 2**53, which float64 holds exactly, got {largest}. Take off a constant first."
            raise ValueError(msg)
        return array.astype(np.float32 if largest <= EXACT["float32"] else np.float64)
    if array.dtype.kind == "c":
        msg = f"{name} must hold real numbers, got dtype {array.dtype}."
        raise TypeError(msg)
    if array.dtype.kind in "mM":
        msg = f"{name} must hold numbers, got dates or times (dtype {array.dtype}). Give the time since a day as a number."
        raise TypeError(msg)
    if array.dtype.kind != "f" and not jnp.issubdtype(array.dtype, jnp.floating):
        msg = f"{name} must hold numbers, got dtype {array.dtype}. datasets.load encodes strings, categories and data frames."
        raise TypeError(msg)
    if array.dtype.itemsize > 8:
        msg = f"{name} must be float32 or float64, got dtype {array.dtype}, whose digits nothing here keeps. Give {name}.astype(np.float64)."
        raise TypeError(msg)
    if array.dtype.itemsize < 4:
        array = array.astype(np.float32)
    bad = ~(np.abs(array) <= min(LARGEST, float(np.finfo(array.dtype).max)))
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        if np.isfinite(array[first]):
            msg = f"{name} must hold numbers up to {LARGEST:g} in size, but entry {first} is {float(array[first]):g}. Use other units."
        else:
            msg = f"{name} must be finite, but entry {first} is {float(array[first])}. datasets.load has a policy for missing values."
        raise ValueError(msg)
    return array


def column(name: str, value: ArrayLike, length: int) -> AnyArray:
    """Return `value` as a floating vector with one number a row of X."""
    array = _numbers(name, value)
    if array.shape != (length,):
        msg = f"{name} must have shape (N,) = ({length},) like the rows of X, got {array.shape}."
        raise ValueError(msg)
    return array


def held(name: str, value: ArrayLike, inputs: AnyArray, scale: float = 0.0) -> AnyArray:
    """Return a vector (N,) in the floating type of X where that rounds it by at most 1e-3 of `scale`; else as it is."""
    exact = column(name, value, len(inputs))
    if exact.dtype == inputs.dtype:
        return exact
    rounded = exact.astype(inputs.dtype)
    off = np.abs(rounded.astype(np.float64) - exact.astype(np.float64)).max()
    return rounded if off <= HELD * scale else exact


def kept(inputs: AnyArray, targets: AnyArray) -> np.dtype[Any]:
    """Return the floating type of the params: float64 where X or y had to stay so."""
    return np.result_type(inputs, targets) if targets.dtype.kind == "f" else inputs.dtype


def classes(y: ArrayLike, length: int, num_classes: int | None, *, name: str = "y") -> tuple[AnyArray, int]:
    """Return the labels as int32 and the number of classes."""
    labels = column(name, y, length)
    bad = (labels < 0) | (labels != np.floor(labels)) | (labels > EXACT["float32"])
    if bad.any():
        msg = (
            f"{name} must hold class numbers 0, 1, 2, …, got {labels[bad][0]:.15g}. datasets.load encodes other labels."
        )
        raise ValueError(msg)
    targets = labels.astype(np.int32)
    found = np.unique(targets)
    if num_classes is None and (len(found) < 2 or int(found[-1]) != len(found) - 1):
        msg = f"{name} must hold every class 0, …, K-1 with K >= 2 when num_classes is None, got classes {_checks.shown(found.tolist())}."
        raise ValueError(msg)
    count = len(found) if num_classes is None else _checks.integer("num_classes", num_classes, low=2)
    _checks.fits("num_classes", 8.0 * count * length, "the scores of all classes and rows")
    if int(found[-1]) >= count:
        msg = f"{name} must hold class numbers below num_classes = {count}, got {int(found[-1])}."
        raise ValueError(msg)
    return targets, count


def aligned(data: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Return data whose inputs (N, D) have columns of zeros up to a multiple of eight, where D <= 32; beyond, as they are.

    XLA gathers and multiplies such rows with vector instructions: a step takes 0.7 to 0.8 times as long (0.56 at D = 4); at
    D = 50 nothing is gained. The likelihoods of the regressions accept both widths.
    """
    inputs = data["inputs"]
    missing = -inputs.shape[1] % 8
    if not missing or inputs.shape[1] > 32:
        return data
    return {**data, "inputs": np.pad(inputs, ((0, 0), (0, missing)))}


def data(inputs: AnyArray, targets: AnyArray, weights: ArrayLike | None) -> dict[str, AnyArray]:
    """Return the problem's data: inputs, targets and, where given, weights."""
    out = {"inputs": inputs, "targets": targets}
    if weights is not None:
        out["weight"] = held("weights", frequencies(weights, len(inputs)), inputs)
    return out


def frequencies(weights: ArrayLike, length: int) -> AnyArray:
    """Return weights (N,), >= 0; a weight of w stands for w rows."""
    weight = column("weights", weights, length)
    if (weight < 0).any() or not weight.any():
        msg = f"weights must be >= 0 and not all 0, got a smallest of {float(weight.min()):g}."
        raise ValueError(msg)
    largest = float(weight.max())
    if not 1 / HEAVIEST <= largest <= HEAVIEST:
        msg = f"weights must have a largest between {1 / HEAVIEST:g} and {HEAVIEST:g}, got {largest:g}: a weight of w stands for w rows."
        raise ValueError(msg)
    return weight


def exposures(offset: ArrayLike, inputs: AnyArray) -> AnyArray:
    """Return the offset of a Poisson model, the log of the exposure, (N,)."""
    value = column("offset", offset, len(inputs))
    low, high = float(value.min()), float(value.max())
    if high > LOG_EXPOSURE or high - low > LOG_RANGE:
        msg = f"offset must be the log of an exposure, got {low:g} to {high:g}: exposures from exp({low:g}) to exp({high:g}). If these are the exposures themselves, give offset=np.log(exposure)."
        raise ValueError(msg)
    return held("offset", value, inputs)


def precision(size: int, prior_scale: float, intercept: bool, intercept_prior_scale: float | None) -> Array:
    """Return prior precisions (D,); 0 where the scale is infinite."""
    out = np.full(size, _inverse_square("prior_scale", prior_scale))
    if intercept_prior_scale is not None:
        if not intercept:
            msg = f"intercept_prior_scale must be None when intercept is False, got {_checks.shown(intercept_prior_scale)}."
            raise ValueError(msg)
        out[-1] = _inverse_square("intercept_prior_scale", intercept_prior_scale)
    return out


def scale(name: str, value: float) -> float:
    """Return a standard deviation > 0 whose square, and the inverse of that, are numbers."""
    beyond = (
        isinstance(value, int | float | np.number) and LARGEST < value < math.inf
    )  # told what to do before what is too large
    found = value if beyond else _checks.positive(name, value)
    if not 1 / LARGEST <= found <= LARGEST:
        flat = " A flat prior is inf." if name != "observation_scale" and found > LARGEST else " Use other units."
        msg = f"{name} must lie between {1 / LARGEST:g} and {LARGEST:g}, got {_checks.shown(value)}.{flat}"
        raise ValueError(msg)
    return found


def _inverse_square(name: str, value: float) -> float:
    return 0.0 if isinstance(value, float | np.floating) and value == math.inf else scale(name, value) ** -2
