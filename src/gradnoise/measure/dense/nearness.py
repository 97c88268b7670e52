"""How near a Gaussian is to the posterior itself, by importance weights: no run, and no assumption about the loss."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

from gradnoise import _checks, derivatives
from gradnoise._types import Array
from gradnoise.measure.dense import score_averages
from gradnoise.stream import seed_of

DRAWS = 1000
FEWEST_HALF = 4  # draws of each law: their variance must be one
FEW_WEIGHTS = 3  # effective draws below which no tail can be fitted
FEWEST = 200
WORK = 5e8  # draws · N · (D + 10): about a second
FREEDOM = 5.0  # of the t law that half of the draws come from: it reaches tails that the Gaussian does not
FLAT = 1e-9  # spread of log weights, relative to their size, below which the Gaussian is the posterior, to rounding


class Nearness(NamedTuple):
    """Divergence of a Gaussian from the posterior.

    Attributes
    ----------
    kl, standard_error
        KL(Gaussian ‖ posterior), nats, and its Monte Carlo error; 0 and 0 where they are the same to rounding.
    pareto_k
        Tail shape of the importance weights; above 0.7 their mean, and with it `kl`, cannot be trusted from above.
    undefined
        Share of the Gaussian's draws at which the loss is not finite; `kl` is infinite then.
    """

    kl: float
    standard_error: float
    pareto_k: float
    undefined: float

    @property
    def exact(self) -> bool:
        """Whether the Gaussian is the posterior, to rounding, wherever the draws reach."""
        return self.kl == 0.0 and self.standard_error == 0.0

    @property
    def estimate(self) -> str:
        """`kl` in words, with its error where it has one."""
        if not math.isfinite(self.kl):
            return "infinitely many"
        return f"{self.kl:.2g}" + (f" ± {self.standard_error:.1g}" if self.standard_error > 0 else "")

    @property
    def at_most(self) -> float:
        """Upper end: three standard errors above, and twice that where the weights have tails."""
        return (self.kl + 3 * self.standard_error) * (2.0 if self.pareto_k > TAIL else 1.0)

    @property
    def at_least(self) -> float:
        """Lower end: two standard errors below, not below 0: it is too small on average as it is."""
        return max(self.kl - 2 * self.standard_error, 0.0) if math.isfinite(self.kl) else self.kl


TAIL = 0.7  # Pareto shape above which averages of weights are not to be trusted (Vehtari et al. 2024, §3)


def nearness(
    problem: Any,
    mean: Array,
    covariance: Array,
    *,
    num_draws: int | None = None,
    temperature: float = 1.0,
    key: Any = 0,
) -> Nearness:
    r"""Estimate KL(N(m, Σ) ‖ posterior), in nats, without a run.

    Equation, with the posterior's log density −N L(θ) up to a constant and q = N(m, Σ): KL = E_q log q + N E_q L + log Z, and
    Z = E_b e^{−N L}/b(θ), b half q, half Student's t with five degrees of freedom, of the same place and scale.

    Draws from b bound the weights where the posterior has heavier tails than q; E_b q/b = 1 is a control variate. By Jensen's inequality log Z is too small on
    average, and so is the divergence: where it is large it is large. What no draw meets is not seen: another mode, say.

    Parameters
    ----------
    problem
        The problem.
    mean, covariance
        m (D,) and Σ (D, D).
    num_draws
        Draws, half from each law. None: 1000, or at least 200 where N·D is large.
    temperature
        T of the tempered posterior, whose log density is −N L/T.
    key
        Seed of the draws.

    Raises
    ------
    ValueError, TypeError
        On a mean or a covariance that is not of this problem or not definite, and fewer than eight draws.

    Reference: Yao, Vehtari, Simpson, Gelman (2018), §2 (k̂ as a diagnostic of variational inference); Owen and Zhou (2000), §3
    (defensive mixtures).
    """
    _checks.problem(problem)
    size = problem.num_params
    mean = derivatives.as_vector("mean", problem, mean)
    covariance = _checks.symmetric("covariance", covariance, size, definite="positive")
    temperature = _checks.positive("temperature", temperature)
    if num_draws is not None:
        num_draws = _checks.integer("num_draws", num_draws, low=2 * FEWEST_HALF)
        _checks.fits("num_draws", 64.0 * num_draws * size, "all draws")
    else:
        num_draws = int(np.clip(WORK / (problem.num_examples * (size + 10)), FEWEST, DRAWS))
    half = num_draws // 2
    random = np.random.default_rng([seed_of(key), 1])
    z = random.standard_normal((2 * half, size))
    z[half:] /= np.sqrt(random.chisquare(FREEDOM, half) / FREEDOM)[:, None]
    losses = score_averages.losses(problem, mean + z @ np.linalg.cholesky(covariance).T)
    log_density = -problem.num_examples * losses / temperature
    squares = (z * z).sum(1)
    log_gaussian = -squares / 2 - size * math.log(2 * math.pi) / 2
    undefined = float(1 - np.isfinite(log_density[:half]).mean())
    if undefined:
        return Nearness(math.inf, 0.0, math.inf, undefined)
    log_density = np.where(np.isnan(log_density), -math.inf, log_density)
    inside = np.isfinite(log_density)
    away = log_gaussian[inside] - log_density[inside]
    if inside.all() and np.ptp(away) <= FLAT * (1 + np.abs(log_density).max()):
        return Nearness(0.0, 0.0, -math.inf, 0.0)
    log_mixture = np.logaddexp(log_gaussian, _log_t(squares, size)) - math.log(2)
    log_weights = log_density - log_mixture
    top = log_weights.max()
    weights, ratio = np.exp(log_weights - top), np.exp(log_gaussian - log_mixture)
    gaps = ratio * np.where(inside, log_gaussian - log_density, 0.0)  # their mean is E_q log q - log p
    average = _known(weights, ratio).mean()
    if not average > 0:  # next to no draw met the posterior
        return Nearness(math.inf, 0.0, math.inf, 0.0)
    # delta method: what one draw adds to log Z and to the mean gap, which cancel where the posterior is nearly q
    influence = _known(weights / average + gaps, ratio)
    strata = influence[:half].var(ddof=1) + influence[half:].var(ddof=1)
    error = math.sqrt(strata / (4 * half))
    kl = _known(gaps, ratio).mean() + math.log(average) + top
    return Nearness(float(kl), float(error), _tail(log_weights - top), 0.0)


def _known(values: Array, ratio: Array) -> Array:
    """Take off what q/b, whose mean is 1, explains of the values."""
    off = ratio - 1
    return values - float((values - values.mean()) @ off / ((off - off.mean()) @ off)) * off


def _log_t(squares: Array, size: int) -> Array:
    """Log density of the standard t law in so many dimensions."""
    constant = gammaln((FREEDOM + size) / 2) - gammaln(FREEDOM / 2) - size / 2 * math.log(FREEDOM * math.pi)
    return np.asarray(constant - (FREEDOM + size) / 2 * np.log1p(squares / FREEDOM))


def _tail(log_weights: Array) -> float:
    """Pareto shape of the weights by arviz-stats, which takes minus their logarithms; infinite where a few weights are all."""
    from arviz_stats.base.array import array_stats

    weights = np.exp(log_weights - log_weights.max())
    if weights.sum() ** 2 < FEW_WEIGHTS * (weights @ weights):
        return math.inf
    return float(array_stats.psislw(-np.maximum(log_weights, -700.0))[1])
