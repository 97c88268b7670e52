"""Second moments of a recursion whose noise grows with its own covariance: one symmetric linear system, in modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, cg, eigs, eigsh

from gradnoise._types import Array
from gradnoise.theory.linear.modes import bends, mode_gain, mode_transitions
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.stationary.covariance import mode_covariance

DENSE = 16  # up to this many modes the system is held as a matrix of size r(r+1)/2; beyond, iterating is faster and as exact
_ROWS = 2048  # rows of data taken at once


@dataclass(frozen=True, eq=False)
class InputNoise:
    r"""How the spread Φ of the parameters adds gradient noise: K(Φ), per example, a positive symmetric linear map.

    For rows a_n, K(Φ) = (1/N) Σ a_n a_nᵀ Φ a_n a_nᵀ − RΦR with R = (1/N) Σ a_n a_nᵀ; for Gaussian inputs RΦR + Tr(RΦ)R.
    `half` is the same map on half-vectors, held as a matrix where there are at most `DENSE` modes.
    """

    size: int
    apply: Callable[[Array], Array]
    half: Array | None

    @classmethod
    def of_rows(cls, rows: Array) -> InputNoise:
        """Rows (N, r) of the data, in modes."""
        count, size = rows.shape
        second = rows.T @ rows / count

        def apply(spread: Array) -> Array:
            weights = np.einsum("ni,ni->n", rows @ spread, rows) / count
            return np.asarray((rows * weights[:, None]).T @ rows - second @ spread @ second)

        if size > DENSE:
            return cls(size, apply, None)
        fourth = np.zeros((size * (size + 1) // 2,) * 2)
        for start in range(0, count, _ROWS):
            pairs = half_products(rows[start : start + _ROWS])
            fourth += pairs.T @ pairs
        return cls(size, apply, fourth / count - half_square(second))

    @classmethod
    def of_gaussian(cls, second: Array) -> InputNoise:
        """Gaussian inputs of second moment R (r, r), in modes."""

        def apply(spread: Array) -> Array:
            return np.asarray(second @ spread @ second + np.sum(second * spread) * second)

        if len(second) > DENSE:
            return cls(len(second), apply, None)
        flat = to_half(second)
        return cls(len(second), apply, half_square(second) + np.outer(flat, flat))

    def scaled(self, left: Array, factor: float, diagonal: Array) -> Any:
        """Return diag(left)·(diag(diagonal) + factor·K)·diag(left) on half-vectors: a matrix, or an operator."""
        if self.half is not None:
            matrix = factor * left[:, None] * self.half * left
            matrix[np.diag_indices_from(matrix)] += diagonal * left**2
            return matrix

        def apply(flat: Array) -> Array:
            flat = left * np.ravel(flat)
            return left * (diagonal * flat + factor * to_half(self.apply(from_half(flat, self.size))))

        return LinearOperator((len(left),) * 2, matvec=apply, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SecondMoments:
    r"""Solve Φ = T(s + f K(Φ)), T the map from constant noise to covariance (entry by entry in modes of curvature h).

    T is entrywise and positive and K symmetric, so I − f √T K √T is symmetric; it is positive definite exactly where the
    second moment is stable (K maps positive semidefinite matrices to such), and solved by Cholesky or conjugate gradients.
    """

    curvatures: Array
    inputs: InputNoise
    factor: float
    momentum: float
    nesterov: bool

    def covariance(self, learning_rate: float, noise: Array) -> Array:
        """Stationary Φ for constant noise s (r, r)."""
        root = np.sqrt(self._response(learning_rate))
        system = self.inputs.scaled(root, -self.factor, root**-2.0)
        right = root * to_half(noise)
        if isinstance(system, np.ndarray):
            return from_half(root * cho_solve(cho_factor(system), right), self.inputs.size)
        flat, failed = cg(system, right, rtol=1e-13, maxiter=5000)
        if failed:
            msg = f"learning_rate must be farther from the second-moment edge for {self.inputs.size} parameters: conjugate gradients did not converge in 5000 steps."
            raise ValueError(msg)
        return from_half(root * flat, self.inputs.size)

    def gain(self, learning_rate: float) -> float:
        """Radius of Φ → f T(K(Φ)): the share of the noise that the spread itself makes; stable below 1."""
        root = np.sqrt(self._response(learning_rate))
        return _largest(self.inputs.scaled(root, self.factor, np.zeros_like(root)), self.inputs.size)

    @cached_property
    def mean_edge(self) -> float:
        """Learning rate at which the mean diverges."""
        return rate_edge(momentum=self.momentum, nesterov=self.nesterov) / float(self.curvatures.max())

    @cached_property
    def edge(self) -> float:
        """Learning rate at which the second moment diverges."""
        h = self.curvatures
        if not self.nesterov or self.momentum == 0:  # linear in the learning rate: η A v = η² M v
            a, b = bends(self.momentum, "discrete")
            left = _pairs((1 - self.momentum) * (h[:, None] + h)) ** -0.5
            bend = _pairs(a * np.outer(h, h) - b * (h[:, None] ** 2 + h**2))
            return 1 / _largest(self.inputs.scaled(left, self.factor, bend), self.inputs.size)
        top = self.mean_edge * (1 - 1e-10)
        if self.factor == 0 or self.gain(top) <= 1:
            return self.mean_edge
        found = self._crossing(1e-9 * top, top)
        # no proof that the gain crosses 1 only once: look below, and take the first crossing
        below = [rate for rate in np.linspace(found / 16, found, 16, endpoint=False) if self.gain(rate) >= 1]
        return self._crossing(1e-9 * top, min(below)) if below else found

    def _crossing(self, low: float, high: float) -> float:
        return float(brentq(lambda rate: np.log(self.gain(rate)), low, high, rtol=1e-13, xtol=1e-14 * high))

    def radius(self, learning_rate: float) -> float:
        """Spectral radius of the map that takes the second moments one step on."""
        rates = learning_rate * self.curvatures
        if self.momentum == 0:
            kept = _pairs(np.outer(1 - rates, 1 - rates))
            one = np.ones_like(kept)
            return _largest(self.inputs.scaled(one, self.factor * learning_rate**2, kept), self.inputs.size)
        blocks, enters = mode_transitions(rates, self.momentum, self.nesterov), mode_gain(self.momentum, self.nesterov)
        shape = (len(rates), 2, len(rates), 2)

        def step(flat: Array) -> Array:
            state = flat.reshape(shape)
            fresh = self.factor * learning_rate**2 * self.inputs.apply(state[:, 0, :, 0])
            moved = np.einsum("iab,ibjc,jdc->iajd", blocks, state, blocks, optimize=True)
            return np.asarray((moved + np.einsum("ij,a,d->iajd", fresh, enters, enters)).ravel())

        operator: Any = LinearOperator((4 * len(rates) ** 2,) * 2, matvec=step, dtype=np.float64)
        start = np.eye(2 * len(rates)).ravel()  # inside the cone of covariances, so the leading one is never missed
        return float(np.abs(eigs(operator, k=1, v0=start, tol=1e-11, return_eigenvectors=False)[0]))

    def _response(self, learning_rate: float) -> Array:
        size = len(self.curvatures)
        unit = mode_covariance(
            learning_rate * self.curvatures, np.ones((size, size)), momentum=self.momentum, nesterov=self.nesterov
        )
        return learning_rate**2 * _pairs(unit)


def to_half(matrix: Array) -> Array:
    """Half-vector of a symmetric matrix, off-diagonal entries times √2, so that inner products agree."""
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2)))


def from_half(flat: Array, size: int) -> Array:
    """Symmetric matrix of a half-vector."""
    rows, columns = np.triu_indices(size)
    matrix = np.empty((size, size))
    matrix[rows, columns] = matrix[columns, rows] = flat / np.where(rows == columns, 1.0, np.sqrt(2))
    return matrix


def half_products(rows: Array) -> Array:
    """Half-vector of a aᵀ for every row a, shape (N, r(r+1)/2)."""
    first, second = np.triu_indices(rows.shape[1])
    return np.asarray(rows[:, first] * rows[:, second] * np.where(first == second, 1.0, np.sqrt(2)))


def half_square(matrix: Array) -> Array:
    """Φ → QΦQ on half-vectors."""
    i, j = np.triu_indices(len(matrix))
    weight = np.where(i == j, 1.0, np.sqrt(2))
    crossed = matrix[np.ix_(i, i)] * matrix[np.ix_(j, j)] + matrix[np.ix_(i, j)] * matrix[np.ix_(j, i)]
    return np.asarray(crossed * np.outer(weight, weight) / 2)


def _pairs(matrix: Array) -> Array:
    """Entries on and above the diagonal."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def _largest(system: Any, size: int) -> float:
    """Largest eigenvalue of a symmetric matrix or operator on half-vectors."""
    if isinstance(system, np.ndarray):
        last = len(system) - 1
        return float(eigh(system, eigvals_only=True, subset_by_index=[last, last])[0])
    return float(eigsh(system, k=1, which="LA", v0=to_half(np.eye(size)), tol=1e-10, return_eigenvectors=False)[0])
