"""Tail exponents: exact in one dimension, estimated in several, pinned by the edges of the second and the fourth moment."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import brentq

from gradnoise import theory
from gradnoise.testing import planted_defects

COLUMN = np.array([[0.4], [1.0], [1.7], [0.9], [1.3], [0.2]])
FAST = {"num_particles": 256, "num_steps": 80}


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_least_squares_tail_exponent_by_enumeration(sampling, size):
    """Every ordered batch, E|1 − η(X̄+ρ)|^κ = 1; repeated rows have their multiplicity."""
    rows = range(6)
    every = (
        itertools.product(rows, repeat=size) if sampling == "with_replacement" else itertools.permutations(rows, size)
    )
    means = (COLUMN[np.array(list(every)), 0] ** 2).mean(1)
    rate = 2.3 / means.max()
    factors = np.abs(1 - rate * (means + 0.1))
    right = brentq(lambda k: np.log(np.mean(factors**k)), 1e-2, 400)

    def check(found):
        assert found == pytest.approx(right, rel=1e-10)

    setting = {"learning_rate": rate, "batch_size": size, "sampling": sampling}
    exact = theory.least_squares_tail_exponent(COLUMN, ridge=0.1, **setting)
    assert exact.standard_error == 0
    curvature = means.mean() + 0.1
    planted_defects(
        check,
        exact.value,
        {
            "bulk exponent": 2 * size / (rate * curvature) - size,
            "ridge forgotten": theory.least_squares_tail_exponent(COLUMN, **setting).value,
        },
    )


@pytest.mark.parametrize("order", ["second_moment", "fourth_moment"])
def test_tail_exponent_at_the_edges(order):
    """κ = 2 and 4 where the second and the fourth moment diverge: two ways to the same edge."""
    X = np.random.default_rng(1).standard_normal((20, 3))
    for size in (1, 3):
        rate = getattr(theory.least_squares_edges(X, batch_size=size), order)
        found = theory.least_squares_tail_exponent(X, learning_rate=rate, batch_size=size, **FAST)
        wanted = {"second_moment": 2, "fourth_moment": 4}[order]
        assert found.value == pytest.approx(wanted, rel=0.06)
        assert 0 < found.standard_error < 0.1
    rate = getattr(theory.least_squares_edges(COLUMN, batch_size=2, sampling="without_replacement"), order)
    exact = theory.least_squares_tail_exponent(COLUMN, learning_rate=rate, batch_size=2, sampling="without_replacement")
    assert exact.value == pytest.approx(wanted, rel=1e-9)


def test_particles_agree_with_enumeration(monkeypatch):
    for sampling in ("with_replacement", "without_replacement"):
        setting = {"learning_rate": 1.1, "batch_size": 2, "sampling": sampling}
        exact = theory.least_squares_tail_exponent(COLUMN, **setting).value
        with monkeypatch.context() as patch:
            patch.setattr("gradnoise.theory.least_squares.tail_exponent._ENUMERATED", 0)
            estimate = theory.least_squares_tail_exponent(COLUMN, **setting, **FAST)
        assert estimate.value == pytest.approx(exact, rel=0.06)
        assert estimate.n == 16


def test_bounded_laws_and_laws_that_do_not_exist():
    X = np.random.default_rng(1).standard_normal((20, 3))
    safe = 1.99 / (X**2).sum(1).max()
    for rows, rate in ((X, safe), (COLUMN, 1.99 / 1.7**2)):
        assert theory.least_squares_tail_exponent(rows, learning_rate=rate, batch_size=1).value == math.inf
    for rows, rate in ((X, 50.0), (COLUMN, 50.0)):
        with pytest.raises(ValueError, match="almost-sure edge"):
            theory.least_squares_tail_exponent(rows, learning_rate=rate, batch_size=1, **FAST)
    with pytest.raises(ValueError, match="beyond 64"):
        theory.least_squares_tail_exponent(X, learning_rate=1.006 * safe, batch_size=1, **FAST)
