"""Hyperparameters as parameters: a problem in logs of leaves of `Problem.hyperparams`, and where their fixed points lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from gradnoise import _checks, _tree, derivatives
from gradnoise import mode as modes
from gradnoise._types import AnyArray, Array, Pytree
from gradnoise.infer.minima.learning_laws import covariance_of, own_law_of, step_of
from gradnoise.problem import Problem

LAWS = ("constant_sgd", "own", "posterior", "plug_in")
CURVATURE_ROWS = 2048  # examples that the curvature in η is taken from
NEARING, NEAR = 60, 0.1  # steps of EM before the root is sought, and the move at which they are near it
FARTHEST = 30.0  # of a log hyperparameter from where it was given: beyond, it has run away
SETTLED, ROUGHLY = 1e-7, 2e-3  # of a fixed point's equation, relative to its curvature; where the law in it is iterated


@dataclass(frozen=True)
class JointLogLikelihood:
    """The problem's log-likelihood, read from ``{"hyperparams": η, "params": θ}``."""

    function: Any

    def __call__(self, params: Any, example: Any, hyperparams: Any) -> Any:
        """Return log p(y_n | θ, exp η)."""
        return self.function(params["params"], example, decoded(params["hyperparams"], hyperparams))


@dataclass(frozen=True)
class JointLogPrior:
    """The problem's log-prior, read in the same way; η has a flat one."""

    function: Any

    def __call__(self, params: Any, hyperparams: Any) -> Any:
        """Return log p(θ | exp η)."""
        return self.function(params["params"], decoded(params["hyperparams"], hyperparams))


def decoded(log: Any, hyperparams: Any) -> Any:
    """Return the problem's hyperparams at η: leaf · exp(η_group), entries of group -1 as they are."""

    def one(leaf: Any, group: Any) -> Any:
        factor = jnp.where(group < 0, 1.0, jnp.exp(log[jnp.maximum(group, 0)]))
        return leaf * factor.astype(log.dtype)

    return jax.tree.map(one, hyperparams["start"], hyperparams["group"])


@dataclass(frozen=True, eq=False)
class Joint:
    """A problem in parameters and log hyperparameters.

    Attributes
    ----------
    problem
        Its params are ``{"hyperparams": η (h,), "params": θ}``; η = 0 are the hyperparameters given.
    base
        The problem it was made of.
    names
        One for each η.
    start
        Value of each at η = 0 (geometric mean over its entries).
    curvature
        ∂²U/∂η² (h,) at the optimum of η for one fixed θ: P/2 for the precision of P parameters, 2N for a normal scale.
    """

    problem: Problem
    base: Problem
    names: tuple[str, ...]
    start: Array
    curvature: Array

    def at(self, log: Array) -> Problem:
        """Return the problem with the hyperparameters at η."""
        with jax.enable_x64(True):
            hyper = jax.tree.map(np.asarray, decoded(jnp.asarray(log, jnp.float64), _wide(self.problem.hyperparams)))
        return replaced(self.base, hyper)

    def values(self, log: AnyArray) -> Array:
        """Return the hyperparameters themselves, shape (..., h)."""
        return np.asarray(self.start * np.exp(np.asarray(log, np.float64)))


def replaced(problem: Problem, hyperparams: Pytree) -> Problem:
    """Return the problem with other hyperparams."""
    return Problem(
        problem.log_likelihood, problem.data, problem.init, problem.log_prior, hyperparams=hyperparams,
        predict=problem.predict, sample=problem.sample, names=problem.names, align=problem.align,
    )  # fmt: skip


