"""The one call: choose a sampler by its predicted error and cost, say why, and run it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Unpack

from gradnoise import _checks, derivatives, measure
from gradnoise import mode as modes
from gradnoise.infer.planned import Plan
from gradnoise.infer.planners import PLANNERS, plan
from gradnoise.infer.posterior import Posterior
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
    "sghmc": ({},),
}
BUDGET = {"iterate_averaging": "tolerance", "langevin": "max_variance_error", "sghmc": "max_variance_error"}


@dataclass(frozen=True, eq=False)
class Candidate:
    """One setting of one sampler.

    Attributes
    ----------
    method, settings
        As for `infer.plan`.
    plan
        Its `Plan`, or None where there is none.
    error
        `Plan.expected_error`; infinite without a plan.
    cost
        Example gradients for one effective draw, a step's overhead counted as 32 + 2 D; infinite without a plan.
    reason
        Why there is no plan; "" otherwise.
    """

    method: str
    settings: dict[str, Any]
    plan: Plan | None = field(repr=False)
    error: float
    cost: float
    reason: str = ""

    def __str__(self) -> str:
        named = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        if self.plan is None:
            return f"{self.method}({named}): {self.reason}"
        return f"{self.method}({named}): variances within {100 * self.error:.2g} %, {self.cost:,.0f} example gradients a draw"


@dataclass(frozen=True, eq=False)
class Choice:
    """The sampler chosen, and every candidate it was chosen from.

    Attributes
    ----------
    best
        The cheapest candidate within the budget.
    candidates
        All that were tried, the cheapest admissible first, then by error.
    max_variance_error
        The budget.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    max_variance_error: float

    @property
    def plan(self) -> Plan:
        """The plan of the best candidate."""
        assert self.best.plan is not None
        return self.best.plan

    @property
    def reason(self) -> str:
        """Why this one, in a sentence or two."""
        admissible = [c for c in self.candidates if c.error <= self.max_variance_error]
        said = (
            f"{self.best}; the cheapest of {len(admissible)} settings within the budget of "
            f"{100 * self.max_variance_error:g} %, of {len(self.candidates)} tried."
        )
        others = {c.method: c for c in reversed(self.candidates) if c.method != self.best.method}
        against = [f"{c}" for c in others.values()]
        return said + (f" The best of the others: {'; '.join(reversed(against))}." if against else "")

    def __str__(self) -> str:
        rows = [f"{'*' if c is self.best else ' '} {c}" for c in self.candidates]
        return "\n".join([f"Budget: variances within {100 * self.max_variance_error:g} %.", *rows])


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
        Budget: relative error that a variance may have in any direction, predicted (`Plan.expected_error`).
    batch_size
        B, or None: 32, 128 and 512 are tried (those up to N).
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
        If no setting is within the budget: the message names the closest and its error.
    """
    budget = _checks.positive("max_variance_error", max_variance_error)
    _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    wanted = _methods(methods)
    sizes = _sizes(batch_size, problem.num_examples, sampling)
    seed_of(key)
    check_size(problem)
    found = modes.find_mode(problem) if mode is None else mode
    known = measure.gaussian_law(problem, found, key=key) if law is None else law
    tried = [
        _candidate(problem, method, settings | {"batch_size": size}, budget, sampling, found, known)
        for size in sizes
        for method in wanted
        for settings in TRIED[method]
    ]
    ranked = tuple(sorted(tried, key=lambda c: (c.error > budget, c.cost if c.error <= budget else c.error)))
    if not ranked[0].error <= budget:
        msg = f"max_variance_error = {budget:g} cannot be met by {', '.join(wanted)}. Closest: {ranked[0]}. Allow more, or a larger batch_size."
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
        As in `simulate`; True also prints the choice.
    simulation
        dtype, checkpoint, workers, threads: as in `simulate`.

    Returns
    -------
    Posterior
        `settings["choice"]` and the first reason of the verdict say why this sampler.

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
    check_run(num_draws=num_draws, num_chains=num_chains, key=key, thin=None, burn_in=None, simulation=simulation)
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
    made = chosen.plan.run(num_draws=num_draws, num_chains=num_chains, key=key, progress=progress, **simulation)
    return made.chosen_for(chosen.reason)


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
    return done.chosen_for(why)


def _methods(methods: Any) -> tuple[str, ...]:
    available = tuple(m for m in METHODS if m in PLANNERS)
    if methods is None:
        return available
    if isinstance(methods, str) or not len(tuple(methods)):
        msg = f"methods must be a list of names such as {available}, got {methods!r}."
        raise ValueError(msg)
    return tuple(_checks.one_of("methods", m, available) for m in methods)


def _sizes(batch_size: Any, num_examples: int, sampling: str) -> tuple[int, ...]:
    if batch_size is not None:
        return (_checks.batch_size(batch_size, num_examples, sampling),)
    sizes = tuple(b for b in BATCH_SIZES if b < num_examples) or (max(1, num_examples // 2),)
    return tuple(_checks.batch_size(b, num_examples, sampling) for b in sizes)


def _candidate(
    problem: Any, method: str, settings: dict[str, Any], budget: float, sampling: str, mode: Any, law: Any
) -> Candidate:
    more = {BUDGET[method]: budget} if method in BUDGET else {}
    try:
        made = plan(method, problem, **settings, **more, sampling=sampling, mode=mode, law=law)
    except Refused as refusal:
        return Candidate(method, settings, None, math.inf, math.inf, str(refusal).split(". ")[0].removesuffix("."))
    step = settings["batch_size"] + STEP_OVERHEAD + MATRICES * problem.num_params
    cost = max(made.iact, 1.0) * step
    return Candidate(method, settings, made, made.expected_error, cost)
