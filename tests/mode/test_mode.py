"""The certified mode: found where there is one, and refused with the reason where there is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gradnoise import Problem, derivatives, find_mode, mode, models
from gradnoise.mode import search

R = np.random.default_rng(0)
X = R.normal(size=(200, 3))
Y = (R.random(200) < 1 / (1 + np.exp(-X @ [1.0, -1.0, 0.3]))).astype(float)


def test_linear_mode_is_the_normal_equations():
    problem = models.linear_regression(X, Y, prior_scale=0.5, observation_scale=0.4)
    A = np.c_[X, np.ones(200)]
    exact = np.linalg.solve(A.T @ A / 0.16 + 4 * np.eye(4), A.T @ Y / 0.16)
    found = find_mode(problem)
    np.testing.assert_allclose(found.vector, exact, rtol=1e-12)
    np.testing.assert_allclose(found.hessian, (A.T @ A / 0.16 + 4 * np.eye(4)) / 200, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.smallest_eigenvalue, np.linalg.eigvalsh(found.hessian)[0], rtol=1e-12)
    assert found.distance < 1e-10
    assert found.params.dtype == problem.init.dtype
    assert "distance" in repr(found)


def test_units_of_the_columns_change_the_mode_and_not_the_certificate():
    unit = np.array([1e4, 1e-3, 5.0])
    plain = find_mode(models.logistic_regression(X, Y, prior_scale=np.inf))
    scaled = find_mode(models.logistic_regression(X * unit, Y, prior_scale=np.inf))
    np.testing.assert_allclose(scaled.vector * np.append(unit, 1), plain.vector, rtol=1e-9)
    np.testing.assert_allclose(scaled.loss, plain.loss, rtol=1e-13)
    assert max(plain.distance, scaled.distance) < 1e-8


def test_distance_counts_posterior_standard_deviations():
    problem = models.linear_regression(X, Y, observation_scale=1.0)
    found = find_mode(problem)
    dense = search.Dense(problem)
    posterior = np.linalg.inv(200 * found.hessian)
    away = found.vector + 0.3 * np.linalg.cholesky(posterior)[:, 0]
    np.testing.assert_allclose(np.sqrt(200 * search.decrement(dense, away)), 0.3, rtol=1e-9)
    with pytest.raises(RuntimeError, match=r"no mode found.* 0\.3 posterior standard deviations"):
        mode._certified(problem, dense, search.Found(away, 3, None), 1e-6)


def test_start_and_iterations():
    problem = models.logistic_regression(X, Y)
    found = find_mode(problem)
    again = find_mode(problem, init=found.params + 3)
    np.testing.assert_allclose(again.vector, found.vector, rtol=1e-9)
    with pytest.raises(RuntimeError, match=r"no mode found within max_iterations: after 1 "):
        find_mode(problem, init=found.params + 3, max_iterations=1)
    with pytest.raises(ValueError, match=r"gradient_tolerance must be > 0"):
        find_mode(problem, gradient_tolerance=0)
    with pytest.raises(ValueError, match=r"init must have shape \(4,\), got \(3,\)"):
        find_mode(problem, init=np.zeros(3))


def test_krylov_agrees_with_dense(monkeypatch):
    problem = models.logistic_regression(R.normal(size=(300, 100)) * np.linspace(0.5, 2, 100), np.arange(300) % 2)
    dense = find_mode(problem)
    monkeypatch.setattr(derivatives, "DENSE", 10)
    krylov = find_mode(problem)
    assert (dense.method, krylov.method, krylov.hessian) == ("trust-exact", "trust-krylov", None)
    np.testing.assert_allclose(krylov.vector, dense.vector, atol=1e-8)
    np.testing.assert_allclose(krylov.smallest_eigenvalue, dense.smallest_eigenvalue, rtol=1e-5)


def test_krylov_path_refuses_too(monkeypatch):
    problem = models.logistic_regression(
        np.repeat(R.normal(size=(300, 50)), 2, 1), np.arange(300) % 2, prior_scale=np.inf
    )
    monkeypatch.setattr(derivatives, "DENSE", 10)
    with pytest.raises(mode.NotAMinimum, match="flat"):
        find_mode(problem)


def quadratic(params, example):
    return -((params - example) ** 2)


def test_one_parameter():
    found = find_mode(Problem(quadratic, np.arange(5.0), np.float32(0)))
    assert (found.vector, found.params.shape, found.smallest_eigenvalue) == (2.0, (), 2.0)


def wells(params, example):
    return example * jnp.sum(params**2) - 0.1 * jnp.sum(params**4)


def test_a_saddle_is_refused_and_a_start_beside_it_is_not():
    problem = Problem(wells, np.ones(5), np.zeros(2), names=("left", "right"))
    with pytest.raises(mode.NotAMinimum, match=r"saddle: the smallest eigenvalue of the Hessian is -2.*(left|right)"):
        find_mode(problem)
    np.testing.assert_allclose(np.abs(find_mode(problem, init=np.array([0.1, -0.2])).vector), np.sqrt(5))


def bowl_upside_down(params, example):
    return example * jnp.sum(params**2)


def test_a_loss_without_bound_is_not_a_saddle():
    with pytest.raises(RuntimeError, match="bounded below"):
        find_mode(Problem(bowl_upside_down, np.ones(5), np.ones(2)), max_iterations=60)


def half_line(params, example):
    return -jnp.sqrt(params - example)


def test_a_start_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="init must have a finite loss"):
        find_mode(Problem(half_line, np.ones(5), np.float64(0)))


SEPARABLE = (X @ [3.0, 1.0, 0.0] > 0).astype(float)
RARE = (R.random(200) < 0.1).astype(float)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (models.logistic_regression(X, SEPARABLE, prior_scale=np.inf), r"keeps falling .* \+0\.\d\d·x[01] .*separable.*finite prior_scale"),
        (models.logistic_regression(np.c_[X[:, 0], RARE, X[:, 2]], np.maximum(Y, RARE), prior_scale=np.inf), r"keeps falling .*along \+1\.00·x1\."),
        (models.poisson_regression(X, 0 * Y, prior_scale=np.inf), r"keeps falling .*-\d\.\d\d·intercept"),
        (models.softmax_regression(X, np.arange(200) % 3, prior_scale=np.inf), r"flat .*·intercept:1 .*softmax classes without a prior"),
        (models.logistic_regression(np.c_[X[:, :2], X[:, 0] - X[:, 1]], Y, prior_scale=np.inf), r"flat .*along [+-]0\.\d\d·x"),
        (models.linear_regression(np.c_[X[:, :2], 0 * Y], Y, prior_scale=np.inf), r"flat .*along [+-]1\.00·x2"),
    ],
    ids=["separable", "quasi-separable", "no counts", "softmax", "collinear", "zero column"],
)  # fmt: skip
def test_no_mode_is_said_and_why(problem, message):
    with pytest.raises(mode.NotAMinimum, match=message):
        find_mode(problem)


def test_a_prior_gives_separable_classes_a_mode():
    assert find_mode(models.logistic_regression(X, SEPARABLE, prior_scale=100.0)).smallest_eigenvalue > 0


def test_without_a_look_around_runaway_parameters_would_pass(monkeypatch):
    """The planted defect: gradient, distance and eigenvalues alone certify a mode of separable data."""
    problem = models.logistic_regression(np.sign(X[:, :1]), (X[:, 0] > 0) * 1.0, prior_scale=np.inf, intercept=False)
    monkeypatch.setattr(mode, "_check_surroundings", lambda *_: None)
    found = find_mode(problem)
    assert found.distance < 1e-6
    assert found.smallest_eigenvalue > 0
    monkeypatch.undo()
    with pytest.raises(mode.NotAMinimum, match="keeps falling"):
        find_mode(problem)


def test_network():
    problem = models.mlp(X, np.arange(200) % 3, widths=(4,), key=2)
    found = find_mode(problem)
    assert found.smallest_eigenvalue > 0
    assert found.loss < derivatives.loss(problem, problem.flatten(problem.init))
    assert np.shape(found.params["layer0"]["weight"]) == (3, 4)


def test_a_jitted_loss_that_is_kept_does_not_disturb_double_precision() -> None:
    """JAX keeps what a jit closes over by the identity of the array: held data in single precision met as double."""
    x = np.random.default_rng(0).normal(size=(200, 4))
    problem = models.logistic_regression(x, (x[:, 0] > 0).astype(int), intercept=False)
    held = jax.jit(jax.value_and_grad(problem.loss))
    single = float(held(jnp.zeros(4))[0])
    assert derivatives.loss(problem, np.zeros(4)) == pytest.approx(single, rel=1e-6)
    assert find_mode(problem).loss < single


def test_a_direction_that_is_not_finite_is_left_to_another_solver(monkeypatch):
    """scipy's trust-krylov asks for a product with NaN now and then: the search goes on from the best point so far."""
    problem = models.logistic_regression(R.normal(size=(300, 100)) * np.linspace(0.5, 2, 100), np.arange(300) % 2)
    dense = find_mode(problem)
    monkeypatch.setattr(derivatives, "DENSE", 10)
    minimize, starts = scipy.optimize.minimize, []

    def astray(function, start, *, hessp, method, **rest):
        starts.append(start)
        calls = iter(range(1000))

        def product(vector, direction):
            broken = method == "trust-krylov" and next(calls) == 12
            return hessp(vector, direction * np.nan if broken else direction)

        return minimize(function, start, hessp=product, method=method, **rest)

    monkeypatch.setattr(scipy.optimize, "minimize", astray)
    found = find_mode(problem)
    assert found.method == "trust-ncg"
    assert len(starts) == 2
    assert derivatives.loss(problem, starts[1]) < derivatives.loss(problem, starts[0])
    np.testing.assert_allclose(found.vector, dense.vector, atol=1e-8)


