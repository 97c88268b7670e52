"""Exact draws of a Gaussian, and how near it is to the posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise import _checks, derivatives
from gradnoise._types import Array
from gradnoise.infer.plans.simulation import check_memory
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.judges import Judges
from gradnoise.infer.verdicts.verdict import MOST_KL, Verdict, kl_limit
from gradnoise.measure import Nearness, nearness
from gradnoise.measure.dense.nearness import TAIL
from gradnoise.stream import seed_of

EXACT = Verdict("trustworthy", ("The loss is quadratic: the posterior is this Gaussian.",), {})


def gaussian_verdict(near: Nearness, dim: int, what: str) -> Verdict:
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


def gaussian_draws(
    method: str,
    problem: Any,
    mean: Array,
    covariance: Array,
    num_draws: int,
    num_chains: int,
    key: Any,
    verdict: Callable[[], Verdict],
) -> Posterior:
    """Return a `Posterior` of exact draws from N(mean, covariance), judged by `verdict`."""
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
