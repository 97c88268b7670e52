"""New inputs and held-out examples of the ready-made models as users have them: arrays or data frames without the intercept's ones."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array
from gradnoise.models import arguments
from gradnoise.models import likelihoods as densities

READY_MADE = "gradnoise.models."
BESIDE = {"offset": "offset", "weights": "weight"}  # arguments, and the leaves of the data that they become
MEANING = {
    "offset": "It is the log of each row's exposure; offset=0.0 is exposure 1 for all.",
    "weights": "A weight of w stands for w rows; weights=1.0 counts each row once.",
}
SHOWN = 5  # columns that an error names


def new_inputs(problem: Any, inputs: Any, offset: Any = None) -> Any:
    """Return inputs for `problem.predict`: frames as arrays; those of a ready-made model checked, in the floating type of its data.

    A model with an offset gets ``{"inputs": X, "offset": offset}``.

    Raises
    ------
    ValueError, TypeError
        If a ready-made model's inputs have another number of columns, lack one that it was built with, or are not finite numbers; if
        `offset` is missing where the model was built with one, or given where it was not.
    """
    if not ready_made(problem.predict):
        _check_absent("offset", offset)
        return arguments.unframed("inputs", inputs)[0]
    x = _columns("inputs", problem, inputs).astype(problem.data["inputs"].dtype)
    exposure = _beside("offset", offset, problem, x.shape[:-1])
    return x if exposure is None else {"inputs": x, "offset": exposure}


def examples(problem: Any, inputs: Any, targets: Any, offset: Any = None, weights: Any = None) -> dict[str, AnyArray]:
    """Return data laid out like `problem.data` from X and y of a ready-made model, with offset and weights where it has them.

    Raises
    ------
    ValueError, TypeError
        If the problem is not one of `gradnoise.models`, X or y are not as it was built from, or `offset` or `weights` are missing where
        it was built with them, or given where it was not.
    """
    if not ready_made(problem.log_likelihood):
        msg = "targets must be left out, and data laid out like problem.data, for a problem that gradnoise.models did not build."
        raise ValueError(msg)
    x = _columns("data", problem, inputs)
    if x.ndim != 2 or not len(x):
        msg = f"data must have shape (m, D) with m >= 1 beside targets, got {x.shape}."
        raise ValueError(msg)
    wide = x if x.shape[1] == _width(problem) else np.concatenate([x, np.ones((len(x), 1))], 1)
    out: dict[str, AnyArray] = {"inputs": wide, "targets": _targets(problem, targets, x)}
    for argument, leaf in BESIDE.items():
        value = _beside(argument, offset if argument == "offset" else weights, problem, (len(x),))
        if value is not None:
            out[leaf] = value
    return out


def laid_out(data: Any, offset: Any, weights: Any) -> Any:
    """Return `data`, laid out like problem.data; what belongs into it is not taken beside it."""
    for name, value in (("offset", offset), ("weights", weights)):
        if value is not None:
            msg = f"{name} must be left out without targets: data laid out like problem.data hold it, under {BESIDE[name]!r}."
            raise ValueError(msg)
    return data


def _check_absent(name: str, value: Any) -> None:
    if value is not None:
        msg = f"{name} must be None for a problem that gradnoise.models did not build: its `predict` gets inputs as they are given."
        raise ValueError(msg)


def _beside(name: str, value: Any, problem: Any, shape: tuple[int, ...]) -> AnyArray | None:
    """Return the offset or the weights of new rows; None where the model has none.

    What a model was fitted with is never replaced by a default: an exposure of 1, or a weight of 1, is for the caller to say.
    """
    fitted = BESIDE[name] in problem.data
    if not fitted and value is None:
        return None
    if not fitted:
        msg = f"{name} must be None: the model was built without {name}, got {_checks.shown(value)}."
        raise ValueError(msg)
    if value is None:
        msg = f"{name} must be given: the model was built with {name}. {MEANING[name]}"
        raise ValueError(msg)
    arguments.check_container(name, value)
    full = np.broadcast_to(_checks.real(name, value), shape) if np.ndim(value) == 0 else np.asarray(value)
    found = full if len(shape) == 1 else full.reshape(-1)
    if full.shape != shape:
        msg = f"{name} must have one number a row, shape {shape}, or be one number for all, got shape {full.shape}."
        raise ValueError(msg)
    if name == "weights":
        return arguments.frequencies(found, len(found)).astype(np.float64)
    return arguments.exposures(found, np.zeros((len(found), 1))).reshape(shape)


def ready_made(function: Any) -> bool:
    """Whether a problem's function is one of `gradnoise.models`."""
    return str(getattr(function, "__module__", "")).startswith(READY_MADE)


