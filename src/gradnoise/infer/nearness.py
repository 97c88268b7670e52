"""How near a Gaussian is to the posterior itself, by importance weights: no run, and no assumption about the loss."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import derivatives
from gradnoise._types import Array
from gradnoise.infer.judgement import MOST_KL, Verdict, kl_limit
from gradnoise.stream import seed_of

DRAWS = 1000
TAIL = 0.7  # Pareto shape of the weights above which their averages are not to be trusted (Vehtari et al. 2024, §3)
FLAT = 1e-9  # standard deviation of log weights below which the Gaussian is the posterior, to rounding


class Nearness(NamedTuple):
    """Divergence of a Gaussian from the posterior.

    Attributes
    ----------
    kl, standard_error
        KL(Gaussian ‖ posterior), nats, and its Monte Carlo error. Where `pareto_k` is large it is a lower bound on average.
    pareto_k
        Tail shape of the importance weights; above 0.7 their mean, and with it `kl`, cannot be trusted from above.
    undefined
        Share of the draws at which the loss is not finite.
    """

    kl: float
    standard_error: float
    pareto_k: float
    undefined: float


def nearness(problem: Any, mean: Array, covariance: Array, *, num_draws: int = DRAWS, key: Any = 0) -> Nearness:
    r"""Estimate KL(N(m, Σ) ‖ posterior) from draws of the Gaussian.

    Equation, log w = −N L(θ) + ½(θ−m)ᵀΣ⁻¹(θ−m): KL = log E w − E log w.

    By Jensen's inequality log of the mean weight is too small on average, and so is the divergence: where it is large it is
    large. Where weights have thin tails (`pareto_k` < 0.7) it is right within its standard error, but for what no draw has met:
    another mode, or a tail of the posterior further out than the draws.

    Reference: Yao, Vehtari, Simpson, Gelman (2018), §2 (k̂ as a diagnostic of variational inference).
    """
    z = np.random.default_rng([seed_of(key), 1]).standard_normal((num_draws, len(mean)))
    losses = derivatives.losses(problem, mean + z @ np.linalg.cholesky(covariance).T)
    log_weights = -problem.num_examples * losses + (z * z).sum(1) / 2
    inside = np.isfinite(log_weights)
    undefined = float(1 - inside.mean())
    if undefined:
        return Nearness(math.inf, 0.0, math.inf, undefined)
    log_weights = log_weights - log_weights.max()
    if log_weights.std() < FLAT:
        return Nearness(0.0, 0.0, -math.inf, 0.0)
    weights = np.exp(log_weights)
    average = weights.mean()
    # delta method: the influence of a draw on log E w − E log w
    influence = weights / average - log_weights
    error = float(influence.std(ddof=1) / math.sqrt(num_draws))
    return Nearness(float(math.log(average) - log_weights.mean()), error, _tail(log_weights), 0.0)


def _tail(log_weights: Array) -> float:
    """Pareto shape of the weights by arviz-stats, which takes minus their logarithms."""
    from arviz_stats.base.array import array_stats

    return float(array_stats.psislw(-log_weights)[1])


def verdict_of(near: Nearness, dim: int, what: str) -> Verdict:
    """Judge a Gaussian by its divergence from the posterior; `what` it ignores, in words."""
    numbers = {"kl_to_posterior": near.kl, "kl_standard_error": near.standard_error, "pareto_k": near.pareto_k}
    if near.undefined:
        said = f"At {100 * near.undefined:.3g} % of the draws the loss is not finite: the Gaussian reaches where the posterior cannot be."
        return Verdict("not trustworthy", (said, what), numbers)
    limit = kl_limit(dim)
    told = (
        f"By importance weights it is {near.kl:.2g} ± {near.standard_error:.1g} nats from the posterior around the mode"
    )
    tail = f"(Pareto k̂ {near.pareto_k:.2g}"
    if near.kl - 3 * near.standard_error > MOST_KL:
        return Verdict("not trustworthy", (f"{told} or more {tail}): it is not a Gaussian.", what), numbers)
    if not near.pareto_k < TAIL:
        return Verdict(
            "approximate", (f"{told} or more {tail} > {TAIL:g}: weights with tails tell no more).", what), numbers
        )
    level = "trustworthy" if near.kl + 3 * near.standard_error <= limit else "approximate"
    return Verdict(level, (f"{told} {tail}; limit {limit:.2g}).", what), numbers)
