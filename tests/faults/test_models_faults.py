"""Faults that people meet in models, modes, laws and predictions; each right value is computed here, without the library.

A fault is a kind: what fails in one place is asked of its neighbours too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optax
import pandas as pd
import polars as pl
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import scipy.stats

import gradnoise as gn
from gradnoise import derivatives, find_mode, measure, models
from gradnoise.infer import Posterior, Verdict
from gradnoise.mode import NotAMinimum
from gradnoise.models import likelihoods, residual_scale

R = np.random.default_rng(0)
X = R.normal(size=(60, 2))
Y = X @ [1.0, -0.5] + R.normal(size=60)
BINARY = (R.random(60) < 0.5).astype(float)
COUNTS = R.poisson(2.0, 60)


# --- what the model was fitted with, in prediction


def drawn(problem: gn.Problem, size: int = 40) -> Posterior:
    draws = 0.3 * np.random.default_rng(1).normal(size=(2, size, problem.num_params))
    verdict = Verdict("trustworthy", (), {})
    return Posterior("by hand", draws, problem.parameter_names, None, None, 40.0, verdict, problem=problem)


def poisson_scores(made: Posterior, x: Any, y: Any, offset: Any) -> Any:
    """Log of the Poisson density averaged over the draws, for each row (NumPy and SciPy alone)."""
    theta = made.draws.reshape(-1, made.draws.shape[-1])
    rate = np.exp(theta @ np.c_[x, np.ones(len(x))].T + offset)
    return scipy.special.logsumexp(scipy.stats.poisson.logpmf(y, rate), axis=0) - math.log(len(theta))


def test_exposure_of_new_data() -> None:
    """A Poisson model with an offset: the exposure of new rows is an argument, and it is asked for."""
    r = np.random.default_rng(1)
    days, place = np.r_[np.ones(30), np.full(4, 7.0)], np.r_[np.zeros(30), np.ones(4)]
    counts = r.poisson(np.where(place == 1, 0.5, 1.5) * days)
    made = gn.infer.laplace(models.poisson_regression(place[:, None], counts, 2.5, offset=np.log(days)))
    new, y = np.ones((20, 1)), r.poisson(3.5, 20)
    right = poisson_scores(made, new, y, math.log(7))
    for offset in (math.log(7), np.full(20, math.log(7))):
        found = made.log_predictive(new, y, offset=offset)
        np.testing.assert_allclose(found.pointwise.value, right, rtol=1e-10)
        np.testing.assert_allclose(found.total.value, right.sum(), rtol=1e-10)
    assert -48 < right.sum() < -45  # at exposure 1 it would be -146
    offset = np.log(np.arange(1.0, 21))
    law = made.predictive(new, offset=offset)
    theta = made.draws.reshape(-1, 2)
    np.testing.assert_allclose(law.mean.value, np.exp(theta.sum(1)[:, None] + offset).mean(0), rtol=1e-10)
    np.testing.assert_allclose(law.responses.mean((0, 1)), law.mean.value, rtol=0.15)
    for call in (lambda: made.predictive(new), lambda: made.log_predictive(new, y)):
        with pytest.raises(ValueError, match=r"^offset must be given: the model was built with offset"):
            call()


def test_an_offset_that_the_model_does_not_have() -> None:
    """Its siblings: models without an offset, problems of one's own, lengths, raw exposures, data that hold it already."""
    problems = {
        "linear": models.linear_regression(X, Y, observation_scale=1.0), "logistic": models.logistic_regression(X, BINARY),
        "softmax": models.softmax_regression(X, BINARY), "poisson": models.poisson_regression(X, COUNTS),
        "robust": models.robust_linear_regression(X, Y), "network": models.mlp(X, BINARY, widths=(2,)),
    }  # fmt: skip
    for problem in problems.values():
        with pytest.raises(ValueError, match="offset must be None: the model was built without offset"):
            drawn(problem, 4).predictive(X[:3], offset=np.zeros(3))
    with pytest.raises(ValueError, match="weights must be None: the model was built without weights"):
        drawn(problems["linear"], 4).log_predictive(X[:3], Y[:3], weights=np.ones(3))
    made = drawn(models.poisson_regression(X, COUNTS, offset=np.zeros(60)), 4)
    for bad, words in (
        (np.zeros(2), r"offset must have one number a row, shape \(3,\)"),
        (np.full(3, 800.0), "offset must be the log of an exposure"),
        (np.array([np.nan, 0, 0]), "offset must be finite"),
        (np.ma.masked_array(np.zeros(3), [0, 1, 0]), "offset must not hide entries, but 1 of 3 are masked"),
    ):
        with pytest.raises(ValueError, match=words):
            made.predictive(X[:3], offset=bad)
    whole = {"inputs": np.c_[X[:3], np.ones(3)], "targets": np.ones(3), "offset": np.zeros(3)}
    with pytest.raises(ValueError, match="offset must be left out without targets"):
        made.log_predictive(whole, offset=1.0)


