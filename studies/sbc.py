"""Simulation-based calibration of every sampler on logistic regression: 1 000 synthetic data sets of one shape, 99 draws each.

θ ~ N(0, 1), x ~ N(0, Σ), y ~ Bernoulli; ranks of θ among the draws are uniform if the draws are the posterior's. NUTS is the
control; SGLD at the step where theory predicts twice the posterior's variance must fail, as predicted. Problems are traced
arguments of the compiled code, so all data sets share one compilation.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.optimize import brentq

import gradnoise as gn
from gradnoise._types import Array
from gradnoise.infer import gaussian, laplace
from gradnoise.infer.choice.plan import SAMPLERS
from gradnoise.infer.plans.chain_plan import from_chain
from gradnoise.infer.plans.place import place
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.samplers.nuts import _one_chain as one_nuts_chain
from gradnoise.mode import find_mode
from gradnoise.problem import Problem
from studies import recording
from studies.together import AT_ONCE, run_together, stacked

ROWS, BATCH, DRAWS = 500, 32, 99
MIX = np.array([[1.0, 0.5, 0.0], [0.0, 0.8, 0.4], [0.0, 0.0, 1.2]])
COLUMNS = (
    "sampler",
    "passed",
    "worst_mean_z",
    "worst_spread_z",
    "spread_ratio",
    "expected_spread",
    "worst_p",
    "seconds",
)
Known = tuple[Problem, Any, Any]  # problem, mode, variational law
Sampler = Callable[[list[Known]], Any]
SETTINGS: dict[str, dict[str, Any]] = {
    "iterate_averaging": {"preconditioner": "curvature", "tolerance": 0.1, "batch_size": 128},
    "langevin": {"preconditioner": "curvature"},
}
LARGER = {"iterate_averaging": 4000}  # rows: fewer are refused within 10 %, where the loss is too skewed


def data_set(seed: int, rows: int = ROWS) -> tuple[Array, Problem]:
    """Return parameters from the prior and a problem with data made by them."""
    random = np.random.default_rng([20260, seed])
    theta, x = random.standard_normal(3), random.standard_normal((rows, 3)) @ MIX
    y = (random.random(rows) < 1 / (1 + np.exp(-x @ theta))).astype(np.float32)
    return theta, gn.models.logistic_regression(x.astype(np.float32), y, prior_scale=1.0, intercept=False)


def planned(name: str, **settings: Any) -> Sampler:
    """Return a registered sampler, tuned for each data set anew; all data sets run together."""

    def draw(known: list[Known]) -> Array:
        settled = {"batch_size": BATCH, **SETTINGS.get(name, {}), **settings}
        plans = [SAMPLERS[name].plan(p, mode=mode, law=law, **settled) for p, mode, law in known]
        return run_together(plans, DRAWS)

    return draw


def too_wide(known: list[Known], ratio: float = 2.0) -> Array:
    """SGLD (preconditioned by the curvature) at the step where its mean variance ratio is predicted to be `ratio`."""
    return run_together([_wide_plan(*one, ratio) for one in known], DRAWS)


def _wide_plan(problem: Problem, mode: Any, law: Any, ratio: float) -> Plan:
    where = place(problem, "posterior", mode=mode, law=law)
    matrix = np.linalg.inv(where.hessian)

    def chain(rate: float) -> Any:
        common: dict[str, Any] = {"batch_size": BATCH, "learning_rate": rate, "preconditioner": matrix}
        injected = 2 * rate / ROWS * matrix
        return gn.theory.linear_chain(where.hessian, where.gradient_covariance, injected=injected, **common)

    def excess(log_rate: float) -> float:
        wide = chain(float(np.exp(log_rate))).covariance
        return float(np.trace(np.linalg.solve(law.covariance, wide)) / 3 - ratio)

    rate = float(np.exp(brentq(excess, np.log(1e-4), np.log(1.5))))
    process = gn.processes.langevin(
        gn.oracles.minibatch(BATCH), learning_rate=rate, preconditioner=matrix, num_examples=ROWS
    )
    return from_chain("SGLD, too wide", problem, process, chain(rate), where, drift_matters=False)


def exact(function: Any) -> Sampler:
    """Return a sampler whose draws are independent."""

    def draw(known: list[Known]) -> Array:
        made = []
        for seed, (problem, mode, law) in enumerate(known):
            more = {"law": law} if function is gaussian else {}
            made.append(function(problem, num_draws=DRAWS, num_chains=1, key=seed, mode=mode, **more).draws[0])
        return np.stack(made)

    return draw


def control(known: list[Known]) -> Array:
    """NUTS, one chain a data set, every third draw kept; all data sets in one compiled call."""
    modes = np.stack([mode.vector for _, mode, _ in known])
    roots = np.stack([np.linalg.cholesky(law.covariance) for _, _, law in known])
    starts = np.random.default_rng(0).standard_normal(modes.shape)
    out = []
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(7), len(known))
        for at in range(0, len(known), AT_ONCE):
            part = slice(at, at + AT_ONCE)
            problems = stacked([p for p, _, _ in known[part]], np.float64)
            whitened = np.asarray(_nuts(problems, modes[part], roots[part], keys[part], starts[part])[0])
            out.append(modes[part, None] + np.einsum("sij,sdj->sdi", roots[part], whitened[:, 2::3]))
    return np.concatenate(out)


_nuts = jax.jit(jax.vmap(functools.partial(one_nuts_chain, num_draws=3 * DRAWS)))


def samplers() -> dict[str, Sampler]:
    """Return all samplers; those registered later appear by themselves."""
    return {
        "nuts": control,
        "laplace": exact(laplace),
        "gaussian": exact(gaussian),
        **{name: planned(name) for name in SAMPLERS},
        "SGLD at 2x variance": too_wide,
    }


def study(num_sets: int, chosen: dict[str, Sampler] | None = None, *, false_fail: float = 1e-3) -> list[dict[str, Any]]:
    """Return one row a sampler: the calibration test over all data sets."""
    shared = _known(num_sets, ROWS)
    rows = []
    for name, draw in (samplers() if chosen is None else chosen).items():
        began = time.process_time()
        truths, known = _known(num_sets, LARGER[name]) if name in LARGER else shared
        try:
            draws = draw(known)
        except (ValueError, TypeError) as refusal:
            rows.append({"sampler": name, "passed": "refused", "reason": str(refusal)})
            continue
        test = gn.diagnose.calibration_test(
            gn.diagnose.rank_statistics(draws, np.stack(truths)), DRAWS, false_fail=false_fail
        )
        rows.append(_row(name, test, time.process_time() - began))
    return rows


def _known(num_sets: int, rows: int) -> tuple[list[Array], list[Known]]:
    """Return the true parameters, and problem, mode and law of every data set."""
    truths, known = [], []
    for seed in range(num_sets):
        theta, problem = data_set(seed, rows)
        mode = find_mode(problem)
        known.append((problem, mode, gn.measure.gaussian_law(problem, mode)))
        truths.append(theta)
    return truths, known


def _row(name: str, test: Any, seconds: float) -> dict[str, Any]:
    return {
        "sampler": name,
        "rows": LARGER.get(name, ROWS),
        "passed": test.passed,
        "worst_mean_z": float(test.mean_z[np.abs(test.mean_z).argmax()]),
        "worst_spread_z": float(test.spread_z[np.abs(test.spread_z).argmax()]),
        "limit": test.limit,
        "spread_ratio": float(test.spread_ratio.mean()),
        "expected_spread": gn.diagnose.expected_rank_spread(2.0 if name == "SGLD at 2x variance" else 1.0),
        "worst_p": float(test.chi_square_p.min()),
        "mean_z": test.mean_z,
        "spread_z": test.spread_z,
        "chi_square_p": test.chi_square_p,
        "seconds": seconds,
    }


def main() -> None:
    """Print the table and write the record; with --only, rows of other samplers in the record are kept."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", type=int, default=1000)
    arguments.add_argument("--only", nargs="+", help="samplers to run")
    given = arguments.parse_args()
    began = time.perf_counter()
    chosen = {name: draw for name, draw in samplers().items() if given.only is None or name in given.only}
    rows = study(given.sets, chosen)
    print(recording.table(rows, COLUMNS, {"worst_p": ".2g"}))
    if given.sets == 1000:
        kept = [] if given.only is None else recording.read("sbc")["rows"]
        rows = [row for row in kept if row["sampler"] not in chosen] + rows
        print(recording.write("sbc", {"sets": given.sets, "rows": rows}, time.perf_counter() - began))


if __name__ == "__main__":
    main()
