"""Evidence: Laplace against exact integrals, its invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats

from gradnoise import theory
from gradnoise.testing import assert_fails, planted_defects


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


def regression(seed=0, count=40, size=7, scale=0.3, precision=2.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, size))
    return X, X @ rng.normal(size=size) / math.sqrt(precision) + scale * rng.normal(size=count)


def laplace(X, y, scale=0.3, precision=2.0, stretch=None):
    """Mode, total log joint and total Hessian of Bayesian linear regression; `stretch` rescales parameters and prior."""
    stretch = np.ones(X.shape[1]) if stretch is None else stretch
    X, weights = X / stretch, precision / stretch**2
    A = X.T @ X / scale**2 + np.diag(weights)
    mode = np.linalg.solve(A, X.T @ y / scale**2)
    joint = stats.norm.logpdf(y, X @ mode, scale).sum() + stats.norm.logpdf(mode, 0, weights**-0.5).sum()
    return joint, A


def test_laplace_is_exact_for_linear_regression():
    """A4, A5: equal to the exact evidence, and to itself after any rescaling of parameters that the prior follows."""
    X, y = regression()
    exact = stats.multivariate_normal.logpdf(y, np.zeros(40), 0.09 * np.eye(40) + X @ X.T / 2)
    found = theory.linear_regression_evidence(X, y, prior_precision=2.0, observation_scale=0.3)
    wrong = {"prior variance for precision": {"prior_precision": 0.5, "observation_scale": 0.3}}
    wrong |= {"variance for scale": {"prior_precision": 2.0, "observation_scale": 0.09}}
    planted_defects(
        close(exact, 1e-10), found, {k: theory.linear_regression_evidence(X, y, **v) for k, v in wrong.items()}
    )
    joint, A = laplace(X, y)
    planted_defects(
        close(exact, 1e-10),
        theory.log_evidence(joint, A),
        {"mean-loss Hessian": theory.log_evidence(joint, A / 40), "2π forgotten": found - 3.5 * math.log(2 * math.pi)},
    )
    stretched = laplace(X, y, stretch=np.exp(np.linspace(-1.0, 2.3, 7)))
    check = close(theory.log_evidence(joint, A), 1e-9)
    check(theory.log_evidence(*stretched))
    assert_fails(check, theory.log_evidence(joint, stretched[1]), defect="prior left behind")


def test_more_parameters_than_examples():
    X, y = regression(count=5, size=9)
    exact = stats.multivariate_normal.logpdf(y, np.zeros(5), 0.09 * np.eye(5) + X @ X.T / 2)
    found = theory.linear_regression_evidence(X, y, prior_precision=2.0, observation_scale=0.3)
    assert_allclose(found, exact, rtol=1e-10)


def test_evidence_against_the_null():
    """One-parameter logistic regression: e^ratio × 2^−N is the integral; Laplace is near; E is the printed cost."""
    rng = np.random.default_rng(2)
    x, precision = rng.normal(size=30), 1.0
    signs = np.where(rng.random(30) < 1 / (1 + np.exp(-2 * x)), 1.0, -1.0)

    def cost(w):
        return np.logaddexp(0, -signs * x * w).sum() + precision * w**2 / 2

    w = optimize.minimize_scalar(cost, tol=1e-12).x
    p = 1 / (1 + np.exp(-x * w))
    A = np.array([[np.sum(p * (1 - p) * x**2) + precision]])
    Z = integrate.quad(lambda v: math.exp(-cost(v)) * math.sqrt(precision / (2 * math.pi)), -15, 15)[0]
    setting = {"prior_precision": precision, "num_examples": 30, "num_classes": 2}
    found = theory.log_evidence_ratio(cost(w), A, **setting)
    wrong = theory.log_evidence_ratio(cost(w), A, **setting | {"num_classes": 3})
    planted_defects(
        lambda value: assert_allclose(value, math.log(Z) + 30 * math.log(2), atol=0.05),
        found,
        {"inverted sign": -found, "number of classes": wrong, "Occam factor alone": found + cost(w)},
    )
    # any unit of the parameter gives the same number
    check = close(found)
    check(theory.log_evidence_ratio(cost(w), A / 9, **setting | {"prior_precision": precision / 9}))
    assert_fails(check, theory.log_evidence_ratio(cost(w), A / 9, **setting), defect="exponent of the parameter")
    # the same number from the general formula
    joint = -cost(w) + 0.5 * math.log(precision / (2 * math.pi))
    assert_allclose(theory.log_evidence(joint, A) + 30 * math.log(2), found, rtol=1e-12)


def test_occam_factor():
    """Fraction of prior volume; the toy of smith_chaudhari.md §2.1: equal depth, curvatures 4 and 100, mass ratio 5."""
    broad, sharp = (theory.log_occam_factor([[a]], prior_precision=1.0) for a in (4.0, 100.0))
    planted_defects(close(5), math.exp(broad - sharp), {"factor 1/2 missing": math.exp(2 * (broad - sharp))})
    ratio = [theory.log_evidence_ratio(c, [[a]], prior_precision=1.0, num_examples=3, num_classes=2)
             for c, a in ((10, 4.0), (8, 100.0))]  # fmt: skip
    assert_allclose(math.exp(ratio[1] - ratio[0]), 1.478, atol=5e-4)
    saddle = np.diag([-3.0, 0.5, 8.0])
    found = theory.log_occam_factor(saddle, prior_precision=2.0, above_prior=True)
    assert_allclose(found, -0.5 * math.log(4))
    with pytest.raises(ValueError, match=r"total_hessian must be positive definite.*-3"):
        theory.log_occam_factor(saddle, prior_precision=2.0)
