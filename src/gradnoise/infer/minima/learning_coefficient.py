"""The local learning coefficient of a minimum, with its bias and its standard error known before the run (Lau et al. 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize

from gradnoise import _checks, derivatives, theory
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.engine import record, simulate
from gradnoise.infer.verdicts.judges import keeping
from gradnoise.oracles import minibatch
from gradnoise.problem import Problem
from gradnoise.processes import Langevin
from gradnoise.results import Estimate, mean_of
from gradnoise.stream import seed_of

BURN_IN = 5  # relaxation times
LOCAL_DRAWS = 64  # draws that curvature and noise are averaged over
SELF_CONSISTENT = 3  # times that noise and step are found from the law that they make
FARTHEST = 0.1  # of w* from the localised minimum, in standard deviations
LONGEST = 50_000_000  # steps of all chains that are still planned
QUADRATIC = 1.05  # ratio of averaged to local curvature up to which the loss counts as quadratic


@dataclass(frozen=True)
class SpringLogPrior:
    """-(γN/2nβ) |w - w*|² beside the problem's own log-prior: the spring of the localised law, in units of the mean loss."""

    function: Any

    def __call__(self, params: Any, hyperparams: Any) -> Any:
        """Return the log-prior with the spring."""
        gaps = jax.tree.map(lambda p, c: jnp.sum((p - c.astype(p.dtype)) ** 2), params, hyperparams["centre"])
        spring = -0.5 * hyperparams["stiffness"] * sum(jax.tree.leaves(gaps))
        if self.function is None:
            return spring
        own = () if hyperparams["own"] is None else (hyperparams["own"],)
        return spring + self.function(params, *own)


@dataclass(frozen=True)
class OwnLogLikelihood:
    """The problem's log-likelihood with its own hyperparams."""

    function: Any

    def __call__(self, params: Any, example: Any, hyperparams: Any) -> Any:
        """Return the log-likelihood of one example."""
        own = () if hyperparams["own"] is None else (hyperparams["own"],)
        return self.function(params, example, *own)


@dataclass(frozen=True, eq=False)
class LocalLearningCoefficient:
    """What `local_learning_coefficient` measured, beside what was predicted.

    Attributes
    ----------
    estimate
        nβ (mean of L over the run - L(w*)), a pure number; standard error from the chains.
    predicted
        `theory.LearningCoefficient`: value of such a run at this step and batch, at zero step and full batch, and the
        standard error of all chains together. For a quadratic loss.
    curvature_ratio
        tr H̄A⁻¹ / tr HA⁻¹, H̄ averaged over the localised law, H at w*: near 1 the loss is quadratic there and the
        prediction holds; infinite where H is 0.
    step_size, inverse_temperature, localization, batch_size
        ε, nβ, γ, m.
    num_steps, burn_in, thin
        Of each chain.
    run
        The `Run`.
    """

    estimate: Estimate
    predicted: Any
    curvature_ratio: float
    step_size: float
    inverse_temperature: float
    localization: float
    batch_size: int
    num_steps: int
    burn_in: int
    thin: int
    run: Any = field(repr=False)

    @property
    def bias(self) -> float:
        """Predicted bias of the finite step and batch, for a quadratic loss."""
        return float(self.predicted.value - self.predicted.ideal)

    @property
    def corrected(self) -> Estimate:
        """`estimate` less the predicted bias."""
        return Estimate(self.estimate.value - self.bias, self.estimate.standard_error, self.estimate.n)

    @property
    def quadratic(self) -> bool:
        """Whether the loss is quadratic where the run goes, so that the prediction applies."""
        return 1 / QUADRATIC <= self.curvature_ratio <= QUADRATIC

    def __str__(self) -> str:
        told = f"local learning coefficient {self.estimate:.4g}, predicted bias {self.bias:+.2g}"
        if self.quadratic:
            return f"{told} (quadratic loss: {self.predicted.value:.4g} predicted, {self.predicted.ideal:.4g} at zero step)."
        return f"{told} from the averaged curvature ({self.curvature_ratio:.3g} times that at w*): the loss is not quadratic there."


