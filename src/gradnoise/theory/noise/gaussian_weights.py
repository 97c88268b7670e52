"""Gaussian noise with exactly the covariance of a minibatch, by reweighting the examples of a full batch."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def gaussian_weights(normals: ArrayLike, *, batch_size: int) -> Array:
    r"""Weights of the examples that turn the full gradient into one with the noise of a minibatch (noisy gradient descent).

    Equation: w_n = 1 + √(N/B) (ξ_n − ξ̄), gradient (1/N) Σ w_n g_n: mean ∇L and covariance C/B, exactly, without forming C.

    ==========  ======  ========  ==========================================
    argument    symbol  shape     scale
    ==========  ======  ========  ==========================================
    normals     ξ       (..., N)  independent, mean 0 and variance 1
    batch_size  B       ()        examples of the minibatch to imitate
    returns     w       (..., N)  dimensionless; mean 1 over the examples
    ==========  ======  ========  ==========================================

    Assumptions: none on the model. ξ = ±1 has the same covariance. Weights are drawn anew each step.
    Limit: B → ∞ gives weights of 1: gradient descent.

    Reference: Li, Malladi, Arora (2021), code of their noisy gradient descent, `docs/derivations/svag.md`; Wu et al. (2020), arXiv 1906.07405.

    >>> gaussian_weights([1.0, -1.0, 1.0, -1.0], batch_size=1)
    array([ 3., -1.,  3., -1.])
    """
    size = _checks.batch_size(batch_size)
    draws = _checks.array("normals", normals)
    if draws.ndim == 0 or draws.shape[-1] < 2:
        msg = f"normals must have shape (..., N), N >= 2, got shape {draws.shape}."
        raise ValueError(msg)
    centred = draws - draws.mean(axis=-1, keepdims=True)
    return np.asarray(1 + np.sqrt(draws.shape[-1] / size) * centred)
