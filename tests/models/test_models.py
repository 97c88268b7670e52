"""Ready-made problems: densities against SciPy, modes against scikit-learn, invariances, and clear errors."""

from __future__ import annotations

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from gradnoise import derivatives, find_mode, models
from gradnoise.models import likelihoods

R = np.random.default_rng(5)
N = 60
X = R.normal(size=(N, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, 0.0]
Z = X @ [0.5, -0.4, 0.8] + 0.3
Y = {
    "linear": Z + 0.7 * R.normal(size=N),
    "logistic": (R.random(N) < 1 / (1 + np.exp(-Z))).astype(float),
    "softmax": np.argmax(np.outer(Z, [0, 1, -1]) + R.gumbel(size=(N, 3)), 1),
    "poisson": R.poisson(np.exp(Z)).astype(float),
}
BUILD = {
    "linear": lambda X, y, **o: models.linear_regression(X, y, observation_scale=0.6, **o),
    "logistic": models.logistic_regression,
    "softmax": models.softmax_regression,
    "poisson": models.poisson_regression,
}
KINDS = list(BUILD)
THETA = {k: np.linspace(-0.5, 0.4, 12 if k == "softmax" else 4) for k in KINDS}


def total(problem, theta):
    """The negative log joint U = N·L."""
    return problem.num_examples * derivatives.loss(problem, theta)


def log_density(kind, z, y):
    if kind == "linear":
        return scipy.stats.norm.logpdf(y, z, 0.6)
    if kind == "logistic":
        return scipy.stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-z)))
    if kind == "softmax":
        p = scipy.special.softmax(z, -1)
        return scipy.stats.multinomial.logpmf(np.eye(3)[y], 1, p)
    return scipy.stats.poisson.logpmf(y, np.exp(z))


