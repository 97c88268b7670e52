"""Whether the model is misspecified: sandwich over posterior variance, parameter by parameter, against what a right model gives."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
import scipy.stats

from gradnoise import derivatives
from gradnoise._types import Array
from gradnoise.infer.verdicts.refits import ANCHOR, Regression, regression_of

DIFFERENT = math.log(1.2)  # less than 20 % from what is expected is not told
DATA = 0.5  # parameters that owe less of their precision to the data are the prior's, not the model's
FEW = 10  # rows: a sandwich that rests on fewer is not to be built on
SHORT, SHORTEST = (
    0.8,
    1 / 3,
)  # of the posterior's variance, in a parameter and in any direction: below, calibrating costs coverage
DRAWS, FEWER = 99, 39  # data sets drawn from the fitted model: a false alarm in 100, in 40
CHEAP, AFFORDABLE = 1e6, 4e6  # N·D² up to which all are drawn, and up to which all rows are used
PARTS = (0.1, 0.5, 0.9)  # quantiles that standardise a statistic, each side by itself
LEAST_ROWS = 20  # a parameter, of a choice of rows
TIE = 1e-6  # discrete responses make equal data sets
LEAST_SCALE = 0.02  # of a log ratio: below, scatter is rounding
ERRORS, NARROW_ERRORS, ROWS = (
    5.0,
    8.0,
    50,
)  # where nothing can be drawn: standard errors of a log ratio, and rows that it rests on
NUMBERS = 1 << 22  # of example gradients looked at there


class Fit(NamedTuple):
    """The variance of every parameter: by the scores (sandwich) over by the curvature (posterior), and what a right model gives.

    Attributes
    ----------
    ratios
        At the fitted parameters, (D,). Rows of weight w count as w rows, in both.
    expected
        The same in a right model (D,): the median over data sets drawn from the fitted one; where none were drawn, the share of
        the precision that the likelihood has.
    misspecified
        Whether ratios, or squared scores over curvature, differ from what is expected by more than 20 % and by more than in any
        of the drawn data sets, in any parameter, (D,).
    effective_rows
        Rows that each sandwich variance rests on (D,): (Σu²)²/Σu⁴ of the influences u.
    shares
        Share of the precision that the likelihood has (D,).
    narrowest
        The least ratio over all directions.
    num_drawn
        Data sets drawn; 0 where none were.
    all_rows, weighted
        Whether all rows were used; whether their weights differ from 1.
    """

    ratios: Array
    expected: Array
    misspecified: Array
    effective_rows: Array
    shares: Array
    narrowest: float
    num_drawn: int
    all_rows: bool
    weighted: bool

    def against_sandwich(self) -> str:
        """Why intervals by the sandwich would not cover, in a few words; empty where they would."""
        if self.weighted:
            return "it takes a row of weight w for one observation, not for w"
        if not (self.shares > DATA).all():
            return "the prior holds some parameters, which the sandwich ignores"
        if not (self.effective_rows >= FEW).all():
            return f"it rests on about {self.effective_rows.min():.2g} rows for one of the parameters"
        if not ((self.ratios >= SHORT).all() and self.narrowest >= SHORTEST):
            least = min(self.narrowest, float(self.ratios.min()))
            return f"it is narrower than the posterior elsewhere (variance {least:.2g} times)"
        return ""


def fit_of(problem: Any, mean: Array, hessian: Array, prior: Array) -> Fit:
    """Hold the scores at (about) the mode against the curvature.

    Parameters
    ----------
    problem
        The problem.
    mean
        Where to start from (D,), a law's mean.
    hessian, prior
        H of the mean loss, and the part of it that is the prior's, (D, D).

    Notes
    -----
    Regressions of `gradnoise.models`: responses are drawn from the model at parameters from the Gaussian posterior, each data set is
    fitted anew, and the largest of all standardised log ratios is compared with those of the drawn ones. A right model exceeds all of
    them once in 100 times (once in 40 where N·D² > 10⁶), whatever the number of parameters, of examples or of examples in a level.
    Above N·D² = 4·10⁶ a fixed random choice of rows is used.

    Any other problem: the layout of its data is not known, so nothing is drawn. A ratio must then be five of its own standard errors
    off (eight below), and rest on 50 rows; that is cautious, and blind in small data.

    White (1982), "Maximum likelihood estimation of misspecified models", whose information-matrix test this is, with the law of Horowitz
    (1994), "Bootstrap-based critical values for the information matrix test", since the asymptotic one is far off.
    """
    count, size = problem.num_examples, len(mean)
    most, chosen = int(AFFORDABLE / size**2), None
    if count > most:
        if most < LEAST_ROWS * size:
            return _scattered(problem, mean, hessian, prior)
        chosen = np.sort(np.random.default_rng(1).choice(count, most, replace=False))
    model = regression_of(problem, chosen)
    if model is None:
        return _scattered(problem, mean, hessian, prior)
    try:
        with np.errstate(all="ignore"):  # a drawn data set may overflow: it is left out
            return _drawn(model, mean)._replace(all_rows=chosen is None, weighted=bool((model.weight != 1).any()))
    except np.linalg.LinAlgError:
        return _scattered(problem, mean, hessian, prior)


def _drawn(model: Regression, mean: Array) -> Fit:
    vector, curvature = model.fit(mean)
    inverse = _inverse(curvature)
    shares = 1 - np.einsum("di,d,di->i", inverse, model.precision, inverse) / np.diag(inverse)
    seen, rows = _statistics(model, vector, curvature)
    if not np.isfinite(seen).all():
        msg = "the ratios are not finite"
        raise np.linalg.LinAlgError(msg)
    size = len(vector)
    scores = model.scores(vector)
    narrowest = _narrowest(scores.T @ scores, curvature)
    fit = Fit(np.exp(seen[:size]), shares, np.zeros(size, bool), rows, shares, narrowest, 0, True, False)
    usual = np.log(np.concatenate([np.maximum(shares, 1e-12), np.ones(size)]))
    if model.kind != "robust" and not (np.abs(seen - usual) > DIFFERENT).any():
        return fit
    wanted = DRAWS if len(model.inputs) * size**2 <= CHEAP else FEWER
    random, root = np.random.default_rng(0), np.linalg.cholesky(inverse)
    drawn: list[Array] = []
    for attempt in range(2 * wanted):
        if len(drawn) == wanted or (attempt % 20 == 0 and len(drawn) >= FEWER // 2 and not _off(seen, drawn)[0].any()):
            break
        other = model.drawn(random, vector + root @ random.standard_normal(size))
        try:
            found = _statistics(other, *other.fit(vector, ANCHOR * curvature))[0]
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(found).all():
            drawn.append(found)
    if len(drawn) < FEWER // 2:
        return fit
    off, middle = _off(seen, drawn)
    expected = np.exp(middle[:size])
    wrong = np.logical_or(off[:size], off[size:])
    if model.kind == "robust":  # no density of the data: its width is not that of repeated data even where all is well
        wrong = wrong | ((np.abs(middle[:size] - np.log(shares)) > DIFFERENT) & (shares > DATA))
    return fit._replace(expected=expected, misspecified=wrong, num_drawn=len(drawn))


def _inverse(curvature: Array) -> Array:
    """Invert by Cholesky, in units in which the diagonal is 1."""
    unit = np.sqrt(np.diag(curvature))
    if not (unit > 0).all():
        msg = "a curvature is not positive"
        raise np.linalg.LinAlgError(msg)
    root = np.linalg.inv(np.linalg.cholesky(curvature / np.outer(unit, unit)))
    return np.asarray(root.T @ root / np.outer(unit, unit))


def _narrowest(noise: Array, curvature: Array) -> float:
    """Return the smallest variance by the scores over that by the curvature, of all directions."""
    unit = np.sqrt(np.diag(curvature))
    units = np.outer(unit, unit)
    return max(
        float(scipy.linalg.eigh(noise / units, curvature / units, eigvals_only=True, subset_by_index=(0, 0))[0]), 0.0
    )


def _statistics(model: Regression, vector: Array, curvature: Array) -> tuple[Array, Array]:
    """Return log ratios (2D,), of variances and of squared scores over the likelihood's curvature, and effective rows (D,)."""
    scores, inverse = model.scores(vector), _inverse(curvature)
    influence = (scores @ inverse) ** 2
    sandwich = influence.sum(0)
    noise, bend = (scores**2).sum(0), np.diag(curvature) - model.precision
    ratios = np.concatenate([sandwich / np.diag(inverse), noise / np.maximum(bend, 1e-12 * np.diag(curvature))])
    rows = sandwich**2 / np.maximum((influence**2).sum(0), 1e-300)
    return np.log(np.maximum(ratios, 1e-12)), rows


