"""Fits of a regression to responses drawn from it: what the scores of a right model scatter by. NumPy, no compilation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.special

from gradnoise._types import Array
from gradnoise.models import likelihoods

STEPS = 4  # of Newton's method
SETTLED = 0.05  # posterior standard deviations of a step, whose square is what it leaves
ANCHOR = (
    0.05  # of the curvature, that holds a refit near the fit: classes that a draw separates have no optimum otherwise
)
LARGEST = 30.0  # log rate of drawn counts
KINDS = {
    likelihoods.linear_log_likelihood: "linear",
    likelihoods.robust_log_likelihood: "robust",
    likelihoods.logistic_log_likelihood: "logistic",
    likelihoods.poisson_log_likelihood: "poisson",
    likelihoods.softmax_log_likelihood: "softmax",
}


@dataclass(frozen=True, eq=False)
class Regression:
    """A model of `gradnoise.models` with one linear predictor x·θ + offset (one a class, for softmax), in NumPy.

    Attributes
    ----------
    kind
        A value of `KINDS`.
    inputs, targets, weight, offset
        (N, P) and (N,) each; weights multiply log-likelihoods.
    precision
        Of the normal prior, (D,).
    scale, beta
        Observation scale and β, where the model has them.
    """

    kind: str
    inputs: Array
    targets: Array
    weight: Array
    offset: Array
    precision: Array
    scale: float = 1.0
    beta: float = 0.0

    @property
    def classes(self) -> int:
        """K for softmax, else 1."""
        return int(len(self.precision) // self.inputs.shape[1])

    def predictor(self, vector: Array) -> Array:
        """Return x·θ + offset, (N,) or (N, K)."""
        if self.kind == "softmax":
            return np.asarray(self.inputs @ vector.reshape(-1, self.classes))
        return np.asarray(self.inputs @ vector + self.offset)

    def drawn(self, random: np.random.Generator, vector: Array) -> Regression:
        """Return the same inputs with responses drawn from the model at θ, one a row."""
        z = self.predictor(vector)
        if self.kind in ("linear", "robust"):
            targets = z + self.scale * random.standard_normal(len(z))
        elif self.kind == "logistic":
            targets = (random.random(len(z)) < scipy.special.expit(z)).astype(float)
        elif self.kind == "poisson":
            targets = random.poisson(np.exp(np.minimum(z, LARGEST))).astype(float)
        else:
            edges = np.cumsum(scipy.special.softmax(z, axis=1), axis=1)[:, :-1]
            targets = (random.random(len(z))[:, None] > edges).sum(1)
        return replace(self, targets=targets)

    def residuals(self, vector: Array) -> tuple[Array, Array]:
        """Return ∂ log-likelihood/∂z and -∂²/∂z² without weights: (N,) and (N,), or (N, K) and the probabilities (N, K)."""
        z, y = self.predictor(vector), self.targets
        if self.kind == "linear":
            return (y - z) / self.scale**2, np.full(len(z), self.scale**-2)
        if self.kind == "logistic":
            mean = scipy.special.expit(z)
            return y - mean, mean * scipy.special.expit(-z)
        if self.kind == "poisson":
            mean = np.exp(z)
            return y - mean, mean
        if self.kind == "softmax":
            mean = scipy.special.softmax(z, axis=1)
            return (np.arange(self.classes) == y[:, None]) - mean, mean
        squares = ((y - z) / self.scale) ** 2
        power = np.exp(-self.beta * (squares / 2 + math.log(self.scale) + 0.5 * math.log(2 * math.pi)))
        return power * (y - z) / self.scale**2, power * (1 - self.beta * squares) / self.scale**2

    def scores(self, vector: Array) -> Array:
        """Return √w · (∇ log-likelihood - its weighted mean) of every row, (N, D): squares add up to what the curvature is in a right model."""
        slopes = self.residuals(vector)[0]
        if self.kind == "softmax":
            each = (self.inputs[:, :, None] * slopes[:, None, :]).reshape(len(slopes), -1)
        else:
            each = slopes[:, None] * self.inputs
        mean = self.weight @ each / self.weight.sum()
        return np.asarray((each - mean) * np.sqrt(self.weight)[:, None])

    def slope_and_curvature(self, vector: Array) -> tuple[Array, Array]:
        """Return gradient (D,) and Hessian (D, D) of the negative log posterior."""
        slopes, bends = self.residuals(vector)
        if self.kind != "softmax":
            gradient = -self.inputs.T @ (self.weight * slopes)
            hessian = self.inputs.T @ (self.inputs * (self.weight * bends)[:, None])
        else:
            gradient = -(self.inputs.T @ (self.weight[:, None] * slopes)).ravel()
            size, count = self.inputs.shape[1], self.classes
            blocks = np.empty((size, count, size, count))
            for k in range(count):
                for other in range(k + 1):
                    bend = self.weight * bends[:, k] * ((k == other) - bends[:, other])
                    blocks[:, k, :, other] = blocks[:, other, :, k] = self.inputs.T @ (self.inputs * bend[:, None])
            hessian = blocks.reshape(size * count, size * count)
        return gradient + self.precision * vector, hessian + np.diag(self.precision)

    def fit(self, start: Array, anchor: Array | None = None) -> tuple[Array, Array]:
        """Return the mode found from `start` by Newton's method, and the curvature there; `anchor` (D, D) pulls back to the start.

        Raises
        ------
        numpy.linalg.LinAlgError
            Where a curvature is singular or not finite.
        """
        vector, longest = start, 4 + math.sqrt(len(start))
        for _ in range(STEPS):
            slope, curvature = self.slope_and_curvature(vector)
            if not np.isfinite(curvature).all():
                msg = "the curvature is not finite"
                raise np.linalg.LinAlgError(msg)
            held = curvature if anchor is None else curvature + anchor
            pull = slope if anchor is None else slope + anchor @ (vector - start)
            step = np.linalg.solve(held, pull)
            length = math.sqrt(max(float(step @ held @ step), 0.0))
            vector = vector - step * min(1.0, longest / max(length, longest))
            if length < SETTLED:
                return vector, curvature  # a step of that length does not change it
        return vector, self.slope_and_curvature(vector)[1]


def regression_of(problem: Any, rows: Array | None = None) -> Regression | None:
    """Return a problem of `gradnoise.models` as a `Regression`; None for any other.

    `rows`: numbers of the rows to take, with the prior weakened as the rows are; None: all.
    """
    kind, data, held = KINDS.get(problem.log_likelihood), problem.data, problem.hyperparams
    if kind is None or problem.log_prior not in (None, likelihoods.normal_log_prior):
        return None
    shape, which = np.shape(problem.init), slice(None) if rows is None else rows
    inputs = np.asarray(np.asarray(data["inputs"])[which], np.float64)
    count = len(inputs)
    if inputs.ndim != 2 or shape[0] != inputs.shape[1]:
        return None

    def column(name: str, usual: float) -> Array:
        return np.asarray(np.asarray(data[name])[which], np.float64) if name in data else np.full(count, usual)

    precision = 0.0 if problem.log_prior is None else held["prior_precision"]
    return Regression(
        kind,
        inputs,
        column("targets", 0.0),
        column("weight", 1.0),
        column("offset", 0.0),
        np.broadcast_to(np.asarray(precision, np.float64), shape).ravel() * (count / problem.num_examples),
        float(held["observation_scale"]) if kind in ("linear", "robust") else 1.0,
        float(held["beta"]) if kind == "robust" else 0.0,
    )
