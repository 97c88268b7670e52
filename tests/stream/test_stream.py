"""The stream: bit-equal to JAX's threefry, uniform, unbiased, and independent of how it is asked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from gradnoise.stream import Stream, chain_keys, multiply_high, seed_of, threefry
from gradnoise.testing import assert_uniform


def words(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, n, dtype=np.uint64).astype(np.uint32)


def test_threefry_equals_jax_primitive() -> None:
    key, counter = words(0, 2), words(1, 2000)
    ours = threefry((key[:1], key[1:]), (counter[:1000], counter[1000:]))
    theirs = threefry_2x32(jnp.asarray(key), jnp.asarray(counter))
    np.testing.assert_array_equal(np.concatenate(ours), np.asarray(theirs))


def test_numpy_and_jax_agree() -> None:
    keys = chain_keys(2**40 + 7, np.arange(5))
    steps = np.arange(3, dtype=np.int32)
    on_host = np.stack([Stream(k).child("rows").bits(steps, 4) for k in keys])
    in_jax = jax.jit(jax.vmap(lambda k: Stream(k).child("rows").bits(steps, 4)))(keys)
    np.testing.assert_array_equal(on_host, np.asarray(in_jax))


@pytest.mark.parametrize("n", [1, 2, 7, 4898, 65535, 65536, 245057, 2**31 + 5])
def test_multiply_high_is_exact(n: int) -> None:
    word = words(3, 5000)
    expected = (word.astype(np.uint64) * np.uint64(n)) >> np.uint64(32)
    np.testing.assert_array_equal(multiply_high(word, n), expected.astype(np.uint32))
    np.testing.assert_array_equal(multiply_high(word, np.full(5000, n, np.uint32)), expected.astype(np.uint32))


def test_two_words_remove_the_bias_of_large_bounds() -> None:
    bound = 3 * 2**30  # with one word a third of the values would come up twice as often as the others
    index = np.asarray(Stream.of(5).indices(np.arange(2000, dtype=np.int32), 100, bound)).astype(np.uint32)
    exact = [
        (((int(h) << 32) | int(low)) * bound) >> 64
        for h, low in zip(
            Stream.of(5).bits(np.arange(20, dtype=np.int32), 100).ravel(),
            Stream.of(5).child("low").bits(np.arange(20, dtype=np.int32), 100).ravel(),
            strict=True,
        )
    ]
    np.testing.assert_array_equal(index[:20].ravel(), exact)
    assert_uniform(np.bincount((index % 3).ravel().astype(int), minlength=3), false_fail=1e-9)


def test_positions_steps_chains_and_names_do_not_interact() -> None:
    stream = Stream.of(3, 2)
    wide = stream.bits(np.arange(10, dtype=np.int32), 8)
    np.testing.assert_array_equal(wide[4:7, :5], stream.bits(np.arange(4, 7, dtype=np.int32), 5))
    others = [Stream.of(3, 1), Stream.of(4, 2), stream.child("a"), stream.child("b"), stream.child("a").child("b")]
    for other in others:
        assert (other.bits(np.arange(10, dtype=np.int32), 8) == wide).mean() < 0.05
    assert (chain_keys(3, np.arange(4), era=1) != chain_keys(3, np.arange(4))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_is_open_and_normal_is_finite_at_the_extreme_words(dtype: str) -> None:
    class Extreme(Stream):
        def bits(self, steps: np.ndarray, n: int) -> np.ndarray:
            return np.array([[0, 2**32 - 1]], np.uint32)

    with jax.enable_x64(dtype == "float64"):
        u = np.asarray(Extreme(np.zeros(2, np.uint32)).uniform(np.zeros(1, np.int32), 2, dtype))
        z = np.asarray(Extreme(np.zeros(2, np.uint32)).normal(np.zeros(1, np.int32), 2, dtype))
    assert u.dtype == dtype
    assert z.dtype == dtype
    assert (u > 0).all()
    assert (u < 1).all()
    assert np.isfinite(z).all()


def test_normals_are_normal() -> None:
    z = np.asarray(Stream.of(11).normal(np.arange(10_000, dtype=np.int32), 100)).ravel()
    assert stats.kstest(z, "norm").pvalue > 1e-6
    shifted = stats.kstest(z * 1.02, "norm").pvalue  # a 2 % error of scale would be seen
    assert shifted < 1e-6


def test_seed_of_accepts_ints_and_keys() -> None:
    assert seed_of(7) == 7
    assert seed_of(jax.random.key(7)) == 7
    assert seed_of(jax.random.PRNGKey(2**40)) == seed_of(np.array(jax.random.PRNGKey(2**40)))
    for bad in (-1, 1 << 64, "a", True, jax.random.split(jax.random.key(0), 3)):
        with pytest.raises((ValueError, TypeError), match="key"):
            seed_of(bad)
