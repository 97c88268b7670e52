"""More identities and agreements of single formulas that random mutants of the code survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad, solve_ivp
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gradnoise import theory
from gradnoise.testing import assert_fails
from gradnoise.theory.least_squares.fourth_moments import FourthMoments
from gradnoise.theory.least_squares.tail_exponent import _batches as batches
from gradnoise.theory.least_squares.tail_exponent import _growth as growth
from gradnoise.theory.least_squares.tail_exponent import _outcomes as outcomes
from gradnoise.theory.tails.tail_exponent import _proposed as proposed
from gradnoise.theory.tuning import preconditioner_for as targets

H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
TURN = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
SAMPLINGS = ["with_replacement", "without_replacement"]


def test_standard_error_of_the_learning_coefficient_is_that_of_its_chain():
    """Var θᵀHθ = Σ H_ij H_kl (Σ_ik Σ_jl + Σ_il Σ_jk), where H and Σ do not commute: C turned against H, few examples a step."""
    hessian, noise = np.diag([2.0, 0.5]), TURN @ np.diag([90.0, 0.1]) @ TURN.T
    strength, spring, step, batch, count = 40.0, 2.0, 4e-3, 2, 1000
    setting = {"inverse_temperature": strength, "localization": spring, "step_size": step, "batch_size": batch}
    found = theory.learning_coefficient(hessian, noise, **setting, num_steps=count)
    force = strength * hessian + spring * np.eye(2)
    chain = theory.linear_chain(
        force, noise * strength**2, learning_rate=step / 2, batch_size=batch, injected=step * np.eye(2)
    )
    spread = chain.covariance
    pairs = "ij,kl,ik,jl->", "ij,kl,il,jk->"
    variance = sum(np.einsum(which, hessian, hessian, spread, spread) for which in pairs)
    error = strength / 2 * math.sqrt(variance * chain.iact(hessian, quadratic=True) / count)
    assert_allclose(found.standard_error, error, rtol=1e-10)
    product = hessian @ spread
    as_if_commuting = error * math.sqrt(np.sum(product**2) / np.trace(product @ product))
    assert_fails(assert_allclose, found.standard_error, as_if_commuting, rtol=1e-3, defect="tr (HΣ)ᵀHΣ")


@pytest.mark.parametrize("time", ["discrete", "continuous"])
def test_position_and_velocity_without_replacement(time):
    """All examples but the noise C (N − B)/(N − 1)."""
    setting = {"learning_rate": 0.05, "batch_size": 4, "momentum": 0.6, "time": time}
    law = theory.position_velocity_law(H, C, **setting, sampling="without_replacement", num_examples=10)
    scaled = theory.position_velocity_law(H, C * 6 / 9, **setting)
    for part in ("position", "velocity", "cross"):
        assert_allclose(getattr(law, part), getattr(scaled, part), rtol=1e-12, atol=1e-16)


def test_momentum_carries_shuffled_modes_beyond_the_edge_of_sgd():
    """Rates between 2 and 2(1 + μ): the factor of a mode is its covariance."""
    rate, mu = 2.7, 0.5
    setting = {"num_examples": 12, "batch_size": 3, "momentum": mu}
    factor = theory.shuffled_weights([rate], **setting)
    assert_allclose(theory.shuffled_covariance([[rate]], [[1.0]], learning_rate=1.0, **setting), factor, rtol=1e-12)
    with pytest.raises(ValueError, match="rates"):
        theory.shuffled_weights([rate], num_examples=12, batch_size=3)


@pytest.mark.parametrize("position", ["end", "mean"])
def test_shuffled_epochs_of_odd_length_with_every_step_too_long(position):
    """ηh > 1, n = 3: Fⁿ is negative. Against all orders of three examples, epochs independent."""
    h, noise = 1.6, np.array([0.5, 0.3, -0.8])
    rate, F = 1.0, 1 - 1.6
    paths = []
    for order in itertools.permutations(noise):
        place, path = 0.0, []
        for kick in order:
            place = F * place - rate * kick
            path.append(place)
        paths.append(path)
    moved = np.mean(np.square(paths), axis=0)  # after 1, 2, 3 steps from rest
    end = moved[2] / (1 - F**6)
    exact = end if position == "end" else np.mean(F ** (2 * np.arange(1, 4)) * end + moved)
    setting = {"learning_rate": rate, "batch_size": 1, "num_examples": 3, "position": position}
    assert_allclose(theory.shuffled_covariance([[h]], [[np.mean(noise**2)]], **setting), [[exact]], rtol=1e-12)


def test_fourth_moment_edge_below_half_of_the_second():
    """One row of 2.8 among 999 of 1, B = 1: just beyond half of the second edge the fourth moment grows by less than e a step."""
    X = np.r_[np.ones(999), 2.8][:, None]
    second = 2 * np.mean(X**2) / np.mean(X**4)
    assert 0 < np.log(np.mean((1 - second / 2 * X**2) ** 4)) < 1
    edge = theory.least_squares_edges(X, batch_size=1).fourth_moment
    assert edge < second / 2
    assert_allclose(np.mean((1 - edge * X**2) ** 4), 1, rtol=1e-8)


def test_radius_of_the_fourth_moment_of_one_parameter():
    """E(1 − ηx²)⁴ over the rows."""
    rows = np.array([[0.4], [1.0], [-1.7]])
    exact = np.mean((1 - 0.3 * rows**2) ** 4)
    assert_allclose(FourthMoments(rows, np.zeros((1, 1)), 1, True, 0.0, False).radius(0.3), exact, rtol=1e-10)


@pytest.mark.parametrize("power", [0.4, 2.0])
def test_growth_of_products_on_equal_orthogonal_rows(power):
    """Rows √D e_i, B = 1: E|Ju|² = 1 − 2η + η²D for every u, so that Λ(2) is its logarithm; ln of a scalar's moment for D = 1."""
    rate, rng = 0.3, np.random.default_rng(1)
    if power == 2.0:
        features, exact = math.sqrt(3) * np.eye(3), math.log(1 - 2 * rate + 3 * rate**2)
        found = growth(features, power, rate, 1, "with_replacement", 0.0, 4000, 40, rng)
        assert_allclose(found.mean(), exact, rtol=0.02)
    else:  # all rows alike: no chance at all
        found = growth(np.ones((4, 1)), power, rate, 2, "with_replacement", 0.5, 16, 9, rng)
        assert_allclose(found, power * math.log(1 - 1.5 * rate), rtol=1e-12)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("count", "size"), [(5, 2), (6, 3), (7, 1)])
