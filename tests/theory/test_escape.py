"""Escape: every printed number of discrete_noise.md 2.8 and 4.3 to 4.7, by exact integral equations, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.results import Estimate, mean_of
from gradnoise.testing import assert_estimate, assert_fails, planted_defects


def digits(printed, significant=None):
    """Half a unit of the last digit printed, relative; computed from the text of the number."""
    text = f"{printed}"
    places = len(text.partition(".")[2])
    return 0.6 * 10.0**-places / printed


# --- exit from a quadratic region ---

EXITS = {
    0.1: (842.150, 26240.4, 2387037),
    0.5: (397.461, 16051.3, 1749421),
    1.0: (370.398, 15787.2, 1744278),
    1.9: (842.150, 26240.4, 2387037),
}


def exit_time(rate, z, **change):
    law = {"curvature": 1.0, "gradient_variance": 3.0, "learning_rate": rate, "batch_size": 3} | change
    return theory.quadratic_exit_time(radius=z * math.sqrt(rate / (2 - rate)), **law)


@pytest.mark.parametrize("rate", sorted(EXITS))
def test_quadratic_exit_golden_d6(rate):
    found = [exit_time(rate, z) for z in (3, 4, 5)]
    assert_allclose(found, EXITS[rate], rtol=3e-6)
    assert_allclose(found[0], exit_time(2 - rate, 3), rtol=1e-6)
    slope = math.log(found[2] / found[1]) / 4.5
    assert_allclose(slope, {0.1: 1.002, 0.5: 1.042, 1.0: 1.046, 1.9: 1.002}[rate], atol=6e-4)


@pytest.mark.law
def test_quadratic_exit_law_c5():
    """First step outside three standard deviations of the *discrete* law, 6 000 chains."""
    rng, rate, b = np.random.default_rng(1), 0.5, 3 * math.sqrt(1 / 3)
    theta, alive, times = np.zeros(6000), np.ones(6000, dtype=bool), np.zeros(6000)
    for step in range(1, 6000):
        theta = theta - rate * (theta + rng.normal(size=6000))
        out = alive & (np.abs(theta) > b)
        times[out] = step
        alive &= ~out
    assert not alive.any()
    right = theory.quadratic_exit_time(curvature=1.0, gradient_variance=1.0, learning_rate=rate, batch_size=1, radius=b)
    wrong = {
        "variance in continuous time": exit_time(rate, 3 * math.sqrt(4 / 3)),
        "batch size forgotten": exit_time(rate, 3, batch_size=1),
    }
    planted_defects(lambda t: assert_estimate(mean_of(times), t, detects=0.15), right, wrong)


# --- a smooth barrier ---


def double_well_slope(x):
    """V = ¼(1−x²)²: h* = 2, |h_s| = 1, barrier ¼."""
    return -(1 - x * x) * x


CROSSINGS = [
    (0.05, 0.1, 705.53),
    (0.05, 0.3, 597.78),
    (0.05, 0.6, 87.066),
    (0.05, 0.9, 19.328),
    (0.03, 0.1, 18765),
    (0.03, 0.3, 15591),
]


def crossing(heat, rate, points=601):
    setting = {"learning_rate": rate, "start": -1.0, "target": 1.0, "low": -2.2, "num_points": points}
    return rate * theory.chain_passage_time(double_well_slope, lambda x: 2 * heat / rate + 0 * x, **setting)


def crossing_diffusion(heat):
    return theory.diffusion_passage_time(double_well_slope, lambda x: heat + 0 * x, start=-1.0, target=1.0, low=-3.0)


@pytest.mark.parametrize(("heat", "rate", "printed"), [*CROSSINGS, (0.03, 0.6, 660.74), (0.03, 0.9, 38.478)])
def test_double_well_golden_d7(heat, rate, printed):
    assert_allclose(crossing(heat, rate), printed, rtol=3e-5)


def test_double_well_continuous_and_kramers():
    for heat, exact, kramers in ((0.05, 729.67, 659.38), (0.03, 19486, 18484)):
        assert_allclose(crossing_diffusion(heat), exact, rtol=3e-5)
        right = 1 / theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=heat).rate
        wrong = {"missing factor 2": right / 2, "h* for both": right / math.sqrt(2)}
        planted_defects(lambda t, k=kramers: assert_allclose(t, k, rtol=3e-5), right, wrong)
    assert_allclose(crossing(0.05, 0.02, 1001), 726.11, rtol=3e-5)


def test_no_first_order_barrier_correction_c6():
    """d ln τ/d(1/T) at η = 0.3 between T = 0.025 and 0.02 is 0.247; the well's discrete temperature would make it 0.175."""
    times = [crossing(heat, 0.3, 801) for heat in (0.025, 0.02)]
    slope = math.log(times[1] / times[0]) / (1 / 0.02 - 1 / 0.025)
    planted_defects(lambda s: assert_allclose(slope, s, atol=1e-3), 0.2471, {"T_a in the exponent": 0.175})


