"""The signature of a current in a trajectory's spectrum."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike


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
