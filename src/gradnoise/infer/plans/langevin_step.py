"""The step of Langevin dynamics that an error budget allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq

from gradnoise import _checks, theory
from gradnoise._types import Array
from gradnoise.infer.plans.place import Place
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.verdicts.refused import Refused

RETRIES = 12
CLOSE, AIM = 0.92, 0.97  # share of the budget that a step should use, and that the next one aims at
FORGETS = 1e-10  # share of its state that the softest direction forgets a step, below which no run is long enough


def within_budget(
    made: Callable[..., Plan], where: Place, epsilon: float, matrix: Array | None, budget: float, noise: dict[str, Any]
) -> Plan:
    """Find the largest step whose plan expects no larger error than the budget; a step without a stationary law is too large.

    Searched with the rows that will do, and held to the budget with all of them.
    """
    if where.at != "posterior":  # curvature and noise from elsewhere stay as they are
        return made(epsilon)
    high, best = math.inf, None
    for _ in range(RETRIES):
        _check_resolved(epsilon, where, matrix, budget, noise)
        try:
            tried = made(epsilon, rough=True, start=None if best is None else best.predicted_covariance)
        except Refused:  # the noise outgrows its own law
            high, epsilon = epsilon, _between(best, epsilon, 0.4)
            continue
        error = _error(tried)
        if error <= budget:
            best = tried
            if error >= CLOSE * budget or high == math.inf:
                break
            epsilon = min(epsilon * AIM * budget / error, math.sqrt(epsilon * high))
        else:
            high, epsilon = epsilon, _between(best, epsilon, max(AIM * budget / error, 0.1))
    if best is None:
        raise Refused(_no_step(high, budget, noise))
    return _held(made, best, budget, noise)


def _held(made: Callable[..., Plan], best: Plan, budget: float, noise: dict[str, Any]) -> Plan:
    """Read all rows, and shrink the step by what fewer rows had missed."""
    epsilon = best.settings["step_size"]
    for _ in range(RETRIES):
        whole = made(epsilon, start=best.predicted_covariance)
        if (error := _error(whole)) <= budget:
            return whole
        epsilon *= AIM * budget / error
    raise Refused(_no_step(epsilon, budget, noise))


def _error(plan: Plan) -> float:
    return max(plan.worst_variance_error, plan.expected_error)


def _between(best: Plan | None, epsilon: float, share: float) -> float:
    """Return a smaller step than `epsilon`, above the best one that keeps the budget."""
    if best is None:
        return epsilon * share
    return math.sqrt(best.settings["step_size"] * epsilon)


def _no_step(epsilon: float, budget: float, noise: dict[str, Any]) -> str:
    return (
        f"max_variance_error = {budget:g} is met by no step that was found, down to {epsilon:.3g}, with batch_size = {noise['batch_size']}: the "
        "noise grows faster with the distance from the mode than it is forgotten. Take a larger batch_size, or infer.corrected_langevin."
    )


def rates_of(where: Place, matrix: Array | None) -> Array:
    """Eigenvalues of P H, ascending."""
    return np.sort(np.linalg.eigvals(where.hessian if matrix is None else matrix @ where.hessian).real)


def check_edge(epsilon: float, where: Place, matrix: Array | None, noise: dict[str, Any]) -> None:
    """Refuse a step beyond the stability edge."""
    edge = 4 / (noise["num_examples"] * float(rates_of(where, matrix)[-1]))
    if epsilon >= edge:
        msg = f"step_size must be below the stability edge {edge:.6g}, got {epsilon:.6g}: beyond it nothing is stationary."
        raise Refused(msg)


def _check_resolved(epsilon: float, where: Place, matrix: Array | None, budget: float, noise: dict[str, Any]) -> None:
    """Refuse a step so small that no run could take it, and float64 not tell it from none."""
    forgets = epsilon * noise["num_examples"] / 2 * float(rates_of(where, matrix)[0])
    if forgets < FORGETS:
        msg = (
            f"max_variance_error = {budget:g} needs a step so small that the softest direction forgets {forgets:.1g} of its state a step: no "
            "run is that long. Allow more, take a larger batch_size, or infer.corrected_langevin."
        )
        raise Refused(msg)


def largest_step(where: Place, matrix: Array | None, budget: float, noise: dict[str, Any]) -> float:
    """Largest ε at which no variance is wrong by more than the budget, with the noise of the posterior."""
    edge = 4 / (noise["num_examples"] * float(rates_of(where, matrix)[-1]))

    def over(log_step: float) -> float:
        error = theory.langevin_error(
            where.hessian, where.gradient_covariance, step_size=math.exp(log_step), preconditioner=matrix, **noise
        )
        return float(np.abs(error.relative).max()) - budget

    top = math.log(edge * (1 - 1e-6))
    low = top - 1.0
    while over(low) > 0:
        low -= 1.0
        _check_resolved(math.exp(low + 1.0), where, matrix, budget, noise)
    return math.exp(low if over(top) <= 0 else brentq(over, low, top, xtol=1e-6))


def fewest_steps(law: Any, matrix: Array | None, budget: float, noise: dict[str, Any]) -> float:
    """Return a lower bound on the steps between independent draws, for any step size within the budget: that of the posterior's noise.

    Along an eigenvector of P H, of curvature λ and noise s in the coordinates of P, a step h of the mean gradient makes a variance
    too wide by (hλ + hNs)/(2 - hλ): each of them bounds h, and the softest direction forgets (2 - hλ)/hλ slowly. What shuffled
    batches leave of the noise is not counted.
    """
    hessian, covariance = law.hessian, law.gradient_covariance
    if noise["sampling"] == "shuffled":
        covariance = np.zeros_like(covariance)
    else:
        covariance = theory.batch_noise(covariance, **noise)
    if matrix is not None:
        root = np.linalg.cholesky(matrix)
        hessian, covariance = root.T @ hessian @ root, root.T @ covariance @ root
    values, vectors = np.linalg.eigh(_checks.symmetrised(hessian))
    if not values[0] > 0:
        return math.inf
    along = np.einsum("di,de,ei->i", vectors, covariance, vectors, optimize=True)
    step = float((2 * budget / (values * (1 + budget) + noise["num_examples"] * np.maximum(along, 0.0))).min())
    rate = step * float(values[0])
    return float(max((2 - rate) / rate, 1.0))
