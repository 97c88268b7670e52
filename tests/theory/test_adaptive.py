"""Damped Newton, natural gradient, Adam, RMSprop and Fisher scoring: printed numbers, and simulation of the actual rules."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_covariance, assert_estimate, assert_fails, planted_defects

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])
A3 = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C3 = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
EPSILON = 0.0260869565217


def upper(matrix):
    return np.asarray(matrix)[np.triu_indices(len(matrix))]


# --- damped Newton ---


@pytest.mark.parametrize(
    ("rate", "mu", "printed"),
    [
        (0.5, 0.0, (0.0348187, -0.0611842, 0.1942197)),
        (0.5, 0.6, (0.0773748, -0.1359650, 0.4315993)),
        (1.2, 0.0, (0.1566840, -0.2753291, 0.8739886)),
    ],
)
def test_newton_golden_2_9(rate, mu, printed):
    setting = {"learning_rate": rate, "batch_size": 4, "momentum": mu}
    found = theory.newton_covariance(H, C, **setting)
    assert_allclose(upper(found), printed, atol=6e-8)
    same = theory.stationary_covariance(H, C, preconditioner=np.linalg.inv(H), **setting)
    planted_defects(
        lambda predicted: assert_allclose(same, predicted, rtol=1e-12),
        found,
        {
            "noise not through H": found @ H,
            "time continuous": rate / (2 * (1 - mu)) * theory.long_run_bound(H, C, batch_size=4),
        },
    )


@pytest.mark.parametrize(("rate", "batch", "mu", "printed"), [(0.5, 8, 0.3, 0.0331295), (0.5, 4, 0.0, 0.0555556)])
def test_newton_regression_golden_2_9(rate, batch, mu, printed):
    setting = {"learning_rate": rate, "batch_size": batch, "momentum": mu}
    found = theory.newton_regression_covariance(H, label_variance=0.5, **setting)
    assert_allclose(found @ H, printed * np.eye(2), atol=6e-8)
    constant = theory.newton_covariance(H, 0.5 * H, **setting)  # 17 % and 25 % too small
    assert_fails(assert_allclose, constant, found, rtol=0.15, defect="constant noise")


def test_newton_edge_d8():
    setting = {"label_variance": 0.5, "batch_size": 4}
    assert theory.newton_regression_covariance(H, learning_rate=8 / 7 - 1e-9, **setting)[0, 0] > 1e6
    with pytest.raises(ValueError, match=r"second-moment edge 1\.14286"):
        theory.newton_regression_covariance(H, learning_rate=8 / 7, **setting)


class Regression:
    """Fresh Gaussian inputs of covariance H, labels with unit-normal noise times `label`; P is set by the caller."""

    def __init__(self, batch, label, chains=4096, size=2, seed=0):
        self.rng, self.batch, self.label = np.random.default_rng(seed), batch, label
        self.theta, self.m = np.zeros((chains, size)), np.zeros((chains, size))

    def step(self, rate, mu):
        """One step in whitened coordinates, where H = I and the Newton preconditioner is the identity."""
        x = self.rng.normal(size=(len(self.theta), self.batch, self.theta.shape[1]))
        residual = np.einsum("cbi,ci->cb", x, self.theta) + self.label * self.rng.normal(size=x.shape[:2])
        g = np.einsum("cbi,cb->ci", x, residual) / self.batch
        self.m = mu * self.m + g
        self.theta = self.theta - rate * self.m
        return self.theta


@pytest.mark.law
@pytest.mark.parametrize(("rate", "batch", "mu"), [(0.5, 8, 0.3), (0.5, 4, 0.0)])
def test_newton_regression_law_c7(rate, batch, mu):
    chain = Regression(batch, np.sqrt(0.5), seed=1)
    for _ in range(40):
        chain.step(rate, mu)
    sample = np.stack([[chain.step(rate, mu) for _ in range(6)][-1] for _ in range(20)], axis=1)
    setting = {"learning_rate": rate, "batch_size": batch, "momentum": mu}
    right = theory.newton_regression_covariance(np.eye(2), label_variance=0.5, **setting)
    wrong = {
        "noise x 1.05": 1.05 * right,
        "constant noise": theory.newton_covariance(np.eye(2), 0.5 * np.eye(2), **setting),
        "dimension forgotten": theory.newton_regression_covariance(np.eye(1), label_variance=0.5, **setting)
        * np.eye(2),
    }
    planted_defects(lambda p: assert_covariance(sample, p, mean=np.zeros(2)), right, wrong)


# --- natural gradient ---


def test_natural_gradient_golden_d9():
    law = theory.natural_gradient_law(np.eye(4), label_variance=1.0, learning_rate=0.3, batch_size=4)
    assert_allclose(law.scale, 0.0427870, atol=6e-8)
    assert_allclose(law.validity, 5 * law.scale)
    formal = theory.natural_gradient_law(np.eye(4), label_variance=1e-12, learning_rate=0.3, batch_size=4, momentum=0.5)
    assert_allclose(formal.scale, 0.0950000, atol=6e-8)
    for batch, mu, printed in ((16, 0.0, 0.0109295), (16, 0.5, 0.0206192)):
        found = theory.natural_gradient_law(
            np.eye(4), label_variance=1.0, learning_rate=0.3, batch_size=batch, momentum=mu
        )
        assert_allclose(found.scale, printed, atol=6e-8)
    with pytest.raises(ValueError, match="no stationary law"):
        theory.natural_gradient_law(np.eye(4), label_variance=0.0, learning_rate=0.3, batch_size=4)


@pytest.mark.parametrize("mu", [0.0, 0.4])
def test_natural_gradient_solves_the_matrix_equation(mu):
    s2, rate, batch = 0.7, 0.3, 5

    def solves(sigma):
        fisher = H @ sigma @ H + np.trace(H @ sigma) * H + s2 * H
        P = rate * np.linalg.inv(fisher)
        again = theory.stationary_covariance(
            H, fisher, learning_rate=1.0, batch_size=batch, momentum=mu, preconditioner=P
        )
        assert_allclose(again, sigma, rtol=1e-10)

    right = theory.natural_gradient_law(H, label_variance=s2, learning_rate=rate, batch_size=batch, momentum=mu)
    dropped = theory.natural_gradient_law(
        [[1.0]], label_variance=s2, learning_rate=rate, batch_size=batch, momentum=mu
    ).scale
    planted_defects(
        solves,
        right.covariance,
        {"Tr(HΣ)H dropped": dropped * np.linalg.inv(H), "missing factor 2": right.covariance / 2},
    )


@pytest.mark.law
def test_natural_gradient_inverse_moment_d9():
    """Fisher matrix at the current point; q is heavy-tailed, 1/q is not."""
    rng, size, rate, batch = np.random.default_rng(2), 6, 0.3, 4
    theta = rng.normal(size=(4096, size)) * 0.3
    total = np.zeros(len(theta))
    for t in range(1200):
        q = np.sum(theta**2, axis=1, keepdims=True)
        # P = η(qI + θθᵀ)⁻¹; the noise of covariance P J P/B has root √(η P/B)
        along = np.sum(theta * (z := rng.normal(size=theta.shape)), axis=1, keepdims=True) / q
        noise = np.sqrt(1 / q) * (z - theta * along * (1 - np.sqrt(0.5)))
        theta = theta - rate * theta / (2 * q) + rate / np.sqrt(batch) * noise
        total += (1 / np.sum(theta**2, axis=1)) if t >= 200 else 0.0
    right = theory.natural_gradient_inverse_moment(num_params=size, learning_rate=rate, batch_size=batch)
    assert_allclose(right, 2.0513, atol=6e-5)
    planted_defects(
        lambda p: assert_estimate(mean_of(total / 1000), p, detects=0.05),
        right,
        {"1/4 forgotten": 1 / (rate * (size - 0.5) / batch), "D for D - 1/2": 1 / (rate * (0.25 + size / batch))},
    )


# --- Adam and RMSprop ---

ADAM = [
    (0.05, 0.9, (0.006573, -0.005305, 0.019706), (0.27170, 0.10393)),
    (0.2, 0.9, (0.022759, -0.017033, 0.077347), (0.32756, 0.11628)),
    (0.2, 0.0, (0.033692, -0.023512, 0.082394), (0.36396, 0.11658)),
]


@pytest.mark.parametrize(("rate", "b1", "sigma", "v"), ADAM)
def test_adam_golden_2_11(rate, b1, sigma, v):
    law = theory.adam_law(H, C, learning_rate=rate, batch_size=4, b1=b1, eps=0.0)
    assert_allclose(upper(law.covariance), sigma, atol=6e-7)
    assert_allclose(law.second_moment, v, atol=1e-5)
    same = theory.rmsprop_law(H, C, learning_rate=rate * (1 - b1), batch_size=4, momentum=b1, eps=0.0)
    assert_allclose(same.covariance, law.covariance, rtol=1e-8)


def test_adam_one_parameter():
    law = theory.adam_law([[4.0]], [[1.0]], learning_rate=0.5, batch_size=1, b1=0.9)
    assert_allclose(law.covariance, 0.048766, atol=6e-7)
    # without momentum v solves v = 2c/(2 − ηh/√v) exactly
    law = theory.adam_law([[4.0]], [[1.0]], learning_rate=0.5, batch_size=1, b1=0.0, eps=0.0)
    v = law.second_moment[0]
    assert_allclose(v, 2 / (2 - 0.5 * 4 / np.sqrt(v)), rtol=1e-8)


def _actual_adam(rate, b1, b2, rms, seed, steps=40):
    """The rule itself; snapshots every `steps` steps."""
    rng, root = np.random.default_rng(seed), np.linalg.cholesky(C / 4)
    theta, m = np.zeros((4096, 2)), np.zeros((4096, 2))
    v = np.tile(np.diag(C) / 4 * 1.3, (4096, 1))
    kept = []
    for t in range(4 * 150 + 20 * steps):
        g = theta @ H + rng.normal(size=theta.shape) @ root.T
        v = b2 * v + (1 - b2) * g**2
        m = b1 * m + g / (np.sqrt(v) + 1e-8) if rms else b1 * m + (1 - b1) * g
        theta = theta - rate * (m if rms else m / (np.sqrt(v) + 1e-8))
        if t >= 4 * 150 and (t - 4 * 150) % steps == steps - 1:
            kept.append(theta)
    return np.stack(kept, axis=1)


@pytest.mark.law
@pytest.mark.parametrize(("b1", "rms"), [(0.9, False), (0.0, True)])
def test_adam_law_d10(b1, rms):
    sample = _actual_adam(0.2, b1, 0.997, rms, seed=3)
    law = theory.rmsprop_law if rms else theory.adam_law
    memory = {"momentum": b1} if rms else {"b1": b1}
    right = law(H, C, learning_rate=0.2, batch_size=4, **memory).covariance
    floor = np.diag(0.2 * (1 if rms else 1 - b1) / np.sqrt(np.diag(C) / 4))
    noise_dominated = theory.stationary_covariance(
        H, C, learning_rate=1.0, batch_size=4, momentum=b1, preconditioner=floor
    )
    wrong = {
        "noise-dominated v": noise_dominated,
        "noise x 1.08": law(H, 1.08 * C, learning_rate=0.2, batch_size=4, **memory).covariance * 1.05,
        "transposed directions": right[::-1, ::-1],
    }
    planted_defects(lambda p: assert_covariance(sample, p, mean=np.zeros(2)), right, wrong)


# --- Fisher scoring ---

INJECTED = np.diag([0.01, 0.02, 0.03])
TUNING = {"step_size": EPSILON, "injected": INJECTED, "num_examples": 1000, "batch_size": 10}
FISHER = [
    (
        "full",
        "continuous",
        (0.1593792947, 0.007838846237, -0.002655263705, 0.09427244027, -0.0008939035182, 0.06238106583),
        0.0,
    ),
    ("diagonal_closed", "continuous", (0.1586206897, 0, 0, 0.09387755102, 0, 0.06233062331), 0.001277978999),
    ("scalar", "continuous", (0.09090909091, 0, 0, 0.09090909091, 0, 0.09090909091), 0.1014648194),
    (
        "full",
        "discrete",
        (0.1587026645, 0.007699944294, -0.002643935568, 0.09414621345, -0.0009132099833, 0.0623559134),
        0.0,
    ),
]


@pytest.mark.parametrize(("kind", "time", "printed", "divergence"), FISHER)
def test_fisher_scoring_golden_g3(kind, time, printed, divergence):
    G = theory.fisher_scoring_preconditioner(A3, C3, kind=kind, time=time, **TUNING)
    assert_allclose(upper(G), printed, rtol=1e-9, atol=1e-15)
    law = {"step_size": EPSILON, "injected": INJECTED, "batch_size": 10, "time": time}
    sigma = theory.fisher_scoring_covariance(A3, C3, preconditioner=G, **law)
    posterior = np.linalg.inv(A3) / 1000
    assert_allclose(theory.gaussian_kl(sigma, posterior), divergence, rtol=1e-8, atol=1e-13)
    if kind == "full":
        wrong = theory.fisher_scoring_preconditioner(A3, 1.05 * C3, kind=kind, time=time, **TUNING)
        assert_fails(
            assert_allclose,
            theory.fisher_scoring_covariance(A3, C3, preconditioner=2 * wrong, **law),
            posterior,
            rtol=1e-3,
            defect="missing factor 2",
        )


def test_fisher_scoring_scalar_rule_t7():
    """KL(a h) − KL(h) = (D/2)(a − 1 − ln a) in continuous time."""
    law = {"step_size": EPSILON, "injected": INJECTED, "batch_size": 10, "time": "continuous"}
    G = theory.fisher_scoring_preconditioner(A3, C3, kind="scalar", time="continuous", **TUNING)

    def divergence(a):
        sigma = theory.fisher_scoring_covariance(A3, C3, preconditioner=a * G, **law)
        return theory.gaussian_kl(sigma, np.linalg.inv(A3) / 1000)

    for a in (0.5, 2.0):
        assert_allclose(divergence(a) - divergence(1.0), 1.5 * (a - 1 - np.log(a)), rtol=1e-9)


def test_fisher_scoring_injection_t7():
    setting = {"step_size": EPSILON, "num_examples": 1000, "batch_size": 10}
    added = theory.fisher_scoring_injection(C3, cap=0.05, **setting)

    def constant(injected):
        G = theory.fisher_scoring_preconditioner(A3, C3, kind="diagonal_closed", **TUNING | {"injected": injected})
        assert_allclose(np.diag(G), 0.05, rtol=1e-12)

    planted_defects(constant, added, {"Ahn et al.: noise like the gradient's": np.diag(np.diag(C3)) / 20})
    with pytest.raises(ValueError, match="cap must be at most"):
        theory.fisher_scoring_injection(C3, cap=2.0, **setting)


@pytest.mark.law
def test_fisher_scoring_law(Sgd):
    """Injected noise √ε G E w; a step large enough to see the discretisation."""
    E2, G, epsilon = np.array([[0.3, 0.1], [0.1, 0.2]]), np.array([[0.4, 0.1], [0.1, 0.3]]), 1.6
    law = {"preconditioner": G, "step_size": epsilon, "injected": E2, "batch_size": 4}
    sgd = Sgd(noise=C / 4, rate=epsilon, P=G, injected=epsilon * G @ E2 @ G, seed=4)
    sample = sgd.sample(int(np.ceil(2 * theory.relaxation_times(H, learning_rate=epsilon, preconditioner=G).max())))
    wrong = {
        "continuous time": theory.fisher_scoring_covariance(H, C, time="continuous", **law),
        "noise x 1.05": 1.05 * theory.fisher_scoring_covariance(H, C, **law),
        "injected noise without root": theory.fisher_scoring_covariance(H, C, **law | {"injected": E2 * epsilon}),
    }
    right = theory.fisher_scoring_covariance(H, C, **law)
    planted_defects(lambda p: assert_covariance(sample, p, mean=np.zeros(2)), right, wrong)
