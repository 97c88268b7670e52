"""Hand-written loops: numba (the practical floor of a CPU) and NumPy (what people write first)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from harness import Variant
from problems import Setting

try:
    import numba
except ImportError:
    numba = None


def numpy_loop(name: str, setting: Setting, chains: int, steps: int) -> Variant:
    """A Python loop over steps, vectorised over the batch and the chains."""
    run = {"network": _numpy_network}.get(setting.kind, _numpy_regression)
    return Variant(name, lambda: run(setting, chains, steps), chains * steps)


def _numpy_regression(setting: Setting, chains: int, steps: int) -> Any:
    random, (n, d) = np.random.default_rng(0), setting.X.shape
    decay = np.float32(1 - setting.learning_rate * setting.prior_precision / n)
    rate = np.float32(setting.learning_rate / setting.batch_size)
    w = np.zeros((chains, d), np.float32)
    for _ in range(steps):
        i = random.integers(0, n, (chains, setting.batch_size))
        x = setting.X[i]
        z = (x @ w[..., None])[..., 0]
        residual = (1 / (1 + np.exp(-z)) if setting.kind == "logistic" else z) - setting.y[i]
        w = decay * w - rate * (residual[:, None] @ x)[:, 0]
    return w


def _numpy_network(setting: Setting, chains: int, steps: int) -> Any:
    random, n = np.random.default_rng(0), setting.num_examples
    layers = [setting.problem.init[k] for k in ("layer0", "layer1")]
    p = [np.repeat(leaf[None], chains, 0) for layer in layers for leaf in (layer["weight"], layer["bias"])]
    decay = np.float32(1 - setting.learning_rate * setting.prior_precision / n)
    rate = np.float32(setting.learning_rate / setting.batch_size)
    for _ in range(steps):
        i = random.integers(0, n, (chains, setting.batch_size))
        x = setting.X[i]
        hidden = np.tanh(x @ p[0] + p[1][:, None])
        logits = hidden @ p[2] + p[3][:, None]
        logits = np.exp(logits - logits.max(-1, keepdims=True))
        g = logits / logits.sum(-1, keepdims=True)
        np.put_along_axis(g, setting.y[i][..., None], np.take_along_axis(g, setting.y[i][..., None], -1) - 1, -1)
        back = (g @ p[2].swapaxes(1, 2)) * (1 - hidden**2)
        grads = (x.swapaxes(1, 2) @ back, back.sum(1), hidden.swapaxes(1, 2) @ g, g.sum(1))
        p = [decay * a - rate * b for a, b in zip(p, grads, strict=True)]
    return _network_params(p)


def _network_params(p: Any) -> Any:
    return {"layer0": {"weight": p[0], "bias": p[1]}, "layer1": {"weight": p[2], "bias": p[3]}}


def gemm(name: str, setting: Setting) -> Variant:
    """Time that the step's matrix products would take at the rate of a 256 × 256 product on one core."""
    a = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)

    def run() -> None:
        for _ in range(50):
            a @ a

    return Variant(name, run, 50 * 2 * 256**3 / setting.flops)


def numba_loop(name: str, setting: Setting, chains: int, steps: int) -> Variant:
    """A compiled loop over chains, steps, rows and columns; xorshift for the rows."""
    x, y = np.ascontiguousarray(setting.X), setting.y
    arguments = (np.float32(setting.learning_rate), np.float32(setting.prior_precision), steps, setting.batch_size)
    if setting.kind == "network":
        init = setting.problem.init
        p = [init[k][leaf] for k in ("layer0", "layer1") for leaf in ("weight", "bias")]

        def run() -> Any:
            out = [_numba_network(x, y, *map(np.copy, p), *arguments, 99 + c) for c in range(chains)]
            return _network_params([np.stack(leaf) for leaf in zip(*out, strict=True)])
    else:
        logistic = setting.kind == "logistic"

        def run() -> Any:
            start = np.zeros((chains, x.shape[1]), np.float32)
            return np.stack([_numba_regression(x, y, w, *arguments, 99 + c, logistic) for c, w in enumerate(start)])

    return Variant(name, run, chains * steps)


if numba is not None:

    @numba.njit(inline="always")
    def _next(s: Any) -> Any:
        s ^= s >> np.uint64(12)
        s ^= s << np.uint64(25)
        return s ^ (s >> np.uint64(27))

    @numba.njit(inline="always")
    def _row(s: Any, n: Any) -> Any:
        return ((s >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)

    @numba.njit(fastmath=True)
    def _numba_regression(
        x: Any, y: Any, w: Any, rate: Any, precision: Any, steps: int, batch: int, seed: int, logistic: bool
    ) -> Any:
        n, d = x.shape
        s, one = np.uint64(seed), np.float32(1)
        g = np.zeros_like(w)
        decay, scale = one - rate * precision / np.float32(n), rate / np.float32(batch)
        for _ in range(20):  # small seeds need a few rounds to mix
            s = _next(s)
        for _ in range(steps):
            g[:] = 0
            for _ in range(batch):
                s = _next(s)
                i = _row(s, n)
                z = np.float32(0)
                for j in range(d):
                    z += x[i, j] * w[j]
                if logistic:
                    z = one / (one + math.exp(-z))
                r = z - y[i]
                for j in range(d):
                    g[j] += r * x[i, j]
            for j in range(d):
                w[j] = decay * w[j] - scale * g[j]
        return w

    @numba.njit(fastmath=True)
    def _numba_network(
        x: Any, y: Any, a: Any, b: Any, c: Any, e: Any, rate: Any, precision: Any, steps: int, batch: int, seed: int
    ) -> Any:
        n, d = x.shape
        s, one = np.uint64(seed), np.float32(1)
        rows, labels = np.empty((batch, d), np.float32), np.empty(batch, np.int32)
        decay, scale = one - rate * precision / np.float32(n), rate / np.float32(batch)
        for _ in range(20):
            s = _next(s)
        for _ in range(steps):
            for k in range(batch):
                s = _next(s)
                i = _row(s, n)
                rows[k], labels[k] = x[i], y[i]
            hidden = np.tanh(np.dot(rows, a) + b)
            g = np.dot(hidden, c) + e
            for k in range(batch):
                g[k] = np.exp(g[k] - g[k].max())
                g[k] /= g[k].sum()
                g[k, labels[k]] -= one
            back = np.dot(g, np.ascontiguousarray(c.T)) * (one - hidden * hidden)
            c = decay * c - scale * np.dot(np.ascontiguousarray(hidden.T), g)
            e = decay * e - scale * g.sum(0)
            a = decay * a - scale * np.dot(np.ascontiguousarray(rows.T), back)
            b = decay * b - scale * back.sum(0)
        return a, b, c, e
