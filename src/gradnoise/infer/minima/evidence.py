"""The evidence of a minimum by Laplace's method: dense, or matrix-free with its Monte Carlo error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives, theory
from gradnoise import mode as modes
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.minima.hyperparameters import replaced
from gradnoise.infer.minima.prior import prior_curvature, prior_offset
from gradnoise.mode import Mode
from gradnoise.problem import Problem
from gradnoise.results import Estimate, mean_of
from gradnoise.stream import seed_of

BREAKDOWN = 1e-10  # relative size of a Lanczos step's remainder below which the Krylov space is exhausted
NORMALISED = 1e-6  # nats by which a prior's normaliser may be off without a word


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """Laplace's estimate of ln Z = ln ∫ p(y|θ) p(θ) dθ around one minimum.

    Attributes
    ----------
    log_evidence
        ln p(y, θ̂) + (D/2) ln 2π - ½ ln det A, nats; its standard error is that of the probes alone (0 when dense).
    log_joint
        ln p(y, θ̂), nats: a sum over examples, plus the normalised log prior.
    log_occam_factor
        -½ Σ ln(λᵢ/λ): -½ ln det A + ½ ln det of the prior's curvature at θ̂, nats; None where the prior's Hessian is not
        diagonal and positive.
    log_ratio
        ln Z less that of the null model: positive if the data support the model.
    null_log_evidence
        Of the null model, nats.
    method
        "dense" or "lanczos".
    quadrature_change
        Change of `log_evidence` from ¾ of the Lanczos steps to all of them, nats: the error of stopping there is about
        this, and no part of the standard error. 0 when dense.
    mode
        The minimum.
    prior_offset
        ln ∫ exp(log_prior), nats, taken off `log_joint` and all that contain it: 0 for a normalised prior. It is known where the
        log prior is quadratic; None where it is not (or couples more than 1000 parameters), and is assumed to be normalised.
    """

    log_evidence: Estimate
    log_joint: float
    log_occam_factor: Estimate | None
    log_ratio: Estimate
    null_log_evidence: float
    method: str
    quadrature_change: float
    mode: Mode = field(repr=False)
    prior_offset: float | None = 0.0

    def __str__(self) -> str:
        errors = f" ± {self.log_evidence.standard_error:.2g}" if self.log_evidence.n > 1 else ""
        how = (
            f"Lanczos, {self.log_evidence.n} probes; stopping there changes it by {self.quadrature_change:.1g}"
            if self.method == "lanczos"
            else "all of the Hessian"
        )
        occam = "" if self.log_occam_factor is None else f", Occam factor {self.log_occam_factor.value:.6g}"
        side = "the data support the model" if self.log_ratio.value > 0 else "the data do not support the model"
        lines = [
            f"log evidence {self.log_evidence.value:.6g}{errors} nats ({how})",
            f"  log joint at the mode {self.log_joint:.6g}{occam}",
            f"  {self.log_ratio.value:+.6g}{errors} against the null model ({self.null_log_evidence:.6g}): {side}",
        ]
        if self.prior_offset is None:
            lines.append("  the log prior is not quadratic: it was assumed to be normalised")
        elif abs(self.prior_offset) > NORMALISED:
            lines.append(f"  log_prior is not normalised, ln ∫ exp(log_prior) = {self.prior_offset:+.6g}: taken off")
        return "\n".join(lines)

    __repr__ = __str__


def evidence(
    problem: Any,
    *,
    mode: Any = None,
    method: str = "auto",
    num_probes: int = 32,
    num_matvecs: int = 64,
    null_log_evidence: float | None = None,
    key: Any = 0,
) -> Evidence:
    """Return Laplace's log evidence of a minimum, its Occam factor and its ratio to a null model.

    Parameters
    ----------
    problem
        A `Problem` with a proper log_prior: normalised, or quadratic (it is then normalised here, see `prior_offset`).
    mode
        From `find_mode` (or its params or vector), where it is known already. Above 1000 parameters trained params will do: the
        minimum is looked for from there (`Evidence.mode` says where it is), for the evidence is that of a minimum.
    method
        "dense" (up to 1000 parameters), "lanczos", or "auto": dense where it can be. "lanczos" reads ln det A off
        stochastic Lanczos quadrature with random signs (matfree), after scaling by the prior's curvature, so that
        directions that the data leave to the prior cost no variance.
    num_probes, num_matvecs
        Random directions, and Hessian products along each; of "lanczos".
    null_log_evidence
        What to compare with; None: the log-likelihood with all parameters 0, which for a softmax is -N ln(classes).
    key
        Seed of the probes.

    Raises
    ------
    ValueError
        For an improper prior, which has no evidence, and where the curvature is not positive definite.
    NotAMinimum
        Where there is no mode.

    Notes
    -----
    Smith and Le (2018), eqs. 7-10, with the opposite sign of their ratio. Exact for linear regression. Compare models that
    have one mode, or whose modes are copies of one another: others' mass is left out.

    Examples
    --------
    >>> from gradnoise import models, theory
    >>> X, y = [[1.0], [0.0]], [1.0, 2.0]
    >>> problem = models.linear_regression(X, y, observation_scale=1.0, intercept=False)
    >>> float(round(evidence(problem).log_evidence.value, 6))
    -4.434451
    """
    way = _checks.one_of("method", method, ("auto", "dense", "lanczos"))
    probes = _checks.integer("num_probes", num_probes, low=2)
    depth = _checks.integer("num_matvecs", num_matvecs, low=2)
    seed = seed_of(key)
    null = None if null_log_evidence is None else _checks.real("null_log_evidence", null_log_evidence)
    _checks.problem(problem)
    if way == "dense":
        derivatives.check_dense(problem)
    prior_curvature(problem, derivatives.as_vector("init", problem, problem.init))  # refused before the search
    found = _mode(problem, mode)
    prior = prior_curvature(problem, found.vector)
    offset = prior_offset(problem, found.vector, prior)
    joint = -problem.num_examples * found.loss - (offset or 0.0)
    dense = way == "dense" or (way == "auto" and problem.num_params <= derivatives.DENSE)
    half, change = (
        _dense(problem, found)
        if dense
        else _lanczos(problem, found, prior.scale, probes, min(depth, problem.num_params), seed)
    )
    total = Estimate(joint + problem.num_params / 2 * math.log(2 * math.pi) - half.value, half.standard_error, half.n)
    occam = None
    if prior.independent:
        occam = Estimate(float(np.log(prior.scale).sum() / 2) - half.value, half.standard_error, half.n)
    null = _log_likelihood_at_zero(problem) if null is None else null
    ratio = Estimate(total.value - null, total.standard_error, total.n)
    return Evidence(total, joint, occam, ratio, null, "dense" if dense else "lanczos", change, found, offset)


def _mode(problem: Any, mode: Any) -> Mode:
    if mode is None or isinstance(mode, Mode) or problem.num_params <= derivatives.DENSE:
        return modes.as_mode(problem, mode)
    return modes.find_mode(problem, init=derivatives.as_vector("mode", problem, mode))


@dataclass(frozen=True, eq=False, repr=False)
class EvidenceCurve:
    """Evidence against the strength of the prior.

    Attributes
    ----------
    prior_scales
        Standard deviations of the prior (k,), ascending.
    evidences
        One `Evidence` each.
    """

    prior_scales: Array
    evidences: tuple[Evidence, ...] = field(repr=False)

    @property
    def log_evidence(self) -> Estimate:
        """Log evidence at each scale (k,)."""
        values, errors = zip(
            *((e.log_evidence.value, e.log_evidence.standard_error) for e in self.evidences), strict=True
        )
        return Estimate(np.array(values), np.array(errors), self.evidences[0].log_evidence.n)

    @property
    def best(self) -> float:
        """The prior scale of largest evidence among those tried."""
        return float(self.prior_scales[int(np.argmax(self.log_evidence.value))])

    def __str__(self) -> str:
        best = int(np.argmax(self.log_evidence.value))
        edge = len(self.evidences) > 1 and best in (0, len(self.evidences) - 1)
        rows = [
            f"{'*' if i == best else ' '} {scale:>11.4g}  {e.log_evidence.value:>13.6g}"
            + (f" ± {e.log_evidence.standard_error:<8.2g}" if e.log_evidence.n > 1 else "")
            + f"  {e.log_ratio.value:>+13.6g}"
            for i, (scale, e) in enumerate(zip(self.prior_scales, self.evidences, strict=True))
        ]
        head = f"  {'prior scale':>11}  {'log evidence':>13}{' ' * 11 * (self.evidences[0].log_evidence.n > 1)}  {'against null':>13}"
        told = ["* is the largest" + (", at the end of the scales: try further ones" if edge else "")]
        return "\n".join([head, *rows, *told])

    __repr__ = __str__


def evidence_curve(problem: Any, prior_scales: ArrayLike, **settings: Any) -> EvidenceCurve:
    """Return the evidence at each prior scale; the mode is found anew from the last one, the strongest prior first.

    Parameters
    ----------
    problem
        A `Problem` whose hyperparams have a "prior_precision"; all its entries are set to 1/scale².
    prior_scales
        Standard deviations (k,), positive.
    **settings
        As in `evidence`, without `mode`.
    """
    if np.ndim(prior_scales) != 1:
        msg = f"prior_scales must be a list of shape (k,), such as [0.1, 1.0, 10.0], got {_checks.shown(prior_scales)}."
        raise ValueError(msg)
    scales = np.sort(_checks.vector("prior_scales", prior_scales))
    if not len(scales) or scales[0] <= 0:
        msg = f"prior_scales must be > 0 and at least one, got {_checks.shown(scales.tolist())}."
        raise ValueError(msg)
    hyper = getattr(problem, "hyperparams", None)
    if not isinstance(hyper, dict) or "prior_precision" not in hyper:
        msg = "problem must have hyperparams['prior_precision'], as the ready-made models do."
        raise ValueError(msg)
    if "mode" in settings:
        msg = "mode must be left out: each prior scale has its own."
        raise TypeError(msg)
    found, init = [], None
    for scale in scales:
        precision = np.full(np.shape(hyper["prior_precision"]), scale**-2.0)
        here = replaced(problem, {**hyper, "prior_precision": precision})
        mode = modes.find_mode(here, init=init)
        found.append(evidence(here, mode=mode, **settings))
        init = mode.vector
    return EvidenceCurve(scales, tuple(found))


def _log_likelihood_at_zero(problem: Problem) -> float:
    bare = Problem(problem.log_likelihood, problem.data, problem.init, hyperparams=problem.hyperparams)
    return -problem.num_examples * derivatives.loss(bare, np.zeros(problem.num_params))


def _dense(problem: Problem, mode: Mode) -> tuple[Estimate, float]:
    """½ ln det A from the Hessian itself."""
    hessian = derivatives.hessian(problem, mode.vector) if mode.hessian is None else mode.hessian
    laplace = theory.log_evidence(0.0, problem.num_examples * hessian)
    return Estimate(problem.num_params / 2 * math.log(2 * math.pi) - laplace, 0.0, 1), 0.0


def _lanczos(
    problem: Problem, mode: Mode, scale: Array, num_probes: int, num_matvecs: int, seed: int
) -> tuple[Estimate, float]:
    """½ ln det A = ½ Σ ln d + ½ tr ln(d^-½ A d^-½), the trace from random signs."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (num_probes, problem.num_params))
    with jax.enable_x64(True):
        short, full, least = jax.tree.map(
            np.asarray, _quadratures(problem, mode.vector, scale, signs, num_matvecs=num_matvecs)
        )
    if not np.isfinite(full).all() or least.min() <= 0:
        msg = f"the curvature at the mode must be positive definite, but Lanczos met an eigenvalue {least.min():.3g} relative to the prior's. Find the mode more sharply (gradient_tolerance)."
        raise ValueError(msg)
    trace = mean_of(full)
    return (
        Estimate(float(np.log(scale).sum() + trace.value) / 2, float(trace.standard_error) / 2, num_probes),
        float(short.mean() - full.mean()) / 2,
    )


