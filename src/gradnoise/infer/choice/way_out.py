"""NUTS as the way out, where it is known before any run that no minibatch sampler will have the posterior."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.progress import announce
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.samplers.nuts import FEWEST_DRAWS, nuts, nuts_seconds
from gradnoise.infer.verdicts.verdict import kl_limit

CAREFUL = 0.95  # acceptance rate for posteriors that are known to be no Gaussians
MAX_TIME = 60.0  # seconds that NUTS may take, unless told otherwise


def hopeless(plan: Plan) -> str:
    """Say why no sampler of ours will have the posterior, as far as it is known before a run; "" where that is not known.

    All of them are tuned to the Gaussian variational law, so where that is far from the posterior the draws will be too.
    """
    near, limit = plan.nearness, kl_limit(len(plan.target))
    if not math.isfinite(near.kl):
        return "the posterior is no Gaussian: the variational law reaches where there is no posterior"
    if near.at_least > limit:
        return (
            f"the posterior is no Gaussian: the variational law, to which every minibatch sampler is tuned, is {near.kl:.2g} ± "
            f"{near.standard_error:.1g} nats from it (at most {limit:.2g} counts as near)"
        )
    verdict = plan.expectation().verdict
    if verdict.level == "not trustworthy":
        return f"the draws of {plan.method} are expected to be not trustworthy: {verdict.reasons[0].removesuffix('.')}"
    return ""


def by_nuts(
    problem: Any,
    mode: Any,
    why: str,
    *,
    num_draws: int,
    num_chains: int,
    key: Any,
    max_time: float,
    checkpoint: Any,
    progress: Any,
) -> tuple[Posterior | None, str]:
    """Run NUTS if it takes no longer than it may; return its draws, or None and a sentence that names it with its time."""
    if num_chains < 2 or num_draws < FEWEST_DRAWS:
        return None, f"infer.nuts samples the posterior itself (with at least 2 chains of {FEWEST_DRAWS} draws)."
    seconds = nuts_seconds(problem, mode, num_draws=num_draws, num_chains=num_chains)
    about = f"about {_shown(seconds)} for {num_chains} chains of {num_draws:,} draws"
    if checkpoint is not None:
        return None, f"infer.nuts samples the posterior itself, in {about}, but without a checkpoint."
    if seconds > max_time:
        return None, f"infer.nuts samples the posterior itself, but would take {about} (max_time = {max_time:g} s)."
    reason = f"NUTS, since {why}. It was expected to take {about} (max_time = {max_time:g} s)."
    announce(f"Chosen: {reason}", progress)
    made = nuts(problem, num_draws=num_draws, num_chains=num_chains, key=key, mode=mode, target_acceptance=CAREFUL)
    made = made.chosen_for(reason)
    return replace(made, settings={**made.settings, "nuts_seconds": seconds}), reason


def checked_time(max_time: Any) -> float:
    """Return `max_time` in seconds: a number >= 0, or infinity."""
    if isinstance(max_time, float | np.floating) and max_time == math.inf:
        return math.inf
    return _checks.within("max_time", max_time, 0.0, math.inf, closed="left")


def _shown(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.0f} hours"