def test_a_loaded_posterior_asks_for_the_exposure_too(tmp_path: Any) -> None:
    problem = models.poisson_regression(X, COUNTS, offset=np.full(60, 0.5))
    made = drawn(problem)
    back = gn.infer.load(made.save(tmp_path / "draws.nc"), problem)
    for posterior in (made, back):
        right = poisson_scores(posterior, X[:5], COUNTS[:5], 1.5)
        found = posterior.log_predictive(X[:5], COUNTS[:5], offset=1.5)
        np.testing.assert_allclose(found.pointwise.value, right, rtol=1e-10)
    with pytest.raises(ValueError, match="offset must be given"):
        back.predictive(X[:5])


@pytest.mark.parametrize("by_hand", [False, True])
def test_weights_of_held_out_rows_are_rows(by_hand: bool) -> None:
    """A weight of w stands for w rows, in the score as in the fit."""
    weights = np.array([1.0, 3.0, 2.0, 0.0])
    x, y, rows = X[:4], COUNTS[:4], np.repeat(np.arange(4), [1, 3, 2, 0])
    made = drawn(models.poisson_regression(X, COUNTS, weights=np.ones(60)))
    plain = drawn(models.poisson_regression(X, COUNTS))
    if by_hand:
        found = made.log_predictive({"inputs": np.c_[x, np.ones(4)], "targets": y * 1.0, "weight": weights})
    else:
        found = made.log_predictive(x, y, weights=weights)
    repeated = plain.log_predictive(x[rows], y[rows])
    np.testing.assert_allclose(found.pointwise.value[rows], repeated.pointwise.value, rtol=1e-12)
    for kind in ("total", "mean"):
        ours, theirs = getattr(found, kind), getattr(repeated, kind)
        np.testing.assert_allclose((ours.value, ours.standard_error), (theirs.value, theirs.standard_error), rtol=1e-9)
    assert found.mean.n == 6


def test_a_last_column_is_the_intercept_only_if_it_is_ones() -> None:
    """D + 1 columns: the last was taken for the intercept's, whatever it held."""
    made = drawn(models.logistic_regression(X, BINARY))
    np.testing.assert_array_equal(made.predictive(np.c_[X, np.ones(60)]).predictions, made.predictive(X).predictions)
    for last in (np.full(60, 50.0), np.r_[np.ones(59), 0.0]):
        with pytest.raises(
            ValueError, match=r"inputs must have 2 columns, or 3 of which the last, the intercept's, is all 1"
        ):
            made.predictive(np.c_[X, last])
    with pytest.raises(ValueError, match="data must have 2 columns, or 3"):
        made.log_predictive(np.c_[X, np.zeros(60)], BINARY)


def test_predictions_keep_the_digits_of_the_data() -> None:
    """Draws of 2459000 ± 1e-4 predicted in float32 would be the same number."""
    problem = models.linear_regression(X, 2459000 + 1e-3 * Y, np.inf, 1e-3)
    made = gn.infer.laplace(problem, num_draws=200)
    theta, found = made.draws.reshape(-1, 3), made.predictive(X[:4])
    right = theta.astype(float) @ np.c_[X[:4], np.ones(4)].T
    np.testing.assert_allclose(found.sd, right.std(0), rtol=1e-4)
    np.testing.assert_allclose(found.response_sd, np.sqrt(right.var(0) + 1e-6), rtol=0.1)


# --- digits


def least_squares(x: Any, y: Any) -> tuple[Any, float]:
    """Coefficients and residual sd of a line, by centring: what float64 can do."""
    xc, yc = x - x.mean(0), y - y.mean()
    slope = np.linalg.lstsq(xc, yc)[0]
    rest = yc - xc @ slope
    return np.append(slope, y.mean() - x.mean(0) @ slope), float(np.sqrt(rest @ rest / (len(y) - x.shape[1] - 1)))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.float32, np.float64])
