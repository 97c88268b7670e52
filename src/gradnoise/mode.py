"""The mode of a posterior, certified: stationary to rounding, curved upwards in every direction, and lower than its surroundings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg

from gradnoise import _checks, derivatives
from gradnoise._types import Array, Pytree
from gradnoise.problem import Problem

_FLAT = 1e-11  # eigenvalues of the Hessian scaled to unit diagonal below this are zero up to rounding
_NEAR = 0.1  # posterior standard deviations from the minimum at which given params pass as the mode
_PROBED = 4  # softest directions along which the loss must rise


class NotAMinimum(ValueError):
    """The loss has no certified minimum where the search ended: a saddle, a flat direction, or parameters running away."""


@dataclass(frozen=True, eq=False)
class Mode:
    """A certified minimum of the mean loss.

    Attributes
    ----------
    params
        The mode in the shapes and types of ``problem.init``.
    vector
        The same in float64, shape (D,).
    loss
        Mean loss L there.
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
    with Hessian products and a Lanczos bound on the smallest eigenvalue beyond. All escape saddles unless they start on one.

    Parameters
    ----------
    problem
        What to minimise.
    init
        Where to start (params or a vector (D,)); None is ``problem.init``.
    gradient_tolerance
        Largest accepted `distance` √(N ∇Lᵀ H⁻¹ ∇L), in posterior standard deviations: free of the parameters' scale.
    max_iterations
        Of the optimiser.

    Raises
    ------
    NotAMinimum
        At a saddle, along a flat direction, or where the loss falls for ever (separable classes); it names the parameters.
    RuntimeError
        If `max_iterations` did not suffice.

    Examples
    --------
    >>> from gradnoise import models
    >>> problem = models.linear_regression([[1.0], [2.0]], [1.0, 2.0], observation_scale=1.0, intercept=False)
    >>> mode = find_mode(problem)  # Σxy / (Σx² + 1) = 5/6
    >>> float(round(mode.vector[0], 9))
    0.833333333
    """
    if not hasattr(problem, "batch_loss"):
        msg = f"problem must be a gn.Problem, got {_checks.shown(problem)}."
        raise TypeError(msg)
    tolerance = _checks.positive("gradient_tolerance", gradient_tolerance)
    limit = _checks.integer("max_iterations", max_iterations)
    start = derivatives.as_vector("init", problem, problem.init if init is None else init)
    value, slope = derivatives.loss_and_gradient(problem, start)
    if not (math.isfinite(value) and np.isfinite(slope).all()):
        msg = f"init must have a finite loss and gradient, got loss {value:g}. Start elsewhere, or rescale the inputs."
        raise ValueError(msg)
    search = _search(problem)
    vector, steps = _minimise(problem, search, start, tolerance, limit) if slope.any() else (start, 0)
    return _certified(problem, search, vector, steps, tolerance)


def as_mode(problem: Problem, mode: Any) -> Mode:
    """Return a `Mode` as it is, params or a vector (D,) certified within 0.1 posterior standard deviations; None is looked for."""
    if mode is None:
        return find_mode(problem)
    vector = derivatives.as_vector("mode", problem, mode)
    if isinstance(mode, Mode):
        return mode
    search = _search(problem)
    distance = math.sqrt(problem.num_examples * _decrement(search, vector))
    if not distance <= _NEAR:
        msg = f"mode must be a minimum of the loss, got params {distance:.3g} posterior standard deviations from one. Give gn.find_mode(problem), or leave it out."
        raise ValueError(msg)
    return replace(_certified(problem, search, vector, 0, _NEAR), method="given")


class _Soft(NamedTuple):
    """Directions u (k, D) in parameters measured in `unit` (θ = u/unit), and the curvature uᵀHu/unit² along each."""

    directions: Array
    curvatures: Array
    unit: Array


class _Dense:
    """Newton steps and softest directions from the Hessian itself."""

    method = "trust-exact"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.at: tuple[bytes, Array, Array] | None = None

    def curvature(self, vector: Array) -> tuple[Array, Array]:
        """Return ∇L and ∇²L, remembered for the last vector asked for."""
        tag = vector.tobytes()
        if self.at is None or self.at[0] != tag:
            self.at = (tag, *derivatives.gradient_and_hessian(self.problem, vector))
        return self.at[1], self.at[2]

    def options(self) -> dict[str, Any]:
        return {"hess": lambda v: self.curvature(v)[1]}

    def newton(self, vector: Array, accuracy: float = 0.0) -> tuple[Array, Array]:
        """Return ∇L and the Newton step -H⁻¹∇L (of least norm where H is singular)."""
        del accuracy  # exact
        slope, hessian = self.curvature(vector)
        unit = _unit(hessian)
        scaled = hessian / np.outer(unit, unit)
        try:
            step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(scaled), slope / unit)
        except np.linalg.LinAlgError:
            step = np.linalg.lstsq(scaled, slope / unit, rcond=1e-14)[0]
        return slope, -step / unit

    def softest(self, vector: Array) -> tuple[float, _Soft]:
        """Return H's smallest eigenvalue, and the softest directions of H scaled to unit diagonal."""
        hessian = self.curvature(vector)[1]
        unit = _unit(hessian)
        values, vectors = np.linalg.eigh(hessian / np.outer(unit, unit))
        return float(np.linalg.eigvalsh(hessian)[0]), _Soft(vectors.T[:_PROBED], values[:_PROBED], unit)

    def hessian(self, vector: Array) -> Array | None:
        return self.curvature(vector)[1]