def test_kramers_inertia():
    """2.8: times 1 409 and 797 against simulations of 1 381 ± 25 and 771 ± 14."""
    for mu, rate, printed, measured, error in ((0.9, 0.02, 1409, 1381, 25), (0.5, 0.05, 797, 771, 14)):
        found = theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.05, learning_rate=rate, momentum=mu)
        assert_allclose(729.67 / found.inertia, printed, rtol=1e-3)
        simulated = Estimate(measured, error, 3000)  # chains: 1.8 % each in that note
        planted_defects(
            lambda t, e=simulated: assert_estimate(e, t, detects=0.18),
            729.67 / found.inertia,
            {"faster for slower": 729.67 * found.inertia},
        )
        mass = rate * mu / (1 - mu) ** 2
        growth = found.inertia  # λ₊ at |h_s| = 1
        planted_defects(
            lambda g, m=mass: assert_allclose(m * g * g + g, 1, rtol=1e-12),
            growth,
            {"no inertia": 1.0, "mass without μ": growth * 1.1},
        )
        assert_allclose(found.validity, 2 * rate)


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize(("mu", "rate"), [(0.5, 0.05)])
def test_kramers_inertia_law(mu, rate):
    """Heavy ball in the double well at T = 0.05; Kramers with the exact overdamped time for its prefactor."""
    rng, count = np.random.default_rng(3), 3000
    x, m, times = np.full(count, -1.0), np.zeros(count), np.zeros(count)
    noise = math.sqrt(2 * 0.05 * (1 - mu) / rate)  # T = ηs/(2(1−μ))
    step = 0
    while (alive := times == 0).any() and step < 400_000:
        step += 1
        m = mu * m + double_well_slope(x) + noise * rng.normal(size=count)
        x = x - rate * m
        times[alive & (x > 1)] = step * rate / (1 - mu)
    found = theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.05, learning_rate=rate, momentum=mu)
    right = crossing_diffusion(0.05) / found.inertia
    planted_defects(
        lambda t: assert_estimate(mean_of(times), t, detects=0.2), right, {"time without 1/(1-μ)": right * (1 - mu)}
    )


def test_kramers_anisotropic():
    """Langer's factor for isotropic noise; along an eigenvector only the noise there counts; else refused."""
    low, top = np.diag([2.0, 3.0, 0.7]), np.diag([-1.0, 3.0, 0.7])
    setting = {"barrier": 0.25, "temperature": 0.04}
    one = theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.04 * 1.7).rate
    noise = np.array([[1.7, 0, 0], [0, 4.0, 0.5], [0, 0.5, 0.2]])
    right = theory.kramers_rate(low, top, diffusion=noise, **setting).rate
    mean = theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=0.04 * np.trace(noise) / 3).rate
    planted_defects(lambda r: assert_allclose(r, one, rtol=1e-12), right, {"mean noise": mean})
    other = np.diag([-1.0, 5.0, 0.4])
    isotropic = theory.kramers_rate(low, other, **setting).rate
    factor = math.sqrt(3.0 * 0.7 / (5.0 * 0.4))
    plain = theory.kramers_rate([[2.0]], [[-1.0]], **setting).rate
    planted_defects(
        lambda r: assert_allclose(isotropic, r, rtol=1e-12),
        plain * factor,
        {"inverse": plain / factor, "transverse forgotten": plain},
    )
    with pytest.raises(ValueError, match="no closed form"):
        theory.kramers_rate(low, other, diffusion=noise, **setting)
    with pytest.raises(ValueError, match="exactly one negative"):
        theory.kramers_rate(low, low, **setting)


