"""Stationary law against posterior: the KL divergence, and what the best factorised Gaussian would give."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def gaussian_kl(
    covariance_q: ArrayLike,
    covariance_p: ArrayLike,
    mean_q: ArrayLike | None = None,
    mean_p: ArrayLike | None = None,
) -> float:
    r"""Kullback–Leibler divergence KL(q‖p) between two Gaussians, in nats.

    Equation: ½ Σ_i (ρ_i − 1 − ln ρ_i) + ½ (m_q−m_p)ᵀ Σ_p⁻¹ (m_q−m_p), ρ the eigenvalues of Σ_p⁻¹Σ_q, from Cholesky factors:
    each term is ≥ 0, so that divergences far below 1e-16·D come out as such and never negative.

    ==============  ======  ======  ======================
    argument        symbol  shape   scale
    ==============  ======  ======  ======================
    covariance_q    Σ_q     (D, D)  parameter²
    covariance_p    Σ_p     (D, D)  parameter²
    mean_q, mean_p  m       (D,)    parameters; default 0
    returns         KL      ()      nats
    ==============  ======  ======  ======================

    Assumptions: both covariances positive definite; anything else raises.
    Limit: Σ_q = a Σ_p gives (D/2)(a − 1 − ln a).

    Reference: Mandt, Hoffman, Blei (2017), eq. (16), with the factor ½ it lacks.

    >>> round(gaussian_kl([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]), 6)
    0.153426
    """
    covariance_p = _checks.symmetric("covariance_p", covariance_p)
    root_q = _root("covariance_q", _checks.symmetric("covariance_q", covariance_q, len(covariance_p)))
    root_p = _root("covariance_p", covariance_p)
    ratios = np.linalg.svd(solve_triangular(root_p, root_q, lower=True), compute_uv=False)
    excess = ratios**2 - 1
    shift = np.zeros(len(root_p))
    for name, mean, sign in (("mean_q", mean_q, 1.0), ("mean_p", mean_p, -1.0)):
        if mean is not None:
            shift = shift + sign * _checks.vector(name, mean, len(root_p))
    apart = solve_triangular(root_p, shift, lower=True)
    with np.errstate(divide="ignore"):  # a direction of q that is 0 in those of p: infinite
        logs = np.where(ratios > 0.5, np.log1p(np.maximum(excess, -0.9)), 2 * np.log(ratios))
    return float(np.sum(excess - logs) + apart @ apart) / 2


def _root(name: str, covariance: Array) -> Array:
    try:
        root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        low = float(np.linalg.eigvalsh(covariance)[0])
        msg = f"{name} must be positive definite, but its smallest eigenvalue is {low:.6g}."
        raise ValueError(msg) from error
    return root
