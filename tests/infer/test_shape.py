"""The shape of draws, measured and predicted, and what verdicts make of it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gradnoise as gn
from gradnoise.infer import plan
from gradnoise.infer.verdicts.shape import shape_of
from gradnoise.testing import assert_covariance, planted_defects


def rare_jumps(groups: int = 4, rows: int = 200) -> gn.Problem:
    """One outlier a group: an exactly Gaussian posterior, and gradient noise that is a rare jump."""
    x, y = np.kron(np.eye(groups), np.ones((rows, 1))), np.zeros(groups * rows)
    y[::rows] = 1.0
    return gn.models.linear_regression(
        x, y, prior_scale=float("inf"), observation_scale=float(y[:rows].std()), intercept=False
    )


def rare_successes(groups: int, rows: int, successes: int) -> gn.Problem:
    x, y = np.kron(np.eye(groups), np.ones((rows, 1))), np.zeros(groups * rows)
    for g in range(groups):
        y[g * rows : g * rows + successes] = 1
    return gn.models.logistic_regression(x, y, prior_scale=10.0, intercept=False)


@pytest.mark.parametrize(
    ("law", "rough"),
    [(stats.t(5), 0.15), (stats.t(8), 0.15), (stats.gamma(3), 0.35), (stats.logistic(), 0.2)],
    ids=["t5", "t8", "gamma", "logistic"],
)
def test_the_divergence_is_about_the_negentropy(law: Any, rough: float) -> None:
    draws = law.rvs((4, 50_000, 1), random_state=np.random.default_rng(1))
    found = shape_of(draws, np.eye(1), 200_000)
    exact = 0.5 * np.log(2 * np.pi * np.e * law.var()) - float(law.entropy())
    assert found.divergence == pytest.approx(exact, rel=rough)
    assert found.skewness == pytest.approx(float(law.stats("s")), abs=0.2)


def test_normal_draws_have_none_within_its_error() -> None:
    r, covariance = np.random.default_rng(0), np.eye(6) + 0.3
    root = np.linalg.cholesky(covariance)
    found = [shape_of(r.standard_normal((4, 500, 6)) @ root.T, covariance, 2000) for _ in range(200)]
    values = np.array([s.divergence for s in found])
    assert abs(values.mean()) < found[0].error
    assert values.std() == pytest.approx(found[0].error, rel=0.25)
    assert values.max() < 5 * found[0].error


@pytest.mark.law
@pytest.mark.parametrize("method", ["constant_sgd", "fisher_scoring", "corrected_langevin"])
def test_noise_of_a_few_examples_is_foreseen_and_found(method: str) -> None:
    """Mean and covariance are those of the posterior exactly, and draws are nowhere near it."""
    problem = rare_jumps()
    settings: dict[str, Any] = (
        {"batch_size": 1, "fraction": 0.9} if method == "corrected_langevin" else {"batch_size": 32}
    )
    made = plan(method, problem, **settings)
    before = made.expectation().verdict
    assert made.kl_to_target < 1e-6
    assert before.level == "approximate"
    assert "will be not Gaussian" in " ".join(before.reasons)
    run = made.run(num_draws=500 if method == "corrected_langevin" else 900, num_chains=4, progress=False)
    assert run.verdict.level == ("not trustworthy" if method == "constant_sgd" else "approximate"), run.verdict
    assert run.verdict.numbers["shape_divergence"] > 0.3
    flat = np.asarray(run.draws, float).reshape(-1, 4)
    z = (flat - flat.mean(0)) / flat.std(0)
    assert made.shape is not None
    assert abs(made.shape.skewness) == pytest.approx(np.abs((z**3).mean(0)).max(), rel=0.25)


def test_many_examples_and_a_small_step_make_that_noise_calm() -> None:
    calm = plan("corrected_langevin", rare_jumps(), batch_size=32, fraction=0.2)
    assert calm.expectation().verdict.level == "trustworthy"
    assert calm.run(num_draws=900, num_chains=4, progress=False).verdict.level == "trustworthy"


def test_ordinary_noise_is_of_no_account(known: Any) -> None:
    for name in ("wine", "digits"):
        problem, mode, law = known(name)
        made = plan("constant_sgd", problem, batch_size=64, mode=mode, law=law)
        assert made.shape is not None
        assert made.shape.divergence < 0.05
    assert plan("constant_sgd", problem, batch_size=64, momentum=0.9, mode=mode, law=law).shape is None


def test_draws_of_a_posterior_that_is_not_gaussian_are_not_condemned_for_it() -> None:
    """Student's t with one degree, four observations: draws within 0.02 nats of it leave the Gaussian law, and must."""
    y = np.array([0.0, 0.3, -0.2, 4.0])
    problem = gn.Problem(
        lambda p, e: -jnp.log1p((e["y"] - p["t"]) ** 2),
        {"y": y},
        {"t": np.array(0.15)},
        log_prior=lambda p: -0.005 * p["t"] ** 2,
    )
    made = gn.infer.corrected_langevin(problem, batch_size=1, num_chains=8, num_draws=2000, progress=False)
    assert made.verdict.numbers["largest_variance_ratio"] > 1.3
    assert made.verdict.level == "approximate", made.verdict
    assert "the posterior is itself" in " ".join(made.verdict.reasons)


