"""Identities of single formulas that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
from calls import called, valid_call
from numpy.testing import assert_allclose
from scipy.optimize import brentq

from gradnoise import theory
from gradnoise.theory.least_squares.tail_exponent import _resampled as resampled
from gradnoise.theory.stationary import adaptive_law as adaptive

SIZE = 3


@pytest.mark.parametrize("name", ["stationary_covariance", "langevin_covariance", "preconditioner_for"])
def test_symmetric_to_the_last_bit(name):
    found = called(name, valid_call(name))
    assert (found == found.T).all()


def test_records_are_symmetric_to_the_last_bit():
    rng = np.random.default_rng(4)
    H, C = (a @ a.T + np.eye(7) for a in rng.standard_normal((2, 7, 7)))
    chain = theory.linear_chain(H, C, learning_rate=0.03, batch_size=3, momentum=0.5)
    law = theory.circulation(H, C, temperature=0.1)
    exact = theory.least_squares_moments(
        rng.standard_normal((30, 7)), rng.standard_normal(30), learning_rate=0.05, batch_size=2
    )
    matrices = [chain.covariance, chain.state_covariance, chain.long_run_covariance, chain.average(5), chain.ema(0.7)]
    for found in (*matrices, law.covariance, law.potential, exact.covariance, exact.noise):
        assert (found == found.T).all()
    assert (law.antisymmetric == -law.antisymmetric.T).all()


def test_stein_with_noise_that_is_not_symmetric():
    rng = np.random.default_rng(5)
    F, noise = rng.standard_normal((2, 4, 4)) / 4
    found = theory.stein(F, noise)
    assert_allclose(found, F @ found @ F.T + noise, rtol=1e-12)
    assert_allclose(theory.stein(F, noise.T), found.T, rtol=1e-12)


@pytest.mark.parametrize("sampling", ["without_replacement", "shuffled"])
def test_one_example_has_no_noise(sampling):
    """N = 1: (N − B)/(N − 1) is 0/0, and every batch is the same."""
    if sampling == "without_replacement":
        assert theory.noise_factor(batch_size=1, sampling=sampling, num_examples=1) == 0
    setting = {"learning_rate": 0.3, "batch_size": 1, "sampling": sampling, "num_examples": 1}
    assert_allclose(theory.stationary_covariance([[1.0]], [[0.7]], **setting), 0, atol=0)


def test_fourth_moment_edge_far_below_the_second():
    """One row of 3 among 999 of 1, B = 1: E(1 − ηx²)⁴ = 1 long before E(1 − ηx²)² does."""
    X = np.r_[np.ones(999), 3.0][:, None]

    def excess(rate, power):
        return ((1 - rate * X[:, 0] ** 2) ** power).mean() - 1

    edges = theory.least_squares_edges(X, batch_size=1)
    assert_allclose(edges.second_moment, brentq(excess, 0.1, 2.5, args=(2,)), rtol=1e-9)
    assert_allclose(edges.fourth_moment, brentq(excess, 0.1, 2.5, args=(4,)), rtol=1e-9)
    assert edges.fourth_moment < edges.second_moment / 2


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tail_exponent_in_one_dimension_by_ordered_batches(size):
    """Every ordered batch has the same probability, so a batch of unlike rows weighs more than one of like rows."""
    x, rate = np.array([0.5, 1.0, 2.0, 2.2]), 0.51
    batches = np.array(list(itertools.product(x**2, repeat=size))).mean(1)
    assert np.log(np.abs(1 - rate * batches)).mean() < 0

    def growth(power):
        return np.log((np.abs(1 - rate * batches) ** power).mean())

    found = theory.least_squares_tail_exponent(x[:, None], learning_rate=rate, batch_size=size).value
    assert_allclose(found, brentq(growth, 0.05, 50), rtol=1e-8)


@pytest.mark.parametrize("law", [theory.rmsprop_law, theory.adam_law])
def test_a_large_eps_is_sgd(law):
    """eps ≫ √v: a step is η/eps times the averaged gradient."""
    H, C, eps = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]]), 1e5
    found = law(H, C, learning_rate=0.2 * eps, batch_size=4, eps=eps, **({"b1": 0.0} if law is theory.adam_law else {}))
    plain = theory.stationary_covariance(H, C, learning_rate=0.2, batch_size=4)
    assert_allclose(found.covariance, plain, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_edge_of_damped_newton_on_regression(momentum):
    """The covariance grows without bound towards the edge, and the refusal names that edge."""
    setting = {"label_variance": 0.5, "batch_size": 4, "momentum": momentum}
    H = np.array([[2.0, 0.3], [0.3, 0.5]])
    with pytest.raises(ValueError, match="second-moment edge") as refused:
        theory.newton_regression_covariance(H, learning_rate=50.0, **setting)
    edge = float(re.search(r"edge ([0-9.]+)", str(refused.value))[1])
    traces = [
        np.trace(theory.newton_regression_covariance(H, learning_rate=(1 - gap) * edge, **setting))
        for gap in (1e-2, 1e-3)
    ]
    assert 8 < traces[1] / traces[0] < 12


def test_langevin_correction_up_to_the_edge_with_momentum():
    """Times the factor the refusal names, the added noise is positive semidefinite, and singular."""
    H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
    setting = {"num_examples": 50, "batch_size": 4, "momentum": 0.6}
    step = np.array([[3.0, 0.2], [0.2, 2.0]])
    with pytest.raises(ValueError, match="preconditioner must be at most") as refused:
        theory.langevin_correction(H, C, preconditioner=step, **setting)
    factor = float(re.search(r"at most ([0-9.e-]+)", str(refused.value))[1])
    values = np.linalg.eigvalsh(theory.langevin_correction(H, C, preconditioner=step * factor * (1 - 1e-5), **setting))
    assert 0 < values[0] < 1e-3 * values[1]


def test_standard_error_of_the_two_batch_ratio_by_finite_differences():
    """Delta method: the ratio's influence of each pair, by leaving a little of it out; b = 3, so that b is not 1."""
    rng = np.random.default_rng(6)
    b, B, pairs = 3, 12, 40
    small, big = 5 + 4 / b * rng.chisquare(4, pairs), 5 + 4 / B * rng.chisquare(4, pairs)
    found = theory.two_batch_estimates(small, big, small_batch_size=b, big_batch_size=B).gradient_noise_scale

    def ratio(weights):
        s, g = weights @ small / weights.sum(), weights @ big / weights.sum()
        return (s - g) / (1 / b - 1 / B) / ((B * g - b * s) / (B - b))

    one = np.ones(pairs)
    influence = np.array([(ratio(one + 1e-6 * unit) - ratio(one - 1e-6 * unit)) / 2e-6 for unit in np.eye(pairs)])
    assert_allclose(found.value, ratio(one), rtol=1e-12)
    assert_allclose(found.standard_error, np.sqrt(pairs / (pairs - 1) * (influence**2).sum()), rtol=1e-5)


