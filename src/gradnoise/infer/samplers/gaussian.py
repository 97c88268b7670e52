"""Gaussian approximations without a run: the variational law and Laplace."""

from __future__ import annotations

from typing import Any

from gradnoise import _checks
from gradnoise.infer.plans.gaussian_draws import gaussian_draws, gaussian_verdict
from gradnoise.infer.plans.place import place
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.verdict import Verdict
from gradnoise.measure import nearness
from gradnoise.stream import seed_of


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
        return gaussian_verdict(near, len(law.mean), why)

    return gaussian_draws(
        "Gaussian variational law", problem, law.mean, law.covariance, num_draws, num_chains, key, verdict
    )
