"""How far a Gaussian is from the posterior: against quadrature, Gaussians of known divergence, and where it cannot be known."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import gradnoise as gn
from gradnoise.infer import gaussian, laplace, plan
from gradnoise.infer.plans.gaussian_draws import gaussian_verdict, is_quadratic
from gradnoise.measure import Nearness, nearness
from gradnoise.testing import planted_defects

COUNTS = np.array([0.0, 2.0, 1.0, 4.0, 0.0, 1.0])


def skewed() -> gn.Problem:
    """One log rate, six counts: a skewed posterior in one dimension."""
    return gn.models.poisson_regression(np.ones((6, 1)), COUNTS, prior_scale=2.0, intercept=False)


def by_quadrature(mean: float, variance: float) -> float:
    """KL(N(m, v) ‖ posterior) of `skewed`, from its density written out."""

    def log_density(t: float) -> float:
        return float(COUNTS.sum() * t - len(COUNTS) * math.exp(t) - t * t / 8)

    def log_gaussian(t: float) -> float:
        return -((t - mean) ** 2) / (2 * variance) - math.log(2 * math.pi * variance) / 2

    evidence = integrate.quad(lambda t: math.exp(log_density(t)), -8, 6)[0]
    return float(
        integrate.quad(
            lambda t: math.exp(log_gaussian(t)) * (log_gaussian(t) - log_density(t) + math.log(evidence)), -8, 6
        )[0]
    )


@pytest.mark.law
@pytest.mark.parametrize(("shift", "wider"), [(0.0, 1.0), (0.3, 1.0), (0.0, 0.7), (-0.2, 1.5)])
def test_the_divergence_is_that_of_quadrature(shift: float, wider: float) -> None:
    problem = skewed()
    mode = gn.find_mode(problem).vector
    variance = wider / (6 * gn.derivatives.hessian(problem, mode)[0, 0])
    near = nearness(problem, mode + shift, np.array([[variance]]), num_draws=40_000, key=2)
    exact = by_quadrature(float(mode[0]) + shift, variance)
    assert near.standard_error < 0.1 * exact + 0.001
    assert near.pareto_k < 0.7

    other_way = by_quadrature(float(mode[0]) - shift - 0.2, variance)
    planted_defects(
        lambda kl: check_within(near, kl), exact, {"half": exact / 2, "x 1.5": 1.5 * exact, "another mean": other_way}
    )


@pytest.mark.law
def test_its_standard_error_is_the_scatter_over_seeds() -> None:
    problem = skewed()
    mode = gn.find_mode(problem).vector
    variance = 2 / (6 * gn.derivatives.hessian(problem, mode))  # wide: Laplace's own weights have a tail at low rates
    found = [nearness(problem, mode, variance, num_draws=500, key=k) for k in range(200)]
    scatter = np.std([n.kl for n in found], ddof=1)
    assert np.mean([n.standard_error for n in found]) == pytest.approx(scatter, rel=0.2)  # scatter ± 5 %


@pytest.mark.law
@pytest.mark.parametrize("c", [0.3, 0.6, 1.6])
def test_a_gaussian_of_another_width(c: float) -> None:
    """A variance c times the right one: KL (c - 1 - log c)/2; narrow ones are seen by the draws of the wider law."""
    problem = gn.models.linear_regression(
        np.ones((50, 1)), np.zeros(50), prior_scale=1.0, observation_scale=1.0, intercept=False
    )
    right = np.linalg.inv(50 * gn.derivatives.hessian(problem, np.zeros(1)))
    near = nearness(problem, np.zeros(1), c * right, num_draws=20_000, key=1)
    exact = (c - 1 - math.log(c)) / 2
    planted_defects(
        lambda kl: check_within(near, kl),
        exact,
        {"x 1.2": 1.2 * exact, "/ 1.2": exact / 1.2, "other way": (1 / c - 1 + math.log(c)) / 2},
    )
    assert near.pareto_k < 0.5
    assert nearness(problem, np.zeros(1), right).exact


def check_within(near: Nearness, kl: float) -> None:
    assert abs(near.kl - kl) < 5 * near.standard_error


@pytest.mark.law
def test_tails_beyond_those_of_the_draws_are_seen_in_the_weights() -> None:
    """A Cauchy posterior against draws of t with five degrees: weights grow as x⁴, Pareto shape 4/5."""
    problem = gn.Problem(lambda p, e: -jnp.log1p((e["y"] - p["t"]) ** 2), {"y": np.zeros(1)}, {"t": np.array(0.1)})
    near = nearness(problem, np.zeros(1), np.array([[0.5]]), num_draws=200_000, key=3)
    assert 0.55 < near.pareto_k < 1.05
    z = np.linspace(-12, 12, 200_001) * math.sqrt(0.5)
    q = np.exp(-(z**2)) / math.sqrt(math.pi)
    exact = float(np.trapezoid(q * (np.log(q) + np.log1p(z**2) + math.log(math.pi)), z))
    check_within(near, exact)
    assert near.at_most > near.kl + 3 * near.standard_error


def test_verdicts_of_gaussians_say_how_far_they_are(known: Any) -> None:
    digits, cancer = known("digits"), known("breast cancer")
    near = gaussian(digits.problem, mode=digits.mode, law=digits.law, num_draws=2).verdict
    assert near.level == "trustworthy"
    assert 0 < near.numbers["kl_to_posterior"] < 0.02
    assert "By importance weights" in near.reasons[0]
    best = gaussian(cancer.problem, mode=cancer.mode, law=cancer.law, num_draws=2).verdict
    assert best.level == "approximate"
    far = laplace(cancer.problem, mode=cancer.mode, num_draws=2).verdict
    assert far.level == "not trustworthy"
    assert far.numbers["kl_to_posterior"] > 3 * best.numbers["kl_to_posterior"]


def funnel() -> gn.Problem:
    """Neal's funnel, v ~ N(0, 3²), x | v ~ N(0, e^v): Laplace's law at its mode is nowhere near it."""

    def log_likelihood(params: Any, example: Any) -> Any:
        del example
        v, x = params[0], params[1:]
        return -(v**2) / 18 - jnp.sum(x**2) * jnp.exp(-v) / 2 - 2 * v

    return gn.Problem(log_likelihood, {"x": np.zeros((1, 1))}, np.array([-18.0, 0.1, 0.0, 0.0, 0.1]) * 1.0)


def test_laplace_on_a_funnel_is_not_trustworthy() -> None:
    verdict = laplace(funnel(), num_draws=2).verdict
    assert verdict.level == "not trustworthy", verdict
    assert verdict.numbers["kl_to_posterior"] > 5


def lasso() -> gn.Problem:
    y = np.array([0.9, -0.5, 0.3, 0.6, -0.4, 0.5, 0.1, -0.1])
    return gn.Problem(
        lambda p, e: -0.5 * (e["y"] - p["t"]) ** 2,
        {"y": y - y.mean() + 1.2},
        {"t": np.array(0.2)},
        log_prior=lambda p: -8.0 * jnp.abs(p["t"]),
    )


def positive() -> gn.Problem:
    y = np.array([0.9, -0.5, 0.3, 0.6, -0.4, 0.5, 0.1, -0.1])
    return gn.Problem(
        lambda p, e: -0.5 * (e["y"] - p["t"]) ** 2,
        {"y": y - y.mean() + 0.15},
        {"t": np.array(0.2)},
        log_prior=lambda p: jnp.where(p["t"] > 0, 0.0, -jnp.inf),
    )


@pytest.mark.parametrize("problem", [lasso(), positive()], ids=["a kink", "a wall"])
def test_a_kink_or_a_wall_is_no_quadratic_loss(problem: gn.Problem) -> None:
    """Autodiff sees neither: the Hessian is the same on both sides."""
    assert not is_quadratic(problem, gn.find_mode(problem))
    verdict = laplace(problem, num_draws=2).verdict
    assert verdict.level == "not trustworthy", verdict
    with pytest.raises(ValueError, match="the loss is not quadratic"):
        gn.infer.reference(problem, method="exact")


def test_a_loss_that_is_undefined_within_reach_is_told() -> None:
    def log_likelihood(params: Any, example: Any) -> Any:
        return jnp.log(params["rate"]) - params["rate"] * example["y"]  # defined for positive rates alone

    y = np.random.default_rng(0).exponential(size=4)
    problem = gn.Problem(log_likelihood, {"y": y}, {"rate": np.array(1.0)})
    verdict = laplace(problem, num_draws=2).verdict
    assert verdict.level == "not trustworthy"
    assert "the loss is not finite" in verdict.reasons[0]


def test_a_sampler_says_that_its_target_is_not_the_posterior(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cancer, wine = known("breast cancer"), known("wine")
    made = plan("corrected_langevin", cancer.problem, batch_size=32, mode=cancer.mode, law=cancer.law)
    said = made.expectation().verdict
    assert 0.1 < said.numbers["law_kl_to_posterior"] < 0.5
    assert said.level == "trustworthy"
    monkeypatch.setattr("gradnoise.infer.verdicts.verdict.MOST_KL", 0.1)
    assert "The posterior is not Gaussian" in " ".join(made.expectation().verdict.reasons)
    assert made.expectation().verdict.level == "approximate"
    exact = plan("corrected_langevin", wine.problem, batch_size=32, mode=wine.mode, law=wine.law)
    assert exact.nearness.kl < 1e-6


@pytest.mark.parametrize(
    ("near", "level"),
    [
        ((0.01, 0.001, 0.3, 0.0), "trustworthy"),
        ((0.01, 0.001, 0.9, 0.0), "trustworthy"),
        ((0.02, 0.001, 0.9, 0.0), "approximate"),
        ((0.1, 0.001, 0.3, 0.0), "approximate"),
        ((0.8, 0.2, 0.9, 0.0), "approximate"),
        ((0.8, 0.05, 0.9, 0.0), "not trustworthy"),
        ((math.inf, 0.0, math.inf, 0.1), "not trustworthy"),
    ],
)
def test_levels(near: tuple[float, float, float, float], level: str) -> None:
    assert gaussian_verdict(Nearness(*near), 3, "what").level == level
