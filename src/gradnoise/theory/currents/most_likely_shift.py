"""Where SGD is most likely to be, against where the gradient vanishes."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.currents.circulation import circulation


def most_likely_shift(
    hessian: ArrayLike,
    diffusion: ArrayLike,
    *,
    temperature: float,
    third_derivative: ArrayLike | None = None,
    diffusion_gradient: ArrayLike | None = None,
) -> Array:
    r"""Displacement of the most likely point from a minimum, to first order in the temperature.

    Equation: δ = −T U⁻¹ g for Φ = ½θᵀUθ + ⅙Ψ[θ,θ,θ] + T gᵀθ, with M = 2DU − H, Ψ from
    Sym₃(Mᵀ ∘ Ψ) = Sym₃(U ∘ F − 2 U ∘ (∂D) ∘ U), and Mᵀg = −∇(∇²L₃) + 2U div D + Ψ:D + ∂D:U.

    ==================  ======  =========  ==================================================
    argument            symbol  shape      scale
    ==================  ======  =========  ==================================================
    hessian             H       (D, D)     curvature of the mean loss at the minimum
    diffusion           D       (D, D)     gradient²: C, per example, at the minimum
    temperature         T       ()         parameter²/loss: η/(2B)
    third_derivative    F       (D, D, D)  loss/parameter³, default 0; F_ijk = ∂_i∂_j∂_k L
    diffusion_gradient  ∂D      (D, D, D)  gradient²/parameter, default 0; [i, j, k] = ∂_k D_ij
    returns             δ       (D,)       parameters
    ==================  ======  =========  ==================================================

    Assumptions: Itô equation dθ = −∇L dt + √(2TD(θ)) dW, small step; error O(T²).
    Limit: quadratic loss with constant D has no shift, current or not. One parameter: δ = −T D'/H for any L. Isotropic constant D: no shift
    for any L; with anisotropic D a third derivative alone moves the mode.

    Reference: Chaudhari and Soatto (2018), arXiv 1710.11029, theorem 22 (δ = −T H⁻¹∇·(D+Q), Q left implicit); closed
    here, by expanding the stationary Fokker–Planck equation about the minimum.

    >>> H, D, F = [[2.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.5]], np.zeros((2, 2, 2))
    >>> F[0, 0, 1] = F[0, 1, 0] = F[1, 0, 0] = 2.0  # the term x²y of the loss
    >>> most_likely_shift(H, D, temperature=0.1, third_derivative=F).round(6)
    array([ 0.  , -0.06])
    """
    law = circulation(hessian, diffusion, temperature=temperature)
    size, noise, curved = len(law.potential), law.diffusion, law.potential
    third = _tensor("third_derivative", third_derivative, size)
    change = _tensor("diffusion_gradient", diffusion_gradient, size)
    if np.abs(third - _symmetrised(third)).max() > 1e-8 * max(np.abs(third).max(), 1e-300):
        msg = "third_derivative must be symmetric in its three axes."
        raise ValueError(msg)
    if not np.allclose(change, change.transpose(1, 0, 2), rtol=1e-8, atol=1e-12 * np.abs(change).max()):
        msg = "diffusion_gradient must be symmetric in its first two axes: [i, j, k] = ∂_k D_ij."
        raise ValueError(msg)
    pull = 2 * noise @ curved - np.asarray(hessian, dtype=np.float64)  # drift of the reversed process
    cubic = _cubic_potential(pull, third, change, curved)
    right = (
        -np.einsum("iik->k", third)
        + 2 * curved @ np.einsum("ijj->i", change)
        + np.einsum("ij,ijk->k", noise, cubic)
        + np.einsum("ijk,ij->k", change, curved)
    )
    return np.asarray(0.0 - law.temperature * np.linalg.solve(curved, np.linalg.solve(pull.T, right)))


def _cubic_potential(pull: Array, third: Array, change: Array, curved: Array) -> Array:
    """Ψ with (Mx)·∇(Ψ[x³]/6) = ∇(F[x³]/6)·Ux − (Ux)ᵀ(∂D[x])(Ux) for all x: one linear equation in the modes of M."""
    source = _symmetrised(
        np.einsum("ijl,lk->ijk", third, curved) / 2 - np.einsum("ia,abk,bj->ijk", curved, change, curved)
    )
    rates, modes = np.linalg.eig(pull)  # Ψ in the modes of M: each entry is divided by the sum of its three rates
    modal = np.einsum("ijk,ia,jb,kc->abc", source, modes, modes, modes)
    modal = 6 * modal / (rates[:, None, None] + rates[None, :, None] + rates[None, None, :])
    back = np.linalg.inv(modes)
    return np.asarray(np.einsum("abc,ai,bj,ck->ijk", modal, back, back, back).real)


def _symmetrised(tensor: Array) -> Array:
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return np.asarray(sum(tensor.transpose(order) for order in orders) / 6)


def _tensor(name: str, value: ArrayLike | None, size: int) -> Array:
    if value is None:
        return np.zeros((size, size, size))
    array = _checks.array(name, value)
    if array.shape != (size, size, size):
        msg = f"{name} must have shape ({size}, {size}, {size}), got shape {array.shape}."
        raise ValueError(msg)
    return array
