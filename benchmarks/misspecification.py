"""How often right and wrong models are called misspecified: `python benchmarks/misspecification.py [--sets 60]`.

Every right data set is drawn from its model, coefficients from the prior where there is one. A false alarm is a data set with any
parameter called misspecified; an advice is one whose sentence would name the sandwich as the remedy. Prints one line a kind, with
the 95 % interval of the rate (Clopper and Pearson).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats

import gradnoise as gn
from gradnoise.infer.verdicts.misspecification import Fit, fit_of
from gradnoise.infer.verdicts.sandwich import prior_curvature
from gradnoise.mode.search import NotAMinimum

Random = np.random.Generator


def judged(problem: Any) -> Fit:
    """Fit and judge one data set."""
    mode = gn.find_mode(problem)
    return fit_of(problem, mode.vector, mode.hessian, prior_curvature(problem, mode.vector))


def chance(z: Any) -> Any:
    """Return 1/(1 + exp(-z))."""
    return 1 / (1 + np.exp(-np.asarray(z)))


def design(r: Random, rows: int, size: int, kind: str = "normal") -> Any:
    """Return inputs (rows, size): normal, t3, or normal with an indicator that few rows have as the last column."""
    x = r.standard_t(3, (rows, size)) if kind == "t3" else r.normal(size=(rows, size))
    if kind == "rare":
        x[:, -1] = 0
        x[r.choice(rows, r.integers(4, 15), replace=False), -1] = 1
    return x


def linear(
    rows: int, size: int, kind: str = "normal", prior: float = 1.0, known: bool = False
) -> Callable[[Random], Any]:
    """Normal residuals."""

    def make(r: Random) -> Any:
        x = design(r, rows, size, kind)
        y = x @ (prior * r.normal(size=size)) + 1.5 * r.normal(size=rows)
        return gn.models.linear_regression(x, y, prior, 1.5 if known else None, intercept=False)

    return make


def logistic(rows: int, size: int, kind: str = "normal", prior: float = 1.0) -> Callable[[Random], Any]:
    """Labels from the model."""

    def make(r: Random) -> Any:
        x = design(r, rows, size, kind)
        y = r.random(rows) < chance(x @ (prior * r.normal(size=size)) - 0.5)
        return gn.models.logistic_regression(x, y.astype(float), max(prior, 0.5))

    return make


def poisson(
    rows: int, size: int, rate: float = 0.4, kind: str = "normal", offset: bool = False
) -> Callable[[Random], Any]:
    """Counts from the model."""

    def make(r: Random) -> Any:
        x = design(r, rows, size, kind)
        time_at_risk = r.uniform(0.2, 4.0, rows) if offset else np.ones(rows)
        y = r.poisson(rate * time_at_risk * np.exp(0.3 * x @ r.normal(size=size) / np.sqrt(size)))
        return gn.models.poisson_regression(x, y, 1.0, offset=np.log(time_at_risk) if offset else None)

    return make


def softmax(rows: int, size: int, prior: float = 1.0) -> Callable[[Random], Any]:
    """Three classes from the model."""

    def make(r: Random) -> Any:
        x = design(r, rows, size)
        z = x @ (min(prior, 1.0) * r.normal(size=(size, 3))) + r.gumbel(size=(rows, 3))
        return gn.models.softmax_regression(x, z.argmax(1), prior, num_classes=3)

    return make


def weighted(rows: int, size: int, repeated: bool) -> Callable[[Random], Any]:
    """Weights: rows that stand for w equal ones (counted from single labels), or weights that have nothing to do with the model."""

    def make(r: Random) -> Any:
        theta = r.normal(size=size)
        if not repeated:
            x, w = r.normal(size=(rows, size)), r.integers(1, 9, rows)
            y = x @ theta + r.normal(size=rows)
            return gn.models.linear_regression(x, y, 1.0, 1.0, weights=w)
        x = r.integers(0, 2, (rows, size)).astype(float)
        y = (r.random(rows) < chance(x @ theta)).astype(float)
        seen, w = np.unique(np.c_[x, y], axis=0, return_counts=True)
        return gn.models.logistic_regression(seen[:, :-1], seen[:, -1], 1.0, weights=w)

    return make


def own(rows: int) -> Callable[[Random], Any]:
    """Return a user's own problem (heights of a gamma law by its logarithm), of whose data nothing is known."""
    import jax.numpy as jnp

    def log_likelihood(params: Any, example: Any) -> Any:
        log_mean = params[0] + params[1] * example["x"]
        return -2 * log_mean - 2 * example["y"] * jnp.exp(-log_mean) + jnp.log(example["y"])

    def make(r: Random) -> Any:
        x = r.normal(size=rows)
        return gn.Problem(log_likelihood, {"x": x, "y": r.gamma(2, np.exp(0.5 + 0.3 * x) / 2)}, np.zeros(2))

    return make


