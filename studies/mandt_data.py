"""Data, settings and printed numbers of Table 1 of Mandt, Hoffman, Blei (2017), and why ours differ."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gradnoise as gn

DATA = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH = {"wine": 100, "skin": 10_000, "protein": 100}
SGLD_STEP = {"wine": 1e-3, "skin": 1e-5, "protein": 1e-6}
PUBLISHED = {
    "SGD": (18.7, 0.471, 1000.9),
    "SGD-d": (14.0, 0.921, 678.4),
    "SGD-f": (0.7, 0.005, 1.8),
    "SGLD": (2.9, 0.905, 4.5),
    "SGFS-d": (12.8, 0.864, 597.4),
    "SGFS-f": (0.8, 0.005, 1.3),
    "BBVI": (44.7, 5.74, 478.1),
}
# injected noise of Fisher scoring, E Eᵀ = SHARE · ε · λ_min(C)/B · I; the paper does not print its own
SHARE = 0.1
ONLINE = (
    "the printed value depends at the 20-40 % level on how C was estimated; with C estimated online (eq. 21) simulation gives 0.913 (scalar) and "
    "1.003 (diagonal), with the true C what is predicted here"
)
WINE = (
    "same size and order; the wine table that was used had a wider posterior (widest sd 0.137 in Fig. 1, 0.099 in the UCI file, 0.116 without its "
    "leverage row), which no preprocessing tried reproduces"
)
PROTEIN = "printed order and 80-92 % of the printed size with F9 as target, the choice that comes closest; which 8 features were used is not stated"
FULL = "exact up to the step: what is printed is the sampling floor of a finite run, and the error of an estimated C"
REASONS = {
    ("wine", "SGD"): WINE,
    ("wine", "SGD-d"): WINE,
    ("wine", "SGFS-d"): f"{WINE}; E is not published",
    ("wine", "BBVI"): WINE,
    (
        "wine",
        "SGLD",
    ): "the printed step 1e-3 is beyond the edge 4/(N λ_max) = 2.5e-4 under the paper's own update; shown at 1e-4",
    ("skin", "SGD"): ONLINE,
    ("skin", "SGD-d"): ONLINE,
    ("skin", "SGFS-d"): f"{ONLINE}; E is not published",
    ("skin", "SGLD"): "within 10 %",
    ("skin", "BBVI"): "within 10 %",
    ("protein", "SGD"): PROTEIN,
    ("protein", "SGD-d"): PROTEIN,
    ("protein", "SGFS-d"): f"{PROTEIN}; E is not published",
    ("protein", "BBVI"): PROTEIN,
    (
        "protein",
        "SGLD",
    ): "42 % of the printed size with F9 as target; which 8 features were used is not stated (with RMSD as target and all nine 2.7)",
    **{(name, method): FULL for name in BATCH for method in ("SGD-f", "SGFS-f")},
}


class Setting(NamedTuple):
    """A problem of the paper with H, C and the Laplace posterior at its mode."""

    name: str
    problem: gn.Problem
    mode: Any
    hessian: Any
    noise: Any
    batch_size: int

    @property
    def posterior(self) -> Any:
        """(N H)⁻¹."""
        return np.linalg.inv(self.problem.num_examples * self.hessian)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments that tuning takes."""
        return {"num_examples": self.problem.num_examples, "batch_size": self.batch_size}


def _standardised(x: Any) -> Any:
    return (x - x.mean(0)) / x.std(0)


@functools.cache
def setting(name: str) -> Setting:
    """Return one of "wine", "skin", "protein"."""
    if name == "wine":
        table = np.genfromtxt(DATA / "winequality-white.csv", delimiter=",", skip_header=1)
        x, y = table[:, :-1], table[:, -1]
    elif name == "skin":
        table = np.genfromtxt(DATA / "skin.csv.gz", delimiter=",", skip_header=1)
        x, y = table[:, :-1], table[:, -1]
    else:
        table = np.genfromtxt(DATA / "protein.csv.gz", delimiter=",", skip_header=1)
        x, y = table[:, 1:9], table[:, 9]
    x = _standardised(x)
    if name == "skin":
        problem = gn.models.logistic_regression(x, y, prior_scale=1.0, intercept=False)
    else:
        problem = gn.models.linear_regression(
            x, _standardised(y), prior_scale=1.0, observation_scale=1.0, intercept=False
        )
    mode = gn.find_mode(problem)
    local = gn.measure.local_geometry(problem, mode)
    return Setting(name, problem, mode, local.hessian, local.gradient_covariance, BATCH[name])


@functools.cache
def poisson(num_examples: int = 2000) -> Setting:
    """Poisson regression on six correlated inputs, drawn from the model."""
    r = np.random.default_rng(2)
    x = r.normal(size=(num_examples, 6)) @ (np.eye(6) + 0.4 * r.normal(size=(6, 6)))
    x = _standardised(x)
    y = r.poisson(np.exp(x @ (0.25 * r.normal(size=6)) + 0.3)).astype(float)
    problem = gn.models.poisson_regression(x, y, prior_scale=1.0)
    mode = gn.find_mode(problem)
    local = gn.measure.local_geometry(problem, mode)
    return Setting("poisson", problem, mode, local.hessian, local.gradient_covariance, 32)
