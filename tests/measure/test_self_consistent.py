"""The law averaged over itself: exact for least squares, none where it runs away, and what simulation shows on real data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradnoise import datasets, find_mode, measure, models, oracles, processes, record, rule, simulate, theory
from gradnoise.measure import stationary_law
from gradnoise.rules import preconditioned_sgd
from gradnoise.testing import assert_covariance, planted_defects


def line(tail: float = 0.0, n: int = 40) -> Any:
    """One coefficient, flat prior: gradients a_n θ - b_n with a_n = x_n²; `tail` makes one input large."""
    rng = np.random.default_rng(1)
    x, noise = rng.uniform(0.5, 1.5, n), rng.standard_normal(n)
    x[0] += tail
    return models.linear_regression(
        x[:, None], x + noise, prior_scale=np.inf, observation_scale=1.0, intercept=False
    ), x


def test_it_is_exact_for_least_squares():
    problem, x = line(tail=2.5)
    mode, rate, size = find_mode(problem).vector, 0.3, 3
    a = x**2
    g = a * mode[0] - x * np.asarray(problem.data["targets"], float)
    # δ' = δ - η(ā_B δ + ḡ_B): v = [ (1-ηā)² + η² Var(a)/B ] v + η² Var(g)/B, and g's covariance with a drops out as E δ = 0
    growth = (1 - rate * a.mean()) ** 2 + rate**2 * a.var() / size
    expected = rate**2 * g.var() / size / (1 - growth)
    start = theory.stationary_covariance([[a.mean()]], [[g.var()]], learning_rate=rate, batch_size=size)
    found = stationary_law(problem, mode, start=start, learning_rate=rate, batch_size=size, momentum=0.0)
    assert found is not None
    assert found.covariance[0, 0] == pytest.approx(expected, rel=5e-3)
    assert start[0, 0] < 0.98 * expected  # values at the mode are visibly too small
    assert found.mean == pytest.approx(mode, abs=1e-6)


def test_it_is_none_beyond_the_second_moment_edge():
    problem, x = line(tail=8.0)
    a, rate = x**2, 0.5 / np.mean(x**2)  # a quarter of the edge of the mean
    assert (1 - rate * a.mean()) ** 2 + rate**2 * a.var() > 1
    mode = find_mode(problem)
    local = measure.local_geometry(problem, mode)
    start = theory.stationary_covariance(local.hessian, local.gradient_covariance, learning_rate=rate, batch_size=1)
    assert stationary_law(problem, mode.vector, start=start, learning_rate=rate, batch_size=1, momentum=0.0) is None


def test_what_an_epoch_cancels_is_the_noise_at_the_mode_of_a_quadratic():
    problem, _ = line(tail=2.5)
    local = measure.local_geometry(problem, find_mode(problem))
    settings = {"learning_rate": 0.3, "batch_size": 4, "momentum": 0.0}
    start = theory.stationary_covariance(local.hessian, local.gradient_covariance, **settings)
    found = stationary_law(problem, local.vector, start=start, sampling="shuffled", **settings)
    assert found is not None
    assert found.persistent == pytest.approx(local.gradient_covariance, rel=1e-6)
    assert found.gradient_covariance[0, 0] > 1.01 * found.persistent[0, 0]
    independent = stationary_law(problem, local.vector, start=start, **settings)
    assert independent is not None
    assert found.covariance[0, 0] < independent.covariance[0, 0]


@pytest.mark.parametrize("rate", [0.02, 0.05])
def test_it_agrees_with_exact_least_squares_on_wine(rate: float) -> None:
    data, _ = datasets.standardise(datasets.bundled("wine"))
    problem = models.linear_regression(data.X, data.y, prior_scale=1.0, intercept=False)
    mode, scale = find_mode(problem), float(problem.hyperparams["observation_scale"])
    local = measure.local_geometry(problem, mode)
    x, y = (np.asarray(problem.data[name], float) / scale for name in ("inputs", "targets"))
    settings = {"learning_rate": rate, "batch_size": 16, "preconditioner": np.linalg.inv(local.hessian)}
    exact = theory.least_squares_moments(x, y, ridge=1 / len(x), **settings).covariance
    law = stationary_law(problem, mode, **settings)
    assert law is not None
    assert np.abs(theory.variance_errors(law.covariance, exact)).max() < 6e-3
    at_mode = theory.stationary_covariance(local.hessian, local.gradient_covariance, **settings)
    assert theory.variance_errors(at_mode, exact)[0] < -0.25  # what the noise at the mode misses


def digits() -> Any:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x[:, x.std(0) > 0]
    _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    x = (x - x.mean(0)) @ axes[:5].T
    return models.logistic_regression(x / x.std(0), (y % 2).astype(float), prior_scale=1.0)


@pytest.mark.law
def test_the_law_is_what_simulation_shows_on_digits() -> None:
    """Batch 4, every direction relaxing at the same rate: the noise grows visibly with the distance from the mode."""
    problem, size, chains = digits(), 4, 2048
    mode = find_mode(problem)
    local = measure.local_geometry(problem, mode)
    settings = {"learning_rate": 0.08, "batch_size": size, "preconditioner": np.linalg.inv(local.hessian)}
    law = stationary_law(problem, mode, **settings)
    assert law is not None
    noise = local.hessian, local.gradient_covariance
    at_mode = theory.stationary_covariance(*noise, **settings)
    process = processes.compose(
        oracles.minibatch(size),
        rule(preconditioned_sgd, learning_rate=0.08, preconditioner=settings["preconditioner"]),
    )
    run = simulate(
        problem,
        process,
        num_steps=720,
        burn_in=120,
        num_chains=chains,
        key=4,
        init=(problem.unflatten(law.mean), law.covariance),
        record=record.draws(every=30),
        progress=False,
    )
    draws = np.asarray(run.draws, np.float64)
    planted_defects(
        lambda p: assert_covariance(draws, p, mean=None, false_fail=1e-7, detects=0.08),
        law.covariance,
        {"noise at the mode": at_mode, "noise x 1.08": 1.08 * law.covariance},
    )


def test_injected_noise_and_a_preconditioner_are_part_of_the_law() -> None:
    """SGLD on least squares: the exact linear system, solved here by enumerating the rows."""
    problem, x = line(tail=2.5)
    mode, h = find_mode(problem).vector, 0.2
    a = x**2
    g = a * mode[0] - x * np.asarray(problem.data["targets"], float)
    step, size, injected = 0.5 * h, 4, 0.03
    growth = (1 - step * a.mean()) ** 2 + step**2 * a.var() / size
    found = stationary_law(
        problem, mode, learning_rate=h, batch_size=size, preconditioner=[[0.5]], injected=[[injected]]
    )
    assert found is not None
    assert found.covariance[0, 0] == pytest.approx((step**2 * g.var() / size + injected) / (1 - growth), rel=5e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be > 0"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"sampling": "epochs"}, "sampling must be one of"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"preconditioner": [[-1.0]]}, "preconditioner must be positive definite"),
        ({"injected": [[-1.0]]}, "injected must have no negative eigenvalue"),
        ({"start": [[1.0, 0.0], [0.0, 1.0]]}, "start must have shape"),
        ({"batch_size": 41, "sampling": "shuffled"}, "batch_size must be <= num_examples"),
    ],
)
def test_bad_arguments(change: dict[str, Any], words: str) -> None:
    problem, _ = line()
    with pytest.raises((ValueError, TypeError), match=words):
        stationary_law(problem, [0.0], **{"learning_rate": 0.1, "batch_size": 2, **change})
