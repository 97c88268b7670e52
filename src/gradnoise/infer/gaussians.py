"""Gaussian approximations without a run: the variational law and Laplace."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.infer.judgement import Verdict
from gradnoise.infer.nearness import nearness, verdict_of
from gradnoise.infer.posterior import Posterior
from gradnoise.infer.sampler import place
from gradnoise.stream import seed_of

EXACT = Verdict("trustworthy", ("The loss is quadratic: the posterior is this Gaussian.",), {})


def gaussian(
    problem: Any,
    *,
    num_draws: int = 1000,
    num_chains: int = 4,
    key: Any = 0,
    mode: Any = None,
    law: Any = None,
    num_law_draws: int | None = None,
) -> Posterior:
    """Draw from the Gaussian variational law: E∇L = 0 and covariance (N E∇²L)⁻¹ (see `measure.gaussian_law`).

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    num_draws, num_chains, key
        Independent draws a chain, chains, seed.
    mode, law, num_law_draws
        As in `constant_sgd`.

    Returns
    -------
    Posterior
        Its verdict says how far the Gaussian is from the posterior itself, by importance weights (`kl_to_posterior`).
    """
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    where = place(problem, "posterior", mode=mode, law=law, num_law_draws=num_law_draws, key=key)
    law = where.law
    why = "The best Gaussian in the variational sense: skewness and tails are ignored."
    constant = bool(np.abs(law.hessian - law.mode_hessian).max() <= 1e-9 * np.abs(law.mode_hessian).max())
    verdict = EXACT if constant else _judged(problem, law.mean, law.covariance, why)
    return _drawn("Gaussian variational law", problem, law.mean, law.covariance, num_draws, num_chains, key, verdict)


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
    found = modes.as_mode(problem, mode)
    covariance = np.linalg.inv(problem.num_examples * derivatives.hessian(problem, found.vector))
    covariance = (covariance + covariance.T) / 2
    why = "It has the curvature at the mode; skewness and curvature elsewhere are ignored."
    verdict = EXACT if is_quadratic(problem, found) else _judged(problem, found.vector, covariance, why)
    return _drawn("Laplace", problem, found.vector, covariance, num_draws, num_chains, key, verdict)


def _judged(problem: Any, mean: Array, covariance: Array, what: str) -> Verdict:
    return verdict_of(nearness(problem, mean, covariance), len(mean), what)


def is_quadratic(problem: Any, mode: Any) -> bool:
    """Whether the Hessian is the same at the mode and three posterior standard deviations away, to rounding."""
    here = mode.vector
    hessian = derivatives.hessian(problem, here)
    root = np.linalg.cholesky(np.linalg.inv(problem.num_examples * hessian))
    z = np.random.default_rng(0).standard_normal((2, len(here)))
    away = [derivatives.hessian(problem, here + 3 * root @ v) for v in z]
    return all(bool(np.abs(h - hessian).max() <= 1e-9 * np.abs(hessian).max()) for h in away)


def _drawn(
    method: str,
    problem: Any,
    mean: Array,
    covariance: Array,
    num_draws: int,
    num_chains: int,
    key: Any,
    verdict: Verdict,
) -> Posterior:
    draws, chains = _checks.integer("num_draws", num_draws), _checks.integer("num_chains", num_chains)
    root = np.linalg.cholesky(covariance)
    z = np.random.default_rng(seed_of(key)).standard_normal((chains, draws, len(mean)))
    return Posterior(
        method,
        mean + z @ root.T,
        problem.parameter_names,
        mean,
        covariance,
        float(draws * chains),
        verdict,
        {"num_draws": draws, "num_chains": chains},
        exact=True,
        problem=problem,
    )
