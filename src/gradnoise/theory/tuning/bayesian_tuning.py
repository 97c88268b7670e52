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
from gradnoise.theory.linear.chain import LinearChain
from gradnoise.theory.linear.modes import modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.posterior.variance_errors import variance_errors
from gradnoise.theory.stationary.linear_chain import chain_from_noise

_LEAST_SHARE, _MOST_MOMENTUM = 1e-3, 0.995
_LEAST_PULL = 1e-10  # of one step on the flattest direction: rounding then changes its variance by about 1e-6
_MOST_TRIALS = 60  # of the simplex
_EXACT = 1e-5  # largest error of a variance that passes for none


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
    sampling             –       –       "with_replacement" (default) or "without_replacement"
    returns              –       –       `BayesianTuning`
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, Gaussian posterior. "corrected": the minimum over (η, μ), μ from 0 to .995, is found by
    search, to about 1 %: .1 s for two parameters, 2 s for thirty, 16 s for sixty (one core). Refused where a step pulls the flattest direction by less
    than 1e-10, as rounding would spoil the law.
    Limit: no tuning has τ below (N/B) aᵀH⁻¹CH⁻¹a/aᵀH⁻¹a (`long_run_bound`). Momentum shortens the memory several times where N S is below H,
    by some per cent where it is a hundred times H; there the time is almost flat in μ, and the μ found is large, often the end .995.

    Reference: derived here (`docs/derivations/samplers.md`); Wang, Ding, Huggins (2026), arXiv 2606.00293, for tuning in discrete time.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> found = bayesian_tuning(H, C, num_examples=50, batch_size=4, method="langevin", budget=0.2)
    >>> round(found.learning_rate, 6), round(found.iact, 2), found.errors.round(4)
    (0.027103, 165.9, array([0.0768, 0.2   ]))
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
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
    errors = variance_errors(chain.covariance, _checks.symmetrised(posterior))
    return BayesianTuning(rate, mu, errors, chain.worst_iact(), chain.worst_iact(quadratic=True), chain)


def _langevin(hessian: Array, noise: Array, shape: Array, examples: int, budget: float) -> BayesianTuning:
    rates = modes_of(hessian, shape).rates
    edge = rate_edge() / float(rates[-1])
    posterior = np.linalg.inv(hessian) / examples

    def at(rate: float) -> LinearChain:
        injected = 2 * rate / examples * shape
        return chain_from_noise(hessian, noise, learning_rate=rate, preconditioner=shape, injected=injected)

    def excess(share: float) -> float:
        if edge * math.exp(share) * rates[0] < _LEAST_PULL:
            raise ValueError(_ill_conditioned(rates))
        errors = variance_errors(at(edge * math.exp(share)).covariance, _checks.symmetrised(posterior))
        return float(np.abs(errors).max()) / budget - 1

    low = -1.0
    while excess(low) > 0:
        low -= 2.0
    # the error grows without bound towards the edge
    share = brentq(excess, low, -1e-12, xtol=1e-13) if excess(-1e-12) > 0 else -1e-12

    def worst(log_share: float) -> float:
        if edge * math.exp(log_share) * rates[0] < _LEAST_PULL:
            return math.inf
        chain = at(edge * math.exp(log_share))
        return max(chain.worst_iact(), chain.worst_iact(quadratic=True))

    inner = minimize_scalar(worst, bounds=(share - 3, share), method="bounded", options={"xatol": 1e-3})
    best = edge * math.exp(share if worst(share) <= inner.fun else float(inner.x))
    return _tuned(at(best), hessian, examples, best, 0.0)


def _corrected(hessian: Array, noise: Array, shape: Array, examples: int, budget: float) -> BayesianTuning:
    del budget  # the covariance is exact

    rates = modes_of(hessian, shape).rates
    flattest = float(rates[0])

    def largest(mu: float) -> float:
        need = (1 - mu) / (1 + mu) * hessian + examples * noise
        return 2 * (1 - mu) / float(modes_of(need, shape).rates[-1])

    def at(mu: float, share: float) -> tuple[LinearChain, float]:
        rate = share * largest(mu)
        total = (2 * (1 - mu) * np.linalg.inv(rate * shape) - (1 - mu) / (1 + mu) * hessian) / examples
        return chain_from_noise(
            hessian, _checks.symmetrised(total), learning_rate=rate, momentum=mu, preconditioner=shape
        ), rate

    def linear(point: Array) -> float:
        mu, share = _inside(point)
        if largest(mu) * share * flattest < _LEAST_PULL * (1 - mu):
            return math.inf
        return math.log(at(mu, share)[0].worst_iact())

    def quadratic(point: Array) -> float:
        return math.log(at(*_inside(point))[0].worst_iact(quadratic=True))

    best = _best(linear, quadratic)
    if best is None:
        raise ValueError(_ill_conditioned(rates))
    mu, share = _inside(best)
    chain, rate = at(mu, share)
    found = _tuned(chain, hessian, examples, rate, mu)
    if np.abs(found.errors).max() > _EXACT:
        raise ValueError(_ill_conditioned(rates))
    return found


def _ill_conditioned(rates: Array) -> str:
    return (
        f"hessian must be better conditioned: the curvatures of preconditioner times hessian go from {rates[0]:.3g} to {rates[-1]:.3g}, "
        "and the law of so slow a chain is lost in rounding. Pass a preconditioner near the inverse of hessian, or rescale the parameters."
    )


def _inside(point: Array) -> tuple[float, float]:
    """Momentum and share of the largest step; what lies outside their ranges is put at the end."""
    mu = min(max(float(point[0]), 0.0), _MOST_MOMENTUM)
    return mu, min(max(math.exp(float(point[1])), _LEAST_SHARE), 1.0 - 1e-9)


def _best(linear: Callable[[Array], float], quadratic: Callable[[Array], float]) -> Array | None:
    """Point of the least max(linear, quadratic): a coarse grid, then a simplex. The dear quadratic only where linear is below the best."""
    grid = [np.array(p) for p in itertools.product((0.0, 0.3, 0.6, 0.8, 0.9), np.log([0.1, 0.3, 0.6, 0.9, 1.0]))]
    least, best = math.inf, None

    def worst(point: Array) -> float:
        nonlocal least, best
        value = linear(point)
        if value < least:
            value = max(value, quadratic(point))
        if value < least:
            least, best = value, point.copy()
        return value

    for point in sorted(grid, key=linear):
        worst(point)
    if best is None:
        return None
    moves = np.array([[0.0, 0.0], [0.05 if best[0] < 0.9 else -0.05, 0.0], [0.0, -0.2]])
    options = {"initial_simplex": best + moves, "xatol": 1e-3, "fatol": 1e-3, "maxfev": _MOST_TRIALS}
    minimize(worst, best, method="Nelder-Mead", options=options)
    return best
