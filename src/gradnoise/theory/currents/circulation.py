"""Stationary currents: what of SGD's drift is a gradient and what circulates, near a minimum or a saddle, in continuous time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.currents.force_decomposition import Decomposition, antisymmetric_part


@dataclass(frozen=True, eq=False)
class Circulation(Decomposition):
    """Stationary law and currents of dθ = −Hθ dt + √(2TD) dW.

    Attributes
    ----------
    antisymmetric, potential
        Q and U of `Decomposition`, (D, D).
    covariance
        Σ = T U⁻¹, (D, D), parameter².
    diffusion
        D, (D, D), as given.
    temperature
        T, as given.
    """

    covariance: Array
    diffusion: Array
    temperature: float

    @cached_property
    def frequencies(self) -> Array:
        """Angular velocities ω of the flow θ̇ = −QUθ, (D // 2,), descending: the eigenvalues ±iω of QU.

        Scale: 1/time (radians; η a step). Limit: 0 where H and D commute; in two dimensions |Q₁₂|√det U.

        >>> circulation([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25).frequencies.round(6)
        array([0.624695])
        """
        return np.sort(np.linalg.eigvals(self.antisymmetric @ self.potential).imag)[::-1][: len(self.potential) // 2]

    @cached_property
    def entropy_production(self) -> float:
        """σ = −Tr(D⁻¹QUQ), a number; infinite where a current flows in a direction without noise.

        Scale: 1/time (η a step). Limit: 0 where H and D commute.

        >>> round(circulation([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25).entropy_production, 6)
        1.6
        """
        values, vectors = np.linalg.eigh(self.diffusion)
        kept = values > 1e-12 * values[-1]
        swirl = vectors.T @ self.antisymmetric @ self.potential @ self.antisymmetric @ vectors
        leak = np.diag(swirl)[~kept]
        if leak.size and np.abs(leak).max() > 1e-10 * np.abs(swirl).max():
            return math.inf
        return max(0.0, float(-np.sum(np.diag(swirl)[kept] / values[kept])))

    def velocity(self, position: ArrayLike) -> Array:
        """j(θ) = −QUθ, (D,), the circulating part of the drift at `position` θ; the current is j times the density.

        Scale: parameter/time (η a step). Limit: 0 where H and D commute; tangent to the level lines of Φ everywhere.

        >>> circulation([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25).velocity([1.0, 0.0]).round(6)
        array([0.520325, 1.626016])
        """
        position = _checks.vector("position", position, len(self.potential))
        return np.asarray(-self.antisymmetric @ self.potential @ position)


def circulation(hessian: ArrayLike, diffusion: ArrayLike, *, temperature: float) -> Circulation:
    r"""Stationary law, potential and currents of SGD near a minimum: dθ = −Hθ dt + √(2TD) dW.

    Equation, eigenbasis of H: Σ_ij = 2T D_ij/(h_i + h_j), U = TΣ⁻¹, Q_ij = D_ij (h_i − h_j)/(h_i + h_j); current velocity j = −QUθ, rotation
    at the eigenfrequencies of QU, entropy production −Tr(D⁻¹QUQ).

    ===========  ======  ======  ==========================================
    argument     symbol  shape   scale
    ===========  ======  ======  ==========================================
    hessian      H       (D, D)  curvature of the mean loss
    diffusion    D       (D, D)  gradient²: C, per example
    temperature  T       ()      parameter²/loss: η/(2B), one step is dt = η
    returns      –       –       `Circulation`
    ===========  ======  ======  ==========================================

    Assumptions: quadratic loss, constant diffusion matrix, small step, no momentum. D may be singular where Σ is not.
    Limit: H and D commuting (D = H among them) give Q = 0, no current and no entropy production, however anisotropic D is. Q, U
    and the frequencies do not depend on T. E|∇L|² = T Tr(HD) with or without currents.

    Reference: Chaudhari and Soatto (2018), arXiv 1710.11029, lemma 20; Kwon, Ao, Thouless (2005); frequencies and entropy
    production derived here.

    >>> found = circulation([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25)
    >>> found.covariance, found.antisymmetric.round(2)
    (array([[0.125, 0.16 ],
           [0.16 , 0.5  ]]), array([[ 0.  ,  0.48],
           [-0.48,  0.  ]]))
    >>> found.potential.round(4), round(found.entropy_production, 6), found.frequencies.round(5)
    (array([[ 3.3875, -1.084 ],
           [-1.084 ,  0.8469]]), 1.6, array([0.6247]))
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    diffusion = _checks.symmetric("diffusion", diffusion, len(hessian), definite="semi")
    heat = _checks.positive("temperature", temperature)
    values, vectors = np.linalg.eigh(hessian)
    local = vectors.T @ diffusion @ vectors
    modal = 2 * heat * local / np.add.outer(values, values)
    spread = np.sqrt(np.maximum(np.diag(modal), 0.0))
    # judged with unit variances, so that a flat direction, which only wanders far, is not taken for one that noise does not reach
    unit = modal / np.outer(spread, spread) if spread.min() > 0 else np.zeros_like(modal)
    if np.linalg.eigvalsh(_checks.symmetrised(unit))[0] <= 1e-14:
        msg = "diffusion must reach every direction, but the stationary covariance is singular. Work in the directions that move, or add isotropic noise."
        raise ValueError(msg)
    sigma = vectors @ modal @ vectors.T
    swirl = vectors @ antisymmetric_part(values, local) @ vectors.T
    potential = heat * vectors @ (np.linalg.inv(unit) / np.outer(spread, spread)) @ vectors.T
    return Circulation(
        (swirl - swirl.T) / 2, _checks.symmetrised(potential), _checks.symmetrised(sigma), diffusion, heat
    )
