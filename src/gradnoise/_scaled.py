"""Symmetric matrices in coordinates in which their diagonal is 1: there a judgement does not depend on the units of columns.

A curvature H of columns of sizes 1e-4 and 1e4 has entries from 1e-8 to 1e8, and the rounding of the largest is as large as the
smallest eigenvalue. D^{-1/2} H D^{-1/2}, D its diagonal, has eigenvalues of size 1 unless columns really are collinear: rounding moves
them by about 1e-16. (Van der Sluis 1969: no diagonal scaling is better than this one by more than a factor of D.) NumPy only.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from gradnoise._types import Array

FLAT = 1e-11  # eigenvalues in scaled coordinates below this are 0 up to rounding
ULPS = 4 * float(np.finfo(np.float64).eps)  # rounding of a parameter, and of its product with a column, relative
WIDE = 1e-6  # an eigenvalue below this share of the largest has lost digits to it


def unit_of(matrix: Array) -> Array:
    """Return √|H_ii| (D,), 1 where it is 0: θ·unit are the scaled coordinates."""
    diagonal = np.abs(np.diag(matrix))
    return np.asarray(np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))


def scaled(matrix: Array) -> tuple[Array, Array]:
    """Return H with unit diagonal (D, D), and the unit (D,): H_ij = scaled_ij unit_i unit_j."""
    unit = unit_of(matrix)
    return matrix / unit[:, None] / unit, unit


def inverse(matrix: Array) -> Array:
    """Return H⁻¹ of a positive definite matrix; LinAlgError where the scaled one has no Cholesky factor."""
    inner, unit = scaled(matrix)
    out = scipy.linalg.cho_solve(scipy.linalg.cho_factor(inner), np.eye(len(matrix)))
    return np.asarray(
        (out + out.T) / 2 / np.outer(unit, unit)
    )  # a product of units is symmetric to the last bit, two divisions are not


def solve(matrix: Array, right: Array) -> Array:
    """Return H⁻¹ b for a positive definite matrix and b (D,) or (D, k)."""
    inner, unit = scaled(matrix)
    scale = unit if right.ndim == 1 else unit[:, None]
    return np.asarray(scipy.linalg.cho_solve(scipy.linalg.cho_factor(inner), right / scale) / scale)


def smallest_eigenvalue(matrix: Array) -> float:
    """Return the smallest eigenvalue of H; where rounding of the largest reaches it, from the inverse of a positive definite H."""
    values = np.linalg.eigvalsh(matrix)
    if abs(values[0]) > WIDE * values[-1]:
        return float(values[0])
    try:
        return 1 / float(np.linalg.eigvalsh(inverse(matrix))[-1])
    except np.linalg.LinAlgError:
        return float(values[0])


def shares(basis: Array) -> Array:
    """Return how much of each coordinate lies in a space (D,), 0 to 1: the diagonal of its projector, whatever basis stands for it."""
    return np.asarray(np.sum(basis**2, axis=1))


def resolution(vector: Array, matrix: Array, num_examples: int) -> float:
    """Return the distance from the minimum, in standard deviations of (N H)⁻¹, that rounding makes: 4 eps √N Σ |θ_i| √H_ii.

    A parameter is held to eps |θ_i|, and so is its product with a column: a mode at 1e6 ± 1e-6 is known no better.
    """
    return float(ULPS * np.sqrt(num_examples) * (np.abs(vector) @ unit_of(matrix)))
