"""Variational EM: hyperparameters optimised while constant SGD samples (Mandt, Hoffman, Blei 2017, §4.2)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from gradnoise import _checks, derivatives, diagnose
from gradnoise._types import Array, ArrayLike
from gradnoise.engine import Divergence, record, simulate
from gradnoise.infer.hyperparameters.outlook import Outlook, look_ahead, ran_away, told_away
from gradnoise.infer.hyperparameters.variational_em_result import judged, learnt
from gradnoise.infer.minima.hyperparameters import Joint, joint_problem
from gradnoise.infer.plans.simulation import check_run
from gradnoise.infer.posteriors.posterior import Posterior, Verdict
from gradnoise.infer.samplers.constant_sgd import constant_sgd
from gradnoise.infer.samplers.corrected_langevin import corrected_langevin
from gradnoise.infer.verdicts.judges import Judges, keeping
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.problem import Problem
from gradnoise.processes import hyperparameter_sgd
from gradnoise.stream import seed_of

WINDOWS = 100  # points of the history
PILOT_ROWS = 512  # examples whose gradients give the first Tr C
EXAMPLE_NUMBERS = 1 << 16  # up to this many numbers S·D, C is estimated from all S examples of a batch
THIN = 50  # steps between draws where nothing predicts the memory


def variational_em(
    problem: Any,
    *,
    batch_size: int,
    hyperparams: Any = ("prior_precision",),
    preconditioner: str | ArrayLike | None = None,
    learning_rate: float | None = None,
    num_steps: int = 50_000,
    hyper_rate: float = 0.02,
    exponent: float = 0.7,
    noise: str | None = None,
    memory: int = 1000,
    num_draws: int = 1000,
    num_chains: int = 4,
    key: Any = 0,
    sampling: str = "with_replacement",
    init: Any = None,
    thin: int | None = None,
    burn_in: int | None = None,
    checkpoint: Any = None,
    progress: Any = True,
) -> Posterior:
    """Learn hyperparameters while constant SGD samples the parameters, then sample at their final value.

    θ ← θ - P ĝ with the KL-optimal constant rate, kept up to date with the gradient noise; η = ln(hyperparameter) follows
    -∂U/∂η at the current θ with rates that fall as t^(-exponent), and is averaged over the second half of the steps. The
    gradient is automatic: any positive leaf of `problem.hyperparams` will do. Optimising θ and η together to a point
    instead can run away (precision to infinity, θ to 0); the spread of θ prevents it here.

    Parameters
    ----------
    problem
        A `Problem` with hyperparams and a log_prior. More than 1000 parameters: no fixed point, and no predicted law.
    batch_size, sampling
        S >= 2; "with_replacement" or "without_replacement".
    hyperparams
        Names of leaves of `problem.hyperparams`, one common factor each; or a mapping from names to integer groups of the
        leaf's shape: one factor for each group 0, 1, …, and -1 for entries that stay.
    preconditioner
        Of the steps that learn: "scalar" (the paper's 2SD/(N Tr C)), "diagonal" (2S/(N C_kk)), or a matrix (D, D) that contains the
        learning rate and is kept. None: "scalar", but "diagonal" where, at its predicted fixed point, the scalar step comes nearer to
        the stability edge than half of it or has fewer than 50 relaxation times (beyond 1000 parameters, where that is not
        predicted: "scalar").
    learning_rate
        A number that is kept, instead of the tuned one; only with "scalar" or None.
    num_steps, hyper_rate, exponent
        Steps of each chain; the first share of a Newton step in η; how fast it falls, in (½, 1). η stands still for the
        first twentieth of the steps.
    noise, memory
        How C is estimated, and over how many steps: "halves" of a batch, "all" its S examples (S gradients kept apart), or
        "first", the paper's equation 21 with its missing S/(S-1): S times noisier, and at the mercy of single examples with
        large gradients. None: "all" while S·D is below 65 536, else "halves".
    num_draws, num_chains, key
        Draws a chain, chains, seed.
    init
        Where θ starts: params or a vector (D,); None: `problem.init`.
    thin, burn_in
        Of the draws, as in `constant_sgd`; beyond 1000 parameters None means 50 and `memory`.
    checkpoint, progress
        Of the steps in θ and η, as in `simulate`.

    Returns
    -------
    Posterior
        Draws at the final hyperparameters; ``.settings["variational_em"]`` is the `VariationalEM`.

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs.
    Refused
        Where the step cannot settle at its own fixed point; as soon as a hyperparameter runs away, with its name and direction.

    Notes
    -----
    With q the law of SGD, F(q, λ) = ln p(y|λ) - KL(q ‖ p(θ|y, λ)): constant SGD's law is not the posterior, so neither is its fixed
    point the evidence's optimum; they are close where the noise is like the curvature. Where the loss is quadratic the exact
    optimum stands beside it. The draws are a last E-step: λ stays and q is free, so the best q is the posterior at λ, which
    constant SGD with the full preconditioner samples (up to 1000 parameters; corrected Langevin where some directions have no
    noise). F can only rise by it. A matrix or a number that was given is kept for the draws too. P counts every parameter under a prior: one that no example moves (a pixel that is always
    0) stays at 0 and biases the precision up by P/P_active or more; put it into group -1, or drop the column.
    """
    _checks.problem(problem)
    check_run(
        num_draws=num_draws, num_chains=num_chains, key=key, thin=thin, burn_in=burn_in, simulation={"checkpoint": checkpoint}
    )  # fmt: skip
    steps = _checks.integer("num_steps", num_steps, low=20 * WINDOWS)
    chains = _checks.integer("num_chains", num_chains, low=2)
    size = _checks.integer("batch_size", batch_size, low=2)
    wish = _rate(preconditioner, learning_rate)
    joint = joint_problem(problem, hyperparams)
    _check_noise(_checks.drawn_batch(size, problem.num_examples, sampling), problem.num_examples, sampling)
    if np.ndim(wish) == 2:
        _checks.symmetric("preconditioner", wish, problem.num_params, definite="positive")
    begin = derivatives.as_vector("init", problem, problem.init if init is None else init)
    kind = noise if noise is not None else "all" if size * problem.num_params <= EXAMPLE_NUMBERS else "halves"
    process = hyperparameter_sgd(
        size, curvature=joint.curvature, rate="scalar" if wish is None else wish, noise=kind, memory=memory,
        hyper_rate=hyper_rate, delay=max(steps / WINDOWS, 1.0), exponent=exponent, hold=steps // 20, sampling=sampling,
    )  # fmt: skip
    ahead = look_ahead(joint, wish, batch_size=size, sampling=sampling, num_steps=steps)
    rate = ahead.rate
    if isinstance(rate, str):
        process = dataclasses.replace(process, kind=rate, noise_start=_noise_at(problem, begin, rate))
    window = steps // WINDOWS
    run = _watched(
        joint, process, ahead, num_steps=steps, num_chains=chains, key=key,
        init=np.concatenate([np.zeros(len(joint.names)), begin]),
        record=record.averages(window), checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    with keeping(run):
        logs = np.asarray(run.averages[..., : len(joint.names)], np.float64)
        found = learnt(joint, run, logs, window, size, sampling, ahead)
    settings = {
        "variational_em": found,
        "hyper_steps": steps,
        "hyper_preconditioner": found.preconditioner,
        "noise": kind,
        **dict(zip(found.names, found.final.value, strict=True)),
    }
    with keeping(run):
        if problem.num_params <= derivatives.DENSE:
            made = _planned(found.problem, rate, size, sampling, num_draws, chains, key, thin, burn_in, progress)
        else:
            made = _continued(joint, process, run, num_draws, key, thin, burn_in, progress)
    verdict = Judges(run).verdict(lambda: judged(made.verdict, found, ahead.reason))
    return dataclasses.replace(made, method="variational EM", settings={**made.settings, **settings}, verdict=verdict)


def _watched(joint: Joint, process: Any, ahead: Outlook, *, num_steps: int, **settings: Any) -> Any:
    """Simulate until a hyperparameter runs away; then refuse, and say which and why."""
    size = len(joint.names)

    def away(run: Any) -> Array:
        return ran_away(run.state[:, :size], ahead.aim)

    try:
        run = simulate(
            joint.problem, process, num_steps=num_steps, on_divergence="raise", until=lambda run: bool(away(run).any()),
            **settings,
        )  # fmt: skip
    except Divergence as error:
        run = error.run
    if run.diverged or away(run).any():
        gone = away(run)
        told = told_away(joint, run.state[:, :size], gone if gone.any() else np.ones(size, bool), ahead)
        msg = f"hyperparams ran away within {run.num_steps:,} of {num_steps:,} steps: {told}"
        raise Refused(msg)
    return run


def _check_noise(size: int, num_examples: int, sampling: str) -> None:
    if sampling != "with_replacement" and size == num_examples:
        msg = f"batch_size must be < num_examples = {size} when sampling={sampling!r}: the gradient of all data has no noise, and constant SGD has no other."
        raise ValueError(msg)


def _rate(preconditioner: Any, learning_rate: Any) -> Any:
    """Return "scalar", "diagonal", a number, a matrix, or None: to be chosen."""
    if preconditioner is None:
        return None if learning_rate is None else _checks.positive("learning_rate", learning_rate)
    if isinstance(preconditioner, str):
        kind = _checks.one_of("preconditioner", preconditioner, ("scalar", "diagonal"))
        if learning_rate is None:
            return kind
        if kind == "scalar":
            return _checks.positive("learning_rate", learning_rate)
    elif learning_rate is None:
        return _checks.symmetric("preconditioner", preconditioner, definite="positive")
    msg = f"learning_rate must be None unless preconditioner is 'scalar', got {_checks.shown(learning_rate)}."
    raise ValueError(msg)


def _noise_at(problem: Problem, vector: Array, rate: Any) -> Any:
    """Tr C, or its diagonal (D,), from some examples' gradients."""
    if not isinstance(rate, str):
        return 1.0
    rows = max(2, min(PILOT_ROWS, problem.num_examples, (1 << 23) // problem.num_params))
    some = np.random.default_rng(0).choice(problem.num_examples, min(rows, problem.num_examples), replace=False)
    few = dataclasses.replace(problem, data=jax.tree.map(lambda a: np.asarray(a)[some], problem.data))
    diagonal = derivatives.example_gradients(few, vector).var(0)
    return diagonal if rate == "diagonal" else float(diagonal.sum())


def _planned(
    problem: Problem, rate: Any, size: int, sampling: str, num_draws: int, num_chains: int, key: Any, thin: Any,
    burn_in: Any, progress: Any,
) -> Posterior:  # fmt: skip
    """Draws of the posterior at these hyperparameters: constant SGD with the full step, or the one that was given."""
    common: dict[str, Any] = {
        "batch_size": size, "sampling": sampling, "num_draws": num_draws, "num_chains": num_chains, "key": key, "thin": thin,
        "burn_in": burn_in, "progress": progress,
    }  # fmt: skip
    if not isinstance(rate, str):
        step = rate if np.ndim(rate) else float(rate) * np.eye(problem.num_params)
        return constant_sgd(problem, preconditioner=step, **common)
    try:
        return constant_sgd(problem, preconditioner="full", **common)
    except Refused as refusal:
        made = corrected_langevin(problem, **common)
        why = f"The draws are those of corrected Langevin, since constant SGD refused: {refusal}"
        return dataclasses.replace(made, verdict=made.verdict._replace(reasons=(*made.verdict.reasons, why)))


def _continued(
    joint: Joint, process: Any, run: Any, num_draws: int, key: Any, thin: Any, burn_in: Any, progress: Any
) -> Posterior:
    """Draws of the same process from where it stands, the hyperparameters held; no prediction."""
    size = len(joint.names)
    every = THIN if thin is None else int(thin)
    forget = int(process.memory) if burn_in is None else int(burn_in)
    logs = np.asarray(run.averages[..., :size], np.float64)
    start = np.array(run.state, np.float64)
    start[:, :size] = logs[:, logs.shape[1] // 2 :].mean((0, 1))
    kept = (
        process.noise_start
        if process.kind in ("number", "matrix")
        else _noise_at(joint.base, start[0, size:], process.kind)
    )
    frozen = dataclasses.replace(process, hyper_rate=0.0, noise_start=kept)
    more = simulate(
        joint.problem, frozen, num_steps=forget + num_draws * every, num_chains=len(start), key=seed_of(key) ^ 1, init=start,
        burn_in=forget, record=record.draws(every), progress=progress,
    )  # fmt: skip
    draws = more.draws[..., size:]
    judges, known = Judges(more), num_draws > 1
    effective = judges.ask("the effective draws", lambda: _effective(draws), 0.0) if known else float(len(start))
    why = f"The law of constant SGD is not predicted beyond {derivatives.DENSE} parameters; effective draws are those of |params|²."
    return Posterior(
        method="constant SGD", draws=draws, names=joint.base.parameter_names, predicted_mean=None,
        predicted_covariance=None, effective_draws=effective if math.isfinite(effective) else 0.0,
        verdict=judges.verdict(lambda: Verdict("approximate", (why,), {"effective_draws": effective})),
        settings={"thin": every, "burn_in": forget, "num_steps": forget + num_draws * every, "num_chains": len(start)},
        run=more, problem=joint.at(start[0, :size]),
    )  # fmt: skip


def _effective(draws: Any) -> float:
    """Return the effective draws of |params|²."""
    return float(diagnose.effective_sample_size((np.asarray(draws, np.float64) ** 2).sum(-1)).value)
