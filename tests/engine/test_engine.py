"""The engine's contract: statistics, recorders, compilation, divergence, checkpoints, Ctrl-C, bad input."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import gradnoise as gn
from gradnoise.engine import checkpoint
from gradnoise.engine import loop as execution
from gradnoise.engine.chunk import chunk, compiled
from gradnoise.engine.job import State


def sgd(rate: float = 0.05, **kwargs: Any) -> gn.rules.Rule:
    return gn.rule(optax.sgd, learning_rate=rate, **kwargs)


def simulate(problem: gn.Problem, *args: Any, **kwargs: Any) -> gn.Run:
    if not args:
        args = (gn.oracles.minibatch(8), sgd())
    return gn.simulate(problem, *args, progress=False, **kwargs)


@pytest.fixture(scope="module")
def linear(make_problem: Callable[[str], gn.Problem]) -> gn.Problem:
    return make_problem("linear")


# slow: two chains are one a group, as one; with a standard error as that of five
@pytest.mark.parametrize("num_chains", [1, pytest.param(2, marks=pytest.mark.slow), 5, 16])
@pytest.mark.parametrize("num_steps", [700, 1024])
def test_statistics_are_those_of_the_draws(linear: gn.Problem, num_chains: int, num_steps: int) -> None:
    run = simulate(
        linear,
        num_steps=num_steps,
        burn_in=300,
        num_chains=num_chains,
        record=[gn.record.moments(), gn.record.draws(1)],
    )
    draws = np.asarray(run.draws, np.float64)
    assert draws.shape == (num_chains, num_steps - 300, linear.num_params)
    np.testing.assert_allclose(run.mean, draws.mean((0, 1)), rtol=1e-5, atol=1e-7)
    flat = draws.reshape(-1, linear.num_params)
    np.testing.assert_allclose(run.covariance, np.cov(flat.T, bias=True), rtol=2e-4, atol=1e-8)
    if num_chains > 1:
        gap = draws - run.mean
        each = np.einsum("cti,ctj->cij", gap, gap) / gap.shape[1]
        expected = each.std(0, ddof=1) / np.sqrt(num_chains)
        np.testing.assert_allclose(run.covariance_standard_error, expected, rtol=2e-3, atol=1e-7)
        assert run.standard_error_from == "chains"
    else:
        assert run.standard_error_from == "batches of one chain"


def test_recorders_agree_with_the_draws(linear: gn.Problem) -> None:
    records = [gn.record.averages(37), gn.record.loss(300), gn.record.draws(1)]
    run = simulate(linear, num_steps=1000, burn_in=111, num_chains=3, record=records)
    draws = np.asarray(run.draws, np.float64)
    count = draws.shape[1] // 37
    means = draws[:, : count * 37].reshape(3, count, 37, -1).mean(2)
    assert run.averages.shape == (3, count, linear.num_params)
    np.testing.assert_allclose(run.averages, means, rtol=1e-5, atol=1e-6)
    loss = [[float(linear.loss(draws[c, 300 * (j + 1) - 1])) for j in range(2)] for c in range(3)]
    np.testing.assert_allclose(run.losses, loss, rtol=1e-5)
    np.testing.assert_array_equal(run.state, run.draws[:, -1])


def test_draw_j_is_the_state_after_its_step(linear: gn.Problem) -> None:
    every = simulate(linear, num_steps=400, burn_in=50, num_chains=2, record=gn.record.draws(1)).draws
    thinned = simulate(linear, num_steps=400, burn_in=50, num_chains=2, record=gn.record.draws(13)).draws
    np.testing.assert_array_equal(thinned, every[:, 12::13])


def test_one_chain_batches_merge_and_their_error_is_right(linear: gn.Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """One chain of 64·256·3 steps merges its batches twice; its standard error must agree with that of 64 chains."""
    steps = 64 * 256 * 3 + 100
    one = simulate(linear, num_steps=steps, num_chains=1, burn_in=500, record=gn.record.moments())
    many = simulate(linear, num_steps=steps, num_chains=64, burn_in=500, record=gn.record.moments())
    assert len(one.pieces.count) < 64
    assert one.pieces.count.sum() == steps - 500
    ratio = np.diag(one.covariance_standard_error) / (np.diag(many.covariance_standard_error) * 8)
    assert ratio.min() > 0.5
    assert ratio.max() < 2.0
    z = (one.covariance - many.covariance) / one.covariance_standard_error
    assert np.abs(z).max() < 6


def test_pooled_moments_equal_per_chain_moments(linear: gn.Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    chains = simulate(linear, num_steps=900, num_chains=12, burn_in=100)
    monkeypatch.setattr(gn.engine.sizes, "PER_CHAIN_BYTES", 0)
    pooled = simulate(linear, num_steps=900, num_chains=12, burn_in=100)
    assert pooled.standard_error_from == "groups of chains"
    np.testing.assert_allclose(pooled.covariance, chains.covariance, rtol=1e-4, atol=1e-9)


def compilations(function: Any) -> int:
    return int(function._cache_size())


def test_one_compilation_for_any_numbers(linear: gn.Problem) -> None:
    _, run_chunk, _ = compiled(jax.default_backend())
    x, y = linear.data["inputs"][:, :7], linear.data["targets"]
    simulate(linear, num_steps=300, num_chains=8, record=gn.record.draws(2))
    before = compilations(run_chunk)
    for rate, steps, burn_in, every in ((0.01, 300, 0, 2), (0.05, 1234, 77, 1), (0.2, 513, 500, 3)):
        simulate(
            linear, gn.oracles.minibatch(8), sgd(rate), num_steps=steps, num_chains=8, burn_in=burn_in, record=gn.record.draws(every)
        )  # fmt: skip
    other = gn.models.linear_regression(x[:, :-1] * 2, y + 1, observation_scale=0.7, prior_scale=3.0)
    other = dataclasses.replace(other, names=[f"other {i}" for i in range(other.num_params)])
    simulate(other, num_steps=300, num_chains=8, record=gn.record.draws(2))
    simulate(linear, num_steps=300, num_chains=7, record=gn.record.draws(2))  # same group size
    assert compilations(run_chunk) == before
    simulate(linear, gn.oracles.minibatch(9), sgd(), num_steps=300, num_chains=8, record=gn.record.draws(2))
    assert compilations(run_chunk) == before + 1


def test_generator_stands_outside_the_step_loop_and_the_step_is_short(linear: gn.Problem) -> None:
    """The load-bearing loop boundary: the innermost loop holds no threefry, and at most eight operations for one chain."""
    job = simulate(linear, num_steps=64, num_chains=1, record=None)._job
    _, run_chunk, _ = compiled(jax.default_backend())
    clock = execution._clock(job, 0, 64, 1 << 30)
    keys = execution.chain_keys(0, np.arange(1))
    start = compiled(jax.default_backend())[0](job.problem, job.process, job.plan, job.start_params(0))
    text = run_chunk.lower(job.problem, job.process, job.plan, keys, clock, start).compile().as_text()
    # threefry's parity constant and rotations compile to xor; the step loop's body must have none
    bodies = [
        part for part in text.split("\n\n") if "while" not in part and "fusion(" in part and "dynamic-slice" in part
    ]
    assert "xor" in text
    step_bodies = [b for b in bodies if "gather" in b or "custom-call" in b or "dot(" in b]
    assert step_bodies or "gather" in text
    jaxpr = str(
        jax.make_jaxpr(lambda *a: chunk(a[0], a[1], job.plan, *a[2:]))(job.problem, job.process, keys, clock, start)
    )
    inner = jaxpr[jaxpr.rindex("while[") :]
    assert "xor" not in inner


def test_divergence_is_named_and_the_rest_is_kept(linear: gn.Problem) -> None:
    d = linear.num_params
    start = np.zeros((6, d))
    start[4] = 1e25  # beyond every bound at once, and for the whole window
    with pytest.raises(gn.Divergence, match="chain 4 at step 1 ") as caught:
        simulate(linear, num_steps=500, num_chains=6, init=start)
    assert caught.value.chains == {4: 1}
    kept = simulate(
        linear,
        num_steps=500,
        num_chains=6,
        init=start,
        on_divergence="keep",
        record=[gn.record.moments(), gn.record.draws(5)],
    )
    assert kept.diverged == {4: 1}
    assert kept.draws.shape[0] == 5
    assert np.isfinite(kept.covariance).all()
    np.testing.assert_array_equal(kept.chains, [0, 1, 2, 3, 5])


def test_divergence_step_is_exact(linear: gn.Problem) -> None:
    """Compare the reported step with the first recorded state beyond the bound."""
    rule = sgd(1.5)
    with pytest.raises(gn.Divergence) as caught:
        simulate(linear, gn.oracles.minibatch(8), rule, num_steps=3000, num_chains=4)
    first = max(caught.value.chains.values())
    draws = caught.value.run
    assert draws.num_steps >= first
    for chain, step in caught.value.chains.items():
        run = simulate(
            linear, gn.oracles.minibatch(8), rule, num_steps=step - 1, num_chains=4, on_divergence="keep", record=None
        )
        assert np.abs(run.state[chain]).max() < 1e12
        with pytest.raises(gn.Divergence) as again:
            simulate(
                linear,
                gn.oracles.minibatch(8),
                rule,
                num_steps=max(caught.value.chains.values()),
                num_chains=4,
                record=None,
            )
        assert again.value.chains[chain] == step


def test_all_diverged_raises_even_when_kept(linear: gn.Problem) -> None:
    with pytest.raises(gn.Divergence, match="3 of 3 chains"):
        simulate(linear, gn.oracles.minibatch(8), sgd(9.0), num_steps=2000, num_chains=3, on_divergence="keep")


def test_interrupt_gives_a_usable_run_and_a_checkpoint(linear: gn.Problem, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    calls: list[int] = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    settings: dict[str, Any] = {"num_chains": 4, "key": 3, "record": [gn.record.moments(), gn.record.draws(3)]}
    with pytest.raises(gn.Interrupted) as caught:
        gn.simulate(
            linear, gn.oracles.minibatch(8), sgd(), num_steps=10**7, progress=progress, checkpoint=path, **settings
        )
    partial = caught.value.run
    assert 0 < partial.num_steps < 10**7
    assert partial.num_steps == calls[-1]
    assert np.isfinite(partial.covariance).all()
    whole = gn.simulate(
        linear, gn.oracles.minibatch(8), sgd(), num_steps=partial.num_steps + 500, progress=False, **settings
    )
    for resumed in (
        gn.resume(path, partial.num_steps + 500, progress=False),
        partial.extend(500, progress=False),
        gn.simulate(
            linear,
            gn.oracles.minibatch(8),
            sgd(),
            num_steps=partial.num_steps + 500,
            progress=False,
            checkpoint=path,
            **settings,
        ),
    ):
        np.testing.assert_array_equal(resumed.draws, whole.draws)
        np.testing.assert_array_equal(resumed.covariance, whole.covariance)


def test_checkpoint_survives_a_crash_between_its_files(
    linear: gn.Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws written, but the npz not replaced: the older state is still whole."""
    path = tmp_path / "run.npz"
    settings: dict[str, Any] = {"num_chains": 2, "record": gn.record.draws(1), "checkpoint": path}
    first = simulate(linear, num_steps=200, **settings)
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(gn.Failure, match="power cut") as caught:
        simulate(linear, num_steps=400, **settings)
    assert 200 < caught.value.run.num_steps <= 400
    monkeypatch.undo()
    again = gn.Run.load(path)
    assert again.num_steps == 200
    np.testing.assert_array_equal(again.draws, first.draws)
    longer = simulate(linear, num_steps=400, **settings)
    np.testing.assert_array_equal(
        longer.draws, simulate(linear, num_steps=400, num_chains=2, record=gn.record.draws(1)).draws
    )