def joint_problem(problem: Any, hyperparams: Any) -> Joint:
    """Build the problem in θ and η = ln(hyperparameter / its present value).

    Parameters
    ----------
    problem
        A `Problem` with hyperparams and a log_prior.
    hyperparams
        Names of leaves ("prior_precision"), each moved by one common factor; or a mapping from name to groups, integers
        of the leaf's shape: one factor a group 0, 1, …, and -1 for entries that stay.

    Raises
    ------
    TypeError, ValueError
        For names or groups that do not fit, and for a leaf that is not positive or has no optimum for fixed parameters.
    """
    if not hasattr(problem, "batch_loss"):
        msg = f"problem must be a gn.Problem, got {_checks.shown(problem)}."
        raise TypeError(msg)
    if problem.hyperparams is None or problem.log_prior is None:
        msg = "problem must have hyperparams and a log_prior: a flat prior has no scale to learn."
        raise ValueError(msg)
    leaves, structure = jax.tree_util.tree_flatten_with_path(problem.hyperparams)
    paths = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    wanted = _wanted(hyperparams, paths)
    groups: list[AnyArray] = []
    names: list[str] = []
    start: list[float] = []
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        value = np.asarray(leaf, np.float64)
        if path not in wanted:
            groups.append(np.full(value.shape, -1, np.int32))
            continue
        group = _groups(path, wanted[path], value)
        count = int(group.max()) + 1
        groups.append(np.where(group < 0, -1, group + len(names)).astype(np.int32))
        names += [path] if count == 1 else [f"{path}[{g}]" for g in range(count)]
        start += [float(np.exp(np.log(value[group == g]).mean())) for g in range(count)]
    hyper = {"start": problem.hyperparams, "group": jax.tree_util.tree_unflatten(structure, groups)}
    dtype = np.result_type(*(np.asarray(leaf).dtype for leaf in jax.tree.leaves(problem.init)))
    both = Problem(
        JointLogLikelihood(problem.log_likelihood), problem.data,
        {"hyperparams": np.zeros(len(names), dtype), "params": problem.init}, JointLogPrior(problem.log_prior),
        hyperparams=hyper, names=(*(f"log {n}" for n in names), *problem.parameter_names), align=problem.align,
    )  # fmt: skip
    return Joint(both, problem, tuple(names), np.array(start), _curvature(both, names))


def _wanted(hyperparams: Any, paths: list[str]) -> dict[str, Any]:
    """Return name -> groups, or None for one group."""
    if isinstance(hyperparams, str):
        hyperparams = (hyperparams,)
    if not isinstance(hyperparams, (Mapping, tuple, list)) or not len(hyperparams):
        msg = f"hyperparams must name leaves of problem.hyperparams ({', '.join(paths)}), got {_checks.shown(hyperparams)}."
        raise TypeError(msg)
    out = dict(hyperparams) if isinstance(hyperparams, Mapping) else dict.fromkeys(hyperparams)
    for name in out:
        _checks.one_of("hyperparams", name, paths)
    return out


def _groups(path: str, groups: Any, value: Array) -> Array:
    """Return the group of each entry of a leaf, -1 for entries that stay."""
    if groups is None:
        out = np.where(value > 0, 0, -1)
        bad = value < 0
        if bad.any() or not (out == 0).any():
            msg = f"hyperparams[{path!r}] must be positive to be learnt, got a largest of {float(value.max()):g}. A flat prior (precision 0) has no scale."
            raise ValueError(msg)
        return out
    out = np.asarray(groups)
    if out.dtype.kind not in "iu" or out.shape != value.shape:
        msg = (
            f"hyperparams[{path!r}] must be integers of shape {value.shape}, got dtype {out.dtype}, shape {out.shape}."
        )
        raise ValueError(msg)
    if set(np.unique(out[out >= 0])) != set(range(int(out.max()) + 1)) or out.max() < 0 or out.min() < -1:
        msg = f"hyperparams[{path!r}] must number groups 0, 1, … without gaps, -1 for entries that stay; got {_checks.shown(np.unique(out).tolist())}."
        raise ValueError(msg)
    if (value[out >= 0] <= 0).any():
        msg = f"hyperparams[{path!r}] must be positive where its groups are >= 0, got {float(value[out >= 0].min()):g}."
        raise ValueError(msg)
    return out


@jax.jit
def _in_hyperparams(problem: Any, data: Any, log: Any, rest: Any) -> Any:
    """U, ∂U/∂η (h,) and ∂²U/∂η² (h, h) at η for fixed parameters (D,), from these data scaled up to all N."""
    wide, batch = _tree.cast(problem, jnp.float64), _tree.cast(data, jnp.float64)

    def total(log: Any) -> Any:
        params = _tree.unflatten(jnp.concatenate([log, rest]), problem.init)
        return problem.num_examples * wide.batch_loss(params, batch)

    return total(log), jax.grad(total)(log), jax.hessian(total)(log)


def _curvature(problem: Problem, names: list[str]) -> Array:
    """Return ∂²U/∂η² at the optimum of η for parameters drawn N(0, I): for scales of normals it does not depend on them."""
    size, total = len(names), problem.num_examples
    rows = np.random.default_rng(1).choice(total, min(total, CURVATURE_ROWS), replace=False)
    few = jax.tree.map(lambda a: np.asarray(a)[rows], problem.data)
    rest = np.random.default_rng(0).standard_normal(problem.num_params - size)
    log = np.zeros(size)
    for _ in range(200):
        with jax.enable_x64(True):
            _, slope, hessian = jax.tree.map(np.asarray, _in_hyperparams(problem, few, log, rest))
        if not (np.isfinite(hessian).all() and np.isfinite(slope).all() and hessian.any()):
            break
        values, vectors = np.linalg.eigh(hessian)
        least = 1e-12 * np.abs(values).max()
        step = vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), least))  # downhill at saddles too
        if np.abs(step).max() < 1e-9 and values[0] > least:
            return np.asarray(np.diag(hessian))
        log = log - np.clip(step, -1.0, 1.0)
    msg = f"hyperparams must have an optimum for fixed parameters, but the density of {', '.join(names)} has none: it grows without bound as they run away, or does not depend on them."
    raise ValueError(msg)


