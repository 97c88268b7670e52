"""Gaussian approximations without a run: the variational law and Laplace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.infer.judgement import MOST_KL, Verdict, kl_limit
from gradnoise.infer.outcome import Judges
from gradnoise.infer.posterior import Posterior
from gradnoise.infer.sampler import check_memory, check_size, place
from gradnoise.measure import Nearness, nearness
from gradnoise.measure.importance import TAIL
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
    where = place(problem, "posterior", mode=mode, law=law, num_law_draws=num_law_draws, key=key, chain=False)
    law = where.law
    why = "The best Gaussian in the variational sense: skewness and tails are ignored."

    def verdict() -> Verdict:
        near = nearness(problem, law.mean, law.covariance) if law.nearness is None else law.nearness
        return _verdict(near, len(law.mean), why)

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
    check_size(problem)
    found = modes.as_mode(problem, mode)
    covariance = _checks.symmetrised(np.linalg.inv(problem.num_examples * derivatives.hessian(problem, found.vector)))
    why = "It has the curvature at the mode; skewness and curvature elsewhere are ignored."

    def verdict() -> Verdict:
        return _verdict(nearness(problem, found.vector, covariance), len(covariance), why)

    return _drawn("Laplace", problem, found.vector, covariance, num_draws, num_chains, key, verdict)


def _verdict(near: Nearness, dim: int, what: str) -> Verdict:
    """Judge a Gaussian by its divergence from the posterior; `what` it ignores, in words."""
    if near.exact:
        return EXACT
    numbers = {"kl_to_posterior": near.kl, "kl_standard_error": near.standard_error, "pareto_k": near.pareto_k}
    if near.undefined:
        said = f"At {100 * near.undefined:.3g} % of the draws the loss is not finite: the Gaussian reaches where the posterior cannot be."
        return Verdict("not trustworthy", (said, what), numbers)
    limit, tails = kl_limit(dim), near.pareto_k > TAIL
    apart = f"{near.estimate} nats{' or more' if tails and math.isfinite(near.kl) else ''}"
    told = f"By importance weights it is {apart} from the posterior around the mode"
    if near.at_least > MOST_KL:
        return Verdict("not trustworthy", (f"{told}: it is not a Gaussian.", what), numbers)
    level = "trustworthy" if near.at_most <= limit else "approximate"
    said = f"{told} (at most {limit:.2g} counts as near; tail of the weights k̂ = {near.pareto_k:.2g}, at most {TAIL:g} to be sure)."
    return Verdict(level, (said, what), numbers)


def is_quadratic(problem: Any, mode: Any) -> bool:
    """Whether the posterior is Laplace's Gaussian, to rounding, wherever that or a heavier tail reaches: no kink, no wall."""
    covariance = _checks.symmetrised(np.linalg.inv(problem.num_examples * derivatives.hessian(problem, mode.vector)))
    return nearness(problem, mode.vector, covariance).exact


def _drawn(
    method: str,
    problem: Any,
    mean: Array,
    covariance: Array,
    num_draws: int,
    num_chains: int,
    key: Any,
    verdict: Callable[[], Verdict],
) -> Posterior:
    draws, chains = _checks.integer("num_draws", num_draws), _checks.integer("num_chains", num_chains)
    check_memory(draws, chains, len(mean))
    root = np.linalg.cholesky(covariance)
    z = np.random.default_rng(seed_of(key)).standard_normal((chains, draws, len(mean)))
    return Posterior(
        method,
        mean + z @ root.T,
        problem.parameter_names,
        mean,
        covariance,
        float(draws * chains),
        Judges().verdict(verdict),
        {"num_draws": draws, "num_chains": chains},
        exact=True,
        problem=problem,
    )
