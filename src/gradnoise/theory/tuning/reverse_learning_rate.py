"""Tuning by the other direction of the KL divergence, KL(posterior ‖ stationary law)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.theory.linear.modes import modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.covariance import continuous_covariance, mode_covariance


def reverse_learning_rate(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    momentum: float = 0.0,
    time: str = "discrete",
    sampling: str = "with_replacement",
) -> float:
    r"""Learning rate that minimises KL(posterior‖q): the stationary law q must nowhere be much narrower than the posterior.

    Equation: continuous time η = Tr(H⁻¹S₀⁻¹)/(N D), HS₀ + S₀H = S/(1−μ), times η; discrete time the minimiser of
    ½[Tr(Σ(η)⁻¹H⁻¹)/N + ln|Σ(η)|].

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η m
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              η       ()      parameter²/loss
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise of full rank, Gaussian posterior. The continuous form with momentum neglects inertia
    (η λ ≪ (1−μ)²).
    Limit: commuting H and C give η = 2 Tr(S⁻¹)/(N D), the paper's form; it is never below `optimal_learning_rate` in continuous
    time. KL(a η) − KL(η) = (D/2)(1/a − 1 + ln a) in continuous time.

    Reference: Mandt, Hoffman, Blei (2017), appendix C, eq. (41), which holds only where H and Σ commute; the general and the discrete form
    derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> round(reverse_learning_rate(H, C, num_examples=50, batch_size=4, time="continuous"), 6)
    0.282213
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    mu, examples = _checks.momentum(momentum), _checks.integer("num_examples", num_examples)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    low, high = np.linalg.eigvalsh(noise)[[0, -1]]
    if low <= 1e-14 * high:
        msg = "gradient_covariance must be positive definite here: a direction without noise makes KL(posterior‖q) infinite."
        raise ValueError(msg)
    found = modes_of(hessian, 1.0)
    noise = found.gradient_noise(noise)
    unit = continuous_covariance(found.rates, noise) / (1 - mu)
    small_step = float(np.trace(np.linalg.inv(unit) / found.rates) / (examples * len(noise)))
    if time == "continuous":
        return small_step
    edge = rate_edge(momentum=mu) / found.rates[-1]

    def divergence(log_rate: float) -> float:
        rate = np.exp(log_rate)
        sigma = rate * mode_covariance(rate * found.rates, rate * noise, momentum=mu)
        return float(np.trace(np.linalg.inv(sigma) / found.rates) / examples + np.linalg.slogdet(sigma)[1])

    top = np.log(edge)
    bracket = (min(np.log(small_step), top) - 6.0, top - 1e-9)
    return float(np.exp(minimize_scalar(divergence, bounds=bracket, method="bounded", options={"xatol": 1e-12}).x))
