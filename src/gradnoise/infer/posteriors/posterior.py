"""Posterior: draws, what was predicted of them, and a verdict on whether to trust them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike, Pytree
from gradnoise.infer.posteriors.directions import Direction, directions_of
from gradnoise.infer.posteriors.divergences import Divergences, divergences_of, sandwich_of
from gradnoise.infer.posteriors.export import datatree_of, write
from gradnoise.infer.posteriors.held_out import examples, laid_out
from gradnoise.infer.posteriors.intervals import Intervals, intervals_of
from gradnoise.infer.posteriors.predictive import LogPredictive, Predictive, log_predictive, predictive
from gradnoise.infer.posteriors.sample_distance import SampleDistance, moved, sample_distance
from gradnoise.infer.posteriors.summary import Summary, summary_of
from gradnoise.infer.verdicts.judges import told
from gradnoise.infer.verdicts.ratios import spread
from gradnoise.infer.verdicts.verdict import DRIFT_LIMIT, Verdict, judge, kl_limit

__all__ = ["DRIFT_LIMIT", "Divergences", "Posterior", "Verdict", "judge", "kl_limit", "spread"]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of a posterior approximation.

    Attributes
    ----------
    method
        Name of the function that made it.
    draws
        (chain, draw, D), in the order of `Problem.flatten`. Diverged chains are left out.
    names
        Names of the D parameters.
    predicted_mean, predicted_covariance
        The law that theory predicts for the draws, (D,) and (D, D); None where there is no prediction (NUTS).
    effective_draws
        Independent draws that these are worth (for variances), predicted or estimated.
    verdict
        See `Verdict`.
    settings
        What was used: learning rate, thinning, burn-in, steps, ...
    run
        The `Run` behind the draws, or None.
    plan
        The `Plan` that was run, or None: what was predicted of it beforehand.
    exact
        Whether the law itself is known: predicted mean and covariance are the truth about this approximation.
    problem
        The `Problem`, where it is known.
    """

    method: str
    draws: AnyArray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    predicted_mean: Array | None = field(repr=False)
    predicted_covariance: Array | None = field(repr=False)
    effective_draws: float
    verdict: Verdict
    settings: dict[str, Any] = field(repr=False, default_factory=dict)
    run: Any = field(repr=False, default=None)
    plan: Any = field(repr=False, default=None)
    exact: bool = False
    problem: Any = field(repr=False, default=None, kw_only=True)

    @functools.cached_property
    def mean(self) -> Array:
        """Mean (D,): the exact one where it is known, else of the draws."""
        if self.exact and self.predicted_mean is not None:
            return self.predicted_mean
        return np.asarray(self.draws, np.float64).mean((0, 1))  # type: ignore[no-any-return]

    @functools.cached_property
    def covariance(self) -> Array:
        """Covariance (D, D): the exact one where it is known, else of the draws about their mean."""
        if self.exact and self.predicted_covariance is not None:
            return self.predicted_covariance
        flat = np.asarray(self.draws, np.float64).reshape(-1, self.draws.shape[-1])
        return _checks.symmetrised(np.atleast_2d(np.cov(flat.T)))

    @property
    def params(self) -> Pytree:
        """The draws as the problem's params: every leaf with axes (chain, draw) in front."""
        return self.known_problem("params").unflatten(self.draws)

    def known_problem(self, what: str) -> Any:
        """Return the problem behind the draws; `what` needs it."""
        problem = self.problem if self.problem is not None else getattr(self.plan or self.run, "problem", None)
        if problem is None:
            msg = f"{what} must know the problem, but these draws came without one: dataclasses.replace(posterior, problem=...), or load(path, problem)."
            raise ValueError(msg)
        return problem

    def extend(self, num_draws: int, *, progress: Any = True) -> Posterior:
        """Go on for `num_draws` more draws a chain, judged anew: bit-identical to one run of them all. This one stays as it is.

        Raises
        ------
        ValueError
            Where there is no run of a plan to go on with (exact laws, NUTS, loaded draws, learnt hyperparameters).
        """
        if self.run is None or not hasattr(self.plan, "extend"):
            msg = f"extend must have the run of a plan to go on with, but there is none behind these draws of {self.method}."
            raise ValueError(msg)
        made: Posterior = self.plan.extend(self, num_draws, progress=progress)
        if "choice" not in self.settings:
            return made
        return told(made, "the reason of the choice", lambda made: made.chosen_for(self.settings["choice"]))  # type: ignore[no-any-return]

    def chosen_for(self, reason: str) -> Posterior:
        """Return the same with the reason of a choice first in the verdict, and among the settings."""
        verdict = self.verdict._replace(reasons=(f"Chosen: {reason}", *self.verdict.reasons))
        return dataclasses.replace(self, verdict=verdict, settings={**self.settings, "choice": reason})

    def interval(self, level: float = 0.9) -> Intervals:
        """Equal-tailed credible interval of every parameter: quantiles of the draws, or of the Gaussian where the law is `exact`.

        ``low, high = posterior.interval(0.9)``, each (D,); printed, a table with the names.
        """
        return intervals_of(self, level)

    def summary(self, level: float = 0.9) -> Summary:
        """Table by parameter: mean with its Monte Carlo error, sd, `interval(level)`, R-hat, ESS of bulk and tails (arviz-stats)."""
        return summary_of(self, level)

    def divergence(self, reference: Posterior) -> Divergences:
        """KL divergences of Gaussian fits, both directions, with the sampling floor.

        Raises
        ------
        ValueError, TypeError
            If there are too few draws for a positive definite covariance, or `reference` is no Posterior of the same parameters.
        """
        self._fitted()
        self._comparable(reference)._fitted()
        return divergences_of(self, reference)

    def distance(
        self, reference: Posterior, *, num_directions: int = 64, num_exchanges: int = 199, key: Any = 0
    ) -> SampleDistance:
        """Sliced Wasserstein distance between the draws themselves: it sees skewness and tails, which Gaussian fits do not.

        Parameters
        ----------
        reference
            Draws to compare with, of the same parameters; its covariance is the unit.
        num_directions
            Random directions that both samples are projected on.
        num_exchanges
            Exchanges of stretches of chain between the samples that the p-value counts.
        key
            Seed of directions and exchanges.
        """
        self._comparable(reference)._fitted()
        return sample_distance(
            self.draws,
            reference.draws,
            reference.covariance,
            num_directions=num_directions,
            num_exchanges=num_exchanges,
            key=key,
        )

    def directions(self, reference: Posterior | None = None) -> tuple[Direction, ...]:
        """Predicted and achieved variance in every eigendirection of the target (of `reference`, where given), widest first."""
        if reference is None and self.plan is None:
            msg = f"reference must be given: {self.method} came without a plan, so there is no target."
            raise ValueError(msg)
        if reference is None and not hasattr(self.plan, "where"):
            msg = f"reference must be given: the target of {self.method} is known along a few directions only above 1000 parameters."
            raise ValueError(msg)
        if reference is not None:
            self._comparable(reference)._fitted()
        target = (
            (reference.mean, reference.covariance)
            if reference is not None
            else (self.plan.where.law.mean, self.plan.target)
        )
        return directions_of(
            names=self.names,
            achieved=self._achieved(),
            predicted=self.predicted_covariance,
            target=target,
            effective_draws=self.effective_draws,
        )

    def predictive(self, inputs: Any, key: Any = 0, *, offset: Any = None, num_draws: int | None = None) -> Predictive:
        """Posterior predictive for new inputs, through `Problem.predict` and `Problem.sample`.

        Parameters
        ----------
        inputs
            As the problem's `predict` takes them. For the models of `gradnoise.models` an array or data frame like their X; a frame's
            columns go by name where the model was built with names.
        key
            Seed of the responses.
        offset
            Log of the exposure, one number a row or one for all: where a Poisson model was built with an offset, and only there.
        num_draws
            Draws a chain to use, evenly spaced; None: all.
        """
        return predictive(self.known_problem("predictive"), self._some(num_draws), inputs, key, offset)

    def log_predictive(
        self, data: Any, targets: Any = None, *, offset: Any = None, weights: Any = None, num_draws: int | None = None
    ) -> LogPredictive:
        """Log predictive density of held-out examples: log of the likelihood averaged over draws.

        Parameters
        ----------
        data
            With `targets`, for the models of `gradnoise.models`: inputs as `predictive` takes them. Without, for any problem:
            examples laid out like `problem.data` (columns of ones for the intercept included).
        targets
            Responses y (m,).
        offset, weights
            One number a row, or one for all: where the model was built with them, and only there. An offset is the log of the exposure;
            a row of weight w counts as w rows (`total` and `mean`; `pointwise` is of one).
        num_draws
            Draws a chain to use, evenly spaced; None: all.
        """
        problem = self.known_problem("log_predictive")
        held_out = (
            laid_out(data, offset, weights) if targets is None else examples(problem, data, targets, offset, weights)
        )
        return log_predictive(problem, self._some(num_draws), held_out)

    def calibrate(self, target: str | ArrayLike = "sandwich", *, mean: ArrayLike | None = None) -> Posterior:
        """Move the draws to another mean and covariance by the linear map that moves them least; shape is kept.

        Location-scale calibration (arXiv 2511.15320): robust widths without another run. The sandwich helps where the model is
        misspecified and many rows speak of every parameter; the verdict says where it does not.

        Parameters
        ----------
        target
            "sandwich": H⁻¹CH⁻¹/N, H and C where the sampler was tuned (at the mode, where there was no plan); or a
            covariance (D, D).
        mean
            Where the draws are centred, (D,); None: the sandwich's centre (the plan's, or the mode), and the mean of the
            draws for a given covariance.
        """
        self._fitted()
        dim = len(self.mean)
        if isinstance(target, str):
            _checks.one_of("target", target, ("sandwich",))
            centre, wanted = sandwich_of(self)
        else:
            centre, wanted = self.mean, _checks.symmetric("target", target, dim, definite="positive")
        centre = centre if mean is None else _checks.vector("mean", mean, dim)
        ratios = spread(wanted, self.covariance)
        said = (
            f"Calibrated: moved to a given mean and covariance, variances times {ratios[0]:.3g} to {ratios[-1]:.3g}; right as "
            f"far as that covariance is, whatever the draws were. Before: {self.verdict.level}."
        )
        if (
            isinstance(target, str)
            and hasattr(self.plan, "widths")
            and (against := self.plan.widths.fit.against_sandwich())
        ):
            said += f" Intervals by the sandwich may not cover, for {against}."
        verdict = Verdict("approximate", (said,), dict(self.verdict.numbers))
        return dataclasses.replace(
            self,
            method=f"{self.method}, calibrated",
            draws=moved(self.draws, self.mean, self.covariance, centre, wanted),
            predicted_mean=centre,
            predicted_covariance=wanted,
            verdict=verdict,
            plan=None,
            run=None,
            problem=self.problem if self.problem is not None else getattr(self.plan, "problem", None),
        )

    def to_datatree(self, *, log_posterior: bool = False, log_likelihood: bool = False, by_leaf: bool = False) -> Any:
        """Return the draws as an `xarray.DataTree` in ArviZ's schema, for arviz-stats and arviz-plots.

        Group `posterior` holds `theta` (chain, draw, parameter); `sample_stats` the absolute `step` of every draw; `gradnoise` what
        `load` needs.

        Parameters
        ----------
        log_posterior
            Add `lp` to `sample_stats`.
        log_likelihood
            Add a group with the log-likelihood of every example `y` (chain, draw, example), for ``arviz_stats.loo``.
        by_leaf
            One variable a leaf of the params in place of `theta` (from which alone `load` reads).
        """
        return datatree_of(
            self,
            log_posterior=_checks.flag("log_posterior", log_posterior),
            log_likelihood=_checks.flag("log_likelihood", log_likelihood),
            by_leaf=_checks.flag("by_leaf", by_leaf),
        )

    def save(self, path: str | Path) -> Path:
        """Write the draws as NetCDF in ArviZ's schema; `load` reads it, and `xarray.open_datatree`. Missing folders are made.

        A file that is there is replaced, whole or not at all, if `save` wrote it; FileExistsError if it is something else.
        """
        return write(self.to_datatree(), path, problem=self.problem)

    def __str__(self) -> str:
        chains, draws, dim = self.draws.shape
        return f"{self.method}: {chains} x {draws} draws of {dim} parameters, {self.verdict.level}. {' '.join(self.verdict.reasons)}"

    def _fitted(self) -> None:
        """Refuse a Gaussian fit of too few draws."""
        if not self.exact and self.draws.shape[0] * self.draws.shape[1] <= self.draws.shape[2]:
            msg = f"draws of {self.method} must be more than D = {self.draws.shape[2]} for a Gaussian fit, got {self.draws.shape[:2]}."
            raise ValueError(msg)

    def _comparable(self, reference: Posterior) -> Posterior:
        """Return `reference` if it is a Posterior of as many parameters."""
        if not isinstance(reference, Posterior):
            msg = f"reference must be a Posterior, got {_checks.shown(reference)}."
            raise TypeError(msg)
        if reference.draws.shape[-1] != self.draws.shape[-1]:
            msg = f"reference must have D = {self.draws.shape[-1]} parameters, got {reference.draws.shape[-1]}."
            raise ValueError(msg)
        return reference

    def _achieved(self) -> tuple[Array, Array]:
        """Mean and covariance of all steps of the run where iterates are the draws, else of the draws."""
        if self.run is not None and self.plan is not None and self.plan.window == 1:
            return self.run.mean, self.run.covariance
        return self.mean, self.covariance

    def _some(self, num_draws: int | None) -> AnyArray:
        """Evenly spaced draws of every chain."""
        have = self.draws.shape[1]
        if num_draws is None:
            return self.draws
        wanted = _checks.integer("num_draws", num_draws, high=have)
        return self.draws[:, np.linspace(0, have - 1, wanted).round().astype(int)]
