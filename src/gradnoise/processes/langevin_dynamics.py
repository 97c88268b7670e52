"""Langevin: a stochastic gradient step with a preconditioner and injected Gaussian noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import Array, ArrayLike, Pytree
from gradnoise.processes.matrices import check_size, dense, symmetric_root, times
from gradnoise.stream import Spec, Stream
from gradnoise.theory import LinearChain, NotLinear, chain_from_noise


class Decreasing(NamedTuple):
    """Steps that fall as ε_t = ε_0 (1 + t/offset)^(-power), t = 0, 1, …: the a(b + t)^(-γ) of Welling and Teh.

    Attributes
    ----------
    offset
        b > 0: steps after which the step has fallen to 2^(-γ) of its first value.
    power
        γ in (0, 1]: beyond 1 the steps add up to a finite distance, and the chain stops before it has seen the posterior.
    """

    offset: float
    power: float

    def factor(self, steps: Any) -> Any:
        """(1 + t/b)^(-γ) for absolute steps t."""
        return (1 + steps / self.offset) ** -self.power


@_tree.record()
class Langevin:
    """θ ← θ - η P ĝ + ξ, Cov ξ = root rootᵀ; with a schedule η_t = η·f_t and Cov ξ_t = f_t root rootᵀ. Make it with `langevin`."""

    oracle: Any
    learning_rate: Any
    preconditioner: Any
    root: Any
    schedule: Any = None

    @property
    def reads(self) -> str:
        """What the oracle reads: "rows" or "all"."""
        return str(self.oracle.reads)

    def check(self, spec: Spec) -> None:
        """Raise if the oracle does not fit the data or a matrix does not fit the parameters."""
        self.oracle.check(spec)
        check_size("preconditioner", self.preconditioner, spec.num_params)
        check_size("root", self.root, spec.num_params)

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step."""
        return int(self.oracle.words_per_step(spec)) + spec.num_params

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew."""
        return int(self.oracle.period(spec))

    def init(self, problem: Any, params: Pytree) -> Pytree:
        """No state."""
        del problem, params
        return ()

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> Any:
        """All randomness of the given steps."""
        injected = stream.child("injected").normal(steps, spec.num_params, spec.dtype)
        drawn = {**self.oracle.draw(stream, steps, spec), "injected": injected}
        return drawn if self.schedule is None else {**drawn, "step": steps.astype(spec.dtype)}

    def step(self, problem: Any, params: Pytree, state: Pytree, batch: Pytree, draws: Any) -> tuple[Pytree, Pytree]:
        """One step of one chain."""
        grads = self.oracle.gradient(problem, params, batch, draws)
        leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(grads)]
        g = leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)
        drift = g if self.preconditioner is None else times(self.preconditioner, g)
        z = draws["injected"]
        noise = times(self.root, z)
        if self.schedule is None:
            move = noise - self.learning_rate * drift
        else:
            factor = self.schedule.factor(draws["step"])
            move = jnp.sqrt(factor) * noise - factor * self.learning_rate * drift
        return jax.tree.map(jnp.add, params, _tree.unflatten(move.astype(g.dtype), params)), state

    def linear(self, hessian: Array, gradient_covariance: Array, num_examples: int) -> LinearChain | NotLinear:
        """Return the law this process follows on a quadratic, or why there is none."""
        if self.schedule is not None:
            return NotLinear("falling steps have no stationary law; theory.scheduled_langevin_covariance has their law")
        noise = self.oracle.noise(gradient_covariance, num_examples)
        if isinstance(noise, NotLinear):
            return noise
        size = len(np.asarray(hessian))
        root = dense(self.root, size)
        return chain_from_noise(
            hessian,
            noise,
            learning_rate=float(self.learning_rate),
            preconditioner=None if self.preconditioner is None else dense(self.preconditioner, size),
            injected=_checks.symmetrised(root @ root.T),
        )


def langevin(
    oracle: Any,
    *,
    learning_rate: float,
    num_examples: int | None = None,
    preconditioner: ArrayLike | None = None,
    injected_covariance: ArrayLike | None = None,
    schedule: Decreasing | None = None,
) -> Langevin:
    """Langevin dynamics with stochastic gradients: θ ← θ - η P ĝ + ξ.

    Parameters
    ----------
    oracle
        Where ĝ comes from.
    learning_rate
        η > 0, multiplies the gradient of the *mean* loss. SGLD's ε (Welling & Teh 2011) is ε = 2η/N.
    num_examples
        N; needed only for the default injected covariance.
    preconditioner
        P, symmetric positive definite (D, D); None: identity.
    injected_covariance
        Cov ξ a step, (D, D), positive semidefinite; None: (2η/N) P, which samples the posterior as η → 0. What the
        minibatch noise adds is not subtracted: for that use `theory.langevin_correction`.
    schedule
        `Decreasing(offset, power)`: η and Cov ξ both fall as (1 + t/offset)^(-power) with the absolute step t; None: they stay.
        Runs longer than 2³⁰ steps begin the schedule anew.

    Raises
    ------
    ValueError
        If a number or a matrix is out of range, or both `injected_covariance` and `num_examples` are missing.
    """
    falling = None if schedule is None else checked_schedule(schedule)
    rate = _checks.positive("learning_rate", learning_rate)
    matrix = (
        None if preconditioner is None else _checks.symmetric("preconditioner", preconditioner, definite="positive")
    )
    if injected_covariance is not None:
        covariance = _checks.symmetric("injected_covariance", injected_covariance, definite="semi")
        return Langevin(oracle, rate, matrix, symmetric_root(covariance), falling)
    if num_examples is None:
        msg = "num_examples must be given when injected_covariance is None: the default is (2·learning_rate/N)·P."
        raise ValueError(msg)
    scale = 2 * rate / _checks.integer("num_examples", num_examples)
    return Langevin(oracle, rate, matrix, scale**0.5 if matrix is None else symmetric_root(scale * matrix), falling)


def checked_schedule(schedule: Any) -> Decreasing:
    """Return a schedule with a positive offset and a power in (0, 1]."""
    if not isinstance(schedule, Decreasing):
        msg = f"schedule must be a processes.Decreasing(offset, power), got {_checks.shown(schedule)}."
        raise TypeError(msg)
    return Decreasing(
        _checks.positive("schedule's offset", schedule.offset),
        _checks.within("schedule's power", schedule.power, 0.0, 1.0, closed="right"),
    )