def test_outcomes_are_counted(count, size, sampling):
    assert outcomes(count, size, sampling) == len(list(batches(count, size, sampling)))


def test_ridge_alone_can_make_a_step_expand():
    """η(x² + ρ) > 2 > ηx²: the law has a power tail, which it has not without the ridge."""
    X = np.array([[1.0, 0.0], [0.1, 0.2], [0.2, -0.1], [-0.1, 0.2]])
    setting = {"learning_rate": 1.9, "batch_size": 1, "num_particles": 64, "num_steps": 40}
    bounded = theory.least_squares_tail_exponent(X, **setting)
    assert (bounded.value, bounded.standard_error) == (math.inf, 0.0)
    tail = theory.least_squares_tail_exponent(X, ridge=0.2, **setting)
    assert math.isfinite(tail.value)
    assert tail.standard_error > 0


def test_entropy_production_is_free_of_the_unit_of_loss():
    """D → cD, at any size: rates per time stay."""
    one = theory.circulation(H, C, temperature=0.25).entropy_production
    assert one > 0.01
    for scale in (1e-14, 1e9):
        assert_allclose(theory.circulation(H, scale * C, temperature=0.25).entropy_production, one, rtol=1e-9)


def test_a_direction_almost_without_noise_is_refused():
    setting = {"num_examples": 50, "batch_size": 4}
    with pytest.raises(ValueError, match="gradient_covariance"):
        theory.reverse_learning_rate(H, np.diag([1.0, 1e-15]), **setting)
    assert theory.reverse_learning_rate(H, np.diag([1.0, 1e-9]), **setting) > 0


