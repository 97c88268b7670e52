"""Posterior and sandwich side by side: where the gradient noise is not the curvature, the model is misspecified."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives
from gradnoise._types import Array

DIFFERENT = 0.2  # a difference of variances beyond 20 %, and beyond its own sampling error, is told
ERRORS = 4  # standard errors
AFFORDABLE = 1 << 24  # numbers in all example gradients; beyond, their squares count as those of normals
FIRST = 8  # directions that are shown
DATA = 0.5  # directions that owe less of their curvature to the data are the prior's, not the model's


class Widths(NamedTuple):
    """Sandwich variance H⁻¹CH⁻¹/N over posterior variance (N H)⁻¹ along the eigenvectors of H, the widest first.

    Attributes
    ----------
    directions
        Eigenvectors as columns (D, D).
    ratios
        Sandwich over posterior variance (D,).
    data_shares
        Share of the curvature that comes from the likelihood (D,): what the ratio would be if the model were right.
    standard_errors
        Of the ratios (D,): the noise is estimated from N example gradients.
    posterior, sandwich
        The covariances (N H)⁻¹ and H⁻¹CH⁻¹/N (D, D).
    """

    directions: Array
    ratios: Array
    data_shares: Array
    standard_errors: Array
    posterior: Array
    sandwich: Array

    @property
    def misspecified(self) -> Array:
        """Whether sandwich and posterior differ by more than 20 % and four standard errors where the data rule, (D,)."""
        off = np.abs(self.ratios - self.data_shares) - ERRORS * self.standard_errors
        return np.asarray((off > DIFFERENT * self.data_shares) & (self.data_shares > DATA))

    def __repr__(self) -> str:
        heads = ("sandwich/posterior", "error", "data share", "misspecified")
        lines = [
            f"Widths along {len(self.ratios)} directions, the widest first",
            " ".join(f"{head:>18}" for head in heads),
        ]
        for i in range(min(FIRST, len(self.ratios))):
            numbers = (self.ratios[i], self.standard_errors[i], self.data_shares[i])
            cells = [*(f"{number:>18.3g}" for number in numbers), f"{'yes' if self.misspecified[i] else 'no':>18}"]
            lines.append(" ".join(cells))
        more = len(self.ratios) - FIRST
        return "\n".join(
            [*lines, f"... and {more:,} more; {int(self.misspecified.sum())} misspecified in all"]
            if more > 0
            else lines
        )

    def sentence(self) -> str:
        """Say how far they differ."""
        count, where = int(self.misspecified.sum()), self.ratios[self.misspecified]
        worst = float(where[np.abs(np.log(where)).argmax()])
        return (
            f"Sandwich variances are {self.ratios.min():.3g} to {self.ratios.max():.3g} times the posterior's; in {count} of "
            f"{len(self.ratios)} directions (worst {worst:.3g}) they differ by more than 20 % though the data rule there: the model "
            f"is misspecified, or its likelihood is no density of the data (a β-divergence, weights); intervals that cover need the "
            f"sandwich (target='sandwich', or .calibrate())."
        )


def widths_of(problem: Any, mean: Array, hessian: Array, gradient_covariance: Array) -> Widths:
    """Return both widths for curvature H and noise C taken at (or around) `mean`."""
    values, vectors = np.linalg.eigh(hessian)
    inverse = np.linalg.inv(hessian)
    noise = np.einsum("di,de,ei->i", vectors, gradient_covariance, vectors, optimize=True)
    prior = np.einsum("di,de,ei->i", vectors, prior_curvature(problem, mean), vectors, optimize=True)
    return Widths(
        vectors,
        noise / values,
        1 - prior / values,
        _errors(problem, mean, vectors, noise) / values,
        _checks.symmetrised(inverse / problem.num_examples),
        _checks.symmetrised(inverse @ gradient_covariance @ inverse / problem.num_examples),
    )


def _errors(problem: Any, mean: Array, vectors: Array, noise: Array) -> Array:
    """Return standard errors of the noise variances along the eigenvectors, from the example gradients at the mean."""
    if problem.num_examples * len(mean) > AFFORDABLE:
        return np.asarray(noise * math.sqrt(2 / problem.num_examples))
    along = derivatives.example_gradients(problem, mean) @ vectors
    squares = (along - along.mean(0)) ** 2
    return np.asarray(squares.std(0) / math.sqrt(problem.num_examples))


def prior_curvature(problem: Any, vector: Array) -> Array:
    """Hessian of -log_prior/N at a vector (D, D); 0 for a flat prior, and where it is not finite."""
    if problem.log_prior is None:
        return np.zeros((len(vector), len(vector)))
    with jax.enable_x64(True):
        found = _curvature(problem.log_prior, problem.init, problem.hyperparams, jnp.asarray(vector, jnp.float64))
    found = -np.asarray(found, np.float64) / problem.num_examples
    return np.where(np.isfinite(found), found, 0.0)


@functools.partial(jax.jit, static_argnums=0)
def _curvature(log_prior: Any, init: Any, hyperparams: Any, vector: Any) -> Any:
    more = () if hyperparams is None else (_tree.cast(hyperparams, jnp.float64),)
    return jax.hessian(lambda v: log_prior(_tree.unflatten(v, init), *more))(vector)
