"""Modes: one change of coordinates that takes any symmetric preconditioner and Hessian apart into D scalar recursions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Coordinates θ = B φ with B Bᵀ = P and Bᵀ H B = diag(r): the recursion of SGD falls apart into D scalar ones.

    ========  ======  ======  ==================================================
    field     symbol  shape   scale
    ========  ======  ======  ==================================================
    basis     B       (D, D)  parameters per unit of φ
    rates     r       (D,)    dimensionless: learning rate times curvature
    ========  ======  ======  ==================================================

    P contains the learning rate. Noise of covariance S on the gradient becomes BᵀSB; noise W on θ would become B⁻¹WB⁻ᵀ.
    """

    basis: Array
    rates: Array

    def gradient_noise(self, noise: Array) -> Array:
        """BᵀSB."""
        return np.asarray(self.basis.T @ noise @ self.basis)

    def covariance(self, modal: Array) -> Array:
        """BΦBᵀ, symmetrised."""
        full = self.basis @ modal @ self.basis.T
        return _checks.symmetrised(full)


def modes_of(hessian: Array, preconditioner: Array | float) -> Modes:
    """Return the modes of a symmetric Hessian under a positive (definite) preconditioner that contains the learning rate."""
    if np.ndim(preconditioner) == 0:
        values, vectors = np.linalg.eigh(hessian)
        return Modes(vectors * np.sqrt(preconditioner), values * preconditioner)
    root = np.linalg.cholesky(preconditioner)
    inner = root.T @ hessian @ root
    values, vectors = np.linalg.eigh(_checks.symmetrised(inner))
    return Modes(root @ vectors, values)


def checked_preconditioner(learning_rate: Any, preconditioner: ArrayLike | None, size: int) -> Array | float:
    """Return learning_rate·P as a matrix, or the learning rate alone where there is no P."""
    rate = _checks.positive("learning_rate", learning_rate)
    if preconditioner is None:
        return rate
    return rate * _checks.symmetric("preconditioner", preconditioner, size, definite="positive")


def mode_transitions(rates: Array, momentum: float, nesterov: bool) -> Array:
    """One recursion per mode, shape (D, 1, 1) without momentum, else (D, 2, 2) on (position, velocity)."""
    lookahead = _checks.flag("nesterov", nesterov)
    if momentum == 0:
        return (1 - rates)[:, None, None]
    top = (1 - (1 + momentum) * rates, -(momentum**2)) if lookahead else (1 - rates, -momentum)
    blocks = np.empty((len(rates), 2, 2))
    blocks[:, 0, 0], blocks[:, 0, 1], blocks[:, 1, 0], blocks[:, 1, 1] = *top, rates, momentum
    return blocks


def mode_gain(momentum: float, nesterov: bool) -> Array:
    """How one unit of gradient noise enters (position, velocity) of a mode."""
    if momentum == 0:
        return np.array([-1.0])
    return np.array([-(1 + momentum) if nesterov else -1.0, 1.0])


def bends(momentum: float, time: str) -> tuple[float, float]:
    """Coefficients (a, b) of (1−μ)(r_i+r_j) − a r_i r_j + b(r_i²+r_j²), the denominator of Φ_ij = s_ij/(…)."""
    if time == "discrete":
        return (1 + momentum**2) / (1 - momentum**2), momentum / (1 - momentum**2)
    return (0.0, 0.0) if momentum == 0 else (1 / (1 - momentum), 0.5 / (1 - momentum))
