"""Index draws: uniform, exact permutations, exact subsets, and the covariance that `noise` claims."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradnoise as gn
from gradnoise.oracles import full_batch, gaussian, minibatch
from gradnoise.oracles.permutation import SORT_BELOW, feistel, least_waste, sorted_epochs, subset
from gradnoise.problem import Problem
from gradnoise.stream import Spec, Stream
from gradnoise.testing import assert_covariance, assert_fails, assert_uniform


def slow(*cases: tuple[int, ...]) -> list[object]:
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def indices(sampling: str, n: int, size: int, steps: int, seed: int = 0) -> np.ndarray:
    oracle = minibatch(size, sampling)
    draw = jax.jit(lambda key, t: oracle.draw(Stream(key), t, Spec(n, 1))["indices"])
    return np.asarray(draw(Stream.of(seed).key, np.arange(steps, dtype=np.int32)))


@pytest.mark.parametrize("n", [7, 98, 4900, 245056])
def test_with_replacement_is_uniform(n: int) -> None:
    rows = indices("with_replacement", n, 50, 4000)
    assert rows.min() >= 0
    assert rows.max() < n
    assert_uniform(np.bincount(rows.ravel() * 7 // n, minlength=7), false_fail=1e-6)


# slow: the default ones take a sorted and a Feistel epoch, the largest size with a surplus that is hard to leave
@pytest.mark.parametrize(("n", "size"), [(53, 10), *slow((569, 32), (1023, 100), (1025, 32), (4898, 100)), (4909, 100)])
def test_every_epoch_is_a_permutation(n: int, size: int) -> None:
    per = n // size
    rows = indices("shuffled", n, size, 300 * per).reshape(300, per * size)
    assert (np.sort(rows, 1)[:, 1:] > np.sort(rows, 1)[:, :-1]).all(), "a row came twice in one epoch"
    assert rows.min() >= 0
    assert rows.max() < n
    assert (rows[1:] != rows[:-1]).any(1).all(), "two epochs in the same order"


# slow: the default one has surplus points that lead to surplus points alone
@pytest.mark.parametrize("n", [*slow((1025,), (4898,)), 4909])
def test_ten_thousand_epochs_are_permutations(n: int) -> None:
    """4909 = 63·78 - 5: in about one epoch of a thousand a surplus point only ever leads to surplus points."""
    draw = jax.jit(lambda epochs: feistel(Stream.of(1), epochs, np.broadcast_to(np.arange(n), (len(epochs), n)), n))
    for block in range(100):
        rows = np.sort(np.asarray(draw(np.arange(100, dtype=np.int32) + 100 * block)), 1)
        np.testing.assert_array_equal(rows, np.broadcast_to(np.arange(n), rows.shape))


@pytest.mark.parametrize(
    ("n", "size"),
    # slow: as those beside them: sorted, Feistel, a rest of one row, none
    [(53, 10), *slow((1023, 100)), (1025, 32), *slow((4909, 100)), (7, 6), *slow((7, 4), (3, 2), (2, 1)), (5, 5)],
)
def test_every_epoch_that_keeps_its_rest_reads_every_row_once(n: int, size: int) -> None:
    oracle, spec, per = minibatch(size, "shuffled", drop_last=False), Spec(n, 1), -(-n // size)
    assert oracle.period(spec) == per
    draw = jax.jit(lambda key, t: oracle.draw(Stream(key), t, spec))
    drawn = draw(Stream.of(0).key, np.arange(100 * per, dtype=np.int32))
    rows = np.asarray(drawn["indices"]).reshape(100, per * size)
    np.testing.assert_array_equal(np.sort(rows[:, :n], 1), np.broadcast_to(np.arange(n), (100, n)))
    assert (rows[:, n:] == rows[:, n - 1 : n]).all()  # nothing but the last row, which the weights leave out
    if n % size == 0:
        assert set(drawn) == {"indices"}
        return
    valid = np.asarray(drawn["valid"]).reshape(100, per)
    assert (valid[:, :-1] == size).all()
    assert (valid[:, -1] == n % size).all()


def test_a_loader_with_nothing_left_over_is_the_same_bit_for_bit() -> None:
    steps, spec = np.arange(40, dtype=np.int32), Spec(50, 1)
    oracles = (minibatch(10, "shuffled", drop) for drop in (True, False))
    one, other = (jax.jit(lambda t, o=o: o.draw(Stream.of(2), t, spec)["indices"])(steps) for o in oracles)
    np.testing.assert_array_equal(one, other)


def test_the_gradient_of_the_last_batch_is_the_mean_over_its_own_rows() -> None:
    """With a prior and example weights; the row that fills up the batch has weight 0."""
    r = np.random.default_rng(3)
    x, weights = r.normal(size=(11, 2)), r.integers(1, 4, 11)
    problem = gn.models.logistic_regression(x, (x[:, 0] > 0).astype(int), 2.0, weights=weights, intercept=False)
    theta, oracle, spec = np.array([0.3, -0.4]), minibatch(4, "shuffled", drop_last=False), Spec(11, 2, "float64")
    with jax.enable_x64(True):
        drawn = jax.device_get(jax.jit(lambda t: oracle.draw(Stream.of(5), t, spec))(np.arange(6, dtype=np.int32)))
        each = np.asarray(jax.jit(jax.vmap(lambda e: jax.grad(problem.example_loss)(theta, e)))(problem.data))
        gradient = jax.jit(lambda theta, batch, now: oracle.gradient(problem, theta, batch, now))
        for k in range(6):
            now = jax.tree.map(lambda a, k=k: a[k], drawn)
            batch = jax.tree.map(lambda a, now=now: np.asarray(a)[now["indices"]], problem.data)
            rows = np.asarray(now["indices"])[: 3 if k % 3 == 2 else 4]
            found = gradient(theta, batch, now)
            np.testing.assert_allclose(found, each[rows].mean(0), rtol=1e-6, atol=1e-9)


def test_blocks_of_a_shuffled_epoch_fit_together() -> None:
    """Steps asked for in pieces give the rows they give at once, also across epochs."""
    for n, drop_last in ((53, True), (53, False), (1073, False)):
        oracle, spec = minibatch(10, "shuffled", drop_last), Spec(n, 1)
        draw = jax.jit(lambda t, oracle=oracle, spec=spec: oracle.draw(Stream.of(2), t, spec))
        at_once = draw(np.arange(240, dtype=np.int32))
        pieces = [draw(np.arange(a, a + 8, dtype=np.int32)) for a in range(0, 240, 8)]
        for name, value in at_once.items():
            np.testing.assert_array_equal(np.concatenate([np.asarray(piece[name]) for piece in pieces]), value)


@pytest.mark.parametrize("n", [64, SORT_BELOW + 48])
def test_permutations_are_uniform(n: int) -> None:
    """Where entry 5 goes, and the distance between entries 3 and 4, by chi-square."""
    epochs = np.arange(40_000, dtype=np.int32)
    if n < SORT_BELOW:
        rows = np.asarray(jax.jit(lambda e: sorted_epochs(Stream.of(3), e, n))(epochs))[:, :6]
    else:
        at = np.broadcast_to(np.arange(6), (len(epochs), 6))
        rows = np.asarray(jax.jit(lambda e: feistel(Stream.of(3), e, at, n))(epochs))
    assert_uniform(np.bincount(rows[:, 5] * 16 // n, minlength=16), false_fail=1e-7, detects=0.2)
    apart = (rows[:, 4] - rows[:, 3]) % n - 1  # uniform on 0 .. n-2, and 7 divides n - 1
    assert_uniform(np.bincount(apart * 7 // (n - 1), minlength=7), false_fail=1e-7, detects=0.2)


@pytest.mark.parametrize("n", [2, 1024, 1025, 4889, 4898, 5000, 245057])
def test_least_waste_covers(n: int) -> None:
    a, b = least_waste(n)
    assert a * b >= n
    assert a * b - n <= 2 * np.sqrt(n)


# slow: as the small and the large one beside them
@pytest.mark.parametrize(("n", "size"), [(5, 3), *slow((10, 9), (40, 32), (900, 70)), (1100, 70)])
def test_without_replacement_is_a_uniform_subset(n: int, size: int) -> None:
    rows = indices("without_replacement", n, size, 4000)
    assert (np.diff(np.sort(rows, 1), axis=1) > 0).all()
    # counts of a subset vary less than independent ones, so the chi-square is conservative
    assert_uniform(np.bincount((rows * 5 // n).ravel(), minlength=5), false_fail=1e-7, detects=0.2)


def test_floyd_gives_all_subsets_equally_often() -> None:
    rows = np.sort(np.asarray(subset(Stream.of(9), np.arange(60_000, dtype=np.int32), 6, 3)), 1)
    codes = np.unique(rows @ [36, 6, 1], return_counts=True)[1]
    assert len(codes) == 20
    assert_uniform(codes, false_fail=1e-7, detects=0.2)


def log_likelihood(params: jax.Array, example: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, y = example
    return -0.5 * (x @ params - y) ** 2 - 0.1 * (x @ params - y) ** 4


def problem(n: int = 30) -> Problem:
    r = np.random.default_rng(0)
    x = r.normal(size=(n, 3)) @ np.array([[1.0, 0.4, 0], [0, 0.6, 0.2], [0, 0, 1.5]])
    return Problem(log_likelihood, (x, x @ [1.0, -1, 0.5] + r.normal(size=n)), np.zeros(3))


@pytest.mark.law
@pytest.mark.parametrize(
    "oracle",
    [minibatch(7), minibatch(7, "without_replacement"), gaussian(7), gaussian(7, "signs")],
    ids=["with", "without", "normal", "signs"],
)
def test_gradient_has_the_covariance_that_noise_claims(oracle: object) -> None:
    pb, theta = problem(), np.array([0.3, -0.2, 0.9])
    g = np.asarray(jax.vmap(lambda e: jax.grad(pb.example_loss)(theta, e))(pb.data))
    c = np.cov(g.T, bias=True)
    spec = Spec(30, 3)

    def sample(key: jax.Array, steps: jax.Array) -> jax.Array:
        draws = oracle.draw(Stream(key), steps, spec)

        def one(d: dict) -> jax.Array:
            batch = jax.tree.map(lambda a: a[d["indices"]], pb.data) if oracle.reads == "rows" else pb.data
            return oracle.gradient(pb, theta.astype(np.float32), batch, d)

        return jax.vmap(one)(draws)

    data = jax.tree.map(jnp.float32, pb.data)
    pb = Problem(log_likelihood, data, pb.init)
    keys = np.stack([Stream.of(1, chain).key for chain in range(4096)])
    grads = np.asarray(jax.jit(jax.vmap(lambda k: sample(k, np.arange(40, dtype=np.int32))))(keys), np.float64)
    predicted = oracle.noise(c, 30)
    assert_covariance(grads, predicted, mean=g.mean(0), false_fail=1e-7, detects=0.05)
    assert_fails(lambda: assert_covariance(grads, predicted * 1.05, mean=g.mean(0), false_fail=1e-7, detects=0.05))


def test_full_batch_is_exact_and_shuffled_noise_is_refused() -> None:
    pb = problem()
    np.testing.assert_allclose(full_batch().gradient(pb, pb.init, pb.data, {}), jax.grad(pb.loss)(pb.init), rtol=1e-6)
    assert not full_batch().noise(np.eye(3), 30).any()
    law = minibatch(4, "shuffled").noise(np.eye(3), 30)
    assert not law
    assert "shuffled" in law.reason


@pytest.mark.parametrize("bad", [0, -1, 2.5, "32", True])
def test_bad_batch_size(bad: object) -> None:
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        minibatch(bad)


def test_batch_larger_than_data() -> None:
    minibatch(40).check(Spec(30, 3))
    with pytest.raises(ValueError, match=r"batch_size must be <= num_examples = 30"):
        minibatch(40, "without_replacement").check(Spec(30, 3))
    with pytest.raises(ValueError, match="sampling"):
        minibatch(4, "bootstrap")
    for drop in (True, False):
        with pytest.raises(ValueError, match=r"batch_size must be <= num_examples = 30"):
            minibatch(40, "shuffled", drop).check(Spec(30, 3))


def test_only_epochs_have_a_last_batch() -> None:
    for sampling in ("with_replacement", "without_replacement"):
        with pytest.raises(ValueError, match=f"drop_last must be True .* when sampling='{sampling}', got False"):
            minibatch(4, sampling, drop_last=False)
    with pytest.raises(TypeError, match="drop_last must be True or False, got 'no'"):
        minibatch(4, "shuffled", drop_last="no")
