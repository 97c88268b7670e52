"""Robust regression: constant SGD aimed at the sandwich of the β-divergence, 10 % outliers (N = 2 000, D = 50, β = 0.5).

Part one, one data set, batches of 16 and 600: the run's variance over the sandwich's in every eigendirection, and what the
published preconditioner of arXiv 2606.00293 and continuous time's 2B/N·H⁻¹ would give. Part two, 500 data sets in one
compiled call: how often 95 % intervals (mean ± 1.96 sd of the draws) hold the parameters that made the data.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import scipy.linalg

import gradnoise as gn
from gradnoise._types import Array
from gradnoise.infer.samplers.constant_sgd import constant_sgd
from gradnoise.infer.verdicts.ratios import along_directions, spread
from gradnoise.measure import GaussianLaw
from gradnoise.models import robust_linear_regression
from gradnoise.problem import Problem
from studies import recording
from studies.together import run_together

ROWS, SIZE, BETA, OUTLIERS = 2000, 50, 0.5, 0.1
BATCHES = (16, 600)
WAYS: dict[str, dict[str, Any]] = {
    "noise at the mode": {"at": "mode"},
    "noise over the posterior": {},
    "noise over the sampler's own law": {"adapt": True},
    "mode's sandwich, noise over the sandwich": {"target": "at the mode"},
}
COLUMNS = ("batch", "way", "low", "high", "error", "low_to_mode", "high_to_mode", "verdict", "seconds")


def data_set(seed: int, rows: int = ROWS, size: int = SIZE, correlated: float = 1.0) -> tuple[Array, Problem]:
    """Return the parameters and a problem: y = x·θ + N(0, 1), one in ten rows with ten times the noise; correlated inputs."""
    mix = np.eye(size) + correlated * np.random.default_rng(2606).standard_normal((size, size)) / np.sqrt(size)
    random = np.random.default_rng([293, seed])
    x, theta = random.standard_normal((rows, size)) @ mix.T, random.standard_normal(size)
    noise = random.standard_normal(rows)
    noise[random.random(rows) < OUTLIERS] *= 10
    y = (x @ theta + noise).astype(np.float32)
    return theta, robust_linear_regression(x.astype(np.float32), y, BETA, 10.0, 1.0, intercept=False)


def law_at_mode(problem: Problem) -> GaussianLaw:
    """Laplace's law with H and C at the mode, in NumPy: Newton steps on the β-divergence (s = 1)."""
    x, y = (np.asarray(problem.data[k], np.float64) for k in ("inputs", "targets"))
    count, prior = len(y), np.diag(np.asarray(problem.hyperparams["prior_precision"])) / len(y)
    theta = np.asarray(problem.init, np.float64)
    for _ in range(6):
        r = y - x @ theta
        w = (2 * np.pi) ** (-BETA / 2) * np.exp(-BETA * r**2 / 2)
        gradients = -(w * r)[:, None] * x + prior @ theta
        hessian = x.T @ ((w * (1 - BETA * r**2))[:, None] * x) / count + prior
        theta = theta - np.linalg.solve(hessian, gradients.mean(0))
    noise = np.cov(gradients.T, bias=True)
    covariance = np.linalg.inv(count * hessian)
    return GaussianLaw(
        theta, covariance, hessian, noise, count, theta, hessian, noise, "laplace", 2, False, 6, 0.0, 0.0,
        problem.parameter_names,
    )  # fmt: skip


def sandwich_of(law: GaussianLaw) -> Array:
    """H⁻¹CH⁻¹/N at the mode."""
    inverse = np.linalg.inv(law.mode_hessian)
    return np.asarray(inverse @ law.mode_gradient_covariance @ inverse / law.num_examples)


def _averaged(problem: Problem, law: GaussianLaw, covariance: Array) -> GaussianLaw:
    """Return the law with H and C averaged over N(mode, covariance) instead: mirrored normals of unit covariance."""
    half = np.random.default_rng(1).standard_normal((4 * len(covariance), len(covariance)))
    half = scipy.linalg.solve_triangular(np.linalg.cholesky(half.T @ half / len(half)), half.T, lower=True).T
    away = np.concatenate([half, -half]) @ np.linalg.cholesky(covariance).T
    over = gn.derivatives.averages(problem, law.mode + away)
    return dataclasses.replace(law, mean=law.mode, hessian=over.hessian, gradient_covariance=over.gradient_covariance)


