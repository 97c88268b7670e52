"""Data and posteriors on which no sampler can work, or only just: a clear error, or an honest verdict, for every one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer.choice.plan import SAMPLERS
from gradnoise.mode import NotAMinimum

METHODS = tuple(SAMPLERS)


def by_default(*names: str) -> list[Any]:
    """All methods, the others of them among the slow tests."""
    return [m if m in names else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]


R = np.random.default_rng(0)
X = R.normal(size=(60, 2))
NOISY = X @ [1.0, -1.0] + R.normal(size=60)


def run(method: str, problem: gn.Problem, batch_size: int = 8, **settings: Any) -> Any:
    made = SAMPLERS[method].plan(problem, batch_size=batch_size, **settings)
    return made.run(num_draws=100, num_chains=8, key=3, progress=False)


def outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return the posterior and "", or None and what the error said."""
    try:
        return call(), ""
    except (ValueError, gn.Divergence) as refusal:
        return None, str(refusal)


def told(refusal: str) -> bool:
    """Whether a refusal says more than a few words: what is wrong, and what to do."""
    return len(refusal) > 60 and ". " in refusal


def honest(made: Any, problem: gn.Problem) -> None:
    """For a quadratic loss the target is exact: a good verdict must be true of it."""
    if made is None or made.verdict.level != "trustworthy":
        return
    exact = gn.infer.laplace(problem)
    limit = 0.01 * problem.num_params + 3 * made.verdict.numbers["kl_floor"]
    covariance = made.run.covariance
    assert gn.theory.gaussian_kl(covariance, exact.covariance, made.run.mean, exact.mean) < limit


@pytest.mark.parametrize("method", METHODS)
def test_separable_data_without_a_prior_are_refused_in_words(method: str) -> None:
    labels = (X[:, 0] > 0).astype(float)
    with pytest.raises(NotAMinimum, match="the data are separable"):
        run(method, gn.models.logistic_regression(X, labels, np.inf))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["collinear", "more parameters than examples"])
def test_improper_posteriors_are_refused_with_the_flat_direction(method: str, case: str) -> None:
    x, y = (np.c_[X, X[:, :1]], NOISY) if case == "collinear" else (R.normal(size=(6, 10)), R.normal(size=6))
    with pytest.raises(NotAMinimum, match="the loss is flat"):
        run(method, gn.models.linear_regression(x, y, np.inf, 1.0), 2)


# slow: the others share what refuses and what judges; each runs by default in another test of this file
@pytest.mark.parametrize("method", by_default("corrected_langevin", "fisher_scoring", "iterate_averaging"))
def test_a_prior_makes_them_proper(method: str) -> None:
    """Six examples, ten parameters: the data leave directions to the prior, where there is no minibatch noise at all."""
    r = np.random.default_rng(5)
    problem = gn.models.linear_regression(r.normal(size=(6, 10)), r.normal(size=6), 1.0, 1.0, intercept=False)
    made, refusal = outcome(lambda: run(method, problem, 2))
    assert made or told(refusal)
    honest(made, problem)
    if method == "corrected_langevin":
        assert made.verdict.level == "trustworthy"


def test_constant_sgd_says_that_noise_is_missing_and_what_to_use() -> None:
    r = np.random.default_rng(5)
    problem = gn.models.linear_regression(r.normal(size=(6, 10)), r.normal(size=6), 1.0, 1.0, intercept=False)
    with pytest.raises(ValueError, match=r"no gradient noise in 4 of 10 directions.*corrected_langevin"):
        run("constant_sgd", problem, 2)


# slow: the others share what refuses and what judges; each runs by default in another test of this file
@pytest.mark.parametrize("method", by_default("constant_sgd", "fisher_scoring", "iterate_averaging"))
def test_batches_of_one(method: str) -> None:
    problem = gn.models.linear_regression(X, NOISY, 1.0, 1.0)
    made, refusal = outcome(lambda: run(method, problem, 1))
    assert made or told(refusal)
    honest(made, problem)
    if method in ("constant_sgd", "corrected_langevin"):
        assert made.verdict.level == "trustworthy"
    with pytest.raises(ValueError, match=r"batch_size must be (>=|between) 1"):
        run(method, problem, 0)


@functools.cache  # one function object, or JAX compiles again
def gamma(n: int) -> gn.Problem:
    """Rates of exponential times: log likelihood log θ - θt, not a number at θ <= 0; few examples reach there."""

    def log_likelihood(rate: Any, example: Any) -> Any:
        return jnp.log(rate) - rate * example["time"]

    times = np.random.default_rng(8).exponential(size=n).astype(np.float32)
    return gn.Problem(log_likelihood, {"time": times}, np.ones((), np.float32))


