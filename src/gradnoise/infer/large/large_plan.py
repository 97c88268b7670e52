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
from gradnoise.infer.large.diagonal_step import (
    DIRECTIONS,
    checked_kind,
    cut_reason,
    excess_kl,
    stable_step,
    wanted_step,
)
from gradnoise.infer.large.structured_step import diagonal_structure, low_rank_structure
from gradnoise.infer.plans.simulation import Simulation, check_run
from gradnoise.infer.posteriors.posterior import Posterior, Verdict
from gradnoise.infer.verdicts.judges import Judges, keeping
from gradnoise.measure.products.leading_directions import LeadingDirections, leading_directions
from gradnoise.measure.products.noise_diagonal import mean_curvature, noise_diagonal
from gradnoise.oracles import minibatch
from gradnoise.processes import compose
from gradnoise.processes.langevin_dynamics import Langevin
from gradnoise.rules import preconditioned_sgd, rule

MOVED = 5.0  # standard errors from the first half of the draws to the second that count as not stationary
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
        num_draws: int = 1000,
        num_chains: int = 4,
        key: Any = 0,
        thin: int | None = None,
        burn_in: int | None = None,
        progress: Any = True,
        **simulation: Unpack[Simulation],
    ) -> Posterior:
        """Run from `start` and judge by the variances along the stiffest directions; one epoch between draws by default."""
        check_run(
            num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation=simulation,
            progress=progress, own=self.run,
        )  # fmt: skip
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
        with keeping(run):
            draws = run.averages if self.window > 1 else run.draws
        judges = Judges(run)
        found = judges.ask("the comparison along the stiffest directions", lambda: self._judged(draws, step, run), None)
        verdict = judges.verdict(lambda: Verdict("not trustworthy", (), {}) if found is None else found[0])
        effective = 0.0 if found is None else found[1]
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

    def _judged(self, draws: Any, step: int, run: Any) -> tuple[Verdict, float]:
        diverged = len(run.diverged)
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
            f"predicted ones (standard error at most {error.max():.2g})."
        )
        limit = 0.2 + ndtri(1 - FALSE_FAIL / len(ratios) / 2) * error[worst]
        off = abs(ratios[worst] - 1) > limit
        level = "not trustworthy" if off or diverged else "approximate"
        lost = (f"{diverged} chain{'s' * (diverged > 1)} diverged.",) if diverged else ()
        cure = (self._cure(onto, step),) if off or diverged else ()
        return Verdict(level, (*lost, told, *cure, *self.warnings), numbers), float(effective.min())

    def _cure(self, onto: Array, step: int) -> str:
        """Say what to do about a run that is not as predicted: it has not settled, or its steps are too long."""
        half = onto.shape[1] // 2
        smaller = "a smaller fraction" if "fraction" in self.settings else "a smaller batch_size"
        other = " or infer.constant_sgd, whose noise is that of the data alone" * ("fraction" in self.settings)
        if half:
            gap = np.abs(
                (onto[:, half:].mean((0, 1)) - onto[:, :half].mean((0, 1))) / np.sqrt(self.predicted_variances)
            )
            kept = (1 - self.rates) ** step
            error = np.sqrt(4 * (1 + kept) / (1 - kept) / onto[..., 0].size)  # of that, if all were as predicted
            if (gap / error).max() > MOVED:
                return (
                    f"The run is not stationary: from the first half of the draws to the second their mean moves by {gap.max():.2g} predicted "
                    f"standard deviations. Start nearer a minimum (train `mode` further), give a longer burn_in, or use {smaller}{other}."
                )
        return f"The run is stationary, but curvature or noise are not those of the start where it goes: use {smaller}{other}, or a longer burn_in."

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

    The step is the closed form of Mandt et al., corollary 3, w_k = 2B/(N C_kk), or theorem 1's scalar 2BD/(N Tr C), with C from
    a random part of the data. Where its stiffest rate, the largest eigenvalue of P H, is beyond 1, half of the stability edge, it
    is cut to that: its largest entries capped at one value, or all of it scaled with the upper half of its entries clipped at the
    median (a network's small C_kk do not stay small where the draws go: unclipped steps left their predicted law 300 times too
    wide), whichever is nearer to the posterior.
    For any diagonal P corollary 3 has KL = ½ Σ (P_kk/w_k - ln P_kk/w_k) + a constant: its excess over the least,
    ½ Σ (P_kk/w_k - 1 - ln P_kk/w_k), decides. What was cut is in `settings` and in the warnings.
    """
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
    kind = checked_kind(preconditioner)
    start = _start(problem, mode)
    noise = noise_diagonal(problem, start, key=key)
    wanted = wanted_step(noise.variance, kind, size, problem.num_examples)
    step, found = stable_step(problem, start, wanted, key)
    capped = float(np.mean(step < wanted * (1 - 1e-9)))
    settings = {
        "batch_size": size,
        "preconditioner": kind,
        "learning_rate": float(step.mean()),
        "capped": capped,
        "cap": float(step.max()),
        "excess_kl": excess_kl(step, wanted),
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
        cut_reason(step, wanted, capped, kind),
    )


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
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
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
