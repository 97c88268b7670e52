"""Two time scales: constant SGD samples the parameters while hyperparameters follow slowly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gradnoise import _checks, _tree
from gradnoise._types import Array, ArrayLike, Pytree
from gradnoise.oracles import minibatch
from gradnoise.stream import Spec, Stream
from gradnoise.theory import LinearChain, NotLinear

LEAST_NOISE = (
    1e-2  # a coordinate's C_kk counts at least so much of the mean: no rate runs away where gradients do not vary
)
LARGEST_MOVE = 1.0  # of a log hyperparameter in one step


@_tree.record(static=("kind", "noise"))
class HyperparameterSGD:
    """θ ← θ - P ĝ, η ← η - ρ_t N ∂l̂/∂η / κ on ``{"hyperparams": η, "params": θ}``. Make it with `hyperparameter_sgd`."""

    oracle: Any
    kind: str
    noise: str
    rate: Any
    noise_start: Any
    curvature: Any
    hyper_rate: Any
    delay: Any
    exponent: Any
    hold: Any
    memory: Any

    @property
    def reads(self) -> str:
        """What the oracle reads: "rows"."""
        return str(self.oracle.reads)

    def check(self, spec: Spec) -> None:
        """Raise if the batch does not fit the data or the matrix does not fit the parameters."""
        self.oracle.check(spec)
        if self.kind == "matrix":
            _checks.square("preconditioner", self.rate, spec.num_params - len(self.curvature))

    def words_per_step(self, spec: Spec) -> int:
        """32-bit words drawn a step."""
        return int(self.oracle.words_per_step(spec))

    def period(self, spec: Spec) -> int:
        """Return the steps after which the sampling begins anew."""
        return int(self.oracle.period(spec))

    def init(self, problem: Any, params: Pytree) -> Pytree:
        """Return no steps done, and the noise estimate: Tr C, or the diagonal of C like params."""
        del problem
        if self.kind in ("number", "matrix"):
            noise: Any = ()
        elif self.kind == "scalar":
            noise = jnp.asarray(self.noise_start, jax.tree.leaves(params)[0].dtype)
        else:
            start = jnp.asarray(self.noise_start)
            noise = jax.tree.map(
                lambda a, like: a.astype(like.dtype), _split(start, params["params"]), params["params"]
            )
        return {"step": jnp.int32(0), "noise": noise}

    def draw(self, stream: Stream, steps: Any, spec: Spec) -> Any:
        """All randomness of the given steps."""
        return self.oracle.draw(stream, steps, spec)

    def step(self, problem: Any, params: Pytree, state: Pytree, batch: Pytree, draws: Any) -> tuple[Pytree, Pytree]:
        """One step of one chain."""
        slope, squares = self._slopes(problem, params, batch, draws)
        t, noise = state["step"], state["noise"]
        if squares is not None:
            fresh = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(squares)) if self.kind == "scalar" else squares
            weight = jnp.maximum(1 / (t + 2.0), 1 / self.memory)
            noise = jax.tree.map(lambda old, new: (old + weight * (new - old)).astype(old.dtype), noise, fresh)
        moves = self._moves(problem, slope["params"], noise)
        late = jnp.maximum(t - self.hold, 0)
        rho = jnp.where(t >= self.hold, self.hyper_rate * (1 + late / self.delay) ** -self.exponent, 0.0)
        climb = rho * problem.num_examples * slope["hyperparams"] / self.curvature
        log = params["hyperparams"] - jnp.clip(climb, -LARGEST_MOVE, LARGEST_MOVE)
        theta = jax.tree.map(lambda p, m: (p - m).astype(p.dtype), params["params"], moves)
        return (
            {"hyperparams": log.astype(params["hyperparams"].dtype), "params": theta},
            {"step": jnp.where(t < 2**30, t + 1, t), "noise": noise},
        )

    def _slopes(self, problem: Any, params: Pytree, batch: Pytree, draws: Any) -> tuple[Any, Any]:
        """Batch gradient, and unbiased squared deviations of example gradients (the diagonal of C) or None."""
        if self.kind in ("number", "matrix"):
            return self.oracle.gradient(problem, params, batch, draws), None
        size, total = self.oracle.batch_size, problem.num_examples
        finite = 1.0 if self.oracle.sampling == "with_replacement" else (total - 1) / total
        if self.noise == "all":
            each = jax.vmap(lambda example: jax.grad(problem.example_loss)(params, example))(batch)
            slope = jax.tree.map(lambda a: jnp.mean(a, 0), each)
            off = jax.tree.map(lambda a, m: jnp.sum((a - m) ** 2, 0), each["params"], slope["params"])
            return slope, jax.tree.map(lambda a: a * (finite / (size - 1)), off)
        if self.noise == "halves":
            half = size // 2
            parts = [jax.tree.map(lambda a, at=at: a[at], batch) for at in (slice(None, half), slice(half, None))]
            left, right = (self.oracle.gradient(problem, params, part, draws) for part in parts)
            slope = jax.tree.map(lambda a, b: (half * a + (size - half) * b) / size, left, right)
            factor = finite * half * (size - half) / size  # Cov(ĝ₁-ĝ₂) = C(1/S₁ + 1/S₂)
            return slope, jax.tree.map(lambda a, b: factor * (a - b) ** 2, left["params"], right["params"])
        slope = self.oracle.gradient(problem, params, batch, draws)
        first = jax.grad(problem.example_loss)(params, jax.tree.map(lambda a: a[0], batch))
        factor = finite * size / (size - 1)  # E(g₁-ĝ)(g₁-ĝ)ᵀ = (1 - 1/S)C
        return slope, jax.tree.map(lambda a, m: factor * (a - m) ** 2, first["params"], slope["params"])

    def _moves(self, problem: Any, slope: Pytree, noise: Any) -> Pytree:
        """Move parameters at the rate that is tuned to the present noise."""
        if self.kind == "number":
            return jax.tree.map(lambda g: self.rate * g, slope)
        if self.kind == "matrix":
            leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(slope)]
            return _tree.unflatten(jnp.asarray(self.rate, leaves[0].dtype) @ jnp.concatenate(leaves), slope)
        total, size, dim = problem.num_examples, self.oracle.batch_size, _tree.size(slope)
        shrunk = 1.0 if self.oracle.sampling == "with_replacement" else (total - size) / (total - 1)
        gain = 2 * size / (total * shrunk)
        if self.kind == "scalar":
            return jax.tree.map(lambda g: gain * dim / noise * g, slope)
        least = LEAST_NOISE * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(noise)) / dim
        return jax.tree.map(lambda g, c: gain / jnp.maximum(c, least) * g, slope, noise)

    def linear(self, hessian: Array, gradient_covariance: Array, num_examples: int) -> LinearChain | NotLinear:
        """No linear law: hyperparameters multiply parameters."""
        del hessian, gradient_covariance, num_examples
        return NotLinear("hyperparameters that move with the parameters multiply them: no linear law")


def hyperparameter_sgd(
    batch_size: int,
    *,
    curvature: ArrayLike,
    rate: str | float | ArrayLike = "scalar",
    noise_start: ArrayLike = 1.0,
    noise: str = "halves",
    memory: int = 1000,
    hyper_rate: float = 0.02,
    delay: float = 1000.0,
    exponent: float = 0.7,
    hold: int = 0,
    sampling: str = "with_replacement",
) -> HyperparameterSGD:
    """Constant SGD on parameters θ beside Robbins-Monro steps on log hyperparameters η.

    Runs on a problem whose params are ``{"hyperparams": η (h,), "params": θ}``:
    θ ← θ - P ĝ;  η ← η - ρ_t N ∂l̂/∂η / κ,  ρ_t = hyper_rate (1 + (t - hold)/delay)^(-exponent), 0 before `hold`.

    Parameters
    ----------
    batch_size, sampling
        S > 1 (> 0 with a rate that is given); "with_replacement" or "without_replacement".
    curvature
        κ (h,), in total loss: about ∂²U/∂η² at the optimum, so that ρ is a share of a Newton step.
    rate
        "scalar": P = 2SD/(N Tr C), the KL-optimal one, C estimated along the way; "diagonal": 2S/(N C_kk); or a number or
        a matrix (D, D), kept.
    noise_start
        Tr C ("scalar") or its diagonal (D,) at the start.
    noise
        What C is estimated from: "halves", S₁S₂/S (ĝ₁ - ĝ₂)² of the batch's two halves, which costs nothing; "all", its S
        examples, kept apart; "first", the paper's S/(S-1) (g₁ - ĝ)² with the batch's first example, S times noisier.
    memory
        Steps the estimate of C looks back over, once it has run that long.
    hyper_rate, delay, exponent, hold
        ρ_0, where it begins to fall, how fast (between ½ and 1, both excluded), and for how long η stands still first.

    Notes
    -----
    Mandt, Hoffman, Blei (2017), §4.2 and eq. 21 with its factor S/(S-1), which the paper leaves out.
    """
    low = 1 if not isinstance(rate, str) else 2
    oracle = minibatch(
        _checks.integer("batch_size", batch_size, low=low), _checks.one_of("sampling", sampling, _INDEPENDENT)
    )
    kappa = _checks.vector("curvature", curvature)
    if not (kappa > 0).all():
        msg = f"curvature must be > 0, got a smallest of {kappa.min():g}."
        raise ValueError(msg)
    kind, value = _rate(rate)
    start = _checks.array("noise_start", noise_start)
    if not (start >= 0).all() or not start.any():
        msg = "noise_start must be >= 0 and not all 0: gradients that do not vary leave nothing to tune the rate by."
        raise ValueError(msg)
    return HyperparameterSGD(
        oracle=oracle,
        kind=kind,
        noise=_checks.one_of("noise", noise, ("halves", "all", "first")),
        rate=value,
        noise_start=float(start) if start.ndim == 0 else start,
        curvature=kappa,
        hyper_rate=_checks.within("hyper_rate", hyper_rate, 0.0, 1.0),
        delay=_checks.positive("delay", delay),
        exponent=_checks.within("exponent", exponent, 0.5, 1.0, closed="neither"),
        hold=_checks.integer("hold", hold, low=0, high=1 << 30),
        memory=float(_checks.integer("memory", memory, low=2)),
    )


_INDEPENDENT = ("with_replacement", "without_replacement")


def _rate(rate: Any) -> tuple[str, Any]:
    if isinstance(rate, str):
        return _checks.one_of("rate", rate, ("scalar", "diagonal")), ()
    if hasattr(rate, "ndim") and rate.ndim == 2:
        return "matrix", _checks.symmetric("rate", rate, definite="positive")
    return "number", _checks.positive("rate", rate)


def _split(vector: Any, like: Pytree) -> Pytree:
    return _tree.unflatten(vector, like)
