"""Every sampler on breast cancer (569 × 30, logistic regression, batch 32) against NUTS, its verdict before and after the run.

The bar: none that is off by more than 0.5 nats may be called trustworthy, none within 0.1 not trustworthy.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

import gradnoise as gn
from gradnoise.infer import gaussian, laplace
from gradnoise.infer.choice.plan import SAMPLERS
from gradnoise.mode import find_mode
from gradnoise.problem import Problem
from studies import recording

BATCH = 32
FEWEST = 400  # draws of a chain below which the sampling floor hides what is looked for
REFERENCE = Path(__file__).parents[1] / "tests" / "data" / "breast_cancer_nuts.npz"
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "constant_sgd": {
        "at the mode": {"at": "mode"},
        "at Laplace": {"at": "laplace"},
        "diagonal": {"preconditioner": "diagonal"},
        "scalar": {"preconditioner": "scalar"},
        "noise re-estimated": {"adapt": True},
        "sandwich": {"target": "sandwich"},
    },
    "langevin": {"preconditioned": {"preconditioner": "curvature"}},
    "corrected_langevin": {"fraction 0.9": {"fraction": 0.9}},
}
COLUMNS = ("sampler", "kl_to_nuts", "kl_from_nuts", "expected_kl", "before", "after", "kept", "steps", "seconds")


def problem() -> Problem:
    """Logistic regression on standardised features, prior scale 1, with intercept."""
    x, y = load_breast_cancer(return_X_y=True)
    return gn.models.logistic_regression((x - x.mean(0)) / x.std(0), y.astype(float), prior_scale=1.0)


def study(
    num_draws: int = 4000,
    num_chains: int = 4,
    variants: bool = True,
    names: tuple[str, ...] | None = None,
    most_steps: int = 2_000_000,
) -> list[dict[str, Any]]:
    """Return one row a sampler: KL to NUTS beyond the sampling floor, and both verdicts."""
    made = problem()
    mode = find_mode(made)
    law = gn.measure.gaussian_law(made, mode)
    rows = [
        _row("laplace", laplace(made, mode=mode, num_draws=num_draws)),
        _row("gaussian", gaussian(made, mode=mode, law=law, num_draws=num_draws)),
    ]
    for name in names or tuple(SAMPLERS):
        settings: dict[str, dict[str, Any]] = {"": {}} | (VARIANTS.get(name, {}) if variants else {})
        for label, chosen in settings.items():
            said = f"{name}, {label}" if label else name
            began = time.perf_counter()
            try:
                plan = SAMPLERS[name].plan(made, batch_size=BATCH, mode=mode, law=law, **chosen)
                thin = plan.length(1).thin
                if thin * FEWEST > most_steps:
                    told = f"not run: one draw every {thin:,} steps"
                    before = plan.expectation().verdict.level
                    rows.append({"sampler": said, "expected_kl": plan.kl_to_target, "before": before, "after": told})
                    continue
                draws = min(num_draws, most_steps // thin)
                run = plan.run(num_draws=draws, num_chains=num_chains, key=1, progress=False)
            except (ValueError, TypeError) as refusal:
                rows.append({"sampler": said, "before": "refused", "reasons": (str(refusal),)})
                continue
            rows.append(_row(said, run, plan, time.perf_counter() - began))
    return rows


def _row(name: str, posterior: Any, plan: Any = None, seconds: float | None = None) -> dict[str, Any]:
    with np.load(REFERENCE) as file:
        mean, covariance, size = file["mean"], file["covariance"], float(file["effective_sample_size"].min())
    sizes = [size] if posterior.exact else [size, posterior.effective_draws]
    floor = sum(gn.diagnose.kl_floor(len(mean), n, fitted_mean=True) for n in sizes)
    ours = (posterior.covariance, posterior.mean)
    off = [p for p in posterior.directions() if not p.kept] if plan else []
    return {
        "sampler": name,
        "kl_to_nuts": gn.theory.gaussian_kl(ours[0], covariance, ours[1], mean) - floor,
        "kl_from_nuts": gn.theory.gaussian_kl(covariance, ours[0], mean, ours[1]) - floor,
        "floor": floor,
        "expected_kl": plan.kl_to_target if plan else None,
        "before": plan.expectation().verdict.level if plan else posterior.verdict.level,
        "after": posterior.verdict.level,
        "kept": f"{len(posterior.names) - len(off)}/{len(posterior.names)}" if plan else None,
        "steps": posterior.settings.get("num_steps"),
        "seconds": seconds,
        "reasons": posterior.verdict.reasons,
        "numbers": posterior.verdict.numbers,
    }


def breaches(rows: list[dict[str, Any]]) -> list[str]:
    """Return the verdicts that break the bar, before the run as after it."""
    return [
        f"{row['sampler']}: {off:.2f} nats off and called {row[when]} {when} the run"
        for row in rows
        if (off := row.get("kl_to_nuts")) is not None
        for when in ("before", "after")
        if (off > 0.5 and row[when] == "trustworthy") or (off < 0.1 and row[when] == "not trustworthy")
    ]


def main() -> None:
    """Print the table and write the record."""
    began = time.perf_counter()
    rows = study(most_steps=30_000_000)
    print(recording.table(rows, COLUMNS))
    print("breaches:", breaches(rows) or "none")
    print(recording.write("breast_cancer", {"rows": rows, "breaches": breaches(rows)}, time.perf_counter() - began))


if __name__ == "__main__":
    main()
