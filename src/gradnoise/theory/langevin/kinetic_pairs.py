"""Position and velocity of a kinetic integrator mode by mode: 2 × 2 maps, their covariances and memories, for many modes at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise._types import Array
from gradnoise.theory.langevin.kinetic_flows import Program, mode_maps, program_of


def pair_maps(rates: Array, program: Program, step: Any, friction: Any) -> tuple[Array, Array, Array]:
    """Return transitions, and covariances times N r, so that the target's variance is 1: of gradient noise of strength 1, and of K = 1/N."""
    transition, kick, injected = mode_maps(rates, program, step, friction)
    from_kick = rates[:, None, None] ** 2 * kick[..., :, None] * kick[..., None, :]
    return transition, from_kick, rates[:, None, None] * np.einsum("...ak,...bk->...ab", injected, injected)


def times_of_pairs(transition: Array, omega: Array) -> Array:
    """Return the larger of τ and τ₂ of the first of two numbers."""
    state = stein_of_pairs(transition, omega)
    reads = np.linalg.solve(np.swapaxes(np.eye(2) - transition, -1, -2), np.array([[1.0], [0.0]]))[..., 0]
    variance = np.where(state[..., 0, 0] > 0, state[..., 0, 0], np.inf)
    linear = np.einsum("...a,...ab,...b->...", reads, omega, reads) / variance
    seed = state[..., :, :1] * state[..., None, 0, :]
    quadratic = 2 * stein_of_pairs(transition, seed)[..., 0, 0] / variance**2 - 1
    return np.asarray(np.maximum(linear, quadratic))


def stein_of_pairs(transition: Array, omega: Array) -> Array:
    """Solve Z = FZFᵀ + Ω for many F (..., 2, 2)."""
    squared = np.einsum("...ab,...cd->...acbd", transition, transition).reshape(*transition.shape[:-2], 4, 4)
    flat = omega.reshape(*omega.shape[:-2], 4, 1)
    return np.asarray(np.linalg.solve(np.eye(4) - squared, flat).reshape(omega.shape))


def memory_of_pairs(strengths: Array, scheme: str, step_size: float, friction: float, *, corrected: bool) -> float:
    """Return the larger of the worst linear and quadratic autocorrelation times where M = H: D pairs of numbers, none mixed with another.

    `strengths` are all D eigenvalues of N H⁻¹S.
    """
    count = len(strengths)
    transition, from_kick, from_rubbing = pair_maps(np.ones(count), program_of(scheme), step_size, friction)
    kick = strengths * stein_of_pairs(transition, from_kick)[..., 0, 0]
    rub = stein_of_pairs(transition, from_rubbing)[..., 0, 0]
    scale = (1 - kick) / rub if corrected else np.ones(count)
    omega = strengths[:, None, None] * from_kick + scale[:, None, None] * from_rubbing
    return float(times_of_pairs(transition, omega).max())
