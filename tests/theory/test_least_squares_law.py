"""Law: minibatch SGD on real rows, simulated from the update rule alone, against the exact moments.

At fractions of the fourth-moment edge: above it a sample covariance has no standard error. Chains start at the law of constant noise,
the main wrong answer, and have left it after five relaxation times of the second moment (`BURN_IN`): what a test then finds comes from
the updates, and e^-5 of the start's error is far below a standard error. Snapshots stand half a relaxation time apart; closer ones
tell nothing new.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gradnoise import theory
from gradnoise.testing import assert_covariance, assert_fails, assert_mean, planted_defects

pytestmark = pytest.mark.law

CHAINS = 256
BURN_IN = 10  # snapshots, half a relaxation time each
# relaxation times in all, times detects²: a relative variance of 4/T is to be seen at (limit 5.9 + miss 3.1) standard errors
NEEDED = 420
HEAVY = 1.5  # at 0.9 of the edge: squares vary more, and forget more slowly


@functools.cache
def compiled():
    import jax  # here, so that the other tests of this file start without it
    import jax.numpy as jnp

    @jax.jit
    def advance(rows, theta, drawn, step):
        def update(theta, batch):
            x, y = rows[batch, :-1], rows[batch, -1]
            residual = jnp.einsum("cbd,cd->cb", x, theta) - y
            return theta - step * jnp.einsum("cb,cbd->cd", residual, x), None

        return jax.lax.scan(update, theta, drawn)[0]

    return advance


def simulated(X, y, start, *, rate, size, every, count, seed):
    """Snapshots (chains, count, D) of plain SGD with replacement, in float32, `every` steps apart (rounded up)."""
    rng, advance = np.random.default_rng(seed), compiled()
    rows, theta = np.column_stack([X, y]).astype(np.float32), start.astype(np.float32)
    block = 2 ** int(math.log2(min(65536 / (len(theta) * size), every)))
    out = []
    for _ in range(count):
        for _ in range(math.ceil(every / block)):
            drawn = rng.integers(len(X), size=(block, len(theta), size), dtype=np.uint16)
            theta = advance(rows, theta, drawn, np.float32(rate / size))
        out.append(np.asarray(theta, dtype=np.float64))
    return np.stack(out, axis=1)


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


# of real rows, each seconds of bisection: `test_edges_of_real_rows` finds them again
EDGES = {("diabetes", 1): 0.0965048, ("diabetes", 4): 0.254769, ("wine", 1): 0.0121628, ("wine", 4): 0.0472648}


def fourth_moment_edge(rows_of, name, size):
    return EDGES.get((name, size)) or computed_edge(rows_of, name, size)


@functools.cache
def computed_edge(rows_of, name, size):
    with threadpool_limits(1, "blas"):  # many small products: two threads only wait for each other
        return theory.least_squares_edges(rows_of(name)[0], batch_size=size).fourth_moment


def compare(rows_of, name, size, fraction, *, detects, seed=0):
    """Check the law at a fraction of the fourth-moment edge, with planted defects on the same sample; what the tests saw."""
    X, y = rows_of(name)
    rate = fraction * fourth_moment_edge(rows_of, name, size)
    law = theory.least_squares_moments(X, y, learning_rate=rate, batch_size=size)
    constant = constant_noise(X, y, rate, size)
    relaxation = -1 / math.log(law.second_moment_radius)
    start = np.random.default_rng(seed + 1).multivariate_normal(law.mean, constant, size=CHAINS)
    count = math.ceil(2 * NEEDED * (HEAVY if fraction == 0.9 else 1) / detects**2 / CHAINS)
    sample = simulated(
        X, y, start, rate=rate, size=size, every=relaxation / 2, count=BURN_IN + count, seed=seed + size
    )[:, BURN_IN:]
    wrong = {
        "noise x (1 + 2 detects)": (1 + 2 * detects) * law.covariance,
        "correlations dropped": np.diag(np.diag(law.covariance)),
    }
    if size <= 1 / (2 * detects):
        wrong["one example more"] = law.covariance * size / (size + 1)
    excess = np.linalg.eigvals(np.linalg.solve(constant, law.covariance)).real.max() - 1
    if excess > 2 * detects:
        wrong["constant noise"] = constant
    found = []

    def check(predicted):
        found.append(assert_covariance(sample, predicted, mean=law.mean, detects=detects))

    planted_defects(check, law.covariance, wrong)
    mean = assert_mean(sample, law.mean, law.covariance, detects=detects)
    return {"relaxation": relaxation, "excess": excess, "caught": sorted(wrong), "covariance": found[0], "mean": mean}


ROWS = [(b, f) for f in (0.05, 0.3, 0.5, 0.9) for b in (1, 4, 32)]
USUAL = {(1, 0.05), (32, 0.3), (1, 0.5), (4, 0.9)}


# slow: the default ones take every batch size and every fraction of the edge once, and both ends of what constant noise misses
@pytest.mark.parametrize(
    ("size", "fraction"), [pytest.param(*row, marks=() if row in USUAL else pytest.mark.slow) for row in ROWS]
)
def test_random_rows(regression_data, size, fraction):
    found = compare(regression_data, "random", size, fraction, detects=0.06)
    assert (
        "constant noise" in found["caught"] or fraction < 0.5 or size > 4
    )  # where the constant-noise formula must fail


@pytest.mark.parametrize(
    "setting",
    [
        {"mu": 0.7},
        {"sampling": "without_replacement"},
        {"ridge": 0.3, "mu": 0.4, "sampling": "without_replacement"},
    ],
)
@pytest.mark.false_fail(1e-6)
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


CELLS = [(name, b, f) for name in ("diabetes", "wine") for b in (1, 4, 32) for f in (0.05, 0.3, 0.5, 0.9)]
LOUD = {("wine", 1, 0.9): [pytest.mark.false_fail(1e-6)]}
# fraction of the edge -> detects; and in longer runs. Not at 0.9, where the tails fall off with a power just above 4: a longer run meets
# excursions that make its standard error larger, not smaller (diabetes, B = 1, six times the snapshots: 22 % is seen instead of 8 %)
QUICKLY = {0.05: 0.3, 0.3: 0.12, 0.5: 0.12, 0.9: 0.12}
CLOSELY = {0.05: 0.08, 0.3: 0.05, 0.5: 0.05}


QUICK = {("diabetes", 1, 0.9), ("diabetes", 4, 0.5), ("wine", 1, 0.5), ("wine", 4, 0.9)}


# slow: the formula is the same whatever the cell; the default ones take both tables, where noise varies most (at and near the edge)
@pytest.mark.parametrize(
    ("name", "size", "fraction"),
    [
        pytest.param(*cell, marks=[*LOUD.get(cell, []), *([] if cell in QUICK else [pytest.mark.slow])])
        for cell in CELLS
    ],
)
def test_real_rows(regression_data, name, size, fraction):
    """Diabetes (442 x 10) and wine (4898 x 11): an error of 12 % is seen, of 30 % at 0.05 of the edge, where relaxation takes long."""
    found = compare(regression_data, name, size, fraction, detects=QUICKLY[fraction])
    assert "constant noise" in found["caught"] or fraction < 0.9


# slow: seconds each; the same bisection is compared with dense matrices in test_least_squares.py
@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), EDGES)
def test_edges_of_real_rows(regression_data, name, size):
    assert computed_edge(regression_data, name, size) == pytest.approx(EDGES[name, size], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "fraction"), [cell for cell in CELLS if cell[2] in CLOSELY])
def test_real_rows_closely(regression_data, name, size, fraction):
    """The same with other seeds and longer runs: errors of 5 to 8 % are seen. All cells are kept in benchmarks/records/least_squares.jsonl."""
    compare(regression_data, name, size, fraction, detects=CLOSELY[fraction], seed=100)
