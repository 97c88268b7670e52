"""Draws as others read them: ArviZ's schema, and a table of parameters with R-hat and effective sizes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradnoise import derivatives
from gradnoise._types import Array
from gradnoise.infer.predictive import effective_draws, monte_carlo
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
    r_hat
        Rank-normalised split R-hat; NaN for fewer than four draws a chain.
    ess_bulk, ess_tail
        Effective draws for the centre and for the 5 % tails.
    """

    names: tuple[str, ...]
    mean: Estimate
    sd: Array = field(repr=False)
    predicted_sd: Array = field(repr=False)
    r_hat: Array = field(repr=False)
    ess_bulk: Array = field(repr=False)
    ess_tail: Array = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return the table as one dict a parameter."""
        columns = {
            "mean": self.mean.value,
            "mean_error": self.mean.standard_error,
            "sd": self.sd,
            "predicted_sd": self.predicted_sd,
            "r_hat": self.r_hat,
            "ess_bulk": self.ess_bulk,
            "ess_tail": self.ess_tail,
        }
        return [
            {"parameter": name, **{k: float(v[i]) for k, v in columns.items()}} for i, name in enumerate(self.names)
        ]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len("parameter"), *(len(name) for name in self.names))
        head = ["mean", "mean_error", "sd", "predicted_sd", "r_hat", "ess_bulk", "ess_tail"]
        form = {"r_hat": ".3f", "ess_bulk": ".0f", "ess_tail": ".0f"}
        lines = [" ".join([f"{'parameter':<{width}}", *(f"{h:>12}" for h in head)])]
        for row in rows:
            cells = [f"{format(row[h], form.get(h, '.4g')):>12}" for h in head]
            lines.append(" ".join([f"{row['parameter']:<{width}}", *cells]))
        return "\n".join(lines)


def summary_of(posterior: Any) -> Summary:
    """Summarise draws by parameter."""
    draws = np.asarray(posterior.draws, np.float64)
    predicted = posterior.predicted_covariance
    return Summary(
        posterior.names,
        monte_carlo(draws),
        draws.std((0, 1), ddof=1) if draws.shape[0] * draws.shape[1] > 1 else np.full(draws.shape[2], np.nan),
        np.full(draws.shape[2], np.nan) if predicted is None else np.sqrt(np.diag(predicted)),
        r_hat(draws),
        effective_draws(draws, "bulk"),
        effective_draws(draws, "tail"),
    )


def r_hat(draws: Array) -> Array:
    """Rank-normalised split R-hat by arviz-stats (D,); NaN for fewer than four draws a chain or one that never moves."""
    from arviz_stats.base.array import array_stats

    out, moving = np.full(draws.shape[2], np.nan), np.ptp(draws, axis=(0, 1)) > 0
    if draws.shape[1] >= FEWEST and moving.any():
        out[moving] = array_stats.rhat(draws[..., moving], chain_axis=0, draw_axis=1, method="rank")
    return out


def datatree_of(posterior: Any, *, log_posterior: bool) -> Any:
    """Return an `xarray.DataTree` in ArviZ's schema."""
    import arviz_base

    with warnings.catch_warnings():  # many short chains are what we mean
        warnings.filterwarnings("ignore", "Found chain dimension to be longer than draw dimension", UserWarning)
        groups: dict[str, Any] = {"posterior": {"theta": np.asarray(posterior.draws)}}
        stats = _sample_stats(posterior, log_posterior)
        if stats:
            groups["sample_stats"] = stats
        tree = arviz_base.from_dict(groups, coords={"parameter": list(posterior.names)}, dims={"theta": ["parameter"]})
    verdict = posterior.verdict
    tree.attrs.update(
        {"method": posterior.method, "verdict": verdict.level, "verdict_reasons": " ".join(verdict.reasons)}
    )
    scalars = {k: v for k, v in posterior.settings.items() if isinstance(v, (int, float, str))}
    tree["posterior"].attrs.update({"inference_library": "gradnoise", **scalars})
    return tree


def _sample_stats(posterior: Any, log_posterior: bool) -> dict[str, Any]:
    """Absolute step of every draw (where there was a run) and, if wanted, the log posterior up to a constant."""
    chains, draws = posterior.draws.shape[:2]
    out: dict[str, Any] = {}
    if posterior.run is not None and {"burn_in", "thin"} <= set(posterior.settings):
        steps = posterior.settings["burn_in"] + (np.arange(draws) + 1) * posterior.settings["thin"]
        out["step"] = np.tile(steps, (chains, 1))
    if log_posterior:
        problem = posterior.known_problem("the log posterior")
        flat = np.asarray(posterior.draws, np.float64).reshape(-1, posterior.draws.shape[-1])
        out["lp"] = -problem.num_examples * derivatives.losses(problem, flat).reshape(chains, draws)
    return out