def test_importance_weights_are_ratios_of_densities():
    """ln of N(0, I) over the mixture of Gaussians stretched along the direction, B inputs at once."""
    rng, scales, batch = np.random.default_rng(2), np.array([1.0, 2.5, 7.0]), 3
    along = np.array([[3.0, 1.0], [0.2, -0.5], [1.0, 1.0], [-2.0, 0.3]])
    z, logs = proposed(rng, along, batch, scales)
    for inputs, direction, log in zip(z, along, logs, strict=True):
        axis = direction / np.linalg.norm(direction)
        laws = [multivariate_normal(cov=np.eye(2) + (s - 1) * np.outer(axis, axis)) for s in scales]
        mixture = logsumexp([law.logpdf(inputs).sum() for law in laws]) - math.log(len(scales))
        plain = multivariate_normal(cov=np.eye(2)).logpdf(inputs).sum()
        assert_allclose(log, plain - mixture, rtol=1e-10, atol=1e-12)


@pytest.fixture
def newton_steps(monkeypatch):
    steps, inner = [], targets._newton_step

    def counted(*arguments):
        steps.append(1)
        return inner(*arguments)

    monkeypatch.setattr(targets, "_newton_step", counted)
    return steps


def test_preconditioner_with_momentum_starts_exact_where_all_commute(newton_steps):
    hessian, noise, target = (TURN @ np.diag(d) @ TURN.T for d in ([2.0, 0.5], [1.0, 0.4], [0.02, 0.07]))
    theory.preconditioner_for(target, hessian, noise, batch_size=4, momentum=0.7)
    assert not newton_steps


def test_preconditioner_with_momentum_converges_like_newton(newton_steps):
    """Digits double: a few steps, where steps of half the length would need forty."""
    found = theory.preconditioner_for(np.array([[0.06, 0.02], [0.02, 0.04]]), H, C, batch_size=4, momentum=0.7)
    law = theory.stationary_covariance(H, C, learning_rate=1.0, batch_size=4, momentum=0.7, preconditioner=found)
    assert_allclose(law, [[0.06, 0.02], [0.02, 0.04]], rtol=1e-9)
    assert 0 < len(newton_steps) <= 8


def test_weights_of_the_examples_over_all_signs():
    """ξ = ±1 has mean 0 and covariance 1: over all 2ᴺ of them the gradient has mean ∇L and covariance C/B, to rounding."""
    gradients = np.random.default_rng(3).standard_normal((6, 2))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=6))).reshape(4, 16, 6)
    found = theory.gaussian_weights(signs, batch_size=3) @ gradients / 6
    mean = gradients.mean(0)
    assert_allclose(found.mean((0, 1)), mean, rtol=1e-12)
    centred = found.reshape(-1, 2) - mean
    assert_allclose(centred.T @ centred / 64, np.cov(gradients.T, ddof=0) / 3, rtol=1e-12)
    assert_allclose(theory.gaussian_weights(signs[0], batch_size=3).mean(-1), 1, rtol=1e-12)  # Σ w = N for every draw


def test_learning_coefficient_up_to_the_stability_edge():
    """(ε/2) λ_max(nβH + γ) < 2, three parameters."""
    curvatures = np.array([0.3, 0.9, 2.0])
    setting = {"inverse_temperature": 10.0, "localization": 3.0, "batch_size": 4}
    edge = 4 / (10 * 2.0 + 3.0)
    noise = np.diag([0.1, 0.2, 0.3])
    inside = theory.learning_coefficient(np.diag(curvatures), noise, step_size=0.999 * edge, **setting)
    assert inside.value > 10 * inside.ideal
    with pytest.raises(ValueError, match="step_size"):
        theory.learning_coefficient(np.diag(curvatures), noise, step_size=1.001 * edge, **setting)


def test_stein_of_a_negative_diagonal():
    """Every step overshoots: Z_ij = Ω_ij/(1 − f_i f_j)."""
    f, noise = np.array([-0.5, -0.3, -0.9]), np.ones((3, 3)) + np.eye(3)
    assert_allclose(theory.stein(np.diag(f), noise), noise / (1 - np.outer(f, f)), rtol=1e-13)


