"""Results as `report.json` holds them, of any size, with a good or a bad outcome: what plots and pages are tested on."""

from __future__ import annotations

import numpy as np

RATE = 0.25
LIMIT = 1.1


def sample(dim=12, *, examples=4898, batch=100, outcome="good", names=None, seed=0):
    """Whole results; `outcome` is "good", "bad" (constant SGD fails) or "nulls" (nothing optional was computed)."""
    rng = np.random.default_rng(seed)
    names = names or [f"feature_{i:03d}" for i in range(dim)]
    curvature = np.sort(np.exp(rng.normal(-0.5, 1.6, dim)))
    noise = curvature * np.exp(rng.normal(0, 0.3, dim))
    return {
        "meta": {
            "version": "0.1.0",
            "command": "gradnoise report --example wine --seed 0",
            "seed": 0,
            "date": "2026-11-21",
            "platform": "Linux x86_64, 2 cores, JAX 0.10.2",
            "seconds": {"data": 0.31, "mode": 1.92, "noise": 2.4, "stationary": 14.2, "posterior": 23.7, "page": 1.1},
            "cpu_seconds": {"data": 0.3, "mode": 1.8, "noise": 2.1, "stationary": 25.2, "posterior": 41.7, "page": 1.0},
            "max_time": 40.0,
            "total_seconds": 43.6,
        },
        "summary": summary(outcome),
        "problem": problem(rng, names, examples),
        "noise": {
            "hessian_eigenvalues": curvature.tolist(),
            "noise_eigenvalues": np.sort(noise * 1.07)[::-1].tolist(),
            "trace": float(noise.sum()),
            "effective_rank": float(noise.sum() ** 2 / (noise**2).sum()),
            "alignment": 0.957,
            "noise_scale": None if outcome == "nulls" else 1234.5,
            "noise_in_hessian_basis": noise.tolist(),
            "noise_drift": 6.31 if outcome == "bad" else None if outcome == "nulls" else 1.0132,
            "noise_drift_whitened": 41.7 if outcome == "bad" else None if outcome == "nulls" else 1.0127,
            "drift_limit": LIMIT,
            "averaged_over": "the Gaussian variational law",
            "averaged_over_note": "",
        },
        "stationary": stationary(rng, curvature, noise, examples, batch, outcome),
        "posterior": posterior(rng, names, batch, outcome),
        "scaling": {
            "text": "With plain SGD the learning rate grows with the batch size: the noise scale stays as it is.",
            "rows": [
                {
                    "batch_size": batch * k,
                    "learning_rate": 0.0123456 * k,
                    "momentum": 0.9,
                    "noise_scale": 1234.5 / k**0.01,
                    "fraction_of_edge": 0.25 * k,
                    "valid": k < 4,
                    "note": "" if k < 4 else "The scaled learning rate is at the stability edge or beyond it.",
                }
                for k in (1, 2, 4, 8)
            ],
        },
        "files": {"draws": {"corrected Langevin": "draws-corrected-langevin.nc"}},
    }


def summary(outcome):
    lines = [
        ("info", "The problem has 4 898 examples and one mode, found to 1e-9 posterior standard deviations."),
        ("good", "SGD at learning rate 0.15 and batch size 100 is at 25 % of its stability edge."),
        (
            "good",
            "The exact discrete-time prediction holds: simulated variances are 0.997 times the predicted ones on average.",
        ),
        (
            "warn",
            "A data loader shuffles: its variance is 1.4 % of that of independent minibatches in the softest direction.",
        ),
        (
            "good",
            "Corrected Langevin is trustworthy: KL to the reference 0.021, of which sampling error explains 0.020.",
        ),
    ]
    if outcome == "bad":
        lines[2] = (
            "bad",
            "Constant SGD is not trustworthy here: the noise is 6.31 times as large over the posterior as at the mode.",
        )
    return [{"level": level, "text": text} for level, text in lines]


