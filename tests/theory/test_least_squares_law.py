"""Law: minibatch SGD on real rows, simulated from the update rule alone, against the exact moments.

4 096 chains, snapshots two relaxation times of the second moment apart, at fractions of the fourth-moment edge: above it a
sample covariance has no standard error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradnoise import theory
from gradnoise.testing import assert_covariance, assert_fails, assert_mean, planted_defects

pytestmark = pytest.mark.law


class Minibatch:
    """Chains of SGD on least squares; theta is (chains, D), deviations are not used."""

    def __init__(self, X, y, *, rate, size, sampling="with_replacement", ridge=0.0, mu=0.0, seed=0, chains=4096):
        self.X, self.y, self.rate, self.size, self.ridge, self.mu = X, y, rate, size, ridge, mu
        self.rng, self.replace = np.random.default_rng(seed), sampling == "with_replacement"
        self.theta = np.zeros((chains, X.shape[1]))
        self.m = np.zeros_like(self.theta)

    def drawn(self):
        shape = (len(self.theta), self.size)
        if self.replace:
            return self.rng.integers(len(self.X), size=shape)
        return self.rng.random((len(self.theta), len(self.X))).argsort(1)[:, : self.size]

    def advance(self, steps):
        for _ in range(steps):
            rows = self.drawn()
            gradient = self.ridge * self.theta
            for column in rows.T:
                x = self.X[column]
                gradient = gradient + x * ((np.einsum("cd,cd->c", x, self.theta) - self.y[column]) / self.size)[:, None]
            self.m = self.mu * self.m + gradient
            self.theta = self.theta - self.rate * self.m
        return self.theta

    def sample(self, law, snapshots=16):
        """Burn-in from the known mean, eight relaxation times of the second moment; then snapshots two apart."""
        apart = math.ceil(-2 / math.log(law.second_moment_radius))
        self.theta = np.tile(law.mean, (len(self.theta), 1))
        self.advance(4 * apart)
        return np.stack([self.advance(apart) for _ in range(snapshots)], axis=1)


def constant_noise(X, y, rate, size):
    zero = np.zeros((X.shape[1],) * 2)
    return theory.stationary_covariance(
        X.T @ X / len(X), theory.least_squares_noise(X, y, zero), learning_rate=rate, batch_size=size
    )


def compare(rows, size, fraction, *, detects, snapshots=24):
    """Check the law at a fraction of the fourth-moment edge, with planted defects on the same sample."""
    X, y = rows
    rate = fraction * theory.least_squares_edges(X, batch_size=size).fourth_moment
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=size)
    sample = Minibatch(X, y, rate=rate, size=size, seed=size).sample(law, snapshots)
    wrong = {"noise x 1 + 2·detects": (1 + 2 * detects) * law.covariance, "missing 1/B": (size + 1) * law.covariance}
    constant = constant_noise(X, y, rate, size)
    excess = np.linalg.eigvals(np.linalg.solve(constant, law.covariance)).real.max() - 1
    if excess > 2 * detects:
        wrong["constant noise"] = constant
    assert excess > 2 * detects or fraction < 0.5 or size > 4  # where the constant-noise formula must fail
    planted_defects(lambda s: assert_covariance(sample, s, mean=law.mean, detects=detects), law.covariance, wrong)
    assert_mean(sample, law.mean, law.covariance, detects=0.05)


@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.9])
def test_random_rows(regression_data, size, fraction):
    compare(regression_data("random"), size, fraction, detects=0.06)


@pytest.mark.parametrize(
    "setting",
    [
        {"mu": 0.7},
        {"sampling": "without_replacement"},
        {"ridge": 0.3, "mu": 0.4, "sampling": "without_replacement"},
    ],
)
def test_least_squares_with_momentum_ridge_and_subsets(regression_data, setting):
    """Batches of four, at 0.6 of the second-moment edge."""
    X, y = regression_data("random")
    named = {{"mu": "momentum"}.get(key, key): value for key, value in setting.items()}
    rate = 0.6 * theory.least_squares_edges(X, batch_size=4, **named).second_moment
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=4, **named)
    sample = Minibatch(X, y, rate=rate, size=4, seed=7, **setting).sample(law, 30)
    plain = theory.least_squares_moments(X, y, learning_rate=rate / 2, batch_size=4)
    planted_defects(
        lambda s: assert_covariance(sample, s, mean=law.mean, detects=0.06),
        law.covariance,
        {"noise x 1.1": 1.1 * law.covariance, "setting forgotten": plain.covariance},
    )


def test_averages_with_state_dependent_noise(regression_data):
    """Window averages and lagged pairs of the chain, where constant noise is off by half."""
    X, y = regression_data("random")
    rate, window = 0.2, 10
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=1)
    sgd = Minibatch(X, y, rate=rate, size=1, seed=11)
    sgd.sample(law, 1)
    means, pairs = [], []
    for _ in range(24):
        before = sgd.advance(60)
        path = np.stack([sgd.advance(1) for _ in range(window)], axis=1)
        means.append(path.mean(1))
        pairs.append(np.concatenate([path[:, 2], before], axis=1))
    constant = theory.linear_chain(
        X.T @ X / 20, theory.least_squares_noise(X, y, np.zeros((3, 3))), learning_rate=rate, batch_size=1
    )

    def joint(chain):
        ahead = chain.autocovariance(3)
        return np.block([[chain.covariance, ahead], [ahead.T, chain.covariance]])

    planted_defects(
        lambda s: assert_covariance(np.stack(means, axis=1), s, mean=law.mean, detects=0.08),
        law.chain.average(window),
        {"constant noise": constant.average(window), "leading term alone": law.chain.long_run_covariance / window},
    )
    planted_defects(
        lambda s: assert_covariance(np.stack(pairs, axis=1), s, mean=np.tile(law.mean, 2), detects=0.08),
        joint(law.chain),
        {"constant noise": joint(constant)},
    )


def test_least_squares_shuffled_is_refused_and_would_fail(regression_data):
    """Epochs follow another law: the simulation of shuffled batches fails against the law of independent ones."""
    X, y = regression_data("random")
    with pytest.raises(ValueError, match="sampling must be 'with_replacement' or 'without_replacement'"):
        theory.least_squares_moments(X, y, learning_rate=0.1, batch_size=4, sampling="shuffled")
    law = theory.least_squares_moments(X, y, learning_rate=0.1, batch_size=4, sampling="without_replacement")
    sgd = Minibatch(X, y, rate=0.1, size=4, seed=12)
    order = None

    def drawn(at=[0]):  # noqa: B006  the counter of steps
        nonlocal order
        if at[0] % 5 == 0:
            order = sgd.rng.random((4096, 20)).argsort(1)
        rows = order[:, 4 * (at[0] % 5) : 4 * (at[0] % 5) + 4]
        at[0] += 1
        return rows

    sgd.drawn = drawn
    sample = sgd.sample(law, 24)
    assert_fails(assert_covariance, sample, law.covariance, mean=law.mean, detects=0.06, defect="shuffled epochs")


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", ["diabetes", "wine"])
def test_real_rows(regression_data, name, size, fraction):
    """Diabetes (442 x 10) and wine (4898 x 11): minutes each at the small learning rates."""
    compare(regression_data(name), size, fraction, detects=0.12 if fraction == 0.9 else 0.08, snapshots=16)
