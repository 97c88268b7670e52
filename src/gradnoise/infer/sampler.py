"""What all samplers share: where curvature and noise are taken, and the checks of what every run takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, measure
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.stream import seed_of

AT = ("posterior", "laplace", "mode")


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
    if num_law_draws is not None:
        _checks.integer("num_law_draws", num_law_draws, low=2)
    mode = modes.find_mode(problem) if mode is None else mode
    law = measure.gaussian_law(problem, mode, num_draws=num_law_draws, key=key) if law is None else law
    if at == "posterior":
        return Place(law.mean, law.hessian, law.gradient_covariance, law, at)
    geometry = measure.local_geometry(problem, mode, at=at, num_draws=num_law_draws, key=key)
    return Place(mode.vector, geometry.hessian, geometry.gradient_covariance, law, at)


def check_run(*, num_draws: Any, num_chains: Any, key: Any, thin: Any, burn_in: Any) -> None:
    """Check what every run takes, before the mode is looked for."""
    _checks.integer("num_draws", num_draws)
    _checks.integer("num_chains", num_chains)
    seed_of(key)
    if thin is not None:
        _checks.integer("thin", thin)
    if burn_in is not None:
        _checks.integer("burn_in", burn_in, low=0)
