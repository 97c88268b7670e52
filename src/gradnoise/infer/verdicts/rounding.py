"""What the numbers that a run is made in can hold: the spread that their rounding adds to the draws, known before the run."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from gradnoise._types import Array

UNSEEN = 0.01  # share of a variance that rounding may add before the run is made in float64 instead
WRONG = 0.1  # ... before draws that were asked for in float32 are not trustworthy
RESOLVED = 1e-4  # least eigenvalue of a correlation matrix that sums of float32 resolve (to about a per cent)


class Rounding(NamedTuple):
    """What rounding does to draws.

    Attributes
    ----------
    added
        Variance that it adds, over that of the law, in the worst direction.
    sentence
        The same in words, with the parameter that is hit most.
    """

    added: float
    sentence: str


def rounding_of(
    mean: Array, covariance: Array, relaxation_time: float, dtype: Any, names: tuple[str, ...] = ()
) -> Rounding:
    """Bound the variance that rounding of the params adds to draws of N(mean, covariance).

    Each step rounds θ_k to a number of spacing u_k, which adds u_k²/12 to its variance, and a direction forgets within
    `relaxation_time` steps τ: rounding adds up to diag(u²/12) max(τ/2, 1), here relative to the covariance (D, D).
    """
    sd = np.sqrt(np.diag(covariance))
    kind = np.dtype(dtype)
    gaps = np.spacing((np.abs(mean) + 2 * sd).astype(kind)).astype(np.float64)
    noise = gaps**2 / 12 * max(relaxation_time / 2, 1.0)
    # in units of each parameter's own width, which the factorisation needs where columns are badly scaled
    try:
        root = np.linalg.cholesky(covariance / np.outer(sd, sd))
    except np.linalg.LinAlgError:
        return Rounding(
            math.inf,
            "The predicted covariance has not full rank in float64: some direction of it is narrower than rounding.",
        )
    whitened = scipy.linalg.solve_triangular(root, np.diag(np.sqrt(noise) / sd), lower=True)
    added = float(np.linalg.norm(whitened, 2) ** 2)
    worst = int(np.argmax(np.linalg.norm(whitened, axis=0)))
    name = names[worst] if names else f"parameter {worst}"
    return Rounding(
        added,
        f"{kind.name} cannot hold these draws: near {name} = {mean[worst]:.3g} its numbers are {gaps[worst]:.2g} apart, where the law's "
        f"standard deviation is {sd[worst]:.2g}. Rounding adds up to {added:.2g} times the variance of a direction.",
    )


def resolved(covariance: Array) -> bool:
    """Whether sums of float32 products tell the narrowest direction of a law: its correlation matrix is far enough from singular."""
    sd = np.sqrt(np.diag(covariance))
    return bool(np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0] > RESOLVED)
