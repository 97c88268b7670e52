"""The one call: choose a sampler by its predicted error and cost, say why, and run it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Unpack

from gradnoise import _checks, derivatives, measure
from gradnoise import mode as modes
from gradnoise.infer.candidates import Candidate, Choice
from gradnoise.infer.langevin_step import fewest_steps
from gradnoise.infer.outcome import told
from gradnoise.infer.planners import PLANNERS, plan
from gradnoise.infer.posterior import Posterior
from gradnoise.infer.readable import number
from gradnoise.infer.sampler import Refused, Simulation, check_run, check_size
from gradnoise.stream import seed_of

BATCH_SIZES = (32, 128, 512)
STEP_OVERHEAD = 32  # example gradients that a step costs beside its batch: random numbers, loop
MATRICES = 2  # matrices (D, D) that a step multiplies by, each as dear as D example gradients of a linear model
FRACTIONS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
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
LENGTHY = ("langevin", "iterate_averaging")  # planned by reading the data again and again
MOST_TOLERANCE = 0.99  # of iterate averaging, whose errors are shares of a variance
BUDGET = {"iterate_averaging": "tolerance", "langevin": "max_variance_error", "sghmc": "max_variance_error"}


def choose(
    problem: Any,
    *,
    max_variance_error: float = 0.05,
    batch_size: int | None = None,
    methods: tuple[str, ...] | list[str] | None = None,
    sampling: str = "with_replacement",
    mode: Any = None,
    law: Any = None,
    key: Any = 0,
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
    mode, law
        From `find_mode` and `measure.gaussian_law`, where they are known already.
    key
        Seed of the variational law.

    Returns
    -------
    Choice

    Raises
    ------
    Refused
        If no setting is within the budget: the message names the closest and its error. A setting whose draws would have the right
        variances and another shape (`Plan.doubts`) is passed over.
    """
    _checks.problem(problem)
    budget = _checks.positive("max_variance_error", max_variance_error)
    _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    wanted = _methods(methods)
    sizes = _sizes(batch_size, problem.num_examples, sampling)
    seed_of(key)
    check_size(problem)
    found = modes.find_mode(problem) if mode is None else mode
    known = measure.gaussian_law(problem, found, key=key) if law is None else law
    tried = _tried(problem, wanted, sizes, budget, sampling, found, known)
    ranked = _ranked(tried, budget)
    while ranked[0].error <= budget and ranked[0].plan is not None and ranked[0].plan.doubts:
        ranked = _ranked([_doubted(ranked[0]), *ranked[1:]], budget)
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
    mode: Any = None,
    law: Any = None,
    progress: Any = True,
    **simulation: Unpack[Simulation],
) -> Posterior:
    """Sample the posterior: the sampler is chosen by predicted error and cost (`choose`), then run.

    Parameters
    ----------
    problem
        A `Problem` with a mode. Above 1000 parameters `mode` must be given (trained params will do); then corrected Langevin with
        a low-rank step runs, `max_variance_error`, `methods` and `law` do not count, and the verdict says what is known.
    max_variance_error, batch_size, methods, sampling, mode, law
        As in `choose`.
    num_draws, num_chains, key
        Draws a chain, chains, seed. Draws are thinned by the predicted autocorrelation.
    progress
        As in `simulate`; True also prints the choice, before anything runs.
    simulation
        dtype, checkpoint, workers, threads: as in `simulate`.

    Returns
    -------
    Posterior
        `settings["choice"]` and the first reason of the verdict say why this sampler, `settings["candidates"]` what the others
        would have done.

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
        return _sample_large(problem, batch_size, num_draws, num_chains, key, sampling, mode, progress, simulation)
    chosen = choose(
        problem,
        max_variance_error=max_variance_error,
        batch_size=batch_size,
        methods=methods,
        sampling=sampling,
        mode=mode,
        law=law,
        key=key,
    )
    _announce(chosen.reason, progress)
    candidates = str(chosen)
    made = chosen.plan.run(num_draws=num_draws, num_chains=num_chains, key=key, progress=progress, **simulation)
    reasoned: Posterior = told(made, "the reason of the choice", lambda made: made.chosen_for(chosen.reason))
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
    available = tuple(m for m in METHODS if m in PLANNERS)
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


def _tried(
    problem: Any, methods: tuple[str, ...], sizes: tuple[int, ...], budget: float, sampling: str, mode: Any, law: Any
) -> list[Candidate]:
    """Plan every setting that could be the best, those first whose plans take no time; tell why the others were left."""
    tried: list[Candidate] = []
    for lengthy in (False, True):
        for size in sizes:
            for method in methods:
                if (method in LENGTHY) != lengthy:
                    continue
                for settings in TRIED[method]:
                    full = settings | {"batch_size": size}
                    why = _left(problem, method, full, budget, sampling, law, tried)
                    if why:
                        tried.append(Candidate(method, full, None, math.inf, math.inf, why))
                    else:
                        tried.append(_candidate(problem, method, full, budget, sampling, mode, law))
    return tried


def _left(
    problem: Any,
    method: str,
    settings: dict[str, Any],
    budget: float,
    sampling: str,
    law: Any,
    tried: list[Candidate],
) -> str:
    """Say why a setting need not be planned, because it cannot be the cheapest; "" where it must be."""
    size = settings["batch_size"]
    within = [c for c in tried if c.error <= budget]
    if method not in LENGTHY or not within:
        return ""
    if method == "iterate_averaging":
        steps = float(problem.num_examples // size)
    else:
        noise = {"num_examples": problem.num_examples, "batch_size": size, "sampling": sampling}
        kind = settings.get("preconditioner")
        steps = fewest_steps(law, law.covariance if kind == "curvature" else None, budget, noise)
    cost, cheapest = steps * _step_cost(problem, size), min(c.cost for c in within)
    if cost < cheapest:
        return ""
    return f"not planned: cannot be cheaper than {number(cost)} example gradients a draw"


def _ranked(candidates: list[Candidate], budget: float) -> tuple[Candidate, ...]:
    """Put those within the budget first, the cheapest of them ahead, then the others by error."""
    return tuple(sorted(candidates, key=lambda c: (c.error > budget, c.cost if c.error <= budget else c.error)))


def _doubted(candidate: Candidate) -> Candidate:
    """Return a candidate whose variances are within the budget, and whose draws are expected to be off all the same."""
    assert candidate.plan is not None
    why = candidate.plan.doubts[0].removesuffix(".")
    return replace(candidate, plan=None, error=math.inf, cost=math.inf, reason=why)


def _step_cost(problem: Any, size: int) -> int:
    """Count the example gradients that a step is worth."""
    return size + STEP_OVERHEAD + MATRICES * int(problem.num_params)


def _candidate(
    problem: Any, method: str, settings: dict[str, Any], budget: float, sampling: str, mode: Any, law: Any
) -> Candidate:
    more = {BUDGET[method]: budget} if method in BUDGET else {}
    if "tolerance" in more:
        more["tolerance"] = min(budget, MOST_TOLERANCE)
    try:
        made = plan(method, problem, **settings, **more, sampling=sampling, mode=mode, law=law)
    except Refused as refusal:
        return Candidate(method, settings, None, math.inf, math.inf, str(refusal).split(". ")[0].removesuffix("."))
    cost = max(made.iact, 1.0) * _step_cost(problem, settings["batch_size"])
    return Candidate(method, settings, made, made.expected_error, cost)


def _rounded_up(error: float) -> str:
    """Return an error to two digits, rounded up."""
    digits = 1 - math.floor(math.log10(error))
    return f"{math.ceil(error * 10**digits) / 10**digits:.2g}"


def _announce(reason: str, progress: Any) -> None:
    """Print the choice, where a progress bar would be shown."""
    if progress is True:
        from rich.console import Console

        Console(stderr=True, highlight=False).print(f"Chosen: {reason}", markup=False)
