"""Learning rates and preconditioners that make the stationary law of SGD the posterior, or any other target."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import NOISELESS, inverse_of
from gradnoise.theory.linear.modes import bends, modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise

KINDS = ("scalar", "diagonal", "diagonal_closed", "sqrt", "full")
SILENT = 1e-9  # noise over curvature, relative to the noisiest direction, from which one counts as without noise
_NARROW = 1e-12  # of the stability edge: an optimum nearer to it is none
_SAME, _SETTLED = 1e-6, 1e-3  # nats between equal minima; slope per ln P_kk that is none (rounding, where κ is 1e10)


class NoSetting(ValueError):
    """The arguments are right, but for these matrices there is no such step."""


def optimal_learning_rate(
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    hessian: ArrayLike | None = None,
    momentum: float = 0.0,
    preconditioner: ArrayLike | None = None,
    sampling: str = "with_replacement",
    time: str = "discrete",
) -> float:
    r"""Learning rate whose stationary law is nearest to the posterior N(0, (N H)⁻¹) in KL(q‖posterior).

    Equation: continuous time η* = 2 D (1−μ)/(N Tr(P S)), with S = C/B: 2 D B (1−μ)/(N Tr(PC)); discrete time the
    minimiser of KL(Σ(η)‖(NH)⁻¹) for the exact Σ, the root of dKL/dη.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    gradient_covariance  C       (D, D)  gradient², per example
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    hessian              H       (D, D)  curvature of the mean loss; needed in discrete time
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate
    sampling             –       –       "with_replacement" (default), "without_replacement"
    time                 –       –       "discrete" (default), "continuous"
    returns              η*      ()      parameter²/loss
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, posterior Gaussian. The continuous form with momentum is the optimum at
    fixed η/(1−μ)².
    Limit: where η* λ_max ≪ 1 the discrete optimum tends to the continuous one.

    Reference: Mandt, Hoffman, Blei (2017), eqs. (15) and (47); momentum from (25); discrete time derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> round(optimal_learning_rate(C, num_examples=50, batch_size=4, hessian=H), 6)
    0.190138
    >>> round(optimal_learning_rate(C, num_examples=50, batch_size=4, time="continuous"), 6)
    0.228571
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    mu = _checks.momentum(momentum)
    examples = _checks.integer("num_examples", num_examples)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    shape = _shape(preconditioner, len(noise))
    power = float(np.sum(noise * shape))
    if power <= 0:
        msg = "gradient_covariance must not be zero: without gradient noise no learning rate reaches the posterior."
        raise ValueError(msg)
    if time == "continuous":
        return 2 * len(noise) * (1 - mu) / (examples * power)
    if hessian is None:
        msg = "hessian must be given when time='discrete', got None: the exact optimum depends on the curvature. Pass it, or time='continuous'."
        raise ValueError(msg)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    return discrete_rate(hessian, noise, shape, examples, mu)


def optimal_preconditioner(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    kind: str = "full",
    momentum: float = 0.0,
    sampling: str = "with_replacement",
    time: str = "discrete",
) -> Array:
    r"""Preconditioner whose stationary law is nearest to the posterior N(0, (N H)⁻¹); it **contains** the learning rate.

    Equation: full, discrete P = 2(1−μ) [ (1−μ)/(1+μ) H + N S ]⁻¹ (the posterior exactly), continuous 2(1−μ)(N S)⁻¹;
    diagonal_closed P_kk = 2(1−μ)/(N S_kk); sqrt P = η* diag(S)^{-½}; scalar P = η* I; diagonal: the numerical minimiser of the
    KL divergence over positive diagonal P.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    kind                 –       –       "scalar", "diagonal", "diagonal_closed", "sqrt", "full"
    momentum             μ       ()      m ← μ m + g; θ ← θ − P m
    sampling             –       –       "with_replacement" (default), "without_replacement"
    time                 –       –       "discrete" (default), "continuous"
    returns              P       (D, D)  parameter²/loss: use with learning_rate=1
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise, posterior Gaussian. diagonal_closed is the paper's formula in both times.
    Limit: P of kind full is always stable in discrete time and tends to the continuous one as N S grows over H.

    Reference: Mandt, Hoffman, Blei (2017), theorems 1, 2, 7 and corollary 3, which minimises only an upper bound of the KL
    (a scalar can beat it); full in discrete time with momentum derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> optimal_preconditioner(H, C, num_examples=50, batch_size=4).round(7)
    array([[0.1468429, 0.0587372],
           [0.0587372, 0.3871312]])
    """
    kind = _checks.one_of("kind", kind, KINDS)
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    mu = _checks.momentum(momentum)
    examples = _checks.integer("num_examples", num_examples)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    if kind == "full":
        if time == "continuous":
            require_noise(noise, hessian)
        curvature = (1 - mu) / (1 + mu) * hessian if time == "discrete" else np.zeros_like(hessian)
        return inverse_of(curvature + examples * noise, 2 * (1 - mu))
    if kind == "diagonal":
        return best_diagonal(hessian, noise, examples, mu, time)
    if kind == "diagonal_closed":
        return np.diag(2 * (1 - mu) / (examples * _noise_diagonal(noise)))
    shape = np.eye(len(noise)) if kind == "scalar" else np.diag(_noise_diagonal(noise) ** -0.5)
    return shape * optimal_learning_rate(
        gradient_covariance,
        num_examples=num_examples,
        batch_size=batch_size,
        hessian=hessian,
        momentum=mu,
        preconditioner=shape,
        sampling=sampling,
        time=time,
    )


def _shape(preconditioner: ArrayLike | None, size: int) -> Array:
    if preconditioner is None:
        return np.eye(size)
    return _checks.symmetric("preconditioner", preconditioner, size, definite="positive")