def problem(rng, names, examples):
    return {
        "name": "wine quality (white)",
        "model": "linear regression",
        "num_examples": examples,
        "num_params": len(names),
        "target": "quality",
        "notes": ["Features and target standardised.", "937 rows occur more than once & were kept."],
        "observation_scale": 0.8479,
        "prior_scale": 1.0,
        "mode": {
            "gradient_norm": 3.1e-12,
            "distance": 4.4e-10,
            "smallest_eigenvalue": 0.02134,
            "num_iterations": 7,
            "method": "trust-exact",
            "loss": 1.2534,
            "parameters": [
                {"name": n, "value": float(rng.normal()), "sd": float(rng.uniform(0.01, 0.05))} for n in names
            ],
        },
    }


def stationary(rng, curvature, noise, examples, batch, outcome):
    rate = 2 * RATE / curvature.max()
    discrete = rate * noise / (batch * curvature * (2 - rate * curvature))
    swollen = (
        np.exp(rng.uniform(np.log(6), np.log(58), len(curvature))) if outcome == "bad" else np.ones(len(curvature))
    )
    simulated = discrete * swollen * (1 + 0.01 * rng.normal(size=len(curvature)))
    x = rate * curvature * examples / batch
    shuffled = discrete * np.minimum(x / 3, 1 - 1 / (1 + x))
    directions = [
        {
            "index": i,
            "curvature": float(curvature[i]),
            "relaxation_steps": float(1 / (rate * curvature[i])),
            "posterior": float(1 / (examples * curvature[i])),
            "continuous": float(rate * noise[i] / (2 * batch * curvature[i])),
            "discrete": float(discrete[i]),
            "averaged": float(1.02 * discrete[i]),
            "shift": float(0.1 * rng.normal()),
            "simulated": float(simulated[i]),
            "simulated_standard_error": float(0.01 * simulated[i]),
            "shuffled_predicted": float(shuffled[i]),
            "shuffled_averaged": float(1.01 * shuffled[i]) if outcome != "bad" else None,
            "shuffled_shift": float(0.1 * rng.normal()),
            "shuffled_simulated": float(shuffled[i] * (1 + 0.02 * rng.normal())),
            "shuffled_standard_error": float(0.02 * shuffled[i]),
        }
        for i in range(len(curvature))
    ]
    if outcome == "nulls":
        kept = ("index", "curvature", "relaxation_steps", "posterior", "discrete")
        directions = [dict.fromkeys(row) | {k: row[k] for k in kept} for row in directions]
    verdicts = {
        "good": ("good", "The simulation follows the exact prediction in every direction."),
        "bad": ("bad", "The simulation is 6 to 58 times as wide as predicted: the noise is not constant."),
        "nulls": ("info", "No simulation was run."),
    }
    ratio = simulated / discrete
    return {
        "learning_rate": float(rate),
        "batch_size": batch,
        "momentum": 0.0,
        "learning_rate_from": "default: a quarter of the stability edge",
        "edge": float(2 / curvature.max()),
        "fraction_of_edge": None if outcome == "nulls" else RATE,
        "num_chains": None if outcome == "nulls" else 256,
        "num_steps": None if outcome == "nulls" else 120_000,
        "burn_in": None if outcome == "nulls" else 20_000,
        "noise_growth": 1.59,
        "num_silent": 2,
        "shuffled_num_silent": 1,
        "num_diverged": 3,
        "worst_relative_error": 0.0125,
        "num_compared": len(curvature),
        "compared_with": "averaged",
        "mode_mean_ratio": 1.0234,
        "mode_worst_ratio": 1.0432,
        "shuffled_num_chains": 64,
        "shuffled_num_steps": 34_567,
        "shuffled_burn_in": 852,
        "shuffled_num_diverged": 0,
        "shuffled_worst_z": -1.87,
        "shuffled_mean_ratio": 1.0071,
        "shuffled_worst_relative_error": 0.0213,
        "shuffled_num_compared": len(curvature),
        "shuffled_compared_with": "shuffled_predicted" if outcome == "bad" else "shuffled_averaged",
        "shuffled_mode_mean_ratio": 1.0303,
        "shuffled_mode_worst_ratio": 1.0505,
        "dtype": "float32",
        "directions": directions,
        "worst_z": None if outcome == "nulls" else 2.31,
        "worst_ratio": None if outcome == "nulls" else float(ratio[np.argmax(abs(np.log(ratio)))]),
        "mean_ratio": None if outcome == "nulls" else float(ratio.mean()),
        "shuffled_worst_ratio": None if outcome == "nulls" else 1.043,
        "steps_per_epoch": examples // batch,
        "verdict": dict(zip(("level", "text"), verdicts[outcome], strict=True)),
        "loader_note": "A data loader shuffles every epoch, so it gives the shuffled columns. Drawing each batch afresh gives the others.",
    }


