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


# slow: steps between those beside them, and long ones, which tests/conformance runs through the engine
@pytest.mark.parametrize(
    ("x", "mu"),
    [
        (0.05, 0.0),
        pytest.param(1.0, 0.0, marks=pytest.mark.slow),
        pytest.param(5.0, 0.0, marks=pytest.mark.slow),
        (1.0, 0.5),
    ],
)
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


@pytest.mark.parametrize(("count", "batch", "mu"), [(13, 6, 0.0), (13, 6, 0.5), (11, 4, 0.0)])
@pytest.mark.false_fail(1e-6)
def test_the_last_batch_is_kept(Sgd, Epochs, count, batch, mu):
    """13 = 6 + 6 + 1, 11 = 4 + 4 + 3: the mean over the last batch's own examples, at epoch ends and at every position."""
    noises = centred(count)
    spread = noises.T @ noises / count
    setting = {"learning_rate": 0.25, "momentum": mu, "batch_size": batch, "num_examples": count}
    sgd = Sgd(noise=Epochs(noises, batch, 31, drop_last=False), rate=0.25, mu=mu, hessian=SOFT)
    gap = 3 * int(np.ceil(2 * theory.relaxation_times(SOFT, learning_rate=0.25, momentum=mu).max() / 3))
    sgd.advance(4 * gap)
    ends, inside = [], []
    for k in range(15):
        ends.append(sgd.advance(gap))
        sgd.advance(k % 3 + 1)
        inside.append(sgd.theta)
        sgd.advance(2 - k % 3)
    kept = {
        p: theory.stationary_covariance(SOFT, spread, sampling="shuffled", position=p, drop_last=False, **setting)
        for p in ("end", "mean")
    }
    independent = theory.stationary_covariance(SOFT, spread, **setting)
    whole = setting | {"num_examples": 3 * batch}
    if count == 13:  # one example alone: more variance than independent batches have
        assert (np.linalg.eigvalsh(kept["end"] - independent) > 0).all()
    for sample, position, other in ((ends, "end", "mean"), (inside, "mean", "end")):
        wrong = {
            "noise x 1.05": 1.05 * kept[position],
            "rest dropped": theory.shuffled_covariance(SOFT, spread, position=position, **setting),
            "a last batch of full size": theory.shuffled_covariance(SOFT, spread, position=position, **whole),
            "end and mean swapped": kept[other],
            "independent batches": independent,
        }
        planted_defects(check(np.stack(sample, axis=1)), kept[position], wrong)


@pytest.mark.parametrize("drop_last", [True, False])
def test_langevin_with_and_without_the_last_batch(Sgd, Epochs, drop_last):
    noises = centred(9)
    spread = noises.T @ noises / 9
    setting = {"step_size": 0.06, "num_examples": 9, "batch_size": 4, "preconditioner": 2 * P, "sampling": "shuffled"}
    sgd = Sgd(
        noise=Epochs(noises, 4, 41, drop_last=drop_last), rate=0.27, P=2 * P, injected=0.12 * P, hessian=SOFT, seed=42
    )
    slowest = theory.relaxation_times(SOFT, learning_rate=0.27, preconditioner=2 * P).max()
    sample = sgd.sample((3 if not drop_last else 2) * int(np.ceil(slowest / 2)))
    right, other = (
        theory.langevin_covariance(SOFT, spread, **setting, position="end", drop_last=drop)
        for drop in (drop_last, not drop_last)
    )
    planted_defects(check(sample), right, {"noise x 1.05": 1.05 * right, "the other epoch": other})
    error = theory.langevin_error(SOFT, spread, **setting, drop_last=drop_last)
    mean = theory.langevin_covariance(SOFT, spread, **setting, drop_last=drop_last)
    exact = np.linalg.inv(SOFT) / 9
    np.testing.assert_allclose(error.discretisation + error.minibatch, mean - exact, rtol=1e-10, atol=1e-14)
