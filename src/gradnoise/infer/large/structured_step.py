"""Corrected Langevin whose step is diagonal, or low rank plus a multiple of the identity: for many parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, theory
from gradnoise._types import Array
from gradnoise.processes.matrices import Structured, symmetric_root

KINDS = ("full", "diagonal", "low_rank")


class Structure(NamedTuple):
    """A tuned step and the root of the noise to inject.

    Attributes
    ----------
    preconditioner, root
        P and a root of Cov ξ: vectors (D,) for "diagonal", `Structured` for "low_rank".
    eta, eta_max
        Relaxation rate a step in the directions that the step knows, and the largest admissible one.
    """

    preconditioner: Any
    root: Any
    eta: float
    eta_max: float


def diagonal_structure(
    curvature: Array, noise: Array, stiffest: float, *, num_examples: int, fraction: float
) -> Structure:
    """P = η diag(1/h_k), Cov ξ = P diag(E) P, E of `theory.langevin_correction` with the diagonals of H and S alone.

    Parameters
    ----------
    curvature, noise
        h_k = H_kk > 0 and S_kk, of a step's gradient (D,).
    stiffest
        Largest eigenvalue of diag(h)^-½ H diag(h)^-½: η times it must stay below 2.
    num_examples, fraction
        N, and the share of the largest admissible η.
    """
    eta_max = min(2 / (1 + num_examples * float((noise / curvature).max())), 2 / stiffest)
    eta = fraction * eta_max
    step = eta / curvature
    missing = (2 / step - curvature) / num_examples - noise
    return Structure(step, step * np.sqrt(np.maximum(missing, 0.0)), eta, eta_max)


def low_rank_structure(
    values: Array,
    vectors: Array,
    noise: Array,
    rest: tuple[float, float, float],
    *,
    num_examples: int,
    fraction: float,
) -> Structure:
    """P = η [U Λ⁻¹ Uᵀ + (I - U Uᵀ)/λ_rest]: corrected exactly within U, on average outside.

    Parameters
    ----------
    values, vectors
        Leading eigenpairs of H, (k,) and (D, k).
    noise
        UᵀSU (k, k), of a step's gradient.
    rest
        Largest eigenvalue outside, and the means of H and of S over the directions outside.
    num_examples, fraction
        As in `diagonal_structure`.
    """
    edge, curvature, spread = rest
    inside = float(np.linalg.eigvalsh(noise / np.sqrt(np.outer(values, values)))[-1])
    eta_max = min(2 / (1 + num_examples * inside), 2 * edge / (curvature + num_examples * spread))
    eta = fraction * eta_max
    known = theory.langevin_correction(
        np.diag(values), noise, preconditioner=np.diag(eta / values), num_examples=num_examples, batch_size=1
    )
    inner = np.diag(eta / values)
    outside = eta / edge
    added = outside * np.sqrt(max(0.0, (2 / outside - curvature) / num_examples - spread))
    size = len(vectors)
    return Structure(
        Structured(np.full(size, outside), vectors, inner - outside * np.eye(len(values))),
        Structured(np.full(size, added), vectors, symmetric_root(inner @ known @ inner) - added * np.eye(len(values))),
        eta,
        eta_max,
    )


def dense_structure(
    hessian: Array, noise: Array, *, kind: str, rank: int, num_examples: int, fraction: float
) -> Structure:
    """Structure of a problem whose matrices H and S (D, D) are known: the bias it makes can then be predicted exactly."""
    if kind == "diagonal":
        curvature = np.diag(hessian)
        scale = 1 / np.sqrt(curvature)
        stiffest = float(np.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
        return diagonal_structure(curvature, np.diag(noise), stiffest, num_examples=num_examples, fraction=fraction)
    size = len(hessian)
    count = _checks.integer("rank", rank, high=size - 1)
    values, vectors = np.linalg.eigh(hessian)
    leading, basis = values[::-1][:count], vectors[:, ::-1][:, :count]
    projected = basis.T @ noise @ basis
    left = size - count
    rest = (
        float(values[::-1][count]),
        float(np.trace(hessian) - leading.sum()) / left,
        float(np.trace(noise) - np.trace(projected)) / left,
    )
    return low_rank_structure(leading, basis, projected, rest, num_examples=num_examples, fraction=fraction)