def test_times_of_transits(kind: Any) -> None:
    """y of nine digits beside whole numbers or float32: y is kept, and a line is no exact fit."""
    r, k = np.random.default_rng(2), np.arange(400)
    times = 2459000.123 + 3.52474859 * k + 4e-4 * r.normal(size=400)
    problem = models.linear_regression(k[:, None].astype(kind), times, np.inf)
    theta, scale = least_squares(k[:, None].astype(float), times)
    np.testing.assert_allclose(problem.hyperparams["observation_scale"], scale, rtol=1e-6)
    np.testing.assert_array_equal(problem.data["targets"], times)
    found = find_mode(problem)
    sd = scale / np.sqrt(((k - k.mean()) ** 2).sum())
    assert abs(found.vector[0] - theta[0]) < 1e-3 * sd
    assert abs(found.vector[1] + found.vector[0] * k.mean() - times.mean()) < 1e-3 * scale / 20
    np.testing.assert_array_equal(found.params, found.vector)  # nor are params rounded


def test_the_robust_fit_keeps_digits_too() -> None:
    r, k = np.random.default_rng(2), np.arange(400)
    near = 3.52474859 * k + 4e-4 * r.normal(size=400)
    far = models.robust_linear_regression(k[:, None], 2459000.0 + near, 0.5, np.inf)
    plain = models.robust_linear_regression(k[:, None], near, 0.5, np.inf)
    scale = plain.hyperparams["observation_scale"]
    np.testing.assert_allclose(far.hyperparams["observation_scale"], scale, rtol=1e-3)
    assert abs(find_mode(far).vector[0] - find_mode(plain).vector[0]) < 0.01 * scale / np.sqrt(400) / k.std()


def test_y_is_rounded_only_where_that_is_nothing() -> None:
    """Beside float32 X: to 1e-3 of the scale y may be float32; counts and weights only if exact; nothing is cast without a word."""
    low = X.astype(np.float32)
    assert models.linear_regression(low, Y).data["targets"].dtype == np.float32
    near = low.astype(float) @ [1.0, 2.0] + 1e-7 * R.normal(size=60)  # float32 would round it by as much
    for problem in (
        models.linear_regression(low, near, np.inf),
        models.robust_linear_regression(low, near, observation_scale=1e-7),
    ):
        np.testing.assert_array_equal(problem.data["targets"], near)
    right = least_squares(low.astype(float), near)[1]
    assert math.isclose(
        models.linear_regression(low, near, np.inf).hyperparams["observation_scale"], right, rel_tol=1e-6
    )
    odd = models.poisson_regression(low, COUNTS + 2**24, weights=np.full(60, 0.1), offset=np.full(60, 0.1))
    np.testing.assert_array_equal(odd.data["targets"], COUNTS + 2**24)
    assert odd.data["weight"].dtype == odd.data["offset"].dtype == np.float64
    net = models.mlp(low, 1e6 + 1e-2 * Y, likelihood="linear", observation_scale=1e-2)
    np.testing.assert_array_equal(net.data["targets"], 1e6 + 1e-2 * Y)


def test_whole_numbers_stay_exact() -> None:
    large = 2**24 + np.arange(60)
    problem = models.linear_regression(large[:, None], Y)
    np.testing.assert_array_equal(problem.data["inputs"][:, 0], large)
    assert models.linear_regression(np.arange(60)[:, None], Y).data["inputs"].dtype == np.float32  # exact there
    for name, call in (
        ("X", lambda: models.linear_regression((2**53 + 1 + large)[:, None], Y)),
        ("y", lambda: models.poisson_regression(X, 2**53 + 1 + large)),
    ):
        with pytest.raises(ValueError, match=rf"{name} must hold whole numbers up to 2\*\*53"):
            call()


