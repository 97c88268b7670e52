"""Coefficients in the user's own units, and those that the prior did not expect."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradnoise._types import Array
from gradnoise.pages.subject import Subject

FAR = 3.0  # prior standard deviations from 0 at which prior and data are said to disagree


def parameter_rows(subject: Subject, vector: Array, covariance: Array) -> list[dict[str, Any]]:
    """Return name, value and sd of each parameter, as fitted and (of a data set) in the units of its columns."""
    own, spread = np.full(len(vector), None), np.full(len(vector), None)
    if subject.standardisation is not None:
        values, back = subject.standardisation.coefficients(vector, covariance)
        assert back is not None
        own, spread = values, np.sqrt(np.diag(back))
    columns = subject.problem.parameter_names, vector, np.sqrt(np.diag(covariance)), own, spread
    keys = "name", "value", "sd", "own_value", "own_sd"
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def told_of(subject: Subject, vector: Array) -> dict[str, Any]:
    """Return what report.json says of scales and priors: means and scales of the columns, prior scales, conflicts."""
    scaling, flat = subject.standardisation, subject.intercept_prior_scale == math.inf
    columns = None
    if scaling is not None:
        names = [
            name.rsplit(":", 1)[0] if subject.model == "softmax" else name for name in subject.problem.parameter_names
        ]
        features = [name for name in dict.fromkeys(names) if name != "intercept"]
        rows = zip(features, scaling.feature_means, scaling.feature_scales, strict=True)
        columns = {
            "features": [{"name": name, "mean": mean, "scale": scale} for name, mean, scale in rows],
            "target": {"name": subject.target, "mean": scaling.target_mean, "scale": scaling.target_scale},
        }
    return {
        "standardisation": columns,
        "intercept_prior_scale": "flat" if flat else subject.intercept_prior_scale,
        "prior_conflicts": prior_conflicts(subject.problem, vector),
    }


def prior_conflicts(problem: Any, vector: Array) -> list[dict[str, Any]]:
    """Return the parameters more than three prior standard deviations from 0, the farthest first."""
    precision = _precisions(problem)
    if precision is None:
        return []
    away = np.abs(vector) * np.sqrt(precision)
    far = [int(i) for i in np.argsort(-away) if away[i] > FAR]
    names = problem.parameter_names
    return [
        {"name": names[i], "value": vector[i], "prior_scale": precision[i] ** -0.5, "distance": away[i]} for i in far
    ]


def _precisions(problem: Any) -> Array | None:
    """Return the precision of every parameter's normal prior, (D,), where the problem holds such."""
    held, size = problem.hyperparams, problem.num_params
    if not isinstance(held, dict) or "prior_precision" not in held:
        return None
    values = np.asarray(held["prior_precision"], np.float64).ravel()
    return np.repeat(values, size // values.size) if values.size and size % values.size == 0 else None


def disagreement(problem: dict[str, Any]) -> list[dict[str, str]]:
    """Return the sentence of the summary where prior and data disagree, or none."""
    found = problem.get("prior_conflicts") or []
    if not found:
        return []
    worst, own = found[0], any(row["name"].split(":")[0] == "intercept" for row in found)
    others = [row["name"] for row in found[1:]]
    more = (
        f" So are {', '.join(others[:4])}{' and others' if len(others) > 4 else ''}, less far."
        if len(others) > 1
        else f" So is {others[0]}."
        if others
        else ""
    )
    flags = ["--prior-scale"] * (len(found) > sum(r["name"].split(":")[0] == "intercept" for r in found)) + [
        "--intercept-prior-scale"
    ] * own
    text = (
        f"Prior and data disagree: {worst['name']} is {worst['value']:.3g} at the mode, {worst['distance']:.2g} prior standard deviations from 0 "
        f"(prior N(0, {worst['prior_scale']:.3g}²)).{more} The prior pulls such a coefficient to 0: take a wider one ({' and '.join(flags)})."
    )
    return [{"level": "warn", "text": text}]
