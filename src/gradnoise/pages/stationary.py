"""Stage "stationary law": SGD at the user's settings, predicted three ways and simulated two ways, direction by direction."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import optax

from gradnoise import derivatives, oracles
from gradnoise._types import Array
from gradnoise.engine import Divergence, Run, record, simulate
from gradnoise.infer.verdicts.readable import number
from gradnoise.measure import LocalGeometry, SelfConsistentLaw
from gradnoise.mode import Mode
from gradnoise.pages.budget import Budget
from gradnoise.pages.predictions import Predictions, Settings, along, predict
from gradnoise.pages.verdicts import SILENT, compared, verdict
from gradnoise.results import Estimate, mean_of
from gradnoise.rules import rule

STANDARD_ERROR = 0.03  # relative, wanted in the softest direction
BURN_IN = 5  # relaxation times, where the budget allows
RELAXED = 3  # relaxation times after which a start at half the predicted variance is off by 0.1 %
LOADER = (
    "A data loader shuffles: it passes over all examples in a new order each epoch, so the shuffled column is what training "
    "with one gives. Batches drawn independently at each step give the other column."
)
WHOLE = " An epoch is one batch of all examples: its gradient has no noise."


class Length(NamedTuple):
    """Chains, steps of each and burn-in; `epoch` is what the recorded steps are a multiple of."""

    num_chains: int
    num_steps: int
    burn_in: int


def plan(predicted: Predictions, budget_steps: int, num_chains: int | None, epoch: int) -> Length:
    """Choose chains and steps for 3 % in the slowest direction: relative standard error √(2τ/(chains·steps)).

    Forgetting takes five relaxation times of every chain, so slow problems get fewer chains; what still does not fit is
    cut, and the page shows the standard errors and leaves out directions that have not forgotten their start.
    """
    needed = 2 * float(predicted.quadratic_time.max()) / STANDARD_ERROR**2
    forget = BURN_IN * float(predicted.relaxation.max())
    chains = num_chains or next((c for c in (64, 32, 16) if c * forget <= budget_steps / 2), 16)
    burn_in = math.ceil(min(forget, 0.4 * budget_steps / chains))
    kept = max(256.0, min(needed, budget_steps - chains * burn_in) / chains)
    kept = max(1, math.ceil(kept / epoch)) * epoch
    return Length(chains, burn_in + kept, burn_in)


def run_sgd(
    problem: Any, mode: Mode, start: Array, settings: Settings, length: Length, sampling: str, key: int, progress: Any
) -> Run | None:
    """Simulate from half the predicted law (so that forgetting is tested); None where every chain diverges."""
    numbers = {"learning_rate": settings.learning_rate} | ({"momentum": settings.momentum} if settings.momentum else {})
    try:
        return simulate(
            problem,
            oracles.minibatch(settings.batch_size, sampling, drop_last=sampling != "shuffled"),
            rule(optax.sgd, **numbers),
            num_steps=length.num_steps,
            num_chains=length.num_chains,
            key=key,
            init=(mode, start / 2),
            burn_in=length.burn_in,
            record=record.moments(),
            progress=progress,
            on_divergence="keep",
        )
    except Divergence:
        return None


class Observed(NamedTuple):
    """Variances (D,) about the mean along a basis, and the mean's distance (D,) from the mode."""

    variances: Estimate
    shift: Array


def observe(run: Run | None, mode: Array, basis: Array) -> Observed | None:
    """Project a run onto the columns of a basis; standard errors come from the chains. None without two chains."""
    if run is None or len(run.pieces.count) < 2:
        return None
    pieces = run.pieces.second_moments(run.mean)
    along = np.einsum("di,pde,ei->pi", basis, pieces, basis, optimize=True)
    return Observed(mean_of(along), (run.mean - mode) @ basis)


def stationary_section(
    problem: Any, mode: Mode, geometry: LocalGeometry, posterior: Array, settings: Settings, law: SelfConsistentLaw | None, *,
    num_chains: int | None, budget: Budget, key: int, progress: Any,
) -> dict[str, Any]:  # fmt: skip
    """Predict, simulate, compare; `posterior` is the covariance (D, D) to compare with, `law` from `settled`, `progress` makes a bar by name."""
    predicted, size = predict(problem, geometry, settings, law), settings.batch_size
    epoch, rest = math.ceil(problem.num_examples / size), problem.num_examples % size
    found: dict[str, Observed | None] = {}
    lengths: dict[str, Length] = {}
    diverged: dict[str, int] = {}
    for name, sampling, start, multiple in (
        ("independent", "with_replacement", predicted.start, 1),
        ("shuffled", "shuffled", predicted.shuffled_start, epoch),
    ):
        lengths[name] = plan(predicted, budget.steps(name, problem, size), num_chains, multiple)
        run = run_sgd(problem, mode, start, settings, lengths[name], sampling, key, progress(f"SGD, {name} batches"))
        found[name] = observe(run, mode.vector, geometry.eigenvectors)
        diverged[name] = lengths[name].num_chains if run is None else len(run.diverged)
    rows = _rows(geometry, predicted, posterior, found, lengths)
    out = {
        "learning_rate": settings.learning_rate,
        "batch_size": size,
        "momentum": settings.momentum,
        "learning_rate_from": settings.chosen,
        "edge": settings.edge,
        "fraction_of_edge": settings.learning_rate / settings.edge,
        "num_chains": lengths["independent"].num_chains,
        "num_steps": lengths["independent"].num_steps,
        "burn_in": lengths["independent"].burn_in,
        "shuffled_num_chains": lengths["shuffled"].num_chains,
        "shuffled_num_steps": lengths["shuffled"].num_steps,
        "shuffled_burn_in": lengths["shuffled"].burn_in,
        "num_diverged": diverged["independent"],
        "shuffled_num_diverged": diverged["shuffled"],
        "noise_growth": noise_growth(problem, mode, geometry, predicted.start),
        "dtype": "float32",
        "directions": rows,
        **compared(rows, "", ("averaged", "discrete"), "simulated", "simulated_standard_error"),
        **compared(
            rows,
            "shuffled_",
            ("shuffled_averaged", "shuffled_predicted"),
            "shuffled_simulated",
            "shuffled_standard_error",
        ),
        "steps_per_epoch": epoch,
        "last_batch_size": rest or size,
        "loader_note": loader_note(rows, problem.num_examples, size),
    }
    return out | {"verdict": verdict(out)}