def test_momentum_carries_modes_beyond_the_edge_of_sgd():
    """ηh = 3 is unstable without momentum and stable with μ = 0.8, up to 2 (1 + μ)."""
    mu, rates, noise = 0.8, np.array([3.0, 0.5]), np.array([[1.0, 0.2], [0.2, 0.4]])
    step = np.diag(rates)
    F = np.block(
        [[np.eye(2) - step, -mu * np.eye(2)], [step, mu * np.eye(2)]]
    )  # θ' = θ − m', m' = μ m + g, in units of η
    kick = np.block([[noise, -noise], [-noise, noise]])
    assert_allclose(theory.mode_covariance(rates, noise, momentum=mu), theory.stein(F, kick)[:2, :2], rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.6])
def test_stable_scale_in_continuous_time_is_the_limit_of_small_steps(alpha):
    law = {"curvature": 1.7, "noise_scale": 0.6, "learning_rate": 1e-7, "batch_size": 3, "alpha": alpha}
    assert_allclose(theory.stable_scale(time="continuous", **law), theory.stable_scale(**law), rtol=1e-6)


def test_batches_of_independent_steps_have_length_one():
    chain = theory.LinearChain(np.zeros((2, 2)), np.eye(2), np.eye(2))
    found = theory.batch_means_error(chain, [1.0, 0.5], num_steps=100)
    assert (found.length, found.constant) == (1, 0)


@pytest.mark.parametrize("fraction", [0.2, 0.9, 1.0])
def test_relaxation_of_the_corrected_sampler_is_its_chains(fraction):
    H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
    found = theory.corrected_langevin_tuning(H, C, num_examples=50, batch_size=10, fraction=fraction)
    chain = theory.linear_chain(
        H, C, learning_rate=1.0, batch_size=10, preconditioner=found.preconditioner, injected=found.injected_covariance
    )
    assert_allclose(found.relaxation_time, chain.relaxation_time, rtol=1e-9)
    assert_allclose(chain.covariance, np.linalg.inv(50 * H), rtol=1e-9)


