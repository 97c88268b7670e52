"""Gaussians against each other, direction by direction: ratios of variances and divergences in the coordinates of one of them."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular

from gradnoise import theory
from gradnoise._types import Array

ROUNDING = 1e-13  # of the largest
LEAST = 1e-12  # ratio of variances that logarithms are taken of
BADLY_SCALED = (
    1e-12  # least over largest eigenvalue below which eigenvectors are taken in units of each parameter's own width
)


def divergence(ours: tuple[Array, Array], theirs: tuple[Array, Array]) -> tuple[float, float, Array]:
    """Return KL(ours ‖ theirs) of Gaussians, the covariances' part of it, and the variance ratios (D,), all in the coordinates of theirs.

    There every direction of theirs has the variance 1, so that ratios near 0 stand for what does not move, not for units.
    """
    ratios = spread(ours[1], theirs[1])
    kept, unit = np.diag(np.maximum(ratios, LEAST)), np.eye(len(ratios))
    apart = solve_triangular(np.linalg.cholesky(theirs[1]), ours[0] - theirs[0], lower=True)
    return theory.gaussian_kl(kept, unit, apart), theory.gaussian_kl(kept, unit), ratios


def axes(covariance: Array) -> tuple[Array, Array]:
    """Return variances (D,) along the eigenvectors (D, D) of a covariance, of its correlations where units differ too much for that."""
    values, vectors = np.linalg.eigh(covariance)
    if values[0] > BADLY_SCALED * values[-1]:
        return values, vectors
    sd = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    return values, vectors / sd[:, None]


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


def distance(shift: Array, covariance: Array) -> float:
    """Length of `shift` (D,) in standard deviations of `covariance` in its own, worst, direction (Mahalanobis)."""
    return math.sqrt(max(float(shift @ np.linalg.solve(covariance, shift)), 0.0))