def skewed_lines(r: Random) -> Any:
    """Return a line whose residuals grow with |x|: N = 2000."""
    x = r.normal(size=2000)
    y = 1 + 2 * x + (0.2 + np.abs(x)) * r.normal(size=2000)
    return gn.models.linear_regression(x[:, None], y)


def spread_counts(rows: int, shape: float) -> Callable[[Random], Any]:
    """Return counts of a negative binomial law under a Poisson model."""

    def make(r: Random) -> Any:
        x = r.normal(size=(rows, 3))
        mean = np.exp(0.7 + x @ [0.4, -0.3, 0.0])
        return gn.models.poisson_regression(x, r.poisson(mean * r.gamma(shape, 1 / shape, rows)), 2.0)

    return make


def wrong_link(r: Random) -> Any:
    """Return counts that are linear in x under the exponential of x."""
    x = r.uniform(0, 5, 1000)
    return gn.models.poisson_regression(x[:, None], r.poisson(0.2 + 12 * x**2), 10.0)


def wrong_scale(r: Random) -> Any:
    """Return residuals of 1.4 under a given scale of 1."""
    x = r.normal(size=(500, 3))
    return gn.models.linear_regression(x, x @ [1, 2, 3] + 1.4 * r.normal(size=500), 5.0, 1.0)


RIGHT: dict[str, Callable[[Random], Any]] = {
    "linear, N 60, D 8": linear(60, 8),
    "linear, t3 features, N 200": linear(200, 5, "t3"),
    "linear, t3 features, known scale, N 2000": linear(2000, 4, "t3", known=True),
    "linear, prior sd 0.1, N 30, D 8": linear(30, 8, prior=0.1, known=True),
    "linear, flat prior, N 40, D 12": lambda r: gn.models.linear_regression(
        design(r, 40, 11), r.normal(size=40), np.inf
    ),
    "logistic, N 60, D 9": logistic(60, 8),
    "logistic, t3 features, N 300": logistic(300, 4, "t3"),
    "logistic, rare indicator, N 400": logistic(400, 4, "rare"),
    "logistic, rare indicator, prior sd 3": logistic(400, 4, "rare", 3.0),
    "logistic, N 2000": logistic(2000, 5),
    "Poisson, mean 0.4, N 200": poisson(200, 4),
    "Poisson, mean 0.1, rare indicator, N 500": poisson(500, 4, 0.1, "rare"),
    "Poisson, mean 0.4, offset, t3 features": poisson(300, 3, 0.4, "t3", offset=True),
    "softmax, N 150": softmax(150, 3),
    "softmax, prior sd 10, N 300": softmax(300, 2, 10.0),
    "weights 1 to 8, N 200": weighted(200, 3, False),
    "weights that count rows, N 500": weighted(500, 3, True),
    "a user's own problem, N 300": own(300),
}
WRONG: dict[str, Callable[[Random], Any]] = {
    "heteroscedastic lines, N 2000": skewed_lines,
    "negative binomial (r = 1) as Poisson, N 400": spread_counts(400, 1.0),
    "negative binomial (r = 4) as Poisson, N 1000": spread_counts(1000, 4.0),
    "quadratic mean as exponential, N 1000": wrong_link,
    "residuals 1.4 under scale 1, N 500": wrong_scale,
}


def study(make: Callable[[Random], Any], sets: int, seed: int) -> tuple[int, int, int, float]:
    """Return data sets judged, called misspecified and advised to calibrate, and the CPU seconds of one judgement."""
    found, advised, done, began = 0, 0, 0, time.process_time()
    for i in range(sets):
        try:
            fit = judged(make(np.random.default_rng([seed, i])))
        except NotAMinimum:  # separable labels
            continue
        done += 1
        found += bool(fit.misspecified.any())
        advised += bool(fit.misspecified.any() and not fit.against_sandwich())
    return done, found, advised, (time.process_time() - began) / max(done, 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=60)
    sets = parser.parse_args().sets
    for title, table, count in (("right", RIGHT, sets), ("wrong", WRONG, 12)):
        total = flagged = 0
        for seed, (name, make) in enumerate(table.items()):
            done, found, advised, seconds = study(make, count, seed + 1000 * (title == "wrong"))
            total, flagged = total + done, flagged + found
            print(
                f"{title:6} {name:46} {found:4} of {done:4} called misspecified, {advised:4} told to calibrate; {seconds:.3f} s",
                flush=True,
            )
        exact = scipy.stats.binomtest(flagged, total).proportion_ci()
        print(f"{title:6} in all {flagged} of {total} = {flagged / total:.1%} ({exact.low:.1%} to {exact.high:.1%})")


if __name__ == "__main__":
    main()
