"""Subject: what a report is about, a problem with its name, target and the story of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradnoise import _checks, datasets, derivatives, models
from gradnoise.datasets import Dataset
from gradnoise.problem import Problem

MODELS = {
    "linear": models.linear_regression,
    "logistic": models.logistic_regression,
    "softmax": models.softmax_regression,
    "poisson": models.poisson_regression,
}


@dataclass(frozen=True, eq=False)
class Subject:
    """A problem and what a page says about it.

    Attributes
    ----------
    problem
        The problem.
    name, model, target
        Of the data set; target may be empty.
    notes
        What was done to the data.
    prior_scale
        Of all coefficients; None where it is not one number.
    observation_scale
        s of a linear model, else None.
    """

    problem: Problem
    name: str
    model: str
    target: str
    notes: tuple[str, ...]
    prior_scale: float | None
    observation_scale: float | None


def subject_of(data: Any, *, name: str | None, model: str | None, prior_scale: float) -> Subject:
    """Return the subject of a `Problem`, or of a `Dataset` standardised and given its model.

    Raises
    ------
    TypeError, ValueError
        If it is neither, has no model, or more than 1000 parameters.
    """
    if isinstance(data, Problem):
        return _of_problem(data, name, model)
    if not isinstance(data, Dataset):
        msg = f"problem must be a gn.Problem or a datasets.Dataset, got {_checks.shown(data)}. datasets.load reads files and data frames."
        raise TypeError(msg)
    kind = _checks.one_of("model", data.model if model is None else model, MODELS)
    if data.model is not None and kind != data.model:
        msg = f"model must be {data.model!r}, which the data set was loaded for, got {kind!r}. Load it again with model={kind!r}."
        raise ValueError(msg)
    scale = _checks.positive("prior_scale", prior_scale)
    width = (data.num_features + 1) * (1 if kind != "softmax" else len(np.unique(data.y)))
    if width > derivatives.DENSE:
        msg = f"problem must have at most {derivatives.DENSE} parameters for a report (dense matrices), got {width}. Select features first."
        raise ValueError(msg)
    scaled, _ = datasets.standardise(data, target=kind == "linear")
    problem = MODELS[kind](
        scaled.X.astype(np.float32),
        scaled.y.astype(np.float32),
        scale,
        weights=scaled.weights,
        names=scaled.feature_names,
    )
    noted = f"An intercept is part of the model; every coefficient has prior N(0, {scale:g}²)."
    observation = _observation_scale(problem)
    notes = [*scaled.notes, noted]
    if observation is not None:
        notes.append(
            f"Observation scale (sd of the residuals) estimated at the mode: {observation:.4g} standard deviations of the target."
        )
    return Subject(problem, name or "data", kind, data.target_name, tuple(notes), scale, observation)


def _of_problem(problem: Problem, name: str | None, model: str | None) -> Subject:
    derivatives.check_dense(problem)
    told = getattr(problem.log_likelihood, "__name__", "custom").removesuffix("_log_likelihood")
    return Subject(
        problem,
        name or "problem",
        model or (told if told.isidentifier() else "custom"),  # a lambda has no name
        "",
        ("A problem given by its functions; nothing was standardised.",),
        _prior_scale(problem),
        _observation_scale(problem),
    )


def _observation_scale(problem: Problem) -> float | None:
    held = problem.hyperparams
    return float(held["observation_scale"]) if isinstance(held, dict) and "observation_scale" in held else None


def _prior_scale(problem: Problem) -> float | None:
    held = problem.hyperparams
    if not isinstance(held, dict) or "prior_precision" not in held:
        return None
    values = np.unique(np.asarray(held["prior_precision"], np.float64))
    return 1 / math.sqrt(values[0]) if len(values) == 1 and values[0] > 0 else None