# slow: the others share what refuses and what judges; each runs by default in another test of this file
@pytest.mark.parametrize("method", by_default("langevin", "sghmc", "fisher_scoring", "iterate_averaging"))
def test_chains_that_meet_nan_are_named_or_the_run_is_refused(method: str) -> None:
    made, refusal = outcome(lambda: run(method, gamma(5), 2))
    if made is None:
        assert told(refusal)
        assert "diverged" not in refusal or "8 of 8 chains diverged: chain" in refusal  # raised where no chain is left
        return
    assert np.isfinite(made.draws).all()
    lost = made.run.diverged
    assert made.draws.shape[0] == 8 - len(lost)
    if lost:
        assert made.verdict.level == "not trustworthy"
        said = (
            made.verdict.reasons[0] + made.verdict.reasons[1]
            if len(made.verdict.reasons) > 1
            else made.verdict.reasons[0]
        )
        assert f"{len(lost)} of 8 chains diverged" in said
        assert all(f"chain {c} at step {s:,}" in said for c, s in lost.items())


# slow: test_a_likelihood_with_a_region_of_nan_is_sampled_beside_it has the same with three parameters
@pytest.mark.slow
def test_a_posterior_far_from_nan_is_not_disturbed_by_it() -> None:
    made = run("corrected_langevin", gamma(400))
    assert made.run.diverged == {}
    assert made.verdict.level == "trustworthy"


