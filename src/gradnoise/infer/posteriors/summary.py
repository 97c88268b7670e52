"""Draws by parameter: means with their errors, credible intervals, R-hat and effective sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradnoise._types import Array
from gradnoise.infer.posteriors.intervals import intervals_of, percent, table
from gradnoise.infer.posteriors.predictive import effective_draws, monte_carlo
from gradnoise.results import Estimate

FEWEST = 4  # draws a chain for R-hat and ESS


@dataclass(frozen=True, eq=False)
class Summary:
    """One row a parameter; `print` it, or read the arrays (D,).

    Attributes
    ----------
    names
        Parameters.
    mean
        With Monte Carlo standard error.
    sd, predicted_sd
        Of the draws, and as predicted (NaN where nothing is).
    low, high
        Ends of the equal-tailed credible interval of `level`: quantiles of the draws, or of the exact Gaussian where it is known.
    r_hat
        Rank-normalised split R-hat; NaN for fewer than four draws a chain.
    ess_bulk, ess_tail
        Effective draws for the centre and for the 5 % tails.
    level
        Probability of the interval.
    """

    names: tuple[str, ...]
    mean: Estimate
    sd: Array = field(repr=False)
    predicted_sd: Array = field(repr=False)
    low: Array = field(repr=False)
    high: Array = field(repr=False)
    r_hat: Array = field(repr=False)
    ess_bulk: Array = field(repr=False)
    ess_tail: Array = field(repr=False)
    level: float

    def rows(self) -> list[dict[str, Any]]:
        """Return the table as one dict a parameter."""
        columns = {
            "mean": self.mean.value,
            "mean_error": self.mean.standard_error,
            "sd": self.sd,
            "predicted_sd": self.predicted_sd,
            "low": self.low,
            "high": self.high,
            "r_hat": self.r_hat,
            "ess_bulk": self.ess_bulk,
            "ess_tail": self.ess_tail,
        }
        return [
            {"parameter": name, **{k: float(v[i]) for k, v in columns.items()}} for i, name in enumerate(self.names)
        ]

    def __str__(self) -> str:
        low, high = percent(self.level)
        form = {"r_hat": ".3f", "ess_bulk": ".0f", "ess_tail": ".0f"}
        return table(self.rows(), {"low": low, "high": high}, form, self.sd)


def summary_of(posterior: Any, level: float) -> Summary:
    """Summarise draws by parameter."""
    low, high = intervals_of(posterior, level)
    draws = np.asarray(posterior.draws, np.float64)
    predicted = posterior.predicted_covariance
    return Summary(
        posterior.names,
        monte_carlo(draws),
        draws.std((0, 1), ddof=1) if draws.shape[0] * draws.shape[1] > 1 else np.full(draws.shape[2], np.nan),
        np.full(draws.shape[2], np.nan) if predicted is None else np.sqrt(np.diag(predicted)),
        low,
        high,
        r_hat(draws),
        effective_draws(draws, "bulk"),
        effective_draws(draws, "tail"),
        float(level),
    )


def r_hat(draws: Array) -> Array:
    """Rank-normalised split R-hat by arviz-stats (D,); NaN for fewer than four draws a chain or one that never moves."""
    from arviz_stats.base.array import array_stats

    out, moving = np.full(draws.shape[2], np.nan), np.ptp(draws, axis=(0, 1)) > 0
    if draws.shape[1] >= FEWEST and moving.any():
        out[moving] = array_stats.rhat(draws[..., moving], chain_axis=0, draw_axis=1, method="rank")
    return out
