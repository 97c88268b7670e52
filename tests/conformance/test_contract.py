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

        @jax.jit
        def gradient_of(params: Any, data: Any, key: Any) -> Any:
            draws = made.draw(Stream(key), jnp.arange(5), spec)
            now = jax.tree.map(lambda a: a[2], draws)
            batch = jax.tree.map(lambda a: a[now["indices"]], data) if made.reads == "rows" else data
            return made.gradient(problem, params, batch, now)

        gradient = gradient_of(problem.init, problem.data, Stream.of(0).key)
    assert jax.tree.structure(gradient) == jax.tree.structure(problem.init)
    for g, p in zip(jax.tree.leaves(gradient), jax.tree.leaves(problem.init), strict=True):
        assert g.shape == p.shape
        assert g.dtype == dtype
    assert made.words_per_step(spec) >= 0
    assert made.period(spec) >= 1


@pytest.mark.parametrize("oracle", table.ORACLES)
def test_draws_depend_on_absolute_steps_only(oracle: str) -> None:
    made, spec = table.ORACLES[oracle], Spec(table.N, table.D)
    draw = jax.jit(lambda steps: made.draw(Stream(jnp.asarray(Stream.of(1).key)), steps, spec))
    at_once = draw(jnp.arange(24))
    for k in (8, 12):
        piece = draw(jnp.arange(k, k + 4))
        jax.tree.map(lambda a, b, k=k: np.testing.assert_array_equal(a, b[k : k + 4]), piece, at_once)


# slow: every rule runs in single precision; in double precision one of each kind of number that a rule holds
DOUBLE = {"sgd", "preconditioned", "adam"}


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        pytest.param(rule, dtype, marks=pytest.mark.slow if dtype == "float64" and rule not in DOUBLE else ())
        for dtype in ("float32", "float64")
        for rule in table.RULES
    ],
)
def test_rules_keep_tree_and_dtype_and_do_not_recompile(rule: str, dtype: str) -> None:
    process = gn.processes.compose(gn.oracles.minibatch(4), table.RULES[rule])
    settings: dict[str, Any] = {"num_steps": 40, "num_chains": 4, "dtype": dtype, "record": None, "progress": False}
    run = gn.simulate(tree_problem(dtype), process, **settings)
    assert run.state.dtype == dtype
    assert run.state.shape == (4, 3)
    _, chunk, _ = compiled(jax.default_backend())
    before = chunk._cache_size()
    faster = process.rule.replace(learning_rate=0.77 * process.rule.hyperparameters["learning_rate"])
    other = gn.simulate(tree_problem(dtype), gn.oracles.minibatch(4), faster, **settings)
    assert chunk._cache_size() == before
    assert (other.state != run.state).any()


# slow: their oracle, their rule and the way they are put together run by default in other rows, in test_laws.py or (half kicks)
# in processes/test_kinetic.py
LONG = {
    "sgd, large step",
    "sgd, without replacement",
    "sgd, gaussian noise",
    "heavy ball",
    "preconditioned",
    "preconditioned nesterov",
    "langevin",
    "langevin, preconditioned",
    "kinetic, half kicks",
    "corrected langevin",
    "shuffled",
    "langevin, shuffled, rest kept",
    "opaque",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in PROCESSES])
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
    draw = jax.jit(lambda key: process.draw(Stream(key), jnp.arange(steps), spec))
    for chain in range(chains):
        params = jax.tree.map(jnp.asarray, problem.init)
        state = process.init(problem, params)
        draws = jax.device_get(draw(Stream.of(8, chain).key))
        for t in range(steps):
            params, state = one_step(params, state, jax.tree.map(lambda a, t=t: a[t], draws))
        np.testing.assert_allclose(run.state[chain], problem.flatten(params), rtol=2e-5, atol=2e-5)


# slow: one chain alone changes the moments (batches) and the variances, which tests/engine tries so; the others keep their code
@pytest.mark.parametrize(
    ("num_chains", "recorder"),
    [
        pytest.param(chains, name, marks=pytest.mark.slow if chains == 1 and name != "moments" else ())
        for chains in (1, 3)
        for name in table.RECORDERS
    ],
)
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