@pytest.mark.parametrize("origin", [0.0, 1e6, -1e9, 1e12])
@pytest.mark.parametrize("prior", [np.inf, 1e13])
def test_the_residual_scale_does_not_depend_on_the_origin(origin: float, prior: float) -> None:
    """Exactly is judged about the mean of y; columns far from 0 too."""
    x = 1e5 + X
    y = np.round(origin + Y, 4 if abs(origin) < 1e10 else 3)
    right = least_squares(x, y)[1]
    found = models.linear_regression(x, y, prior).hyperparams["observation_scale"]
    np.testing.assert_allclose(found, right, rtol=2e-4 if abs(origin) > 1e10 else 1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("origin", [0.0, 1e6])
def test_an_exact_fit_is_still_refused(dtype: Any, origin: float) -> None:
    x = R.integers(-9, 9, (60, 2)).astype(dtype)
    for y in (origin + x @ np.array([1, 2], dtype), (origin + x @ np.array([0.1, 0.7], dtype)).astype(dtype)):
        with pytest.raises(ValueError, match=r"observation_scale must be given.*fits y exactly"):
            models.linear_regression(x, y, np.inf)


def test_a_polynomial_of_degree_ten_has_a_residual_scale() -> None:
    """It "did not settle in 1000 iterations". The flat value by orthogonal polynomials; the other where the evidence is largest."""
    x, r = np.linspace(0, 10, 100), np.random.default_rng(3)
    powers, y = x[:, None] ** np.arange(1, 11), np.sin(x) + 0.1 * r.normal(size=100)
    smooth = np.polynomial.chebyshev.chebvander((x - 5) / 5, 10)
    rest = y - smooth @ np.linalg.lstsq(smooth, y)[0]
    flat = models.linear_regression(powers, y, np.inf).hyperparams["observation_scale"]
    np.testing.assert_allclose(flat, np.sqrt(rest @ rest / 89), rtol=1e-6)
    scale = models.linear_regression(powers, y, 1.0).hyperparams["observation_scale"]

    def evidence(s: float) -> float:
        """By the eigenvalues of XXᵀ: log N(y; 0, s² + XXᵀ)."""
        u, values, _ = np.linalg.svd(np.c_[powers, np.ones(100)], full_matrices=False)
        along, inside = u.T @ y, s**2 + values**2
        outside = float(y @ y - along @ along)
        return float(-np.log(inside).sum() - 89 * math.log(s**2) - along**2 @ (1 / inside) - outside / s**2) / 2

    slope = (evidence(scale * 1.001) - evidence(scale / 1.001)) / 0.002
    curvature = evidence(scale * 1.01) + evidence(scale / 1.01) - 2 * evidence(scale)
    assert abs(slope) < 0.05 * abs(curvature) / 0.01**2 * 0.01
    assert curvature < 0


@pytest.mark.parametrize(("origin", "scale"), [(2459000.0, 4e-4), (1e6, 1e-3), (1e9, 0.1), (1e12, 100.0), (0.0, 1e-12)])
def test_rounding_is_no_kink(origin: float, scale: float) -> None:
    """A line far from 0, of little noise: the mode is certified as well as float64 holds it, and its law is right."""
    y = origin + 3 * X[:, 0] + scale * R.normal(size=60)
    problem = models.linear_regression(X, y, np.inf, scale)
    found = find_mode(problem)
    theta, _ = least_squares(X, y)
    covariance = scale**2 * np.linalg.inv(np.c_[X, np.ones(60)].T @ np.c_[X, np.ones(60)])
    resolution = 1e-3 + 8 * np.finfo(float).eps * np.abs(y).max() / scale * np.sqrt(60)
    off = (found.vector - theta) / np.sqrt(np.diag(covariance))
    assert np.abs(off).max() < resolution
    law = measure.gaussian_law(problem, found)
    np.testing.assert_allclose(law.covariance, covariance, rtol=1e-6, atol=1e-9 * covariance.max())


def test_a_kink_between_two_close_slopes_is_still_told() -> None:
    """The bound of rounding does not hide a real jump, however large the numbers beside it."""

    def log_likelihood(theta: Any, example: Any) -> Any:
        return -0.5 * (example["y"] - theta[0]) ** 2 - 1e8 * (theta[1] - 1e3) ** 2

    def log_prior(theta: Any) -> Any:
        import jax.numpy as jnp

        return -10.0 * jnp.abs(theta[0] - 0.3)

    problem = gn.Problem(
        log_likelihood, {"y": 0.3 + 0.01 * R.normal(size=40)}, np.zeros(2), log_prior, names=("a", "b")
    )
    with pytest.raises(RuntimeError, match=r"it jumps: from \S+ to \S+ along a = 0\.3"):
        find_mode(problem)


# --- no minimum


def recession(x: Any, labels: Any, classes: int, direction: Any) -> None:
    """Check that no row's own class loses against another along a direction (D, K), and that some row gains: the loss falls for ever."""
    z = np.c_[x, np.ones(len(x))] @ direction
    gain = z[np.arange(len(x)), labels][:, None] - z
    size = np.abs(z).max()
    assert gain.min() > -0.02 * size
    assert gain.max() > 0.1 * size


def leading(message: str, names: tuple[str, ...]) -> Any:
    """The direction that a message names, as a vector (D,)."""
    out = np.zeros(len(names))
    for word in message.split():
        size, dot, name = word.partition("·")
        if dot:
            out[names.index(name.rstrip(".:,"))] = float(size)
    return out


THREE = (np.repeat([-4.0, 0.0, 4.0], 30) + 0.5 * np.random.default_rng(0).normal(size=90))[:, None]
LEVELS = np.repeat([0, 1, 2], 20)
DUMMIES = np.c_[LEVELS == 1, LEVELS == 2].astype(float)


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_separable_classes_of_softmax(shift: float) -> None:
    """Rounding was read as a kink of a smooth loss; far from 0 as well."""
    labels = np.repeat([0, 1, 2], 30)
    problem = models.softmax_regression(THREE + shift, labels, np.inf)
    with pytest.raises(NotAMinimum, match=r"no minimum: it keeps falling .*separable.*finite prior_scale"):
        find_mode(problem)
    assert find_mode(models.softmax_regression(THREE, labels, 10.0)).smallest_eigenvalue > 0


@pytest.mark.parametrize(
    ("case", "named"),
    [("iris", r"·x\d:0"), ("one level is one class", r"·x1:2"), ("a class without rows", r"-0\.82·intercept:2"),
     ("a level without counts", r"along -1\.00·x1\."), ("no counts", r"-\d\.\d\d·intercept"), ("one label", r"\+\d\.\d\d·intercept")],
)  # fmt: skip
def test_parameters_that_run_away_are_named(case: str, named: str) -> None:
    r = np.random.default_rng(4)
    if case == "iris":
        from sklearn.datasets import load_iris

        problem = models.softmax_regression(*load_iris(return_X_y=True), np.inf)
    else:
        problem = {
            "one level is one class": lambda: models.softmax_regression(DUMMIES, np.where(LEVELS == 2, 2, r.integers(0, 2, 60)), np.inf),
            "a class without rows": lambda: models.softmax_regression(X, BINARY, np.inf, num_classes=3),
            "a level without counts": lambda: models.poisson_regression(DUMMIES, r.poisson(3.0, 60) * (LEVELS != 2), np.inf),
            "no counts": lambda: models.poisson_regression(X, 0 * COUNTS, np.inf),
            "one label": lambda: models.logistic_regression(X, np.ones(60), np.inf),
        }[case]()  # fmt: skip
    with pytest.raises(NotAMinimum, match=rf"keeps falling .*{named}.*give a finite prior_scale"):
        find_mode(problem)


def test_a_network_without_a_prior_has_no_mode() -> None:
    problem = models.mlp(X, (X[:, 0] > 0).astype(int), widths=(2,), prior_scale=np.inf)
    with pytest.raises(NotAMinimum, match="give a finite prior_scale"):
        find_mode(problem)


@pytest.mark.parametrize("units", [1.0, 1e4])
def test_a_null_space_is_named_by_what_spans_it(units: float) -> None:
    """Softmax without a prior: one vector added to all classes changes nothing, D + 1 directions; every parameter has a third in them.

    Which vector of the space comes back is a matter of rounding, the projector is not.
    """
    labels = np.arange(90) % 3
    x = np.random.default_rng(5).normal(size=(90, 2)) * [units, 1.0]
    problem = models.softmax_regression(x, labels, np.inf)
    with pytest.raises(NotAMinimum, match=r"flat .* a space of 3 directions") as found:
        find_mode(problem)
    share = leading(str(found.value), problem.parameter_names)
    hessian = derivatives.hessian(problem, find_mode_of_contrasts(x, labels))
    unit = np.sqrt(np.diag(hessian))
    gauge = np.kron(np.eye(3), np.ones((3, 1))) * unit[:, None]  # names run x0:0 x0:1 x0:2 x1:0 …
    basis = np.linalg.qr(gauge)[0]
    np.testing.assert_allclose(share, (basis**2).sum(1), atol=0.011)


def find_mode_of_contrasts(x: Any, labels: Any) -> Any:
    """Maximum likelihood of softmax by SciPy's BFGS."""
    wide, one_hot = np.c_[x / np.abs(x).max(0), np.ones(len(x))], np.eye(3)[labels]

    def loss(theta: Any) -> tuple[float, Any]:
        z = wide @ theta.reshape(3, 3)
        p = scipy.special.softmax(z, 1)
        return -float((one_hot * np.log(p)).sum()), (wide.T @ (p - one_hot)).ravel()

    theta = scipy.optimize.minimize(loss, np.zeros(9), jac=True, tol=1e-10).x.reshape(3, 3)
    return (theta / np.append(np.abs(x).max(0), 1.0)[:, None]).ravel()


# --- inputs that are read as something else


DAYS = pd.date_range("2020-01-01", periods=60)
MASKED = np.ma.masked_array(np.where(X > 1.5, 1e3, X), mask=X > 1.5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: models.linear_regression(MASKED, Y), ValueError, "X must not hide entries, but"),
        (lambda: models.linear_regression(X, np.ma.masked_array(Y, Y > 1)), ValueError, "y must not hide entries"),
        (lambda: models.softmax_regression(X, np.ma.masked_array(BINARY, BINARY > 0)), ValueError, "y must not hide entries"),
        (lambda: models.linear_regression(X, Y, weights=np.ma.masked_array(np.ones(60), Y > 1)), ValueError, "weights must not hide"),
        (lambda: models.poisson_regression(X, COUNTS, offset=np.ma.masked_array(np.ones(60), Y > 1)), ValueError, "offset must not hide"),
        (lambda: models.mlp(MASKED, BINARY), ValueError, "X must not hide entries"),
        (lambda: gn.Problem(lambda p, e: -(e["x"] - p[0]) ** 2, {"x": MASKED[:, 0]}, np.zeros(1)), ValueError, r"data\['x'\] must not hide"),
        (lambda: models.linear_regression(pl.DataFrame({"day": pl.Series(DAYS.to_numpy()).cast(pl.Date), "x": X[:, 0]}), Y), TypeError,
         r"X must hold numbers, got dates or times in 'day' \(Date\)"),
        (lambda: models.linear_regression(pl.DataFrame({"at": DAYS.to_numpy()}), Y), TypeError, "dates or times in 'at'"),
        (lambda: models.linear_regression(pl.DataFrame({"for": (DAYS - DAYS[0]).to_numpy()}), Y), TypeError, "dates or times in 'for'"),
        (lambda: models.linear_regression(pd.DataFrame({"day": DAYS, "x": X[:, 0]}), Y), TypeError, "dates or times in 'day'"),
        (lambda: models.linear_regression(DAYS.to_numpy()[:, None], Y), TypeError, "X must hold numbers, got dates or times"),
        (lambda: models.linear_regression(X, pd.Series(DAYS)), TypeError, "y must hold numbers, got dates or times"),
        (lambda: models.linear_regression(pd.DataFrame({"g": pd.Categorical(BINARY.astype(int))}), Y), TypeError, "categories in 'g'"),
        (lambda: models.linear_regression(scipy.sparse.csr_matrix(X), Y), TypeError, r"X must be a dense array.*Give X\.toarray\(\)"),
        (lambda: models.linear_regression(X.astype(object), Y), TypeError, "X must hold numbers, got dtype object"),
        (lambda: models.linear_regression([["a", "b"]] * 60, Y), TypeError, "X must hold numbers, got dtype <U1"),
        (lambda: models.linear_regression(X.astype(np.longdouble), Y), TypeError, r"X must be float32 or float64.*X\.astype\(np\.float64\)"),
        (lambda: models.linear_regression(X, Y.astype(np.longdouble)), TypeError, "y must be float32 or float64"),
        (lambda: gn.Problem(lambda p, e: -(e["x"] - p[0]) ** 2, {"x": Y.astype(np.longdouble)}, np.zeros(1)), TypeError, "must be float32 or"),
        (lambda: models.linear_regression(X, Y, weights=np.full(60, 1e300)), ValueError, "weights must"),
        (lambda: models.linear_regression(X, Y, weights=np.full(60, 1e31)), ValueError, "weights must have a largest between"),
        (lambda: models.linear_regression(X, Y, observation_scale=1e-150), ValueError, "observation_scale must lie between"),
        (lambda: models.robust_linear_regression(X, Y, observation_scale=1e150), ValueError, "observation_scale must lie between"),
        (lambda: models.mlp(X, Y, likelihood="linear", observation_scale=1e-150), ValueError, "observation_scale must lie between"),
        (lambda: models.linear_regression(X, Y, prior_scale=1e-200), ValueError, "prior_scale must lie between"),
        (lambda: models.linear_regression(X, Y, prior_scale=1e200), ValueError, r"prior_scale must lie.* A flat prior is inf\."),
        (lambda: models.logistic_regression(X, BINARY, intercept_prior_scale=1e-200), ValueError, "intercept_prior_scale must lie"),
        (lambda: models.linear_regression(X * 1e200, Y), ValueError, r"X must hold numbers up to 1e\+50 in size"),
        (lambda: models.poisson_regression(X, COUNTS, offset=np.full(60, 1500.0)), ValueError, r"offset must be the log.*offset=np\.log\(exposure\)"),
        (lambda: models.poisson_regression(X, COUNTS, offset=np.arange(60.0)), ValueError, r"offset must be the log of an exposure, got 0 to 59"),
        (lambda: models.poisson_regression(X, COUNTS + 0.25), ValueError, r"y must hold counts.*A rate is a count over an exposure.*offset="),
        (lambda: models.logistic_regression(X, BINARY / 2), ValueError, r"Proportions of n trials are two rows each: y = 1 with the successes as weight"),
        (lambda: gn.rule(optax.sgd, learning_rate=np.array([0.1, 0.2])), TypeError, r"learning_rate must be a number or a schedule.*preconditioned_sgd"),
        (lambda: gn.rule(optax.adam, learning_rate=[0.1]), TypeError, "learning_rate must be a number or a schedule"),
    ],
)  # fmt: skip
def test_what_would_be_read_as_something_else_is_refused(make: Any, error: type[Exception], words: str) -> None:
    """Masks, dates, categories, sparse and wide numbers, raw exposures, proportions, and sizes beyond float range."""
    with pytest.raises(error, match=words):
        make()


