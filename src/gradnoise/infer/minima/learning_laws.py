"""The law of constant SGD while hyperparameters are learnt: for small steps, and at the step that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks, derivatives, theory
from gradnoise._types import Array
from gradnoise.measure import stationary_law
from gradnoise.problem import Problem

STEP_CHANGE, STEPS = 1e-3, 30  # relative change of Tr C at which step and law agree, and the rounds that they may take


def covariance_of(
    problem: Problem, mode: Any, law: str, batch_size: int | None, sampling: str, rate: Any
) -> Array | None:
    """Covariance (D, D) of q around the mode, or None where it is 0."""
    if law == "plug_in":
        return None
    hessian = derivatives.hessian(problem, mode.vector)
    if law == "posterior":
        return _checks.symmetrised(np.linalg.inv(problem.num_examples * hessian))
    noise = derivatives.gradient_moments(problem, mode.vector)[1]
    step, common = step_of(problem, hessian, noise, batch_size, sampling, rate)
    return theory.stationary_covariance(
        hessian, noise, learning_rate=1.0, preconditioner=step, time="continuous", **common
    )


def own_law_of(problem: Problem, mode: Any, batch_size: int | None, sampling: str, rate: Any) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D) of constant SGD in discrete time, noise and the step tuned to it averaged over that law itself."""
    hessian = derivatives.hessian(problem, mode.vector)
    noise = derivatives.gradient_moments(problem, mode.vector)[1]
    start = None
    for _ in range(STEPS):
        step, common = step_of(problem, hessian, noise, batch_size, sampling, rate)
        found = stationary_law(
            problem, mode, learning_rate=1.0, preconditioner=step, start=start, batch_size=common["batch_size"],
            sampling=sampling,
        )  # fmt: skip
        if found is None:
            msg = "constant SGD has no stationary law at this step."
            raise RuntimeError(msg)
        change = np.abs(np.diag(found.gradient_covariance) / np.maximum(np.diag(noise), 1e-300) - 1).max()
        noise, start = found.gradient_covariance, found.covariance
        if change < STEP_CHANGE or not isinstance(rate, str):
            return found.mean, found.covariance
    msg = "the step and the law of constant SGD do not settle together."
    raise RuntimeError(msg)


def step_of(
    problem: Problem, hessian: Array, noise: Array, batch_size: int | None, sampling: str, rate: Any
) -> tuple[Array, dict[str, Any]]:
    """Step P (D, D) of constant SGD, and how it samples."""
    common: dict[str, Any] = {
        "batch_size": _checks.drawn_batch(batch_size, problem.num_examples, sampling),
        "num_examples": problem.num_examples,
        "sampling": sampling,
    }
    if isinstance(rate, str):
        kind = {"scalar": "scalar", "diagonal": "diagonal_closed"}[rate]
        step = theory.optimal_preconditioner(hessian, noise, kind=kind, time="continuous", **common)
    else:
        step = np.asarray(rate) if np.ndim(rate) else float(rate) * np.eye(len(hessian))
    return step, common
