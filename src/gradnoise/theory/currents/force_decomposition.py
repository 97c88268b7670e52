"""The force of SGD near a minimum as a gradient and a rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

_PAIRED = 1e-10  # h_i + h_j this small beside the largest |h|: the decomposition diverges


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Drift −Hθ = −(D + Q) Uθ: antisymmetric Q, and the Hessian U of the potential Φ = ½ θᵀUθ.

    Attributes
    ----------
    antisymmetric
        Q, (D, D), the unit of the diffusion matrix.
    potential
        U, (D, D), curvature per unit of the diffusion matrix; Φ = ½ θᵀUθ = −T log(stationary density).
    """

    antisymmetric: Array
    potential: Array


def force_decomposition(hessian: ArrayLike, diffusion: ArrayLike) -> Decomposition:
    r"""Split the drift of dθ = −Hθ dt + √(2TD) dW into a gradient and a circulating part, at minima and saddles.

    Equation: H = (D + Q) U; in the eigenbasis of H: Q_ij = D_ij (h_i − h_j)/(h_i + h_j), U = (D + Q)⁻¹H.

    =========  ======  ======  ================================
    argument   symbol  shape   scale
    =========  ======  ======  ================================
    hessian    H       (D, D)  curvature, any signature
    diffusion  D       (D, D)  gradient² (C per example)
    returns    –       –       `Decomposition`
    =========  ======  ======  ================================

    Assumptions: quadratic loss, constant diffusion matrix, positive definite. Where h_i + h_j = 0 and D_ij ≠ 0 (a balanced saddle) Q
    diverges and the call raises.
    Limit: Q = 0 exactly when H and D commute, isotropic D or D ∝ H among them; then U = D⁻¹H.

    Reference: Kwon, Ao, Thouless (2005), PNAS 102; Chaudhari and Soatto (2018), arXiv 1710.11029, lemma 20, whose "j ≠ 0 when D
    is not isotropic" is too strong.

    >>> found = force_decomposition([[1.0, 0.0], [0.0, -0.5]], [[1.0, 0.3], [0.3, 1.0]])
    >>> found.antisymmetric.round(4), np.linalg.eigvalsh(found.potential).round(3)
    (array([[ 0. ,  0.9],
           [-0.9,  0. ]]), array([-0.413,  0.704]))
    """
    hessian = _checks.symmetric("hessian", hessian)
    diffusion = _checks.symmetric("diffusion", diffusion, len(hessian), definite="positive")
    values, vectors = np.linalg.eigh(hessian)
    swirl = vectors @ antisymmetric_part(values, vectors.T @ diffusion @ vectors) @ vectors.T
    potential = np.linalg.solve(diffusion + swirl, hessian)
    return Decomposition((swirl - swirl.T) / 2, _checks.symmetrised(potential))


def antisymmetric_part(values: Array, local: Array) -> Array:
    """Q in the eigenbasis of H."""
    total, gap = np.add.outer(values, values), np.subtract.outer(values, values)
    balanced = np.abs(total) <= _PAIRED * np.abs(values).max()
    if (balanced & (np.abs(local * gap) > _PAIRED * np.abs(local).max() * np.abs(values).max())).any():
        msg = "hessian must have no pair of opposite eigenvalues that the diffusion couples: the decomposition diverges at a balanced saddle."
        raise ValueError(msg)
    return np.asarray(local * gap / np.where(balanced, 1.0, total))
