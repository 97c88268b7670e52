"""The Gaussian variational law of a posterior, and curvature and noise averaged over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg
import scipy.stats

from gradnoise import _checks, _scaled, derivatives
from gradnoise._types import Array
from gradnoise.measure.dense import score_averages
from gradnoise.measure.dense.nearness import Nearness, nearness
from gradnoise.problem import Problem
from gradnoise.stream import seed_of

_DEPTH = 6  # earlier steps that Anderson's mixing looks at
_DAMPING = 0.7
_TOLERANCE = 1e-6  # in posterior standard deviations (mean) and relative (covariance)
_ROUNDING = 64 * float(
    np.finfo(np.float64).eps
)  # of a covariance, times the condition number of the Hessian scaled to unit diagonal
_SHOWN = 6  # columns that an error names


class NotConverged(RuntimeError):
    """The Newton steps to the variational law did not settle."""


@dataclass(frozen=True, eq=False)
class GaussianLaw:
    """A Gaussian approximation N(mean, covariance) of the posterior, with curvature and noise averaged over it.

    Attributes
    ----------
    mean, covariance
        m (D,) and Σ (D, D), in units of the parameters.
    hessian
        H̄ = E ∇²L (D, D). For the variational law Σ = (N H̄)⁻¹.
    gradient_covariance
        C̄ = E C(θ) (D, D), per example: the covariance of example gradients at each θ, averaged over the law.
    num_examples
        N.
    mode
        The mode the law was started from (vector, Hessian and noise there are `mode`, `mode_hessian`,
        `mode_gradient_covariance`).
    at
        "posterior" (the variational law) or "laplace".
    num_draws
        Draws behind each average, half of them mirrored.
    exact_moments
        Whether the draws have mean m and covariance Σ exactly (they do when num_draws >= 2D).
    num_iterations, distance, covariance_change
        Of the Newton steps; |last step| in posterior standard deviations, and the last relative change of Σ.
    names
        Names of the D parameters.
    nearness
        How far the law is from the posterior itself (`measure.nearness`).
    mode_gradient
        ∇L at `mode` (D,): with curvature and noise there it tells whether a law is of the problem that it is given with.
    """

    mean: Array
    covariance: Array
    hessian: Array
    gradient_covariance: Array
    num_examples: int
    mode: Array
    mode_hessian: Array
    mode_gradient_covariance: Array
    at: str
    num_draws: int
    exact_moments: bool
    num_iterations: int
    distance: float
    covariance_change: float
    names: tuple[str, ...] = field(repr=False)
    nearness: Nearness | None = field(default=None, repr=False)
    mode_gradient: Array | None = field(default=None, repr=False)

    @property
    def noise_drift(self) -> float:
        """Tr C̄ / Tr C(mode): how much noisier the gradient is over the posterior than at the mode; 1 if constant."""
        return float(np.trace(self.gradient_covariance) / np.trace(self.mode_gradient_covariance))

    @property
    def whitened_noise_drift(self) -> float:
        """Tr(H̄⁻¹C̄) / Tr(H⁻¹C): the same in units in which the posterior is round, blind to the parameters' scale."""
        return float(
            np.trace(_scaled.solve(self.hessian, self.gradient_covariance))
            / np.trace(_scaled.solve(self.mode_hessian, self.mode_gradient_covariance))
        )

    def __repr__(self) -> str:
        return (
            f"GaussianLaw(num_params={self.mean.size}, at={self.at!r}, noise_drift={self.noise_drift:.4g}, "
            f"whitened_noise_drift={self.whitened_noise_drift:.4g}, num_draws={self.num_draws}, "
            f"num_iterations={self.num_iterations}, distance={self.distance:.2g})"
        )


