"""Curvature and noise averaged over the law that a sampler itself settles in, where that is not the posterior."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import measure, theory
from gradnoise._types import Array
from gradnoise.infer.plans.place import Place
from gradnoise.infer.verdicts.refused import Refused

NEAR = 0.01  # relative error of a variance up to which averages over the posterior do for the sampler's own law


class OwnLaw(NamedTuple):
    """What a sampler settles in.

    Attributes
    ----------
    mean, covariance
        (D,) and (D, D).
    hessian, gradient_covariance
        H and C averaged over it (D, D).
    """

    mean: Array
    covariance: Array
    hessian: Array
    gradient_covariance: Array


def own_law(
    problem: Any, where: Place, covariance: Array, *, step: str, start: Array | None = None, **settings: Any
) -> OwnLaw:
    """Return the law that is consistent with its own noise, or the given one where that is the target already.

    Parameters
    ----------
    problem, where
        The problem, and H and C at the target. Taken at "laplace" or the "mode" on request, they stay as they are.
    covariance
        The law (D, D) for the H and C of `where`.
    step
        Name of the argument that makes the step, for the error.
    start
        A law (D, D) near the one looked for; None: `covariance`.
    **settings
        Of `measure.stationary_law`.

    Raises
    ------
    Refused
        If the noise grows so fast with the distance from the mode that there is no stationary law.
    """
    plain = OwnLaw(where.mean, covariance, where.hessian, where.gradient_covariance)
    off = np.abs(theory.variance_errors(covariance, where.law.covariance)).max()
    epochs = (
        settings.get("sampling") == "shuffled"
    )  # what changes from epoch to epoch is no small part of the noise, however near
    if where.at != "posterior" or (off <= NEAR and not epochs):
        return plain
    law = where.law
    known = measure.SelfConsistentLaw(
        law.mean, law.covariance, law.hessian, law.gradient_covariance, law.gradient_covariance
    )
    found = measure.stationary_law(
        problem, where.mean, start=covariance if start is None else start, reference=known, **settings
    )
    if found is None:
        msg = (
            f"{step} must be smaller: averaged over the law that it makes itself, the noise grows faster with the distance from the mode "
            "than it is forgotten at this step, so there is no stationary variance. Take a larger batch_size or a smaller step."
        )
        raise Refused(msg)
    return OwnLaw(*found[:4])