@pytest.mark.parametrize("count", [0, 1, 6, 11])
def test_sums_of_powers_of_a_stack_of_matrices(count):
    stack = np.random.default_rng(4).standard_normal((2, 5, 3, 3)) / 2
    power, once, twice = theory.power_sums(stack, count)
    powers = [np.broadcast_to(np.eye(3), stack.shape)]
    for _ in range(count):
        powers.append(stack @ powers[-1])
    assert_allclose(power, powers[count], rtol=1e-10, atol=1e-12)
    assert_allclose(once, sum(powers[:count], np.zeros_like(stack)), rtol=1e-10, atol=1e-11)
    weighted = sum(((count - j) * powers[j] for j in range(count)), np.zeros_like(stack))
    assert_allclose(twice, weighted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("window", [3, 40])
def test_averaging_in_continuous_time_is_the_integral_of_the_autocorrelation(window):
    """(1/T²) ∬ e^{−r|s − t|} ds dt over its limit 2/(rT)."""
    rates = 0.05 * np.array([0.5, 2.0])
    lags, weights = np.polynomial.legendre.leggauss(40)
    lags = window * (lags + 1) / 2
    integral = np.sum(weights * window / 2 * 2 * (window - lags) * np.exp(-np.outer(rates, lags)), 1) / window**2
    found = theory.averaging_factors(np.diag([0.5, 2.0]), learning_rate=0.05, window=window, time="continuous")
    assert_allclose(found, integral / (2 / (rates * window)), rtol=1e-10)


@pytest.mark.parametrize("time", ["discrete", "continuous"])
def test_examples_that_no_batch_reads_widen_the_average(time):
    """25 and 20 examples in batches of 10 make one window, but posteriors of 1/25 and 1/20."""
    errors = [theory.averaging_errors(H, learning_rate=0.1, num_examples=n, batch_size=10, time=time) for n in (25, 20)]
    assert_allclose((1 + errors[0]) / (1 + errors[1]), 25 / 20, rtol=1e-12)


def test_the_budget_that_is_left_out_is_five_percent():
    found = theory.bayesian_tuning(H, C, num_examples=50, batch_size=4, method="langevin")
    assert_allclose(np.abs(found.errors).max(), 0.05, rtol=1e-8)


def test_transverse_gain_begun_anywhere_near_the_minimum():
    """The equation for α in ln s from 1e-9 of the way with α = 1, which is soon forgotten; little loss at the minimum."""
    k, least = 0.3, 1e-4

    def loss(x):
        return (1 - x * x) ** 2 / 8 + least

    def slope(x):
        return -(1 - x * x) * x / 2

    def change(log_s, alpha):
        x = -1 + math.exp(log_s)
        pull = k * alpha * (1 - alpha) + slope(x) ** 2 / (2 * loss(x)) * (alpha - k)
        return math.exp(log_s) * 2 / slope(x) * pull

    ends = math.log(1e-9), math.log(1 - 1e-4)
    path = solve_ivp(change, ends, [1.0], method="Radau", rtol=1e-10, atol=1e-12, dense_output=True).sol

    def integrand(s):
        return slope(s - 1) / (loss(s - 1) * float(path(min(max(math.log(s), ends[0]), ends[1]))[0]))

    cuts = [0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0]
    pieces = (quad(integrand, *piece, epsabs=1e-12, epsrel=1e-11, limit=400)[0] for piece in itertools.pairwise(cuts))
    found = theory.transverse_gain(
        loss, slope, minimum=-1.0, saddle=0.0, escape_curvature=1.0, transverse_curvatures=[k]
    )
    assert_allclose(found, k / 2 * sum(pieces), rtol=1e-8)


@pytest.mark.parametrize("b1", [0.0, 0.5])
@pytest.mark.parametrize("tilt", [-0.2, 0.4])
def test_largest_learning_rate_of_adam_is_named(b1, tilt):
    """It is the rate at which the stiffest direction is within 1e-5 of the edge: up to it the law is found, beyond it not."""
    noise = C + tilt * np.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="learning_rate must be at most about") as refused:
        theory.adam_law(H, noise, learning_rate=1e5, batch_size=4, b1=b1)
    limit, room = map(float, re.findall(r"(?:about|within) ([0-9.e+-]+)", str(refused.value)))
    assert room == 1e-5
    for rate in np.geomspace(0.01, 0.99, 5) * limit:  # the limit is printed with three digits
        law = theory.adam_law(H, noise, learning_rate=rate, batch_size=4, b1=b1)
        assert_allclose(law.second_moment, np.diag(H @ law.covariance @ H + noise / 4), rtol=1e-6)
    stiffest = np.linalg.eigvals(np.diag(law.preconditioner) @ H).real.max() / (2 * (1 + b1))
    assert_allclose(1 - stiffest, 1e-5 / 0.99**2, rtol=0.02)  # η ∝ 1/√room
    with pytest.raises(ValueError, match="learning_rate"):
        theory.adam_law(H, noise, learning_rate=1.01 * limit, batch_size=4, b1=b1)


