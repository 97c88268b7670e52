"""Posterior and sandwich side by side: where the gradient noise is not the curvature, the model is misspecified."""

from __future__ import annotations

import functools
import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import Array
from gradnoise.infer.verdicts.misspecification import Fit, fit_of

FIRST = 8  # parameters that are shown
NAMED = 3  # in a sentence
_KNOWN: weakref.WeakKeyDictionary[Any, Widths] = weakref.WeakKeyDictionary()  # by Gaussian law: several plans share one


class Widths(NamedTuple):
    """Sandwich variance H⁻¹CH⁻¹/N over posterior variance (N H)⁻¹ of every parameter, the widest first.

    Attributes
    ----------
    names
        Of the parameters, in this order (D,).
    ratios
        Sandwich over posterior variance (D,), at the mode; a row of weight w counts as w rows there.
    expected
        What the ratio would be if the model were right (D,); see `misspecification.Fit`.
    misspecified
        Whether they differ by more than chance and 20 %, (D,).
    posterior, sandwich
        The covariances (N H)⁻¹ and H⁻¹CH⁻¹/N (D, D), in the order of the problem.
    fit
        The test behind `misspecified`, in the order of the problem.
    """

    names: tuple[str, ...]
    ratios: Array
    expected: Array
    misspecified: Array
    posterior: Array
    sandwich: Array
    fit: Fit

    @property
    def data_shares(self) -> Array:
        """Share of the precision that comes from the likelihood, in the order of the problem (D,)."""
        return self.fit.shares

    def __repr__(self) -> str:
        heads = ("sandwich/posterior", "in a right model", "misspecified")
        lines = [
            f"Widths along {len(self.ratios)} directions, the widest first",
            " ".join([*(f"{head:>18}" for head in heads), " parameter"]),
        ]
        for i in range(min(FIRST, len(self.ratios))):
            numbers = (self.ratios[i], self.expected[i])
            cells = [*(f"{number:>18.3g}" for number in numbers), f"{'yes' if self.misspecified[i] else 'no':>18}"]
            lines.append(" ".join([*cells, f" {self.names[i]}"]))
        more = len(self.ratios) - FIRST
        return "\n".join(
            [*lines, f"... and {more:,} more; {int(self.misspecified.sum())} misspecified in all"]
            if more > 0
            else lines
        )

    def sentence(self) -> str:
        """Say where they differ by more than a right model would have it, and whether calibrating helps."""
        order = [i for i in _farthest(self.ratios / self.expected) if self.misspecified[i]]
        told = [f"{self.names[i]} {_rounded(self.ratios[i])} ({_rounded(self.expected[i])})" for i in order[:NAMED]]
        some = "" if len(order) <= NAMED else f", and {len(order) - NAMED} more"
        return (
            f"Sandwich variance over the posterior's, and in brackets what a right model gives: {', '.join(told)}{some}. In "
            f"{len(order)} of {len(self.ratios)} parameters curvature and gradient noise differ {self._proof()}: the model is misspecified, "
            f"or its likelihood is no density of the data (a β-divergence). {self._remedy()}"
        )

    def _proof(self) -> str:
        if self.fit.num_drawn:
            return (
                f"more than in any of {self.fit.num_drawn} data sets drawn from the fitted model, and by more than 20 %"
            )
        return "by many standard errors and by more than 20 % (nothing could be drawn from this model)"

    def _remedy(self) -> str:
        against = self.fit.against_sandwich()
        if against:
            return f"The sandwich is no remedy here, for {against}: change the model."
        return "Intervals that cover need another model, or the sandwich (target='sandwich', or .calibrate())."


def _farthest(ratios: Array) -> Any:
    """Order by distance from 1 in logarithms, ties in the order given."""
    return np.argsort(-np.round(np.abs(np.log(np.maximum(ratios, 1e-12))), 6), kind="stable")


def _rounded(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio >= 1e-3 else "below 0.001"


def widths_at(problem: Any, law: Any) -> Widths:
    """Return both widths for the curvature and noise of a `measure.GaussianLaw`; the same law is judged once."""
    if law not in _KNOWN:
        _KNOWN[law] = widths_of(problem, law.mean, law.hessian, law.gradient_covariance)
    return _KNOWN[law]


def widths_of(problem: Any, mean: Array, hessian: Array, gradient_covariance: Array) -> Widths:
    """Return both widths for curvature H and noise C taken at (or around) `mean`."""
    inverse = np.linalg.inv(hessian)
    sandwich = inverse @ gradient_covariance @ inverse
    fit = fit_of(problem, mean, hessian, prior_curvature(problem, mean))
    # the test's own ratios, in which a row of weight w is w rows; or those of all rows, where it looked at some
    ratios = fit.ratios if fit.weighted or fit.all_rows else np.maximum(np.diag(sandwich), 0.0) / np.diag(inverse)
    order = np.argsort(-np.round(ratios, 9), kind="stable")
    return Widths(
        tuple(problem.parameter_names[i] for i in order),
        ratios[order],
        fit.expected[order],
        fit.misspecified[order],
        _checks.symmetrised(inverse / problem.num_examples),
        _checks.symmetrised(sandwich / problem.num_examples),
        fit,
    )


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
