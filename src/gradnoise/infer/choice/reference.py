"""Draws that other draws are judged by: exact, NUTS or Laplace."""

from __future__ import annotations

import dataclasses
from typing import Any

from gradnoise import _checks
from gradnoise import mode as modes
from gradnoise.infer.plans.gaussian_draws import is_quadratic
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.samplers.laplace import laplace
from gradnoise.infer.samplers.nuts import LEAPFROGS, check_nuts, gradient_seconds, nuts
from gradnoise.infer.verdicts.verdict import Verdict
from gradnoise.stream import seed_of

BUDGET_SECONDS = 30.0


def reference(
    problem: Any,
    *,
    method: str = "auto",
    num_draws: int = 2000,
    num_chains: int = 4,
    key: Any = 0,
    mode: Any = None,
    budget_seconds: float = BUDGET_SECONDS,
) -> Posterior:
    """Sample the posterior itself, with all data.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    method
        "auto": exact if the loss is quadratic, NUTS (BlackJAX) if gradient time · chains · draws · 16 is below
        `budget_seconds`, else Laplace. Or one of "nuts", "laplace", "exact".
    num_draws, num_chains, key
        Draws a chain, chains, seed. With "auto" and "nuts" at least 4 draws and 2 chains.
    mode
        From `find_mode` (or its params or vector), where it is known already.
    budget_seconds
        Used by "auto" alone. The gradient is timed on this machine, dispatch included, so that "auto" may choose
        differently on another one; name the method where that matters.

    Returns
    -------
    Posterior
        `.method` says what it is; `.exact` is true where mean and covariance are known without draws.

    Raises
    ------
    ValueError
        If `method` is "exact" and the loss is not quadratic.
    """
    wanted = _checks.one_of("method", method, ("auto", "exact", "nuts", "laplace"))
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    if wanted in ("auto", "nuts"):  # "auto" may come to NUTS
        check_nuts(num_draws, num_chains)
    found = modes.as_mode(problem, mode)
    quadratic = wanted in ("auto", "exact") and is_quadratic(problem, found)
    if wanted == "exact" and not quadratic:
        msg = "method must be 'nuts' or 'laplace': the loss is not quadratic, so 'exact' does not exist for it."
        raise ValueError(msg)
    if quadratic:
        gaussian = laplace(problem, num_draws=num_draws, num_chains=num_chains, key=key, mode=found)
        return dataclasses.replace(gaussian, method="exact posterior")
    cost = gradient_seconds(problem, found) * num_chains * num_draws * LEAPFROGS if wanted == "auto" else 0.0
    if wanted == "nuts" or (wanted == "auto" and cost < budget_seconds):
        return nuts(problem, num_draws=num_draws, num_chains=num_chains, key=key, mode=found)
    made = laplace(problem, num_draws=num_draws, num_chains=num_chains, key=key, mode=found)
    if wanted == "laplace":
        return made
    why = f"NUTS would take about {cost:.0f} s (budget {budget_seconds:g} s), so the reference is Laplace's approximation."
    return dataclasses.replace(
        made, verdict=Verdict("approximate", (why, *made.verdict.reasons), {"nuts_seconds": cost})
    )
