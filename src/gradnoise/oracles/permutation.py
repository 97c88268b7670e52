"""Exact random permutations inside a compiled step, without storing them.

Below `SORT_BELOW` examples: a sort of (random high bits | index). Above: a Feistel network on a·b >= n, whose a·b - n
surplus points are walked once an epoch until none is left. Quality of the Feistel network below about a hundred points is
poor (a chi-square test rejects it at n = 12), which is why small data are sorted.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from gradnoise.stream import Stream, multiply_high

SORT_BELOW = 1024
ROUNDS = 8


def least_waste(n: int) -> tuple[int, int]:
    """Return factors a·b >= n, a between √n/2 and 2√n, with a·b - n as small as possible."""
    root = math.isqrt(n - 1) + 1
    pairs = ((a, -(-n // a)) for a in range(max(2, root // 2), 2 * root))
    return min(pairs, key=lambda p: (p[0] * p[1] - n, abs(p[0] - p[1])))


def sorted_epochs(stream: Stream, epochs: Any, n: int) -> Any:
    """Return one permutation of 0..n-1 an epoch, shape (epochs, n): needs n <= 2^16, exact, ties (1 in 2^16 pairs) by index."""
    index_bits = max((n - 1).bit_length(), 1)
    high = stream.bits(epochs, n) >> np.uint32(index_bits) << np.uint32(index_bits)
    packed = jnp.sort(high | jnp.arange(n, dtype=jnp.uint32), axis=-1)
    return (packed & np.uint32((1 << index_bits) - 1)).astype(jnp.int32)


def _mix(word: Any, key: Any, which: int) -> Any:
    z = (word * np.uint32(0x9E3779B1)) ^ key ^ np.uint32((which * 0x7F4A7C15) & 0xFFFFFFFF)
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D)
    z = (z ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B)
    return z ^ (z >> np.uint32(16))


def _network(position: Any, keys: tuple[Any, Any], a: int, b: int) -> Any:
    """Permute 0..a·b-1: alternately shift each half by a hash of the other."""
    left, right = position // np.uint32(b), position % np.uint32(b)
    for i in range(ROUNDS):
        if i % 2 == 0:
            left = left + multiply_high(_mix(right, keys[0], i), a)
            left = jnp.where(left >= np.uint32(a), left - np.uint32(a), left)
        else:
            right = right + multiply_high(_mix(left, keys[1], i), b)
            right = jnp.where(right >= np.uint32(b), right - np.uint32(b), right)
    return left * np.uint32(b) + right


def feistel(stream: Stream, epochs: Any, positions: Any, n: int) -> Any:
    """Return the entries at `positions` (K, m) of the permutation of each row's epoch (K,): int32 (K, m)."""
    keys = stream.child("left").bits(epochs, 1), stream.child("right").bits(epochs, 1)
    a, b = least_waste(n)
    out = _network(positions.astype(jnp.uint32), keys, a, b)
    surplus = a * b - n
    if surplus:
        start = jnp.broadcast_to(jnp.arange(n, a * b, dtype=jnp.uint32), (epochs.shape[0], surplus))
        # A surplus point reached from inside leaves within `surplus` moves; one on a cycle of surplus points never does,
        # and nobody asks for it: hence the count.
        _, inside = lax.while_loop(
            lambda s: (s[0] < surplus) & (s[1] >= np.uint32(n)).any(),
            lambda s: (s[0] + 1, jnp.where(s[1] >= np.uint32(n), _network(s[1], keys, a, b), s[1])),
            (1, _network(start, keys, a, b)),
        )
        for w in range(surplus):
            out = jnp.where(out == np.uint32(n + w), inside[:, w : w + 1], out)
    return out.astype(jnp.int32)


def subset(stream: Stream, steps: Any, n: int, size: int) -> Any:
    """Return a fresh uniform subset of `size` out of n a step (Floyd's algorithm): int32 (K, size)."""
    words = stream.bits(steps, size)

    def add(i: Any, chosen: Any) -> Any:
        last = (n - size + i).astype(jnp.uint32)
        t = multiply_high(lax.dynamic_index_in_dim(words, i, 1), last + np.uint32(1)).astype(jnp.int32)
        taken = (chosen == t).any(1, keepdims=True)
        return lax.dynamic_update_slice_in_dim(chosen, jnp.where(taken, last.astype(jnp.int32), t), i, 1)

    return lax.fori_loop(0, size, add, jnp.full((steps.shape[0], size), -1, jnp.int32))