def test_piecewise_prefactor_d22():
    """Itô has 2π/h_a: exact quadrature 26 475, formula 25 062; Xie et al.'s 2π/|h_b| is twice that."""
    g = 0.02
    exact = 2 * theory.diffusion_passage_time(
        double_well_slope, lambda x: np.where(x < -0.5, 2 * g, g), start=-1.0, target=0.0, low=-3.0, num_points=60_001
    )
    assert_allclose(exact, 26475, rtol=2e-5)
    law = {"minimum_curvature": 2.0, "saddle_curvature": 1.0, "barrier": 0.25, "share": 0.5625}
    right = theory.piecewise_escape_time(learning_rate=2 * g, batch_size=1, **law)
    assert_allclose(right, 25062, rtol=2e-5)
    planted_defects(
        lambda t: assert_allclose(t, exact, rtol=0.06), right, {"anti-Itô": 2 * right, "mean curvature": right / 1.5}
    )
    assert_allclose(exact / (2 * right), 0.53, atol=0.03)


# --- noise proportional to the loss ---

LOG_BARRIER = [
    (0.5, 2, 50.894, 50.265, 47.249, 82.069, {0.2: 49.796, 1: 24.128}),
    (0.5, 4, 268.93, 284.34, 267.28, 3883.5, {0.2: 262.48, 1: 89.056}),
    (0.5, 8, 1444.8, 1608.5, 1512.0, 1.1001e7, {0.2: 1446.0, 1: 373.92}),
    (0.25, 2, 212.97, 201.06, 194.89, 554.11, {0.2: 209.38, 1: 81.051}),
    (0.25, 4, 4397.9, 4549.5, 4409.9, 1.497e6, {0.2: 4492.6, 1: 1271.6}),
]


def slope_4_4(x):
    """V = ⅛(1−x²)²: h* = 1, |h_s| = ½."""
    return -(1 - x * x) * x / 2


@pytest.mark.parametrize(("heat", "c", "exact", "printed", "student", "frozen", "chains"), LOG_BARRIER)
def test_log_barrier_golden_d19(heat, c, exact, printed, student, frozen, chains):
    bottom = 1 / 8 / (c - 1)

    def loss(x):
        return bottom + (1 - x * x) ** 2 / 8

    span = {"start": -1.0, "target": 1.0}
    found = theory.diffusion_passage_time(slope_4_4, lambda x: heat * loss(x), low=-30.0, num_points=80_001, **span)
    assert_allclose(found, exact, rtol=3e-5)
    linear = theory.diffusion_passage_time(slope_4_4, lambda x: heat * bottom + 0 * x, low=-4.0, **span)
    assert_allclose(linear, frozen, rtol=1e-4)
    law = {"minimum_loss": bottom, "saddle_loss": c * bottom, "escape_curvature": 1.0, "saddle_curvature": 0.5}
    # T = ηh/B
    rate = {"learning_rate": heat, "batch_size": 1}
    time = 1 / theory.escape_rate(**law, **rate)
    assert_allclose(time, printed, rtol=3e-5)
    assert_allclose(1 / theory.escape_rate(**law, **rate, well="student"), student, rtol=3e-5)
    wrong = {"linear barrier": linear, "exponent φ for φ - 1/2": time * math.sqrt(c)}
    planted_defects(lambda t: assert_allclose(t, exact, rtol=0.13), time, wrong)
    for eta, value in chains.items():
        setting = {"learning_rate": eta, "low": -3.5 if heat == 0.5 else -2.5, "num_points": 701, **span}
        steps = theory.chain_passage_time(slope_4_4, lambda x, e=eta: 2 * heat * loss(x) / e, **setting)
        assert_allclose(eta * steps, value, rtol=5e-5)


def path(c):
    return (lambda x: (1 - x * x) ** 2 / 8 + 1 / (8 * (c - 1))), slope_4_4


ENDS = {"minimum": -1.0, "saddle": 0.0, "escape_curvature": 1.0}


def test_transverse_gain_golden_d20():
    for k, printed in ((0.3, 0.165784), (1.0, 0.693147), (3.0, 2.370838)):
        assert_allclose(theory.transverse_gain(*path(4), transverse_curvatures=[k], **ENDS), printed, atol=1e-6)
    found = [theory.transverse_gain(*path(2.5), transverse_curvatures=[k], **ENDS) for k in (0.3, 3.0)]
    assert_allclose(found, (0.118, 1.482), atol=6e-4)
    both = theory.transverse_gain(*path(2.5), transverse_curvatures=[0.3, 3.0], **ENDS)
    assert_allclose(both, sum(found), rtol=1e-10)