def loader_note(rows: list[dict[str, Any]], num_examples: int, batch_size: int) -> str:
    """Say which column is a loader's, and what the examples do that the batch size leaves over."""
    rest = num_examples % batch_size
    if not rest:
        return LOADER + (WHOLE if num_examples == batch_size else "")
    told = (
        f" Batches of {batch_size} do not divide {num_examples:,} examples: the last batch of an epoch has {rest}. PyTorch's DataLoader, "
        "Keras' fit and tf.data keep it by default, and so do the shuffled columns. With drop_last=True (tf.data: drop_remainder=True) "
        "these examples are left out of the epoch, another law."
    )
    moving = [r for r in rows if min(r["shuffled_dropped"], r["discrete"]) > SILENT * r["posterior"]]
    if not moving:
        return LOADER + told
    kept, dropped, discrete = (
        np.array([r[k] for r in moving]) for k in ("shuffled_predicted", "shuffled_dropped", "discrete")
    )
    ratio = kept / dropped
    low, high = number(ratio.min()), number(ratio.max())
    told += (
        f" The batch kept gives {low if low == high else f'{low} to {high}'} times the variance predicted without it"
    )
    if (more := int((kept > discrete).sum())) > 0:
        told += f", and in {more} of {len(kept)} directions more than independent batches have: each of its examples counts {number(batch_size / rest)} times as much"
    return LOADER + told + "."


def noise_growth(problem: Any, mode: Mode, geometry: LocalGeometry, covariance: Array, num_draws: int = 64) -> float:
    """Tr C averaged over the predicted stationary law, over Tr C at the mode: 1 where the noise is constant."""
    values, vectors = np.linalg.eigh(covariance)
    z = np.random.default_rng(0).standard_normal((num_draws // 2, len(values)))
    steps = (np.concatenate([z, -z]) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return float(
        np.trace(derivatives.averages(problem, mode.vector + steps).gradient_covariance) / geometry.noise_trace
    )


def _rows(
    geometry: LocalGeometry, predicted: Predictions, posterior: Array,
    found: dict[str, Observed | None], lengths: dict[str, Length],
) -> list[dict[str, Any]]:  # fmt: skip
    target = along(geometry.eigenvectors, posterior)

    def of(name: str, i: int) -> tuple[float | None, float | None, float | None]:
        seen = found[name]
        law = predicted.shuffled if name == "shuffled" else predicted.discrete
        silent = law[i] <= SILENT * target[i]  # what moves there is rounding
        if seen is None or silent or lengths[name].burn_in < RELAXED * predicted.relaxation[i]:
            return None, None, None
        return (
            float(seen.variances.value[i]),
            float(seen.variances.standard_error[i]),
            float(seen.shift[i] / target[i] ** 0.5),
        )

    rows = []
    for i, curvature in enumerate(geometry.eigenvalues):
        simulated, error, shift = of("independent", i)
        shuffled, shuffled_error, shuffled_shift = of("shuffled", i)
        rows.append(
            {
                "index": i,
                "curvature": curvature,
                "relaxation_steps": predicted.relaxation[i],
                "posterior": target[i],
                "continuous": predicted.continuous[i],
                "discrete": predicted.discrete[i],
                "averaged": None if predicted.averaged is None else predicted.averaged[i],
                "simulated": simulated,
                "simulated_standard_error": error,
                "shift": shift,
                "shuffled_predicted": predicted.shuffled[i],
                "shuffled_averaged": None if predicted.shuffled_averaged is None else predicted.shuffled_averaged[i],
                "shuffled_dropped": None if predicted.shuffled_dropped is None else predicted.shuffled_dropped[i],
                "shuffled_simulated": shuffled,
                "shuffled_standard_error": shuffled_error,
                "shuffled_shift": shuffled_shift,
            }
        )
    return rows