def test_params_and_vectors_are_taken_as_a_mode_where_they_are_one():
    problem = models.logistic_regression(X, np.arange(200) % 2)
    found = find_mode(problem)
    assert mode.as_mode(problem, found) is found
    for given in (found.params, found.vector, problem.unflatten(found.vector)):
        taken = mode.as_mode(problem, given)
        np.testing.assert_allclose(taken.vector, found.vector, atol=1e-6)
        assert (taken.method, taken.distance < 1e-3) == ("given", True)
        np.testing.assert_allclose(taken.hessian, found.hessian, rtol=1e-5)
    np.testing.assert_array_equal(mode.as_mode(problem, None).vector, found.vector)
    with pytest.raises(ValueError, match=r"mode must be a minimum of the loss, got params .* standard deviations"):
        mode.as_mode(problem, found.vector + 1.0)
    with pytest.raises(ValueError, match=r"mode must have shape \(4,\)"):
        mode.as_mode(problem, np.zeros(3))


def saturated(theta, example):
    top, half, log_s = theta
    mean = top * example["x"] / (half + example["x"])
    return -0.5 * ((example["y"] - mean) / jnp.exp(log_s)) ** 2 - log_s + 0 * jnp.sqrt(half - example["wall"])


def wide_prior(theta):
    return -0.5 * jnp.sum(theta**2) / 9