def test_trace_exponent():
    """recent rule: exponent lowered by Tr H/(2h_e); "printed" by a half for each direction."""
    law = {
        "minimum_loss": 1.0,
        "saddle_loss": 4.0,
        "escape_curvature": 2.0,
        "saddle_curvature": 0.5,
        "learning_rate": 0.1,
        "batch_size": 2,
    }
    alone = theory.escape_rate(**law)
    for kind, lowered in (("trace", (0.6 + 3.0) / 4), ("printed", 1.0)):
        right = theory.escape_rate(**law, transverse_curvatures=[0.6, 3.0], exponent=kind) / alone
        other = (
            theory.escape_rate(
                **law, transverse_curvatures=[0.6, 3.0], exponent="printed" if kind == "trace" else "trace"
            )
            / alone
        )
        planted_defects(lambda r, low=lowered: assert_allclose(r, 4.0**low, rtol=1e-12), right, {"n for Tr H": other})


@pytest.mark.slow
@pytest.mark.law
def test_transverse_gain_law_d20():
    """Two dimensions, T = 0.15, c = 2.5, h_y = 3: 1.48, not the printed 0.458."""
    heat, c, k, eta, count = 0.15, 2.5, 3.0, 0.02, 1200
    bottom, rng = 1 / 8 / (c - 1), np.random.default_rng(4)
    x, y, times = np.full(count, -1.0), np.zeros(count), np.zeros(count)
    step = 0
    while (alive := times == 0).any() and step < 600_000:
        step += 1
        size = np.sqrt(2 * eta * heat * (bottom + (1 - x * x) ** 2 / 8 + k * y * y / 2))
        x, y = (
            x - eta * slope_4_4(x) + size * rng.normal(size=count),
            y - eta * k * y + math.sqrt(k) * size * rng.normal(size=count),
        )
        times[alive & (x > 1)] = step * eta
    one = theory.diffusion_passage_time(
        slope_4_4, lambda z: heat * path(c)[0](z), start=-1.0, target=1.0, low=-20.0, num_points=60_001
    )
    right = one * math.exp(-theory.transverse_gain(*path(c), transverse_curvatures=[k], **ENDS))
    wrong = {"printed count": one * math.exp(-0.5 * math.log(c)), "no transverse noise": one}
    planted_defects(lambda t: assert_estimate(mean_of(times), t, detects=0.3), right, wrong)


BOWL = [(1.2, 4.076), (1.4, 18.56), (1.7, 117.6), (2.0, 574.1), (2.4, 3538)]


def test_bowl_passage_golden_4_7():
    """Fresh quadratic bowl, η = 0.1, B = 1: times in one dimension; slopes in 1, 2, 4, and their limit φ − (n/2)c/(c−1)."""

    def time(c, n, rate=0.1):
        return theory.bowl_passage_time(curvature=1.0, learning_rate=rate, batch_size=1, loss_ratio=c, num_directions=n)

    for c, printed in BOWL:
        assert_allclose(time(c, 1), printed, rtol=2e-4)
    for n, low, high in ((1, 9.5, 10.0), (2, 8.1, 8.9), (4, 6.0, 6.9)):
        assert low < math.log(time(2.4, n) / time(1.2, n)) / math.log(2) < high
        slope = math.log(time(2.01, n, 0.02) / time(1.99, n, 0.02)) / math.log(2.01 / 1.99)
        planted_defects(
            lambda s, e=slope: assert_allclose(e, s, atol=0.12), 51 - n, {"the printed φ - n/2": 51 - n / 2}
        )


@pytest.mark.law
def test_chain_passage_law():
    """State-dependent Gaussian noise, η = 0.5: simulation of the chain itself, T = 0.5, c = 2."""
    rng, count, eta = np.random.default_rng(5), 4000, 0.5
    x, times, step = np.full(count, -1.0), np.zeros(count), 0
    while (alive := times == 0).any():
        step += 1
        x = np.maximum(x, -4.0) * alive
        x = x - eta * slope_4_4(x) + np.sqrt(eta * (1 / 8 + (1 - x * x) ** 2 / 8)) * rng.normal(size=count)
        times[alive & (x > 1)] = step
    setting = {"learning_rate": eta, "start": -1.0, "target": 1.0, "low": -4.0, "num_points": 401}
    right = theory.chain_passage_time(slope_4_4, lambda z: (1 / 8 + (1 - z * z) ** 2 / 8) / eta, **setting)
    one = theory.diffusion_passage_time(
        slope_4_4, lambda z: (1 / 8 + (1 - z * z) ** 2 / 8) / 2, start=-1.0, target=1.0, low=-20.0
    )
    wrong = {"time for steps": right * eta, "continuous time": one / eta, "variance for deviation": right * 1.3}
    planted_defects(lambda t: assert_estimate(mean_of(times), t, detects=0.15), right, wrong)


