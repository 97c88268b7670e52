"""One small simulator, written from the update rules alone, so that it shares nothing with the formulas it tests."""

from __future__ import annotations

import functools
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

sys.path.insert(0, str(Path(__file__).parent))  # `calls` and `audit`, whatever pytest's import mode

H = np.array([[2, 0.3], [0.3, 0.5]])
CHAINS = 4096


def root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))


class Sgd:
    """Chains of SGD on a quadratic: `advance` makes steps, `theta` is the state, shape (chains, D)."""

    def __init__(
        self, *, noise, rate=1.0, P=None, mu=0.0, nesterov=False, injected=None, hessian=H, seed=0, chains=CHAINS
    ):
        self.rng, self.hessian, self.mu, self.nesterov = np.random.default_rng(seed), hessian, mu, nesterov
        self.step = rate * (np.eye(len(hessian)) if P is None else np.asarray(P))
        self.noise = noise if callable(noise) else self.gaussian(root(noise))
        self.injected = None if injected is None else root(injected)
        self.theta = np.zeros((chains, len(hessian)))
        self.m = np.zeros_like(self.theta)

    def gaussian(self, factor):
        return lambda: self.rng.normal(size=self.theta.shape) @ factor.T

    def advance(self, steps=1):
        for _ in range(steps):
            g = self.theta @ self.hessian + self.noise()
            self.m = self.mu * self.m + g
            self.theta = self.theta - (g + self.mu * self.m if self.nesterov else self.m) @ self.step
            if self.injected is not None:
                self.theta = self.theta + self.rng.normal(size=self.theta.shape) @ self.injected.T
        return self.theta

    def sample(self, apart, snapshots=20):
        """(chains, snapshots, D), after a burn-in of eight relaxation times."""
        self.advance(4 * apart)
        return np.stack([self.advance(apart) for _ in range(snapshots)], axis=1)


class Epochs:
    """Exact permutations of the examples, a new one each epoch; the remainder of N/B is dropped, or a smaller last batch."""

    def __init__(self, noises, batch, seed, drop_last=True):
        self.noises, self.batch, self.rng, self.at = noises, batch, np.random.default_rng(seed), 0
        self.steps = len(noises) // batch if drop_last else -(-len(noises) // batch)

    def __call__(self):
        if self.at == 0:
            self.order = self.rng.random((CHAINS, len(self.noises))).argsort(1)
        rows = self.order[:, self.at * self.batch : (self.at + 1) * self.batch]
        self.at = (self.at + 1) % self.steps
        return self.noises[rows].mean(1)


@pytest.fixture(name="Sgd")
def sgd_class():
    return Sgd


@pytest.fixture(name="Epochs")
def epochs_class():
    return Epochs


@functools.cache
def standardised_rows(name):
    """(X, y): 20 x 3 random rows, or diabetes or wine with every column standardised."""
    if name == "random":
        rng = np.random.default_rng(1)
        return rng.standard_normal((20, 3)), rng.standard_normal(20)
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
    else:
        path = resources.files("gradnoise") / "data" / "winequality-white.csv.gz"
        table = np.loadtxt(str(path), delimiter=",", skiprows=1)
        X, y = table[:, :-1], table[:, -1]
    return (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()


@pytest.fixture
def regression_data():
    return standardised_rows