def test_a_step_of_one_forgets_everything():
    """No gradient noise: η_max = 2, and half of it lands on a fresh draw every step."""
    found = theory.corrected_langevin_tuning(np.diag([2.0, 0.5]), np.zeros((2, 2)), num_examples=50, batch_size=10)
    assert (found.eta_max, found.eta, found.relaxation_time) == (2, 1, 0)


def test_upper_end_of_averaging_is_the_edge_or_the_noise():
    H, setting = np.diag([0.5, 1.0, 2.0]), {"num_examples": 20_000, "batch_size": 10}
    assert_allclose(theory.averaging_range(H, tolerance=0.9, **setting).high, 2 / 2.0, rtol=1e-12)
    assert_allclose(theory.averaging_range(H, tolerance=0.05, **setting).high, 2 * 10 * 0.05 / (3.5 + 2), rtol=1e-12)


def test_systematic_resampling_copies_in_proportion():
    """Every particle is copied its expected number of times, rounded down or up; weights are logarithms of any size."""
    weights = 3 * np.random.default_rng(8).standard_normal((2, 50)) + 2000.0
    share = np.exp(weights - weights.max(1, keepdims=True))
    expected = 50 * share / share.sum(1, keepdims=True)
    chosen = resampled(np.random.default_rng(9), weights)
    for row, copies in zip(chosen, expected, strict=True):
        counts = np.bincount(row, minlength=50)
        assert (np.abs(counts - copies) < 1).all()


def test_tail_exponent_in_many_dimensions_is_two_at_the_second_moment_edge():
    """E|Ju|² = 1 for isotropic Gaussian inputs: η = 2B/(a (B + D + 1))."""
    for size, batch in ((2, 1), (10, 16), (25, 4), (200, 16)):
        edge = 2 * batch / (1.7 * (batch + size + 1))
        found = theory.tail_exponent(curvature=1.7, learning_rate=edge, batch_size=batch, num_params=size)
        assert_allclose(found, 2, rtol=1e-7)


def test_averaging_at_large_steps_is_the_chains():
    """ηλ on both sides of ½ and beyond 1, windows of a few steps: variance of a mean and its correlation with the next one."""
    H, C, window = np.diag([0.4, 0.6, 1.3]), np.diag([1.0, 0.5, 2.0]), 5
    chain = theory.linear_chain(H, C, learning_rate=1.0, batch_size=4)
    mean, two = np.diag(chain.average(window)), np.diag(chain.average(2 * window))
    limit = np.diag(C) / 4 / np.diag(H) ** 2 / window
    assert_allclose(theory.averaging_factors(H, learning_rate=1.0, window=window), mean / limit, rtol=1e-9)
    correlation = 2 * two / mean - 1  # the mean of two windows has variance (1 + ρ)/2 of one's
    assert_allclose(theory.averaging_correlation(H, learning_rate=1.0, window=window), correlation, rtol=1e-9)


def test_tail_exponent_below_one_half():
    """Multipliers e and e^l with equal chances and (e^0.3 + e^{0.3 l})/2 = 1."""
    other = np.log(2 - np.exp(0.3)) / 0.3
    assert_allclose(theory.multiplier_tail_exponent([np.e, np.exp(other)]), 0.3, rtol=1e-10)


def test_averages_know_the_preconditioner_and_the_injected_noise():
    given = valid_call("iterate_average_covariance")
    extra = {"preconditioner": valid_call("langevin_correction")["preconditioner"], "injected": 0.1 * np.eye(SIZE)}
    window = given.pop("window")
    chain = theory.linear_chain(**given | extra)
    assert_allclose(
        theory.iterate_average_covariance(**given, **extra, window=window), chain.average(window), rtol=1e-12
    )


@pytest.mark.parametrize("off", [0, 1])
def test_one_direction_that_is_not_solved_is_no_solution(off, monkeypatch):
    """Two directions that know nothing of each other: right in one, wrong in the other."""
    H, C, given = np.diag([1.0, 3.0]), np.diag([0.5, 0.2]), (0.01, 0.0, 1e-8)
    right = np.log(adaptive._settled(H, C, *given, np.log(np.diag(C))).second_moment)
    wrong = right + 0.1 * np.eye(2)[off]
    monkeypatch.setattr(adaptive, "root", lambda *_, **__: SimpleNamespace(x=wrong))
    assert adaptive._settled(H, C, *given, np.log(np.diag(C))) is None
