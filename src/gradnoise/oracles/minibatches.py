"""Minibatch gradients: three samplings, one of which a data loader gives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gradnoise import _checks, _tree
from gradnoise._types import Array, Pytree
from gradnoise.oracles.permutation import SORT_BELOW, feistel, sorted_epochs, subset
from gradnoise.stream import Spec, Stream
from gradnoise.theory import NotLinear, batch_noise

FLOYD_UP_TO = 64  # comparisons grow as the square of the batch


@_tree.record(static=("batch_size", "sampling", "drop_last"))
class Minibatch:
    """Gradient of the mean loss over a batch of B rows: unbiased, covariance C/B (with replacement).

    Parameters
    ----------
    batch_size
        B, rows a step.
    sampling
        "with_replacement": B independent rows. "without_replacement": a fresh random subset each step. "shuffled": an
        exact random permutation each epoch, cut into batches: what a data loader gives. Its noise is not independent from
        step to step: another law.
    drop_last
        Shuffled epochs only. True (default): floor(N/B) batches, the other N mod B rows are left out. False: they are a last,
        smaller batch, whose gradient is the mean over its own rows. PyTorch's DataLoader, Keras' fit and tf.data keep them
        by default. Where B divides N both are the same, bit for bit.
    """

    batch_size: int
    sampling: str = "with_replacement"
    drop_last: bool = True
    reads = "rows"

    def __post_init__(self) -> None:
        _checks.integer("batch_size", self.batch_size)
        _checks.drop_last(self.drop_last, _checks.one_of("sampling", self.sampling, _checks.SAMPLINGS))

    def check(self, spec: Spec) -> None:
        """Raise ValueError if the batch does not fit the data."""
        _checks.batch_size(self.batch_size, spec.num_examples, self.sampling)

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step, which decides how many steps are drawn at once."""
        n, size = spec.num_examples, self.batch_size
        if (
            self.sampling == "with_replacement"
            or n >= SORT_BELOW
            or (size <= FLOYD_UP_TO and self.sampling != "shuffled")
        ):
            return size
        return n // self.period(spec)  # words sorted a step

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew: an epoch when shuffled, else 1."""
        if self.sampling != "shuffled":
            return 1
        return spec.num_examples // self.batch_size + (self._rest(spec) > 0)

    def _rest(self, spec: Spec) -> int:
        """Rows of a last, smaller batch; 0: there is none."""
        return 0 if self.drop_last else spec.num_examples % self.batch_size

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> dict[str, Any]:
        """Return {"indices": int32 (K, B)}; where an epoch's last batch is smaller also its rows, "valid": int32 (K,)."""
        n, size = spec.num_examples, self.batch_size
        if self.sampling == "with_replacement":
            return {"indices": stream.child("rows").indices(steps, size, n)}
        if self.sampling == "shuffled":
            drawn = {"indices": self._shuffled(stream.child("shuffle"), steps, spec)}
            if rest := self._rest(spec):
                per_epoch = self.period(spec)
                drawn["valid"] = jnp.where(steps % per_epoch == per_epoch - 1, rest, size).astype(jnp.int32)
            return drawn
        rows = stream.child("subset")
        if size <= FLOYD_UP_TO:
            return {"indices": subset(rows, steps, n, size)}
        if n < SORT_BELOW:
            return {"indices": sorted_epochs(rows, steps, n)[:, :size]}
        at = jnp.broadcast_to(jnp.arange(size), (steps.shape[0], size))
        return {"indices": feistel(rows, steps, at, n)}

    def _shuffled(self, stream: Stream, steps: Any, spec: Spec) -> Any:
        n, size, per_epoch = spec.num_examples, self.batch_size, self.period(spec)
        epoch = steps // per_epoch
        positions = (steps % per_epoch)[:, None] * size + jnp.arange(size)
        if self._rest(spec):  # the places of the last batch that no row fills repeat its last one, with weight 0
            positions = jnp.minimum(positions, n - 1)
        if n >= SORT_BELOW:
            return feistel(stream, epoch, positions, n)
        touched = (
            steps.shape[0] + per_epoch - 2
        ) // per_epoch + 1  # epochs that a block of consecutive steps can touch
        rows = sorted_epochs(stream, epoch[0] + jnp.arange(touched), n).reshape(-1)
        return rows[((epoch - epoch[0]) * n)[:, None] + positions]

    def gradient(self, problem: Any, params: Pytree, batch: Pytree, draws: dict[str, Any]) -> Pytree:
        """Return the gradient of the mean loss over the batch, like params."""
        if "valid" not in draws:
            return jax.grad(problem.batch_loss)(params, batch)
        dtype, valid = jnp.result_type(*jax.tree.leaves(params)), draws["valid"]
        weights = jnp.where(jnp.arange(self.batch_size) < valid, 1 / valid.astype(dtype), 0).astype(dtype)
        return jax.grad(problem.batch_loss)(params, batch, weights)

    def noise(self, gradient_covariance: Array, num_examples: int) -> Array | NotLinear:
        """Covariance (D, D) of one step's gradient, or why the noise is not independent."""
        if self.sampling == "shuffled":
            return NotLinear(
                "sampling='shuffled': the noise of an epoch's batches is anti-correlated; its law is "
                f"theory.stationary_covariance(..., sampling='shuffled', drop_last={self.drop_last})"
            )
        return batch_noise(
            gradient_covariance, batch_size=self.batch_size, sampling=self.sampling, num_examples=num_examples
        )


def minibatch(batch_size: int, sampling: str = "with_replacement", drop_last: bool = True) -> Minibatch:
    """Minibatch gradients; see `Minibatch`."""
    return Minibatch(_checks.integer("batch_size", batch_size), sampling, drop_last)
