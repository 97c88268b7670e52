"""Newton steps and softest directions of the mean loss, and the trust region that descends with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg

from gradnoise import _scaled, derivatives
from gradnoise._types import Array
from gradnoise.mode.obstacles import against, defined
from gradnoise.problem import Problem

FORMED = 3000  # up to this many parameters the Hessian is formed for its lowest eigenvalues: Lanczos takes more products than that
_PROBED = 4  # softest directions along which the loss must rise
_LONGEST = 1e8  # radius of the trust region
_SHORTER = (0.2, 0.04)  # the same, relative to the way to a wall that the search ran into
_STALLED = 50  # rejected steps in a row: the trust region is 4⁻⁵⁰ of what it was


class NotAMinimum(ValueError):
    """The loss has no certified minimum where the search ended: a saddle, a flat direction, or parameters running away."""


class Soft(NamedTuple):
    """Directions u (k, D) in parameters measured in `unit` (θ = u/unit), and the curvature uᵀHu/unit² along each.

    `flat` (D, m) is a basis of all directions without curvature, as far as they were looked for (above 1000 parameters at most four).
    """

    directions: Array
    curvatures: Array
    unit: Array
    flat: Array


class _Memory:
    """The last few results by vector: scipy, the stopping rule and the certificate ask for the same ones again."""

    def __init__(self, kept: int = 3) -> None:
        self.kept, self.made = kept, dict[tuple[bytes, float], tuple[Array, Array]]()

    def __call__(self, vector: Array, accuracy: float, make: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
        tag = (vector.tobytes(), accuracy)
        if tag not in self.made:
            while len(self.made) >= self.kept:
                del self.made[next(iter(self.made))]
            self.made[tag] = make()
        return self.made[tag]


class Dense:
    """Newton steps and softest directions from the Hessian itself."""

    method = "trust-exact"

    def __init__(self, problem: Problem) -> None:
        self.problem, self.memory = problem, _Memory()

    def curvature(self, vector: Array) -> tuple[Array, Array]:
        """Return ∇L and ∇²L."""
        return self.memory(vector, 0.0, lambda: derivatives.gradient_and_hessian(self.problem, vector))

    def regular(self, vector: Array) -> bool:
        """Whether the curvature is a number."""
        return bool(np.isfinite(self.curvature(vector)[1]).all())

    def options(self) -> dict[str, Any]:
        def hessian(vector: Array) -> Array:  # scipy asks for it at points that it will reject, too
            return self.curvature(vector)[1] if self.regular(vector) else np.eye(vector.size)

        return {"hess": hessian}

    def newton(self, vector: Array, accuracy: float = 0.0) -> tuple[Array, Array]:
        """Return ∇L and the Newton step -H⁻¹∇L (of least norm where H is singular, NaN where it is not a number)."""
        del accuracy  # exact
        slope, hessian = self.curvature(vector)
        if not (np.isfinite(slope).all() and self.regular(vector)):
            return slope, np.full_like(slope, math.nan)
        scaled, unit = _scaled.scaled(hessian)
        try:
            step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(scaled), slope / unit)
        except np.linalg.LinAlgError:
            step = np.linalg.lstsq(scaled, slope / unit, rcond=1e-14)[0]
        return slope, -step / unit

    def softest(self, vector: Array) -> tuple[float, Soft]:
        """Return H's smallest eigenvalue, and the softest directions of H scaled to unit diagonal."""
        hessian = self.curvature(vector)[1]
        scaled, unit = _scaled.scaled(hessian)
        values, vectors = np.linalg.eigh(scaled)
        smallest = _scaled.smallest_eigenvalue(hessian)
        return smallest, Soft(vectors.T[:_PROBED], values[:_PROBED], unit, vectors[:, np.abs(values) <= _scaled.FLAT])

    def resolution(self, vector: Array) -> float:
        """Return the distance in posterior standard deviations that the rounding of the parameters, and of x·θ, makes."""
        return _scaled.resolution(vector, self.curvature(vector)[1], self.problem.num_examples)

    def hessian(self, vector: Array) -> Array | None:
        return self.curvature(vector)[1]


class Krylov:
    """The same from Hessian products alone; directions are those of H relative to its largest eigenvalue."""

    method = "trust-krylov"

    def __init__(self, problem: Problem) -> None:
        self.problem, self.memory = problem, _Memory()

    def product(self, vector: Array) -> Any:
        size = self.problem.num_params
        return scipy.sparse.linalg.LinearOperator(
            (size, size), lambda v: derivatives.hessian_product(self.problem, vector, np.ravel(v)), dtype=np.float64
        )

    def regular(self, vector: Array) -> bool:
        """Whether the curvature is a number along one direction."""
        return bool(np.isfinite(derivatives.hessian_product(self.problem, vector, np.ones(vector.size))).all())

    def options(self) -> dict[str, Any]:
        def product(vector: Array, direction: Array) -> Array:
            if not np.isfinite(direction).all():
                msg = "the trust region asked for a Hessian product with a direction that is not finite."
                raise FloatingPointError(msg)
            return derivatives.hessian_product(self.problem, vector, direction)

        return {"hessp": product}

    def newton(self, vector: Array, accuracy: float = 1e-10) -> tuple[Array, Array]:
        def make() -> tuple[Array, Array]:
            slope = derivatives.gradient(self.problem, vector)
            if not np.isfinite(slope).all():
                return slope, np.full_like(slope, math.nan)
            return slope, -scipy.sparse.linalg.minres(self.product(vector), slope, rtol=accuracy)[0]

        return self.memory(vector, accuracy, make)

    def softest(self, vector: Array) -> tuple[float, Soft]:
        start = np.random.default_rng(0).normal(size=vector.size)
        product = self.product(vector)
        largest = float(scipy.sparse.linalg.eigsh(product, k=1, which="LA", v0=start, tol=1e-4)[0][0])
        if vector.size <= FORMED:
            values, vectors = _lowest(derivatives.hessian(self.problem, vector), start)
        else:
            values, vectors = self._lanczos(product, largest, start)
        order = np.argsort(values)
        unit = np.full(vector.size, math.sqrt(largest))
        soft = np.abs(values[order]) <= _scaled.FLAT * largest
        return float(values[order[0]]), Soft(
            vectors.T[order], values[order] / largest, unit, vectors[:, order][:, soft]
        )

    def resolution(self, vector: Array) -> float:
        """Return the same as `Dense.resolution`, as if curvatures were alike along all parameters."""
        along = float(vector @ (self.product(vector) @ vector))
        return _scaled.ULPS * math.sqrt(self.problem.num_examples * vector.size * max(along, 0.0))

    def _lanczos(self, product: Any, largest: float, start: Array) -> tuple[Array, Array]:
        try:
            values, vectors = scipy.sparse.linalg.eigsh(product, k=_PROBED, which="SA", v0=start, tol=1e-6, ncv=80)
        except scipy.sparse.linalg.ArpackNoConvergence as error:
            msg = f"the smallest eigenvalue of the Hessian (largest {largest:.3g}) was not resolved, so the mode is not certified. A prior_scale, or inputs of one size, separate it from 0."
            raise NotAMinimum(msg) from error
        return values, vectors

    def hessian(self, vector: Array) -> Array | None:
        del vector
        return None