@functools.cache
def wells(depth: float = 4.0, n: int = 40) -> gn.Problem:
    """Two wells at ±1, a barrier of `depth` nats between them; about 11 posterior standard deviations apart."""
    c = depth / n

    def log_likelihood(theta: Any, example: Any) -> Any:
        return -c * (theta**2 - 1) ** 2 + example["push"] * theta

    push = np.sqrt(8 * c) * np.repeat([1.0, -1.0], n // 2)
    return gn.Problem(log_likelihood, {"push": push.astype(np.float32)}, np.full((), 1.1, np.float32))


# slow: the others share what refuses and what judges; each runs by default in another test of this file
@pytest.mark.parametrize("method", by_default("corrected_langevin", "fisher_scoring", "iterate_averaging"))
def test_chains_in_another_basin_are_named_or_the_run_is_refused(method: str) -> None:
    problem = wells()
    mode = gn.find_mode(problem)

    def call() -> Any:
        plan = SAMPLERS[method].plan(problem, batch_size=4, at="mode", mode=mode)
        return plan.run(num_draws=1000, num_chains=8, key=1, progress=False)

    made, refusal = outcome(call)
    if made is None:
        assert told(refusal)
        return
    there = np.median(made.draws[:, -250:, 0], axis=1) < -0.9
    if there.any() or (made.draws < -0.5).any():
        assert made.verdict.level == "not trustworthy", made.verdict
    for chain in made.run.chains[there]:
        assert any(f"chain {chain}" in reason for reason in made.verdict.reasons), made.verdict


@pytest.mark.parametrize("method", ["laplace", "reference"])
def test_a_mode_may_be_given_as_params_or_a_vector(method: str) -> None:
    problem = gn.models.logistic_regression(X, (NOISY > 0).astype(int))
    mode = gn.find_mode(problem)
    take = getattr(gn.infer, method)
    settings = {"method": "laplace"} if method == "reference" else {}
    for given in (mode, mode.params, mode.vector):
        made = take(problem, mode=given, num_draws=50, **settings)
        np.testing.assert_allclose(made.predicted_mean, mode.vector, atol=1e-6)
    with pytest.raises(ValueError, match="mode must be a minimum of the loss"):
        take(problem, mode=mode.vector + 1, num_draws=50, **settings)


SMALL = gn.models.logistic_regression(X, (NOISY > 0).astype(float))


ABOUT = [*METHODS, "gaussian", "laplace", "reference", "nuts", "sample", "choose", "evidence", "variational_em"]


@pytest.mark.parametrize("method", [*ABOUT, "local_learning_coefficient"])
def test_what_is_no_problem_is_told_how_to_make_one(method: str) -> None:
    needed = {"batch_size": 8} if method in (*METHODS, "local_learning_coefficient") else {}
    if method == "nuts":
        needed = {"num_draws": 10, "num_chains": 2}
    if method == "variational_em":
        needed = {"batch_size": 8, "hyperparams": ("prior_precision",)}
    with pytest.raises(TypeError, match=r"problem must be a gn\.Problem, got \(.*gn\.models\.logistic_regression"):
        getattr(gn.infer, method)((X, NOISY), **needed)
    if method in METHODS:
        with pytest.raises(TypeError, match=r"problem must be a gn\.Problem"):
            gn.infer.plan(method, (X, NOISY), **needed)
        with pytest.raises(TypeError, match="progress must be"):
            getattr(gn.infer, method)(SMALL, batch_size=8, progress="x")
        with pytest.raises(TypeError, match="unexpected argument 'batch_sizes': did you mean 'batch_size'"):
            gn.infer.plan(method, SMALL, batch_sizes=8)


def test_methods_that_are_no_list_are_named() -> None:
    with pytest.raises(TypeError, match="methods must be a list of names such as"):
        gn.infer.choose(SMALL, methods=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampling": np.eye(3)}, "sampling must be one of 'with_replacement'"),
        ({"n_draws": 10}, r"unexpected argument 'n_draws': did you mean 'num_draws'\?"),
        ({"thread": 1}, r"unexpected argument 'thread': did you mean 'threads'\?"),
        ({"zebra": 1}, r"unexpected argument 'zebra': known are batch_size, .*num_law_draws.*checkpoint, workers, threads"),
        ({"progress": "x"}, "progress must be True, False or a function"),
        ({"temperature": 1e300}, r"temperature must lie in \[1e-06, 1e\+06\]"),
        ({"target": 1e-300 * np.eye(3)}, r"^target and temperature must ask for variances within 1e\+10 times"),
        ({"target": 1e300 * np.eye(3)}, r"^target and temperature must ask for variances within 1e\+10 times"),
        ({"momentum": 1 - 1e-16}, r"^momentum must let .* momentum 0\.9999999999999999\): nothing would move"),
        ({"preconditioner": 1e-300 * np.eye(3)}, "^preconditioner must let the slowest direction"),
        ({"preconditioner": 1e300 * np.eye(3)}, "preconditioner is a step .* times the stability edge"),
    ],
)  # fmt: skip
def test_constant_sgd_names_the_argument(change: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        gn.infer.constant_sgd(SMALL, **{"batch_size": 8, "progress": False} | change)


@pytest.mark.parametrize("method", ["corrected_langevin", "sghmc"])
def test_sampling_that_is_no_word_is_named_by_all(method: str) -> None:
    with pytest.raises(ValueError, match="sampling must be one of 'with_replacement'"):
        gn.infer.plan(method, SMALL, batch_size=8, sampling=np.eye(3))


def test_a_key_is_checked_where_the_law_is_given() -> None:
    law = gn.measure.gaussian_law(SMALL, gn.find_mode(SMALL))
    with pytest.raises((TypeError, ValueError), match="key must be"):
        gn.infer.plan("constant_sgd", SMALL, batch_size=8, law=law, key="zero")


def saturating() -> gn.Problem:
    """Michaelis and Menten; not a number below half = 0.6, the mode at 0.687 and 16 posterior standard deviations away."""

    def log_likelihood(theta: Any, example: Any) -> Any:
        top, half, log_s = theta
        mean = top * example["x"] / (half + example["x"])
        return -0.5 * ((example["y"] - mean) / jnp.exp(log_s)) ** 2 - log_s + 0 * jnp.sqrt(half - 0.6)

    r = np.random.default_rng(0)
    x = r.uniform(0.1, 5, 3000)
    data = {"x": x, "y": 2 * x / (0.7 + x) + 0.1 * r.normal(size=3000)}
    return gn.Problem(log_likelihood, data, [1.0, 1.0, 0.0], names=("top", "half", "log_s"))


# slow: the gradients that meet the region are the same for both methods
@pytest.mark.parametrize("method", ["corrected_langevin", pytest.param("constant_sgd", marks=pytest.mark.slow)])
def test_a_likelihood_with_a_region_of_nan_is_sampled_beside_it(method: str) -> None:
    problem = saturating()
    law = gn.infer.gaussian(problem, num_draws=500)
    assert law.verdict.level == "trustworthy", law.verdict
    made = run(method, problem, 64)
    assert made.run.diverged == {}
    np.testing.assert_allclose(made.predicted_mean, law.predicted_mean, atol=1e-3)
    assert np.isfinite(made.draws).all()
