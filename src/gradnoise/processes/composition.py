"""Compose: an oracle and a rule make a process."""

from __future__ import annotations

from typing import Any

import jax

from gradnoise import _checks, _tree
from gradnoise._types import Array, Pytree
from gradnoise.processes.matrices import check_size
from gradnoise.rules import OpaqueRule, Rule, linear_update
from gradnoise.stream import Spec, Stream
from gradnoise.theory import LinearChain, NotLinear, chain_from_noise


@_tree.record()
class Composed:
    """θ ← θ + rule(oracle's gradient at θ). Make it with `compose`."""

    oracle: Any
    rule: Rule | OpaqueRule

    @property
    def reads(self) -> str:
        """What the oracle reads: "rows" or "all"."""
        return str(self.oracle.reads)

    def check(self, spec: Spec) -> None:
        """Raise if the oracle does not fit the data or a matrix of the rule does not fit the parameters."""
        self.oracle.check(spec)
        matrix = getattr(self.rule, "hyperparameters", {}).get("preconditioner")
        if matrix is not None:
            check_size("preconditioner", matrix, spec.num_params)

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step."""
        return int(self.oracle.words_per_step(spec))

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew."""
        return int(self.oracle.period(spec))

    def init(self, problem: Any, params: Pytree) -> Pytree:
        """State of the rule at the start."""
        del problem
        return self.rule.build().init(params)

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> Any:
        """All randomness of the given steps."""
        return self.oracle.draw(stream, steps, spec)

    def step(self, problem: Any, params: Pytree, state: Pytree, batch: Pytree, draws: Any) -> tuple[Pytree, Pytree]:
        """One step of one chain."""
        grads = self.oracle.gradient(problem, params, batch, draws)
        updates, state = self.rule.build().update(grads, state, params)
        return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates), state

    def linear(self, hessian: Array, gradient_covariance: Array, num_examples: int) -> LinearChain | NotLinear:
        """Return the law this process follows on a quadratic, or why there is none."""
        update = linear_update(self.rule)
        if isinstance(update, NotLinear):
            return update
        noise = self.oracle.noise(gradient_covariance, num_examples)
        if isinstance(noise, NotLinear):
            return noise
        return chain_from_noise(
            hessian,
            noise,
            learning_rate=update.learning_rate,
            momentum=update.momentum,
            nesterov=update.nesterov,
            preconditioner=update.preconditioner,
        )


def compose(oracle: Any, rule: Any) -> Composed:
    """Return the process that feeds the oracle's gradients to the rule.

    Parameters
    ----------
    oracle
        From `gradnoise.oracles`, or your own with the same methods.
    rule
        From `gradnoise.rule`; a bare optax transformation runs too, as an opaque rule.
    """
    for method in ("draw", "gradient", "reads"):
        if not hasattr(oracle, method):
            msg = f"oracle must have draw, gradient and reads, such as gn.oracles.minibatch(32), got {_checks.shown(oracle)}."
            raise TypeError(msg)
    if not isinstance(rule, (Rule, OpaqueRule)):
        if not (hasattr(rule, "init") and hasattr(rule, "update")):
            msg = f"rule must be made by gn.rule(optax.sgd, learning_rate=...), got {_checks.shown(rule)}."
            raise TypeError(msg)
        rule = OpaqueRule(rule)
    return Composed(oracle, rule)
