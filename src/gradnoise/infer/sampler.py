"""What all samplers share: where curvature and noise are taken, how long to run, and the verdict afterwards."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, measure
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.engine import record, simulate
from gradnoise.infer.posterior import Posterior, judge
from gradnoise.stream import seed_of
from gradnoise.theory import LinearChain

AT = ("posterior", "laplace", "mode")
BURN_IN = 5  # relaxation times


class Place(NamedTuple):
    """Where curvature and noise are taken, and the Gaussian target there.

    Attributes
    ----------
    mean, hessian, gradient_covariance
        Centre (D,), H and C per example (D, D), averaged as `at` says.
    law
        The Gaussian variational law (`measure.GaussianLaw`): the target of every sampler and the judge of all.
    at
        "posterior", "laplace" or "mode".
    """

    mean: Array
    hessian: Array
    gradient_covariance: Array
    law: Any
    at: str

    @property
    def covariance(self) -> Array:
        """(N H)⁻¹, (D, D)."""
        return np.linalg.inv(self.law.num_examples * self.hessian)


def place(
    problem: Any, at: str, *, mode: Any = None, law: Any = None, num_law_draws: int | None = None, key: Any = 0
) -> Place:
    """Find the mode and the variational law (unless given) and take H and C where `at` says."""
    at = _checks.one_of("at", at, AT)
    mode = modes.find_mode(problem) if mode is None else mode
    law = measure.gaussian_law(problem, mode, num_draws=num_law_draws, key=key) if law is None else law
    if at == "posterior":
        return Place(law.mean, law.hessian, law.gradient_covariance, law, at)
    geometry = measure.local_geometry(problem, mode, at=at, num_draws=num_law_draws, key=key)
    return Place(mode.vector, geometry.hessian, geometry.gradient_covariance, law, at)


def check_run(
    *, at: str, num_draws: Any, num_chains: Any, key: Any, thin: Any, burn_in: Any, num_law_draws: Any
) -> None:
    """Check what every run takes, before the mode is looked for."""
    _checks.one_of("at", at, AT)
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    if thin is not None:
        _checks.integer("thin", thin)
    if burn_in is not None:
        _checks.integer("burn_in", burn_in, low=0)
    if num_law_draws is not None:
        _checks.integer("num_law_draws", num_law_draws, low=2)


class Length(NamedTuple):
    """How long to run.

    Attributes
    ----------
    thin, burn_in, num_steps
        Steps between draws, before the first, and in all, of each chain.
    iact
        Worst integrated autocorrelation time, linear and quadratic, steps.
    """

    thin: int
    burn_in: int
    num_steps: int
    iact: float


def plan_length(chain: LinearChain, *, num_draws: int, thin: int | None = None, burn_in: int | None = None) -> Length:
    """Thin by the worst autocorrelation time, forget the start for five relaxation times."""
    draws = _checks.integer("num_draws", num_draws)
    iact = max(chain.worst_iact(), chain.worst_iact(quadratic=True))
    step = max(1, math.ceil(iact - 1e-9)) if thin is None else _checks.integer("thin", thin)
    forget = (
        math.ceil(BURN_IN * chain.relaxation_time) if burn_in is None else _checks.integer("burn_in", burn_in, low=0)
    )
    return Length(step, forget, forget + draws * step, iact)


def announce(method: str, length: Length, num_chains: int, progress: Any) -> None:
    """Print the planned steps, where a progress bar would be shown."""
    if progress is True:
        from rich.console import Console

        Console(stderr=True, highlight=False).print(
            f"{method}: {num_chains} chains of {length.num_steps:,} steps (burn-in {length.burn_in:,}, one draw every {length.thin:,})"
        )


def sample(
    method: str,
    problem: Any,
    process: Any,
    chain: LinearChain,
    where: Place,
    *,
    num_draws: int,
    num_chains: int,
    key: Any,
    thin: int | None,
    burn_in: int | None,
    progress: Any,
    drift_matters: bool,
    target: Array | None = None,
    settings: dict[str, Any] | None = None,
) -> Posterior:
    """Run a tuned process from its predicted law and judge the outcome."""
    length = plan_length(chain, num_draws=num_draws, thin=thin, burn_in=burn_in)
    announce(method, length, num_chains, progress)
    run = simulate(
        problem,
        process,
        num_steps=length.num_steps,
        num_chains=num_chains,
        key=key,
        init=(problem.unflatten(where.mean), chain.covariance),
        burn_in=length.burn_in,
        record=[record.draws(length.thin), record.moments()],
        progress=progress,
        on_divergence="keep",
    )
    kept = len(run.chains)
    effective = kept * (length.num_steps - length.burn_in) / max(length.iact, 1.0)
    verdict = judge(
        dim=len(where.mean),
        noise_drift=where.law.noise_drift,
        drift_matters=drift_matters,
        simulated=(run.mean, run.covariance),
        predicted=(where.mean, chain.covariance),
        target=(where.law.mean, where.law.covariance if target is None else target),
        effective_draws=effective,
        diverged=len(run.diverged),
    )
    return Posterior(
        method,
        run.draws,
        problem.parameter_names,
        where.mean,
        chain.covariance,
        effective,
        verdict,
        {
            "at": where.at,
            "thin": length.thin,
            "burn_in": length.burn_in,
            "num_steps": length.num_steps,
            "num_chains": num_chains,
            "iact": length.iact,
            **(settings or {}),
        },
        run,
    )
