"""JAX as users write it: a scan that splits a key every step, one dispatch a step, and BlackJAX's SGLD in both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
from blackjax.sgmcmc.gradients import grad_estimator
from harness import Variant
from problems import Setting

Step = Callable[[Any, Any, Any], Any]  # key, params, data -> params


def log_likelihood(kind: str) -> Callable[[Any, Any], Any]:
    """Log-likelihood of one example (x, y)."""

    def linear(params: Any, example: Any) -> Any:
        return -0.5 * (example[0] @ params - example[1]) ** 2

    def logistic(params: Any, example: Any) -> Any:
        z = example[0] @ params
        return example[1] * z - jax.nn.softplus(z)

    def network(params: Any, example: Any) -> Any:
        hidden = jnp.tanh(example[0] @ params["layer0"]["weight"] + params["layer0"]["bias"])
        logits = hidden @ params["layer1"]["weight"] + params["layer1"]["bias"]
        return jax.nn.log_softmax(logits)[example[1]]

    return {"linear": linear, "logistic": logistic, "network": network}[kind]


def log_prior(setting: Setting) -> Callable[[Any], Any]:
    """Independent normal prior."""
    return lambda params: -0.5 * setting.prior_precision * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def _batch(key: Any, setting: Setting, data: Any) -> Any:
    index = jax.random.randint(key, (setting.batch_size,), 0, setting.num_examples)
    return jax.tree.map(lambda a: a[index], data)


def sgd(setting: Setting) -> Step:
    """Gradient of the batch's mean loss by autodiff, as in a tutorial."""
    likelihood, prior = jax.vmap(log_likelihood(setting.kind), (None, 0)), log_prior(setting)

    def loss(params: Any, batch: Any) -> Any:
        return -jnp.mean(likelihood(params, batch)) - prior(params) / setting.num_examples

    def step(key: Any, params: Any, data: Any) -> Any:
        grads = jax.grad(loss)(params, _batch(key, setting, data))
        return jax.tree.map(lambda p, g: p - setting.learning_rate * g, params, grads)

    return step


def sgld(setting: Setting) -> Step:
    """BlackJAX's SGLD; its step size multiplies the summed gradient."""
    estimator = grad_estimator(log_prior(setting), log_likelihood(setting.kind), setting.num_examples)
    algorithm = blackjax.sgld(estimator)
    size = setting.learning_rate / setting.num_examples

    def step(key: Any, params: Any, data: Any) -> Any:
        rows, noise = jax.random.split(key)
        return algorithm.step(noise, params, _batch(rows, setting, data), size)

    return step


def _start(setting: Setting, chains: int) -> tuple[Any, Any]:
    params = jax.tree.map(lambda p: jnp.broadcast_to(p, (chains, *p.shape)), setting.problem.init)
    return params, jax.device_put((setting.X, setting.y))


def scanned(name: str, setting: Setting, step: Step, chains: int, steps: int, options: Any = None) -> Variant:
    """`vmap` over chains of a scan over steps, a key split every step."""

    def chain(key: Any, params: Any, data: Any) -> Any:
        def body(carry: Any, _: Any) -> Any:
            key, params = carry
            key, now = jax.random.split(key)
            return (key, step(now, params, data)), None

        return jax.lax.scan(body, (key, params), None, length=steps)[0][1]

    many = jax.jit(jax.vmap(chain, (0, 0, None)), compiler_options=options)
    (params, data), keys = _start(setting, chains), jax.random.split(jax.random.key(0), chains)
    return Variant(name, lambda: jax.block_until_ready(many(keys, params, data)), chains * steps)


def dispatched(name: str, setting: Setting, step: Step, chains: int, steps: int) -> Variant:
    """A compiled step called from a Python loop; batch and keys are drawn inside it."""

    @jax.jit
    def once(key: Any, params: Any, data: Any) -> Any:
        key, now = jax.random.split(key)
        return key, jax.vmap(step, (0, 0, None))(jax.random.split(now, chains), params, data)

    start, data = _start(setting, chains)

    def run() -> Any:
        key, params = jax.random.key(0), start
        for _ in range(steps):
            key, params = once(key, params, data)
        return jax.block_until_ready(params)

    return Variant(name, run, chains * steps)