def require_noise(noise: Array, hessian: Array) -> None:
    """Raise where a direction has (relative to its curvature) at most `SILENT` of the noise of the noisiest."""
    root = np.linalg.inv(np.linalg.cholesky(hessian))
    low, high = np.linalg.eigvalsh(root @ noise @ root.T)[[0, -1]]
    if low <= SILENT * high:
        raise ValueError(NOISELESS)


def _noise_diagonal(noise: Array) -> Array:
    diagonal = np.diag(noise)
    if diagonal.min() <= 0:
        msg = f"gradient_covariance must have a positive diagonal for this kind, but entry {int(diagonal.argmin())} is 0. Leave that parameter out."
        raise ValueError(msg)
    return diagonal


def discrete_rate(hessian: Array, noise: Array, shape: Array, examples: int, mu: float) -> float:
    """Return the η that minimises KL(Σ(η)‖(N H)⁻¹) with preconditioner ηP, exact in discrete time."""
    small_step = 2 * len(noise) * (1 - mu) / (examples * float(np.sum(noise * shape)))
    found = modes_of(hessian, shape)
    r, s, (a, b) = found.rates, found.gradient_noise(noise), bends(mu, "discrete")
    linear = (1 - mu) * np.add.outer(r, r)
    bent = b * np.add.outer(r**2, r**2) - a * np.outer(r, r)

    def slope(log_rate: float) -> float:
        """dKL/d ln η, where Φ = η s/(linear + η bent), and BᵀHB = diag(r)."""
        rate = np.exp(log_rate)
        whole = linear + rate * bent
        covariance, change = rate * s / whole, rate * s * linear / whole**2
        pull = examples * np.sum(r * np.diag(change)) - np.trace(np.linalg.lstsq(covariance, change, rcond=None)[0])
        return float(pull) / 2

    edge = np.log(rate_edge(momentum=mu) / r[-1])
    low, high = min(np.log(small_step), edge) - 5.0, edge - _NARROW
    if not slope(low) < 0 < slope(high):
        msg = (
            "gradient_covariance must be larger against the curvature, or batch_size smaller: with so little gradient noise no learning rate "
            f"below the stability edge {np.exp(edge):.6g} makes the law as wide as the posterior."
        )
        raise NoSetting(msg)
    return float(np.exp(brentq(slope, low, high, xtol=1e-14)))


def best_diagonal(hessian: Array, noise: Array, examples: int, mu: float, time: str) -> Array:
    """Minimise the KL divergence over ln P_kk with its exact gradient, from the scalar and the closed-form optimum."""
    require_noise(noise, hessian)  # else every divergence is infinite
    units = np.sqrt(np.diag(hessian))  # parameters in units of their own curvature: the divergence stays as it is
    hessian, noise = hessian / np.outer(units, units), noise / np.outer(units, units)
    a, b = bends(mu, time)
    edge = rate_edge(momentum=mu) if time == "discrete" else np.inf
    log_posterior = -np.linalg.slogdet(examples * hessian)[1]

    def divergence(logs: Array) -> tuple[float, Array]:
        step = np.exp(logs)
        found = modes_of(hessian, np.diag(step))
        if found.rates[-1] >= edge:
            return np.inf, np.zeros_like(logs)
        r = found.rates
        whole = (1 - mu) * np.add.outer(r, r) - a * np.outer(r, r) + b * np.add.outer(r**2, r**2)
        sigma = found.covariance(found.gradient_noise(noise) / whole)
        value = examples * np.sum(hessian * sigma) - len(r) + log_posterior - np.linalg.slogdet(sigma)[1]
        # adjoint: Λ solves L*(Λ) = dKL/dΣ, with L(Σ) = P S P the stationarity condition
        pull = (examples * hessian - np.linalg.inv(sigma)) / 2
        back = np.linalg.inv(found.basis)
        adjoint = back.T @ ((found.basis.T @ pull @ found.basis) / whole) @ back
        drift, bend = hessian @ sigma, hessian * step @ hessian
        inner = (1 - mu) * drift - a * drift @ hessian * step + b * bend @ sigma - noise * step
        gradient = inner @ adjoint + b * drift @ adjoint * step @ hessian
        return float(value) / 2, -2 * np.diag(gradient) * step

    starts = [_start(found, hessian, edge) for found in _diagonal_starts(noise, examples, mu)]
    with np.errstate(all="ignore"):
        runs: list[Any] = [
            minimize(divergence, start, jac=True, method="BFGS", options={"gtol": 1e-9}) for start in starts
        ]
    lowest = min(run.fun for run in runs)
    best = min((run for run in runs if run.fun <= lowest + _SAME), key=lambda run: np.abs(run.jac).max())
    if not np.abs(best.jac).max() < _SETTLED:
        msg = (
            "gradient_covariance and hessian must be well enough conditioned for kind='diagonal', and the noise not too small against the "
            "curvature (batch_size too large): its search did not settle. Use kind='full'."
        )
        raise NoSetting(msg)
    return np.diag(np.exp(best.x) / units**2)


def _diagonal_starts(noise: Array, examples: int, mu: float) -> list[Array]:
    closed = 2 * (1 - mu) / (examples * _noise_diagonal(noise))
    scalar = np.full(len(noise), 2 * len(noise) * (1 - mu) / (examples * np.trace(noise)))
    return [closed, scalar]


def _start(diagonal: Array, hessian: Array, edge: float) -> Array:
    """Logarithm of a diagonal, shrunk to half the stability edge where it lies beyond."""
    stiffest = modes_of(hessian, np.diag(diagonal)).rates[-1]
    return np.asarray(np.log(diagonal * min(1.0, edge / (2 * stiffest))))