class _Krylov:
    """The same from Hessian products alone; directions are those of H relative to its largest eigenvalue."""

    method = "trust-krylov"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def product(self, vector: Array) -> Any:
        size = self.problem.num_params
        return scipy.sparse.linalg.LinearOperator(
            (size, size), lambda v: derivatives.hessian_product(self.problem, vector, np.ravel(v)), dtype=np.float64
        )

    def options(self) -> dict[str, Any]:
        def product(vector: Array, direction: Array) -> Array:
            if not np.isfinite(direction).all():
                raise FloatingPointError
            return derivatives.hessian_product(self.problem, vector, direction)

        return {"hessp": product}

    def newton(self, vector: Array, accuracy: float = 1e-10) -> tuple[Array, Array]:
        slope = derivatives.gradient(self.problem, vector)
        return slope, -scipy.sparse.linalg.minres(self.product(vector), slope, rtol=accuracy)[0]

    def softest(self, vector: Array) -> tuple[float, _Soft]:
        product, start = self.product(vector), np.random.default_rng(0).normal(size=vector.size)
        largest = float(scipy.sparse.linalg.eigsh(product, k=1, which="LA", v0=start, tol=1e-4)[0][0])
        try:
            values, vectors = scipy.sparse.linalg.eigsh(product, k=_PROBED, which="SA", v0=start, tol=1e-6, ncv=80)
        except scipy.sparse.linalg.ArpackNoConvergence as error:
            msg = f"the smallest eigenvalue of the Hessian (largest {largest:.3g}) was not resolved, so the mode is not certified. A prior_scale, or inputs of one size, separate it from 0."
            raise NotAMinimum(msg) from error
        order = np.argsort(values)
        unit = np.full(vector.size, math.sqrt(largest))
        return float(values[order[0]]), _Soft(vectors.T[order], values[order] / largest, unit)

    def hessian(self, vector: Array) -> Array | None:
        del vector
        return None


_Search = _Dense | _Krylov


def _search(problem: Problem) -> _Search:
    return _Dense(problem) if problem.num_params <= derivatives.DENSE else _Krylov(problem)


def _unit(hessian: Array) -> Array:
    """Return √|H_ii|, 1 where it is 0: the scale in which H has unit diagonal."""
    diagonal = np.abs(np.diag(hessian))
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def _minimise(problem: Problem, search: _Search, start: Array, tolerance: float, limit: int) -> tuple[Array, int]:
    """Run scipy until the distance is below tolerance, or the gain to come below what the loss resolves; then polish."""
    best = (math.inf, start)

    def value_and_slope(vector: Array) -> tuple[float, Array]:
        nonlocal best
        value, slope = derivatives.loss_and_gradient(problem, vector)
        best = (value, vector.copy()) if value < best[0] else best
        return (value, slope) if math.isfinite(value) else (math.inf, np.zeros_like(slope))

    def stop(intermediate_result: Any) -> None:
        gain = _decrement(search, intermediate_result.x, accuracy=1e-2)
        if problem.num_examples * gain <= tolerance**2 or gain <= 1e-15 * abs(intermediate_result.fun):
            raise StopIteration

    def descend(start: Array) -> Any:
        limits = {"gtol": 0.0, "maxiter": limit, "max_trust_radius": 1e8}
        return scipy.optimize.minimize(
            value_and_slope, start, jac=True, method=search.method, callback=stop, options=limits, **search.options()
        )

    try:
        found = descend(start)
    except FloatingPointError:  # scipy's trust-krylov makes NaN directions now and then; conjugate gradients do not
        search.method = "trust-ncg"
        found = descend(best[1])
    vector, value = found.x, float(found.fun)
    for _ in range(5):  # the loss resolves distances of 1e-8·√N only; the gradient does better
        trial = vector + search.newton(vector)[1]
        worse = derivatives.loss(problem, trial) > value + 1e-12 * abs(value)
        if worse or not _decrement(search, trial) < 0.25 * _decrement(search, vector):
            break
        vector = trial
    return vector, int(found.nit)