def test_diffusion_passage_of_brownian_motion():
    """Without drift (b² − a²)/(2D) from a reflecting 0; with a constant drift by hand."""
    right = theory.diffusion_passage_time(lambda x: 0 * x, lambda x: 0.3 + 0 * x, start=0.5, target=2.0, low=0.0)
    wrong = {"missing factor 2": 2 * right, "start at the wall": 4 / 0.6}
    planted_defects(lambda t: assert_allclose(t, (4 - 0.25) / 0.6, rtol=1e-6), right, wrong)
    up = theory.diffusion_passage_time(lambda x: 1.5 + 0 * x, lambda x: 0.5 + 0 * x, start=0.0, target=2.0, low=0.0)
    assert_allclose(up, (math.exp(6) - 1) / 4.5 - 2 / 1.5, rtol=1e-6)
    assert_fails(assert_allclose, up, 2 / 1.5, rtol=0.1, defect="downhill")


def test_times_beyond_float64_and_rates_beyond_the_edge_are_refused():
    """Without the check these came out too small by orders, or negative."""
    law = {"curvature": 1.0, "gradient_variance": 1.0, "learning_rate": 0.5, "batch_size": 1}
    for z in (7.5, 9.0, 12.0):
        with pytest.raises(ValueError, match="mean passage time must be below"):
            theory.quadratic_exit_time(radius=z * (1 / 3) ** 0.5, **law)
    with pytest.raises(ValueError, match="mean passage time must be below"):
        theory.chain_passage_time(
            lambda x: x**3 - x, lambda x: 0 * x + 0.1, learning_rate=0.1, start=-1.0, target=1.0, low=-3.0
        )
    with pytest.raises(ValueError, match="learning_rate is too small for the exact chain, got 1e-06 with radius 2:"):
        theory.quadratic_exit_time(radius=2.0, **{**law, "learning_rate": 1e-6})
    with pytest.raises(ValueError, match="stability edge 2,"):
        theory.bowl_passage_time(curvature=1.0, learning_rate=3.0, batch_size=1, loss_ratio=10.0)
    well = {"minimum_loss": 0.1, "saddle_loss": 0.2, "escape_curvature": 1.0, "saddle_curvature": 1.0, "batch_size": 1}
    with pytest.raises(ValueError, match="stability edge 2,"):
        theory.escape_rate(learning_rate=5.0, **well)
    # η h_e (n/2 − 1) = ½(28/2 − 1) = 6.5, with n = 1 + 27
    words = r"batch_size must be above .* = 6\.5, got 1: with n = 28 of transverse_curvatures .*exponent B/.* is -11, not > 0"
    with pytest.raises(ValueError, match=words):
        theory.escape_rate(learning_rate=0.5, transverse_curvatures=[3.0] * 9, **well)
    at_seven = theory.escape_rate(learning_rate=0.5, transverse_curvatures=[3.0] * 9, **well | {"batch_size": 7})
    assert 0 < at_seven < 1


def test_a_time_beyond_float64_names_what_makes_it_long():
    law = {"curvature": 1.0, "gradient_variance": 4.0, "learning_rate": 0.5, "batch_size": 4}
    with pytest.raises(ValueError, match=r"radius must be smaller or learning_rate larger, got 6 and 0\.5: the mean"):
        theory.quadratic_exit_time(radius=6.0, **law)
    assert theory.quadratic_exit_time(radius=3.0, **law) < theory.quadratic_exit_time(radius=3.5, **law) < 1e11
    path = {"learning_rate": 0.5, "start": 0.0, "low": -3.0}
    with pytest.raises(ValueError, match=r"target must be nearer or learning_rate larger, got 6 and 0\.5: the mean"):
        theory.chain_passage_time(lambda x: x, lambda x: 1 + 0 * x, target=6.0, **path)
