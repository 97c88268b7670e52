"""Subject: what a report is about, a problem with its name, target and the story of its data."""

from __future__ import annotations

import math
from collections.abc import Iterator
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

ROUNDING, NEARLY = (
    1e-13,
    1e-6,
)  # variances of standardised data: what is 0 up to rounding, and what float32 (6e-8 of a value) blurs


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
    scale_from
        "given" or "estimated", where the observation scale's origin is known.
    intercept_prior_scale
        Of the intercept, inf where its prior is flat; None where it is not known.
    standardisation
        What was done to the columns of a data set; None for a `Problem`.
    """

    problem: Problem
    name: str
    model: str
    target: str
    notes: tuple[str, ...]
    prior_scale: float | None
    observation_scale: float | None
    scale_from: str | None = None
    intercept_prior_scale: float | None = None
    standardisation: datasets.Standardisation | None = None


def subject_of(
    data: Any, *, name: str | None, model: str | None, prior_scale: float, observation_scale: float | None = None,
    intercept_prior_scale: float | None = None,
) -> Subject:  # fmt: skip
    """Return the subject of a `Problem`, or of a `Dataset` standardised and given its model.

    Raises
    ------
    TypeError, ValueError
        If it is neither, has no model, or more than 1000 parameters.
    """
    given = None if observation_scale is None else _checks.positive("observation_scale", observation_scale)
    if isinstance(data, Problem):
        if given is not None:
            msg = f"observation_scale must be left out for a Problem, which holds its own, got {given:g}."
            raise ValueError(msg)
        if intercept_prior_scale is not None:
            msg = f"intercept_prior_scale must be left out for a Problem, which holds its own, got {_checks.shown(intercept_prior_scale)}."
            raise ValueError(msg)
        return _of_problem(data, name, model)
    if not isinstance(data, Dataset):
        msg = f"problem must be a gn.Problem or a datasets.Dataset, got {_checks.shown(data)}. datasets.load reads files and data frames."
        raise TypeError(msg)
    kind = _checks.one_of("model", data.model if model is None else model, MODELS)
    if data.model is not None and kind != data.model:
        msg = f"model must be {data.model!r}, which the data set was loaded for, got {kind!r}. Load it again with model={kind!r}."
        raise ValueError(msg)
    if given is not None and kind != "linear":
        msg = f"observation_scale must come with model='linear', got {given:g} with model={kind!r}."
        raise ValueError(msg)
    if data.offset is not None and kind != "poisson":
        msg = f"offset must come with model='poisson', got model={kind!r}."
        raise ValueError(msg)
    scale = _scale("prior_scale", prior_scale, kind)
    own = scale if intercept_prior_scale is None else _scale("intercept_prior_scale", intercept_prior_scale, kind)
    if "intercept" in data.feature_names:
        msg = "features must not be called 'intercept', as the model has an intercept of its own. Leave the column out (drop='intercept'), or rename it."
        raise ValueError(msg)
    width = (data.num_features + 1) * (1 if kind != "softmax" else len(np.unique(data.y)))
    if width > derivatives.DENSE:
        msg = f"problem must have at most {derivatives.DENSE} parameters for a report (dense matrices), got {width}. Select features first."
        raise ValueError(msg)
    scaled, scaling = datasets.standardise(data, target=kind == "linear")
    more: dict[str, Any] = {"observation_scale": given, "offset": scaled.offset}
    problem = MODELS[kind](
        scaled.X.astype(_dtype(scaled, kind)),
        scaled.y,
        scale,
        weights=scaled.weights,
        names=scaled.feature_names,
        intercept_prior_scale=own,
        **{name: value for name, value in more.items() if value is not None},
    )
    observation = _observation_scale(problem)
    origin = None if observation is None else "estimated" if given is None else "given"
    notes = (*scaled.notes, *_told(scaled, kind, (scale, own), observation, origin, scaling.target_scale))
    prior = scale if math.isfinite(scale) else None
    return Subject(problem, name or "data", kind, data.target_name, notes, prior, observation, origin, own, scaling)


def _dtype(data: Dataset, kind: str) -> Any:
    """Return float32, in which the page simulates, where its rounding of X is far below what the data tell; else float64.

    It is not where columns nearly repeat each other, nor where a linear model leaves next to nothing of the target.
    """
    gram = data.X.T @ data.X / len(data.X)
    values = np.linalg.eigvalsh(gram)
    if ((values > ROUNDING * values[-1]) & (values < NEARLY)).any():
        return np.float64
    if kind != "linear":
        return np.float32
    moment = data.X.T @ data.y / len(data.y)
    left = float(data.y @ data.y) / len(data.y) - float(moment @ np.linalg.lstsq(gram, moment)[0])
    return np.float64 if left < NEARLY else np.float32


def _scale(name: str, value: Any, kind: str) -> float:
    if value != math.inf:
        return _checks.positive(name, value)
    if kind == "softmax":
        msg = f"{name} must be finite for model='softmax', got inf: the same number added to the coefficients of all classes changes nothing, so that a flat prior leaves no single mode."
        raise ValueError(msg)
    return math.inf


def _told(
    data: Dataset, kind: str, priors: tuple[float, float], observation: float | None, origin: str | None, unit: float
) -> Iterator[str]:
    """Tell of the model: priors, example weights, offset, observation scale."""
    scale, own = priors
    if scale == own:
        prior = f"every coefficient has prior N(0, {scale:g}²)" if math.isfinite(scale) else "all priors are flat"
    else:
        one = f"prior N(0, {own:g}²)" if math.isfinite(own) else "a flat prior"
        prior = f"it has {one}, every other coefficient {f'prior N(0, {scale:g}²)' if math.isfinite(scale) else 'a flat one'}"
    yield f"An intercept is part of the model; {prior}."
    if kind == "softmax" and own != scale:
        yield "The intercepts of a softmax model need a prior that is not flat: the same number added to all of them changes nothing."
    if data.weights is not None:
        w = data.weights
        yield (
            f"Example weights are used, from {w.min():.4g} to {w.max():.4g} (mean {w.mean():.4g}): an example of weight w counts "
            "as w examples in the likelihood; batches are drawn without regard to it."
        )
    if data.offset is not None:
        yield f"An offset is added to the linear predictor, from {data.offset.min():.4g} to {data.offset.max():.4g}."
    if origin == "estimated" and observation is not None:
        yield f"Observation scale (sd of the residuals) estimated at the mode: {observation:.4g} standard deviations of the target, {observation * unit:.4g} in its units."
    if origin == "given" and observation is not None:
        yield f"Observation scale (sd of the residuals) as given: {observation:.4g} standard deviations of the target, {observation * unit:.4g} in its units."


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
