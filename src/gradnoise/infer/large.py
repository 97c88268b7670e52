"""Samplers where matrices (D, D) do not fit: diagonal or low-rank steps, predicted along the stiffest directions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
from scipy.special import ndtri

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array
from gradnoise.engine import record, simulate
from gradnoise.infer.posterior import Posterior, Verdict
from gradnoise.infer.sampler import Simulation, check_run
from gradnoise.infer.structured_langevin import diagonal_structure, low_rank_structure
from gradnoise.measure.diagonal import LeadingDirections, leading_directions, mean_curvature, noise_diagonal
from gradnoise.oracles import minibatch
from gradnoise.processes import compose
from gradnoise.processes.overdamped import Langevin
from gradnoise.rules import preconditioned_sgd, rule

KINDS = ("diagonal_closed", "scalar")
STIFFEST = 1.0  # largest r = eigenvalue of P H allowed: half of the stability edge
DIRECTIONS = 10
ROUNDS = 4  # of capping: the stiffest direction changes when entries are capped
FALSE_FAIL = 1e-3


@dataclass(frozen=True, eq=False)
class LargePlan:
    """A sampler of a large problem, tuned and, along its stiffest directions, predicted.

    Attributes
    ----------
    method, problem, process, settings, warnings
        As in `Plan`.
    start
        Params (D,) that it starts from.
    scale
        Square roots of a diagonal step (D,), or ones: directions are those of θ/scale.
    vectors
        The stiffest directions there, columns (D, k).
    rates
        Their relaxation rates a step (k,).
    predicted_variances
        Variance of the draws along them (k,).
    posterior_ratios
        That over the variance of the Laplace posterior (k,).
    batch_size
        B.
    window
        A draw is the mean of so many iterates; 1: it is an iterate.
    """

    method: str
    problem: Any = field(repr=False)
    process: Any = field(repr=False)
    start: Array = field(repr=False)
    scale: Array = field(repr=False)
    vectors: Array = field(repr=False)
    rates: Array
    predicted_variances: Array
    posterior_ratios: Array
    batch_size: int
    window: int = 1
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    def run(
        self,
        *,
        num_draws: int,
        num_chains: int,
        key: Any,
        thin: int | None,
        burn_in: int | None,
        progress: Any,
        **simulation: Unpack[Simulation],
    ) -> Posterior:
        """Run from `start` and judge by the variances along the stiffest directions; one epoch between draws by default."""
        check_run(
            num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation=simulation
        )
        epoch = max(1, self.problem.num_examples // self.batch_size)
        step = self.window if self.window > 1 else (epoch if thin is None else thin)
        forget = 5 * epoch if burn_in is None else burn_in
        forget = math.ceil(forget / step) * step
        run = simulate(
            self.problem,
            self.process,
            num_steps=forget + num_draws * step,
            num_chains=num_chains,
            key=key,
            init=self.problem.unflatten(self.start),
            burn_in=forget,
            record=record.averages(step) if self.window > 1 else record.draws(step),
            progress=progress,
            on_divergence="keep",
            **simulation,
        )
        return self._posterior(run, step, forget, num_chains)

    def extend(self, made: Posterior, num_draws: int, *, progress: Any = True) -> Posterior:
        """Go on with the run behind `made` for so many more draws a chain (see `Posterior.extend`)."""
        step, used = made.settings["thin"], made.settings
        more = _checks.integer("num_draws", num_draws) * step
        run = made.run.extend(more, progress=progress, on_divergence="keep")
        return self._posterior(run, step, used["burn_in"], used["num_chains"])

    def _posterior(self, run: Any, step: int, forget: int, num_chains: int) -> Posterior:
        draws = run.averages if self.window > 1 else run.draws
        verdict, effective = self._judged(draws, step, len(run.diverged))
        used = {"thin": step, "burn_in": forget, "num_steps": run.num_steps, "num_chains": num_chains}
        return Posterior(
            self.method,
            draws,
            self.problem.parameter_names,
            None,
            None,
            effective,
            verdict,
            {**used, **self.settings},
            run,
            plan=self,
        )

    def _judged(self, draws: Any, step: int, diverged: int) -> tuple[Verdict, float]:
        onto = (np.asarray(draws, np.float64) / self.scale) @ self.vectors  # (chain, draw, k)
        measured = onto.reshape(-1, onto.shape[-1]).var(0, ddof=1)
        ratios = measured / self.predicted_variances
        kept = (1 - self.rates) ** (2 * step)
        memory = (1 + kept) / (1 - kept)
        effective = onto.shape[0] * onto.shape[1] / np.maximum(memory, 1.0)
        error = np.sqrt(2 / effective)
        worst = int(np.argmax(np.abs(ratios - 1) / error))
        numbers = {
            "largest_variance_ratio": float(ratios.max()),
            "smallest_variance_ratio": float(ratios.min()),
            "largest_posterior_ratio": float(self.posterior_ratios.max()),
            "smallest_posterior_ratio": float(self.posterior_ratios.min()),
        }
        told = (
            f"Along the {len(ratios)} stiffest directions simulated variances are {ratios.min():.3g} to {ratios.max():.3g} times the "
            f"predicted ones (standard error {error[worst]:.2g})."
        )
        limit = 0.2 + ndtri(1 - FALSE_FAIL / len(ratios) / 2) * error[worst]
        bad = abs(ratios[worst] - 1) > limit or diverged
        level = "not trustworthy" if bad else "approximate"
        lost = (f"{diverged} chains diverged.",) if diverged else ()
        return Verdict(level, (*lost, told, *self.warnings), numbers), float(effective.min())

    def __str__(self) -> str:
        low, high = self.posterior_ratios.min(), self.posterior_ratios.max()
        return " ".join(
            [
                f"{self.method}: along its {len(self.rates)} stiffest directions variances {low:.3g} to {high:.3g} times "
                "Laplace's; what happens in the others is not predicted.",
                *self.warnings,
            ]
        )


def plan_large_sgd(
    problem: Any,
    *,
    batch_size: int,
    preconditioner: Any,
    mode: Any,
    sampling: str = "with_replacement",
    window: int = 1,
    key: Any = 0,
) -> LargePlan:
    """Tune constant SGD on a problem of more than 1000 parameters, around given params.

    The step is the closed form of Mandt et al., corollary 3, P_kk = 2B/(N C_kk), or theorem 1's scalar 2BD/(N Tr C), with C from
    a random part of the data. Entries are capped at one value, chosen so that the stiffest rate of P H is at most 1, half of
    the stability edge; the share that was capped is in `settings` and in the warnings.
    """
    size = _checks.batch_size(batch_size, problem.num_examples, sampling)
    kind = _kind(preconditioner)
    start = _start(problem, mode)
    noise = noise_diagonal(problem, start, key=key)
    wanted = _wanted(noise.variance, kind, size, problem.num_examples)
    step, found = _capped(problem, start, wanted, key)
    capped = float(np.mean(step < wanted * (1 - 1e-9)))
    warnings: tuple[str, ...] = ()
    if capped > 0:
        warnings = (
            f"The step that would match the posterior is beyond stability for {100 * capped:.3g} % of the parameters and was capped "
            f"at {step.max():.3g}: along them draws are narrower than the posterior.",
        )
    settings = {
        "batch_size": size,
        "preconditioner": kind,
        "learning_rate": float(step.mean()),
        "capped": capped,
        "cap": float(step.max()),
        "stiffest_rate": float(found.rates[0]),
        "window": window,
    }
    per_step = theory.noise_factor(batch_size=size, sampling=sampling, num_examples=problem.num_examples)
    factors = theory.averaging_factors(np.diag(found.rates), learning_rate=1.0, window=window)[::-1]  # theory's ascend
    variances = found.noise * per_step / (window * found.rates**2) * factors
    name = "iterate averaging" if window > 1 else "constant SGD"
    return LargePlan(
        f"{name} ({kind} preconditioner)",
        problem,
        compose(minibatch(size, sampling), rule(preconditioned_sgd, learning_rate=1.0, preconditioner=step)),
        start,
        np.sqrt(step),
        found.vectors,
        found.rates,
        variances,
        variances * problem.num_examples * found.rates,
        size,
        window,
        settings,
        warnings,
    )


def _kind(preconditioner: Any) -> str:
    if not isinstance(preconditioner, str) or preconditioner not in KINDS:
        msg = f"preconditioner must be {' or '.join(map(repr, KINDS))} above {derivatives.DENSE} parameters, where no matrix (D, D) is formed; got {_checks.shown(preconditioner)}."
        raise ValueError(msg)
    return preconditioner


def plan_large_langevin(
    problem: Any,
    *,
    batch_size: int,
    preconditioner: str,
    rank: int,
    fraction: float,
    mode: Any,
    sampling: str = "with_replacement",
    key: Any = 0,
) -> LargePlan:
    """Tune corrected Langevin on a problem of more than 1000 parameters, around given params.

    "low_rank": the `rank` stiffest directions of H by Lanczos, the noise within them, means of H and C over the rest.
    "diagonal": the variances of the example gradients stand for the diagonal of H too (they agree where the model is right).
    """
    size = _checks.batch_size(batch_size, problem.num_examples, sampling)
    start, examples = _start(problem, mode), problem.num_examples
    spread = noise_diagonal(problem, start, key=key).variance
    per_step = theory.noise_factor(batch_size=size, sampling=sampling, num_examples=examples)
    common: dict[str, Any] = {"num_examples": examples, "fraction": fraction}
    if preconditioner == "diagonal":
        curvature = np.maximum(spread, 1e-3 * spread.mean())
        found = leading_directions(problem, start, preconditioner=1 / curvature, count=DIRECTIONS, key=key)
        made = diagonal_structure(curvature, spread * per_step, float(found.rates[0]), **common)
        scale, rates = np.sqrt(made.preconditioner), found.rates * made.eta
        added = np.diag(found.vectors.T @ ((made.root / scale) ** 2 * found.vectors.T).T)
        variances = (added + made.eta * found.noise * per_step) / (rates * (2 - rates))
    else:
        found = leading_directions(problem, start, preconditioner=np.ones(len(start)), count=rank + 1, key=key)
        values, vectors = found.rates[:-1], found.vectors[:, :-1]
        noise = found.noise_covariance[:-1, :-1] * per_step
        left = len(start) - rank
        mean = (mean_curvature(problem, start, key=key) * len(start) - values.sum()) / left
        rest = (float(found.rates[-1]), max(mean, 0.0), float(spread.sum() * per_step - np.trace(noise)) / left)
        made = low_rank_structure(values, vectors, noise, rest, **common)
        found = LeadingDirections(values, vectors, noise)
        scale, rates, variances = np.ones(len(start)), np.full(rank, made.eta), 1 / (examples * values)
    posterior = rates if preconditioner == "diagonal" else found.rates
    settings = {
        "batch_size": size,
        "preconditioner": preconditioner,
        "fraction": fraction,
        "eta": made.eta,
        "eta_max": made.eta_max,
    }
    return LargePlan(
        f"corrected Langevin ({'diagonal' if preconditioner == 'diagonal' else f'rank {rank}'})",
        problem,
        Langevin(minibatch(size, sampling), 1.0, made.preconditioner, made.root),
        start,
        scale,
        found.vectors,
        rates,
        variances,
        variances * examples * posterior,
        size,
        1,
        settings,
    )


def _start(problem: Any, mode: Any) -> Array:
    if mode is None:
        msg = f"mode must be given for a problem of {problem.num_params} parameters: params near a minimum, such as trained ones."
        raise ValueError(msg)
    return derivatives.as_vector("mode", problem, mode)


def _wanted(variance: Array, kind: str, batch_size: int, num_examples: int) -> Array:
    if not variance.max() > 0:
        msg = "mode must be a point with gradient noise, but every example has the same gradient there."
        raise ValueError(msg)
    spread = variance if kind == "diagonal_closed" else np.full_like(variance, variance.mean())
    return np.asarray(2 * batch_size / num_examples / np.maximum(spread, 1e-12 * variance.max()))


def _capped(problem: Any, start: Array, wanted: Array, key: Any) -> tuple[Array, LeadingDirections]:
    """Cap the step until its stiffest rate is at most STIFFEST, and return it with its leading directions."""
    cap, count = float(np.median(wanted)), min(DIRECTIONS, len(wanted) - 1)
    step = np.minimum(wanted, cap)
    for _ in range(ROUNDS):
        found = leading_directions(problem, start, preconditioner=step, count=1, key=key)
        stiffest = float(found.rates[0])
        if 0.5 * STIFFEST <= stiffest <= STIFFEST or (stiffest < STIFFEST and cap >= wanted.max()):
            break
        cap *= 0.95 * STIFFEST / stiffest  # exact where all entries are capped
        step = np.minimum(wanted, cap)
    found = leading_directions(problem, start, preconditioner=step, count=count, key=key)
    if found.rates[0] > STIFFEST:
        scale = STIFFEST / float(found.rates[0])
        step = step * scale
        found = LeadingDirections(found.rates * scale, found.vectors, found.noise_covariance * scale)
    return step, found