def test_new_inputs_are_refused_alike() -> None:
    made = drawn(models.linear_regression(X, Y, observation_scale=1.0), 4)
    for bad, error, words in (
        (MASKED[:5] * 0 + np.ma.masked_array(X[:5], X[:5] == X[0, 0]), ValueError, "inputs must not hide entries"),
        (scipy.sparse.csr_matrix(X), TypeError, "inputs must be a dense array"),
        (
            pl.DataFrame({"a": DAYS.to_numpy(), "b": X[:, 0]}),
            TypeError,
            "inputs must hold numbers, got dates or times in 'a'",
        ),
        (np.c_[DAYS.to_numpy(), DAYS.to_numpy()], TypeError, "inputs must hold numbers, got dates or times"),
    ):
        with pytest.raises(error, match=words):
            made.predictive(bad)


def test_what_is_harmless_is_still_taken() -> None:
    """Truth values, half precision (widened exactly), masks that hide nothing, Python lists."""
    exact = find_mode(models.linear_regression(X, Y, observation_scale=1.0)).vector
    for x in (X.tolist(), np.ma.masked_array(X, False)):
        np.testing.assert_array_equal(find_mode(models.linear_regression(x, Y, observation_scale=1.0)).vector, exact)
    assert models.linear_regression(X.astype(np.float16), Y).data["inputs"].dtype == np.float32
    assert models.linear_regression(X > 0, Y).data["inputs"].dtype == np.float32


