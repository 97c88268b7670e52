"""Where a sampler will be whose target is the sandwich or a tempered posterior."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gradnoise import _checks, measure, theory
from gradnoise._types import Array
from gradnoise.infer.plans.place import Place
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.measure.dense import score_averages
from gradnoise.measure.dense.stationary_law import mirrored_normals

TEMPERED, SETTLED = 60, 1e-8  # iterations, and nats between two of them, of the law of a tempered posterior


def over_the_sandwich(problem: Any, where: Place) -> tuple[Place, Array]:
    """Return the place with H and C averaged over N(mode, sandwich of the mode), where the sampler will be, and that sandwich."""
    law = where.law
    inverse = np.linalg.inv(law.mode_hessian)
    sandwich = np.asarray(inverse @ law.mode_gradient_covariance @ inverse / problem.num_examples)
    sandwich = _checks.symmetric("target's sandwich", _checks.symmetrised(sandwich), definite="positive")
    normals = mirrored_normals(problem.num_examples, len(law.mode))
    over = score_averages.averages(problem, law.mode + normals @ np.linalg.cholesky(sandwich).T)
    centred = dataclasses.replace(law, mean=law.mode)
    return Place(law.mode, over.hessian, over.gradient_covariance, centred, "sandwich"), sandwich


def tempered(problem: Any, where: Place, heat: float) -> Place:
    """Return the place of the tempered posterior's own variational law: E ∇L = 0 and Σ = T (N H̄)⁻¹, where the sampler will be."""
    normals = mirrored_normals(problem.num_examples, len(where.mean))
    mean, covariance = where.mean, heat * where.covariance
    for _ in range(TEMPERED):
        over = score_averages.averages(problem, mean + normals @ np.linalg.cholesky(covariance).T)
        if np.linalg.eigvalsh(over.hessian)[0] <= 0:
            break
        new = _checks.symmetrised(heat * np.linalg.inv(problem.num_examples * over.hessian))
        step = np.linalg.solve(over.hessian, over.gradient)
        change = theory.gaussian_kl(new, covariance, mean - step, mean)
        mean, covariance = mean - step, new
        if change < SETTLED:
            near = measure.nearness(problem, mean, covariance, temperature=heat)
            law = dataclasses.replace(where.law, mean=mean, nearness=near)
            return Place(mean, over.hessian, over.gradient_covariance, law, "tempered")
    msg = (
        f"temperature must be nearer to 1, got {heat:g}: the tempered posterior has no Gaussian law near the posterior's (a curvature "
        "that vanishes within its reach, say)."
    )
    raise Refused(msg)
