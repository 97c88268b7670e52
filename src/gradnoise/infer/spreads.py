"""Variances of one covariance over those of another, over all directions and along given ones."""

from __future__ import annotations

import numpy as np

from gradnoise._types import Array

ROUNDING = 1e-13  # of the largest


def spread(covariance: Array, reference: Array) -> Array:
    """Eigenvalues of covariance relative to reference, ascending: the variance ratios over all directions."""
    root = np.linalg.cholesky(reference)
    half = np.linalg.solve(root, covariance)
    return without_rounding(np.linalg.eigvalsh(np.linalg.solve(root, half.T)))


def without_rounding(values: Array) -> Array:
    """Return ratios that cannot be negative, with 0 for what is rounding beside the largest."""
    return np.where(values > ROUNDING * np.abs(values).max(), values, 0.0)


def along_directions(covariance: Array, reference: Array, directions: Array) -> Array:
    """Variance of `covariance` over that of `reference` along each column of `directions` (D, K)."""
    ours = np.einsum("di,de,ei->i", directions, covariance, directions, optimize=True)
    theirs = np.einsum("di,de,ei->i", directions, reference, directions, optimize=True)
    return np.asarray(ours / theirs)