METHODS = [
    ("constant SGD, scalar learning rate", "scalar"),
    ("constant SGD, diagonal preconditioner", "diagonal"),
    ("constant SGD, full preconditioner", "full"),
    ("constant SGD, full, tuned at the mode", "full"),
    ("corrected Langevin", "corrected"),
    ("Gaussian variational law", "gaussian"),
    ("Laplace", "laplace"),
]


def method(name, kind, outcome):
    fails = outcome == "bad" and kind in ("scalar", "diagonal", "full")
    level = "not trustworthy" if fails else "approximate" if kind in ("scalar", "diagonal") else "trustworthy"
    kl = {
        "scalar": 2.41,
        "diagonal": 0.873,
        "full": 0.0213,
        "corrected": 0.0207,
        "gaussian": 3.2e-5,
        "laplace": 1.1e-17,
    }[kind]
    reason = "Simulated variances are 0.998 times the predicted ones on average (KL 0.021, sampling error alone 0.02)."
    if fails:
        kl, reason = (
            287.0 * kl,
            "The gradient noise is not constant: averaged over the posterior it is 6.31 times that at the mode.",
        )
    sampled = kind not in ("gaussian", "laplace")
    row = {
        "name": name,
        "kind": kind,
        "level": level,
        "recommended": kind == "corrected",
        "reasons": [reason],
        "kl_to_reference": kl,
        "kl_from_reference": 0.83 * kl,
        "kl_floor": 0.0198 if sampled else 0.0,
        "predicted_kl_to_reference": 0.9 * kl if not fails else 0.0021,
        "predicted_kl_from_reference": 0.7 * kl if not fails else 0.0022,
        "num_steps": 123_456 if sampled else None,
        "thin": 31 if sampled else None,
        "num_draws": 1000,
        "num_chains": 4,
        "seconds": 3.21 if sampled else 0.041,
        "effective_draws": 3941.0,
        "smallest_variance_ratio": 0.971,
        "mean_variance_ratio": 22.3 if fails else 1.002,
        "num_diverged": 0,
        "largest_variance_ratio": 57.8 if fails else 1.034,
    }
    if outcome == "nulls":
        gone = [k for k, v in row.items() if not isinstance(v, (str, bool, list))]
        row |= dict.fromkeys(gone) | {"level": "not run", "reasons": ["Left out: --max-time was reached."]}
    return row


def bell(mean, sd, height=121):
    x = np.linspace(mean - 4 * sd, mean + 4 * sd, height)
    return {"x": x.tolist(), "density": (np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))).tolist()}


def posterior(rng, names, batch, outcome):
    widths = {"scalar": 1.8, "diagonal": 0.7, "full": 1.02, "corrected": 1.0, "gaussian": 1.0, "laplace": 0.97}
    if outcome == "bad":
        widths |= {"scalar": 7.1, "diagonal": 5.2, "full": 4.4}
    marginals = [
        {
            "parameter": name,
            "reference": bell(0.4 * i, 0.03),
            "methods": {n: bell(0.4 * i + 0.004 * rng.normal(), 0.03 * widths[kind]) for n, kind in METHODS},
        }
        for i, name in enumerate(names[:6])
    ]
    return {
        "reference": {
            "method": "exact",
            "text": "The posterior of linear regression is Gaussian and known exactly.",
            "effective_draws": None,
            "seconds": 0.012,
            "level": "trustworthy",
        },
        "batch_size": batch,
        "methods": [method(name, kind, outcome) for name, kind in METHODS],
        "marginals": [] if outcome == "nulls" else marginals,
    }


def cases():
    """Every shape that a page must take: a name and its results."""
    return {
        "wine": sample(),
        "ill": sample(31, examples=569, batch=32, outcome="bad"),
        "one": sample(1),
        "large": sample(650, examples=200_000),
        "nulls": sample(5, outcome="nulls"),
    }