def _wide(tree: Any) -> Any:
    return _tree.cast(jax.tree.map(lambda a: np.asarray(a), tree), np.float64)


@jax.jit
def _slopes(problem: Any, log: Any, points: Any) -> Any:
    """∂U/∂η (h,) averaged over parameters (M, D)."""
    return jnp.mean(jax.lax.map(lambda rest: _in_hyperparams(problem, problem.data, log, rest)[1], points), 0)


def fixed_point(
    joint: Joint,
    *,
    law: str = "constant_sgd",
    batch_size: int | None = None,
    sampling: str = "with_replacement",
    rate: str | float | Array = "scalar",
    log_start: Array | None = None,
) -> Array | None:
    """Return η with E_q ∂U/∂η = 0, q Gaussian around the mode at η; None where none is found.

    Parameters
    ----------
    joint
        From `joint_problem`; at most 1000 parameters.
    law
        Covariance of q: that of constant SGD as an Ornstein-Uhlenbeck process ("constant_sgd": where `variational_em`
        settles as its rates and its step go to 0), that at the step itself with its noise averaged over it, as the step is tuned
        ("own": exact for a quadratic loss; None where it has no variance), Laplace's (N H)⁻¹ ("posterior": where the evidence is stationary if the loss is
        quadratic), or 0 ("plug_in": the joint optimum of θ and η, which may not exist).
    batch_size, sampling, rate
        Of constant SGD, as in `hyperparameter_sgd`.
    log_start
        Where to begin, (h,).

    Notes
    -----
    Averages over q are taken at the 2D points m ± √D·(columns of the covariance's root): exact where ∂U/∂η is quadratic in
    θ, as it is for scales of normal priors and of normal noise around a linear mean.
    """
    _checks.one_of("law", law, LAWS)
    here: dict[str, Any] = {"init": None}

    def equation(log: Array) -> Array:
        problem = joint.at(log)
        found = modes.find_mode(problem, init=here["init"])
        here["init"] = found.vector
        centre: Array = found.vector
        covariance: Array | None
        if law == "own":
            centre, covariance = own_law_of(problem, found, batch_size, sampling, rate)
        else:
            covariance = covariance_of(problem, found, law, batch_size, sampling, rate)
        points = centre[None]
        if covariance is not None:
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(np.maximum(values, 0) * len(values))
            points = np.concatenate([centre + root.T, centre - root.T])
        with jax.enable_x64(True):
            return np.asarray(_slopes(joint.problem, log, points)) / joint.curvature

    log = np.zeros(len(joint.names)) if log_start is None else np.asarray(log_start, np.float64)
    try:
        for _ in range(NEARING):  # steps of EM bring it near
            move = np.clip(equation(log), -1.0, 1.0)
            log = log - move
            if np.abs(move).max() < NEAR or np.abs(log).max() > FARTHEST:
                break
        found = scipy.optimize.root(
            equation, log, method="hybr", options={"xtol": 1e-4 if law == "own" else 1e-10, "factor": 1.0}
        )
        end = np.abs(equation(found.x)).max()
    except (modes.NotAMinimum, RuntimeError, np.linalg.LinAlgError, ValueError):
        return None
    return (
        np.asarray(found.x)
        if end <= (ROUGHLY if law == "own" else SETTLED) and np.abs(found.x).max() < FARTHEST
        else None
    )


def relaxation_rates(joint: Joint, log: Array, *, batch_size: int, sampling: str, rate: Any) -> Array:
    """Return the eigenvalues (D,) of P H at the mode at η, ascending: a direction shrinks by 1 - r a step, stable for r < 2."""
    problem = joint.at(log)
    vector = modes.find_mode(problem).vector
    hessian = derivatives.hessian(problem, vector)
    noise = derivatives.gradient_moments(problem, vector)[1]
    step = step_of(problem, hessian, noise, batch_size, sampling, rate)[0]
    root = np.linalg.cholesky(hessian)
    return np.asarray(np.linalg.eigvalsh(root.T @ step @ root))
