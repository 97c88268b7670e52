"""Langevin with steps that change from step to step: the covariance of the draws that are kept, exact in discrete time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise

_CHUNK = 4096  # steps whose factors are held at once
_FEW = 12  # modes up to which taking many steps together is quicker, and holds little: pairs of modes times the chunk


@dataclass(frozen=True, eq=False)
class ScheduledLangevin:
    """Law of Langevin dynamics with changing steps.

    Attributes
    ----------
    draws
        Covariance of the kept draws taken together, each counted once, (D, D), parameter².
    step_weighted
        The same, each draw counted with the step that led to it, as Welling and Teh average.
    final
        Covariance after the last step.
    """

    draws: Array
    step_weighted: Array
    final: Array


def scheduled_langevin_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_sizes: ArrayLike,
    num_examples: int,
    batch_size: int,
    preconditioner: ArrayLike | None = None,
    start: ArrayLike | None = None,
    burn_in: int = 0,
    every: int = 1,
    sampling: str = "with_replacement",
) -> ScheduledLangevin:
    r"""Covariance of stochastic gradient Langevin dynamics with a step of its own each time, θ ← θ − (ε_t/2) N P ĝ + √ε_t P^{½} V.

    Equation, Q_t = (ε_t N/2) P: Σ_{t+1} = (I − Q_tH) Σ_t (I − HQ_t) + Q_t S Q_t + ε_t P; draws: the mean of Σ_t over the kept
    t = burn_in + j·every; step_weighted: Σ_t ε_{t−1}Σ_t / Σ_t ε_{t−1} over the same t.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_sizes           ε_t     (T,)    parameter²; drift ε/2 times the total gradient
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    preconditioner       P       (D, D)  multiplies ε; symmetric positive
    start                Σ_0     (D, D)  parameter²; None: the posterior (N H)⁻¹
    burn_in, every       –       ()      steps: draw j is the state after burn_in + j·every steps, j = 1, 2, …
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `ScheduledLangevin`
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, batches independent from step to step. Any step is allowed, also one beyond the
    edge of stability for a while.
    Limit: equal steps tend to `langevin_covariance`; slowly falling steps pass through its values at each ε_t.

    Reference: Welling and Teh (2011) for falling steps and the weighted average; the law is derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> steps = 0.004 * (1 + np.arange(2000) / 10) ** -0.5
    >>> law = scheduled_langevin_covariance(H, C, step_sizes=steps, num_examples=50, batch_size=4, burn_in=100)
    >>> np.diag(law.draws).round(6), np.diag(law.step_weighted).round(6), np.diag(law.final).round(6)
    (array([0.010855, 0.041364]), array([0.011006, 0.041624]), array([0.01052 , 0.040807]))
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    examples = _checks.integer("num_examples", num_examples)
    epsilon = _checks.vector("step_sizes", step_sizes)
    if not (epsilon.size and epsilon.min() > 0):
        msg = f"step_sizes must be positive, got {_checks.shown(epsilon)}."
        raise ValueError(msg)
    late = _checks.integer("burn_in", burn_in, low=0, high=len(epsilon) - 1)
    gap = _checks.integer("every", every, high=len(epsilon) - late)
    found = modes_of(hessian, checked_preconditioner(examples / 2, preconditioner, len(noise)))
    inside = np.linalg.inv(found.basis)
    if start is None:
        spread = np.diag(1 / (examples * found.rates))
    else:
        spread = inside @ _checks.symmetric("start", start, len(noise), definite="semi") @ inside.T
    modal = _run(epsilon, late, gap, found.rates, found.gradient_noise(noise), 2 / examples, spread)
    return ScheduledLangevin(*(found.covariance(part) for part in modal))


def _run(
    epsilon: Array, late: int, gap: int, rates: Array, noise: Array, injected: float, spread: Array
) -> tuple[Array, Array, Array]:
    """Recursion in the modes of (N/2)PH: every pair of modes by itself; sums over the kept states, and the last state."""
    pairs, products = rates[:, None] + rates[None, :], np.multiply.outer(rates, rates)
    fresh = injected * np.eye(len(rates))
    total, weighted, weight = np.zeros_like(spread), np.zeros_like(spread), 0.0
    together = rates.size <= _FEW and gap > 4
    marks = [0, *range(late, len(epsilon) + 1, gap), len(epsilon)]
    with np.errstate(over="ignore", invalid="ignore"):
        for begin, end in itertools.pairwise(marks):
            if together:
                for at in range(begin, end, _CHUNK):
                    factor, added = _affine(epsilon[at : min(at + _CHUNK, end)], rates, noise, fresh)
                    spread = factor * spread + added
            else:
                for step in epsilon[begin:end].tolist():
                    spread = spread - step * (pairs * spread - fresh) + step**2 * (products * spread + noise)
            if end > late and (end - late) % gap == 0 and end > begin:
                step = float(epsilon[end - 1])
                total, weighted, weight = total + spread, weighted + step * spread, weight + step
    if not np.isfinite(spread).all():
        edge = rate_edge() / float(rates[-1])
        msg = f"step_sizes must fall below the stability edge {edge:.6g} before the covariance overflows, got {epsilon[0]:.6g} first."
        raise ValueError(msg)
    return total / ((len(epsilon) - late) // gap), weighted / weight, spread


def _affine(steps: Array, rates: Array, noise: Array, fresh: Array) -> tuple[Array, Array]:
    """Factor and addition of all these steps together, from those of one step, (1 − ε r_i)(1 − ε r_j) and ε² S_ij + ε W_ij."""
    kept = 1 - steps[:, None] * rates
    factor = kept[:, :, None] * kept[:, None, :]
    added = steps[:, None, None] ** 2 * noise + steps[:, None, None] * fresh
    while len(factor) > 1:
        if len(factor) % 2:  # the identity goes last
            factor = np.concatenate([factor, np.ones_like(factor[:1])])
            added = np.concatenate([added, np.zeros_like(added[:1])])
        added = factor[1::2] * added[::2] + added[1::2]
        factor = factor[1::2] * factor[::2]
    return factor[0], added[0]
