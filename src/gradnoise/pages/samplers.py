"""The samplers of a report: which run, for how long, and what theory predicts of them before they do."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from gradnoise import infer, theory
from gradnoise._types import Array
from gradnoise.engine import Divergence
from gradnoise.infer import Posterior
from gradnoise.infer.plans.length import Length, plan_length
from gradnoise.infer.posteriors.posterior import DRIFT_LIMIT
from gradnoise.measure import GaussianLaw, LocalGeometry
from gradnoise.mode import Mode
from gradnoise.pages.budget import Budget
from gradnoise.pages.verdicts import SILENT, counted
from gradnoise.theory import LinearChain

NUM_CHAINS = 16
NUM_DRAWS = 500  # a chain
FEWEST = 200  # effective draws in all (and 5 a parameter) below which a Gaussian fit says nothing


@dataclass(frozen=True, eq=False)
class Method:
    """One row of the posterior table.

    Attributes
    ----------
    name, kind
        As on the page, and "scalar", "diagonal", "full", "corrected", "gaussian" or "laplace".
    posterior
        Its draws; None if it was not run or every chain diverged.
    level, reasons
        The verdict.
    predicted
        Mean (D,) and covariance (D, D) that theory predicts for the draws, if any.
    seconds
        Wall time.
    length, num_chains, num_draws
        Planned; None and 0 where nothing runs.
    """

    name: str
    kind: str
    posterior: Posterior | None
    level: str
    reasons: tuple[str, ...]
    predicted: tuple[Array, Array] | None
    seconds: float
    length: Length | None = None
    num_chains: int = 0
    num_draws: int = 0
    recommended: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """What all samplers of a report share."""

    problem: Any
    mode: Mode
    geometry: LocalGeometry
    law: GaussianLaw
    batch_size: int
    num_chains: int | None
    budget: Budget
    key: int

    @property
    def drifts(self) -> bool:
        """Whether the noise is too far from constant for constant SGD."""
        return self.law.noise_drift > DRIFT_LIMIT

    def centre(self, at: str) -> tuple[Array, Array, Array]:
        """Mean, H and C at the "mode" or averaged over the "posterior"."""
        if at == "mode":
            return self.mode.vector, self.geometry.hessian, self.geometry.gradient_covariance
        return self.law.mean, self.law.hessian, self.law.gradient_covariance

    @property
    def noise(self) -> dict[str, Any]:
        """Arguments that name the batch."""
        return {"batch_size": self.batch_size, "num_examples": self.problem.num_examples}


def methods(scene: Scene, progress: Callable[[str], Any]) -> Iterator[Method]:
    """Make the rows one after another: Gaussian laws, constant SGD, corrected Langevin."""
    known: dict[str, Any] = {"mode": scene.mode, "key": scene.key}
    draws: dict[str, Any] = {"num_draws": NUM_DRAWS, "num_chains": NUM_CHAINS}
    law: dict[str, Any] = {**known, "law": scene.law}
    yield _exact("Laplace", "laplace", lambda: infer.laplace(scene.problem, **draws, **known))
    yield _exact("Gaussian variational law", "gaussian", lambda: infer.gaussian(scene.problem, **draws, **law))
    tuned = [("scalar", "posterior"), ("diagonal", "posterior"), ("full", "posterior")]
    for kind, at in [*tuned, ("full", "mode")] if scene.drifts else tuned:
        yield _kept(sgd_name(kind, at), kind, functools.partial(constant_sgd, scene, kind, at, progress))
    make = functools.partial(corrected_langevin, scene, progress)
    yield _kept("corrected Langevin", "corrected", make, recommended=True)


def _kept(name: str, kind: str, make: Callable[[], Method], *, recommended: bool = False) -> Method:
    """Return what `make` returns, or a row with the reason: one sampler that fails does not cost the page."""
    began = time.perf_counter()
    try:
        return make()
    except Exception as error:
        return failed(Method(name, kind, None, "", (), None, 0.0, recommended=recommended), error, began)


def failed(method: Method, error: Exception, began: float) -> Method:
    """Return the row of a method that raised an error."""
    why = f"It failed: {' '.join(str(error).split()) or type(error).__name__}"
    seconds = time.perf_counter() - began
    return Method(method.name, method.kind, None, "not run", (why,), None, seconds, recommended=method.recommended)


def _exact(name: str, kind: str, make: Callable[[], Posterior]) -> Method:
    began = time.perf_counter()
    try:
        made = make()
    except Exception as error:
        return failed(Method(name, kind, None, "", (), None, 0.0), error, began)
    chains, draws = made.draws.shape[:2]
    assert made.predicted_mean is not None
    assert made.predicted_covariance is not None
    law = made.predicted_mean, made.predicted_covariance
    seconds = time.perf_counter() - began
    return Method(name, kind, made, made.verdict.level, made.verdict.reasons, law, seconds, None, chains, draws)


def sgd_name(kind: str, at: str) -> str:
    """Name of a row of constant SGD."""
    return f"constant SGD, {kind}" + (", tuned at the mode" if at == "mode" else "")


def constant_sgd(scene: Scene, kind: str, at: str, progress: Callable[[str], Any]) -> Method:
    """Constant SGD with one kind of preconditioner, tuned at the mode or over the posterior."""
    name = sgd_name(kind, at)
    mean, hessian, noise = scene.centre(at)
    silent = silent_directions(hessian, noise)
    if silent:
        why = (
            f"In {silent} of {counted(len(mean), 'direction')} no example adds noise (only the prior acts there): constant SGD does not move in "
            "them, whatever its preconditioner, and cannot be the posterior."
        )
        return Method(name, kind, None, "not trustworthy", (why,), None, 0.0)
    step = theory.optimal_preconditioner(hessian, noise, kind=kind, **scene.noise)
    chain = theory.linear_chain(hessian, noise, learning_rate=1.0, preconditioner=step, **scene.noise)

    def make(num_chains: int, num_draws: int, length: Length) -> Posterior:
        return infer.constant_sgd(
            scene.problem, batch_size=scene.batch_size, preconditioner=kind, at=at, mode=scene.mode, law=scene.law,
            num_draws=num_draws, num_chains=num_chains, thin=length.thin, burn_in=length.burn_in, key=scene.key,
            progress=progress(name),
        )  # fmt: skip

    return _simulated(scene, name, kind, (mean, chain.covariance), chain, make)


def silent_directions(hessian: Array, noise: Array) -> int:
    """Count directions whose gradient noise is zero up to rounding, relative to the curvature."""
    values = scipy.linalg.eigh(noise, hessian, eigvals_only=True)
    return int((values < SILENT * values[-1]).sum())


def corrected_langevin(scene: Scene, progress: Callable[[str], Any]) -> Method:
    """Return corrected Langevin, the recommended sampler."""
    name = "corrected Langevin"
    mean, hessian, noise = scene.centre("posterior")
    tuned = theory.corrected_langevin_tuning(hessian, noise, fraction=0.5, **scene.noise)
    chain = theory.linear_chain(
        hessian, noise, learning_rate=1.0, preconditioner=tuned.preconditioner, injected=tuned.injected_covariance, **scene.noise
    )  # fmt: skip

    def make(num_chains: int, num_draws: int, length: Length) -> Posterior:
        return infer.corrected_langevin(
            scene.problem, batch_size=scene.batch_size, mode=scene.mode, law=scene.law, num_draws=num_draws,
            num_chains=num_chains, thin=length.thin, burn_in=length.burn_in, key=scene.key, progress=progress(name),
        )  # fmt: skip

    return _simulated(scene, name, "corrected", (mean, chain.covariance), chain, make, recommended=True)


def _simulated(
    scene: Scene, name: str, kind: str, predicted: tuple[Array, Array], chain: LinearChain,
    make: Callable[[int, int, Length], Posterior], *, recommended: bool = False,
) -> Method:  # fmt: skip
    iact = max(chain.worst_iact(), chain.worst_iact(quadratic=True))
    planned, fewest = plan_length(iact, chain.relaxation_time, num_draws=1), max(FEWEST, 5 * len(predicted[0]))
    steps = scene.budget.steps(kind, scene.problem, scene.batch_size)
    chains, draws = _affordable(steps, scene.num_chains, planned, fewest)
    if not draws:
        why = _too_long(chains, planned, fewest, steps)
        return Method(name, kind, None, "not run", (why,), predicted, 0.0, planned, recommended=recommended)
    length = Length(planned.thin, planned.burn_in, planned.burn_in + draws * planned.thin, planned.iact)
    began = time.perf_counter()
    plan: dict[str, Any] = {
        "length": length,
        "num_chains": chains,
        "num_draws": draws,
        "recommended": recommended,
    }
    try:
        made = make(chains, draws, length)
    except Divergence as error:
        first = min(error.chains.values())
        why = f"All of {counted(chains, 'chain')} diverged, the first at step {first:,}, although the quadratic prediction is stable."
        return Method(name, kind, None, "not trustworthy", (why,), predicted, time.perf_counter() - began, **plan)
    seconds = time.perf_counter() - began
    return Method(name, kind, made, made.verdict.level, made.verdict.reasons, predicted, seconds, **plan)


def _too_long(chains: int, planned: Length, fewest: int, steps: int) -> str:
    """Say what keeps a sampler from being run: the number of chains, where no time would help, or the time."""
    if chains * NUM_DRAWS < fewest:
        return (
            f"Not simulated: a comparison takes {fewest:,} draws, and {counted(chains, 'chain')} of {NUM_DRAWS} draws give "
            f"{chains * NUM_DRAWS:,}. Take more chains (--chains)."
        )
    need = chains * (planned.burn_in + -(-fewest // chains) * planned.thin)
    return (
        f"Not simulated: its slowest direction needs {counted(planned.thin, 'step')} for one independent draw, {need:,} in all for the "
        f"{fewest:,} draws that a comparison takes; the time limit allows {steps:,} (--max-time)."
    )


def _affordable(steps: int, num_chains: int | None, planned: Length, fewest: int) -> tuple[int, int]:
    """Return chains and draws of each; fewer chains where forgetting the start would eat the time, no draws where it all would."""
    for chains in (NUM_CHAINS, 8, 4) if num_chains is None else (num_chains,):
        draws = min(NUM_DRAWS, (steps // chains - planned.burn_in) // planned.thin)
        if draws * chains >= fewest and (draws >= chains or chains in (4, num_chains)):
            return chains, draws
    return chains, 0


def reference(problem: Any, mode: Mode, method: str, key: int, budget_seconds: float) -> tuple[Posterior, float]:
    """Return the reference posterior and its wall time; a NUTS chain that is stuck is an honest failure of the stage."""
    began = time.perf_counter()
    made = infer.reference(problem, method=method, mode=mode, key=key, budget_seconds=budget_seconds)
    return made, time.perf_counter() - began


def fits(posterior: Posterior) -> bool:
    """Whether there are enough draws for a positive definite covariance."""
    if posterior.exact:
        return True
    chains, draws, dim = posterior.draws.shape
    return chains * draws > dim and bool(np.linalg.eigvalsh(posterior.covariance)[0] > 0)
