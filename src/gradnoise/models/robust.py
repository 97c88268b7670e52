"""Robust linear regression: the β-divergence in place of the log-likelihood, its integral in closed form."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike
from gradnoise.models import arguments
from gradnoise.models import likelihoods as densities
from gradnoise.problem import Problem

_STEPS = 20  # from least squares to the wanted β, so that the start is in the basin of the bulk
_SWEEPS = 20


def robust_linear_regression(
    X: ArrayLike,
    y: ArrayLike,
    beta: float = 0.5,
    prior_scale: float = 1.0,
    observation_scale: float | None = None,
    *,
    intercept: bool = True,
    intercept_prior_scale: float | None = None,
    weights: ArrayLike | None = None,
    names: tuple[str, ...] | None = None,
) -> Problem:
    """Return linear regression that forgets outliers: the posterior of the β-divergence (density power divergence).

    In place of log f(y_n) each example has (f^β - 1)/β - (1/(1+β)) ∫f^{1+β}dy + 1, f the density of N(x_n·θ, s²), where
    ∫f^{1+β} = (2πs²)^{-β/2} (1+β)^{-1/2}. Residuals r enter with weight w = f^β: the gradient is -(w/s²) r x, which falls
    to 0 for large r. The constants make it log f as β → 0.

    Its posterior is a generalised one: its width is a matter of β, and it is *not* a statement of confidence. The sandwich
    is: ``infer.constant_sgd(problem, target="sandwich", ...)`` or `Posterior.calibrate` give it.

    Parameters
    ----------
    X, y, prior_scale, intercept, intercept_prior_scale, weights, names
        As in `linear_regression`.
    beta
        β > 0. 0.5 ignores residuals beyond 3 s or so; at β → 0 it is least squares. Efficiency where there are no outliers:
        (1+2β)^{3/2}/(1+β)³ of least squares' (0.84 at 0.5).
    observation_scale
        s of the bulk; None: 1.4826 · median |r|, at the fixed point of the fit with that scale.

    Notes
    -----
    The loss is not convex; ``init`` is the fit reached from least squares while β grows in 20 steps. Basu, Harris, Hjort and
    Jones (1998), "Robust and efficient estimation by minimising a density power divergence". Wang, Ding and Huggins (2026),
    arXiv 2606.00293, average the integral over draws; closed here.

    Examples
    --------
    >>> x = np.array([[1, 0], [1, 1], [1, 2], [1, -1], [0.5, 2], [1, 0.5]])
    >>> y = [0.3, 1.2, 1.9, -1, 2.1, 4]  # the last is an outlier
    >>> robust_linear_regression(x, y, 0.5, np.inf, 1.0, intercept=False).init.round(3)
    array([0.169, 0.98 ])
    """
    inputs, labels = arguments.design(X, intercept, names)
    targets = arguments.column("y", y, len(inputs))
    power = _checks.positive("beta", beta)
    data = arguments.data(inputs, targets, weights)
    precision = arguments.precision(inputs.shape[1], prior_scale, intercept, intercept_prior_scale)
    scale = None if observation_scale is None else arguments.scale("observation_scale", observation_scale)
    start, scale = _graduated(inputs, targets, precision, data.get("weight"), power, scale)
    data["targets"] = arguments.held("y", targets, inputs, scale)
    return Problem(
        densities.robust_log_likelihood,
        data,
        start.astype(arguments.kept(inputs, data["targets"])),
        densities.normal_log_prior,
        hyperparams={"prior_precision": precision, "observation_scale": scale, "beta": power},
        predict=densities.linear_predict,
        sample=densities.linear_sample,
        names=labels,
        align=arguments.aligned,
    )


def _graduated(
    inputs: AnyArray, targets: AnyArray, precision: Array, weights: AnyArray | None, beta: float, scale: float | None
) -> tuple[Array, float]:
    """Return the fit and the scale by reweighted least squares while β grows from 0; a given scale is kept."""
    x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
    given = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    theta = _ridge(x, y, given, precision)
    s = _spread(y - x @ theta) if scale is None else scale
    for power in np.concatenate([np.linspace(0, beta, _STEPS + 1)[1:], np.full(_SWEEPS, beta)]):
        r = y - x @ theta
        s = _spread(r) if scale is None else s
        w = given * (2 * np.pi * s**2) ** (-power / 2) * np.exp(-power * r**2 / (2 * s**2)) / s**2
        theta = _ridge(x, y, w, precision)
    return theta, s


def _ridge(x: Array, y: Array, weights: Array, precision: Array) -> Array:
    """Return the weighted ridge solution, refined once from its own residuals: columns and y far from 0 keep their digits."""
    gram, theta = x.T @ (weights[:, None] * x) + np.diag(precision), np.zeros(x.shape[1])
    unit = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
    inner = gram / np.outer(unit, unit)
    for _ in range(2):
        slope = x.T @ (weights * (y - x @ theta)) - precision * theta
        theta = theta + np.linalg.lstsq(inner, slope / unit)[0] / unit
    return np.asarray(theta)


def _spread(residuals: Array) -> float:
    scale = 1.4826 * float(np.median(np.abs(residuals)))
    if scale <= 1e-10 * float(np.abs(residuals).max(initial=0.0)) or scale == 0:
        msg = "observation_scale must be given: half of the residuals are 0 and leave no scale to estimate."
        raise ValueError(msg)
    return scale
