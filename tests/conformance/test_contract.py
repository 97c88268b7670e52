"""What every oracle, rule, process and recorder must do: pytrees, dtype, one compilation, vmap = loop, bad sizes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import table

import gradnoise as gn
from gradnoise.engine.chunk import compiled
from gradnoise.stream import Spec, Stream


def tree_log_likelihood(params: Any, example: Any) -> Any:
    gap = jnp.concatenate([params["a"].ravel(), params["b"]]) - example["x"]
    return -0.5 * jnp.sum(gap * gap * jnp.asarray([1.0, 0.5, 2.0], gap.dtype))


def tree_problem(dtype: str = "float32") -> gn.Problem:
    init = {"b": np.ones(1, dtype), "a": np.zeros((2, 1), dtype)}
    return gn.Problem(tree_log_likelihood, {"x": table.POINTS.astype(dtype)}, init)


PROCESSES = {**table.LINEAR_PROCESSES, **{k: v[0] for k, v in table.NOT_LINEAR.items()}}


@pytest.mark.parametrize("oracle", table.ORACLES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_oracle_gives_gradients_like_params(oracle: str, dtype: str) -> None:
    made, problem, spec = table.ORACLES[oracle], tree_problem(dtype), Spec(table.N, table.D, dtype)
    made.check(spec)
    with jax.enable_x64(dtype == "float64"):
        draws = made.draw(Stream(jnp.asarray(Stream.of(0).key)), jnp.arange(5), spec)
        now = jax.tree.map(lambda a: a[2], draws)
        data = jax.tree.map(jnp.asarray, problem.data)
        batch = jax.tree.map(lambda a: a[now["indices"]], data) if made.reads == "rows" else data
        gradient = made.gradient(problem, jax.tree.map(jnp.asarray, problem.init), batch, now)
    assert jax.tree.structure(gradient) == jax.tree.structure(problem.init)
    for g, p in zip(jax.tree.leaves(gradient), jax.tree.leaves(problem.init), strict=True):
        assert g.shape == p.shape
        assert g.dtype == dtype
    assert made.words_per_step(spec) >= 0
    assert made.period(spec) >= 1


@pytest.mark.parametrize("oracle", table.ORACLES)
def test_draws_depend_on_absolute_steps_only(oracle: str) -> None:
    made, spec = table.ORACLES[oracle], Spec(table.N, table.D)
    stream = Stream(jnp.asarray(Stream.of(1).key))
    at_once = made.draw(stream, jnp.arange(24), spec)
    for k in (8, 12):
        piece = made.draw(stream, jnp.arange(k, k + 4), spec)
        jax.tree.map(lambda a, b, k=k: np.testing.assert_array_equal(a, b[k : k + 4]), piece, at_once)


@pytest.mark.parametrize("rule", table.RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rules_keep_tree_and_dtype_and_do_not_recompile(rule: str, dtype: str) -> None:
    process = gn.processes.compose(gn.oracles.minibatch(4), table.RULES[rule])
    run = gn.simulate(tree_problem(dtype), process, num_steps=40, num_chains=2, dtype=dtype, progress=False)
    assert run.state.dtype == dtype
    assert run.state.shape == (2, 3)
    _, chunk, _ = compiled(jax.default_backend())
    before = chunk._cache_size()
    faster = process.rule.replace(learning_rate=0.77 * process.rule.hyperparameters["learning_rate"])
    other = gn.simulate(
        tree_problem(dtype), gn.oracles.minibatch(4), faster, num_steps=40, num_chains=2, dtype=dtype, progress=False
    )
    assert chunk._cache_size() == before
    assert (other.state != run.state).any()


@pytest.mark.parametrize("name", PROCESSES)
def test_process_runs_on_pytrees_and_equals_a_python_loop(name: str) -> None:
    """The compiled chunk against draw and step called from Python, one chain at a time."""
    process, problem = PROCESSES[name](), tree_problem()
    spec, chains, steps = Spec(table.N, table.D), 4, 30
    process.check(spec)
    run = gn.simulate(problem, process, num_steps=steps, num_chains=chains, key=8, record=None, progress=False)
    data = jax.tree.map(jnp.asarray, problem.data)

    @jax.jit
    def one_step(params: Any, state: Any, now: Any) -> Any:
        batch = jax.tree.map(lambda a: a[now["indices"]], data) if process.reads == "rows" else data
        return process.step(problem, params, state, batch, now)

    process = jax.tree.map(lambda a: a.astype(np.float32) if hasattr(a, "dtype") else a, process)
    for chain in range(chains):
        params = jax.tree.map(jnp.asarray, problem.init)
        state = process.init(problem, params)
        draws = process.draw(Stream(jnp.asarray(Stream.of(8, chain).key)), jnp.arange(steps), spec)
        for t in range(steps):
            params, state = one_step(params, state, jax.tree.map(lambda a, t=t: a[t], draws))
        np.testing.assert_allclose(run.state[chain], problem.flatten(params), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("recorder", table.RECORDERS)
@pytest.mark.parametrize("num_chains", [1, 3])
def test_recorders_run_resume_and_merge(recorder: str, num_chains: int, tmp_path: Any) -> None:
    process = gn.processes.compose(gn.oracles.minibatch(4), table.RULES["heavy ball"])
    settings: dict[str, Any] = {
        "num_chains": num_chains,
        "burn_in": 30,
        "record": table.RECORDERS[recorder],
        "progress": False,
    }
    whole = gn.simulate(tree_problem(), process, num_steps=700, **settings)
    half = gn.simulate(tree_problem(), process, num_steps=311, **settings)
    for resumed in (
        half.extend(389, progress=False),
        gn.Run.load(half.save(tmp_path / "r")).extend(389, progress=False),
    ):
        for name in ("draws", "averages", "losses", "covariance", "mean"):
            try:
                expected = getattr(whole, name)
            except ValueError:
                continue
            np.testing.assert_array_equal(getattr(resumed, name), expected)
            assert np.size(expected) > 0
