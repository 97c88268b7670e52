"""Law: exact permutations, simulated, against the closed forms of shuffled epochs."""

from __future__ import annotations

import numpy as np
import pytest

from gradnoise import theory
from gradnoise.testing import assert_covariance, planted_defects

pytestmark = pytest.mark.law

P = np.array([[0.4, 0.1], [0.1, 0.3]])
SOFT = np.array([[1.0, 0.2], [0.2, 0.6]])


def check(sample):
    return lambda predicted: assert_covariance(sample, predicted, mean=np.zeros(sample.shape[-1]))


def centred(count, seed=7):
    noises = np.random.default_rng(seed).normal(size=(count, 2)) @ np.array([[1.0, -0.5], [0.0, 0.6]])
    return noises - noises.mean(0)


@pytest.mark.parametrize(("x", "mu"), [(0.05, 0.0), (1.0, 0.0), (5.0, 0.0), (1.0, 0.5)])
def test_shuffled(Sgd, Epochs, x, mu):
    """x = η λ N/B along the stiff direction; N = 9, B = 2: four steps an epoch, one example left out."""
    noises, batch = centred(9), 2
    spread = noises.T @ noises / 9
    setting = {
        "learning_rate": x * (1 - mu) * batch / (9 * np.linalg.eigvalsh(SOFT)[-1]),
        "momentum": mu,
        "batch_size": batch,
        "num_examples": 9,
    }
    epochs = Epochs(noises, batch, seed=int(10 * x))
    sgd = Sgd(noise=epochs, rate=setting["learning_rate"], mu=mu, hessian=SOFT)
    slowest = theory.relaxation_times(SOFT, learning_rate=setting["learning_rate"], momentum=mu).max()
    gap = 4 * int(np.ceil(2 * slowest / 4))
    sgd.advance(4 * gap)
    ends, inside = [], []
    for k in range(16):
        ends.append(sgd.advance(gap))
        sgd.advance(k % 4 + 1)  # every position of the epoch equally often
        inside.append(sgd.theta)
        sgd.advance(3 - k % 4)
    end, mean = (theory.shuffled_covariance(SOFT, spread, **setting, position=p) for p in ("end", "mean"))
    independent = theory.stationary_covariance(SOFT, spread, **setting, sampling="without_replacement")
    rounded = theory.shuffled_covariance(SOFT, spread, **setting | {"num_examples": 8})
    common = {"noise x 1.05": 1.05, "independent batches": None}
    for sample, right, other in ((ends, end, mean), (inside, mean, end)):
        wrong = {name: independent if f is None else f * right for name, f in common.items()}
        wrong |= {"end and mean swapped": other, "remainder of N/B ignored": rounded}
        planted_defects(check(np.stack(sample, axis=1)), right, wrong)


def test_epoch_average_and_fixed_order(Sgd, Epochs):
    noises, batch = centred(9), 2
    spread = noises.T @ noises / 9
    setting = {"learning_rate": 0.3, "momentum": 0.4, "batch_size": batch, "num_examples": 9}
    sgd = Sgd(noise=Epochs(noises, batch, seed=11), rate=0.3, mu=0.4, hessian=SOFT)
    sgd.advance(200)
    averages = []
    for _ in range(16):
        sgd.advance(32)
        averages.append(np.mean([sgd.advance() for _ in range(4)], axis=0))
    right = theory.epoch_average_covariance(SOFT, spread, **setting)
    independent = theory.iterate_average_covariance(
        SOFT, spread, learning_rate=0.3, momentum=0.4, batch_size=batch, window=4
    )
    planted_defects(
        check(np.stack(averages, axis=1)), right, {"noise x 1.05": 1.05 * right, "independent batches": independent}
    )
    fixed = Epochs(noises, batch, seed=12)
    cycles = []
    for _ in range(16):  # the cycle of one order: iterate until it is reached
        fixed()
        order, fixed.at = fixed.order, 0
        sgd = Sgd(noise=lambda: None, rate=0.3, mu=0.4, hessian=SOFT)
        batches = [noises[order[:, 2 * k : 2 * k + 2]].mean(1) for k in range(4)]
        for step in range(120):
            sgd.noise = lambda now=batches[step % 4]: now
            sgd.advance()
        cycles.append(sgd.theta)
    right = theory.fixed_order_covariance(SOFT, spread, **setting)
    planted_defects(
        check(np.stack(cycles, axis=1)),
        right,
        {
            "noise x 1.05": 1.05 * right,
            "new order each epoch": theory.shuffled_covariance(SOFT, spread, **setting, position="end"),
        },
    )


def test_langevin_shuffled_and_preconditioned(Sgd, Epochs):
    noises = centred(9)
    spread = noises.T @ noises / 9
    setting = {"step_size": 0.1, "num_examples": 9, "batch_size": 2, "preconditioner": 2 * P}
    sgd = Sgd(noise=Epochs(noises, 2, seed=21), rate=0.45, P=2 * P, injected=0.2 * P, hessian=SOFT, seed=22)
    slowest = theory.relaxation_times(SOFT, learning_rate=0.45, preconditioner=2 * P).max()
    right = theory.langevin_covariance(SOFT, spread, **setting, sampling="shuffled", position="end")
    independent = theory.langevin_covariance(SOFT, spread, **setting)
    planted_defects(
        check(sgd.sample(4 * int(np.ceil(slowest / 2)))),
        right,
        {"noise x 1.05": 1.05 * right, "independent batches": independent},
    )