def _off(seen: Array, drawn: list[Array]) -> tuple[Array, Array]:
    """Whether each statistic (2D,) is farther from its median than any is in any of the drawn data sets; and the medians."""
    pool = np.array([seen, *drawn])
    low, middle, high = np.quantile(pool, PARTS, axis=0)
    apart = pool - middle
    scale = np.where(apart > 0, high - middle, middle - low)
    apart = np.abs(apart) / np.maximum(scale, LEAST_SCALE)
    # what a data set holds exactly (the score of a level's own rows) scatters by rounding: no evidence
    off = (apart[0] > (1 + TIE) * apart[1:].max()) & (np.abs(seen - middle) > DIFFERENT)
    return off, middle


def _scattered(problem: Any, mean: Array, hessian: Array, prior: Array) -> Fit:
    """Judge by the scatter of the example gradients alone."""
    inverse = np.linalg.inv(hessian)
    shares = 1 - np.diag(inverse @ prior @ inverse) / np.diag(inverse)
    size, count = len(mean), problem.num_examples
    if count * size > NUMBERS:
        rows = np.sort(np.random.default_rng(1).choice(count, max(NUMBERS // size, 1), replace=False))
        problem = _rows_of(problem, rows)
    gradients = derivatives.example_gradients(problem, mean)
    gradients = gradients - gradients.mean(0)
    influence = (gradients @ inverse) ** 2
    total = np.maximum(influence.sum(0), 1e-300)
    rows_each = total**2 / np.maximum((influence**2).sum(0), 1e-300)
    ratios = total / len(influence) / np.diag(inverse)
    errors = np.log(np.maximum(ratios, 1e-12) / np.maximum(shares, 1e-12)) * np.sqrt(rows_each)
    limit = max(ERRORS, float(scipy.stats.norm.isf(5e-4 / size)))
    wrong = (errors > limit) | (errors < -NARROW_ERRORS)
    wrong &= (np.abs(errors) > DIFFERENT * np.sqrt(rows_each)) & (rows_each >= ROWS) & (shares > DATA)
    narrowest = _narrowest(gradients.T @ gradients / len(gradients), hessian)
    weights = problem.data.get("weight") if isinstance(problem.data, dict) else None
    weighted = weights is not None and bool((np.asarray(weights) != 1).any())
    return Fit(ratios, shares, wrong, rows_each, shares, narrowest, 0, len(influence) == count, weighted)


def _rows_of(problem: Any, rows: Array) -> Any:
    """Return the problem of some of its rows."""
    part = copy.copy(problem)
    object.__setattr__(part, "data", jax.tree.map(lambda leaf: np.asarray(leaf)[rows], problem.data))
    return part
