"""Oracles that read all data: the exact gradient, and Gaussian noise of exactly the minibatch covariance."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import Array, Pytree
from gradnoise.stream import Spec, Stream
from gradnoise.theory import NotLinear, batch_noise


@_tree.record()
class FullBatch:
    """The exact gradient of the mean loss; no noise."""

    reads = "all"

    def check(self, spec: Spec) -> None:
        """Nothing can be wrong."""

    def words_per_step(self, spec: Spec) -> int:
        """No randomness."""
        del spec
        return 0

    def period(self, spec: Spec) -> int:
        """Every step is alike."""
        del spec
        return 1

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> dict[str, Any]:
        """Nothing is drawn."""
        del stream, steps, spec
        return {}

    def gradient(self, problem: Any, params: Pytree, batch: Pytree, draws: dict[str, Any]) -> Pytree:
        """Return the gradient of the mean loss, like params."""
        del draws
        return jax.grad(problem.batch_loss)(params, batch)

    def noise(self, gradient_covariance: Array, num_examples: int) -> Array | NotLinear:
        """Zero, shape (D, D)."""
        del num_examples
        return np.zeros_like(np.asarray(gradient_covariance, dtype=np.float64))


@_tree.record(static=("batch_size", "kind"))
class Gaussian:
    """Full gradient plus noise of covariance exactly C(θ)/B: the noise of the SDE.

    One gradient of a randomly weighted loss, w_n = (1 + (z_n - z̄)·√(N/B)) / N, has this covariance for any model, with no
    per-example gradient and no matrix root.

    Parameters
    ----------
    batch_size
        B of the minibatch whose covariance is imitated.
    kind
        "normal": z standard normal, so the noise is Gaussian. "signs": z = ±1, the same covariance at a third of the cost.
    """

    batch_size: int
    kind: str = "normal"
    reads = "all"

    def __post_init__(self) -> None:
        _checks.integer("batch_size", self.batch_size)
        _checks.one_of("kind", self.kind, ("normal", "signs"))

    def check(self, spec: Spec) -> None:
        """Any batch size imitates with-replacement noise."""

    def words_per_step(self, spec: Spec) -> int:
        """One word an example."""
        return spec.num_examples

    def period(self, spec: Spec) -> int:
        """Every step is alike."""
        del spec
        return 1

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> dict[str, Any]:
        """Return {"z": (K, N)}."""
        weights, n = stream.child("weights"), spec.num_examples
        if self.kind == "normal":
            return {"z": weights.normal(steps, n, spec.dtype)}
        return {"z": jnp.where(weights.bits(steps, n) >> np.uint32(31), 1.0, -1.0).astype(spec.dtype)}

    def gradient(self, problem: Any, params: Pytree, batch: Pytree, draws: dict[str, Any]) -> Pytree:
        """Return the gradient of the randomly weighted loss, like params."""
        z = draws["z"]
        n = z.shape[0]
        weights = (1 + (z - jnp.mean(z)) * math.sqrt(n / self.batch_size)) / n
        return jax.grad(problem.batch_loss)(params, batch, weights)

    def noise(self, gradient_covariance: Array, num_examples: int) -> Array | NotLinear:
        """C/B, shape (D, D)."""
        return batch_noise(
            gradient_covariance, batch_size=self.batch_size, sampling="with_replacement", num_examples=num_examples
        )


def full_batch() -> FullBatch:
    """Exact gradients; see `FullBatch`."""
    return FullBatch()


def gaussian(batch_size: int, kind: str = "normal") -> Gaussian:
    """Gaussian noise of the minibatch covariance; see `Gaussian`."""
    return Gaussian(_checks.integer("batch_size", batch_size), kind)