Search = Dense | Krylov


def searched(problem: Problem) -> Search:
    """Return the search that fits the number of parameters."""
    return Dense(problem) if problem.num_params <= derivatives.DENSE else Krylov(problem)


class Found(NamedTuple):
    """Where the search ended, after how many iterations; `edge` is the last point that it met without a loss, or None."""

    vector: Array
    steps: int
    edge: Array | None


def _lowest(hessian: Array, start: Array) -> tuple[Array, Array]:
    """Return the lowest eigenvalues and their vectors: by inverse iteration where a Cholesky factor shows that all are positive.

    Lanczos without the inverse takes tens of thousands of products where the lowest eigenvalues lie close together.
    """
    try:
        factor = scipy.linalg.cho_factor(hessian)
    except np.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(hessian, subset_by_index=[0, _PROBED - 1])
        return values, vectors
    inverse = scipy.sparse.linalg.LinearOperator(
        hessian.shape, lambda v: scipy.linalg.cho_solve(factor, np.ravel(v)), dtype=np.float64
    )
    values, vectors = scipy.sparse.linalg.eigsh(hessian, k=_PROBED, sigma=0.0, OPinv=inverse, v0=start)
    return values, vectors


def minimise(problem: Problem, search: Search, start: Array, tolerance: float, limit: int) -> Found:
    """Run scipy until the distance is below tolerance, or the gain to come below what the loss resolves; then polish.

    Where the loss is not a number it counts as infinite: the step is rejected and the trust region shrinks. A search that long
    steps have driven against such a wall is begun anew with shorter ones, which follow the valley.
    """
    best, at, stalled, edge = (math.inf, start), start, 0, None

    def value_and_slope(vector: Array) -> tuple[float, Array]:
        nonlocal best, edge
        value, slope = derivatives.loss_and_gradient(problem, vector)
        if not (defined(value, slope) and search.regular(vector)):
            edge = vector.copy()
            return math.inf, np.zeros_like(slope)
        best = (value, vector.copy()) if value < best[0] else best
        return value, slope

    def stop(intermediate_result: Any) -> None:
        nonlocal at, stalled
        here = intermediate_result.x
        stalled = stalled + 1 if np.array_equal(here, at) else 0
        at = here
        gain = decrement(search, here, accuracy=1e-2)
        enough = problem.num_examples * gain <= tolerance**2 or gain <= 1e-15 * abs(intermediate_result.fun)
        if enough or stalled >= _STALLED:
            raise StopIteration

    def descend(start: Array, longest: float) -> Any:
        first = min(1.0, longest / 2)
        limits = {"gtol": 0.0, "maxiter": limit, "initial_trust_radius": first, "max_trust_radius": longest}
        with np.errstate(invalid="ignore", over="ignore"):
            return scipy.optimize.minimize(
                value_and_slope,
                start,
                jac=True,
                method=search.method,
                callback=stop,
                options=limits,
                **search.options(),
            )

    try:
        found = descend(start, _LONGEST)
        for share in _SHORTER:
            if not against(edge, found.x):
                break
            stalled, edge = 0, None
            found = descend(start, share * float(np.linalg.norm(found.x - start)))
    except FloatingPointError:  # scipy's trust-krylov makes NaN directions now and then; conjugate gradients do not
        search.method = "trust-ncg"
        found = descend(best[1], _LONGEST)
    return Found(_polished(problem, search, found.x, float(found.fun)), int(found.nit), edge)


def _polished(problem: Problem, search: Search, vector: Array, value: float) -> Array:
    """Return `vector` after a few Newton steps: the loss resolves distances of 1e-8·√N only, the gradient does better."""
    for _ in range(5):
        trial = vector + search.newton(vector)[1]
        worse = not derivatives.loss(problem, trial) <= value + 1e-12 * abs(value)
        if worse or not decrement(search, trial) < 0.25 * decrement(search, vector):
            break
        vector = trial
    return vector


def decrement(search: Search, vector: Array, accuracy: float = 1e-10) -> float:
    """Return |∇LᵀH⁻¹∇L|, twice the loss to be gained; infinity where it is not a number."""
    slope, step = search.newton(vector, accuracy)
    value = abs(float(slope @ step))
    return value if math.isfinite(value) else math.inf
