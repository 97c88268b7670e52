"""The problems that the engine's promises are tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gradnoise as gn


def _features(n: int, d: int) -> np.ndarray:
    r = np.random.default_rng(0)
    return (r.normal(size=(n, d)) @ (np.eye(d) + 0.3 * r.normal(size=(d, d)) / np.sqrt(d))).astype(np.float32)


def _problem(name: str) -> gn.Problem:
    x = _features(1100, 6)
    r = np.random.default_rng(1)
    score = x @ np.linspace(-1, 1, 6) + 0.5 * r.normal(size=len(x))
    if name == "linear":
        return gn.models.linear_regression(x, score.astype(np.float32), observation_scale=0.5)
    if name == "logistic":
        return gn.models.logistic_regression(x, (score > 0).astype(np.float32))
    labels = np.digitize(score, [-0.7, 0.7])
    if name == "softmax":
        return gn.models.softmax_regression(x, labels)
    return gn.models.mlp(x, labels, widths=(8,), key=0)


@pytest.fixture(scope="session")
def make_problem() -> Callable[[str], gn.Problem]:
    made: dict[str, gn.Problem] = {}

    def make(name: str) -> gn.Problem:
        return made.setdefault(name, made.get(name) or _problem(name))

    return make
