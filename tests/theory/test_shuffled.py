"""Agreement: shuffled epochs against brute force over all orders, and the printed numbers of recent.md section 2.6."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import planted_defects

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])


def sym(*upper: float) -> np.ndarray:
    """Upper triangle, row by row, to a symmetric matrix."""
    size = int((np.sqrt(8 * len(upper) + 1) - 1) / 2)
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


NOISES = np.array([(1, 0.2), (-0.4, 0.6), (0.3, -1.1), (-0.9, 0.3)])
EPOCH = {"learning_rate": 0.2, "momentum": 0.8, "batch_size": 1, "num_examples": 4}


def test_shuffled_recent_2_6():
    spread = NOISES.T @ NOISES / 4
    assert_allclose(
        theory.shuffled_covariance(H, spread, **EPOCH, position="end"), sym(0.0276241, -0.0033915, 0.0624252), atol=6e-8
    )
    assert_allclose(theory.shuffled_covariance(H, spread, **EPOCH), sym(0.0722213, -0.0063799, 0.0766343), atol=6e-8)
    assert_allclose(
        theory.epoch_average_covariance(H, spread, **EPOCH), sym(0.0460475, -0.0075068, 0.0623145), atol=6e-8
    )
    assert_allclose(theory.fixed_order_covariance(H, spread, **EPOCH), sym(0.0074085, -0.0015375, 0.0042215), atol=6e-8)
    independent = theory.stationary_covariance(H, spread, **EPOCH, sampling="without_replacement")
    assert_allclose(independent, sym(0.1473640, -0.1006322, 0.5419739), atol=6e-8)


@pytest.mark.parametrize(
    ("rate", "independent", "shuffled"),
    [(0.001, 1.051201, 1.004046), (0.005, 1.256891, 1.068472), (0.02, 2.041110, 1.628292)],
)
def test_shuffled_langevin_recent_2_6(rate, independent, shuffled):
    setting = {"step_size": 2 * rate / 1000, "num_examples": 1000, "batch_size": 10}
    for sampling, printed in (("with_replacement", independent), ("shuffled", shuffled)):
        law = theory.langevin_covariance(H, C, **setting, sampling=sampling)
        assert_allclose(np.linalg.eigvals(1000 * H @ law).real.max(), printed, atol=6e-7)


def test_shuffled_design_5():
    """x = .05, .3, 1, 5 with n = 50 steps an epoch: formula column of design.md section 5."""
    rates = np.array([0.05, 0.3, 1, 5]) / 50
    found = theory.shuffled_weights(rates, num_examples=50, batch_size=1)
    heavy = theory.shuffled_weights(rates, num_examples=50, batch_size=1, momentum=0.6)
    assert_allclose(heavy, heavy.T, rtol=1e-13)
    independent = theory.mode_covariance(rates, np.ones((4, 4)))
    assert_allclose(found, found.T, rtol=1e-13)
    ends = theory.shuffled_weights(rates, num_examples=50, batch_size=1, position="end")
    planted_defects(
        lambda weights: assert_allclose(np.diag(weights / independent), (0.0168, 0.0951, 0.2717, 0.7057), atol=6e-5),
        found,
        {"independent batches": independent, "momentum": heavy, "ends of the epoch": ends},
    )


def enumerate_orders(hessian, noises, batch, rate, mu, nesterov, drop_last=True):
    """Exact law over all orders of one epoch: covariance at every position, of the average, and of the fixed-order cycle."""
    size, (examples, _) = len(hessian), noises.shape
    steps = examples // batch if drop_last else -(-examples // batch)
    chain = theory.chain_from_noise(hessian, np.eye(size), learning_rate=rate, momentum=mu, nesterov=nesterov)
    F, n = chain.transition, len(chain.transition)
    gain = -rate * (1 + mu if nesterov else 1) * np.eye(size)
    G = gain if mu == 0 else np.vstack([gain, rate * np.eye(size)])
    maps, offsets = [np.eye(n)], []
    for _ in range(steps):
        maps.append(F @ maps[-1])
    for order in itertools.permutations(range(examples)):
        z, path = np.zeros(n), []
        for k in range(steps):
            z = F @ z + G @ noises[list(order[k * batch : (k + 1) * batch])].mean(0)
            path.append(z)
        offsets.append(path)
    offsets = np.array(offsets)  # (orders, steps, n), from z = 0
    within = np.einsum("oki,okj->kij", offsets, offsets) / len(offsets)
    vec = np.linalg.solve(np.eye(n * n) - np.kron(maps[-1], maps[-1]), within[-1].ravel())
    ends = vec.reshape(n, n)
    positions = np.array([m @ ends @ m.T + w for m, w in zip(maps[1:], within, strict=True)])
    means, mean_map = offsets.mean(1), np.mean(maps[1:], axis=0)
    average = mean_map @ ends @ mean_map.T + means.T @ means / len(means)
    cycles = np.linalg.solve(np.eye(n) - maps[-1], offsets[:, -1].T)
    return positions[:, :size, :size], average[:size, :size], (cycles @ cycles.T / len(offsets))[:size, :size]


FIVE = np.vstack([NOISES, [(0.5, 1.4)]]) - np.vstack([NOISES, [(0.5, 1.4)]]).mean(0)


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.8, False), (0.6, True)])
@pytest.mark.parametrize(
    ("noises", "batch", "drop_last"),
    [
        *((NOISES, batch, True) for batch in (1, 2)),
        *((FIVE, batch, True) for batch in (2, 3)),
        (NOISES, 2, False),
        *((FIVE, batch, False) for batch in (1, 2, 3, 4, 5)),
    ],
    ids=["4/1", "4/2", "5/2", "5/3", "4/2 kept", "5/1 kept", "5/2 kept", "5/3 kept", "5/4 kept", "5/5 kept"],
)
def test_shuffled_equals_enumeration(noises, batch, drop_last, mu, nesterov):
    """All 24 (or 120) orders, with and without a remainder, that is dropped or kept as a smaller last batch."""
    positions, average, cycle = enumerate_orders(H, noises, batch, 0.2, mu, nesterov, drop_last)
    spread = noises.T @ noises / len(noises)
    setting = {
        "learning_rate": 0.2,
        "momentum": mu,
        "nesterov": nesterov,
        "batch_size": batch,
        "num_examples": len(noises),
        "drop_last": drop_last,
    }
    for k, expected in enumerate(positions, start=1):
        assert_allclose(theory.shuffled_covariance(H, spread, **setting, position=k), expected, atol=1e-15, rtol=1e-12)
    found = theory.stationary_covariance(H, spread, **setting, sampling="shuffled", position="end")
    assert_allclose(found, positions[-1], atol=1e-15, rtol=1e-12)
    found = theory.stationary_covariance(H, spread, **setting, sampling="shuffled")
    assert_allclose(found, positions.mean(0), atol=1e-15, rtol=1e-12)
    assert_allclose(theory.epoch_average_covariance(H, spread, **setting), average, atol=1e-15, rtol=1e-12)
    assert_allclose(theory.fixed_order_covariance(H, spread, **setting), cycle, atol=1e-15, rtol=1e-12)
