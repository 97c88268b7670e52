"""Real problems that samplers are held to, each built once a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import gradnoise as gn


class Known(NamedTuple):
    problem: gn.Problem
    mode: Any
    law: Any


def _standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


def _problem(name: str, shared: Callable[[], Path]) -> gn.Problem:
    if name == "breast cancer":
        x, y = load_breast_cancer(return_X_y=True)
        return gn.models.logistic_regression(_standardised(x), y.astype(float), prior_scale=1.0)
    if name == "digits":
        x, y = load_digits(return_X_y=True)
        x = _standardised(x[:, x.std(0) > 0])
        _, _, axes = np.linalg.svd(x, full_matrices=False)
        return gn.models.logistic_regression(_standardised(x @ axes[:10].T), (y % 2).astype(float), prior_scale=1.0)
    if name == "wine":
        wine, _ = gn.datasets.standardise(gn.datasets.bundled("wine"))
        return gn.models.linear_regression(wine.X, wine.y, prior_scale=1.0)
    table = np.genfromtxt(shared() / "protein.csv.gz", delimiter=",", skip_header=1)
    return gn.models.linear_regression(_standardised(table[:, 1:]), table[:, 0] - table[:, 0].mean(), prior_scale=1.0)


@pytest.fixture(scope="session")
def known(request: pytest.FixtureRequest) -> Callable[[str], Known]:
    made: dict[str, Known] = {}

    def get(name: str) -> Known:
        if name not in made:
            problem = _problem(name, lambda: request.getfixturevalue("shared_data"))
            mode = gn.find_mode(problem)
            made[name] = Known(problem, mode, gn.measure.gaussian_law(problem, mode))
        return made[name]

    return get


@pytest.fixture(scope="session")
def nuts_fit() -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, covariance and effective size of long NUTS runs on breast cancer (tests/data/make_breast_cancer_nuts.py)."""
    with np.load(Path(__file__).parents[1] / "data" / "breast_cancer_nuts.npz") as file:
        return file["mean"], file["covariance"], float(file["effective_sample_size"].min())