@partial(jax.jit, static_argnames="num_matvecs")
def _quadratures(problem: Any, vector: Any, scale: Any, signs: Any, *, num_matvecs: int) -> Any:
    """Lanczos quadratures of zᵀ ln(M) z with ¾ of the steps and with all, and the least Ritz value, for each probe z."""
    from matfree import decomp

    root, total = jnp.sqrt(scale), problem.num_examples
    wide = _tree.cast(problem, jnp.float64)
    slope = jax.grad(lambda theta: total * wide.loss(_tree.unflatten(theta, problem.init)))
    product = jax.linearize(slope, vector)[1]
    tridiagonal = decomp.tridiag_sym(num_matvecs, reortho="full", custom_vjp=False)

    def one(z: Any) -> Any:
        square = jnp.sum(z**2)
        matrix = _alive(tridiagonal(lambda v: product(v / root) / root, z / jnp.sqrt(square))[1])
        part = matrix[: max(1, 3 * num_matvecs // 4)]
        return square * _first_log(part[:, : len(part)]), square * _first_log(matrix), jnp.linalg.eigvalsh(matrix)[0]

    return jax.lax.map(one, signs)


def _alive(matrix: Any) -> Any:
    """Cut T where the Krylov space ends (fewer distinct eigenvalues than steps): what follows is rounding; 1 takes its place."""
    diagonal, beside = jnp.diagonal(matrix), jnp.diagonal(matrix, 1)
    alive = jnp.cumprod(jnp.abs(beside) > BREAKDOWN * jnp.max(jnp.abs(matrix[0]))).astype(matrix.dtype)
    first = jnp.ones(1, matrix.dtype)
    diagonal = jnp.where(jnp.concatenate([first, alive]) > 0, diagonal, 1.0)
    beside = jnp.where(alive > 0, beside, 0.0)
    return jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)


def _first_log(matrix: Any) -> Any:
    """Return e₁ᵀ ln(T) e₁."""
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.sum(vectors[0] ** 2 * jnp.log(values))
