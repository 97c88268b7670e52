"""Stream: counter-based randomness bound to (seed, chain), the only source of random numbers in a simulation.

Every word depends on (seed, chain, absolute step, name, position) alone. How a run is cut, how many chains run beside it,
which thread runs it and where it was resumed cannot change a single bit.

Threefry-2x32-20 (Salmon et al., SC 2011), unrolled: JAX lowers its own to a rolled loop that costs twenty times as much
inside a compiled step. The same code runs on NumPy arrays, so that set-up needs no compilation; a test compares both with
`jax.random`'s primitive.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise._types import AnyArray

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
TWO_WORDS_ABOVE = 1 << 24  # one 32-bit word has a relative bias of at most n / 2^32 per index


class Spec(NamedTuple):
    """Sizes that draws depend on; static.

    Attributes
    ----------
    num_examples, num_params
        N and D.
    dtype
        Name of the floating type of the parameters.
    """

    num_examples: int
    num_params: int
    dtype: str = "float32"


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the two 32-bit words of Threefry-2x32 with 20 rounds; operands are uint32 arrays (NumPy or JAX)."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x = x + y
            y = ((y << np.uint32(r)) | (y >> np.uint32(32 - r))) ^ x
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


def multiply_high(word: Any, n: Any) -> Any:
    """Return floor(word·n / 2^32) in 32-bit arithmetic: a number below n from one word."""
    n = np.uint32(n) if isinstance(n, int) else n
    low, high = word & np.uint32(0xFFFF), word >> np.uint32(16)
    n_low, n_high = n & np.uint32(0xFFFF), n >> np.uint32(16)
    u = high * n_low + ((low * n_low) >> np.uint32(16))
    if isinstance(n, np.uint32) and n_high == 0:
        return u >> np.uint32(16)
    v = low * n_high + (u & np.uint32(0xFFFF))
    return high * n_high + (u >> np.uint32(16)) + (v >> np.uint32(16))


def chain_keys(seed: int, chains: AnyArray, era: int = 0) -> AnyArray:
    """Return the keys (chains, 2), uint32, of the streams of the given chains.

    Parameters
    ----------
    seed
        0 <= seed < 2^64.
    chains
        Chain numbers, shape (chains,).
    era
        High word of the step counter: runs longer than 2^30 steps change the key, not the counter.
    """
    halves = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32)
    chains = np.asarray(chains, np.uint32)
    x, y = threefry((halves[:1], halves[1:]), (chains, np.full_like(chains, era)))
    return np.stack([x, y], -1)


def seed_of(key: Any) -> int:
    """Return the 64-bit seed behind `key`: an int, or a JAX key (typed or raw)."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if not 0 <= int(key) < 1 << 64:
            msg = f"key must lie between 0 and 2^64 - 1, got {int(key)}."
            raise ValueError(msg)
        return int(key)
    dtype = getattr(key, "dtype", None)
    if dtype is not None:
        import jax

        data = np.asarray(jax.random.key_data(key) if jnp.issubdtype(dtype, jax.dtypes.prng_key) else key)
        if data.dtype == np.uint32 and data.shape == (2,):
            return int(data[0]) << 32 | int(data[1])
    msg = f"key must be an int or one JAX random key, got {type(key).__name__} {getattr(key, 'shape', '')}."
    raise TypeError(msg)


class Stream(NamedTuple):
    """Random numbers of one chain; `steps` are absolute step numbers (K,), uint32 or int32.

    Attributes
    ----------
    key
        Two uint32 words, shape (2,).
    """

    key: Any

    @classmethod
    def of(cls, seed: int, chain: int = 0) -> Stream:
        """Return the stream of one chain of a run with this seed."""
        return cls(chain_keys(seed, np.array([chain]))[0])

    def child(self, name: str) -> Stream:
        """Return the stream for one purpose: numbers of differently named children are independent."""
        digest = np.frombuffer(hashlib.blake2s(name.encode(), digest_size=8).digest(), "<u4")
        first, second = threefry((self.key[..., :1], self.key[..., 1:]), (digest[:1], digest[1:]))
        concatenate = np.concatenate if isinstance(first, np.ndarray) else jnp.concatenate
        return Stream(concatenate([first, second], -1))

    def bits(self, steps: Any, n: int) -> Any:
        """Return n words a step: uint32 (K, n)."""
        # one word of the pair a counter: joining both stops XLA's vectorisation (507 against 85 ns)
        counter = (steps.astype(np.uint32)[:, None], np.arange(n, dtype=np.uint32))
        return threefry((self.key[0:1], self.key[1:2]), counter)[0]

    def uniform(self, steps: Any, n: int, dtype: str = "float32") -> Any:
        """Return numbers in the open interval (0, 1), shape (K, n)."""
        words = self.bits(steps, n)
        if dtype == "float64":
            return (words.astype(np.float64) + 0.5) * 2.0**-32
        # 23 bits: with 24 the largest word rounds to exactly 1 and its normal is infinite
        return ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)

    def normal(self, steps: Any, n: int, dtype: str = "float32") -> Any:
        """Return standard normal numbers, shape (K, n); |z| < 5.4 in float32, 6.4 in float64."""
        u = self.uniform(steps, n, dtype)
        return lax.erf_inv(2 * u - 1) * u.dtype.type(2.0**0.5)

    def indices(self, steps: Any, n: int, bound: int) -> Any:
        """Return n independent indices below `bound` a step: int32 (K, n)."""
        high = self.bits(steps, n)
        index = multiply_high(high, bound)
        if bound > TWO_WORDS_ABOVE:
            low_product = high * np.uint32(bound)
            carried = low_product + multiply_high(self.child("low").bits(steps, n), bound)
            index = index + (carried < low_product).astype(np.uint32)
        return index.astype(np.int32)
