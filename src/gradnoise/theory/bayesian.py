"""Discrete-time optimal Bayesian tuning: the least correlated draws that a bias budget allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.bias import variance_errors
from gradnoise.theory.chain import LinearChain
from gradnoise.theory.modes import modes_of, rate_edge
from gradnoise.theory.noise import batch_noise
from gradnoise.theory.stationary import chain_from_noise

_LEAST_SHARE, _MOST_MOMENTUM = 1e-3, 0.995


@dataclass(frozen=True, eq=False)
class BayesianTuning:
    """Setting of a Langevin sampler, and what its draws are worth.

    Attributes
    ----------
    learning_rate
        η, parameter²/loss (with a preconditioner: divided by it); SGLD's ε is 2η/N.
    momentum
        μ, 0 for SGLD.
    errors
        `variance_errors` against the posterior, (D,), ascending.
    iact
        Largest integrated autocorrelation time of aᵀθ over all a, steps.
    quadratic_iact
        The same over all quadratic forms: what estimates of variances see, steps.
    chain
        The law in discrete time.
    """

    learning_rate: float
    momentum: float
    errors: Array
    iact: float
    quadratic_iact: float
    chain: LinearChain


def bayesian_tuning(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    method: str = "corrected",
    budget: float = 0.05,
    preconditioner: ArrayLike | None = None,
    sampling: str = "with_replacement",
) -> BayesianTuning:
    r"""Tune a Langevin sampler so that its draws are worth most within a budget for the error of every variance, exact in discrete time.

    Equation: minimise max(τ, τ₂) subject to |eig(Σ*⁻¹Σ) − 1| ≤ δ, Σ* = (N H)⁻¹; over η for "langevin", θ ← θ − ηPĝ + √(2ηP/N) ξ; over η
    and μ for "corrected" (no error at all), whose gradient noise is filled up by `langevin_correction`, η up to
    2(1−μ)/λ_max(P [(1−μ)/(1+μ) H + N S]).

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    method               –       –       "corrected" or "langevin"
    budget               δ       ()      largest relative error of a variance; unused by "corrected"
    preconditioner       P       (D, D)  shape of the step; default 1
    returns              –       –       `BayesianTuning`
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, Gaussian posterior. "corrected": the minimum over (η, μ) is found by search, to about 1 %.
    Limit: no tuning has τ below (N/B) aᵀH⁻¹CH⁻¹a/aᵀH⁻¹a (`long_run_bound`), so that momentum pays only at small noise; there τ alone would
    send μ to 1.

    Reference: derived here (`papers/recent.md` §2.4); Wang, Ding, Huggins (2026), arXiv 2606.00293, for tuning in discrete time.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> found = bayesian_tuning(H, C, num_examples=50, batch_size=4, method="langevin", budget=0.2)
    >>> round(found.learning_rate, 6), round(found.iact, 2), found.errors.round(4)
    (0.027103, 165.9, array([0.0768, 0.2   ]))
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive")
    method = _checks.one_of("method", method, ("corrected", "langevin"))
    allowed = _checks.positive("budget", budget)
    size, examples = len(noise), _checks.integer("num_examples", num_examples)
    shape = np.eye(size)
    if preconditioner is not None:
        shape = _checks.symmetric("preconditioner", preconditioner, size, definite="positive")
    search = _langevin if method == "langevin" else _corrected
    return search(hessian, noise, shape, examples, allowed)


def _tuned(chain: LinearChain, hessian: Array, examples: int, rate: float, mu: float) -> BayesianTuning:
    posterior = np.linalg.inv(hessian) / examples
    errors = variance_errors(chain.covariance, (posterior + posterior.T) / 2)
    return BayesianTuning(rate, mu, errors, chain.worst_iact(), chain.worst_iact(quadratic=True), chain)


def _langevin(hessian: Array, noise: Array, shape: Array, examples: int, budget: float) -> BayesianTuning:
    edge = rate_edge() / float(modes_of(hessian, shape).rates[-1])
    posterior = np.linalg.inv(hessian) / examples

    def at(rate: float) -> LinearChain:
        injected = 2 * rate / examples * shape
        return chain_from_noise(hessian, noise, learning_rate=rate, preconditioner=shape, injected=injected)

    def excess(share: float) -> float:
        errors = variance_errors(at(edge * math.exp(share)).covariance, (posterior + posterior.T) / 2)
        return float(np.abs(errors).max()) / budget - 1

    low = -1.0
    while excess(low) > 0:
        low -= 2.0
    # the error grows without bound towards the edge
    share = brentq(excess, low, -1e-12, xtol=1e-13) if excess(-1e-12) > 0 else -1e-12

    def worst(log_share: float) -> float:
        chain = at(edge * math.exp(log_share))
        return max(chain.worst_iact(), chain.worst_iact(quadratic=True))

    inner = minimize_scalar(worst, bounds=(share - 3, share), method="bounded", options={"xatol": 1e-3})
    best = edge * math.exp(share if worst(share) <= inner.fun else float(inner.x))
    return _tuned(at(best), hessian, examples, best, 0.0)


def _corrected(hessian: Array, noise: Array, shape: Array, examples: int, budget: float) -> BayesianTuning:
    del budget  # the covariance is exact

    def at(mu: float, share: float) -> tuple[LinearChain, float]:
        need = (1 - mu) / (1 + mu) * hessian + examples * noise
        rate = share * 2 * (1 - mu) / float(modes_of(need, shape).rates[-1])
        total = (2 * (1 - mu) * np.linalg.inv(rate * shape) - (1 - mu) / (1 + mu) * hessian) / examples
        return chain_from_noise(
            hessian, (total + total.T) / 2, learning_rate=rate, momentum=mu, preconditioner=shape
        ), rate

    def worst(point: Array) -> float:
        mu, share = _inside(point)
        chain, _ = at(mu, share)
        return math.log(max(chain.worst_iact(), chain.worst_iact(quadratic=True)))

    point = _best(worst)
    mu, share = _inside(point)
    chain, rate = at(mu, share)
    return _tuned(chain, hessian, examples, rate, mu)


def _inside(point: Array) -> tuple[float, float]:
    """Momentum and share of the largest step; what lies outside their ranges is put at the end."""
    mu = min(max(float(point[0]), 0.0), _MOST_MOMENTUM)
    return mu, min(max(math.exp(float(point[1])), _LEAST_SHARE), 1.0 - 1e-9)


def _best(worst: Callable[[Array], float]) -> Array:
    """Coarse grid, then a simplex from its best point."""
    grid = [np.array(p) for p in itertools.product((0.0, 0.3, 0.6, 0.8, 0.9), np.log([0.1, 0.3, 0.6, 0.9, 1.0]))]
    start = min(grid, key=worst)
    moves = np.array([[0.0, 0.0], [0.05 if start[0] < 0.9 else -0.05, 0.0], [0.0, -0.2]])
    options = {"initial_simplex": start + moves, "xatol": 1e-3, "fatol": 1e-4, "maxfev": 120}
    found = minimize(worst, start, method="Nelder-Mead", options=options)
    return np.asarray(found.x if found.fun <= worst(start) else start)
