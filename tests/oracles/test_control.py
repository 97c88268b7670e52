"""Control variates: unbiased, noise-free at the anchor, the covariance that is measured, and where they stop paying."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradnoise as gn
from gradnoise import derivatives
from gradnoise.oracles import break_even, control_variate, difference_covariance, minibatch
from gradnoise.processes import langevin
from gradnoise.stream import Spec, Stream
from gradnoise.testing import assert_covariance, assert_mean, planted_defects

N, D = 80, 3


@functools.cache
def logistic() -> tuple[gn.Problem, Any, Any]:
    r = np.random.default_rng(0)
    x = r.normal(size=(N, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    problem = gn.models.logistic_regression(x, (x[:, 0] + r.normal(size=N) > 0).astype(float))
    mode = gn.find_mode(problem)
    return problem, mode, gn.measure.gaussian_law(problem, mode)


@functools.cache
def linear() -> tuple[gn.Problem, Any, Any]:
    r = np.random.default_rng(1)
    x = r.normal(size=(N, D)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.5]])
    y = x @ [1.0, -1.0, 0.5] + r.normal(size=N)
    problem = gn.models.linear_regression(x, y, observation_scale=1.0, intercept=False)
    mode = gn.find_mode(problem)
    return problem, mode, gn.measure.gaussian_law(problem, mode)


def noises(problem: gn.Problem, oracle: Any, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """ĝ(θ) − ∇L(θ) at each θ (M, D), a fresh batch for each."""
    return np.asarray(compiled(problem, oracle, vectors.astype(np.float32), Stream.of(seed).key), float)


@jax.jit
def compiled(problem: gn.Problem, oracle: Any, vectors: Any, key: Any) -> Any:
    spec, data = Spec(problem.num_examples, problem.num_params), problem.data
    draws = oracle.draw(Stream(key), jnp.arange(len(vectors), dtype=jnp.int32), spec)

    def one(vector: Any, now: Any) -> Any:
        params = problem.unflatten(vector)
        batch = jax.tree.map(lambda a: a[now["indices"]], data)
        gap = jax.tree.map(
            jnp.subtract, oracle.gradient(problem, params, batch, now), jax.grad(problem.batch_loss)(params, data)
        )
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gap)])

    return jax.lax.map(lambda a: one(*a), (vectors, draws), batch_size=4096)


def around(law: Any, count: int, seed: int = 0, multiple: float = 1.0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(count, len(law.mean)))
    return np.asarray(law.mean + multiple * z @ np.linalg.cholesky(law.covariance).T)


def test_no_noise_at_the_anchor_and_none_for_equal_hessians() -> None:
    problem, mode, _ = logistic()
    there = np.tile(mode.vector, (50, 1))
    assert np.abs(noises(problem, control_variate(4, mode), there)).max() < 1e-6
    assert np.abs(noises(problem, minibatch(4), there)).max() > 0.1


@pytest.mark.law
@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("made", [logistic, linear])
def test_noise_over_the_law_is_as_measured(made: Any, sampling: str) -> None:
    problem, mode, law = made()
    oracle = control_variate(4, mode, sampling=sampling)
    sample = noises(problem, oracle, around(law, 60_000))
    covariance = difference_covariance(problem, mode, law, num_draws=1024)
    right = oracle.noise(covariance, N)
    planted_defects(
        lambda predicted: assert_covariance(sample, predicted, mean=np.zeros(D), detects=0.17),
        right,
        {
            "noise of the plain minibatch": minibatch(4, sampling).noise(law.gradient_covariance, N),
            "two gradients an example count as two examples": right / 2,
            "noise x 1.2": 1.2 * right,
            "at twice the distance": 4 * right,
        },
    )
    assert_mean(sample, np.zeros(D), right)


def test_gradient_away_from_the_mode_is_unbiased_only_with_the_full_gradient() -> None:
    problem, mode, law = logistic()
    far = mode.vector + np.array([0.5, -0.3, 0.4])
    anchor = problem.unflatten(far.astype(np.float32))
    good = control_variate(8, anchor, problem=problem)
    same = control_variate(8, anchor, gradient=problem.unflatten(derivatives.gradient(problem, far)))
    where = around(law, 20_000, seed=3)
    mean = noises(problem, good, where).mean(0)
    assert np.abs(mean).max() < 0.004
    np.testing.assert_allclose(noises(problem, same, where[:100]), noises(problem, good, where[:100]), atol=1e-6)
    wrong = control_variate(8, anchor, gradient=jax.tree.map(np.zeros_like, anchor))
    assert np.abs(noises(problem, wrong, where).mean(0)).max() > 0.04
    with pytest.raises(ValueError, match="problem or gradient must be given"):
        control_variate(8, anchor)


def test_difference_covariance_by_example_gradients() -> None:
    problem, mode, law = logistic()
    vectors = around(law, 5)
    at_mode = derivatives.example_gradients(problem, mode.vector)
    differences = [derivatives.example_gradients(problem, v) - at_mode for v in vectors]
    by_hand = np.mean([np.cov(d.T, bias=True) for d in differences], axis=0)
    np.testing.assert_allclose(difference_covariance(problem, mode, vectors), by_hand, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [2, 20])
def test_break_even_distance_of_linear_regression(batch_size: int) -> None:
    """C_d = r²K and C = C₀ + r²K at r standard deviations: at equal cost they meet where r² = Tr H⁻¹C₀/Tr H⁻¹K."""
    problem, mode, law = linear()
    found = break_even(problem, mode, law, batch_size=batch_size)
    inverse = np.linalg.inv(law.hessian)
    k = law.gradient_covariance - law.mode_gradient_covariance
    root = np.trace(inverse @ law.mode_gradient_covariance) / np.trace(inverse @ k)
    assert found.distance == pytest.approx(root**0.5, rel=1e-3)
    assert found.ratio == pytest.approx(
        2 * np.trace(inverse @ k) / np.trace(inverse @ law.gradient_covariance), rel=1e-6
    )
    assert found
    assert found.batch_size == np.inf
    np.testing.assert_allclose(found.difference_covariance, k, rtol=1e-6, atol=1e-9)


@pytest.mark.law
def test_at_the_break_even_distance_both_have_the_same_noise() -> None:
    problem, mode, law = logistic()
    found = break_even(problem, mode, law, batch_size=4, num_draws=2048)
    inverse = np.linalg.inv(law.hessian)

    def power(oracle: Any, multiple: float) -> float:
        z = np.random.default_rng(5).normal(size=(40_000, D)) @ np.linalg.cholesky(law.covariance).T
        noise = noises(problem, oracle, mode.vector + multiple * z)
        return float(np.einsum("nd,de,ne->", noise, inverse, noise) / len(noise))

    for multiple, compare in ((found.distance, 1.0), (found.distance / 3, 0.0)):
        ratio = power(control_variate(4, mode), multiple) / power(minibatch(8), multiple)
        # 40 000 draws of a quadratic form in 3 dimensions: 1 % each
        assert ratio == pytest.approx(1.0, abs=0.05) if compare else ratio < 0.5


def test_break_even_batch_size_without_replacement() -> None:
    """A plain minibatch of all rows has no noise at all: control variates lose at B = N/2 and win below some B."""
    problem, mode, law = logistic()
    sizes: Any = {"sampling": "without_replacement"}
    edge = break_even(problem, mode, law, batch_size=4, **sizes).batch_size
    assert 4 < edge < N / 2
    assert break_even(problem, mode, law, batch_size=int(edge), **sizes).ratio < 1
    assert break_even(problem, mode, law, batch_size=int(edge) + 1, **sizes).ratio > 1
    assert not break_even(problem, mode, law, batch_size=N // 2, **sizes)
    with pytest.raises(ValueError, match="shuffled"):
        break_even(problem, mode, law, batch_size=4, sampling="shuffled")
    same = break_even(problem, mode, law, batch_size=4, **sizes)
    plain = gn.theory.noise_factor(batch_size=4, sampling="without_replacement", num_examples=N)
    rows = same.equivalent_batch_size
    scale = (N - rows) / (rows * (N - 1)) / plain
    inverse = np.linalg.inv(law.hessian)
    share = np.trace(inverse @ same.difference_covariance) / np.trace(inverse @ same.gradient_covariance)
    assert scale == pytest.approx(share)


@pytest.mark.law
@pytest.mark.false_fail(1e-6)
def test_langevin_with_control_variates_follows_its_chain() -> None:
    """SGLD on linear regression: exact with C + K(Σ), and the plain minibatch's law is another one."""
    problem, mode, law = linear()
    settings: dict[str, Any] = {"learning_rate": 0.25, "num_examples": N}
    process = langevin(control_variate(8, mode), **settings)
    covariance = law.covariance
    every = math.ceil(process.linear(law.hessian, law.gradient_covariance, N).relaxation_time / 2)
    for _ in range(12):  # the noise depends on the law, and the law on the noise
        wider = difference_covariance(problem, mode, Law(mode.vector, covariance), num_draws=16)
        covariance = process.linear(law.hessian, wider, N).covariance
    run = gn.simulate(
        problem, process, num_steps=60 + 480 * every, num_chains=512, key=1, burn_in=60, record=gn.record.draws(every=every), init=mode, progress=False
    )  # fmt: skip
    plain = langevin(minibatch(8), **settings).linear(law.hessian, law.gradient_covariance, N).covariance
    planted_defects(
        lambda predicted: assert_covariance(np.asarray(run.draws, float), predicted, mean=mode.vector),
        covariance,
        {"noise of the plain minibatch": plain, "noise x 1.05": 1.05 * covariance},
    )


