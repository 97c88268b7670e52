"""Table 1 of Mandt, Hoffman, Blei (2017): seven methods on three data sets, published | predicted | measured, both directions of KL.

Features and targets standardised, no intercept, unit observation scale, ridge 1 (prior scale 1); batch 100, 10 000, 100. The published
direction is KL(posterior ‖ sampler). Predicted: C and H at the mode, the paper's rates, exact discrete time; over_itself: C averaged over the sampler's own law. Measured: the engine's
chains from the predicted law; the KL of a Gaussian fit, its sampling bias removed by a jackknife over chains, ± its standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gradnoise as gn
from gradnoise import theory
from studies import recording
from studies.mandt_data import BATCH, PUBLISHED, REASONS, SGLD_STEP, SHARE, Setting, poisson, setting


class Sampler(NamedTuple):
    """A process with its predicted law, or a covariance alone (BBVI)."""

    covariance: Any
    chain: Any = None
    process: Any = None
    update: Any = None
    note: str = ""


def samplers(at: Setting) -> dict[str, Sampler]:
    """All seven methods with the paper's rates; SGLD at a tenth of its step where the printed one is unstable."""
    h, c, common = at.hessian, at.noise, at.common
    kinds = {"SGD": "scalar", "SGD-d": "diagonal_closed", "SGD-f": "full"}
    out = {
        label: _sgd(at, theory.optimal_preconditioner(h, c, kind=kind, time="continuous", **common))
        for label, kind in kinds.items()
    }
    step = SGLD_STEP[at.name]
    edge = 4 / (at.problem.num_examples * float(np.linalg.eigvalsh(h)[-1]))
    used = step / 10 if step > edge else step
    rate = used * at.problem.num_examples / 2
    out["SGLD"] = _langevin(
        at, rate, None, used * np.eye(len(h)), "" if used == step else f"at {used:g}, {step:g} is unstable"
    )
    epsilon = theory.optimal_learning_rate(c, time="continuous", **common)
    injected = fisher_noise(at, epsilon)
    for label, kind in (("SGFS-d", "diagonal_closed"), ("SGFS-f", "full")):
        gain = theory.fisher_scoring_preconditioner(
            h, c, step_size=epsilon, injected=injected, kind=kind, time="continuous", **common
        )
        out[label] = _langevin(at, epsilon, gain, epsilon * gain @ injected @ gain)
    out["BBVI"] = Sampler(theory.mean_field_covariance(h, num_examples=at.problem.num_examples))
    return out


def fisher_noise(at: Setting, epsilon: float) -> Any:
    """E Eᵀ: in every direction a tenth of the least gradient noise."""
    return SHARE * epsilon * np.linalg.eigvalsh(at.noise)[0] / at.batch_size * np.eye(len(at.noise))


def _sgd(at: Setting, step: Any) -> Sampler:
    chain = theory.linear_chain(at.hessian, at.noise, learning_rate=1.0, batch_size=at.batch_size, preconditioner=step)
    made = gn.rule(gn.rules.preconditioned_sgd, learning_rate=1.0, preconditioner=step)
    update = {"learning_rate": 1.0, "preconditioner": step}
    return Sampler(chain.covariance, chain, gn.processes.compose(gn.oracles.minibatch(at.batch_size), made), update)


def _langevin(at: Setting, rate: float, matrix: Any, injected: Any, note: str = "") -> Sampler:
    injected = (injected + injected.T) / 2
    chain = theory.linear_chain(
        at.hessian, at.noise, learning_rate=rate, batch_size=at.batch_size, preconditioner=matrix, injected=injected
    )
    process = gn.processes.langevin(
        gn.oracles.minibatch(at.batch_size), learning_rate=rate, preconditioner=matrix, injected_covariance=injected
    )
    update = {"learning_rate": rate, "preconditioner": matrix, "injected": injected}
    return Sampler(chain.covariance, chain, process, update, note)


def divergences(covariance: Any, posterior: Any) -> tuple[float, float]:
    """KL(posterior ‖ sampler), the published direction, and KL(sampler ‖ posterior)."""
    return theory.gaussian_kl(posterior, covariance), theory.gaussian_kl(covariance, posterior)


