"""What a Posterior tells: summary, predictives, directions, distances, calibration, ArviZ; each with its error."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

import gradnoise as gn
from gradnoise.infer import Posterior, Verdict, constant_sgd, corrected_langevin, laplace, nuts

FINE = Verdict("trustworthy", (), {})


def drawn(draws: np.ndarray, **more: Any) -> Posterior:
    names = tuple(f"p{i}" for i in range(draws.shape[2]))
    return Posterior("by hand", draws, names, None, None, float(draws.shape[0] * draws.shape[1]), FINE, **more)


def autoregressive(r: Any, chains: int, steps: int, dim: int, memory: float) -> np.ndarray:
    """Stationary AR(1) chains of variance 1."""
    x = [r.normal(size=(chains, dim))]
    for _ in range(steps - 1):
        x.append(memory * x[-1] + np.sqrt(1 - memory**2) * r.normal(size=(chains, dim)))
    return np.stack(x, 1)


def regression(seed: int = 0, n: int = 120) -> tuple[gn.Problem, np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    y = x @ [1.0, -0.7] + 0.4 + 0.8 * r.normal(size=n)
    problem = gn.models.linear_regression(x, y, prior_scale=2.0, observation_scale=0.8)
    new = r.normal(size=(7, 2))
    return problem, new, new @ [1.0, -0.7] + 0.4 + 0.8 * r.normal(size=7)


# --- summary -------------------------------------------------------------------------------------------------------


def test_summary_counts_effective_draws_and_sees_chains_apart() -> None:
    r = np.random.default_rng(0)
    draws = np.concatenate([r.normal(size=(4, 1000, 1)), autoregressive(r, 4, 1000, 1, 0.8)], 2)
    made = drawn(draws).summary()
    assert made.ess_bulk[0] == pytest.approx(4000, rel=0.15)
    assert made.ess_bulk[1] == pytest.approx(4000 / 9, rel=0.35)  # (1 + .8)/(1 - .8) = 9
    assert (made.r_hat < 1.02).all()
    assert made.mean.standard_error == pytest.approx([1 / np.sqrt(4000), 3 / np.sqrt(4000)], rel=0.25)
    apart = draws + np.arange(4)[:, None, None] * [0.0, 1.0]
    far = drawn(apart).summary()
    assert far.r_hat[0] < 1.02 < 1.2 < far.r_hat[1]
    assert far.ess_bulk[1] < 10
    text = str(far).splitlines()
    assert text[0].split()[:2] == ["parameter", "mean"]
    assert len(text) == 3
    assert far.rows()[1]["parameter"] == "p1"


def test_summary_of_too_few_draws_or_a_constant_says_nan_instead_of_failing() -> None:
    few = drawn(np.random.default_rng(0).normal(size=(2, 3, 2))).summary()
    assert np.isnan(few.r_hat).all()
    assert np.isnan(few.ess_bulk).all()
    still = np.random.default_rng(0).normal(size=(2, 50, 2)) * [1.0, 0.0]
    assert np.isnan(drawn(still).summary().r_hat[1])


def test_r_hat_and_ess_are_those_of_arviz_stats() -> None:
    from arviz_stats.base.array import array_stats

    draws = autoregressive(np.random.default_rng(4), 3, 300, 2, 0.5)
    made = drawn(draws).summary()
    for i in range(2):
        assert made.r_hat[i] == pytest.approx(array_stats.rhat(draws[..., i]))
        assert made.ess_tail[i] == pytest.approx(array_stats.ess(draws[..., i], method="tail", prob=(0.05, 0.95)))


# --- predictives: exact for linear regression ------------------------------------------------------------------------


@pytest.mark.parametrize("num_chains", [4, 32])  # errors from effective draws, and from the spread over chains
def test_predictives_are_exact_for_linear_regression_within_their_own_errors(num_chains: int) -> None:
    problem, new, y = regression()
    made = laplace(problem, num_draws=16_000 // num_chains, num_chains=num_chains, key=5)
    wide = np.c_[new, np.ones(7)]
    mean, variance = wide @ made.mean, np.einsum("ni,ij,nj->n", wide, made.covariance, wide)
    found = made.predictive(new, key=1)
    limit = scipy.stats.t.isf(1e-6 / 14, num_chains - 1) if num_chains > 4 else scipy.stats.norm.isf(1e-6 / 14)
    assert np.abs(found.mean.z(mean)).max() < limit
    np.testing.assert_allclose(
        found.mean.standard_error, np.sqrt(variance / 16_000), rtol=0.1 if num_chains == 4 else 0.6
    )
    np.testing.assert_allclose(found.sd, np.sqrt(variance), rtol=0.05)
    responses = np.asarray(found.responses, float)
    assert responses.shape == (num_chains, 16_000 // num_chains, 7)
    np.testing.assert_allclose(responses.std((0, 1)), np.sqrt(variance + 0.64), rtol=0.05)
    low, high = found.interval(0.9)
    np.testing.assert_allclose(high - low, 2 * 1.645 * np.sqrt(variance + 0.64), rtol=0.06)
    log = made.log_predictive({"inputs": wide, "targets": y})
    exact = scipy.stats.norm.logpdf(y, mean, np.sqrt(variance + 0.64))
    assert np.abs(log.pointwise.z(exact)).max() < limit
    assert abs(log.total.z(exact.sum())) < 6
    assert log.total.standard_error < 0.05
    assert log.mean.standard_error == pytest.approx(exact.std(ddof=1) / np.sqrt(7), rel=0.05)
    # the density at the mean parameters, instead of averaged over draws, would be seen
    assert np.abs(log.pointwise.z(scipy.stats.norm.logpdf(y, mean, 0.8))).max() > 20


def test_monte_carlo_error_of_correlated_draws_is_that_of_their_effective_size() -> None:
    problem, new, y = regression()
    exact = laplace(problem)
    root = np.linalg.cholesky(exact.covariance)
    z = autoregressive(np.random.default_rng(1), 4, 2000, 3, 0.9)
    slow = drawn(exact.mean + z @ root.T, problem=problem)
    found = slow.predictive(new).mean
    wide = np.c_[new, np.ones(7)]
    sd = np.sqrt(np.einsum("ni,ij,nj->n", wide, exact.covariance, wide))
    np.testing.assert_allclose(
        found.standard_error, sd * np.sqrt(19 / 8000), rtol=0.4
    )  # τ = 19; independent: 4.4 times less
    few = slow.log_predictive({"inputs": wide, "targets": y}, num_draws=100)
    assert few.pointwise.n == 400
    assert few.total.standard_error > slow.log_predictive({"inputs": wide, "targets": y}).total.standard_error


def test_log_predictive_serves_any_problem_and_checks_its_layout() -> None:
    r = np.random.default_rng(3)

    def log_likelihood(params: Any, example: Any) -> Any:
        return -jax.numpy.abs(example["t"] - params["a"]) - np.log(2.0)

    problem = gn.Problem(log_likelihood, {"t": r.normal(size=30).astype(np.float32)}, {"a": np.zeros((), np.float32)})
    made = drawn(r.normal(0.1, 0.2, size=(2, 400, 1)), problem=problem)
    found = made.log_predictive({"t": np.array([0.0, 2.0])})
    by_hand = np.log(np.exp(-np.abs(np.array([0.0, 2.0]) - made.draws)).mean((0, 1)) / 2)
    np.testing.assert_allclose(found.pointwise.value, by_hand, rtol=1e-6)
    with pytest.raises(ValueError, match="problem must have `predict`"):
        made.predictive(np.zeros(1))
    with pytest.raises(ValueError, match=r"data must be laid out like problem\.data"):
        made.log_predictive({"t": np.zeros((3, 2))})
    with pytest.raises(ValueError, match="num_draws must be between 1 and 400"):
        made.log_predictive({"t": np.zeros(3)}, num_draws=401)
    with pytest.raises(ValueError, match="log_predictive must know the problem"):
        drawn(made.draws).log_predictive({"t": np.zeros(3)})


# --- directions, distances, calibration ------------------------------------------------------------------------------


def test_directions_tell_prediction_from_run(known: Any) -> None:
    problem, mode, law = known("digits")
    made = corrected_langevin(problem, batch_size=64, num_draws=1500, num_chains=8, mode=mode, law=law, progress=False)
    found = made.directions()
    assert len(found) == problem.num_params
    assert [d.target_sd for d in found] == sorted((d.target_sd for d in found), reverse=True)
    assert all(abs(d.predicted - 1) < 1e-6 for d in found)
    assert all(d.kept for d in found)
    halved = dataclasses.replace(made, predicted_covariance=made.predicted_covariance / 2)
    assert not any(d.kept for d in halved.directions())
    against = made.directions(laplace(problem, mode=mode))
    assert max(abs(d.achieved.value - 1) for d in against) > max(abs(d.achieved.value - 1) for d in found)
    with pytest.raises(ValueError, match="reference must be given"):
        laplace(problem, mode=mode).directions()


def test_distance_is_at_its_floor_for_equal_laws_and_sees_what_a_gaussian_fit_cannot() -> None:
    p_values, small = [], 0
    for seed in range(40):
        r = np.random.default_rng(seed)
        a, b = (drawn(autoregressive(r, 4, 300, 3, 0.6)) for _ in range(2))
        found = a.distance(b, num_directions=16, num_exchanges=39, key=seed)
        p_values.append(found.p_value)
        small += found.raw < 2 * found.floor
    assert small >= 38
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-4  # in steps of 1/40: exact under exchange
    r = np.random.default_rng(99)
    skew = drawn(r.exponential(size=(8, 1000, 2)) - 1)  # mean 0, covariance 1
    normal = drawn(r.normal(size=(8, 1000, 2)))
    assert skew.divergence(normal).to_reference < 3 * skew.divergence(normal).floor
    found = skew.distance(normal)
    assert found.p_value == 1 / 200
    assert found.value > 4 * found.floor
    assert found.worst >= found.raw >= found.value
    shifted = drawn(np.asarray(normal.draws) + np.array([0.3, 0.0]))
    grown = shifted.distance(drawn(r.normal(size=(8, 1000, 2))), num_directions=256, num_exchanges=39)
    assert grown.value == pytest.approx(0.3 / np.sqrt(2), rel=0.15)  # a shift of 0.3 along one of two axes
    with pytest.raises(ValueError, match="reference must have D = 2"):
        skew.distance(drawn(r.normal(size=(2, 50, 3))))


def test_calibration_reaches_the_sandwich_exactly_and_moves_draws_least(known: Any) -> None:
    problem, mode, law = known("digits")
    made = constant_sgd(problem, batch_size=64, num_draws=200, num_chains=8, mode=mode, law=law, progress=False)
    inverse = np.linalg.inv(law.hessian)
    sandwich = inverse @ law.gradient_covariance @ inverse / problem.num_examples
    moved = made.calibrate()
    np.testing.assert_allclose(moved.covariance, sandwich, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(moved.mean, law.mean, atol=1e-9)
    assert moved.verdict.level == "approximate"
    assert moved.method.endswith("calibrated")
    same = made.calibrate(made.covariance)
    np.testing.assert_allclose(same.draws, made.draws, atol=1e-6)  # nothing to move
    root = np.linalg.cholesky(sandwich) @ np.linalg.inv(np.linalg.cholesky(made.covariance))
    by_cholesky = law.mean + (made.draws - made.mean) @ root.T
    assert ((moved.draws - made.draws) ** 2).sum() < ((by_cholesky - made.draws) ** 2).sum()
    here = made.calibrate(2 * made.covariance, mean=np.zeros(problem.num_params))
    np.testing.assert_allclose(here.mean, 0, atol=1e-9)
    without = laplace(problem, mode=mode, num_draws=500).calibrate("sandwich")
    local = gn.measure.local_geometry(problem, mode)
    flat = np.linalg.inv(local.hessian)
    np.testing.assert_allclose(
        without.predicted_covariance, flat @ local.gradient_covariance @ flat / problem.num_examples, rtol=1e-6
    )
    for bad, words in (("bootstrap", "target must be one of"), (np.eye(2), "target must have shape")):
        with pytest.raises(ValueError, match=words):
            made.calibrate(bad)


# --- ArviZ -----------------------------------------------------------------------------------------------------------


def test_datatree_has_sample_stats(known: Any) -> None:
    problem, mode, law = known("digits")
    made = corrected_langevin(problem, batch_size=64, num_draws=6, num_chains=8, mode=mode, law=law, progress=False)
    tree = made.to_datatree(log_posterior=True)
    thin, burn_in = made.settings["thin"], made.settings["burn_in"]
    np.testing.assert_array_equal(tree["sample_stats"]["step"].values[1], burn_in + thin * np.arange(1, 7))
    lp = tree["sample_stats"]["lp"].values
    assert lp.shape == (8, 6)
    with jax.enable_x64(True):
        one = -problem.num_examples * float(problem.loss(problem.unflatten(np.asarray(made.draws[1, 3], float))))
    assert lp[1, 3] == pytest.approx(one, rel=1e-5)
    assert "lp" not in made.to_datatree()["sample_stats"]
    assert "sample_stats" not in drawn(np.zeros((2, 4, 1))).to_datatree().children
    with pytest.raises(TypeError, match="log_posterior must be True or False"):
        made.to_datatree(log_posterior="no")


def test_nuts_knows_its_problem_and_compiles_once_a_shape() -> None:
    from gradnoise.infer.samplers import nuts as truth

    first, new, _ = regression(1)
    made = nuts(first, num_draws=20, num_chains=2)
    assert made.predictive(new, num_draws=5).predictions.shape == (2, 5, 7)
    before = truth._all_chains._cache_size()
    nuts(regression(2)[0], num_draws=20, num_chains=2)
    assert truth._all_chains._cache_size() == before
