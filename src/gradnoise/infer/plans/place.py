"""Where a sampler takes curvature and noise, and what it refuses there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks, _scaled, derivatives, measure
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.stream import seed_of

AT = ("posterior", "laplace", "mode")
SLOWEST = 1e-13  # share of its distance that the slowest direction forgets in a step: below, float64 sees no motion
CONDITIONED = 1e-9  # curvature scaled to unit diagonal below which a chain of float64 matrices has no digits left
SHOWN = 6  # columns that an error names


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
        return _checks.symmetrised(np.linalg.inv(self.law.num_examples * self.hessian))


def place(
    problem: Any,
    at: str = "posterior",
    *,
    mode: Any = None,
    law: Any = None,
    num_law_draws: int | None = None,
    key: Any = 0,
    chain: bool = True,
) -> Place:
    """Find the mode and the variational law (unless given) and take H and C where `at` says; for a chain they must be well conditioned."""
    at = _checks.one_of("at", at, AT)
    seed_of(key)
    check_size(problem)
    if num_law_draws is not None:
        _checks.integer("num_law_draws", num_law_draws, low=2)
    if mode is not None or law is None:
        mode = modes.as_mode(problem, mode)
    law = _law(problem, mode, at, num_law_draws, key) if law is None else checked_law(problem, law)
    if chain:
        check_conditioned(problem, law.hessian)
    if at == "posterior":
        return Place(law.mean, law.hessian, law.gradient_covariance, law, at)
    geometry = measure.local_geometry(problem, law.mode, at=at, num_draws=num_law_draws, key=key)
    return Place(law.mode, geometry.hessian, geometry.gradient_covariance, law, at)


def _law(problem: Any, mode: Any, at: str, num_law_draws: int | None, key: Any) -> Any:
    """Return the variational law; where it does not exist and `at` does not ask for it, Laplace's stands in as the judge."""
    try:
        return measure.gaussian_law(problem, mode, num_draws=num_law_draws, key=key)
    except measure.NotConverged:
        if at == "posterior":
            raise
        return measure.gaussian_law(problem, mode, at="laplace", num_draws=num_law_draws, key=key)


def checked_law(problem: Any, law: Any) -> Any:
    """Return `law` if it was measured for this problem."""
    size, examples = np.shape(getattr(law, "mean", ())), getattr(law, "num_examples", None)
    if size != (problem.num_params,) or examples != problem.num_examples:
        msg = (
            f"law must be measure.gaussian_law of this problem ({problem.num_params} parameters, {problem.num_examples} examples), "
            f"got {_checks.shown(law)}."
        )
        raise ValueError(msg)
    if isinstance(law, measure.GaussianLaw):
        derivatives.check_law(problem, law)
    return law


def check_size(problem: Any) -> None:
    """Refuse more parameters than matrices (D, D) are formed for, before any mode is looked for; name what works there."""
    _checks.problem(problem)
    if problem.num_params > derivatives.DENSE:
        msg = (
            f"problem must have at most {derivatives.DENSE} parameters here, where curvature and noise are matrices (D, D), got "
            f"{problem.num_params}. For larger problems use infer.constant_sgd, iterate_averaging, corrected_langevin or "
            "sample (and evidence, variational_em), and pass mode=trained_params: their steps are diagonal or of low rank."
        )
        raise Refused(msg)


def check_conditioned(problem: Any, hessian: Array) -> None:
    """Refuse columns so badly scaled or so nearly collinear that no step and no covariance of float64 resolves them."""
    values, vectors = np.linalg.eigh(_scaled.scaled(hessian)[0])
    if values[0] <= CONDITIONED:
        share = _scaled.shares(vectors[:, values <= CONDITIONED])
        named = [
            repr(name) for name, part in zip(problem.parameter_names, share, strict=True) if part > share.max() / 10
        ]
        shown = f"{', '.join(named[:SHOWN])}{' and others' if len(named) > SHOWN else ''}"
        msg = (
            f"problem has columns badly scaled or collinear: use datasets.standardise, or drop one of {shown}. Their curvature, in units of each "
            f"column, is {values[0]:.2g} along some direction, below {CONDITIONED:g}: a chain would be lost in rounding. A column far from 0 "
            "beside an intercept is collinear with it."
        )
        raise Refused(msg)


def check_moves(what: str, hessian: Array, step: Array | float, momentum: float = 0.0) -> None:
    """Refuse a step so small that float64 cannot tell its chain from one that stands still; `what` names the arguments."""
    speed = np.linalg.eigvals(step * hessian if np.ndim(step) == 0 else step @ hessian).real.min() / (1 - momentum)
    if not min(speed, 1 - momentum) > SLOWEST:
        msg = (
            f"{what} must let the slowest direction forget more than {SLOWEST:g} of where it is in a step (now {speed:.2g}, momentum "
            f"{momentum!r}): nothing would move. Give a larger step or a smaller momentum."
        )
        raise Refused(msg)


def check_independent(sampling: str, why: str) -> None:
    """Refuse shuffled epochs, for a sampler whose law assumes batches that are independent from step to step."""
    if sampling == "shuffled":
        msg = f"sampling must be 'with_replacement' or 'without_replacement', got 'shuffled': {why}"
        raise Refused(msg)
