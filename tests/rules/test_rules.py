"""Rules: numbers in the open, matrices as leaves, refusal of what cannot be traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradnoise.rules import linear_update, preconditioned_sgd, rule

P = np.array([[0.3, 0.1], [0.1, 0.2]])


def walk(made: Any, grads: list[np.ndarray]) -> np.ndarray:
    transformation = made.build()
    params: Any = {"w": jnp.zeros(2)}
    state = transformation.init(params)
    for g in grads:
        updates, state = transformation.update({"w": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["w"])


GRADS = [np.array(g, np.float32) for g in ([1.0, 2.0], [-0.5, 0.3], [0.2, -1.0])]


@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.6, False), (0.6, True)])
def test_preconditioned_sgd_is_the_written_recursion(momentum: float | None, nesterov: bool) -> None:
    made = rule(preconditioned_sgd, learning_rate=0.5, preconditioner=P, momentum=momentum, nesterov=nesterov)
    theta, buffer, mu = np.zeros(2), np.zeros(2), momentum or 0.0
    for g in GRADS:
        buffer = mu * buffer + g
        theta = theta - 0.5 * P @ (g + mu * buffer if nesterov else buffer)
    np.testing.assert_allclose(walk(made, GRADS), theta, rtol=1e-5)


@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.6, False), (0.6, True)])
def test_identity_preconditioner_is_optax_sgd(momentum: float | None, nesterov: bool) -> None:
    ours = rule(preconditioned_sgd, learning_rate=0.5, preconditioner=np.eye(2), momentum=momentum, nesterov=nesterov)
    theirs = rule(optax.sgd, learning_rate=0.5, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(walk(ours, GRADS), walk(theirs, GRADS), rtol=1e-6)


def test_numbers_are_leaves_and_the_rest_is_static() -> None:
    made = rule(optax.sgd, learning_rate=np.float32(0.1), momentum=1, nesterov=True)
    assert jax.tree.leaves(made) == [pytest.approx(0.1), 1.0]
    assert all(type(leaf) is float for leaf in jax.tree.leaves(made))
    assert made.fixed == (("nesterov", True),)
    other = made.replace(learning_rate=0.2)
    assert jax.tree.structure(other) == jax.tree.structure(made)
    assert jax.tree.structure(made.replace(nesterov=False)) != jax.tree.structure(made)
    assert repr(rule(optax.adam, learning_rate=0.001, b1=0.9)) == "rule(adam, learning_rate=0.001, b1=0.9)"


def test_linear_update() -> None:
    assert linear_update(rule(optax.sgd, learning_rate=0.1)) == (0.1, 0.0, False, None)
    update = linear_update(rule(preconditioned_sgd, learning_rate=1.0, preconditioner=P, momentum=0.3))
    assert update.momentum == 0.3
    np.testing.assert_array_equal(update.preconditioner, P)
    for made in (rule(optax.adam, learning_rate=0.1), rule(optax.sgd, learning_rate=optax.constant_schedule(0.1))):
        assert not linear_update(made)


@pytest.mark.parametrize(
    ("factory", "settings", "words"),
    [
        (optax.lbfgs, {"learning_rate": 0.1, "memory_size": 5}, "in Python control flow"),
        (optax.polyak_sgd, {"max_learning_rate": 0.1}, "polyak_sgd"),
        (optax.sgd, {"lr": 0.1}, "cannot be called with"),
        (optax.sgd, {"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        (0.1, {}, "factory must be a function"),
    ],
)
def test_bad_rules(factory: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        rule(factory, **settings)


@pytest.mark.parametrize(
    "factory",
    [
        optax.sgd,
        optax.adam,
        optax.adamw,
        optax.rmsprop,
        optax.adagrad,
        optax.lion,
        optax.sm3,
        optax.yogi,
        optax.adabelief,
    ],
)
def test_optax_rules_trace(factory: Any) -> None:
    assert np.isfinite(walk(rule(factory, learning_rate=0.01), GRADS)).all()
