"""A finished run of a plan before its judges: what they find is the verdict, what they cannot say is told in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array
from gradnoise.infer.verdicts.expectation import strayed_chains
from gradnoise.infer.verdicts.judges import Judges
from gradnoise.infer.verdicts.rounding import UNSEEN, resolved
from gradnoise.infer.verdicts.shape import shape_of
from gradnoise.infer.verdicts.verdict import Verdict


def verified(plan: Any, run: Any, draws: Any, num_steps: int, num_chains: int) -> tuple[Verdict, float]:
    """Ask every judge of a finished run; return the verdict and the effective draws.

    Parameters
    ----------
    plan
        The `Plan` that was run.
    run, draws
        The `Run`, and its draws (chain, draw, D).
    num_steps, num_chains
        Steps after burn-in, chains started.
    """
    judges, chains = Judges(run), [int(c) for c in run.chains]
    none: dict[int, float] = {}
    effective = judges.ask("the effective draws", lambda: plan.effective_draws(num_steps, len(chains)), 0.0)
    found = judges.ask("the moments of the run", lambda: simulated(plan, run, draws, effective), None)
    law = (plan.predicted_mean, plan.predicted_covariance)
    strayed = judges.ask("the search for chains that left", lambda: strayed_chains(draws, *law, chains), none)
    shape = judges.ask("the shape of the draws", lambda: shape_of(draws, plan.target, effective), None)
    widths = judges.ask("the sandwich", lambda: plan.widths, None)
    nearness = judges.ask("the nearness of the Gaussian law", plan.law_nearness, None)
    rounding = judges.ask("the rounding of the draws", lambda: plan.rounding(draws.dtype), None)
    verdict = judges.verdict(
        lambda: plan.judged(
            found and found[:2],
            found[2] if found else math.nan,
            shape=shape,
            widths=widths,
            nearness=nearness,
            rounding=rounding,
            diverged=run.diverged,
            strayed=strayed,
            num_chains=num_chains,
        )
    )
    return judges.add("the dtype of the run", verdict, lambda: doubled(plan, draws.dtype)), effective


def simulated(plan: Any, run: Any, draws: Any, effective: float) -> tuple[Array, Array, float]:
    """Return mean and covariance of a run, of all iterates where float32 sums will do, and the independent draws that they are worth."""
    if plan.window == 1 and (draws.dtype == np.float64 or resolved(plan.predicted_covariance)):
        return run.mean, run.covariance, effective
    flat = np.asarray(draws, np.float64).reshape(-1, draws.shape[-1])
    if len(flat) == 1:
        return flat[0], np.zeros_like(plan.target), 1.0
    worth = effective if plan.window > 1 else min(effective, float(len(flat)))
    return flat.mean(0), _checks.symmetrised(np.atleast_2d(np.cov(flat.T))), worth


def doubled(plan: Any, dtype: Any) -> tuple[str, ...]:
    """Say why the run was made in float64, where float32 would not have done."""
    single = plan.rounding("float32")
    if dtype != np.float64 or single.added <= UNSEEN:
        return ()
    return (f"The run was made in float64. {single.sentence}",)