@pytest.mark.parametrize("kind", KINDS)
def test_density_has_its_constants(kind):
    problem = BUILD[kind](X, Y[kind], prior_scale=0.8, intercept_prior_scale=3.0)
    theta = THETA[kind].reshape(problem.init.shape)
    scale = np.array([0.8, 0.8, 0.8, 3.0]).reshape([4] + [1] * (theta.ndim - 1))
    joint = (
        log_density(kind, np.c_[X, np.ones(N)] @ theta, Y[kind]).sum() + scipy.stats.norm.logpdf(theta, 0, scale).sum()
    )
    np.testing.assert_allclose(-total(problem, theta.ravel()), joint, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_prior_adds_nothing(kind):
    problem = BUILD[kind](X, Y[kind], prior_scale=np.inf)
    theta = THETA[kind].reshape(problem.init.shape)
    joint = log_density(kind, np.c_[X, np.ones(N)] @ theta, Y[kind]).sum()
    np.testing.assert_allclose(-total(problem, theta.ravel()), joint, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_one_are_no_weights_and_weights_of_two_are_two_rows(kind):
    theta, w = THETA[kind], np.where(np.arange(N) % 3 == 0, 2.0, 1.0)
    plain, ones = BUILD[kind](X, Y[kind]), BUILD[kind](X, Y[kind], weights=np.ones(N))
    assert total(plain, theta) == total(ones, theta)
    rows = np.repeat(np.arange(N), w.astype(int))
    weighted, repeated = BUILD[kind](X, Y[kind], weights=w), BUILD[kind](X[rows], Y[kind][rows])
    assert weighted.num_examples == N
    np.testing.assert_allclose(total(weighted, theta), total(repeated, theta), rtol=1e-13)
    assert abs(total(weighted, theta) - total(plain, theta)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_rows_and_units_of_columns_do_not_matter(kind):
    theta, order, unit = THETA[kind], np.random.default_rng(0).permutation(N), np.array([10.0, 0.1, 3.0])
    plain = BUILD[kind](X, Y[kind], prior_scale=np.inf)
    moved = BUILD[kind](X[order], Y[kind][order], prior_scale=np.inf)
    scaled = BUILD[kind](X * unit, Y[kind], prior_scale=np.inf)
    there = (theta.reshape(plain.init.shape).T / np.append(unit, 1.0)).T.ravel()
    np.testing.assert_allclose(derivatives.loss(moved, theta), derivatives.loss(plain, theta), rtol=1e-13)
    np.testing.assert_allclose(derivatives.loss(scaled, there), derivatives.loss(plain, theta), rtol=1e-12)


def test_linear_mode_is_ridge():
    problem = models.linear_regression(X, Y["linear"], prior_scale=0.4, observation_scale=0.7, intercept=False)
    ridge = Ridge(alpha=(0.7 / 0.4) ** 2, fit_intercept=False, solver="cholesky").fit(X, Y["linear"])
    np.testing.assert_allclose(find_mode(problem).vector, ridge.coef_, rtol=1e-10)


def test_logistic_mode_is_scikit_learns():
    problem = models.logistic_regression(X, Y["logistic"], prior_scale=0.9, intercept_prior_scale=np.inf)
    other = LogisticRegression(C=0.81, tol=1e-10, max_iter=1000, solver="newton-cg").fit(X, Y["logistic"])
    np.testing.assert_allclose(find_mode(problem).vector, np.append(other.coef_, other.intercept_), rtol=1e-5)


def test_softmax_mode_is_scikit_learns():
    problem = models.softmax_regression(X, Y["softmax"], prior_scale=0.9, intercept=False)
    other = LogisticRegression(C=0.81, tol=1e-10, max_iter=1000, fit_intercept=False, solver="newton-cg")
    np.testing.assert_allclose(find_mode(problem).params, other.fit(X, Y["softmax"]).coef_.T, rtol=1e-5)


def test_poisson_mode_is_scikit_learns():
    problem = models.poisson_regression(X, Y["poisson"], prior_scale=0.9, intercept_prior_scale=np.inf)
    other = PoissonRegressor(alpha=1 / (0.81 * N), tol=1e-10, solver="newton-cholesky").fit(X, Y["poisson"])
    np.testing.assert_allclose(find_mode(problem).vector, np.append(other.coef_, other.intercept_), rtol=1e-6)


def test_offset_is_a_log_exposure():
    problem = models.poisson_regression(X, Y["poisson"], offset=np.full(N, np.log(5.0)), prior_scale=np.inf)
    plain = models.poisson_regression(X, Y["poisson"], prior_scale=np.inf)
    theta = THETA["poisson"]
    np.testing.assert_allclose(
        derivatives.loss(problem, theta - [0, 0, 0, np.log(5.0)]), derivatives.loss(plain, theta), rtol=1e-13
    )


def evidence(scale, tau):
    A = np.c_[X, np.ones(N)]
    return scipy.stats.multivariate_normal.logpdf(
        Y["linear"], np.zeros(N), scale**2 * np.eye(N) + A @ np.diag(1 / tau) @ A.T
    )


def test_residual_scale_maximises_the_evidence():
    tau = np.array([1.0, 1.0, 1.0, 0.25])
    problem = models.linear_regression(X, Y["linear"], intercept_prior_scale=2.0)
    scale = problem.hyperparams["observation_scale"]
    slope = (evidence(scale * 1.0001, tau) - evidence(scale * 0.9999, tau)) / 0.0002
    assert abs(slope) < 1e-3
    planted = scale * np.sqrt((N - 4) / N)  # degrees of freedom forgotten
    assert abs((evidence(planted * 1.0001, tau) - evidence(planted * 0.9999, tau)) / 0.0002) > 1


def test_residual_scale_with_a_flat_prior_is_unbiased_and_weights_are_rows():
    A = np.c_[X, np.ones(N)]
    rest = np.linalg.lstsq(A, Y["linear"])[1][0]
    flat = models.linear_regression(X, Y["linear"], prior_scale=np.inf).hyperparams["observation_scale"]
    np.testing.assert_allclose(flat, np.sqrt(rest / (N - 4)), rtol=1e-12)
    rows = np.repeat(np.arange(N), 1 + np.arange(N) % 2)
    weighted = models.linear_regression(X, Y["linear"], weights=1.0 + np.arange(N) % 2)
    repeated = models.linear_regression(X[rows], Y["linear"][rows])
    np.testing.assert_allclose(
        weighted.hyperparams["observation_scale"], repeated.hyperparams["observation_scale"], rtol=1e-12
    )


def test_residual_scale_bears_columns_of_very_different_size_and_collinear_ones():
    scales = [
        models.linear_regression(M, Y["linear"], prior_scale=np.inf).hyperparams["observation_scale"]
        for M in (X, X * [1e7, 1e-7, 1.0], np.c_[X, X[:, 0] - 2 * X[:, 1]])
    ]
    np.testing.assert_allclose(scales, scales[0], rtol=1e-8)


def test_arrays_stay_as_given():
    low = X.astype(np.float32)
    problem = models.linear_regression(low, Y["linear"], intercept=False)
    assert problem.data["inputs"] is low
    assert problem.init.dtype == problem.data["targets"].dtype == np.float32
    wide = models.logistic_regression(low, Y["logistic"], names=("a", "b", "c"))
    assert wide.data["inputs"].dtype == np.float32
    assert wide.names == ("a", "b", "c", "intercept")
    np.testing.assert_array_equal(wide.data["inputs"][:, -1], 1)
    assert models.softmax_regression(X, Y["softmax"]).names[:4] == ("x0:0", "x0:1", "x0:2", "x1:0")


def test_softplus_derivatives_far_out():
    z = jnp.array([-800.0, -3.0, 0.0, 3.0, 800.0])
    slope = jax.vmap(jax.grad(likelihoods.softplus))(z)
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-np.clip(z, -80, 80).astype(float))), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(likelihoods.softplus)))(z), slope * (1 - slope), atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_predicted_mean(kind):
    problem = BUILD[kind](X, Y[kind])
    theta = jnp.asarray(THETA[kind].reshape(problem.init.shape))
    inputs = jnp.asarray(X[:4])
    mean = problem.predict(theta, inputs, problem.hyperparams)
    np.testing.assert_allclose(
        mean, problem.predict(theta, jnp.c_[inputs, jnp.ones(4)], problem.hyperparams), rtol=1e-5
    )
    keys = jax.random.split(jax.random.key(0), 4000)
    sample = jax.jit(jax.vmap(lambda k: problem.sample(k, theta, inputs, problem.hyperparams)))
    draws = np.asarray(sample(keys), np.float64)
    draws = (draws[..., None] == np.arange(3)) * 1.0 if kind == "softmax" else draws
    error = np.abs(draws.mean(0) - mean) / (draws.std(0) / np.sqrt(len(draws)))
    assert error.max() < 6


