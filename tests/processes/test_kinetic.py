"""Kinetic samplers follow their chains through the engine: every scheme, two step sizes, with and without minibatch noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.oracles import full_batch, gaussian, minibatch
from gradnoise.processes import kinetic
from gradnoise.testing import assert_covariance, planted_defects

N = 40
H = np.array([[1.6, 0.5], [0.5, 0.7]])
M = np.array([[0.9, -0.4], [-0.4, 1.9]])
POINTS = np.random.default_rng(3).normal(size=(N, 2)) @ np.array([[1.2, -0.9], [0.0, 0.8]])
POINTS = POINTS - POINTS.mean(0)
C = H @ np.cov(POINTS.T, bias=True) @ H
SCHEMES = ["BAOAB", "OBABO", "UBU", "ABO", "sghmc", "sghmc_half", "sghmc_naive"]


def log_likelihood(params: Any, example: Any) -> Any:
    gap = params - example
    return -0.5 * gap @ (H.astype(np.float32) @ gap)


def problem() -> gn.Problem:
    return gn.Problem(log_likelihood, POINTS.astype(np.float32), np.zeros(2, np.float32))


def sample(process: Any, chain: Any, chains: int = 512) -> np.ndarray:
    """Positions start from the predicted law; only velocities, at rest, must warm up."""
    relaxation = chain.relaxation_time
    every, burn_in = max(1, math.ceil(relaxation / 2)), math.ceil(5 * relaxation)
    run = gn.simulate(
        problem(),
        process,
        num_steps=burn_in + 480 * every,
        num_chains=chains,
        key=7,
        init=(np.zeros(2, np.float32), chain.covariance),
        burn_in=burn_in,
        record=gn.record.draws(every=every),
        progress=False,
    )
    return np.asarray(run.draws, np.float64)


def check(draws: np.ndarray) -> Any:
    return lambda predicted: assert_covariance(draws, predicted, mean=np.zeros(2))


def test_matrices_do_not_commute() -> None:
    for a, b in ((H, C), (H, M), (C, M)):
        assert np.abs(a @ b - b @ a).max() > 0.05


QUICK = {("large step", scheme) for scheme in SCHEMES} | {
    ("small step", "BAOAB"),
    ("full batch", "OBABO"),
}  # slow: the others; every scheme runs at the large step, where they differ most, and both other settings once
SETTINGS = {
    "small step": (0.3, 1.5, minibatch(10)),
    "large step": (0.8, 2.2, minibatch(10)),
    "full batch": (0.8, 2.2, full_batch()),
}
LOUD = {("small step", "UBU"): [pytest.mark.false_fail(1e-6)]}
LAWS = [
    pytest.param(
        scheme,
        *setting,
        id=f"{scheme}, {name}",
        marks=[*LOUD.get((name, scheme), []), *([] if (name, scheme) in QUICK else [pytest.mark.slow])],
    )
    for name, setting in SETTINGS.items()
    for scheme in SCHEMES
]


@pytest.mark.law
@pytest.mark.parametrize(("scheme", "h", "gamma", "oracle"), LAWS)
def test_every_scheme_follows_its_chain(scheme: str, h: float, gamma: float, oracle: Any) -> None:
    if scheme.startswith("sghmc") and h > 0.5:
        h, gamma = 0.5, 1.9  # Euler's friction is not stable for γh near 2
    settings: dict[str, Any] = {"step_size": h, "friction": gamma, "num_examples": N}
    process = kinetic(oracle, scheme=scheme, mass=M, **settings)
    chain = process.linear(H, C, N)
    noise = oracle.noise(C, N)
    drawn = sample(process, chain)

    def law(**change: Any) -> np.ndarray:
        given = {**settings, "batch_size": 1, "scheme": scheme, "mass": M, **change}
        return gn.theory.kinetic_covariance(H, given.pop("noise", noise), **given)

    halved = (1 - math.exp(-2 * gamma * h) if scheme.isupper() else 2 * gamma * h) / 2 * M / N
    wrong = {
        "noise x 1.05": 1.05 * chain.covariance,
        "temperature of 30 examples": law(num_examples=30),
        "γ for 2γ": law(injected_covariance=halved),
    }
    if noise.any():
        wrong |= {"minibatch noise forgotten": law(noise=0 * noise), "mass forgotten": law(mass=None)}
    planted_defects(check(drawn), chain.covariance, wrong)


@pytest.mark.law
@pytest.mark.parametrize("scheme", ["BAOAB", *(pytest.param(s, marks=pytest.mark.slow) for s in ("OBABO", "UBU"))])
def test_corrected_schemes_sample_the_posterior_at_a_finite_step(scheme: str) -> None:
    settings: dict[str, Any] = {"step_size": 0.5, "friction": 2.0, "num_examples": N, "scheme": scheme, "mass": H}
    injected = gn.theory.kinetic_correction(H, C, batch_size=60, **settings)
    process = kinetic(gaussian(60), injected_covariance=injected, **settings)
    right = np.linalg.inv(N * H)
    np.testing.assert_allclose(process.linear(H, C, N).covariance, right, rtol=1e-8)
    drawn = sample(process, process.linear(H, C, N), 768)
    plain = kinetic(gaussian(60), **settings).linear(H, C, N).covariance
    planted_defects(check(drawn), right, {"not corrected": plain, "noise x 1.05": 1.05 * right})


@pytest.mark.law
def test_autocovariance_and_velocities_of_a_scheme() -> None:
    """Draws k steps apart, and the process in pieces equals the process at once."""
    process = kinetic(minibatch(10), step_size=0.5, friction=0.8, num_examples=N, mass=M)
    chain = process.linear(H, C, N)
    run = gn.simulate(
        problem(), process, num_steps=1260, num_chains=512, key=1, burn_in=60, record=gn.record.draws(every=1), progress=False
    )  # fmt: skip
    pairs = np.concatenate([run.draws[:, :-2:4], run.draws[:, 2::4]], axis=-1).astype(np.float64)
    near, far = chain.autocovariance(0), chain.autocovariance(2)
    joint = np.block([[near, far.T], [far, near]])
    one = chain.autocovariance(1)
    planted_defects(
        lambda predicted: assert_covariance(pairs, predicted, mean=np.zeros(4), detects=0.06),
        joint,
        {
            "one lag short": np.block([[near, one.T], [one, near]]),
            "independent": np.block([[near, 0 * far], [0 * far, near]]),
        },
    )


def test_state_is_carried_over_an_interruption() -> None:
    process = kinetic(minibatch(5, "shuffled"), step_size=0.2, friction=0.3, num_examples=N, scheme="UBU", mass=M)
    settings: dict[str, Any] = {"num_chains": 3, "key": 2, "record": None, "progress": False}
    whole = gn.simulate(problem(), process, num_steps=70, **settings)
    half = gn.simulate(problem(), process, num_steps=31, **settings).extend(39, progress=False)
    np.testing.assert_array_equal(whole.state, half.state)
    assert not process.linear(H, C, N)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step_size": 0}, "step_size must be > 0"),
        ({"friction": 0.0}, "friction must be > 0"),
        ({"friction": "much"}, "friction must be a finite number"),
        ({"scheme": "BAO"[:2]}, "scheme must kick"),
        ({"scheme": "leapfrog"}, "scheme must be"),
        ({"mass": -M}, "mass must be positive definite"),
        ({"mass": "curvature"}, "mass must be an array of numbers"),
        ({"injected_covariance": -M}, "injected_covariance must have no negative eigenvalue"),
        ({"injected_covariance": np.eye(3), "mass": M}, "injected_covariance must have shape"),
        ({"num_examples": 0}, "num_examples must be >= 1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], words: str) -> None:
    settings: dict[str, Any] = {"step_size": 0.1, "friction": 1.0, "num_examples": N}
    with pytest.raises((ValueError, TypeError), match=words):
        kinetic(minibatch(4), **{**settings, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mass": np.eye(3)}, "mass must have shape"),
        ({"injected_covariance": np.eye(3)}, "injected_covariance must have shape"),
        ({"num_examples": 41}, "num_examples must be 40 as in the data"),
    ],
)
def test_what_does_not_fit_the_problem(change: dict[str, Any], words: str) -> None:
    settings: dict[str, Any] = {"step_size": 0.1, "friction": 1.0, "num_examples": N}
    with pytest.raises(ValueError, match=words):
        gn.simulate(problem(), kinetic(minibatch(4), **{**settings, **change}), num_steps=5, progress=False)
