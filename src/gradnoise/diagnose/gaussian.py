"""Gaussian fit of draws, and how far from zero its Kullback-Leibler divergence stays for lack of draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.diagnose.chains import finite


@dataclass(frozen=True)
class GaussianFit:
    """Mean and covariance of draws, with the size of the sample behind them.

    Attributes
    ----------
    mean
        (D,), unit of the draws.
    covariance
        (D, D), unit of the draws squared; unbiased for independent draws.
    effective_size
        Number of independent draws that would estimate the covariance as well.
    """

    mean: Array
    covariance: Array
    effective_size: float

    @property
    def kl_floor(self) -> float:
        """`kl_floor` of this fit: what a KL from the right law to this fit measures although nothing is wrong."""
        return kl_floor(len(self.mean), self.effective_size)

    def __repr__(self) -> str:
        return (
            f"GaussianFit(dim={len(self.mean)}, effective_size={self.effective_size:.4g}, kl_floor={self.kl_floor:.3g})"
        )


def kl_floor(dim: int, n_eff: float, *, fitted_mean: bool = False) -> float:
    r"""Return the sampling floor of the Kullback-Leibler divergence between a law and a Gaussian fitted to draws from it.

    ``E KL = ¼ Σ_ij Var(M_ij) + O(n_eff⁻²) = D(D+1)/(4 n_eff)``, with M the whitened sample covariance; `fitted_mean`
    adds ``½ Σ_i Var(mean_i) = D/(2 n_eff)``, for a KL that compares fitted means too.

    Parameters
    ----------
    dim
        D, dimension.
    n_eff
        Effective number of draws behind the covariance: of second moments, not of means.
    fitted_mean
        Add the part of the mean, taken to be as well determined as the covariance.

    Returns
    -------
    float
        In nats, the same for both directions of the KL.

    Notes
    -----
    Assumption: n_eff ≫ D. Source: `docs/derivations/samplers.md`, second-order expansion of the KL derived here. Known
    check: D = 10, 100 draws: 0.275.

    Examples
    --------
    >>> kl_floor(10, 100), kl_floor(2, 30, fitted_mean=True)
    (0.275, 0.0833...)
    """
    dim, n_eff = _checks.integer("dim", dim), _checks.positive("n_eff", n_eff)
    return dim * (dim + 1) / (4 * n_eff) + (dim / (2 * n_eff) if _checks.flag("fitted_mean", fitted_mean) else 0.0)


def gaussian_fit(draws: ArrayLike, *, effective_size: float | None = None) -> GaussianFit:
    r"""Fit a Gaussian to draws.

    With chains, the effective size comes from how much the whitened second moment M_c varies from chain to chain:
    ``n_eff = D(D+1)/Σ_ij Var(M_ij)``, Var(M_ij) the variance of the mean over chains; it needs no autocorrelation.

    Parameters
    ----------
    draws
        (chains, draws, D) from at least two chains, or (draws, D).
    effective_size
        None: from the chains; (draws, D) are then taken as independent. Give it for a single correlated chain.

    Returns
    -------
    GaussianFit
        Mean, covariance, effective size; its `kl_floor` says what KL the fit has for lack of draws alone.

    Notes
    -----
    Draws must number more than D, or the covariance is singular: an error. With few chains the effective size
    is an average over only (chains − 1)·D(D+1)/2 squares.

    Examples
    --------
    >>> fit = gaussian_fit([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> fit.mean, fit.covariance
    (array([0., 0.]), array([[0.66..., 0.    ], [0.    , 2.66...]]))
    """
    axes = ("chain", "draw", "D") if np.ndim(draws) == 3 else ("draw", "D")
    array = finite("draws", draws, axes)
    rows = array.reshape(-1, array.shape[-1])
    count, dim = rows.shape
    if count <= dim:
        msg = f"draws must number more than D = {dim} for a covariance, got {count}."
        raise ValueError(msg)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    if effective_size is not None:
        effective_size = _checks.positive("effective_size", effective_size)
    elif array.ndim == 2:
        effective_size = float(count)
    else:
        effective_size = _size_from_chains(array, covariance)
    return GaussianFit(rows.mean(0), covariance, effective_size)


def _size_from_chains(array: Array, covariance: Array) -> float:
    n, count, dim = array.shape
    if n < 2:
        msg = "draws must come from at least two chains, or effective_size must be given: one chain does not show its own memory."
        raise ValueError(msg)
    scale = np.sqrt(np.diagonal(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale)) if scale.min() > 0 else (np.zeros(1), scale)
    if values[0] <= dim * np.finfo(np.float64).eps:
        msg = "draws must vary in every direction, but their covariance is singular."
        raise ValueError(msg)
    y = (array - array.mean((0, 1))) / scale @ (vectors / np.sqrt(values))
    moments = y.transpose(0, 2, 1) @ y / count
    return float(dim * (dim + 1) / (moments.var(0, ddof=1) / n).sum())