# slow: the other two pairs of the same functions
@pytest.mark.parametrize(
    ("activation", "likelihood"),
    [("tanh", "softmax"), ("relu", "linear"), pytest.param("tanh", "linear", marks=pytest.mark.slow),
     pytest.param("relu", "softmax", marks=pytest.mark.slow)],
)  # fmt: skip
def test_network_agrees_with_numpy(likelihood, activation):
    y = Y[likelihood]
    problem = models.mlp(X, y, (5, 4), likelihood, activation=activation, prior_scale=2.0, observation_scale=0.6, key=3)
    h = X
    for i in range(2):
        layer = problem.init[f"layer{i}"]
        h = h @ layer["weight"] + layer["bias"]
        h = np.tanh(h) if activation == "tanh" else np.maximum(h, 0)
    z = h @ problem.init["layer2"]["weight"] + problem.init["layer2"]["bias"]
    flat = problem.flatten(problem.init)
    joint = log_density(likelihood, z if likelihood == "softmax" else z[:, 0], y).sum()
    joint += scipy.stats.norm.logpdf(flat, 0, 2.0).sum()
    np.testing.assert_allclose(-total(problem, flat), joint, rtol=1e-12)
    mean = problem.predict(problem.init, jnp.asarray(X), problem.hyperparams)
    np.testing.assert_allclose(mean, scipy.special.softmax(z, -1) if likelihood == "softmax" else z[:, 0], atol=1e-5)
    assert problem.sample(jax.random.key(0), problem.init, jnp.asarray(X), problem.hyperparams).shape == (N,)


def test_network_functions_are_equal_by_value_and_survive_pickling():
    one, two = models.mlp(X, Y["softmax"], (3,)), models.mlp(X, Y["softmax"], (3,), key=4)
    assert one.log_likelihood == two.log_likelihood == pickle.loads(pickle.dumps(one.log_likelihood))
    assert one.log_likelihood != models.mlp(X, Y["softmax"], (3,), activation="relu").log_likelihood
    assert not np.array_equal(one.init["layer0"]["weight"], two.init["layer0"]["weight"])
    assert jax.tree.structure(one) == jax.tree.structure(two)


def test_hyperparameters_are_leaves():
    problem = models.linear_regression(X, Y["linear"])
    other = dataclasses.replace(problem, hyperparams={**problem.hyperparams, "observation_scale": 2.0})
    assert jax.tree.structure(problem) == jax.tree.structure(other)
    assert total(problem, THETA["linear"]) != total(other, THETA["linear"])