@pytest.mark.parametrize(("batch_size", "stiffness"), [(4, 1.0), (400, 6.0)])
def test_langevin_within_a_budget_has_the_shortest_memory(batch_size, stiffness):
    """Over budgets from 1 % to 1000 %: the largest error keeps to it, and no step that does so has a smaller max(τ, τ₂)."""
    hessian = stiffness * H
    posterior = np.linalg.inv(50 * hessian)
    laws = []
    for rate in np.geomspace(1e-4, 0.99, 60) * 2 / np.linalg.eigvalsh(hessian)[-1]:
        chain = theory.linear_chain(
            hessian, C, learning_rate=rate, batch_size=batch_size, injected=2 * rate / 50 * np.eye(2)
        )
        error = np.abs(theory.variance_errors(chain.covariance, posterior)).max()
        laws.append((error, max(chain.worst_iact(), chain.worst_iact(quadratic=True))))
    for budget in np.geomspace(0.01, 10, 13):
        found = theory.bayesian_tuning(
            hessian, C, num_examples=50, batch_size=batch_size, method="langevin", budget=budget
        )
        assert np.abs(found.errors).max() <= budget * (1 + 1e-8)
        best = min((time for error, time in laws if error <= budget), default=np.inf)
        assert max(found.iact, found.quadratic_iact) <= best * (1 + 1e-4)


@pytest.mark.parametrize("scale", [1e-5, 1e5])
@pytest.mark.parametrize("rate", [0.1, 30.0])
def test_adam_does_not_know_the_unit_of_loss(scale, rate):
    """H → cH, C → c²C, ε → cε leave θ alone, at small rates and far above the one at which the noise is the rule's own."""
    setting = {"learning_rate": rate, "batch_size": 4, "b1": 0.6}
    law = theory.adam_law(H, C, eps=1e-3, **setting)
    other = theory.adam_law(scale * H, scale**2 * C, eps=scale * 1e-3, **setting)
    assert_allclose(other.covariance, law.covariance, rtol=1e-6)
    assert_allclose(other.second_moment, scale**2 * law.second_moment, rtol=1e-6)
    steady = theory.stationary_covariance(
        H, C, learning_rate=0.4, batch_size=4, momentum=0.6, preconditioner=np.diag(law.preconditioner) / 0.4
    )
    assert_allclose(law.covariance, steady, rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_closed_diagonal_is_the_full_preconditioner_of_diagonal_noise(momentum):
    """In continuous time; also where units differ so much that only the noise relative to the curvature is not silent."""
    units = np.array([1e5, 1.0])
    setting = {"num_examples": 50, "batch_size": 4, "momentum": momentum, "time": "continuous"}
    hessian, noise = H * np.outer(units, units), np.diag([1.0, 0.4]) * np.outer(units, units)
    closed = theory.optimal_preconditioner(hessian, noise, kind="diagonal_closed", **setting)
    full = theory.optimal_preconditioner(hessian, noise, kind="full", **setting)
    assert_allclose(closed * np.outer(units, units), full * np.outer(units, units), rtol=1e-10, atol=1e-12)
