"""Curvature and gradient noise of a problem around a point: Hessian H, noise C, their spectra and how they are aligned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise._types import Array
from gradnoise.measure.dense.gaussian_law import gaussian_law
from gradnoise.problem import Problem


@dataclass(frozen=True, eq=False)
class LocalGeometry:
    """Curvature and noise at a point, or averaged over a law around it.

    Attributes
    ----------
    vector
        The point θ, or the law's mean (D,).
    gradient
        ∇L at `vector` (D,).
    hessian
        H = ∇²L (D, D), of the mean loss.
    gradient_covariance
        C = (1/N) Σ (g_n - ∇L)(g_n - ∇L)ᵀ (D, D), per example.
    num_examples
        N.
    at
        "mode" (at the point), "laplace" or "posterior" (averaged).
    names
        Names of the D parameters.
    """

    vector: Array
    gradient: Array
    hessian: Array
    gradient_covariance: Array
    num_examples: int
    at: str
    names: tuple[str, ...] = field(repr=False)

    @cached_property
    def _hessian_basis(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self.hessian)
        return values, vectors

    @cached_property
    def _noise_basis(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self.gradient_covariance)
        return values[::-1], vectors[:, ::-1]

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of H (D,), ascending: the softest direction first."""
        return self._hessian_basis[0]

    @property
    def eigenvectors(self) -> Array:
        """Eigenvectors of H, columns (D, D), in the order of `eigenvalues`."""
        return self._hessian_basis[1]

    @property
    def noise_eigenvalues(self) -> Array:
        """Eigenvalues of C (D,), descending."""
        return self._noise_basis[0]

    @property
    def noise_eigenvectors(self) -> Array:
        """Eigenvectors of C, columns (D, D), in the order of `noise_eigenvalues`."""
        return self._noise_basis[1]

    @property
    def noise_trace(self) -> float:
        """Tr C: the mean squared distance of an example's gradient from the mean gradient."""
        return float(np.trace(self.gradient_covariance))

    @property
    def effective_rank(self) -> float:
        """(Tr C)² / Tr C² (participation ratio): D for white noise, 1 for noise in one direction."""
        return self.noise_trace**2 / float(np.sum(self.gradient_covariance**2))

    @property
    def alignment(self) -> float:
        """Tr(CH) / (|C| |H|), Frobenius norms: 1 if C is proportional to H; √D-ths for unrelated ones."""
        norms = np.linalg.norm(self.gradient_covariance) * np.linalg.norm(self.hessian)
        return float(np.sum(self.gradient_covariance * self.hessian) / norms)

    @property
    def noise_along_curvature(self) -> Array:
        """C_ii = vᵢᵀCvᵢ (D,) along the eigenvectors vᵢ of H."""
        basis = self.eigenvectors
        out: Array = np.einsum("di,de,ei->i", basis, self.gradient_covariance, basis, optimize=True)
        return out

    @property
    def noise_to_curvature(self) -> Array:
        """C_ii / λ_i (D,) along the eigenvectors of H: 1 in a well-specified model (C = H, Fisher information)."""
        return self.noise_along_curvature / self.eigenvalues

    @property
    def gradient_noise_scale(self) -> float:
        """Tr C / |∇L|², the batch size at which noise and gradient are alike; infinity at an exact mode."""
        square = float(self.gradient @ self.gradient)
        return self.noise_trace / square if square > 0 else math.inf

    def __repr__(self) -> str:
        return (
            f"LocalGeometry(num_params={self.vector.size}, num_examples={self.num_examples}, at={self.at!r}, "
            f"curvature={self.eigenvalues[0]:.4g}…{self.eigenvalues[-1]:.4g}, noise_trace={self.noise_trace:.4g}, "
            f"effective_rank={self.effective_rank:.4g}, alignment={self.alignment:.3f})"
        )


def local_geometry(
    problem: Problem, params: Any, *, at: str = "mode", num_draws: int | None = None, key: Any = 0
) -> LocalGeometry:
    """Measure Hessian and gradient noise covariance of a problem, dense, in float64.

    Parameters
    ----------
    problem
        The problem; at most 1000 parameters.
    params
        A `Mode`, params, or a vector (D,). Need not be a mode for ``at="mode"``, which evaluates at this very point.
    at
        "mode": at `params`. "posterior", "laplace": averaged over `gaussian_law` started there.
    num_draws, key
        Of `gaussian_law`; not used for "mode".

    Examples
    --------
    >>> from gradnoise import models
    >>> problem = models.linear_regression([[1.0], [2.0]], [1.0, 4.0], observation_scale=1.0, intercept=False)
    >>> local = local_geometry(problem, [1.5])  # H = (Σx² + 1)/N, C = variance of rx = (-.5, 2)
    >>> float(local.hessian[0, 0]), float(local.gradient_covariance[0, 0])
    (3.0, 1.5625)
    """
    if _checks.one_of("at", at, ("mode", "laplace", "posterior")) == "mode":
        derivatives.check_dense(problem)
        vector = derivatives.as_vector("params", problem, params)
        hessian = derivatives.hessian(problem, vector)
        gradient, covariance = derivatives.gradient_moments(problem, vector)
    else:
        law = gaussian_law(problem, params, at=at, num_draws=num_draws, key=key)
        vector, hessian, covariance = law.mean, law.hessian, law.gradient_covariance
        gradient = derivatives.gradient(problem, vector)
    return LocalGeometry(vector, gradient, hessian, covariance, problem.num_examples, at, problem.parameter_names)
