"""One law test for all: every process follows its own LinearChain on a quadratic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optax
import pytest
import table

import gradnoise as gn
from gradnoise.testing import assert_covariance, assert_fails

CHAINS, SNAPSHOTS = 512, 480  # half a relaxation time apart, the cheapest way to the same precision


def sample(process: Any, relaxation: float) -> np.ndarray:
    every = max(1, math.ceil(relaxation / 2))
    burn_in = math.ceil(12 * relaxation)
    run = gn.simulate(
        table.problem(),
        process,
        num_steps=burn_in + SNAPSHOTS * every,
        num_chains=CHAINS,
        key=20,
        burn_in=burn_in,
        record=gn.record.draws(every=every),
        progress=False,
    )
    return np.asarray(run.draws, np.float64)


# slow: programs and formulas of which a neighbour has all parts (nesterov: preconditioned nesterov; gaussian noise and corrected
# langevin: the .9 one; langevin: preconditioned), or which processes/test_kinetic.py tries by default (kinetic)
LONG = {
    "sgd, gaussian noise",
    "nesterov",
    "preconditioned",
    "preconditioned heavy ball",
    "langevin",
    "langevin, full gradient",
    "kinetic, BAOAB",
    "kinetic, UBU with a mass",
    "kinetic, half kicks",
    "corrected langevin",
}


@pytest.mark.law
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in table.LINEAR_PROCESSES]
)
def test_every_process_follows_its_linear_chain(name: str) -> None:
    process = table.LINEAR_PROCESSES[name]()
    chain = process.linear(table.HESSIAN, table.COVARIANCE, table.N)
    draws = sample(process, chain.relaxation_time)
    check = {"mean": np.zeros(table.D), "false_fail": 1e-7, "detects": 0.05}
    assert_covariance(draws, chain.covariance, **check)
    assert_fails(lambda: assert_covariance(draws, 1.05 * chain.covariance, **check), defect="noise 5 % too large")


@pytest.mark.law
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_noise_does_not_commute_with_curvature_and_continuous_time_fails(momentum: float) -> None:
    rate = 0.5 / np.linalg.eigvalsh(table.HESSIAN)[-1]
    h, c = table.HESSIAN, table.COVARIANCE
    assert np.abs(h @ c - c @ h).max() > 0.1
    rule = table.sgd(learning_rate=rate, **({"momentum": momentum} if momentum else {}))
    process = gn.processes.compose(gn.oracles.minibatch(4), rule)
    settings = {"learning_rate": rate, "batch_size": 4, "momentum": momentum}
    draws = sample(process, process.linear(h, c, table.N).relaxation_time)
    check = {"mean": np.zeros(table.D), "false_fail": 1e-7, "detects": 0.05}
    assert_covariance(draws, gn.theory.stationary_covariance(h, c, **settings), **check)
    continuous = gn.theory.stationary_covariance(h, c, time="continuous", **settings)
    assert_fails(lambda: assert_covariance(draws, continuous, **check), defect="continuous time")


@pytest.mark.law
@pytest.mark.parametrize(
    ("position", "x"),
    [
        # slow: an epoch of small steps takes ten times as many; one epoch after another as at x = 1
        pytest.param("end", 0.05, marks=pytest.mark.slow),
        ("end", 1.0),
        # slow: the position and the size of x, each tried with the other
        pytest.param("end", 5.0, marks=pytest.mark.slow),
        pytest.param(3, 0.05, marks=pytest.mark.slow),
        pytest.param(3, 1.0, marks=pytest.mark.slow),
        (3, 5.0),
    ],
)
def test_shuffled_epochs_follow_the_closed_form(x: float, position: str | int) -> None:
    """x = ηλN/B along the softest direction; independent noise would be off by up to a factor of hundreds."""
    h, c = table.HESSIAN, table.COVARIANCE
    size = 4 if x < 5 else 1  # x = 5 needs many steps an epoch, or the stiff direction is unstable
    per_epoch = table.N // size
    rate = x / (np.linalg.eigvalsh(h)[0] * per_epoch)
    settings = {"learning_rate": rate, "batch_size": size, "num_examples": table.N}
    predicted = gn.theory.stationary_covariance(h, c, sampling="shuffled", position=position, **settings)
    epochs_apart = math.ceil(0.5 / x)
    epochs = {0.05: 360, 1.0: 200, 5.0: 160}[x] * epochs_apart
    offset = 0 if position == "end" else int(position)
    burn_in = math.ceil(12 / x) * per_epoch + offset
    run = gn.simulate(
        table.problem(),
        gn.oracles.minibatch(size, "shuffled"),
        gn.rule(optax.sgd, learning_rate=rate),
        num_steps=burn_in + epochs * per_epoch,
        num_chains=CHAINS,
        key=4,
        burn_in=burn_in,
        record=gn.record.draws(every=epochs_apart * per_epoch),
        progress=False,
    )
    draws = np.asarray(run.draws, np.float64)
    check = {"mean": np.zeros(table.D), "false_fail": 1e-7, "detects": 0.05}
    assert_covariance(draws, predicted, **check)
    assert_fails(lambda: assert_covariance(draws, 1.05 * predicted, **check), defect="noise 5 % too large")
    independent = gn.theory.stationary_covariance(h, c, sampling="without_replacement", **settings)
    assert_fails(lambda: assert_covariance(draws, independent, **check), defect="independent batches")


@pytest.mark.law
def test_epochs_that_keep_a_last_batch_follow_the_closed_form() -> None:
    """40 = 13 + 13 + 13 + 1: one row alone has more variance than independent batches, and the oracle gives it."""
    h, c = table.HESSIAN, table.COVARIANCE
    settings = {"learning_rate": 0.3, "batch_size": 13, "num_examples": table.N}
    run = gn.simulate(
        table.problem(),
        gn.oracles.minibatch(13, "shuffled", drop_last=False),
        gn.rule(optax.sgd, learning_rate=0.3),
        num_steps=80 + 32 * 13,
        num_chains=1280,
        key=6,
        burn_in=80,
        record=gn.record.draws(every=13),  # 1 modulo the four steps of an epoch: every position in turn
        progress=False,
    )
    draws = np.asarray(run.draws, np.float64)
    check = {"mean": np.zeros(table.D), "false_fail": 1e-6, "detects": 0.15}
    independent = gn.theory.stationary_covariance(h, c, **settings)
    for position, sample in (("end", draws[:, 3::4]), ("mean", draws)):
        predicted, dropped = (
            gn.theory.stationary_covariance(h, c, sampling="shuffled", position=position, drop_last=drop, **settings)
            for drop in (False, True)
        )
        assert (np.linalg.eigvalsh(predicted - independent) > 0).all()
        assert_covariance(sample, predicted, **check)
        wrong = {"rest dropped": dropped, "independent batches": independent, "noise x 1.2": 1.2 * predicted}
        for defect, law in wrong.items():
            assert_fails(lambda law=law, sample=sample: assert_covariance(sample, law, **check), defect=defect)


@pytest.mark.parametrize("name", table.NOT_LINEAR)
def test_processes_without_a_linear_law_say_why(name: str) -> None:
    make, reason = table.NOT_LINEAR[name]
    law = make().linear(table.HESSIAN, table.COVARIANCE, table.N)
    assert not law
    assert reason in law.reason
