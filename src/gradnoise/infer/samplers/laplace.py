"""Laplace's approximation, drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise import mode as modes
from gradnoise.infer.plans.gaussian_draws import gaussian_draws, gaussian_verdict
from gradnoise.infer.plans.place import check_size
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.verdict import Verdict
from gradnoise.measure import nearness
from gradnoise.stream import seed_of


def laplace(problem: Any, *, num_draws: int = 1000, num_chains: int = 4, key: Any = 0, mode: Any = None) -> Posterior:
    """Draw from Laplace's approximation: N(mode, (N H)⁻¹) with H at the mode.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    num_draws, num_chains, key
        Independent draws a chain, chains, seed.
    mode
        From `find_mode` (or its params or vector), where it is known already.

    Returns
    -------
    Posterior
        Its verdict says how far the Gaussian is from the posterior itself, by importance weights (`kl_to_posterior`).
    """
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    check_size(problem)
    found = modes.as_mode(problem, mode)
    covariance = _checks.symmetrised(np.linalg.inv(problem.num_examples * derivatives.hessian(problem, found.vector)))
    why = "It has the curvature at the mode; skewness and curvature elsewhere are ignored."

    def verdict() -> Verdict:
        return gaussian_verdict(nearness(problem, found.vector, covariance), len(covariance), why)

    return gaussian_draws("Laplace", problem, found.vector, covariance, num_draws, num_chains, key, verdict)