def predicted() -> list[dict[str, Any]]:
    """Rows (data, method) with the published and the predicted numbers."""
    rows = []
    for i, name in enumerate(BATCH):
        at = setting(name)
        for method, made in samplers(at).items():
            from_posterior, to_posterior = divergences(made.covariance, at.posterior)
            rows.append(
                {
                    "data": name,
                    "method": method,
                    "published": PUBLISHED[method][i],
                    "predicted": from_posterior,
                    "predicted_reverse": to_posterior,
                    "note": made.note,
                    "reason": REASONS[name, method],
                }
            )
    return rows


def over_itself(at: Setting, made: Sampler) -> dict[str, float]:
    """Both divergences with C averaged over the sampler's own law: what a simulation should show."""
    law = gn.measure.stationary_law(at.problem, at.mode, batch_size=at.batch_size, start=made.covariance, **made.update)
    if law is None:
        return {"over_itself": float("nan"), "over_itself_reverse": float("nan")}
    found = divergences(law.covariance, at.posterior)
    return {"over_itself": found[0], "over_itself_reverse": found[1]}


def measure(
    at: Setting, made: Sampler, *, num_chains: int = 64, most_steps: float = 2e7, key: int = 0
) -> dict[str, Any]:
    """Simulate from the predicted law; both divergences less their jackknife bias, with standard errors and the bias.

    Burn-in of three relaxation times, then twenty autocorrelation times, as far as `most_steps` chain steps allow.
    """
    relaxation, memory = made.chain.relaxation_time, made.chain.worst_iact()
    steps = int(min(23 * memory, most_steps / num_chains))
    burn_in = int(min(3 * relaxation, steps / 3))
    run = gn.simulate(
        at.problem,
        made.process,
        num_steps=max(steps, burn_in + 64),
        burn_in=burn_in,
        num_chains=num_chains,
        key=key,
        init=(at.mode.params, made.covariance),
        progress=False,
    )
    seconds = run.pieces.second_moments(run.mean)
    whole = np.array(divergences(seconds.mean(0), at.posterior))
    total, n = seconds.sum(0), len(seconds)
    left_out = np.array([divergences((total - one) / (n - 1), at.posterior) for one in seconds])
    bias = (n - 1) * (left_out.mean(0) - whole)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0))
    return {
        "measured": whole[0] - bias[0],
        "error": error[0],
        "bias": bias[0],
        "measured_reverse": whole[1] - bias[1],
        "error_reverse": error[1],
        "chains": num_chains,
        "steps": run.num_steps - burn_in,
        "autocorrelation_times": (run.num_steps - burn_in) / memory,
    }


def skin_runs(num_runs: int = 100, num_steps: int = 20_000, key: int = 1) -> dict[str, float]:
    """KL(posterior ‖ fit) of single runs of the full preconditioner on skin: mean over runs and its standard error.

    Covariances alone, as the divergence is defined in the paper (equal means); the part of the run's own mean beside it. Both are
    mostly sampling error of the one run, Σ_ij (1+δ_ij) τ_ij/4T and Σ_i τ_i/2T with τ_ij = (1+a_i a_j)/(1-a_i a_j), a the decay of the modes.
    """
    at = setting("skin")
    made = samplers(at)["SGD-f"]
    run = gn.simulate(
        at.problem, made.process, num_steps=num_steps, num_chains=num_runs, key=key, init=(at.mode.params, made.covariance), progress=False
    )  # fmt: skip
    pieces = run.pieces
    fits = pieces.scatter / (pieces.count[:, None, None] - 1)
    values = [theory.gaussian_kl(at.posterior, fit) for fit in fits]
    shifted = [
        theory.gaussian_kl(at.posterior, fit, at.mode.vector, mean) for fit, mean in zip(fits, pieces.mean, strict=True)
    ]
    kept = 1 - np.linalg.eigvals(made.update["preconditioner"] @ at.hessian).real
    pairs = np.multiply.outer(kept, kept)
    return {
        "mean": float(np.mean(values)),
        "standard_error": float(np.std(values, ddof=1) / np.sqrt(num_runs)),
        "infinitely_long": divergences(made.covariance, at.posterior)[0],
        "floor": float(((1 + np.eye(len(kept))) * (1 + pairs) / (1 - pairs)).sum() / (4 * num_steps)),
        "with_mean": float(np.mean(shifted)),
        "floor_of_mean": float(((1 + kept) / (1 - kept)).sum() / (2 * num_steps)),
        "runs": num_runs,
        "steps": num_steps,
    }


