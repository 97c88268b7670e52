"""Fourth moments of SGD on rows of data: the learning rate up to which the standard error of a covariance exists."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, eigs, eigsh

from gradnoise._types import AnyArray, Array
from gradnoise.theory.linear.modes import mode_gain, mode_transitions

LARGEST = 12  # modes; with momentum the state is twice as large
_STIRLING = {
    (1, 1): 1,
    (2, 1): 1,
    (2, 2): 1,
    (3, 1): 1,
    (3, 2): 3,
    (3, 3): 1,
    (4, 1): 1,
    (4, 2): 7,
    (4, 3): 6,
    (4, 4): 1,
}
_TYPES = ((), (1,), (2,), (1, 1), (3,), (2, 1), (1, 1, 1), (4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1))
_ROWS = 2048


@dataclass(frozen=True, eq=False)
class FourthMoments:
    r"""The map T → E[J⊗J⊗J⊗J] T on symmetric tensors, J = F + (1/B) Σ_b u_b w_bᵀ the random matrix of one step.

    u = η·(enters ⊗ a), w = (a, 0) for a row a of the data in modes; F is the step without data (momentum, ridge). The batch
    mean of four factors falls apart by which factors share an example; rows then enter through moments up to order eight.
    """

    rows: Array
    ridge: Array
    batch_size: int
    replace: bool
    momentum: float
    nesterov: bool

    def edge(self, below: float) -> float:
        """Learning rate at which the fourth moment diverges; `below` is the edge of the second moment, never smaller."""
        leading = self._start

        def excess(rate: float) -> float:
            nonlocal leading  # rates are close together, and so are their leading tensors
            radius, leading = self._leading(rate, leading)
            return math.log(radius)

        if excess(below) <= 1e-9:
            return below
        low = below / 2
        while excess(low) >= 0:
            low /= 2
        return float(brentq(excess, low, 2 * low, rtol=1e-11, xtol=1e-12 * low))

    def radius(self, learning_rate: float) -> float:
        """Spectral radius of the map: below 1 the fourth moment is finite."""
        return self._leading(learning_rate, self._start)[0]

    def _leading(self, learning_rate: float, start: Array) -> tuple[float, Array]:
        size = len(self._root)

        def step(flat: Array) -> Array:
            return self._step(np.ravel(flat), learning_rate)

        if size <= 35:
            return float(
                np.abs(np.linalg.eigvals(np.stack([step(unit) for unit in np.eye(size)], axis=1))).max()
            ), start
        operator: Any = LinearOperator((size, size), matvec=step, dtype=np.float64)
        find, which = (eigsh, "LA") if self.momentum == 0 else (eigs, "LM")
        values, vectors = find(operator, k=1, which=which, v0=start, tol=1e-10)
        return float(np.abs(values[0])), np.real(vectors[:, 0])

    def _step(self, flat: Array, learning_rate: float) -> Array:
        free = self._free(learning_rate)
        tensor = (flat / self._root)[self._index].reshape((self._state,) * 4)
        total = np.zeros_like(tensor)
        for sizes, weight in self._weights.items():
            moved, at = tensor, 0
            for size in sizes:
                moved, at = learning_rate**size * self._shared(moved, size, at), at + size
            for slot in range(at, 4):
                moved = np.moveaxis(np.tensordot(free, moved, axes=(1, slot)), 0, slot)
            total += weight * moved
        return np.asarray(np.bincount(self._index, total.ravel(), len(self._root)) / self._root)

    def _shared(self, tensor: Array, size: int, at: int) -> Array:
        """Apply (1/N) Σ (u wᵀ)^{⊗size} to the slots from `at` on."""
        indices, root, back = self._multisets[size]
        front = np.moveaxis(tensor, range(at, at + size), range(size))
        rest = front.shape[size:]
        inner = self._moments[size] @ (front[indices].reshape(len(root), -1) * root[:, None])
        full = (inner / root[:, None])[back].reshape((self.rows.shape[1],) * size + (-1,))
        for slot in range(size):  # from a to enters ⊗ a
            full = np.concatenate([enter * full for enter in self._enters], axis=slot)
        return np.moveaxis(full.reshape((self._state,) * size + rest), range(size), range(at, at + size))

    def _free(self, learning_rate: float) -> Array:
        block = mode_transitions(np.zeros(1), self.momentum, self.nesterov)[0]
        push = np.zeros_like(block)
        push[:, 0] = self._enters
        return np.asarray(np.kron(block, np.eye(self.rows.shape[1])) + learning_rate * np.kron(push, self.ridge))

    @cached_property
    def _enters(self) -> Array:
        return mode_gain(self.momentum, self.nesterov)

    @property
    def _state(self) -> int:
        return int(len(self._enters) * self.rows.shape[1])

    @cached_property
    def _weights(self) -> dict[tuple[int, ...], float]:
        """Block sizes of factors that share an example -> weight; the factors left over have F."""
        found = {
            sizes: batch_weight(sizes, self.batch_size, None if self.replace else len(self.rows)) for sizes in _TYPES
        }
        return {sizes: weight * _placings(sizes) for sizes, weight in found.items() if weight != 0}

    @cached_property
    def _moments(self) -> dict[int, Array]:
        """(1/N) Σ (a^{⊗k})(a^{⊗k})ᵀ on multisets of indices, k = 1 … 4."""
        return {k: self._moment(k) for k in {size for sizes in self._weights for size in sizes}}

    def _moment(self, order: int) -> Array:
        indices, root, _ = self._multisets[order]
        total = np.zeros((len(root),) * 2)
        for start in range(0, len(self.rows), _ROWS):
            block = self.rows[start : start + _ROWS]
            powers = root * np.prod([block[:, i] for i in indices], axis=0)
            total += powers.T @ powers
        return total / len(self.rows)

    @cached_property
    def _multisets(self) -> dict[int, tuple[tuple[AnyArray, ...], Array, AnyArray]]:
        return {order: _multisets(self.rows.shape[1], order) for order in range(1, 5)}

    @cached_property
    def _state_multisets(self) -> tuple[Array, AnyArray]:
        _, root, back = _multisets(self._state, 4)
        return root, back

    @property
    def _root(self) -> Array:
        return self._state_multisets[0]

    @property
    def _index(self) -> AnyArray:
        return self._state_multisets[1]

    @property
    def _start(self) -> Array:
        """Fourth moment of a standard normal state, up to a factor: inside the cone of fourth moments, so it meets the leading one."""
        one = np.eye(self._state)
        return np.asarray(np.bincount(self._index, np.multiply.outer(one, one).ravel(), len(self._root)) / self._root)


def batch_weight(sizes: tuple[int, ...], batch_size: int, num_examples: int | None) -> float:
    r"""Weight of Π (1/N) Σ_n x_n^{⊗size} in E[x̄^{⊗k}], x̄ the mean of a batch; without replacement where N is given.

    With replacement (B)_p/B^k for p blocks; without, the sums over distinct examples are turned into full sums by Möbius inversion.
    """
    order, blocks = sum(sizes), len(sizes)
    if num_examples is None:
        return math.perm(batch_size, blocks) / float(batch_size) ** order
    total = 0.0
    for parts in itertools.product(*(range(1, size + 1) for size in sizes)):
        count = sum(parts)
        if count <= batch_size:
            signs = [
                _STIRLING[s, j] * (-1) ** (j - 1) * math.factorial(j - 1) for s, j in zip(sizes, parts, strict=True)
            ]
            total += math.prod(signs) * math.perm(batch_size, count) / math.perm(num_examples, count)
    return total * float(num_examples) ** blocks / float(batch_size) ** order


def _placings(sizes: tuple[int, ...]) -> int:
    """Ways to choose from four factors the blocks of these sizes."""
    alike = math.prod(math.factorial(sizes.count(size)) for size in set(sizes))
    return math.factorial(4) // math.factorial(4 - sum(sizes)) // math.prod(map(math.factorial, sizes)) // alike


def _multisets(size: int, order: int) -> tuple[tuple[AnyArray, ...], Array, AnyArray]:
    """Index arrays of all sorted index tuples, √(number of orderings) of each, and the multiset of every tuple."""
    every = np.sort(np.stack(np.unravel_index(np.arange(size**order), (size,) * order)), axis=0)
    keys = np.ravel_multi_index(tuple(every), (size,) * order)
    kept, back, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return tuple(np.stack(np.unravel_index(kept, (size,) * order))), np.sqrt(counts), back