def local_learning_coefficient(
    problem: Any,
    *,
    batch_size: int,
    localization: float | None = None,
    params: Any = None,
    inverse_temperature: float | None = None,
    step_size: float | None = None,
    max_error: float = 0.1,
    num_steps: int | None = None,
    num_chains: int = 8,
    key: Any = 0,
    sampling: str = "with_replacement",
    progress: Any = True,
) -> LocalLearningCoefficient:
    """Estimate λ̂ = nβ (E L(w) - L(w*)) by Langevin steps around w*, at a step and length chosen for an error budget.

    w ← w - (ε/2)(nβ ĝ + γ(w - w*)) + √ε ξ, ĝ from m examples. The averaged loss is taken over all data, in float64. L is
    the problem's mean loss, its log_prior included: give a problem without one for the likelihood alone.

    Parameters
    ----------
    problem
        A `Problem` of at most 1000 parameters.
    batch_size, sampling
        m; "with_replacement" or "without_replacement".
    localization
        γ > 0, 1/parameter²: keeps the run near w*; must be given. Where the loss is flat the run spreads over 1/√γ;
        a direction of curvature h counts nβh/(nβh + γ) of its ½, so γ should be well below nβ times the curvatures that are to
        count, and large enough for the run to stay in the basin: 1 suits parameters of order 1. Try ten times more and less: where
        λ̂ stays, γ does not matter.
    params
        w*: params, a vector (D,) or a `Mode`; None: the mode. A singular minimum has no certified mode: give it.
    inverse_temperature
        nβ; None: N/ln N. It belongs to all N examples: m/ln m, with m the batch, is refused.
    step_size
        ε; None: the largest whose predicted bias is half of `max_error`.
    max_error
        Budget for bias and standard error together, relative to the ideal value.
    num_steps
        Kept steps of each chain; None: as many as give a standard error of half of `max_error`.
    num_chains, key, progress
        As in `simulate`; at least two chains.

    Returns
    -------
    LocalLearningCoefficient

    Raises
    ------
    ValueError
        On bad arguments; where w* is not a minimum; where the budget needs more than 5·10⁷ steps in all.

    Notes
    -----
    The prediction (`theory.learning_coefficient`) is for a quadratic loss with H and C averaged over the run's own law.
    At a singular point it still sets the scale of the step, but neither its ideal value nor its bias is the truth there.
    """
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, _checks.one_of("sampling", sampling, _INDEPENDENT))
    spring = _spring(localization)
    strength = _strength(inverse_temperature, problem.num_examples, size)
    budget = _checks.within("max_error", max_error, 0.0, 1.0, closed="neither")
    step = None if step_size is None else _checks.positive("step_size", step_size)
    count = None if num_steps is None else _checks.integer("num_steps", num_steps, low=64)
    chains = _checks.integer("num_chains", num_chains, low=2)
    seed_of(key)
    derivatives.check_dense(problem)
    centre = modes.find_mode(problem).vector if params is None else derivatives.as_vector("params", problem, params)
    settings: dict[str, Any] = {"inverse_temperature": strength, "localization": spring, "batch_size": size}
    finite = 1.0 if sampling == "with_replacement" else (problem.num_examples - size) / (problem.num_examples - 1)
    hessian, spread = _around(problem, centre, strength, spring)
    for _ in range(SELF_CONSISTENT):
        averaged, noise = _averages(problem, centre, spread)
        shrunk = finite * noise
        epsilon = _step(averaged, shrunk, settings, budget / 2) if step is None else step
        chain = _chain(averaged, shrunk, epsilon, settings)
        spread = chain.covariance
    memory = chain.iact(averaged, quadratic=True)
    if count is None:
        count = _length(averaged, shrunk, epsilon, settings, budget / 2, chains)
    predicted = theory.learning_coefficient(averaged, shrunk, step_size=epsilon, num_steps=count * chains, **settings)
    thin = max(1, int(memory / 4))
    draws = -(-count // thin)
    burn_in = math.ceil(BURN_IN * chain.relaxation_time)
    run = simulate(
        _localised(problem, centre, spring / strength), Langevin(minibatch(size, sampling), epsilon * strength / 2, None, epsilon**0.5),
        num_steps=burn_in + draws * thin, num_chains=chains, key=key, burn_in=burn_in, record=record.draws(thin),
        init=centre, progress=progress,
    )  # fmt: skip
    with keeping(run):
        away = derivatives.losses(problem, np.asarray(run.draws, np.float64).reshape(-1, len(centre)))
        gaps = away.reshape(chains, -1).mean(1) - derivatives.loss(problem, centre)
    return LocalLearningCoefficient(
        mean_of(strength * gaps),
        predicted,
        _ratio(hessian, averaged, strength, spring),
        epsilon,
        strength,
        spring,
        size,
        draws * thin,
        burn_in,
        thin,
        run,
    )


_INDEPENDENT = ("with_replacement", "without_replacement")


def _spring(value: Any) -> float:
    if value is None:
        msg = (
            "localization must be given: γ in 1/parameter² keeps the run within about 1/√γ of w* where the loss is flat. 1.0 suits parameters "
            "of order 1; it should be well below inverse_temperature (N/ln N) times the curvatures that are to count. Try 0.1 and 10 too."
        )
        raise ValueError(msg)
    return _checks.positive("localization", value)


def _strength(value: Any, num_examples: int, batch_size: int) -> float:
    """Return nβ; refuse the one that was made of the batch."""
    if value is None:
        if num_examples < 3:
            msg = f"inverse_temperature must be given for N = {num_examples} examples: N/ln N needs N >= 3."
            raise ValueError(msg)
        return num_examples / math.log(num_examples)
    strength = _checks.positive("inverse_temperature", value)
    trap = batch_size / math.log(batch_size) if batch_size > 1 else math.inf
    if batch_size < num_examples and abs(strength / trap - 1) < 0.01:
        right = num_examples / math.log(num_examples)
        msg = f"inverse_temperature must belong to all N = {num_examples} examples, but {strength:.6g} is m/ln m of the batch m = {batch_size}; N/ln N is {right:.6g}. At the batch's value λ̂ is that of a posterior of {batch_size} examples."
        raise ValueError(msg)
    return strength


def _around(problem: Any, centre: Array, strength: float, spring: float) -> tuple[Array, Array]:
    """H at w*, and the covariance (nβH + γ)⁻¹ of the localised law; ValueError where w* is not a minimum of it."""
    slope, hessian = derivatives.gradient_and_hessian(problem, centre)
    force = strength * hessian + spring * np.eye(len(centre))
    least = float(np.linalg.eigvalsh(force)[0])
    if least <= 0:
        msg = f"params must be a minimum of the localised loss, but nβH + γ has an eigenvalue {least:.3g} there. Give a minimum, or a larger localization."
        raise ValueError(msg)
    pull = strength * math.sqrt(float(slope @ np.linalg.solve(force, slope)))
    if pull > FARTHEST:
        msg = f"params must be a minimum, but the gradient there pulls {pull:.3g} standard deviations of the localised law away. Minimise further, or leave params out."
        raise ValueError(msg)
    return hessian, _checks.symmetrised(np.linalg.inv(force))


def _averages(problem: Any, centre: Array, covariance: Array) -> tuple[Array, Array]:
    """H̄, its negative part cut, and C̄, averaged over N(w*, covariance)."""
    affordable = int(3e10 / (problem.num_examples * len(centre) ** 2)) // 2
    z = np.random.default_rng(0).standard_normal((max(4, min(LOCAL_DRAWS // 2, affordable)), len(centre)))
    if len(z) >= len(centre):  # draws of covariance exactly I: C̄ is then exact for a quadratic loss
        z = scipy.linalg.solve_triangular(np.linalg.cholesky(z.T @ z / len(z)), z.T, lower=True).T
    away = z @ np.linalg.cholesky(covariance).T
    over = derivatives.averages(problem, centre + np.concatenate([away, -away]))
    bends, axes = np.linalg.eigh(over.hessian)
    return _checks.symmetrised((axes * np.maximum(bends, 0)) @ axes.T), over.gradient_covariance


def _ratio(hessian: Array, averaged: Array, strength: float, spring: float) -> float:
    inverse = np.linalg.inv(strength * averaged + spring * np.eye(len(averaged)))
    here = float(np.trace(hessian @ inverse))
    return float(np.trace(averaged @ inverse)) / here if here > 0 else math.inf


def _chain(hessian: Array, noise: Array, step: float, settings: dict[str, Any]) -> theory.LinearChain:
    strength, spring = settings["inverse_temperature"], settings["localization"]
    edge = 4 / (strength * float(np.linalg.eigvalsh(hessian)[-1]) + spring)
    if step >= edge:
        msg = f"step_size must be below the stability edge {edge:.6g}, got {step:.6g}. Leave it out: it is then chosen for max_error."
        raise ValueError(msg)
    return theory.chain_from_noise(
        strength * hessian + spring * np.eye(len(hessian)),
        strength**2 * noise / settings["batch_size"],
        learning_rate=step / 2,
        injected=step * np.eye(len(hessian)),
    )


def _step(hessian: Array, noise: Array, settings: dict[str, Any], share: float) -> float:
    """Return the largest ε whose predicted relative bias is `share`."""
    stiffest = settings["inverse_temperature"] * np.linalg.eigvalsh(hessian)[-1] + settings["localization"]

    def excess(log: float) -> float:
        found = theory.learning_coefficient(hessian, noise, step_size=math.exp(log), **settings)
        return math.log(max(found.value / found.ideal - 1, 1e-300) / share)

    if not hessian.any():
        msg = "params must be where the loss bends within the localised law, but its curvature is 0 there: λ̂ is 0 at every step."
        raise ValueError(msg)
    top = math.log(3.999 / stiffest)
    if excess(top) <= 0:
        return math.exp(top) / 4
    low = top
    while excess(low) > 0:
        low -= 1.0
    return math.exp(float(scipy.optimize.brentq(excess, low, low + 1.0, xtol=1e-6)))


def _length(hessian: Array, noise: Array, step: float, settings: dict[str, Any], share: float, num_chains: int) -> int:
    """Return the steps of each chain for a relative standard error of `share`; ValueError where that is too many."""
    found = theory.learning_coefficient(hessian, noise, step_size=step, num_steps=1, **settings)
    assert found.standard_error is not None
    total = (found.standard_error / (share * found.ideal)) ** 2
    if total > LONGEST:
        msg = f"max_error = {2 * share:g} needs {total:.2g} steps of size {step:.3g} in all (at most {LONGEST:.0e} are planned). Raise max_error or batch_size, or give num_steps."
        raise ValueError(msg)
    return max(64, math.ceil(total / num_chains))


def _localised(problem: Any, centre: Array, stiffness: float) -> Problem:
    """Return the problem whose mean loss is L + (γ/2nβ)|w - w*|²."""
    hyper = {
        "own": problem.hyperparams,
        "centre": problem.unflatten(centre),
        "stiffness": problem.num_examples * stiffness,
    }
    return Problem(
        OwnLogLikelihood(problem.log_likelihood), problem.data, problem.init, SpringLogPrior(problem.log_prior),
        hyperparams=hyper, names=problem.names, align=problem.align,
    )  # fmt: skip
