"""Files of a run: nothing that was computed is lost, and no file is continued by another run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import gradnoise as gn


def local_problem(matrix: np.ndarray) -> gn.Problem:
    def log_likelihood(params: Any, example: Any) -> Any:
        return -0.5 * (example - params) @ (matrix @ (example - params))

    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return gn.Problem(log_likelihood, points, np.zeros(2, np.float32))


def simulate(problem: gn.Problem, rule: Any = None, **settings: Any) -> gn.Run:
    rule = gn.rule(optax.sgd, learning_rate=0.1) if rule is None else rule
    record = [gn.record.moments(), gn.record.draws(2)]
    return gn.simulate(
        problem, gn.oracles.minibatch(4), rule, **{"num_chains": 3, "record": record, "progress": False, **settings}
    )


EYE = np.eye(2, dtype=np.float32)


def test_constants_of_closures_belong_to_the_digest(tmp_path: Path) -> None:
    """A jaxpr's text does not show captured arrays."""
    path = tmp_path / "run.npz"
    simulate(local_problem(EYE), num_steps=100, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        simulate(local_problem(2 * EYE), num_steps=200, checkpoint=path)

    def bare(matrix: np.ndarray) -> Any:
        scaled = optax.stateless(lambda updates, _: -(matrix @ updates))
        return optax.GradientTransformation(scaled.init, scaled.update)

    path = tmp_path / "rule.npz"
    simulate(local_problem(EYE), bare(0.1 * EYE), num_steps=100, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        simulate(local_problem(EYE), bare(0.9 * EYE), num_steps=200, checkpoint=path)


@pytest.fixture
def linear(make_problem: Callable[[str], gn.Problem]) -> gn.Problem:
    return make_problem("linear")


def test_extend_writes_a_new_checkpoint_and_never_overwrites_another_run(linear: gn.Problem, tmp_path: Path) -> None:
    mine, other = simulate(linear, num_steps=100), simulate(linear, num_steps=80, key=9)
    longer = mine.extend(50, checkpoint=tmp_path / "new.npz", progress=False)
    again = gn.Run.load(tmp_path / "new.npz")
    np.testing.assert_array_equal(again.draws, longer.draws)
    np.testing.assert_array_equal(again.covariance, longer.covariance)
    other.save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        mine.extend(50, checkpoint=tmp_path / "other.npz", progress=False)
    np.testing.assert_array_equal(gn.Run.load(tmp_path / "other.npz").draws, other.draws)
    # the file of the same run, written elsewhere: replaced whole
    mine.save(tmp_path / "same.npz")
    simulate(linear, num_steps=100).extend(50, checkpoint=tmp_path / "same.npz", progress=False)
    np.testing.assert_array_equal(gn.Run.load(tmp_path / "same.npz").draws, longer.draws)
    assert len(list(tmp_path.glob("same.npz.*"))) == 1, "side files of the older state stay behind"


def test_a_crash_while_saving_over_a_run_leaves_the_older_one(
    linear: gn.Problem, tmp_path: Path, monkeypatch: Any
) -> None:
    old = simulate(linear, num_steps=100)
    path = old.save(tmp_path / "run.npz")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        simulate(linear, num_steps=60).save(path)
    monkeypatch.undo()
    np.testing.assert_array_equal(gn.Run.load(path).draws, old.draws)


def test_a_run_is_read_after_an_upgrade_but_not_continued(linear: gn.Problem, tmp_path: Path, monkeypatch: Any) -> None:
    old = simulate(linear, num_steps=100)
    path = old.save(tmp_path / "run.npz")
    monkeypatch.setattr(gn, "__version__", "99.0")
    read = gn.Run.load(path)
    np.testing.assert_array_equal(read.covariance, old.covariance)
    with pytest.raises(ValueError, match="continued by the versions that wrote it"):
        read.extend(10, progress=False)


def test_what_was_recorded_is_read_without_the_functions(tmp_path: Path) -> None:
    old = simulate(local_problem(EYE), num_steps=100)
    read = gn.Run.load(old.save(tmp_path / "run.npz"))
    np.testing.assert_array_equal(read.draws, old.draws)
    np.testing.assert_array_equal(read.covariance, old.covariance)
    np.testing.assert_array_equal(read.state, old.state)
    assert "could not be pickled" in read.notes[-1]
    with pytest.raises(ValueError, match="must hold its problem and process"):
        read.extend(10, progress=False)


@pytest.mark.parametrize("damage", ["truncated", "text", "side missing", "side short"])
def test_damaged_files_are_named(damage: str, linear: gn.Problem, tmp_path: Path) -> None:
    path = simulate(linear, num_steps=100).save(tmp_path / "run.npz")
    (side,) = tmp_path.glob("run.npz.*.draws")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("not a run")
    elif damage == "side missing":
        side.unlink()
    else:
        side.write_bytes(side.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"run\.npz.* (is damaged|must lie beside)"):
        gn.Run.load(path)


def jump_log_likelihood(params: Any, example: Any) -> Any:
    return -0.5 * (params[0] - example) ** 2


def test_an_excursion_inside_a_window_is_divergence() -> None:
    """One step to 1e15 and back: the last state of the window looks healthy, its moments do not."""
    problem = gn.Problem(jump_log_likelihood, np.zeros(8, np.float32), np.ones(1, np.float32))

    def init(params: Any) -> Any:
        return 0 * params[0]

    def update(grads: Any, count: Any, params: Any = None) -> Any:
        import jax.numpy as jnp

        target = jnp.where(count == 100, 1e15, 1.0)
        return target - params, count + 1

    with pytest.raises(gn.Divergence, match="at step 101"):
        gn.simulate(
            problem, gn.oracles.minibatch(2), optax.GradientTransformation(init, update), num_steps=400, progress=False
        )


def test_error_of_one_slow_chain_allows_for_its_memory(linear: gn.Problem) -> None:
    """Batches much shorter than the memory: without the allowance the error is too small by about two."""
    rule = gn.rule(optax.sgd, learning_rate=0.002)
    runs = [
        simulate(linear, rule, num_steps=12_000, burn_in=4_000, num_chains=1, key=k, record=gn.record.moments())
        for k in range(24)
    ]
    means = np.array([run.mean for run in runs])
    real, told = means.std(0, ddof=1), np.array([run.mean_standard_error for run in runs]).mean(0)
    naive = np.array([run.pieces.mean.std(0, ddof=1) / np.sqrt(len(run.pieces.count)) for run in runs]).mean(0)
    assert (told > 0.6 * real).all()
    assert (naive < 0.75 * real).any(), "the setting must be one where the memory matters"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: gn.simulate(None, gn.oracles.minibatch(4), gn.rule(optax.sgd, learning_rate=0.1), num_steps=5), "problem must be a gn.Problem"),
        (lambda p: simulate(p, num_steps=5, record=gn.record.draws), "record must be a recorder"),
        (lambda p: simulate(p, num_steps=5, record="draws"), "record must be a recorder"),
        (lambda p: gn.rule(optax.sgd, learning_rate="0.1"), "learning_rate must be a number"),
        (lambda p: gn.rule(optax.lbfgs, learning_rate=0.1), "lbfgs"),
        (lambda p: gn.Problem(lambda t, e: t[0] > 0, np.zeros(4), np.zeros(2)), "log_likelihood must return a floating-point"),
        (lambda p: gn.Problem(lambda t: t[0], np.zeros(4), np.zeros(2)), "log_likelihood failed when called"),
        (lambda p: gn.Problem(lambda t, e: t @ e, np.zeros((4, 3)), np.zeros(2)), "log_likelihood failed when called"),
        (lambda p: gn.Problem(lambda t, e: t[0], np.zeros(4), "one"), "init must be a floating-point array"),
    ],
)  # fmt: skip
def test_more_bad_arguments(call: Callable[[gn.Problem], Any], words: str, linear: gn.Problem) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call(linear)