def saturating(wall):
    """Michaelis and Menten with log s; not a number below the wall (the root's derivative is not at it)."""
    r = np.random.default_rng(0)
    x = r.uniform(0.1, 5, 300)
    data = {"x": x, "y": 2 * x / (0.7 + x) + 0.1 * r.normal(size=300), "wall": np.full(300, wall)}
    return Problem(saturated, data, np.array([1.0, 1.0, 0.0]), wide_prior, names=("top", "half", "log_s"))


def test_a_region_without_a_loss_is_walked_around():
    """From 1, 1, 0 the long steps of a trust region end at the wall 0.6, the mode is at 0.687."""
    free = find_mode(saturating(-10.0))
    np.testing.assert_allclose(free.vector[1], 0.6865, atol=1e-4)
    np.testing.assert_allclose(find_mode(saturating(0.6)).vector, free.vector, rtol=1e-8)


def test_a_mode_beyond_the_edge_of_the_loss_is_told_with_the_parameters():
    words = r"no mode found.*stopped where the loss ends.*log_likelihood is not finite for 300 of 300 examples \(first: row 0\) at top = .*half = 0\.\d+.*exponential"
    with pytest.raises(RuntimeError, match=words):
        find_mode(saturating(0.75))
    with pytest.raises(
        ValueError, match=r"init must have a finite loss.*300 of 300 examples.* at top = 1, half = 0.2, "
    ):
        find_mode(saturating(0.6), init=np.array([1.0, 0.2, 0.0]))
    with pytest.raises(ValueError, match=r"mode must have a finite loss: log_likelihood .* half = 0.2, "):
        mode.as_mode(saturating(0.6), np.array([1.0, 0.2, 0.0]))