def _decrement(search: _Search, vector: Array, accuracy: float = 1e-10) -> float:
    """Return |∇LᵀH⁻¹∇L|, twice the loss to be gained; infinity where it is not a number."""
    slope, step = search.newton(vector, accuracy)
    value = abs(float(slope @ step))
    return value if math.isfinite(value) else math.inf


def _certified(problem: Problem, search: _Search, vector: Array, steps: int, tolerance: float) -> Mode:
    """Return the Mode, or raise what is wrong with it."""
    distance = math.sqrt(problem.num_examples * _decrement(search, vector))
    slope, step = search.newton(vector)
    if not distance <= tolerance:
        msg = f"no mode found within max_iterations: after {steps} the gradient's norm is {np.linalg.norm(slope):.3g} and |params| {np.linalg.norm(vector):.3g}, {distance:.3g} posterior standard deviations from a mode. Scale the inputs, start elsewhere, or check that the loss is bounded below."
        raise RuntimeError(msg)
    smallest, soft = search.softest(vector)
    if soft.curvatures[0] < -_FLAT:
        msg = f"the search ended at a saddle: the smallest eigenvalue of the Hessian is {smallest:.3g}, along {_named(problem, soft.directions[0])}. Give another init."
        raise NotAMinimum(msg)
    _check_surroundings(problem, vector, _with_newton(soft, slope, step))
    return Mode(
        params=jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), problem.unflatten(vector), problem.init),
        vector=vector,
        loss=derivatives.loss(problem, vector),
        gradient_norm=float(np.linalg.norm(slope)),
        distance=distance,
        smallest_eigenvalue=smallest,
        hessian=search.hessian(vector),
        num_iterations=steps,
        method=search.method,
        names=problem.parameter_names,
    )


def _with_newton(soft: _Soft, slope: Array, step: Array) -> _Soft:
    """Add the last Newton step, of curvature 1, to the directions to look along: where parameters run away, it points there."""
    length = math.sqrt(abs(float(slope @ step)))
    if length == 0:
        return soft
    along = step * soft.unit / length
    return _Soft(np.vstack([along, soft.directions]), np.append(1.0, soft.curvatures), soft.unit)


def _check_surroundings(problem: Problem, vector: Array, soft: _Soft) -> None:
    """Raise unless the loss rises on both sides of every direction, a posterior standard deviation or less away.

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
            away = _named(problem, direction if sides[1] else -direction)
            msg = f"the loss has no minimum: it keeps falling as the parameters grow along {away}. Classes that a plane separates (the data are separable), counts that are all 0, or columns collinear up to rounding do this; give a finite prior_scale."
            raise NotAMinimum(msg)
    for direction, curvature, rise in zip(soft.directions, soft.curvatures, rises, strict=True):
        if curvature <= _FLAT or not rise.all(-1).any():
            msg = f"the loss is flat (curvature 0 up to rounding) along {_named(problem, direction)}: there is no single mode. Collinear or constant columns, or softmax classes without a prior, do this; give a finite prior_scale or drop a column."
            raise NotAMinimum(msg)


def _named(problem: Problem, direction: Array) -> str:
    """Return the largest components of a direction, at most four, with their parameters' names."""
    order = np.argsort(-np.abs(direction))[:4]
    kept = [i for i in order if abs(direction[i]) >= 0.1 * abs(direction[order[0]])]
    return " ".join(f"{direction[i] / np.linalg.norm(direction):+.2f}·{problem.parameter_names[i]}" for i in kept)
