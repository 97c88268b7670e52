"""Stages "mode" and "noise": the certified mode, curvature and gradient noise there, and their drift over the posterior."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import measure
from gradnoise.infer.posteriors.posterior import DRIFT_LIMIT
from gradnoise.infer.verdicts.sandwich import Widths
from gradnoise.measure import GaussianLaw, LocalGeometry
from gradnoise.mode import Mode
from gradnoise.pages.subject import Subject
from gradnoise.pages.units import parameter_rows, told_of


def variational_law(problem: Any, mode: Mode, key: int) -> tuple[GaussianLaw, str]:
    """Return the Gaussian variational law, or Laplace's with the reason why the first was not found."""
    try:
        return measure.gaussian_law(problem, mode, key=key), ""
    except measure.NotConverged as error:
        return measure.gaussian_law(problem, mode, at="laplace", key=key), str(error)


def problem_section(subject: Subject, mode: Mode) -> dict[str, Any]:
    """Say what the problem is, and its mode with Laplace standard deviations."""
    problem = subject.problem
    assert mode.hessian is not None
    covariance = np.asarray(np.linalg.inv(problem.num_examples * mode.hessian), np.float64)
    parameters = parameter_rows(subject, mode.vector, covariance)
    return {
        "name": subject.name,
        "model": subject.model,
        "num_examples": problem.num_examples,
        "num_params": problem.num_params,
        "target": subject.target,
        "notes": list(subject.notes),
        "observation_scale": subject.observation_scale,
        "observation_scale_from": subject.scale_from,
        "prior_scale": subject.prior_scale,
        **told_of(subject, mode.vector),
        "mode": {
            "gradient_norm": mode.gradient_norm,
            "distance": mode.distance,
            "smallest_eigenvalue": mode.smallest_eigenvalue,
            "num_iterations": mode.num_iterations,
            "method": mode.method,
            "loss": mode.loss,
            "parameters": parameters,
        },
    }


def noise_section(
    geometry: LocalGeometry, law: GaussianLaw, excuse: str, noise_scale: float, widths: Widths
) -> dict[str, Any]:
    """Spectra, rank, alignment and drift of the gradient noise; eigendirections of H ascending in curvature; and how the model fits."""
    return {
        "hessian_eigenvalues": geometry.eigenvalues,
        "noise_eigenvalues": geometry.noise_eigenvalues,
        "trace": geometry.noise_trace,
        "effective_rank": geometry.effective_rank,
        "alignment": geometry.alignment,
        "noise_scale": noise_scale,
        "noise_in_hessian_basis": geometry.noise_along_curvature,
        "noise_drift": law.noise_drift,
        "noise_drift_whitened": law.whitened_noise_drift,
        "drift_limit": DRIFT_LIMIT,
        "averaged_over": "the Gaussian variational law" if law.at == "posterior" else "Laplace's law",
        "averaged_over_note": excuse,
        "fit": fit_section(widths),
    }


def fit_section(widths: Widths) -> dict[str, Any]:
    """Sandwich over posterior variance by parameter, the misspecified first, then the widest; and the verdict on it."""
    wrong = int(widths.misspecified.sum())
    order = np.argsort(np.where(widths.misspecified, 0, 1), kind="stable")
    rows = [
        {
            "name": widths.names[i],
            "ratio": widths.ratios[i],
            "expected": widths.expected[i],
            "misspecified": bool(widths.misspecified[i]),
        }
        for i in order
    ]
    return {
        "level": "warn" if wrong else "good",
        "num_misspecified": wrong,
        "num_drawn": widths.fit.num_drawn,
        "smallest_ratio": widths.ratios.min(),
        "largest_ratio": widths.ratios.max(),
        "text": widths.sentence() if wrong else "",
        "parameters": rows,
    }