def rate_scan(at: Setting) -> list[dict[str, Any]]:
    """Both divergences of scalar SGD at half, once and twice the tuned rate, exact discrete time."""
    rate = theory.optimal_learning_rate(at.noise, hessian=at.hessian, **at.common)
    rows = []
    for factor in (0.5, 1.0, 2.0):
        made = _sgd(at, factor * rate * np.eye(len(at.hessian)))
        from_posterior, to_posterior = divergences(made.covariance, at.posterior)
        rows.append(
            {
                "data": at.name,
                "factor": factor,
                "to_posterior": to_posterior,
                "from_posterior": from_posterior,
                "sampler": made,
            }
        )
    return rows


COLUMNS = ("data", "method", "published", "predicted", "over_itself", "measured", "error", "bias", "predicted_reverse",
           "over_itself_reverse", "measured_reverse", "error_reverse", "autocorrelation_times", "note")  # fmt: skip
SCAN = ("data", "factor", "to_posterior", "measured_to", "error_to", "from_posterior", "measured_from", "error_from")


def scan_measured(at: Setting, **budget: Any) -> list[dict[str, Any]]:
    """Return the same with simulation beside it."""
    rows = []
    for row in rate_scan(at):
        found = measure(at, row.pop("sampler"), **budget)
        names = {
            "measured_to": "measured_reverse",
            "error_to": "error_reverse",
            "measured_from": "measured",
            "error_from": "error",
        }
        rows.append({**row, **{k: found[v] for k, v in names.items()}})
    return rows


MOST_STEPS = {"wine": 2e7, "skin": 3e5, "protein": 1.2e8}  # of all chains together
SCAN_STEPS = {"wine": 4e6, "skin": 6e4, "protein": 8e6, "poisson": 2e6}


def measured(name: str) -> list[dict[str, Any]]:
    """Rows of one data set, simulation beside the prediction."""
    rows = [row for row in predicted() if row["data"] == name]
    at = setting(name)
    made = samplers(at)
    for key, row in enumerate(rows):  # one seed would make the errors of alike methods alike
        sampler = made[row["method"]]
        if sampler.process is not None:
            row |= over_itself(at, sampler) | measure(at, sampler, most_steps=MOST_STEPS[name], key=10 + key)
    return rows


def learning_rates() -> list[dict[str, Any]]:
    """Both divergences at half, once and twice the tuned rate, on the three data sets and on Poisson regression."""
    return [
        row
        for name, most in SCAN_STEPS.items()
        for row in scan_measured(poisson() if name == "poisson" else setting(name), most_steps=most)
    ]


PARTS: dict[str, Callable[[], Any]] = {
    "wine": lambda: measured("wine"),
    "protein": lambda: measured("protein"),
    "skin": lambda: measured("skin"),
    "learning_rates": learning_rates,
    "skin_full_preconditioner": skin_runs,
}


def main(parts: list[str]) -> None:
    """Run the parts named (all by default), print their tables and put them into the record."""
    began = time.perf_counter()
    path = recording.RECORDS / "mandt_table1.json"
    for part in parts or PARTS:
        rows = PARTS[part]()
        result = _kept(path) | {part: rows}
        if part in BATCH:
            print(recording.table(rows, COLUMNS))
            for row in rows:
                print(f"{part:8} {row['method']:7} {row['reason']}")
            at = setting(part)
            epsilon = theory.optimal_learning_rate(at.noise, time="continuous", **at.common)
            injected = {"step_size": epsilon, "injected": float(fisher_noise(at, epsilon)[0, 0])}
            result["fisher_scoring"] = result.get("fisher_scoring", {}) | {part: injected}
            print(f"{part}: SGFS has ε = {epsilon:.6g} and E Eᵀ = {injected['injected']:.4g} I")
        else:
            print(recording.table(rows, SCAN) if isinstance(rows, list) else rows)
        print(recording.write("mandt_table1", result, time.perf_counter() - began), flush=True)


def _kept(path: Path) -> dict[str, Any]:
    """Parts that the record holds already, perhaps from a run beside this one."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    return {name: kept[name] for name in (*PARTS, "fisher_scoring") if name in kept}


if __name__ == "__main__":
    main(sys.argv[1:])
