"""Problems drawn afresh, in both precisions and at scales from 1e-8 to 1e8: the right law, an honest verdict, or one clear refusal."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import gradnoise as gn
from gradnoise import infer
from gradnoise.mode import NotAMinimum

ROWS, BATCH = 96, 16  # one shape of data: one compiled program
CLOSE = 0.6  # of a variance at 400 draws, eight standard errors; and of a mean, in standard deviations
FEW = settings(max_examples=4, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=40)
ONE = settings(FEW, max_examples=1)


class Drawn(NamedTuple):
    """A problem, with the mean and the covariance of its posterior by NumPy and SciPy: exact where linear, else Laplace's."""

    problem: Any
    mean: Any
    covariance: Any
    nearly: bool  # whether that is an approximation


@st.composite
def problems(draw: Any, *, tied: bool = False) -> Drawn:
    """Linear and logistic regressions without an intercept; columns and target in any unit.

    `tied`: linear ones in single precision and logistic ones in double, two programs to compile instead of four.
    """
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    units = 10.0 ** np.array([draw(st.integers(-8, 8)), draw(st.integers(-8, 8))])
    dtype, away, linear = draw(
        st.tuples(st.sampled_from(["float32", "float64"]), st.sampled_from([0.0, 1.0, 30.0]), st.booleans())
    )
    if tied:
        dtype = "float32" if linear else "float64"
    plain = rng.standard_normal((ROWS, 2)) + away
    x = (plain * units).astype(dtype)
    full = x.astype(np.float64)
    slopes = np.array([0.5, -0.3]) / units
    if linear:
        scale = 10.0 ** draw(st.integers(-8, 8))
        y = (scale * (full @ slopes + rng.standard_normal(ROWS))).astype(dtype)
        problem = gn.models.linear_regression(x, y, np.inf, scale, intercept=False)
        scaled = full / units
        inverse = np.linalg.inv(scaled.T @ scaled)
        mean = inverse @ scaled.T @ y.astype(np.float64)
        return Drawn(problem, mean / units, scale**2 * inverse / np.outer(units, units), False)
    labels = (rng.random(ROWS) < 1 / (1 + np.exp(-(full @ slopes)))).astype(float)
    scaled = full / units
    start = scipy.optimize.minimize(_minus_log_likelihood, np.zeros(2), (scaled, labels), jac=True).x
    p = 1 / (1 + np.exp(-(scaled @ start)))
    inverse = np.linalg.inv((scaled * (p * (1 - p))[:, None]).T @ scaled)
    problem = gn.models.logistic_regression(x, labels, np.inf, intercept=False)
    return Drawn(problem, start / units, inverse / np.outer(units, units), True)


def _minus_log_likelihood(slopes: Any, x: Any, labels: Any) -> tuple[float, Any]:
    z = x @ slopes
    return float(np.logaddexp(0, z).sum() - labels @ z), x.T @ (1 / (1 + np.exp(-z)) - labels)


def refused(error: Exception) -> None:
    """A refusal comes from this library, names what is wrong, and is of a kind that it documents."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    assert "gradnoise" in Path(last).parts, f"{type(error).__name__} from {last}: {error}"
    assert isinstance(error, (ValueError, TypeError, NotAMinimum, gn.measure.NotConverged))
    assert len(str(error)) > 20


def hold(drawn: Drawn, sampler: str, **more: Any) -> None:
    """Run a sampler: draws that are finite, judged, and right where they are called trustworthy."""
    try:
        found = getattr(infer, sampler)(drawn.problem, num_draws=100, progress=False, **more)
    except Exception as error:
        refused(error)
        return
    assert found.draws.shape == (4, 100, 2)
    assert np.isfinite(found.draws).all()
    assert not any(reason.startswith("No verdict") for reason in found.verdict.reasons), found.verdict
    np.testing.assert_array_equal(found.covariance, found.covariance.T)
    if found.verdict.level == "trustworthy":
        root = np.linalg.cholesky(drawn.covariance / np.outer(*(np.sqrt(np.diag(drawn.covariance)),) * 2))
        flat = (np.asarray(found.draws, np.float64).reshape(-1, 2) - drawn.mean) / np.sqrt(np.diag(drawn.covariance))
        white = np.linalg.solve(root, flat.T)
        allowed = CLOSE + 0.2 * drawn.nearly
        assert np.abs(white.mean(1)).max() < allowed
        assert np.abs(np.linalg.eigvalsh(np.cov(white)) - 1).max() < allowed


@pytest.mark.parametrize("sampler", ["constant_sgd", "corrected_langevin"])
def test_samplers(sampler: str) -> None:
    """B1, requirement of the property test: four problems each."""

    @FEW
    @seed(1)
    @given(problems(tied=True))
    def run(drawn: Drawn) -> None:
        hold(drawn, sampler, batch_size=BATCH)

    run()


def test_sample() -> None:
    """B1: the one call, on one problem."""

    @ONE
    @seed(2)
    @given(problems(tied=True))
    def run(drawn: Drawn) -> None:
        hold(drawn, "sample", methods=["constant_sgd", "corrected_langevin"], batch_size=BATCH)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["constant_sgd", "corrected_langevin", "sample"])
def test_many_problems(sampler: str) -> None:
    """B1: forty problems each."""
    more: dict[str, Any] = {} if sampler == "sample" else {"batch_size": BATCH}

    @MANY
    @given(problems())
    def run(drawn: Drawn) -> None:
        hold(drawn, sampler, **more)

    run()


@pytest.mark.slow
def test_reports() -> None:
    """B1: the page of a problem at any scale is written whole, or one sentence says what is wrong."""

    @settings(FEW, max_examples=3)
    @given(problems())
    def run(drawn: Drawn) -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = gn.report(
                    drawn.problem, out=Path(folder) / "page", batch_size=BATCH, max_time=2, reference="laplace",
                    progress=False,
                )  # fmt: skip
            except Exception as error:
                refused(error)
                return
            assert (Path(folder) / "page" / "index.html").exists()
            assert made is not None

    run()
