"""What stops a search for the mode, in words: a loss that is not a number beside it, or a gradient that jumps."""

from __future__ import annotations

import math

import jax
import numpy as np

from gradnoise import derivatives
from gradnoise._types import Array
from gradnoise.problem import Problem

_BESIDE = 1e-6  # relative distance at which a loss that is not a number is what stops the search
_REACH = 1e-3  # relative distance within which a jump of the gradient is looked for
_HALVINGS = 36  # of it: to rounding
_PLATEAU = 12  # of the halvings, the last: over them a smooth gradient's change falls to 1/4000, a jump stays
_ROUNDING = 64 * float(np.finfo(np.float64).eps)  # of a gradient, relative to |H| |params|: more is no rounding
_SHOWN = 6  # parameters listed with their values


def defined(value: float, slope: Array) -> bool:
    """Whether loss and gradient are numbers."""
    return math.isfinite(value) and bool(np.isfinite(slope).all())


def against(edge: Array | None, vector: Array) -> bool:
    """Whether the point without a loss is just beside `vector`."""
    return edge is not None and bool(np.linalg.norm(edge - vector) <= _BESIDE * (1 + np.linalg.norm(vector)))


def undefined(problem: Problem, vector: Array) -> str:
    """Say which function is not a number at `vector`, for how many examples, and what the parameters are there."""
    with jax.enable_x64(True):
        prior = float(problem._log_prior(problem.unflatten(vector)))
    bad = ~np.isfinite(derivatives.example_losses(problem, vector))
    if not math.isfinite(prior):
        what = f"log_prior is {prior:g}"
    elif bad.any():
        what = (
            f"log_likelihood is not finite for {int(bad.sum())} of {len(bad)} examples (first: row {int(bad.argmax())})"
        )
    else:
        what = "the loss is finite but a derivative of it is not (jnp.where differentiates both branches)"
    values = [f"{name} = {x:.6g}" for name, x in zip(problem.parameter_names[:_SHOWN], vector, strict=False)]
    return f"{what} at {', '.join(values)}{', …' if len(vector) > _SHOWN else ''}"


def obstacle(problem: Problem, vector: Array, edge: Array | None) -> str:
    """Say why the search stopped at `vector`, and what to do; `edge` is the last point that it met without a loss."""
    if edge is not None and against(edge, vector):
        return (
            f"It stopped where the loss ends while it still falls: {undefined(problem, _beyond(problem, vector, edge))}. Write a parameter that must be positive "
            "as the exponential of another one, give a prior that keeps it inside, or start elsewhere."
        )
    if jump := _jump(problem, vector):
        return (
            f"The gradient does not go to 0 there, it jumps: {jump}. At such a kink (an absolute value, a maximum, a clip) there is no "
            "curvature and no Gaussian law. Smooth it: sqrt(θ² + 1e-6) for |θ|."
        )
    met = "" if edge is None else f" On the way {undefined(problem, edge)}."
    return f"Scale the inputs, start elsewhere, or check that the loss is bounded below.{met}"


def _beyond(problem: Problem, vector: Array, edge: Array) -> Array:
    """Return a point well behind the edge where the loss is not a number there either: on the edge itself it may still be one."""
    way = (edge - vector) / np.linalg.norm(edge - vector)
    behind = vector + _REACH * (1 + np.linalg.norm(vector)) * way
    return edge if math.isfinite(derivatives.loss(problem, behind)) else behind


def _jump(problem: Problem, vector: Array) -> str:
    """Say along which parameters the gradient jumps just downhill of `vector`; "" where it is continuous.

    A jump is a change that stays while the points beside it come together, as large as a quarter of the gradient that is left, and
    larger than rounding makes: 64 eps times |H| |params|, |H| as the gradient's change over the whole reach tells it.
    """
    low, slope = vector, derivatives.gradient(problem, vector)
    steepness = float(np.linalg.norm(slope))
    if steepness == 0:
        return ""
    high = vector - _REACH * (1 + np.linalg.norm(vector)) * slope / steepness
    before, after = slope, derivatives.gradient(problem, high)
    rounding = _ROUNDING * float(np.linalg.norm(after - before)) / _REACH
    sizes = []
    for _ in range(_HALVINGS):  # keep the half over which the gradient changes more
        middle = (low + high) / 2
        here = derivatives.gradient(problem, middle)
        if np.linalg.norm(here - before) >= np.linalg.norm(after - here):
            high, after = middle, here
        else:
            low, before = middle, here
        sizes.append(float(np.linalg.norm(after - before)))
    stays = sizes[-1] >= sizes[-1 - _PLATEAU] / 2
    if not (stays and sizes[-1] > max(steepness / 4, rounding)):  # nor where it is not a number
        return ""
    i = int(np.argmax(np.abs(after - before)))
    return f"from {before[i]:.3g} to {after[i]:.3g} along {problem.parameter_names[i]} = {low[i]:.4g}"