# slow: more groups of the same kind
@pytest.mark.parametrize(
    ("groups", "rows", "successes", "batch_size"),
    [(3, 500, 1, 150), pytest.param(8, 500, 1, 400, marks=pytest.mark.slow)],
)
def test_rare_successes_are_no_quadratic_loss(groups: int, rows: int, successes: int, batch_size: int) -> None:
    problem = rare_successes(groups, rows, successes)
    wild = plan("constant_sgd", problem, batch_size=batch_size)
    assert wild.expectation().verdict.level == "approximate"
    assert wild.run(num_draws=400, progress=False).verdict.level == "not trustworthy"
    near = gn.infer.corrected_langevin(problem, batch_size=batch_size, num_draws=400, progress=False)
    assert near.verdict.level == "approximate", near.verdict


@pytest.mark.law
@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_a_tempered_posterior_has_a_law_of_its_own(temperature: float) -> None:
    """Curvature, noise and mean are those of the tempered posterior: at temperature 4 its mean is elsewhere than the posterior's."""
    r = np.random.default_rng(0)
    x = r.standard_normal((300, 2))
    y = (r.random(300) < 1 / (1 + np.exp(-x @ [1.0, 0.5]))).astype(float)
    problem = gn.models.logistic_regression(x, y, prior_scale=1.0, intercept=False)
    made = plan("constant_sgd", problem, batch_size=30, temperature=temperature)
    law = made.where.law
    run = made.run(num_draws=60, num_chains=768, progress=False)
    wrong = {"the posterior's": law.covariance, "its curvature": temperature * law.covariance * 1.2}
    check: dict[str, Any] = {"false_fail": 1e-7, "detects": 0.1}
    planted_defects(
        lambda c: assert_covariance(run.draws, c, mean=made.predicted_mean, **check), made.predicted_covariance, wrong
    )
    if temperature > 1:
        posterior = gn.measure.gaussian_law(problem, law.mode)
        means = np.asarray(run.draws, float).mean(1)  # one a chain: independent
        error = means.std(0, ddof=1) / np.sqrt(len(means))
        for mean, near in ((made.predicted_mean, True), (posterior.mean, False)):
            assert (np.abs((means.mean(0) - mean) / error).max() < 5) == near


def test_temperatures_without_a_law_are_refused() -> None:
    y = np.array([0.0, 0.3, -0.2, 4.0])
    problem = gn.Problem(lambda p, e: -jnp.log1p((e["y"] - p["t"]) ** 2), {"y": y}, {"t": np.array(0.15)})
    with pytest.raises(gn.infer.Refused, match="temperature must be nearer to 1, got 200"):
        plan("constant_sgd", problem, batch_size=1, temperature=200.0)
