"""Weak order without Monte Carlo: a quadratic with random coefficients, whose moments close (sde_scaling.md §7.2, T3–T6, T8).

The generator is read off the record's own drift and diffusion, so that a wrong coefficient changes the numbers.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from gradnoise import sde, theory
from gradnoise.testing import assert_fails, planted_defects

A = np.array([0.5, 1, 1.5, 2, 0.2, 0.8])
B = np.array([1, -0.5, 0.2, -1, 0.6, 2])
X0, T = 1.5, 2.0
MEAN, SPREAD = (A.mean(), B.mean()), np.cov([A, B], bias=True)


def slope(x):
    return MEAN[0] * x - MEAN[1]


def covariance(x):
    return (SPREAD[0, 0] * x**2 - 2 * SPREAD[0, 1] * x + SPREAD[1, 1])[..., None]


LAW = {"batch_size": 1, "hessian": [[MEAN[0]]]}


def polynomial(values):
    """Coefficients of the quadratic through (−1, 0, 1)."""
    return np.array([values[1], (values[2] - values[0]) / 2, (values[2] + values[0]) / 2 - values[1]])


def generator(law, time=0.0, powers=4):
    """Matrix of d/dt on (1, Ex, …, Ex^powers) of a one-dimensional SDE with linear drift and quadratic variance."""
    points = np.array([[-1.0], [0.0], [1.0]])
    drift = polynomial(law.drift(time, points)[:, 0])
    variance = polynomial(law.covariance(time, points)[:, 0, 0])
    M = np.zeros((powers + 1, powers + 1))
    for k in range(1, powers + 1):
        for j, (a, b) in enumerate(zip(drift, variance, strict=True)):
            if a and k - 1 + j <= powers:
                M[k, k - 1 + j] += k * a
            if k > 1 and k - 2 + j <= powers:
                M[k, k - 2 + j] += k * (k - 1) / 2 * b
    return M


def svag_step(eta, l, powers=4):
    """One step of the moments of svag, by enumeration over all pairs."""
    plus, minus = theory.svag_coefficients(l)
    M = np.zeros((powers + 1, powers + 1))
    for i, j in itertools.product(range(6), repeat=2):
        a = 1 - eta / l * (plus * A[i] + minus * A[j])
        b = eta / l * (plus * B[i] + minus * B[j])
        for k in range(powers + 1):
            for m in range(k + 1):
                M[k, m] += math.comb(k, m) * a**m * b ** (k - m) / 36
    return M


def error(M_step, M_time, step, count, powers=4):
    """Largest error of each moment over all steps, and the error at the end."""
    moments = X0 ** np.arange(powers + 1.0)
    discrete, exact, flow = moments, moments, expm(M_time * step)
    worst = np.zeros(powers + 1)
    for _ in range(count):
        discrete, exact = M_step @ discrete, flow @ exact
        worst = np.maximum(worst, np.abs(discrete - exact))
    return worst[1:], (discrete - exact)[1:], exact[1:]


def svag_errors(eta, l, order=1, law=None):
    law = law or sde.sgd(slope, covariance, learning_rate=eta, order=order, **LAW)
    return error(svag_step(eta, l), generator(law), eta / l, round(l * T / eta))


ROWS = {
    1: (0.0997507, 0.0220075, 0.0412615, 0.4767850),
    2: (0.0448894, 0.0063918, 0.0170035, 0.2270271),
    4: (0.0214411, 0.0038003, 0.0080859, 0.1052556),
    8: (0.0104894, 0.0021866, 0.0039762, 0.0502513),
}
DOUBLINGS = {
    16: (2.021, 1.885, 2.013, 2.051),
    32: (2.011, 1.947, 2.006, 2.026),
    64: (2.005, 1.974, 2.003, 2.013),
}


def test_golden_svag_rows():
    """T3: every entry of the rows, and the ratio per doubling."""
    errors = {l: svag_errors(0.4, l)[0] for l in (*ROWS, *DOUBLINGS)}
    for l, golden in ROWS.items():
        assert_allclose(errors[l], golden, rtol=0, atol=6e-8)
    for l, golden in DOUBLINGS.items():
        assert_allclose(errors[l // 2] / errors[l], golden, rtol=0, atol=6e-4)
    exact = svag_errors(0.4, 1)[2]
    assert_allclose(exact, [0.5344577329, 0.6283027572, 0.9021956838, 1.7088866345], rtol=0, atol=6e-11)
    half = sde.sgd(slope, covariance, learning_rate=0.2, **LAW)  # planted: noise of another learning rate
    assert_fails(assert_allclose, svag_errors(0.4, 8, law=half)[0], ROWS[8], rtol=0, atol=6e-8, defect="noise / 2")


def test_golden_extrapolation():
    """T4: 2E(2m) − E(m) has an error of order two in 1/m."""
    final = {l: svag_errors(0.4, l)[1] for l in (2, 4, 8, 16, 32, 64)}
    extrapolated = {m: 2 * final[2 * m] - final[m] for m in (2, 4, 8, 16, 32)}
    ratios = np.array([extrapolated[m // 2] / extrapolated[m] for m in (4, 8, 16, 32)])
    assert_allclose(ratios[:, 0], [3.95, 3.99, 4.00, 4.00], atol=6e-3)
    assert_allclose(ratios[:, 1], [4.40, 4.19, 4.09, 4.05], atol=6e-3)


FIRST = {0.4: (0.09975, 0.02201), 0.2: (0.04489, 0.04296), 0.1: (0.02144, 0.02985), 0.05: (0.01049, 0.01671)}
FIRST[0.025] = (0.005189, 0.008770)
SECOND = {0.4: (0.02556, 0.18880), 0.2: (0.005797, 0.03973), 0.1: (0.001406, 0.009284), 0.05: (0.0003468, 0.002250)}
SECOND[0.025] = (0.00008613, 0.0005543)


@pytest.mark.parametrize(("order", "table", "low", "high"), [(1, FIRST, 1.7, 2.2), (2, SECOND, 3.8, 4.4)])
def test_golden_orders(order, table, low, high):
    """T5: errors of both orders to the digits printed, and their slopes."""
    errors = {eta: svag_errors(eta, 1, order)[0][:2] for eta in table}
    for eta, golden in table.items():
        assert_allclose(errors[eta], golden, rtol=6e-4)
    for eta in (0.1, 0.05):
        ratio = errors[eta] / errors[eta / 2]
        assert ((ratio > low) & (ratio < high)).all(), ratio


def test_wrong_second_order_drift_is_only_first_order():
    """Planted defect: the correction −(η/2)H∇L with the wrong sign, or a factor 2, loses the second order."""
    for defect, factor in {"wrong sign": -1.0, "factor 2": 2.0}.items():

        def ratio(factor=factor):
            laws = [
                sde.sgd(slope, covariance, learning_rate=e, batch_size=1, order=2, hessian=[[factor * MEAN[0]]])
                for e in (0.05, 0.025)
            ]
            a, b = (svag_errors(e, 1, law=law)[0][0] for e, law in zip((0.05, 0.025), laws, strict=True))
            assert 3.8 < a / b < 4.4

        assert_fails(ratio, defect=defect)


def scheduled_errors(eta, order, slope_of_schedule):
    """Errors of E x, E x² under the step ηu(kη), u = (1+t)^−0.7."""

    def u(t):
        return (1 + t) ** -0.7

    law = sde.sgd(slope, covariance, learning_rate=eta, order=order, schedule=(u, slope_of_schedule), **LAW)
    times = np.arange(round(T / eta) + 1) * eta
    moments = X0 ** np.arange(3.0)
    flow = solve_ivp(lambda t, y: generator(law, t, 2) @ y, (0, T), moments, t_eval=times, rtol=1e-10, atol=1e-12)
    discrete, worst = moments, np.zeros(3)
    for k, t in enumerate(times[:-1]):
        discrete = svag_step(eta * u(t), 1, 2) @ discrete
        worst = np.maximum(worst, np.abs(discrete - flow.y[:, k + 1]))
    return worst[1:]


def test_golden_schedule():
    def du(t):
        return -0.7 * (1 + t) ** -1.7

    golden = {(0.05, 1): (0.01311, 0.02382), (0.025, 1): (0.006473, 0.01228)}
    golden |= {(0.05, 2): (4.812e-4, 1.750e-3), (0.025, 2): (1.191e-4, 4.259e-4)}
    for (eta, order), expected in golden.items():
        assert_allclose(scheduled_errors(eta, order, du), expected, rtol=6e-4)
    constant = scheduled_errors(0.025, 2, lambda t: 0.0)
    assert_fails(assert_allclose, constant, golden[0.025, 2], rtol=0.1, defect="derivative of the schedule dropped")


def test_linear_scaling_rule():
    """T8: κη₀ with noise/κ against the one SDE of η₀: final error of E x proportional to κ."""
    law = sde.sgd(slope, covariance, learning_rate=0.05, **LAW)
    errors = []
    for kappa in (1, 2, 4, 6):
        step = svag_step(0.05 * kappa, 1, 1)  # the mean does not see the noise
        errors.append(error(step, generator(law, powers=1), 0.05 * kappa, round(2.4 / (0.05 * kappa)), 1)[1][0])
    assert_allclose(np.abs(errors), [0.0061, 0.0122, 0.0246, 0.0369], atol=6e-5)
    assert_allclose(np.array(errors) / errors[0], [1, 2, 4, 6], rtol=0.05)


# --- momentum: moments (1, x, v, x², xv, v²) ---

MONOMIALS = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]


def underdamped_generator(law):
    """From drift (linear in x, v) and the variance of v (quadratic in x), both read off the record."""
    zero, ex, ev = (law.drift(0.0, np.array(p)) for p in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    drift = {(0, 0): zero, (1, 0): ex - zero, (0, 1): ev - zero}
    points = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    variance = law.covariance(0.0, points)
    assert not variance[:, 0].any()
    noise = polynomial(variance[:, 1, 1])
    M = np.zeros((6, 6))
    for row, (i, j) in enumerate(MONOMIALS):
        for (p, q), (a, b) in drift.items():
            if i:
                M[row, MONOMIALS.index((i - 1 + p, j + q))] += i * a
            if j:
                M[row, MONOMIALS.index((i + p, j - 1 + q))] += j * b
        if j == 2:
            for k in range(3):
                M[row, MONOMIALS.index((k, 0))] += noise[k]
    return M


def underdamped_step(h, friction, nesterov):
    """One step of v ← v − hμ̃v − h∇L_γ(x [+ h(1−hμ̃)v]), x ← x + hv, by enumeration."""
    M = np.zeros((6, 6))
    for a, b in zip(A, B, strict=True):
        keep = 1 - h * friction
        look = h * keep if nesterov else 0.0
        v = np.array([h * b, -h * a, keep - h * a * look])  # in (1, x, v)
        x = np.array([0, 1, 0]) + h * v
        rows = [np.array([1.0, 0, 0]), x, v]
        for row, (i, j) in enumerate(MONOMIALS):
            factors = [rows[1]] * i + [rows[2]] * j
            out = {(0, 0): 1.0}
            for f in factors:
                out_new: dict = {}
                for (p, q), c in out.items():
                    for (dp, dq), w in zip(((0, 0), (1, 0), (0, 1)), f, strict=True):
                        out_new[p + dp, q + dq] = out_new.get((p + dp, q + dq), 0.0) + c * w
                out = out_new
            for key, c in out.items():
                M[row, MONOMIALS.index(key)] += c / 6
    return M


def underdamped_errors(h, order, nesterov, hessian=MEAN[0], friction=1.2):
    method = sde.nesterov if nesterov else sde.momentum
    setting = {"learning_rate": h**2, "batch_size": 1, "momentum": 1 - h * friction}
    law = method(slope, covariance, order=order, hessian=[[hessian]], **setting)
    assert law.time_step == pytest.approx(h)
    start = np.array([1, X0, 0.3, X0**2, X0 * 0.3, 0.09])
    discrete, exact = start, start
    flow, step = expm(underdamped_generator(law) * h), underdamped_step(h, friction, nesterov)
    worst = np.zeros(6)
    for _ in range(round(T / h)):
        discrete, exact = step @ discrete, flow @ exact
        worst = np.maximum(worst, np.abs(discrete - exact))
    return worst[[1, 3]]


@pytest.mark.parametrize(
    ("nesterov", "order", "last", "golden"),
    [
        (False, 1, (2.003, 1.989), None),
        (False, 2, (3.971, 3.955), (8.1e-5, 2.4e-4)),
        (True, 1, (2.008, 1.997), None),
        (True, 2, (3.963, 3.921), (9.1e-5, 2.0e-4)),
    ],
)
def test_golden_momentum(nesterov, order, last, golden):
    """T6: last ratios, and the order-2 errors at h = 0.0125."""
    a, b = (underdamped_errors(h, order, nesterov) for h in (0.025, 0.0125))
    assert_allclose(a / b, last, atol=6e-4)
    if golden is not None:
        assert_allclose(b, golden, rtol=0.05)
        other = [underdamped_errors(h, order, not nesterov, hessian=-MEAN[0]) for h in (0.025, 0.0125)]
        wrong = [underdamped_errors(h, order, nesterov, hessian=-MEAN[0]) for h in (0.025, 0.0125)]
        for defect, (x, y) in {"sign of H": wrong, "the other method": other}.items():

            def second_order(x=x, y=y):
                assert (x / y > 3.7).all()

            assert_fails(second_order, defect=defect)


def test_parameters_of_nesterov_are_where_the_gradient_is_taken():
    """optax's θ ← θ − η(g + μm) is the note's lookahead point x + h(1−hμ̃)v, step for step."""
    eta, mu = 0.09, 0.6
    h = math.sqrt(eta)
    law = sde.nesterov(slope, covariance, learning_rate=eta, batch_size=1, momentum=mu)
    x, v, theta, m = 1.5, 0.3, 1.5 + mu * h * 0.3, -0.3 / h
    for k in range(6):
        assert law.params(np.array([x, v]))[0] == pytest.approx(theta, rel=1e-12)
        a, b = A[k], B[k]
        v = mu * v - h * (a * (x + mu * h * v) - b)
        x = x + h * v
        g = a * theta - b
        m = mu * m + g
        theta = theta - eta * (g + mu * m)
    plain = sde.momentum(slope, covariance, learning_rate=eta, batch_size=1, momentum=mu)
    assert plain.params(np.array([x, v]))[0] == x
    planted_defects(
        lambda found: assert_allclose(found, theta, rtol=1e-12),
        law.params(np.array([x, v]))[0],
        {"no lookahead": x, "backwards": 2 * x - theta, "of the old step": theta + eta * (g + mu * m)},
    )
