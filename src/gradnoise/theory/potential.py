"""Stationary currents: what of SGD's drift is a gradient and what circulates, near a minimum or a saddle, in continuous time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.chain import LinearChain, checked_chain
from gradnoise.theory.posterior import gaussian_kl

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
    swirl = vectors @ _antisymmetric(values, vectors.T @ diffusion @ vectors) @ vectors.T
    potential = np.linalg.solve(diffusion + swirl, hessian)
    return Decomposition((swirl - swirl.T) / 2, _checks.symmetrised(potential))


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
    swirl = vectors @ _antisymmetric(values, local) @ vectors.T
    potential = heat * vectors @ (np.linalg.inv(unit) / np.outer(spread, spread)) @ vectors.T
    return Circulation(
        (swirl - swirl.T) / 2, _checks.symmetrised(potential), _checks.symmetrised(sigma), diffusion, heat
    )


def lag_asymmetry(hessian: ArrayLike, diffusion: ArrayLike, *, temperature: float, lag: float) -> Array:
    r"""Antisymmetric part of the autocovariance, the signature of a current that a trajectory shows.

    Equation: A(τ) = ½(E[θ(t+τ)θ(t)ᵀ] − transpose); eigenbasis of H: A_ij = Σ_ij (e^{−h_iτ} − e^{−h_jτ})/2.

    ===========  ======  ======  ==========================================
    argument     symbol  shape   scale
    ===========  ======  ======  ==========================================
    hessian      H       (D, D)  curvature of the mean loss
    diffusion    D       (D, D)  gradient²: C, per example
    temperature  T       ()      parameter²/loss: η/(2B)
    lag          τ       ()      time: η a step
    returns      A       (D, D)  parameter², antisymmetric
    ===========  ======  ======  ==========================================

    Assumptions: as in `circulation`. In discrete time: the antisymmetric part of `LinearChain.autocovariance`.
    Limit: small τ: −TQτ. |A_ij| peaks at τ = ln(h_i/h_j)/(h_i − h_j). Single coordinates of the eigenbasis show nothing of Q.

    Reference: derived here; Strang (2024), arXiv 2411.07613, for area production as a test of irreversibility.

    >>> lag_asymmetry([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25, lag=1.0).round(6)
    array([[ 0.      , -0.037696],
           [ 0.037696,  0.      ]])
    """
    law = circulation(hessian, diffusion, temperature=temperature)
    values, vectors = np.linalg.eigh(np.asarray(hessian, dtype=np.float64))
    ahead = vectors * np.exp(-values * _checks.real("lag", lag)) @ vectors.T @ law.covariance
    return np.asarray((ahead - ahead.T) / 2)


def cross_spectrum(hessian: ArrayLike, diffusion: ArrayLike, *, temperature: float, frequency: float) -> np.ndarray:
    r"""Spectral density of the stationary process, whose imaginary part off the diagonal is the current's.

    Equation: S(ω) = (H + iω)⁻¹ 2TD (H − iω)⁻¹; eigenbasis of H: Im S_ij = 2T D_ij ω(h_i − h_j)/((h_i²+ω²)(h_j²+ω²)).

    ===========  ======  ======  ==========================================
    argument     symbol  shape   scale
    ===========  ======  ======  ==========================================
    hessian      H       (D, D)  curvature of the mean loss
    diffusion    D       (D, D)  gradient²: C, per example
    temperature  T       ()      parameter²/loss: η/(2B)
    frequency    ω       ()      radians per unit time, η a step
    returns      S       (D, D)  parameter² · time, complex Hermitian
    ===========  ======  ======  ==========================================

    Assumptions: as in `circulation`. S(ω) = ∫ Cov(θ(t+τ), θ(t)) e^{−iωτ} dτ.
    Limit: ω = 0 gives the long-run covariance 2T H⁻¹DH⁻¹, without current. |Im S_ij| peaks where 3ω⁴ + (h_i²+h_j²)ω² = h_i²h_j².

    Reference: derived here.

    >>> cross_spectrum([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]], temperature=0.25, frequency=0.5)[0, 1].round(6)
    np.complex128(0.235294+0.141176j)
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    diffusion = _checks.symmetric("diffusion", diffusion, len(hessian), definite="semi")
    heat, omega = _checks.positive("temperature", temperature), _checks.real("frequency", frequency)
    gain = np.linalg.inv(hessian + 1j * omega * np.eye(len(hessian)))
    return np.asarray(gain @ (2 * heat * diffusion) @ gain.conj().T)


def entropy_production(chain: LinearChain) -> float:
    r"""Entropy that a stationary Gaussian chain produces in one step: how irreversible its positions are, exact in discrete time.

    Equation: σ = KL(law of (θ_t, θ_{t+1}) ‖ law of (θ_{t+1}, θ_t)).

    ========  ======  =====  ==============================
    argument  symbol  shape  scale
    ========  ======  =====  ==============================
    chain     –       –      a `LinearChain`
    returns   σ       ()     nats a step
    ========  ======  =====  ==============================

    Assumptions: Gaussian noise in every direction. With momentum the positions alone are no Markov chain: σ is then a lower bound.
    Limit: small steps η give η times `circulation(...).entropy_production`; commuting H and C give 0.

    Reference: Kullback–Leibler form of the entropy production of a Markov chain, Gaspard (2004), J. Stat. Phys. 117; the Gaussian form is
    derived here.

    >>> from gradnoise.theory.stationary import linear_chain
    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]]
    >>> round(entropy_production(linear_chain(H, C, learning_rate=0.01, batch_size=4)) / 0.01, 4)
    1.6064
    """
    chain = checked_chain(chain)
    sigma, ahead = chain.covariance, chain.autocovariance(1)
    fresh = np.linalg.eigvalsh(sigma - ahead @ np.linalg.lstsq(sigma, ahead.T, rcond=None)[0])
    if fresh[0] <= 1e-12 * fresh[-1]:
        msg = (
            "chain must have noise in every direction, but one has none: there the next step is known, and the entropy production is "
            "infinite where a current flows and undefined elsewhere. Work in the directions that move, or add isotropic noise."
        )
        raise ValueError(msg)
    return gaussian_kl(np.block([[sigma, ahead.T], [ahead, sigma]]), np.block([[sigma, ahead], [ahead.T, sigma]]))


def _antisymmetric(values: Array, local: Array) -> Array:
    """Q in the eigenbasis of H."""
    total, gap = np.add.outer(values, values), np.subtract.outer(values, values)
    balanced = np.abs(total) <= _PAIRED * np.abs(values).max()
    if (balanced & (np.abs(local * gap) > _PAIRED * np.abs(local).max() * np.abs(values).max())).any():
        msg = "hessian must have no pair of opposite eigenvalues that the diffusion couples: the decomposition diverges at a balanced saddle."
        raise ValueError(msg)
    return np.asarray(local * gap / np.where(balanced, 1.0, total))
