"""Control variates: the minibatch gradient with its value at an anchor replaced by the exact one there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives
from gradnoise._types import Array, Pytree
from gradnoise.oracles.minibatches import Minibatch
from gradnoise.stream import Spec, Stream
from gradnoise.theory import NotLinear


@_tree.record()
class ControlVariate:
    """ĝ(θ) = ∇L(θ*) + mean over the batch of (g_n(θ) - g_n(θ*)): unbiased, without noise at θ*. Make it with `control_variate`."""

    rows: Minibatch
    anchor: Any
    anchor_gradient: Any
    reads = "rows"

    @property
    def batch_size(self) -> int:
        """B; a step costs 2B example gradients."""
        return self.rows.batch_size

    def check(self, spec: Spec) -> None:
        """Raise ValueError if the batch does not fit the data or the anchor the parameters."""
        self.rows.check(spec)
        if _tree.size(self.anchor) != spec.num_params:
            msg = f"params of control_variate must hold {spec.num_params} numbers as the problem's do, got {_tree.size(self.anchor)}."
            raise ValueError(msg)

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step."""
        return self.rows.words_per_step(spec)

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew."""
        return self.rows.period(spec)

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> dict[str, Any]:
        """Return {"indices": int32 (K, B), ...}: the rows of a plain minibatch."""
        return self.rows.draw(stream, steps, spec)

    def gradient(self, problem: Any, params: Pytree, batch: Pytree, draws: dict[str, Any]) -> Pytree:
        """Return the estimate of the gradient of the mean loss, like params."""
        anchor = jax.tree.map(lambda a, p: jnp.asarray(a, p.dtype).reshape(p.shape), self.anchor, params)
        here = self.rows.gradient(problem, params, batch, draws)
        there = self.rows.gradient(problem, anchor, batch, draws)
        return jax.tree.map(
            lambda g, a, full: g - a + jnp.asarray(full, g.dtype).reshape(g.shape), here, there, self.anchor_gradient
        )

    def noise(self, gradient_covariance: Array, num_examples: int) -> Array | NotLinear:
        """Covariance (D, D) of one step's gradient; `gradient_covariance` is that of the differences (`difference_covariance`)."""
        return self.rows.noise(gradient_covariance, num_examples)


def control_variate(
    batch_size: int,
    params: Any,
    *,
    problem: Any = None,
    gradient: Any = None,
    sampling: str = "with_replacement",
    drop_last: bool = True,
) -> ControlVariate:
    """Minibatch gradients with a control variate: noise-free at the anchor θ*, noisier with the distance from it.

    ĝ(θ) = ∇L(θ*) + (1/B) Σ_b (g_b(θ) - g_b(θ*)), twice the gradients of a plain minibatch. Where it has less noise at equal
    cost: `break_even`. Its noise depends on θ: in `linear(hessian, gradient_covariance, N)` of a process, and in
    theory's formulas, C is the covariance of the differences g_n(θ) - g_n(θ*), averaged over the law: `difference_covariance`.

    Parameters
    ----------
    batch_size, sampling, drop_last
        As in `minibatch`.
    params
        θ*: the `Mode` from `find_mode` (where ∇L = 0), or params.
    problem
        Computes ∇L(θ*) from all data, once, in float64; needed unless `params` is a `Mode` or `gradient` is given.
    gradient
        ∇L(θ*), like params.

    Raises
    ------
    ValueError, TypeError
        If ∇L(θ*) is neither known nor can be computed: the estimate would be biased by it.
    """
    rows = Minibatch(_checks.integer("batch_size", batch_size), sampling, drop_last)
    certified = hasattr(params, "gradient_norm") and hasattr(params, "vector")
    anchor = params.params if certified else params
    if not jax.tree.leaves(anchor):
        msg = f"params must be a Mode or a pytree of arrays, got {_checks.shown(params)}."
        raise TypeError(msg)
    anchor = jax.tree.map(lambda leaf: _checks.array("params", leaf), anchor)
    if gradient is not None:
        gradient = jax.tree.map(lambda leaf: _checks.array("gradient", leaf), gradient)
        if not _tree.alike(gradient, anchor) or _tree.size(gradient) != _tree.size(anchor):
            msg = "gradient must have the shapes of params."
            raise ValueError(msg)
    elif problem is not None:
        vector = derivatives.as_vector("params", problem, anchor)
        gradient = _tree.unflatten(derivatives.loss_and_gradient(problem, vector)[1], anchor)
    elif certified:
        gradient = jax.tree.map(np.zeros_like, anchor)
    else:
        msg = "problem or gradient must be given where params is no Mode: without the full gradient at params the estimate is biased."
        raise ValueError(msg)
    return ControlVariate(rows, anchor, gradient)
