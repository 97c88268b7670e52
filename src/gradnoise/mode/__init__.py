"""The mode of a posterior, certified: stationary to rounding, curved upwards in every direction, and lower than its surroundings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from gradnoise import _checks, _scaled, derivatives
from gradnoise._types import AnyArray, Array, Pytree
from gradnoise.mode.obstacles import defined, obstacle, undefined
from gradnoise.mode.search import Found, NotAMinimum, Search, Soft, decrement, minimise, searched
from gradnoise.mode.vanishing_priors import runaway
from gradnoise.problem import Problem

__all__ = ["Mode", "NotAMinimum", "as_mode", "find_mode"]

_FLAT = _scaled.FLAT
_NAMES = 12  # parameters of a space that are named
_NEAR = 0.1  # posterior standard deviations from the minimum at which given params pass as the mode


@dataclass(frozen=True, eq=False)
class Mode:
    """A certified local minimum of the mean loss.

    Certified is that the loss is stationary and rises on all sides. A loss of several minima (a network, a mixture) has a mode
    in each: which one is found depends on where the search started.

    Attributes
    ----------
    params
        The mode in the shapes and types of ``problem.init``.
    vector
        The same in float64, shape (D,).
    loss
        Mean loss L there, the log prior's constant included (for many parameters it may be most of it).
    gradient_norm
        |∇L|, in units of loss per parameter.
    distance
        √(N ∇Lᵀ H⁻¹ ∇L), the distance to the exact minimum in posterior standard deviations.
    smallest_eigenvalue
        Of H = ∇²L; positive.
    hessian
        H (D, D), or None beyond 1000 parameters.
    num_iterations, method
        Of `scipy.optimize.minimize`.
    names
        Names of the D parameters.
    """

    params: Pytree
    vector: Array = field(repr=False)
    loss: float
    gradient_norm: float
    distance: float
    smallest_eigenvalue: float
    hessian: Array | None = field(repr=False)
    num_iterations: int
    method: str
    names: tuple[str, ...] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"Mode(num_params={self.vector.size}, loss={self.loss:.6g}, gradient_norm={self.gradient_norm:.2g}, "
            f"distance={self.distance:.2g}, smallest_eigenvalue={self.smallest_eigenvalue:.4g}, "
            f"num_iterations={self.num_iterations}, method={self.method!r})"
        )


def find_mode(
    problem: Problem, *, init: Pytree | None = None, gradient_tolerance: float = 1e-6, max_iterations: int = 500
) -> Mode:
    """Find the mode of the posterior (the minimum of the mean loss) in float64 and certify it.

    scipy's ``trust-exact`` with the dense Hessian up to 1000 parameters, ``trust-krylov`` (``trust-ncg`` where that fails)
    with Hessian products beyond, where the smallest eigenvalue comes from the Hessian itself up to 3000 parameters and from
    Lanczos above. All escape saddles unless they start on one. Where the loss is not a number (a negative rate, say) steps are
    rejected and shortened: only `init` must have a loss.

    Parameters
    ----------
    problem
        What to minimise.
    init
        Where to start (params or a vector (D,)); None is ``problem.init``.
    gradient_tolerance
        Largest accepted `distance` √(N ∇Lᵀ H⁻¹ ∇L), in posterior standard deviations: free of the parameters' scale. Where the
        rounding of the parameters themselves, 4 eps √N Σ |θ_i| √H_ii, is more than this, it is the tolerance, up to 0.1: a mode at
        1e6 ± 1e-6 is known no better.
    max_iterations
        Of the optimiser.

    Raises
    ------
    NotAMinimum
        At a saddle, along a flat direction, or where the loss falls for ever (separable classes); it names the parameters.
    RuntimeError
        If `max_iterations` did not suffice, or the search stopped where the loss ends (is not a number beyond) or its gradient
        jumps (a kink); it says which, and at what parameters.

    Examples
    --------
    >>> from gradnoise import models
    >>> problem = models.linear_regression([[1.0], [2.0]], [1.0, 2.0], observation_scale=1.0, intercept=False)
    >>> mode = find_mode(problem)  # Σxy / (Σx² + 1) = 5/6
    >>> float(round(mode.vector[0], 9))
    0.833333333
    """
    _checks.problem(problem)
    tolerance = _checks.positive("gradient_tolerance", gradient_tolerance)
    limit = _checks.integer("max_iterations", max_iterations)
    start = derivatives.as_vector("init", problem, problem.init if init is None else init)
    value, slope = derivatives.loss_and_gradient(problem, start)
    search = searched(problem)
    if not (defined(value, slope) and search.regular(start)):
        msg = f"init must have a finite loss, gradient and curvature, got loss {value:g}: {undefined(problem, start)}. Start elsewhere, or rescale the inputs."
        raise ValueError(msg)
    found = minimise(problem, search, start, tolerance, limit) if slope.any() else Found(start, 0, None)
    return _certified(problem, search, found, tolerance, start)


def as_mode(problem: Problem, mode: Any) -> Mode:
    """Return a certified `Mode`. A `Mode` of this problem is returned unchanged; params are certified (within 0.1 posterior sd); None starts a search."""
    _checks.problem(problem)
    if mode is None:
        return find_mode(problem)
    vector = derivatives.as_vector("mode", problem, mode)
    if isinstance(mode, Mode):
        derivatives.check_mode("mode", problem, mode)
        return mode
    search = searched(problem)
    distance = math.sqrt(problem.num_examples * decrement(search, vector))
    if not math.isfinite(derivatives.loss(problem, vector)):
        msg = (
            f"mode must have a finite loss: {undefined(problem, vector)}. Give gn.find_mode(problem), or leave it out."
        )
        raise ValueError(msg)
    if not distance <= _NEAR:
        msg = f"mode must be a minimum of the loss, got params {distance:.3g} posterior standard deviations from one. Give gn.find_mode(problem), or leave it out."
        raise ValueError(msg)
    given = replace(_certified(problem, search, Found(vector, 0, None), _NEAR), method="given")
    derivatives.vouch(given, problem)
    return given


def _certified(problem: Problem, search: Search, found: Found, tolerance: float, start: Array | None = None) -> Mode:
    """Return the Mode, or raise what is wrong with it; `start` is where the search began, None where there was none."""
    vector, steps, edge = found
    distance = math.sqrt(problem.num_examples * decrement(search, vector))
    slope, step = search.newton(vector)
    near = distance <= max(tolerance, min(search.resolution(vector), _NEAR))
    smallest, soft = search.softest(vector) if near else (math.nan, None)
    trouble = None if soft is None else _trouble(problem, vector, soft, slope, step, smallest)
    if soft is not None and trouble is None:
        return _made(problem, search, vector, distance, smallest, steps)
    away = None if start is None or edge is not None else runaway(problem, search, start)
    if away is not None:
        raise NotAMinimum(_falling(problem, away))
    if trouble is not None:
        raise NotAMinimum(trouble)
    msg = f"no mode found within max_iterations: after {steps} the gradient's norm is {np.linalg.norm(slope):.3g} and |params| {np.linalg.norm(vector):.3g}, {distance:.3g} posterior standard deviations from a mode. {obstacle(problem, vector, edge)}"
    raise RuntimeError(msg)


def _made(problem: Problem, search: Search, vector: Array, distance: float, smallest: float, steps: int) -> Mode:
    mode = Mode(
        params=jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), problem.unflatten(vector), problem.init),
        vector=vector,
        loss=derivatives.loss(problem, vector),
        gradient_norm=float(np.linalg.norm(search.newton(vector)[0])),
        distance=distance,
        smallest_eigenvalue=smallest,
        hessian=search.hessian(vector),
        num_iterations=steps,
        method=search.method,
        names=problem.parameter_names,
    )
    derivatives.vouch(mode, problem)
    return mode


def _trouble(problem: Problem, vector: Array, soft: Soft, slope: Array, step: Array, smallest: float) -> str | None:
    """Return what keeps `vector`, where the loss is stationary, from being a minimum; None where it is one."""
    if soft.curvatures[0] < -_FLAT:
        return f"the search ended at a saddle: the smallest eigenvalue of the Hessian is {smallest:.3g}, along {_named(problem, soft.directions[0])}. Give another init."
    return _check_surroundings(problem, vector, _with_newton(soft, slope, step))


def _with_newton(soft: Soft, slope: Array, step: Array) -> Soft:
    """Add the last Newton step, of curvature 1, to the directions to look along: where parameters run away, it points there."""
    length = math.sqrt(abs(float(slope @ step)))
    if length == 0:
        return soft
    along = step * soft.unit / length
    return Soft(np.vstack([along, soft.directions]), np.append(1.0, soft.curvatures), soft.unit, soft.flat)


def _check_surroundings(problem: Problem, vector: Array, soft: Soft) -> str | None:
    """Return None if the loss rises on both sides of every direction, a posterior standard deviation or less away; else what is wrong.

    Where parameters run away (log(1 + e⁻ᵗ), t to infinity) all else passes; but the loss falls on one side at every distance.
    """
    parts = np.array([1.0, 0.1, 0.01])
    scale = 1 / np.sqrt(problem.num_examples * np.maximum(soft.curvatures, _FLAT))
    moves = (soft.directions / soft.unit * scale[:, None])[:, None] * parts[:, None]  # (k, parts, D)
    points = vector + np.stack([moves, -moves], 2)  # (k, parts, side, D)
    here = derivatives.loss(problem, vector)
    there = derivatives.losses(problem, points.reshape(-1, vector.size)).reshape(points.shape[:-1])
    floor = np.maximum(5e-4 * parts**2 / problem.num_examples, 16 * np.finfo(np.float64).eps * abs(here))
    rises = ~(there - here <= floor[:, None])  # a loss that is not a number lies high
    for direction, rise in zip(soft.directions, rises, strict=True):
        sides = rise.any(0)
        if sides.sum() == 1:
            return _falling(problem, direction if sides[1] else -direction)
    for direction, curvature, rise in zip(soft.directions, soft.curvatures, rises, strict=True):
        if curvature <= _FLAT or not rise.all(-1).any():
            where = soft.flat if soft.flat.size else direction[:, None]
            return f"the loss is flat (curvature 0 up to rounding) along {_space(problem, where)}: there is no single mode. Collinear or constant columns, or softmax classes without a prior, do this; give a finite prior_scale or drop a column."
    return None


def _falling(problem: Problem, away: Array) -> str:
    return f"the loss has no minimum: it keeps falling as the parameters grow along {_named(problem, away)}. Classes that a plane separates (the data are separable), counts that are all 0, a class or level without rows, or columns collinear up to rounding do this; give a finite prior_scale."


def _named(problem: Problem, direction: Array) -> str:
    """Return the largest components of a direction, at most four, with their parameters' names."""
    order = _descending(np.abs(direction))[:4]
    kept = [i for i in order if abs(direction[i]) >= 0.1 * abs(direction[order[0]])]
    return " ".join(f"{direction[i] / np.linalg.norm(direction):+.2f}·{problem.parameter_names[i]}" for i in kept)


def _space(problem: Problem, basis: Array) -> str:
    """Return a direction, its largest component positive; of a space (D, k) the parameters that span it: how much of each lies in it.

    The basis itself is no answer: which one comes back is a matter of rounding.
    """
    share = _scaled.shares(basis)
    if basis.shape[1] == 1:
        return _named(problem, basis[:, 0] * np.sign(basis[_descending(share)[0], 0]))
    order = [i for i in _descending(share) if share[i] >= 0.1 * share.max()]
    named = " ".join(f"{share[i]:.2f}·{problem.parameter_names[i]}" for i in sorted(order[:_NAMES]))
    more = f" and {len(order) - _NAMES} more" if len(order) > _NAMES else ""
    return f"a space of {basis.shape[1]} directions, in which these parameters lie (with so much of their axes): {named}{more}"


def _descending(sizes: Array) -> AnyArray:
    """Return the order of sizes, the largest first; those equal up to rounding in the order of the parameters."""
    return np.argsort(-np.round(sizes / max(float(sizes.max()), 1e-300), 6), kind="stable")