WORDS = np.array(["cat", "dog"] * (N // 2))
BAD = np.where(np.arange(N) == 7, np.nan, X[:, 0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: models.logistic_regression(X, WORDS), TypeError, r"y must hold numbers.*datasets\.load"),
        (lambda: models.linear_regression(WORDS[:, None], Y["linear"]), TypeError, r"X must hold numbers.*datasets\.load"),
        (lambda: models.logistic_regression(X, Y["logistic"] * 2 - 1), ValueError, r"y must hold 0 and 1 only, got -1"),
        (lambda: models.softmax_regression(X, Y["softmax"] - 1), ValueError, r"y must hold class numbers 0, 1, 2"),
        (lambda: models.softmax_regression(X, Y["softmax"] * 2), ValueError, r"every class .* got classes \[0, 2, 4\]"),
        (lambda: models.softmax_regression(X, Y["softmax"], num_classes=2), ValueError, r"below num_classes = 2, got 2"),
        (lambda: models.poisson_regression(X, Y["poisson"] - 2), ValueError, r"y must hold counts .* got -"),
        (lambda: models.poisson_regression(X, Y["poisson"] + 0.5), ValueError, r"y must hold counts"),
        (lambda: models.linear_regression(X, Y["linear"], prior_scale=0), ValueError, r"prior_scale must be > 0"),
        (lambda: models.linear_regression(X, Y["linear"], prior_scale=-np.inf), ValueError, r"prior_scale must be"),
        (lambda: models.linear_regression(X, Y["linear"], observation_scale=-1), ValueError, r"observation_scale must be > 0"),
        (lambda: models.linear_regression(X, Y["linear"][:-1]), ValueError, r"y must have shape \(N,\) = \(60,\).*got \(59,\)"),
        (lambda: models.linear_regression(X, Y["linear"][:, None]), ValueError, r"y must have shape .* got \(60, 1\)"),
        (lambda: models.linear_regression(X[:, 0], Y["linear"]), ValueError, r"X must have shape \(N, D\)"),
        (lambda: models.linear_regression(BAD[:, None], Y["linear"]), ValueError, r"X must be finite, but entry \(7, 0\) is nan"),
        (lambda: models.linear_regression(X, BAD), ValueError, r"y must be finite, but entry \(7,\) is nan"),
        (lambda: models.linear_regression(X, Y["linear"], weights=-np.ones(N)), ValueError, r"weights must be >= 0"),
        (lambda: models.linear_regression(X, Y["linear"], weights=np.ones(3)), ValueError, r"weights must have shape"),
        (lambda: models.linear_regression(X, Y["linear"], names=("a",)), ValueError, r"names must name the 3 columns"),
        (lambda: models.linear_regression(X, X @ [1, 2, 3], prior_scale=np.inf), ValueError, r"observation_scale must be given.*fits y exactly"),
        (lambda: models.linear_regression(X[:3], Y["linear"][:3], prior_scale=np.inf), ValueError, r"observation_scale must be given"),
        (lambda: models.linear_regression(X, Y["linear"], intercept=False, intercept_prior_scale=1), ValueError, r"intercept_prior_scale must be None"),
        (lambda: models.mlp(X, Y["softmax"], activation="gelu"), ValueError, r"activation must be one of"),
        (lambda: models.mlp(X, Y["softmax"], widths=(0,)), ValueError, r"widths must be >= 1"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_error(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_aligned_rows_have_the_same_likelihood():
    r = np.random.default_rng(4)
    for build, y in (
        (models.linear_regression, "linear"),
        (models.logistic_regression, "logistic"),
        (models.poisson_regression, "poisson"),
    ):
        problem = build(X, Y[y])
        wide = dataclasses.replace(problem, data=problem.align(problem.data))
        assert wide.data["inputs"].shape[1] == 8
        theta = r.normal(size=problem.num_params) / 5
        assert derivatives.loss(wide, theta) == pytest.approx(derivatives.loss(problem, theta), rel=1e-12)
        gradients = derivatives.gradient(wide, theta), derivatives.gradient(problem, theta)
        np.testing.assert_allclose(*gradients, rtol=1e-10, atol=1e-12)
    assert models.softmax_regression(X, Y["softmax"]).align is None