def widths(
    num_draws: int, ways: tuple[str, ...] = tuple(WAYS), batches: tuple[int, ...] = BATCHES
) -> list[dict[str, Any]]:
    """Part one: the run's variance over its target's along the target's eigenvectors, lowest and highest."""
    _, problem = data_set(0)
    mode = gn.mode.find_mode(problem)
    law = gn.measure.gaussian_law(problem, mode)
    sandwich, rows = sandwich_of(law), []
    for batch in batches:
        for way in ways:
            began = time.perf_counter()
            settings: dict[str, Any] = {"target": "sandwich"} | WAYS[way]
            over = law
            if settings["target"] == "at the mode":
                settings["target"], over = sandwich, _averaged(problem, law, sandwich)
            plan: Any = constant_sgd.plan(problem, batch_size=batch, mode=mode, law=over, **settings)
            run = plan.run(num_draws=num_draws, num_chains=16, key=3, progress=False)
            axes = np.linalg.eigh(plan.target)[1]
            own, to_mode = (along_directions(run.run.covariance, s, axes) for s in (plan.target, sandwich))
            rows.append(
                {
                    "batch": batch,
                    "way": way,
                    "low": float(own.min()),
                    "high": float(own.max()),
                    "error": float(np.sqrt(2 / run.effective_draws)),
                    "low_to_mode": float(to_mode.min()),
                    "high_to_mode": float(to_mode.max()),
                    "verdict": run.verdict.level,
                    "seconds": time.perf_counter() - began,
                    "sandwich_to_posterior": spread(sandwich, law.covariance)[[0, -1]],
                }
            )
    return rows


def published(batch: int, correlated: float) -> dict[str, Any]:
    """Predicted variance over the sandwich's (lowest and highest) of other preconditioners, with constant noise at the mode."""
    _, problem = data_set(0, correlated=correlated)
    law = law_at_mode(problem)
    hessian, noise, count = law.mode_hessian, law.mode_gradient_covariance, law.num_examples
    target, per_step = sandwich_of(law), noise / batch
    inverse = np.linalg.inv(hessian)
    other = (noise @ inverse + inverse @ noise) @ np.linalg.inv(per_step + noise / count) / count
    steps = {
        "exact, 2B/(N+B)·H⁻¹": 2 * batch / (count + batch) * inverse,
        "published Λ": other,
        "continuous time, 2B/N·H⁻¹": 2 * batch / count * inverse,
    }
    out: dict[str, Any] = {}
    for name, step in steps.items():
        radius = float(np.abs(np.linalg.eigvals(np.eye(SIZE) - step @ hessian)).max())
        if radius >= 1:
            out[name] = f"unstable, spectral radius {radius:.3g}"
            continue
        law_of = scipy.linalg.solve_discrete_lyapunov(np.eye(SIZE) - step @ hessian, step @ per_step @ step.T)
        out[name] = spread((law_of + law_of.T) / 2, target)[[0, -1]]
    return {"batch": batch, "condition_number": float(np.linalg.cond(hessian)), **out}


def coverage(num_sets: int, batch: int, num_draws: int = 100) -> dict[str, Any]:
    """Part two: share of 95 % intervals that hold the truth, for the sandwich and for the plain generalised posterior."""
    truths, plain = [], []
    plans: list[Any] = []
    for seed in range(num_sets):
        theta, problem = data_set(seed)
        law = law_at_mode(problem)
        truths.append(theta)
        plans.append(constant_sgd.plan(problem, batch_size=batch, target="sandwich", mode=law.mode, law=law))
        plain.append(np.abs(law.mean - theta) < 1.96 * np.sqrt(np.diag(law.covariance)))
    draws = run_together(plans, num_draws, at_once=25).astype(np.float64)
    held = np.abs(draws.mean(1) - np.stack(truths)) < 1.96 * draws.std(1, ddof=1)
    shares = held.mean(1)
    return {
        "batch": batch,
        "sets": num_sets,
        "coverage": float(shares.mean()),
        "error": float(shares.std(ddof=1) / np.sqrt(num_sets)),
        "posterior_coverage": float(np.mean(plain)),
    }


def main() -> None:
    """Print the tables and write the record; a part that is not run keeps what the record has."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", type=int, default=500)
    arguments.add_argument("--part", choices=("widths", "coverage", "all"), default="all")
    given = arguments.parse_args()
    began, found = time.perf_counter(), {} if given.part == "all" else recording.read("robust")
    if given.part != "coverage":
        found["widths"] = widths(1500)
        print(recording.table(found["widths"], COLUMNS))
        found["other_preconditioners"] = [published(b, correlated) for b in BATCHES for correlated in (1.0, 0.0)]
        print(recording.table(found["other_preconditioners"], tuple(found["other_preconditioners"][0])))
    if given.part != "widths":
        found["coverage"] = [coverage(given.sets, batch) for batch in BATCHES]
        columns = ("batch", "sets", "coverage", "error", "posterior_coverage")
        print(recording.table(found["coverage"], columns, {"coverage": ".4f"}))
    if given.sets == 500:
        parts = {k: found[k] for k in ("widths", "other_preconditioners", "coverage")}
        print(recording.write("robust", parts, time.perf_counter() - began))


if __name__ == "__main__":
    main()
