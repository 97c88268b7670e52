"""The problems of the benchmarks: P1 linear regression (wine), P2b logistic (made here), P3 a small network (digits).

Every contestant runs the same step: θ ← θ - η (gradient of the minibatch's mean loss + prior precision · θ / N), rows drawn
with replacement, float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import gradnoise as gn


@dataclass(frozen=True)
class Setting:
    """A problem as arrays (for the peers) and as a `gn.Problem` (for the engine).

    Attributes
    ----------
    kind
        "linear", "logistic" or "network".
    flops
        Floating-point operations of the matrix products of one step.
    steps
        Steps of one call: of the engine with one chain and with 256, and of everything that is slower.
    """

    name: str
    kind: str
    X: Any
    y: Any
    batch_size: int
    problem: gn.Problem
    flops: float
    steps: tuple[int, int, int]
    learning_rate: float = 0.01
    prior_precision: float = 1.0

    @property
    def num_examples(self) -> int:
        return len(self.X)


def wine(num_examples: int = 4898) -> Setting:
    """P1: 4898 × 11, B = 32; columns standardised, target centred, unit observation scale, no intercept."""
    data, _ = gn.datasets.standardise(gn.datasets.bundled("wine"))
    x = data.X[:num_examples].astype(np.float32)
    y = (data.y - data.y.mean())[:num_examples].astype(np.float32)
    problem = gn.models.linear_regression(x, y, observation_scale=1.0, intercept=False)
    return Setting("P1", "linear", x, y, 32, problem, 4 * 32 * 11, (131072, 1024, 512))


def synthetic() -> Setting:
    """P2b: 10000 × 20, B = 100."""
    random = np.random.default_rng(0)
    x = random.normal(size=(10_000, 20))
    slope = random.normal(size=20) / np.sqrt(20)
    y = random.random(10_000) < 1 / (1 + np.exp(-x @ slope))
    x, y = x.astype(np.float32), y.astype(np.float32)
    problem = gn.models.logistic_regression(x, y, intercept=False)
    return Setting("P2b", "logistic", x, y, 100, problem, 4 * 100 * 20, (32768, 256, 256))


def digits() -> Setting:
    """P3: 64-64-10 tanh network on scikit-learn's digits, B = 64."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    problem = gn.models.mlp(x, y, widths=(64,))
    flops = 2 * 64 * (2 * 64 * 64 + 3 * 64 * 10)  # forward, gradients of both weights, gradient of the hidden layer
    return Setting("P3", "network", x, y.astype(np.int32), 64, problem, flops, (2048, 64, 64))


SETTINGS = {"P1": wine, "P2b": synthetic, "P3": digits}
