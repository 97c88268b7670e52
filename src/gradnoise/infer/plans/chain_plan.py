"""Plans of samplers whose iterates follow a linear chain, and of means of their windows: everything is read off the chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gradnoise._types import Array
from gradnoise.infer.plans.place import Place
from gradnoise.infer.plans.plan import Plan
from gradnoise.theory import LinearChain
from gradnoise.theory.linear.chain import longest_memory


def from_chain(
    method: str,
    problem: Any,
    process: Any,
    chain: LinearChain,
    where: Place,
    *,
    target: Array | None = None,
    drift_matters: bool,
    settings: dict[str, Any] | None = None,
    warnings: tuple[str, ...] = (),
    iact: float | None = None,
    thrown: Callable[[Plan], str] | None = None,
) -> Plan:
    """Plan a sampler whose iterates follow a linear chain: everything is read off it, `iact` too unless it is known."""
    return Plan(
        method=method,
        problem=problem,
        process=process,
        where=where,
        predicted_mean=where.mean,
        predicted_covariance=chain.covariance,
        target=where.law.covariance if target is None else target,
        start=chain.covariance,
        iact=longest_memory(chain) if iact is None else iact,
        relaxation_time=chain.relaxation_time,
        drift_matters=drift_matters,
        chain=chain,
        settings=settings or {},
        warnings=warnings,
        thrown=thrown,
    )


def averaged(plan: Plan, window: int) -> Plan:
    """Plan of the means of `window` consecutive iterates of a plan with a chain."""
    assert plan.chain is not None
    covariance = plan.chain.average(window)
    # the long-run covariance of window means is that of the iterates, counted in windows
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    memory = np.linalg.eigvalsh(whiten.T @ plan.chain.long_run_covariance @ whiten)[-1]
    return dataclasses.replace(
        plan, predicted_covariance=covariance, window=window, iact=max(float(memory), float(window))
    )
