"""Strategies: matrices, numbers and data at scales from 1e-8 to 1e8, drawn from a few integers, so that they shrink."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)
DIMS = st.integers(1, 4)
SCALES = st.floats(-8, 8).map(lambda x: float(10**x))
MILD = st.floats(-2, 2).map(lambda x: float(10**x))
SHARES = st.floats(0.02, 0.98)
MOMENTA = st.one_of(st.just(0.0), st.floats(0.05, 0.95))
BATCHES = st.integers(1, 500)


@st.composite
def definite(draw: Any, dim: int | None = None, spread: float = 3.0, scale: Any = SCALES) -> np.ndarray:
    """Symmetric, positive definite, condition number up to 10**spread, at any scale."""
    size = draw(DIMS) if dim is None else dim
    values = 10 ** (-np.random.default_rng(draw(SEEDS)).uniform(0, spread, size))
    return turned(values, draw(SEEDS)) * draw(scale)


@st.composite
def semidefinite(draw: Any, dim: int, scale: Any = SCALES) -> np.ndarray:
    """Symmetric without negative eigenvalues, sometimes of lower rank (never zero)."""
    rank = draw(st.integers(1, dim))
    values = np.r_[10 ** (-np.random.default_rng(draw(SEEDS)).uniform(0, 2, rank)), np.zeros(dim - rank)]
    return turned(values, draw(SEEDS)) * draw(scale)


def turned(values: np.ndarray, seed: int) -> np.ndarray:
    """Matrix with these eigenvalues along random directions, symmetric to the last bit."""
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    product = (basis * values) @ basis.T
    return product / 2 + product.T / 2


@st.composite
def vector(draw: Any, dim: int, scale: Any = MILD) -> np.ndarray:
    """Vector of normals."""
    return np.random.default_rng(draw(SEEDS)).standard_normal(dim) * draw(scale)


@st.composite
def noisy(draw: Any, share: Any = SHARES, momentum: Any = MOMENTA) -> dict[str, Any]:
    """Arguments of SGD's law: H, C, a learning rate at a share of the stability edge, batch size, momentum, Nesterov or not."""
    hessian = draw(definite())
    mu = draw(momentum)
    nesterov = mu > 0 and draw(st.booleans())
    edge = 2 * (1 + mu) / np.linalg.eigvalsh(hessian)[-1] / ((1 + 2 * mu) if nesterov else 1)
    return {
        "hessian": hessian,
        "gradient_covariance": draw(semidefinite(len(hessian))),
        "learning_rate": float(edge * draw(share)),
        "batch_size": draw(BATCHES),
        "momentum": mu,
        "nesterov": nesterov,
    }


# what somebody may hand over by mistake
ODD = st.sampled_from(
    [
        None, "0.1", "", b"x", True, float("nan"), float("inf"), -float("inf"), -1, 0, -0.0, 1e300, -1e300, 5e-324, 1e-300, 10**400,
        -(10**400), 2**63, 1 + 2j, [], {}, (), [[]], [1.0, [2.0]], np.array([]), np.zeros((0, 0)), np.eye(2), -np.eye(3), np.ones(3),
        np.full((3, 3), np.nan), np.zeros((3, 3)), np.ones((3, 3, 3)), np.array(["a", "b"]), np.array([1, None], dtype=object), np.arange(9.0).reshape(3, 3),
        np.array(0.3), np.float32(0.3), np.int8(3), np.eye(3) * 1e300, np.eye(3) * 1e-300, np.eye(3, dtype=np.float16), np.eye(3) * (1 + 1j),
        np.datetime64("2020-01-01"), object(), len, range(3), "shuffled", "continuous", 0.5, 3, 1e9,
    ]
)  # fmt: skip