def test_checkpoint_of_another_run_is_refused(linear: gn.Problem, make_problem: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    simulate(linear, num_steps=100, checkpoint=path)
    x, y = linear.data["inputs"][:, :7], linear.data["targets"]
    moved = gn.models.linear_regression(x[:, :-1], y + 1, observation_scale=0.5)
    cases: list[tuple[Any, ...]] = [
        (linear, gn.oracles.minibatch(8), sgd(0.06)),
        (linear, gn.oracles.minibatch(9), sgd()),
        (linear, gn.oracles.minibatch(8, "shuffled"), sgd()),
        (moved, gn.oracles.minibatch(8), sgd()),
    ]
    for problem, oracle, rule in cases:
        with pytest.raises(ValueError, match="checkpoint must belong to this run"):
            simulate(problem, oracle, rule, num_steps=200, checkpoint=path)
    for change in ({"key": 1}, {"num_chains": 2}, {"burn_in": 5}, {"record": gn.record.draws(1)}):
        with pytest.raises(ValueError, match="checkpoint must belong to this run"):
            simulate(linear, num_steps=200, checkpoint=path, **change)
    with pytest.raises(ValueError, match="already holds"):
        simulate(linear, num_steps=50, checkpoint=path)


def local_log_likelihood_problem() -> gn.Problem:
    def log_likelihood(params: Any, example: Any) -> Any:
        return -0.5 * (example @ params) ** 2

    return gn.Problem(
        log_likelihood, np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32), np.ones(2, np.float32)
    )


