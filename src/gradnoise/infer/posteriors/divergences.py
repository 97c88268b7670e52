"""Kullback-Leibler divergences between Gaussians."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, diagnose, measure, theory
from gradnoise import mode as modes
from gradnoise._types import Array


class Divergences(NamedTuple):
    """KL divergences between Gaussian fits, with the floor that sampling error alone would give.

    Attributes
    ----------
    to_reference
        KL(this ‖ reference), nats.
    from_reference
        KL(reference ‖ this), nats.
    floor
        What both would be in the mean if the laws were equal: D(D+1)/(4n) + D/(2n), summed over both samples.
    """

    to_reference: float
    from_reference: float
    floor: float


def divergences_of(ours: Any, theirs: Any) -> Divergences:
    """Compare the Gaussian fits of two posteriors."""
    a, b = (ours.covariance, ours.mean), (theirs.covariance, theirs.mean)
    floors = [
        0.0 if p.exact else diagnose.kl_floor(len(p.mean), p.effective_draws, fitted_mean=True) for p in (ours, theirs)
    ]
    return Divergences(
        theory.gaussian_kl(a[0], b[0], a[1], b[1]), theory.gaussian_kl(b[0], a[0], b[1], a[1]), sum(floors)
    )


def sandwich_of(posterior: Any) -> tuple[Array, Array]:
    """Return the centre and H⁻¹CH⁻¹/N, with H and C where the sampler was tuned, or at the mode."""
    plan = posterior.plan
    if plan is not None and not hasattr(plan, "where"):
        msg = f"target must be a covariance (D, D) for {posterior.method}: the sandwich needs matrices that do not fit above 1000 parameters."
        raise ValueError(msg)
    if plan is not None:
        where, count = plan.where, plan.problem.num_examples
        centre, hessian, noise = where.mean, where.hessian, where.gradient_covariance
    else:
        problem = posterior.known_problem("calibrate(target='sandwich')")
        found, count = modes.find_mode(problem), problem.num_examples
        local = measure.local_geometry(problem, found)
        centre, hessian, noise = found.vector, local.hessian, local.gradient_covariance
    inverse = np.linalg.inv(hessian)
    return centre, _checks.symmetric("sandwich", inverse @ noise @ inverse / count, definite="positive")
