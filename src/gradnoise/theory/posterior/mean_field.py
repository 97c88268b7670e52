"""The mean-field approximation of a Gaussian posterior."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def mean_field_covariance(hessian: ArrayLike, *, num_examples: int) -> Array:
    r"""Covariance of the factorised Gaussian nearest to the posterior N(0, (N H)⁻¹) in KL(q‖p).

    Equation: diag(1/(N H_kk)).

    ============  ======  ======  ==========================
    argument      symbol  shape   scale
    ============  ======  ======  ==========================
    hessian       H       (D, D)  curvature of the mean loss
    num_examples  N       ()      examples
    returns       –       (D, D)  parameter², diagonal
    ============  ======  ======  ==========================

    Assumptions: Gaussian posterior.
    Limit: diagonal H gives the posterior; otherwise every variance is too small.

    Reference: Mandt, Hoffman, Blei (2017), §4.2, the BBVI baseline of table 1.

    >>> mean_field_covariance([[2.0, 0.3], [0.3, 0.5]], num_examples=10)
    array([[0.05, 0.  ],
           [0.  , 0.2 ]])
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    return np.diag(1 / (_checks.integer("num_examples", num_examples) * np.diag(hessian)))
