"""Parameters that run away: a loss that keeps falling for ever along some direction, as for separable classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.optimize

from gradnoise import _scaled, derivatives
from gradnoise._types import Array
from gradnoise.mode.search import Dense, Search
from gradnoise.problem import Problem

_STRENGTHS = (1e-8, 1e-10, 1e-12, 1e-13)  # of small quadratic priors, relative to the curvature at the start
_MOVED = 0.02  # in units of the columns: less between two minima is no running away
_LIMIT = 200  # iterations for each
_FURTHER = (1.0, 2.0, 4.0)  # times the way between the two minima, where the loss must still fall
_SHRINKS = 0.01  # of the whole fall of the loss: one that falls without bound falls further from one prior to the next


def runaway(problem: Problem, search: Search, start: Array) -> Array | None:
    """Return the direction (D,), in scaled coordinates, along which the loss falls for ever; None where it does not.

    The minima under ever smaller quadratic priors are compared. Each is a single point, whatever directions the loss leaves free, so
    that the way from one to the next does not depend on rounding: it is 0 along flat directions, tiny where there is a minimum, and
    where there is none it becomes the direction of ever smaller loss.
    """
    unit = _unit(problem, search, start)
    if (
        unit is None or not derivatives.gradient(problem, start).any()
    ):  # nor is it a matter of falling where it starts on a saddle
        return None
    first, last, point = derivatives.loss(problem, start), None, start * unit
    for strength in _STRENGTHS:
        found = _minimum(problem, search, point, unit, strength)
        if found is None:
            return None
        way, point = found - point, found
        if last is not None and not float(np.linalg.norm(way)) > _MOVED:
            return None
        near, last = last, derivatives.loss(problem, point / unit)
        if near is not None and _falls(problem, point, way, unit, (first, near, last)):
            return way
    return None


def _falls(problem: Problem, point: Array, way: Array, unit: Array, losses: tuple[float, float, float]) -> bool:
    """Whether the loss still falls well beyond the last minimum, and falls less and less."""
    first, near, last = losses
    beyond = derivatives.losses(problem, np.array([point + share * way for share in _FURTHER]) / unit)
    rounding = 16 * float(np.finfo(np.float64).eps) * abs(last)
    falls = near - last > rounding and bool((beyond <= last + rounding).all())
    return falls and near - last <= _SHRINKS * (first - near)


def _unit(problem: Problem, search: Search, start: Array) -> Array | None:
    """Return the unit of each parameter (D,) at the start."""
    if isinstance(search, Dense):
        hessian = search.curvature(start)[1]
        return _scaled.unit_of(hessian) if np.isfinite(hessian).all() else None
    probe = np.random.default_rng(0).normal(size=start.size)
    size = float(np.linalg.norm(derivatives.hessian_product(problem, start, probe)) / np.linalg.norm(probe))
    return np.full(start.size, math.sqrt(size)) if 0 < size < math.inf else None


def _minimum(problem: Problem, search: Search, start: Array, unit: Array, strength: float) -> Array | None:
    """Return the minimum of L + strength |φ|²/2 in scaled coordinates φ."""

    def value_and_slope(point: Array) -> tuple[float, Array]:
        value, slope = derivatives.loss_and_gradient(problem, point / unit)
        if not (math.isfinite(value) and np.isfinite(slope).all()):
            return math.inf, np.zeros_like(slope)
        return value + strength * float(point @ point) / 2, slope / unit + strength * point

    def stop(intermediate_result: Any) -> None:
        point = intermediate_result.x
        slope = value_and_slope(point)[1]
        if np.linalg.norm(slope) <= 1e-3 * strength * max(1.0, float(np.linalg.norm(point))):
            raise StopIteration

    def hessian(point: Array) -> Array:
        made = search.curvature(point / unit)[1] if isinstance(search, Dense) else np.eye(len(unit))
        made = made if np.isfinite(made).all() else np.eye(len(unit))
        return made / unit[:, None] / unit + strength * np.eye(len(unit))

    def product(point: Array, direction: Array) -> Array:
        along = derivatives.hessian_product(problem, point / unit, direction / unit)
        return along / unit + strength * direction

    second: dict[str, Any] = {"hess": hessian} if isinstance(search, Dense) else {"hessp": product}
    method = "trust-exact" if isinstance(search, Dense) else "trust-ncg"
    limits = {"gtol": 0.0, "maxiter": _LIMIT, "max_trust_radius": 1e8}
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            found = scipy.optimize.minimize(
                value_and_slope, start, jac=True, method=method, callback=stop, options=limits, **second
            ).x
    except (
        ArithmeticError,
        ValueError,
        NameError,
    ):  # scipy's trust-exact stumbles over directions that are not numbers
        return None
    return np.asarray(found) if np.isfinite(found).all() else None