def test_a_prior_with_a_wall_is_told():
    def inside(theta):
        return jnp.where(theta > 0, 0.0, -jnp.inf)

    with pytest.raises(RuntimeError, match=r"where the loss ends.*log_prior is -inf at theta = -"):
        find_mode(Problem(quadratic, np.arange(5.0) - 4, np.float64(1), inside))


def test_a_kink_is_told_with_the_jump_of_the_gradient():
    def lasso(theta):
        return -10.0 * jnp.sum(jnp.abs(theta))

    x = np.random.default_rng(1).normal(size=(40, 3))

    def log_likelihood(theta, example):
        return -0.5 * (example["y"] - example["x"] @ theta) ** 2

    data = {"x": x, "y": x @ [0.6, 0.02, 0.5] + np.random.default_rng(2).normal(size=40)}
    problem = Problem(log_likelihood, data, np.full(3, 0.3), lasso, names=("a", "b", "c"))
    with pytest.raises(
        RuntimeError,
        match=r"The gradient does not go to 0 there, it jumps: from \S+ to \S+ along b = .*Smooth it",
    ):
        find_mode(problem)

    def smooth(theta):
        return -10.0 * jnp.sum(jnp.sqrt(theta**2 + 1e-6))

    assert abs(find_mode(Problem(log_likelihood, data, np.full(3, 0.3), smooth)).vector[1]) < 1e-2


def test_too_few_iterations_are_no_kink():
    with pytest.raises(RuntimeError, match=r"after 1 .* Scale the inputs, start elsewhere, or check"):
        find_mode(models.logistic_regression(X, Y), init=np.full(4, 3.0), max_iterations=1)


@pytest.mark.parametrize("formed", [0, 3000])
def test_lowest_eigenvalues_by_either_way(monkeypatch, formed):
    problem = models.logistic_regression(R.normal(size=(300, 100)) * np.linspace(0.5, 2, 100), np.arange(300) % 2)
    dense = find_mode(problem)
    monkeypatch.setattr(search, "FORMED", formed)
    smallest, soft = search.Krylov(problem).softest(dense.vector)
    values = np.linalg.eigvalsh(dense.hessian)
    np.testing.assert_allclose(smallest, values[0], rtol=1e-6)
    np.testing.assert_allclose(soft.curvatures * soft.unit[0] ** 2, values[:4], rtol=1e-6)
    np.testing.assert_allclose(dense.hessian @ soft.directions[0], smallest * soft.directions[0], atol=1e-4)


def test_a_saddle_is_seen_without_a_cholesky_factor():
    values, vectors = search._lowest(np.diag(np.arange(-2.0, 8.0)), np.ones(10))
    np.testing.assert_allclose(values, [-2, -1, 0, 1], atol=1e-12)
    assert abs(vectors[0, 0]) == pytest.approx(1)


def test_what_is_no_problem_is_told_how_to_make_one():
    for call in (find_mode, lambda given: mode.as_mode(given, None)):
        with pytest.raises(TypeError, match=r"problem must be a gn.Problem, got \(.*gn\.models\.logistic_regression"):
            call((X, Y))