def _width(problem: Any) -> int:
    """Columns of the model's own inputs, that of ones included."""
    return int(problem.data["inputs"].shape[-1])


def _headings(problem: Any) -> tuple[str, ...] | None:
    """Names of the columns that the model was built from, the intercept's ones included; None for networks."""
    names, width = problem.names, _width(problem)
    if names is None:
        return None
    each = len(names) // width  # one name a class
    return tuple(names) if each == 1 else tuple(name.rpartition(":")[0] for name in names[::each])


def _columns(name: str, problem: Any, inputs: Any) -> Array:
    """Return inputs (..., D) with the columns of the model, with or without the intercept's ones."""
    width, headings = _width(problem), _headings(problem)
    ones = headings is not None and headings[-1] == "intercept"
    values, found = arguments.unframed(name, inputs)
    if np.asarray(values).dtype.kind in "mM":
        msg = f"{name} must hold numbers, got dates or times (dtype {np.asarray(values).dtype})."
        raise TypeError(msg)
    x = _checks.array(name, values)
    if not x.size:
        msg = f"{name} must have at least one row, got shape {x.shape}."
        raise ValueError(msg)
    if found is not None and headings is not None:
        x = _by_name(name, x, found, headings[:-1] if ones and "intercept" not in found else headings)
    if x.ndim < 1 or not width - ones <= x.shape[-1] <= width:
        wanted = f"{width - 1} columns (or {width} with the intercept's ones)" if ones else f"{width} columns"
        msg = f"{name} must have {wanted} like the X of the model, got shape {x.shape}."
        raise ValueError(msg)
    if ones and x.shape[-1] == width and not (x[..., -1] == 1).all():
        msg = f"{name} must have {width - 1} columns, or {width} of which the last, the intercept's, is all 1: got {x[..., -1][x[..., -1] != 1].flat[0]:g} in it."
        raise ValueError(msg)
    return x


def _by_name(name: str, x: Array, found: tuple[str, ...], headings: tuple[str, ...]) -> Array:
    """Return the columns of the model in its order; by position where it was built from columns without names."""
    missing = [heading for heading in headings if heading not in found]
    if not missing:
        return x[:, [found.index(heading) for heading in headings]]
    if headings == arguments.default_names(len(headings)):
        return x
    msg = (
        f"{name} must have the columns that the model was built with, but has no {', '.join(map(repr, missing[:SHOWN]))}"
        f"{f' and {len(missing) - SHOWN} more' if len(missing) > SHOWN else ''}. Give an array to go by position."
    )
    raise ValueError(msg)


def _targets(problem: Any, targets: Any, x: Array) -> AnyArray:
    """Return y (m,) in the type of the model's targets."""
    kind = problem.data["targets"].dtype
    if kind.kind == "i":
        classes = jax.eval_shape(problem.predict, problem.init, x, problem.hyperparams).shape[-1]
        return arguments.classes(targets, len(x), int(classes), name="targets")[0]
    y = arguments.column("targets", targets, len(x))
    bad = (y != 0) & (y != 1)
    if problem.log_likelihood is densities.logistic_log_likelihood and bad.any():
        msg = f"targets must hold 0 and 1 only, got {y[bad][0]:g} in row {int(bad.argmax())}."
        raise ValueError(msg)
    return y.astype(np.float64)
