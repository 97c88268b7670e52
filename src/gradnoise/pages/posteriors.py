"""Stage "posterior": every method against the reference, in numbers and in marginal densities."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.stats

from gradnoise import theory
from gradnoise._types import Array
from gradnoise.infer import Posterior
from gradnoise.infer.posteriors.posterior import kl_limit, spread
from gradnoise.pages.samplers import Method, failed, fits

MARGINALS = 6
POINTS = 161  # of a density, over five standard deviations of the reference on both sides
KDE_DRAWS = 4000
Law = tuple[Array, Array]  # mean and covariance of the Gaussian variational law


def compared(methods: Iterable[Method], reference: Posterior, law: Law) -> tuple[list[Method], list[dict[str, Any]]]:
    """Return the methods and their rows; one that cannot be compared keeps a row with the reason."""
    made, rows = [], []
    for method in methods:
        began, kept = time.perf_counter(), method
        try:
            row = method_row(kept, reference, law)
        except Exception as error:
            kept = failed(method, error, began)
            row = method_row(kept, reference, law)
        made.append(kept)
        rows.append(row)
    return made, rows


def method_row(method: Method, reference: Posterior, law: Law) -> dict[str, Any]:
    """One row of the table: divergences with their floor, predicted divergences, run length, verdict."""
    row: dict[str, Any] = {
        "name": method.name,
        "kind": method.kind,
        "level": method.level,
        "recommended": method.recommended,
        "reasons": list(method.reasons),
        "kl_to_reference": None,
        "kl_from_reference": None,
        "kl_to_law": None,
        "kl_floor": None,
        "predicted_kl_to_reference": None,
        "predicted_kl_from_reference": None,
        "num_steps": method.length.num_steps if method.length and method.num_draws else None,
        "thin": method.length.thin if method.length else None,
        "num_draws": method.num_draws or None,
        "num_chains": method.num_chains or None,
        "seconds": method.seconds,
        "effective_draws": None,
        "num_diverged": None,
        "smallest_variance_ratio": None,
        "largest_variance_ratio": None,
        "mean_variance_ratio": None,
    }
    if method.predicted is not None:
        (m, s), (rm, rs) = method.predicted, (reference.mean, reference.covariance)
        row["predicted_kl_to_reference"] = theory.gaussian_kl(s, rs, m, rm)
        row["predicted_kl_from_reference"] = theory.gaussian_kl(rs, s, rm, m)
    return row | _simulated(method, reference, law)


def _simulated(method: Method, reference: Posterior, law: Law) -> dict[str, Any]:
    """Numbers of the draws themselves; variance ratios are simulated over predicted, over all directions."""
    made = method.posterior
    if made is None:
        return {}
    out: dict[str, Any] = {
        "effective_draws": made.effective_draws,
        "num_diverged": 0 if made.run is None else len(made.run.diverged),
    }
    if not fits(made):
        return out
    kl = made.divergence(reference)
    out |= {"kl_to_reference": kl.to_reference, "kl_from_reference": kl.from_reference, "kl_floor": kl.floor}
    out["kl_to_law"] = theory.gaussian_kl(made.covariance, law[1], made.mean, law[0])
    if method.predicted is not None and not made.exact:
        ratios = spread(made.run.covariance if made.run is not None else made.covariance, method.predicted[1])
        out |= {
            "smallest_variance_ratio": ratios[0],
            "largest_variance_ratio": ratios[-1],
            "mean_variance_ratio": ratios.mean(),
        }
    return out


def reference_row(reference: Posterior, law: Law, seconds: float) -> dict[str, Any]:
    """Say what the reference is, and whether methods may be judged by it."""
    off = theory.gaussian_kl(reference.covariance, law[1], reference.mean, law[0])
    doubt = _doubt(reference, off)
    return {
        "method": reference.method,
        "text": " ".join((*reference.verdict.reasons, doubt)).strip(),
        "level": reference.verdict.level,
        "effective_draws": reference.effective_draws,
        "seconds": seconds,
        "kl_to_law": off,
        "can_judge": not doubt,
    }


def _doubt(reference: Posterior, off: float) -> str:
    """Why the reference cannot judge, or nothing: Laplace far from the best Gaussian, or NUTS that did not mix."""
    limit = kl_limit(len(reference.mean))
    if reference.method == "Laplace" and off > limit:
        why = f"its KL to the Gaussian variational law is {off:.3g} (limit {limit:.3g})"
    elif reference.verdict.level == "not trustworthy":
        why = "its draws are not trustworthy"
    else:
        return ""
    return f"This reference cannot judge, because {why}. The methods below are judged by their KL to the Gaussian variational law."


def marginals(methods: list[Method], reference: Posterior, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Marginal densities of the parameters that are farthest from zero, in posterior standard deviations."""
    sd = np.sqrt(np.diag(reference.covariance))
    chosen = np.sort(np.argsort(-np.abs(reference.mean) / sd)[:MARGINALS])
    out = []
    for i in chosen:
        x = reference.mean[i] + 5 * sd[i] * np.linspace(-1, 1, POINTS)
        drawn = {m.name: _density(m.posterior, i, x) for m in methods if m.posterior is not None}
        out.append(
            {
                "parameter": names[i],
                "reference": {"x": _rounded(x), "density": _rounded(_density(reference, i, x))},
                "methods": {name: {"x": _rounded(x), "density": _rounded(density)} for name, density in drawn.items()},
            }
        )
    return out


def _rounded(values: Array) -> list[float]:
    """Six significant digits of the range: enough to draw, and a third of the file."""
    size, width = float(np.abs(values).max()), float(np.ptp(values))
    digits = 6 + (max(0, math.ceil(math.log10(size / width))) if width > 0 else 0)
    return [float(f"{value:.{min(digits, 17)}g}") for value in values]


def _density(posterior: Posterior, index: int, x: Array) -> Array:
    """Marginal density: the Gaussian where it is exact, else a kernel estimate from the draws."""
    if posterior.exact:
        sd = math.sqrt(posterior.covariance[index, index])
        return np.asarray(scipy.stats.norm.pdf(x, posterior.mean[index], sd))
    values = np.asarray(posterior.draws[..., index], np.float64).ravel()
    if values.std() == 0:
        return np.zeros_like(x)
    step = max(1, len(values) // KDE_DRAWS)
    return np.asarray(scipy.stats.gaussian_kde(values[::step])(x))
