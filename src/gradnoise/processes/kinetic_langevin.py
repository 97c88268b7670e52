"""Kinetic Langevin: positions and velocities, moved by exact sub-flows in the order of a scheme, one minibatch gradient a step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import Array, ArrayLike, Pytree
from gradnoise.processes.matrices import symmetric_root
from gradnoise.stream import Spec, Stream
from gradnoise.theory import LinearChain, NotLinear, kinetic_chain
from gradnoise.theory.langevin.kinetic_flows import SOURCES, coefficients, program_of, refreshed


@_tree.record(static=("scheme", "letters", "num_examples"))
class Kinetic:
    """One step of a splitting scheme on (θ, v), v = M⁻¹p. Make it with `kinetic`.

    `letters` are the flows of a step (`theory.langevin.kinetic_flows`), `numbers` their coefficients, `root` a root of the covariance of
    the velocity's noise; `injected` is that covariance as given, for the momentum, or None.
    """

    oracle: Any
    scheme: str
    letters: str
    numbers: tuple[tuple[float, ...], ...]
    step_size: Any
    friction: Any
    num_examples: int
    mass: Any
    inverse_mass: Any
    root: Any
    injected: Any

    @property
    def reads(self) -> str:
        """What the oracle reads: "rows" or "all"."""
        return str(self.oracle.reads)

    @property
    def sources(self) -> int:
        """Normal vectors (D,) that the friction draws a step."""
        return sum(SOURCES.get(letter, 0) for letter in self.letters)

    def check(self, spec: Spec) -> None:
        """Raise if the oracle does not fit the data, or a matrix or the temperature does not fit the problem."""
        self.oracle.check(spec)
        for name, matrix in (("mass", self.mass), ("injected_covariance", self.injected)):
            if matrix is not None:
                _checks.square(name, matrix, spec.num_params)
        if self.num_examples != spec.num_examples:
            msg = f"num_examples must be {spec.num_examples} as in the data (the temperature is 1/N), got {self.num_examples}."
            raise ValueError(msg)

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step."""
        return int(self.oracle.words_per_step(spec)) + self.sources * spec.num_params

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew."""
        return int(self.oracle.period(spec))

    def init(self, problem: Any, params: Pytree) -> Pytree:
        """Return the velocity (D,) at rest; friction warms it up within a few 1/(γh) steps."""
        del problem
        return jnp.zeros_like(_flat(params))

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> Any:
        """All randomness of the given steps."""
        rubbing = stream.child("rubbing").normal(steps, self.sources * spec.num_params, spec.dtype)
        return {**self.oracle.draw(stream, steps, spec), "rubbing": rubbing}

    def step(self, problem: Any, params: Pytree, state: Pytree, batch: Pytree, draws: Any) -> tuple[Pytree, Pytree]:
        """One step of one chain."""
        theta, velocity = _flat(params), state
        slope, used = jnp.zeros_like(theta), 0
        normals = draws["rubbing"].reshape(-1, theta.shape[0])
        for letter, n in zip(self.letters, self.numbers, strict=True):
            z = [_times(self.root, row) for row in normals[used : used + SOURCES.get(letter, 0)]]
            used += len(z)
            if letter == "G":
                grads = self.oracle.gradient(problem, _tree.unflatten(theta, params), batch, draws)
                slope = _times(self.inverse_mass, _flat(grads))
            elif letter == "A":
                theta = theta + n[0] * velocity
            elif letter == "B":
                velocity = velocity - n[0] * slope
            elif letter == "U":
                theta = theta + n[1] * velocity + n[3] * z[0] + n[4] * z[1]
                velocity = n[0] * velocity + n[2] * z[0]
            else:
                velocity = n[0] * velocity + n[1] * z[0]
        return _tree.unflatten(theta.astype(state.dtype), params), velocity.astype(state.dtype)

    def linear(self, hessian: Array, gradient_covariance: Array, num_examples: int) -> LinearChain | NotLinear:
        """Return the law this process follows on a quadratic, or why there is none."""
        noise = self.oracle.noise(gradient_covariance, num_examples)
        if isinstance(noise, NotLinear):
            return noise
        return kinetic_chain(
            hessian,
            noise,
            step_size=float(self.step_size),
            friction=float(self.friction),
            num_examples=self.num_examples,
            batch_size=1,  # `noise` is that of a whole batch
            scheme=self.scheme,
            mass=self.mass,
            injected_covariance=self.injected,
        )


def kinetic(
    oracle: Any,
    *,
    step_size: float,
    friction: float,
    num_examples: int,
    scheme: str = "BAOAB",
    mass: ArrayLike | None = None,
    injected_covariance: ArrayLike | None = None,
) -> Kinetic:
    """Kinetic (underdamped) Langevin dynamics with stochastic gradients of the *mean* loss, at temperature 1/N.

    dθ = M⁻¹p dt, dp = -∇L dt - γp dt + √(2γM/N) dW, split into A (drift), B (kick), O (exact Ornstein-Uhlenbeck) or U (A and O
    at once, exact). One gradient a step: the last half kick of a step and the first of the next share theirs.

    Parameters
    ----------
    oracle
        Where ĝ comes from.
    step_size, friction
        h > 0, and γ > 0 per unit of the same time. With M = H the frequency is 1 in every direction: h < 2 is stable.
    num_examples
        N.
    scheme
        A word in A, B, O, U: "BAOAB" (positions exact on a quadratic with exact gradients), "OBABO", "UBU", "ABO", ...; or
        Euler's friction with a drift of h: "sghmc" (Chen et al. 2014: gradient at the new position), "sghmc_half" (half
        kicks), "sghmc_naive" (gradient at the position just left, as in other libraries; for comparison).
    mass
        M, symmetric positive definite (D, D); None: identity.
    injected_covariance
        Covariance of what O (or U) adds to the momentum p in a step, (D, D); None: (1 - e^(-2γh)) M/N (SGHMC: 2γh M/N), which
        samples the posterior as h → 0. What the minibatch noise adds is not subtracted: for that use `theory.kinetic_correction`.

    Raises
    ------
    ValueError, TypeError
        If a number, a matrix or the scheme is out of range.

    Notes
    -----
    The state is v = M⁻¹p, so that a step multiplies by M⁻¹ once and by one root of the noise. Law on a quadratic:
    `theory.kinetic_chain`.
    """
    program = program_of(scheme)
    h, gamma = _checks.positive("step_size", step_size), _checks.positive("friction", friction)
    examples = _checks.integer("num_examples", num_examples)
    weight = None if mass is None else _checks.symmetric("mass", mass, definite="positive")
    inverse = None if weight is None else _checks.symmetrised(np.linalg.inv(weight))
    given, covariance = None, None if inverse is None else inverse / examples
    if injected_covariance is not None:
        size = None if weight is None else len(weight)
        given = _checks.symmetric("injected_covariance", injected_covariance, size, definite="semi")
        momentum = given / float(refreshed(program, h, gamma))
        covariance = momentum if inverse is None else _checks.symmetrised(inverse @ momentum @ inverse)
    numbers = tuple(
        tuple(float(c) for c in coefficients(a, share * h, gamma)) if a != "G" else () for a, share in program
    )
    letters = "".join(a for a, _ in program)
    root: Any = examples**-0.5 if covariance is None else symmetric_root(covariance)
    return Kinetic(oracle, scheme, letters, numbers, h, gamma, examples, weight, inverse, root, given)


def _times(matrix: Any, vector: Any) -> Any:
    if matrix is None:
        return vector
    return matrix @ vector if jnp.ndim(matrix) else matrix * vector


def _flat(tree: Pytree) -> Any:
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)