class Law:
    def __init__(self, mean: Any, covariance: Any) -> None:
        self.mean, self.covariance = mean, covariance


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: control_variate(0, logistic()[1]), "batch_size"),
        (lambda: control_variate(4, logistic()[1], sampling="bootstrap"), "sampling must be one of"),
        (lambda: control_variate(4, None), "params must be a Mode"),
        (lambda: control_variate(4, np.ones(3), gradient=np.ones(2)), "gradient must have the shapes"),
        (lambda: control_variate(4, np.full(3, np.nan), gradient=np.ones(3)), "params must be finite"),
        (lambda: difference_covariance(logistic()[0], np.ones(2), np.ones((4, 3))), "anchor must have shape"),
        (lambda: difference_covariance(logistic()[0], np.ones(3), np.ones((4, 2))), "law must have mean"),
        (lambda: difference_covariance(*logistic(), num_draws=1), "num_draws must be >= 2"),
        (lambda: break_even(*logistic(), batch_size=0), "batch_size"),
        (
            lambda: gn.simulate(logistic()[0], control_variate(4, np.ones(2), gradient=np.ones(2)), gn.rule(optax_sgd, learning_rate=0.1), num_steps=2, progress=False),
            "must hold 3 numbers",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def optax_sgd(learning_rate: Any) -> Any:
    import optax

    return optax.sgd(learning_rate)
