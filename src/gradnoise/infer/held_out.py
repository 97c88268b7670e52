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
SHOWN = 5  # columns that an error names


def new_inputs(problem: Any, inputs: Any) -> Any:
    """Return inputs for `problem.predict`: frames as arrays; those of a ready-made model checked, in the floating type of its data.

    Raises
    ------
    ValueError, TypeError
        If a ready-made model's inputs have another number of columns, lack one that it was built with, or are not finite numbers.
    """
    if not ready_made(problem.predict):
        return arguments.unframed("inputs", inputs)[0]
    return _columns("inputs", problem, inputs).astype(problem.data["inputs"].dtype)


def examples(problem: Any, inputs: Any, targets: Any) -> dict[str, AnyArray]:
    """Return data laid out like `problem.data` from X and y of a ready-made model; each counts once, at exposure 1.

    Raises
    ------
    ValueError, TypeError
        If the problem is not one of `gradnoise.models`, or X or y are not as it was built from.
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
    if "weight" in problem.data:
        out["weight"] = np.ones(len(x))
    if "offset" in problem.data:
        out["offset"] = np.zeros(len(x))
    return out


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
    x = _checks.array(name, values)
    if found is not None and headings is not None:
        x = _by_name(name, x, found, headings[:-1] if ones and "intercept" not in found else headings)
    if x.ndim < 1 or not width - ones <= x.shape[-1] <= width:
        wanted = f"{width - 1} columns (or {width} with the intercept's ones)" if ones else f"{width} columns"
        msg = f"{name} must have {wanted} like the X of the model, got shape {x.shape}."
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
