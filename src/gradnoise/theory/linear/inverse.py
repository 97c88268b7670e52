"""The inverse of a covariance, in whatever units, or what is missing."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array

_SINGULAR = 1e-14  # eigenvalues of a correlation matrix from which no digit of an inverse is left


def inverse_of(matrix: Array, factor: float) -> Array:
    """Return factor·matrix⁻¹ of a positive definite matrix, or say what is missing; the units of the parameters do not matter."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if scale.min() <= 0 or np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] <= _SINGULAR:
        raise ValueError(NOISELESS)
    inverse = factor * np.linalg.inv(matrix / np.outer(scale, scale)) / np.outer(scale, scale)
    return _checks.symmetrised(inverse)


NOISELESS = (
    "gradient_covariance must be positive definite here, but has a direction without noise. "
    "Use kind='full' in discrete time, or corrected_langevin_tuning, which adds the missing noise."
)