def test_functions_that_cannot_be_pickled(tmp_path: Path) -> None:
    problem = local_log_likelihood_problem()
    with pytest.raises(ValueError, match="workers=2 needs a problem and a process that can be pickled"):
        simulate(problem, num_steps=10, workers=2)
    path = tmp_path / "run.npz"
    simulate(problem, num_steps=100, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint=path"):
        gn.resume(path, 200)
    assert simulate(problem, num_steps=200, checkpoint=path).num_steps == 200


def test_a_failing_callback_loses_nothing(linear: gn.Problem) -> None:
    def progress(done: int, total: int) -> None:
        if done >= 100:
            msg = "disk full"
            raise OSError(msg)

    with pytest.raises(gn.Failure, match="disk full") as caught:
        gn.simulate(linear, gn.oracles.minibatch(8), sgd(), num_steps=10_000, num_chains=2, progress=progress)
    half = caught.value.run
    assert half.num_steps >= 100
    whole = simulate(linear, num_steps=half.num_steps + 50, num_chains=2)
    np.testing.assert_array_equal(half.extend(50, progress=False).covariance, whole.covariance)


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"not an npz")
    with pytest.raises(ValueError, match="is damaged or something else"):
        gn.Run.load(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        gn.resume(tmp_path / "y.npz")


def test_until_stops_at_marks(linear: gn.Problem) -> None:
    seen: list[int] = []

    def enough(run: gn.Run) -> bool:
        seen.append(run.num_steps)
        return run.num_steps >= 4096

    run = simulate(linear, num_steps=50_000, num_chains=4, until=enough)
    assert seen == [1024, 2048, 4096]
    assert run.num_steps == 4096


def test_eras_change_the_key_and_nothing_else(linear: gn.Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an era of 1024 steps: same law, other numbers after the first era, draws at the right steps, cuts equal."""
    record = [gn.record.draws(7), gn.record.moments(), gn.record.averages(100)]
    plain = simulate(linear, num_steps=4000, num_chains=2, burn_in=1500, record=record)
    monkeypatch.setattr(execution, "ERA", 1024)
    eras = simulate(linear, num_steps=4000, num_chains=2, burn_in=1500, record=record)
    assert eras.draws.shape == plain.draws.shape
    assert eras.averages.shape == plain.averages.shape
    assert (eras.draws != plain.draws).all()
    np.testing.assert_allclose(np.diag(eras.covariance), np.diag(plain.covariance), rtol=0.5)
    monkeypatch.setattr(execution, "FIRST_STEPS", 77)
    cut = simulate(linear, num_steps=4000, num_chains=2, burn_in=1500, record=record)
    np.testing.assert_array_equal(cut.draws, eras.draws)
    np.testing.assert_array_equal(cut.covariance, eras.covariance)


def test_shuffled_eras_are_whole_epochs(linear: gn.Problem) -> None:
    job = simulate(linear, gn.oracles.minibatch(100, "shuffled"), sgd(), num_steps=20, record=None)._job
    assert execution.era_length(job) % 11 == 0
    assert execution.era_length(job) % 1024 == 0


def test_float64(linear: gn.Problem) -> None:
    double = simulate(linear, num_steps=500, num_chains=4, dtype="float64", record=gn.record.draws(1))
    single = simulate(linear, num_steps=500, num_chains=4, record=gn.record.draws(1))
    assert double.draws.dtype == np.float64
    assert single.draws.dtype == np.float32
    np.testing.assert_allclose(single.draws, double.draws, atol=2e-5)
    assert (single.draws.astype(np.float64) != double.draws).any()
    assert not jax.config.jax_enable_x64


def test_init_forms(linear: gn.Problem) -> None:
    d = linear.num_params
    r = np.random.default_rng(0)
    root = r.normal(size=(d, d)) / 3
    covariance = root @ root.T
    for init in (None, np.ones(d), r.normal(size=(5, d)), covariance, (np.ones(d), covariance)):
        run = simulate(linear, num_steps=3, num_chains=5, init=init, record=None)
        assert run.state.shape == (5, d)
    again = simulate(linear, num_steps=3, num_chains=5, init=run, record=None)
    assert (again.state != run.state).any()
    from gradnoise.engine.simulation import initial_params

    drawn = initial_params(linear, (np.full(d, 2.0), covariance), 20_000, 0)
    gn.testing.assert_covariance(drawn, covariance, mean=np.full(d, 2.0), false_fail=1e-7, detects=0.1)
    with pytest.raises(ValueError, match="ambiguous"):
        simulate(linear, num_steps=3, num_chains=d, init=covariance)
    with pytest.raises(ValueError, match="init must be params"):
        simulate(linear, num_steps=3, num_chains=5, init=np.ones(d + 1))
    with pytest.raises(ValueError, match="init must be finite"):
        simulate(linear, num_steps=3, num_chains=5, init=np.full(d, np.nan))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 2.5}, "num_steps"),
        ({"num_chains": 0}, "num_chains"),
        ({"burn_in": 100}, "burn_in must be < num_steps = 100"),
        ({"burn_in": -1}, "burn_in"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"record": ["moments"]}, "record"),
        ({"record": [gn.record.moments(), gn.record.moments()]}, "each recorder once"),
        ({"workers": 0}, "workers"),
        ({"on_divergence": "ignore"}, "on_divergence"),
        ({"key": -1}, "key"),
    ],
)
def test_bad_arguments(linear: gn.Problem, change: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        simulate(linear, **{"num_steps": 100, **change})


def test_bad_oracles_rules_and_recorders(linear: gn.Problem) -> None:
    with pytest.raises(TypeError, match="rule must be given"):
        gn.simulate(linear, gn.oracles.minibatch(8), num_steps=10)
    with pytest.raises(TypeError, match=r"rule must be made by gn\.rule"):
        gn.simulate(linear, gn.oracles.minibatch(8), 0.1, num_steps=10)
    with pytest.raises(ValueError, match="batch_size must be <= num_examples = 1100"):
        gn.simulate(linear, gn.oracles.minibatch(2000, "shuffled"), sgd(), num_steps=10)
    rule = gn.rule(gn.rules.preconditioned_sgd, learning_rate=1.0, preconditioner=np.eye(3))
    with pytest.raises(ValueError, match="preconditioner must have shape"):
        gn.simulate(linear, gn.oracles.minibatch(8), rule, num_steps=10)
    run = simulate(linear, num_steps=20, record=None)
    for name in ("draws", "averages", "losses", "covariance", "mean"):
        with pytest.raises(ValueError, match="were not recorded"):
            getattr(run, name)


def test_unstable_rate_is_refused_where_the_curvature_is_known(linear: gn.Problem) -> None:
    mode = gn.find_mode(linear)
    with pytest.raises(ValueError, match=r"learning_rate|edge|unstable"):
        simulate(linear, gn.oracles.minibatch(8), sgd(5.0), num_steps=10, init=mode)


def test_opaque_rule_runs(linear: gn.Problem) -> None:
    known = simulate(linear, num_steps=50, num_chains=2, record=gn.record.draws(1))
    opaque = simulate(
        linear, gn.oracles.minibatch(8), optax.sgd(0.05), num_steps=50, num_chains=2, record=gn.record.draws(1)
    )
    np.testing.assert_allclose(opaque.draws, known.draws, rtol=1e-6)


def test_checkpoint_bytes_are_few(linear: gn.Problem, tmp_path: Path) -> None:
    run = simulate(linear, num_steps=100, num_chains=2)
    path = run.save(tmp_path / "run.npz")
    saved = checkpoint.read(path)
    assert saved.meta["step"] == 100
    assert saved.job
    assert gn.Run.load(path).mean.tolist() == run.mean.tolist()
    assert isinstance(run._state, State)
    assert "num_steps=100" in repr(run)