# --- columns of any scale


def newton(x: Any, y: Any) -> tuple[Any, Any]:
    """Logistic maximum likelihood and N·H by Newton's steps, in columns scaled to unit size."""
    size = np.sqrt((x**2).mean(0))
    wide, theta = x / size, np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-wide @ theta))
        curvature = wide.T @ (wide * (p * (1 - p))[:, None])
        theta = theta + np.linalg.solve(curvature, wide.T @ (y - p))
    return theta / size, np.linalg.inv(curvature) / np.outer(size, size)


@pytest.mark.parametrize("seed", [0, 2])
def test_columns_of_sizes_from_1e_minus_4_to_1e4(seed: int) -> None:
    """The smallest eigenvalue of the Hessian was below 0 by the rounding of the largest, and the law refused its own mode."""
    r = np.random.default_rng(seed)
    x, y = r.normal(size=(500, 4)) * [1, 1e-4, 1e4, 1], (r.random(500) < 0.5).astype(float)
    problem = models.logistic_regression(x, y, np.inf)
    found = find_mode(problem)
    theta, covariance = newton(np.c_[x, np.ones(500)], y)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((found.vector - theta) / sd, 0, atol=1e-6)
    np.testing.assert_allclose(found.smallest_eigenvalue, 1 / (500 * np.linalg.eigvalsh(covariance)[-1]), rtol=1e-6)
    law = measure.gaussian_law(problem, found, at="laplace")
    np.testing.assert_allclose(law.covariance / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=1e-6)
    units = np.array([1, 1e-4, 1e4, 1, 1])
    even = models.logistic_regression(x / units[:4], y, np.inf)
    same = measure.gaussian_law(even, found.vector * units)
    varied = measure.gaussian_law(problem, found)
    np.testing.assert_allclose(varied.mean * units, same.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(varied.whitened_noise_drift, same.whitened_noise_drift, rtol=1e-5)


def test_a_year_beside_an_intercept() -> None:
    """Far from 0, collinear with the intercept to 1e-10: law and Laplace are right, and a chain names the columns and the way out."""
    r = np.random.default_rng(7)
    x, y = np.c_[r.integers(1990, 2021, 300), 1e5 + r.uniform(-1, 1, 300)].astype(float), R.normal(size=300)
    problem = models.linear_regression(x, y, np.inf, 1.0)
    found = find_mode(problem)
    centred = x - x.mean(0)
    slopes = np.linalg.inv(centred.T @ centred)
    np.testing.assert_allclose((found.vector[:2] - slopes @ centred.T @ y) / np.sqrt(np.diag(slopes)), 0, atol=1e-4)
    law = measure.gaussian_law(problem, found)
    np.testing.assert_allclose(law.covariance[:2, :2], slopes, rtol=1e-4, atol=1e-8)
    for method in ("constant_sgd", "corrected_langevin", "langevin"):
        with pytest.raises(
            gn.infer.Refused, match=r"columns badly scaled or collinear: use datasets\.standardise.*'x1', 'intercept'"
        ):
            gn.infer.plan(method, problem, batch_size=32)
    assert gn.infer.gaussian(problem, num_draws=10).verdict.level == "trustworthy"


def test_a_law_at_no_mode_or_without_curvature() -> None:
    """One error each: a point that is no mode, and columns that float64 cannot tell apart."""
    double = models.logistic_regression(np.c_[X, X[:, 0]], BINARY, np.inf)
    with pytest.raises(
        ValueError, match=r"columns badly scaled or collinear: use datasets\.standardise, or drop one of 'x0', 'x2'"
    ):
        measure.gaussian_law(double, np.zeros(4))

    def wells(theta: Any, example: Any) -> Any:
        return example * theta @ theta

    with pytest.raises(ValueError, match=r"params must be a mode, .* eigenvalue <= 0: -1.*find_mode"):
        measure.gaussian_law(gn.Problem(wells, np.ones(5), np.zeros(2)), np.zeros(2))


def test_residual_scale_agrees_with_itself_in_any_units() -> None:
    """Units of columns, weights as rows, and a prior of its own for the intercept."""
    tau, weights = np.array([1.0, 4.0, 0.25]), R.integers(0, 4, 60).astype(float)
    wide, rows = np.c_[X, np.ones(60)], np.repeat(np.arange(60), weights.astype(int))
    found = residual_scale(wide, Y, tau, weights)
    np.testing.assert_allclose(found, residual_scale(wide[rows], Y[rows], tau), rtol=1e-12)
    units = np.array([1e6, 1e-6, 1.0])
    np.testing.assert_allclose(residual_scale(wide * units, Y, tau / units**-2 * 1.0, weights), found, rtol=1e-9)


def test_offsets_and_inputs_may_come_together() -> None:
    """`predict` and `sample` of the model itself: an array is exposure 1, a mapping has its own."""
    problem = models.poisson_regression(X, COUNTS, offset=np.zeros(60))
    theta = np.array([0.1, 0.2, 0.3])
    plain = likelihoods.poisson_predict(theta, X, problem.hyperparams)
    doubled = likelihoods.poisson_predict(theta, {"inputs": X, "offset": np.full(60, math.log(2))}, problem.hyperparams)
    np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-6)
