"""Bit-identity: however a run is cut, wherever it runs, interrupted or resumed, draws and moments are the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import gradnoise as gn
from gradnoise.engine import loop as execution
from gradnoise.engine import sizes as plan

MODELS = ["linear", "logistic", "softmax", "mlp"]
STEPS, BURN_IN = 1500, 301


def process_of(name: str) -> Any:
    if name == "linear":
        return gn.processes.compose(gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=0.05, momentum=0.5))
    if name == "logistic":
        return gn.processes.compose(gn.oracles.minibatch(8, "shuffled"), gn.rule(optax.sgd, learning_rate=0.1))
    if name == "softmax":
        return gn.processes.langevin(
            gn.oracles.minibatch(8, "without_replacement"), learning_rate=0.05, num_examples=1100
        )
    return gn.processes.compose(gn.oracles.minibatch(8), gn.rule(optax.adam, learning_rate=0.01))


RECORDERS = [gn.record.moments(), gn.record.draws(every=7), gn.record.averages(window=50), gn.record.loss(every=400)]


def run(problem: gn.Problem, name: str, **kwargs: Any) -> gn.Run:
    settings = {"num_steps": STEPS, "num_chains": 16, "key": 5, "burn_in": BURN_IN, "record": RECORDERS, **kwargs}
    return gn.simulate(problem, process_of(name), progress=False, **settings)


def bits(result: gn.Run) -> list[np.ndarray]:
    sums = [leaf for carry in result._state.carries for leaf in carry["recorders"][0]["sums"]]
    return [result.draws, result.averages, result.losses, result.state, result.covariance, *sums]


def assert_same(a: gn.Run, b: gn.Run) -> None:
    for left, right in zip(bits(a), bits(b), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module", autouse=True)
def small_buffers() -> Iterator[None]:
    """What recorders emit here is little; buffers of megabytes would be cleared and read for every chunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "EMIT_BYTES", 1 << 15)
        yield


@pytest.fixture(scope="module")
def reference(make_problem: Callable[[str], gn.Problem]) -> Callable[[str], gn.Run]:
    made: dict[str, gn.Run] = {}

    def get(name: str) -> gn.Run:
        if name not in made:
            made[name] = run(make_problem(name), name)
        return made[name]

    return get


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("first", [1, 65, 700])
def test_chunk_lengths(
    name: str, first: int, make_problem: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host cuts at other places, some inside windows; single steps at the start, a window's end and the burn-in's."""
    expected, next_stop, cuts = reference(name), execution.next_stop, []

    def cut(job: Any, t: int, num_steps: int, steps: int, length: int, marks: bool) -> int:
        single = first == 1 and (t < 6 or 252 <= t < 260 or BURN_IN - 3 <= t < BURN_IN + 5)
        cuts.append(next_stop(job, t, num_steps, 1 if single else 41 if first == 1 else first, length, marks))
        return cuts[-1]

    monkeypatch.setattr(execution, "next_stop", cut)
    assert_same(run(make_problem(name), name), expected)
    assert len(cuts) > STEPS / max(first, 60)
    assert first != 1 or {1, 2, 255, 256, 257, BURN_IN, BURN_IN + 1} <= set(cuts)


# slow: another program for each; the default ones take both sizes, and both orders in which rows are drawn
@pytest.mark.parametrize(
    ("block", "name"),
    [
        pytest.param(2, "linear", marks=pytest.mark.slow),
        pytest.param(2, "logistic", marks=pytest.mark.slow),
        pytest.param(2, "softmax", marks=pytest.mark.slow),
        (2, "mlp"),
        pytest.param(8, "linear", marks=pytest.mark.slow),
        (8, "logistic"),
        pytest.param(8, "softmax", marks=pytest.mark.slow),
        pytest.param(8, "mlp", marks=pytest.mark.slow),
    ],
)
def test_block_sizes(name: str, block: int, make_problem: Any, reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference(name)._job.plan.block > block
    monkeypatch.setattr(plan, "BLOCK", block)
    assert_same(run(make_problem(name), name), reference(name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads(name: str, threads: int, make_problem: Any, reference: Any) -> None:
    assert reference(name)._job.num_groups >= 2
    assert_same(run(make_problem(name), name, threads=threads), reference(name))


# slow: two more processes that import and compile; groups go to processes alike whatever the model
@pytest.mark.parametrize("name", [pytest.param("linear", marks=pytest.mark.slow), "mlp"])
def test_worker_processes(name: str, make_problem: Any, reference: Any) -> None:
    assert_same(run(make_problem(name), name, workers=2), reference(name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cut", [130, 777])
def test_interrupted_saved_and_resumed(name: str, cut: int, make_problem: Any, reference: Any, tmp_path: Path) -> None:
    # the same burn-in on the shorter run; 130 lies within burn-in and inside a window
    half = run(make_problem(name), name, num_steps=max(cut, BURN_IN + 1)) if cut > BURN_IN else None
    half = half or run(make_problem(name), name, until=None, num_steps=BURN_IN + 1)
    resumed = gn.Run.load(half.save(tmp_path / "half.npz")).extend(STEPS - half.num_steps, progress=False)
    assert_same(resumed, reference(name))


# slow: a process that imports and compiles for each; groups go to devices alike whatever the model
@pytest.mark.parametrize(
    "name", ["softmax", *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS if n != "softmax")]
)
def test_forced_devices(name: str, make_problem: Any, reference: Any, tmp_path: Path) -> None:
    """Two forced CPU devices, in a process of their own (the number of devices is fixed at start-up)."""
    reference(name).save(tmp_path / "one.npz")
    script = (
        "import sys, numpy as np, jax, gradnoise as gn\n"
        "assert len(jax.devices()) == 2\n"
        "one = gn.Run.load(sys.argv[1])\n"
        "from gradnoise.engine.job import State\n"
        "from gradnoise.engine.run import advance\n"
        "two = advance(one._job, State(), one.num_steps, progress=False, checkpoint=None, until=None, on_divergence='raise')\n"
        "for a, b in ((one.draws, two.draws), (one.covariance, two.covariance), (one.state, two.state), (one.averages, two.averages)):\n"
        "    np.testing.assert_array_equal(a, b)\n"
    )
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"  # the processor that is played stays
    env = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "one.npz")], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_other_seeds_and_chains_differ(make_problem: Any, reference: Any) -> None:
    """The comparison above could not pass on constants."""
    other = run(make_problem("linear"), "linear", key=6)
    assert (other.draws != reference("linear").draws).mean() > 0.99
    draws = reference("linear").draws
    assert (draws[0] != draws[1]).mean() > 0.99


def test_random_numbers_of_a_chain_do_not_depend_on_the_others(make_problem: Any, reference: Any) -> None:
    """Linear regression gives the same bits at any group size; so chain 3 of 8 is chain 3 of 16."""
    few, many = run(make_problem("linear"), "linear", num_chains=8, record=RECORDERS[1]), reference("linear")
    np.testing.assert_allclose(few.draws, many.draws[:8], rtol=0, atol=2e-6)
