"""Independent routes to the same numbers: linear systems over vec(Σ), sums, enumeration, searches. Nothing of ours is called here."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy import linalg, optimize


def transition(
    hessian: Any, rate: float, mu: float = 0.0, nesterov: bool = False, P: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """F and G of (θ, m) ← F (θ, m) + G ξ, ξ the noise of the gradient: m ← μm + g, θ ← θ − ηP(m, or μm + g)."""
    d = len(hessian)
    P = np.eye(d) if P is None else P
    lead = 1 + mu if nesterov else 1.0
    carried = mu * mu if nesterov else mu
    F = np.block([[np.eye(d) - rate * lead * P @ hessian, -rate * carried * P], [hessian, mu * np.eye(d)]])
    return F, np.vstack([-rate * lead * P, np.eye(d)])


def spectral_radius(*args: Any, **kwargs: Any) -> float:
    return float(np.abs(np.linalg.eigvals(transition(*args, **kwargs)[0])).max())


def fixed_point(F: np.ndarray, Omega: np.ndarray, K: np.ndarray | None = None) -> np.ndarray:
    """Σ = FΣFᵀ + Ω through the linear system of vec(Σ); K = I − F, which keeps its digits where a step forgets 1e-10 of θ."""
    n = len(F)
    K = np.eye(n) - F if K is None else K
    return np.linalg.solve(np.kron(K, F) + np.kron(np.eye(n), K), Omega.reshape(-1)).reshape(n, n)


def factor(batch: int, sampling: str = "with_replacement", examples: int | None = None) -> float:
    return 1 / batch if sampling == "with_replacement" else (examples - batch) / (batch * (examples - 1))


def scaled(hessian: Any, C: Any, rate: float) -> tuple[Any, Any, float, float, float]:
    """In units where H and C are of size one: H/h, C/c, ηh, and the factor c/h² on a covariance."""
    h, c = np.abs(hessian).max(), max(np.abs(C).max(), 1e-300)
    return hessian / h, C / c, rate * h, c / h / h, h


def state_law(hessian: Any, S: Any, rate: float, mu: float = 0.0, nesterov: bool = False, P: Any = None, injected: Any = None) -> Any:  # fmt: skip
    F, G = transition(hessian, rate, mu, nesterov, P)
    Omega = G @ S @ G.T
    K = np.eye(len(F)) - F
    K[: len(hessian), : len(hessian)] = -G[: len(hessian)] @ hessian  # not one minus one minus it
    if injected is not None:
        Omega[: len(hessian), : len(hessian)] += injected
    if mu == 0:  # m has no memory: θ alone
        d = len(hessian)
        F, Omega, K = F[:d, :d], Omega[:d, :d], K[:d, :d]
    return F, fixed_point(F, Omega, K)


def sgd_law(hessian: Any, C: Any, rate: float, share: float, mu: float = 0.0, nesterov: bool = False) -> np.ndarray:
    """Stationary covariance of SGD, batch noise C·share, in units that keep the linear system well scaled."""
    H, N, eta, unit, _ = scaled(hessian, C, rate)
    return state_law(H, N * share, eta, mu, nesterov)[1][: len(H), : len(H)] * unit


def edge_by_bisection(hessian: Any, mu: float, nesterov: bool) -> float:
    """Largest stable learning rate, from the spectral radius alone."""
    h = np.abs(np.linalg.eigvalsh(hessian)).max()
    high = 1.0
    while spectral_radius(hessian / h, high, mu, nesterov) < 1:
        high *= 2
    low = high / 2 if high > 1 else 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if spectral_radius(hessian / h, middle, mu, nesterov) < 1 else (low, middle)
    return float((low + high) / 2 / h)


def kl(cov_q: Any, cov_p: Any, mean_q: Any = None, mean_p: Any = None) -> float:
    """KL(q‖p) by solving, in p's own units."""
    d = np.sqrt(np.diag(cov_p))
    Q, P = cov_q / np.outer(d, d), cov_p / np.outer(d, d)
    gap = np.zeros(len(d)) if mean_q is None else (np.asarray(mean_p) - mean_q) / d
    ratio = np.linalg.solve(P, Q)
    return float((np.trace(ratio) - len(d) - np.log(np.linalg.eigvals(ratio).real).sum() + gap @ np.linalg.solve(P, gap)) / 2)  # fmt: skip


