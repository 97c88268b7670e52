"""The one call: choose a sampler by its predicted error and cost, say why, and run it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

from gradnoise import _checks, derivatives, measure
from gradnoise import mode as modes
from gradnoise.infer.choice.candidates import Candidate, Choice
from gradnoise.infer.choice.plan import SAMPLERS, plan
from gradnoise.infer.choice.search import LENGTHY, MOST_TOLERANCE, Setting, prospects, searched, step_cost, undercuts
from gradnoise.infer.choice.way_out import MAX_TIME, by_nuts, checked_time, hopeless
from gradnoise.infer.plans.place import check_size, place
from gradnoise.infer.plans.progress import announce, telling
from gradnoise.infer.plans.simulation import Simulation, check_run
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.judges import told
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.stream import seed_of

BATCH_SIZES = (32, 128, 512)
FRACTIONS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
NAMED = "infer.nuts samples the posterior itself."
RANK = 20  # of the step above 1000 parameters
LARGE_FRACTION = 0.2
METHODS = ("corrected_langevin", "constant_sgd", "iterate_averaging", "langevin", "sghmc")

# settings that are tried, by method; every other argument is left to the method's own tuning
TRIED: dict[str, tuple[dict[str, Any], ...]] = {
    "corrected_langevin": tuple({"fraction": f} for f in FRACTIONS),
    "constant_sgd": tuple({"preconditioner": kind} for kind in ("full", "diagonal", "scalar")),
    "iterate_averaging": ({}, {"preconditioner": "curvature"}),
    "langevin": ({}, {"preconditioner": "curvature"}),
    "sghmc": tuple({"max_noise_share": share} for share in (0.5, 0.2, 0.1, 0.05)),
}
BUDGET = {"iterate_averaging": "tolerance", "langevin": "max_variance_error", "sghmc": "max_variance_error"}


def choose(
    problem: Any,
    *,
    max_variance_error: float = 0.05,
    batch_size: int | None = None,
    methods: tuple[str, ...] | list[str] | None = None,
    sampling: str = "with_replacement",
    drop_last: bool = True,
    mode: Any = None,
    law: Any = None,
    key: Any = 0,
    progress: Any = True,
) -> Choice:
    """Choose sampler, step and preconditioner within an error budget: least cost for an effective draw. Nothing is run.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    max_variance_error
        Budget, > 0: relative error that a variance may have in any direction, predicted (`Plan.expected_error`). 1 and more allow
        laws that are too wide by that much.
    batch_size
        B, at most N, or None: 32, 128 and 512 are tried (those up to N).
    methods
        Names to choose from; None: corrected_langevin, constant_sgd, iterate_averaging, langevin, sghmc.
    sampling
        How the data are read; methods that cannot work with "shuffled" drop out with their reason.
    drop_last
        Shuffled epochs only: False keeps an epoch's smaller last batch, as data loaders do by default.
    mode, law
        From `find_mode` and `measure.gaussian_law`, where they are known already.
    key
        Seed of the variational law.
    progress
        True: a line for every stage and every candidate that is planned, on stderr; False, or a function for a run: none.

    Returns
    -------
    Choice
        The cheapest within the budget; of costs within a thousandth of each other the earlier in the order of `methods`, then
        of settings. Candidates that cannot be the cheapest are not planned: a bound on their cost is given in place of a plan.

    Raises
    ------
    Refused
        If no setting is within the budget: the message names the closest and its error. A setting whose draws would have the right
        variances and another shape (`Plan.doubts`) is passed over.
    """
    asked = _asked(problem, max_variance_error, batch_size, methods, sampling, drop_last)
    seed_of(key)
    _checks.progress(progress)
    check_size(problem)
    with telling(progress) as tell:
        tell("the mode")
        return _chosen(problem, asked, modes.as_mode(problem, mode), law, key, tell)


class _Asked(NamedTuple):
    """What a choice is made from: `max_variance_error`, methods and batch sizes to try, and how the data are read."""

    budget: float
    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    sampling: str
    drop_last: bool


def _asked(
    problem: Any, max_variance_error: Any, batch_size: Any, methods: Any, sampling: Any, drop_last: Any
) -> _Asked:
    """Check what a choice takes, before the mode is looked for."""
    _checks.problem(problem)
    budget = _checks.positive("max_variance_error", max_variance_error)
    kind = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    last = _checks.drop_last(drop_last, kind)
    return _Asked(budget, _methods(methods), _sizes(batch_size, problem.num_examples, kind), kind, last)


def _chosen(problem: Any, asked: _Asked, mode: Any, law: Any, key: Any, tell: Callable[[str], None]) -> Choice:
    budget, wanted, sizes, sampling, drop_last = asked
    tell("the Gaussian variational law")
    known = place(problem, "posterior", mode=mode, law=law, key=key).law
    ahead = prospects(problem, known, budget, sampling, drop_last)

    def planned(method: str, settings: dict[str, Any]) -> Candidate:
        return _candidate(problem, method, settings, budget, sampling, mode, known, drop_last)

    ranked = _ranked(searched(_settings(wanted, sizes), ahead, planned, tell), budget)
    if not ranked[0].error <= budget:
        least = f" max_variance_error={_rounded_up(ranked[0].error)} would do." if ranked[0].plan is not None else ""
        msg = (
            f"max_variance_error = {budget:g} cannot be met by {', '.join(wanted)}. Closest: {ranked[0]}.{least} Allow more, or a larger "
            "batch_size."
        )
        raise Refused(msg)
    return Choice(ranked[0], ranked, budget)


def sample(
    problem: Any,
    *,
    max_variance_error: float = 0.05,
    batch_size: int | None = None,
    methods: tuple[str, ...] | list[str] | None = None,
    num_draws: int = 1000,
    num_chains: int = 4,
    key: Any = 0,
    sampling: str = "with_replacement",
    drop_last: bool = True,
    mode: Any = None,
    law: Any = None,
    max_time: float = MAX_TIME,
    progress: Any = True,
    **simulation: Unpack[Simulation],
) -> Posterior:
    """Sample the posterior: the sampler is chosen by predicted error and cost (`choose`), then run.

    Where it is known before any run that no minibatch sampler will have the posterior (the law that all are tuned to is far from
    it, or none can be planned), NUTS with all data runs instead, if its predicted time allows and `methods` is None; else it is
    named, with its time.

    Parameters
    ----------
    problem
        A `Problem` with a mode. Above 1000 parameters `mode` must be given (trained params will do); then corrected Langevin with
        a low-rank step runs, `max_variance_error`, `methods` and `law` do not count, and the verdict says what is known.
    max_variance_error, batch_size, methods, sampling, drop_last, mode, law
        As in `choose`.
    num_draws, num_chains, key
        Draws a chain, chains, seed. Draws are thinned by the predicted autocorrelation.
    max_time
        Seconds that NUTS may take, predicted by `samplers.nuts.nuts_seconds`, where it is the way out; 0: never. The rest is not timed.
    progress
        As in `simulate`; True also prints the choice, before anything runs, and shows on a terminal what is being planned.
    simulation
        dtype, checkpoint, workers, threads: as in `simulate`.

    Returns
    -------
    Posterior
        `settings["choice"]` and the first reason of the verdict say why this sampler, `settings["candidates"]` what the others
        would have done. `method` is "NUTS" where that ran.

    Raises
    ------
    Refused
        Where no setting is within the budget and NUTS may not run: the message names it and its time.

    Examples
    --------
    >>> import numpy as np
    >>> from gradnoise import models
    >>> x = np.random.default_rng(0).standard_normal((200, 2))
    >>> problem = models.linear_regression(x, x @ [1.0, -1.0], observation_scale=1.0, intercept=False)
    >>> made = sample(problem, num_draws=200, progress=False)
    >>> made.verdict.level, made.draws.shape
    ('trustworthy', (4, 200, 2))
    """
    _checks.problem(problem)
    check_run(
        num_draws=num_draws, num_chains=num_chains, key=key, thin=None, burn_in=None, simulation=simulation,
        progress=progress, own=sample,
    )  # fmt: skip
    if problem.num_params > derivatives.DENSE:
        _checks.drop_last(drop_last, sampling)
        return _sample_large(problem, batch_size, num_draws, num_chains, key, sampling, mode, progress, simulation)
    asked = _asked(problem, max_variance_error, batch_size, methods, sampling, drop_last)
    limit = checked_time(max_time)
    found = modes.as_mode(problem, mode)
    chosen: Choice | None = None
    why, refusal = "", None
    try:
        with telling(progress, lasting=False) as tell:
            chosen = _chosen(problem, asked, found, law, key, tell)
        why = hopeless(chosen.plan)
    except (Refused, measure.NotConverged) as error:
        why, refusal = f"no minibatch sampler can be planned: {str(error).removesuffix('.')}", error
    named = ""
    if why and methods is None:
        made, named = by_nuts(
            problem, found, why, num_draws=num_draws, num_chains=num_chains, key=key, max_time=limit,
            checkpoint=simulation.get("checkpoint"), progress=progress,
        )  # fmt: skip
        if made is not None:
            more = {} if chosen is None else {"candidates": str(chosen)}
            return replace(made, settings={**made.settings, **more})
    if chosen is None:
        assert refusal is not None
        msg = f"{refusal} {named or NAMED}"
        raise type(refusal)(msg) from refusal
    reason = f"{chosen.reason} {why[0].upper()}{why[1:]}: {named or NAMED}" if why else chosen.reason
    announce(f"Chosen: {reason}", progress)
    candidates = str(chosen)
    done = chosen.plan.run(num_draws=num_draws, num_chains=num_chains, key=key, progress=progress, **simulation)
    reasoned: Posterior = told(done, "the reason of the choice", lambda made: made.chosen_for(reason))
    return replace(reasoned, settings={**reasoned.settings, "candidates": candidates})


def _sample_large(
    problem: Any,
    batch_size: Any,
    num_draws: int,
    num_chains: int,
    key: Any,
    sampling: str,
    mode: Any,
    progress: Any,
    simulation: Simulation,
) -> Posterior:
    """Corrected Langevin with a low-rank step: where matrices (D, D) do not fit it is the one whose bias shrinks with the step."""
    size = _sizes(batch_size, problem.num_examples, sampling)[-1]
    settings = {"batch_size": size, "preconditioner": "low_rank", "rank": RANK, "fraction": LARGE_FRACTION}
    made = plan("corrected_langevin", problem, **settings, sampling=sampling, mode=mode, key=key)
    why = (
        f"{made.method}, the only one with a correction above {derivatives.DENSE} parameters; its error is predicted along "
        f"the {RANK} stiffest directions only, and no budget can be kept in the others."
    )
    done: Posterior = made.run(
        num_draws=num_draws,
        num_chains=num_chains,
        key=key,
        thin=None,
        burn_in=None,
        progress=progress,
        **simulation,
    )
    reasoned: Posterior = told(done, "the reason of the choice", lambda made: made.chosen_for(why))
    return reasoned


def _methods(methods: Any) -> tuple[str, ...]:
    available = tuple(m for m in METHODS if m in SAMPLERS)
    if methods is None:
        return available
    return _checks.words("methods", methods, available)


def _sizes(batch_size: Any, num_examples: int, sampling: str) -> tuple[int, ...]:
    if batch_size is not None:
        size = _checks.integer("batch_size", batch_size)
        if size > num_examples:
            msg = (
                f"batch_size must be at most N = {num_examples:,} (a gradient of all data costs no more), got {size:,}."
            )
            raise ValueError(msg)
        return (size,)
    sizes = tuple(b for b in BATCH_SIZES if b < num_examples) or (max(1, num_examples // 2),)
    return tuple(_checks.batch_size(b, num_examples, sampling) for b in sizes)


def _settings(methods: tuple[str, ...], sizes: tuple[int, ...]) -> list[Setting]:
    """List every setting that could be the best, the preferred first: of two that cost the same the earlier is taken."""
    ordered = [m for m in methods if m not in LENGTHY] + [m for m in methods if m in LENGTHY]
    return [(m, {**tried, "batch_size": size}) for size in sizes for m in ordered for tried in TRIED[m]]


def _ranked(candidates: list[Candidate], budget: float) -> tuple[Candidate, ...]:
    """Put the one to take first, then those within the budget by cost, then the others by error."""
    ranked = sorted(candidates, key=lambda c: (c.error > budget, c.cost if c.error <= budget else c.error))
    order = {id(c): i for i, c in enumerate(candidates)}
    first = ranked[0]
    for other in ranked[1:]:
        if other.error <= budget and undercuts(other.cost, order[id(other)], first.cost, order[id(first)]):
            first = other
    return (first, *(c for c in ranked if c is not first))


def _candidate(
    problem: Any, method: str, settings: dict[str, Any], budget: float, sampling: str, mode: Any, law: Any, last: bool
) -> Candidate:
    more = {BUDGET[method]: budget} if method in BUDGET else {}
    if "tolerance" in more:
        more["tolerance"] = min(budget, MOST_TOLERANCE)
    if method == "langevin" and not last:
        more["drop_last"] = False
    try:
        made = plan(method, problem, **settings, **more, sampling=sampling, mode=mode, law=law)
    except Refused as refusal:
        return Candidate(method, settings, None, math.inf, math.inf, str(refusal).split(". ")[0].removesuffix("."))
    return Candidate(
        method,
        settings,
        made,
        made.expected_error,
        max(made.iact, 1.0) * step_cost(problem.num_params, settings["batch_size"]),
    )


def _rounded_up(error: float) -> str:
    """Return an error to two digits, rounded up."""
    digits = 1 - math.floor(math.log10(error))
    return f"{math.ceil(error * 10**digits) / 10**digits:.2g}"