def gaussian_law(
    problem: Problem,
    params: Any,
    *,
    at: str = "posterior",
    num_draws: int | None = None,
    key: Any = 0,
    max_iterations: int = 100,
) -> GaussianLaw:
    """Return the Gaussian variational law of the posterior: N(m, Σ) with E ∇L = 0 and Σ⁻¹ = N E ∇²L.

    Among all Gaussians it has the least KL divergence to the posterior (in the direction KL(law | posterior)). Newton steps
    m ← m - H̄⁻¹ḡ, Σ⁻¹ ← N H̄ on averages over fixed draws θ = m + Rz, RRᵀ = Σ, mixed as Anderson does.

    Parameters
    ----------
    problem
        The problem; at most 1000 parameters.
    params
        Where to start, the mode: a `Mode`, params or a vector (D,).
    at
        "posterior" as above; "laplace" takes N(mode, (N H)⁻¹) and averages over that.
    num_draws
        Draws θ behind each average, an even number. None: max(128, 4D) as long as num_draws·N·D² stays below 3·10¹⁰
        (a few seconds an iteration), else what that leaves, at least 32. The law records the number.
    key
        int or JAX key of the draws: scrambled Sobol normals, mirrored (±z), and whitened to covariance exactly I where
        num_draws >= 2D. For a quadratic loss all averages are then exact, the noise's C̄ = C + K(Σ) included.
    max_iterations
        Of the Newton steps.

    Raises
    ------
    NotConverged
        If the steps do not settle, or H̄ has a negative eigenvalue on the way.

    Notes
    -----
    Assumes nothing but that the posterior is roughly Gaussian; for a quadratic loss it is the exact posterior. Opper and
    Archambeau (2009), "The variational Gaussian approximation revisited", eq. 8-9.

    Examples
    --------
    >>> from gradnoise import models
    >>> problem = models.linear_regression([[1.0], [2.0]], [1.0, 2.0], observation_scale=1.0, intercept=False)
    >>> law = gaussian_law(problem, [0.8333333333])  # posterior N(5/6, 1/6)
    >>> float(round(law.mean[0], 9)), float(round(law.covariance[0, 0], 9))
    (0.833333333, 0.166666667)
    """
    _checks.one_of("at", at, ("posterior", "laplace"))
    limit = _checks.integer("max_iterations", max_iterations)
    derivatives.check_dense(problem)
    draws = _num_draws(problem, num_draws)
    mode = derivatives.as_vector("params", problem, params)
    if hasattr(params, "gradient_norm"):  # a `Mode`
        derivatives.check_mode("params", problem, params)
    slope, hessian = derivatives.gradient_and_hessian(problem, mode)
    softest = _check_definite(problem, hessian)
    normals, exact = _normals(draws, problem.num_params, seed_of(key))
    mean, covariance, steps, distance, change = mode, _scaled.inverse(problem.num_examples * hessian), 0, 0.0, 0.0
    if at == "posterior":
        mean, covariance, steps, distance, change = _newton(
            problem, mean, covariance, normals, limit, _tolerance(problem, mode, hessian, softest)
        )
    over = score_averages.averages(problem, mean + normals @ np.linalg.cholesky(covariance).T)
    law = GaussianLaw(
        mean=mean,
        covariance=covariance,
        hessian=over.hessian,
        gradient_covariance=over.gradient_covariance,
        num_examples=problem.num_examples,
        mode=mode,
        mode_hessian=hessian,
        mode_gradient_covariance=derivatives.gradient_moments(problem, mode)[1],
        at=at,
        num_draws=draws,
        exact_moments=exact,
        num_iterations=steps,
        distance=distance,
        covariance_change=change,
        names=problem.parameter_names,
        nearness=nearness(problem, mean, covariance, key=key),
        mode_gradient=slope,
    )
    derivatives.vouch(law, problem)
    return law


def _newton(
    problem: Problem, mean: Array, covariance: Array, normals: Array, limit: int, tolerance: float
) -> tuple[Array, Array, int, float, float]:
    """Return mean, covariance, iterations, last distance and last change at the fixed point.

    The iteration runs on m and Σ⁻¹ in units in which the Laplace approximation is N(0, I). Undamped, it oscillates where
    the posterior is skew; Anderson's mixing of the last steps makes forty damped iterations a dozen.
    """
    total, size, start, unit = problem.num_examples, mean.size, mean, np.linalg.cholesky(covariance)
    state = np.concatenate([np.zeros(size), np.eye(size).ravel()])
    states: list[Array] = []
    steps: list[Array] = []
    for iteration in range(1, limit + 1):
        mean = start + unit @ state[:size]
        covariance = _checks.symmetrised(unit @ _scaled.inverse(state[size:].reshape(size, size)) @ unit.T)
        root = np.linalg.cholesky(covariance)
        slope, hessian = score_averages.average_curvature(problem, mean + normals @ root.T)
        values = np.linalg.eigvalsh(root.T @ hessian @ root * total)
        if not values[0] > 0:
            msg = f"gaussian_law met an averaged Hessian with eigenvalue {values[0]:.3g} <= 0 (relative to 1/Σ) in iteration {iteration}: the posterior is far from Gaussian. You can still pass law=measure.gaussian_law(..., at='laplace') to a sampler, but it will be inaccurate."
            raise NotConverged(msg)
        step = -_scaled.solve(hessian, slope)
        distance = math.sqrt(max(0.0, -total * float(slope @ step)))
        change = float(np.max(np.abs(np.log(values))))
        if max(distance, change) <= tolerance:
            return mean, covariance, iteration, distance, change
        target = np.concatenate([np.linalg.solve(unit, mean - start + step), (total * unit.T @ hessian @ unit).ravel()])
        states, steps = [*states[-_DEPTH:], state], [*steps[-_DEPTH:], target - state]
        state = _mixed(states, steps, size)
    msg = f"gaussian_law did not converge in max_iterations = {limit}: the last step was {distance:.3g} posterior standard deviations, the relative change of the covariance {change:.3g}."
    raise NotConverged(msg)


