"""Sign descent as an SDE."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.sde.fields import VectorField, vector_field
from gradnoise.sde.records import SDE
from gradnoise.theory import noise_factor


def sign_sgd(
    gradient: VectorField,
    standard_deviation: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> SDE:
    r"""SDE of sign descent θ ← θ − η sign(ĝ) under Gaussian noise; time t = kη.

    Equation: dX = −e dt + √η (1 − e²)^{1/2} dW in each coordinate, e = erf(Y/√2), Y = ∇L√B/σ.

    ==================  ======  =====  =================================================
    argument            symbol  shape  scale
    ==================  ======  =====  =================================================
    gradient            ∇L      –      function, params (..., D) to (..., D), mean loss
    standard_deviation  σ       (D,)   gradient, per example, of each coordinate
    learning_rate       η       ()     parameter
    batch_size          B       ()     examples a step
    num_examples        N       ()     examples; needed without replacement
    returns             –       –      `SDE`, state (X)
    ==================  ======  =====  =================================================

    Assumptions: Gaussian noise, independent between coordinates; small step; steps draw independently.
    Limit: |Y| ≪ 1 is linear, drift −√(2/π) Y and noise √η; |Y| ≫ 1 is noise-free sign descent.

    Reference: Monzio Compagnoni et al. (2024), `docs/derivations/decoupled_decay_and_signs.md`.

    >>> found = sign_sgd(lambda x: 2 * x, [4.0], learning_rate=0.04, batch_size=4)
    >>> found.drift(0.0, np.array([1.0])).round(6), found.diffusion(0.0, np.array([1.0])).round(6)
    (array([-0.682689]), array([[0.146142]]))
    """
    rate = _checks.positive("learning_rate", learning_rate)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    spread = _checks.vector("standard_deviation", standard_deviation) * math.sqrt(factor)
    if spread.min() <= 0:
        msg = f"standard_deviation must be > 0 in every coordinate, and the batch smaller than the data, got {spread.min():g}."
        raise ValueError(msg)
    slope = vector_field("gradient", gradient)

    def mean_sign(x: Array) -> Array:
        return np.asarray(erf(slope(x) / spread / math.sqrt(2)))

    def diffusion(_t: float, x: Array) -> Array:
        return np.sqrt(rate * (1 - mean_sign(x) ** 2))[..., None] * np.eye(x.shape[-1])

    return SDE(lambda _t, x: -mean_sign(x), diffusion, rate, ("position",), 1)