def window_average(F: Any, Sigma: Any, d: int, window: int) -> np.ndarray:
    """Covariance of the mean of `window` consecutive θ, as a double sum."""
    total, power = window * Sigma, np.eye(len(F))
    for lag in range(1, window):
        power = power @ F
        cross = power @ Sigma
        total = total + (window - lag) * (cross + cross.T)
    return total[:d, :d] / window**2


def long_run(F: Any, Sigma: Any, d: int) -> np.ndarray:
    """Σ over all lags of the autocovariance."""
    cross = np.linalg.solve(np.eye(len(F)) - F, F @ Sigma)
    return (Sigma + cross + cross.T)[:d, :d]


def permutations_law(hessian: Any, gradients: Any, rate: float, batch: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Shuffled epochs by enumeration of all orders: covariance at epoch ends, and after 1 … n steps; gradients sum to zero."""
    d, n = len(hessian), len(gradients) // batch
    Q = np.eye(d) - rate * hessian
    sums = [np.zeros((d, d)) for _ in range(n)]
    count = 0
    for order in itertools.permutations(range(len(gradients))):
        theta = np.zeros(d)
        count += 1
        for k in range(n):
            theta = Q @ theta - rate * gradients[list(order[k * batch : (k + 1) * batch])].mean(0)
            sums[k] += np.outer(theta, theta)
    fresh = [s / count for s in sums]
    Qn = np.linalg.matrix_power(Q, n)
    end = fixed_point(Qn, fresh[-1])
    after = [np.linalg.matrix_power(Q, k + 1) @ end @ np.linalg.matrix_power(Q, k + 1).T + fresh[k] for k in range(n)]
    return end, after


def squares_radius(X: Any, rate: float, batch: int) -> float:
    """Spectral radius of the second moments of SGD on mean (xθ − y)²/2, all N^B batches with replacement enumerated."""
    return float(np.abs(np.linalg.eigvals(sum(np.kron(A, A) for A, _ in _batches(X, X[:, 0], rate, batch)))).max()) / len(X) ** batch  # fmt: skip


def least_squares_law(X: Any, y: Any, rate: float, batch: int) -> np.ndarray:
    """Stationary covariance of the same; the mean of θ − θ* stays zero, so that only A ⊗ A and b bᵀ enter."""
    d = X.shape[1]
    rest = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    maps = list(_batches(X, rest, rate, batch))
    K = sum(np.kron(A, A) for A, _ in maps) / len(maps)
    b = sum(np.outer(v, v) for _, v in maps) / len(maps)
    return np.linalg.solve(np.eye(d * d) - K, b.reshape(-1)).reshape(d, d)


def _batches(X: Any, rest: Any, rate: float, batch: int) -> Any:
    for rows in itertools.product(range(len(X)), repeat=batch):
        x, e = X[list(rows)], rest[list(rows)]
        yield np.eye(X.shape[1]) - rate * x.T @ x / batch, rate * x.T @ e / batch


def minimum(function: Any, low: float, high: float) -> float:
    """Minimiser on a log scale, by a grid and then Brent."""
    grid = np.linspace(math.log(low), math.log(high), 200)
    values = [function(math.exp(x)) for x in grid]
    at = int(np.argmin(values))
    a, b = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(lambda x: function(math.exp(x)), bounds=(a, b), method="bounded", options={"xatol": 1e-12})  # fmt: skip
    return math.exp(found.x)


def expm_decay(hessian: Any, time: float) -> np.ndarray:
    return linalg.expm(-hessian * time)