def _mixed(states: list[Array], steps: list[Array], size: int) -> Array:
    """Return Anderson's next state from the last states and their steps; a plain damped step where it leaves Σ⁻¹ > 0."""
    plain = states[-1] + _DAMPING * steps[-1]
    if len(states) == 1:
        return plain
    changes = np.diff(np.stack(steps), axis=0)
    weights = np.linalg.lstsq(changes.T, steps[-1], rcond=1e-10)[0]
    mixed: Array = plain - weights @ (np.diff(np.stack(states), axis=0) + _DAMPING * changes)
    sound = (
        np.linalg.eigvalsh(mixed[size:].reshape(size, size))[0]
        > 0.1 * np.linalg.eigvalsh(plain[size:].reshape(size, size))[0]
    )
    return mixed if sound else plain


def _check_definite(problem: Problem, hessian: Array) -> float:
    """Return the smallest eigenvalue of the Hessian scaled to unit diagonal; ValueError where it is not positive beyond rounding."""
    values, vectors = np.linalg.eigh(_scaled.scaled(hessian)[0])
    if values[0] < -_scaled.FLAT:
        msg = f"params must be a mode, but the Hessian there has an eigenvalue <= 0: {values[0]:.3g}, scaled to unit diagonal. Give find_mode(problem)."
        raise ValueError(msg)
    if values[0] <= _scaled.FLAT:
        share = _scaled.shares(vectors[:, values <= _scaled.FLAT])
        named = [
            repr(name) for name, part in zip(problem.parameter_names, share, strict=True) if part > share.max() / 10
        ]
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        msg = f"problem has columns badly scaled or collinear: use datasets.standardise, or drop one of {', '.join(named[:_SHOWN])}{more}. The Hessian has no curvature along some direction of them beyond rounding; a finite prior_scale gives it one."
        raise ValueError(msg)
    return float(values[0])


def _tolerance(problem: Problem, mode: Array, hessian: Array, softest: float) -> float:
    """Return where the Newton steps have settled: 1e-6, or what rounding moves mean and covariance by where that is more."""
    return max(_TOLERANCE, _ROUNDING / softest, _scaled.resolution(mode, hessian, problem.num_examples))


def _num_draws(problem: Problem, num_draws: int | None) -> int:
    if num_draws is None:
        affordable = int(3e10 / (problem.num_examples * problem.num_params**2)) // 2 * 2
        return max(32, min(max(128, 4 * problem.num_params), affordable))
    draws = _checks.integer("num_draws", num_draws, low=2)
    if draws % 2:
        msg = f"num_draws must be even (draws come in mirrored pairs), got {draws}."
        raise ValueError(msg)
    _checks.fits("num_draws", 32.0 * draws * problem.num_params, "all draws")
    return draws


def _normals(draws: int, size: int, seed: int) -> tuple[Array, bool]:
    """Return mirrored Sobol normals (draws, D), whitened to covariance I where there are enough, and whether they are."""
    half = draws // 2
    points = scipy.stats.qmc.MultivariateNormalQMC(np.zeros(size), rng=np.random.default_rng(seed))
    z = np.asarray(points.random(1 << (half - 1).bit_length()))[:half]  # Sobol points come in powers of two
    exact = half >= size
    if exact:
        z = scipy.linalg.solve_triangular(np.linalg.cholesky(z.T @ z / half), z.T, lower=True).T
    return np.concatenate([z, -z]), exact
