"""Table 1 of Mandt, Hoffman, Blei (2017): seven methods on three data sets, published | predicted | measured, both directions of KL.

Features and targets standardised, no intercept, unit observation scale, ridge 1 (prior scale 1); batch 100, 10 000, 100. The published
direction is KL(posterior ‖ sampler). Predicted: C and H at the mode, the paper's rates, exact discrete time; over_itself: C averaged over the sampler's own law. Measured: the engine's
chains from the predicted law; the KL of a Gaussian fit, its sampling bias removed by a jackknife over chains, ± its standard error.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gradnoise as gn
from gradnoise import theory
from studies import recording

DATA = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH = {"wine": 100, "skin": 10_000, "protein": 100}
SGLD_STEP = {"wine": 1e-3, "skin": 1e-5, "protein": 1e-6}
PUBLISHED = {
    "SGD": (18.7, 0.471, 1000.9),
    "SGD-d": (14.0, 0.921, 678.4),
    "SGD-f": (0.7, 0.005, 1.8),
    "SGLD": (2.9, 0.905, 4.5),
    "SGFS-d": (12.8, 0.864, 597.4),
    "SGFS-f": (0.8, 0.005, 1.3),
    "BBVI": (44.7, 5.74, 478.1),
}
# injected noise of Fisher scoring, E Eᵀ = SHARE · ε · λ_min(C)/B · I; the paper does not print its own
SHARE = 0.1
ONLINE = (
    "the printed value depends at the 20-40 % level on how C was estimated; with C estimated online (eq. 21) simulation gives 0.913 (scalar) and "
    "1.003 (diagonal), with the true C what is predicted here"
)
WINE = (
    "same size and order; the wine table that was used had a wider posterior (widest sd 0.137 in Fig. 1, 0.099 in the UCI file, 0.116 without its "
    "leverage row), which no preprocessing tried reproduces"
)
PROTEIN = "printed order and 80-92 % of the printed size with F9 as target, the choice that comes closest; which 8 features were used is not stated"
FULL = "exact up to the step: what is printed is the sampling floor of a finite run, and the error of an estimated C"
REASONS = {
    ("wine", "SGD"): WINE,
    ("wine", "SGD-d"): WINE,
    ("wine", "SGFS-d"): f"{WINE}; E is not published",
    ("wine", "BBVI"): WINE,
    (
        "wine",
        "SGLD",
    ): "the printed step 1e-3 is beyond the edge 4/(N λ_max) = 2.5e-4 under the paper's own update; shown at 1e-4",
    ("skin", "SGD"): ONLINE,
    ("skin", "SGD-d"): ONLINE,
    ("skin", "SGFS-d"): f"{ONLINE}; E is not published",
    ("skin", "SGLD"): "within 10 %",
    ("skin", "BBVI"): "within 10 %",
    ("protein", "SGD"): PROTEIN,
    ("protein", "SGD-d"): PROTEIN,
    ("protein", "SGFS-d"): f"{PROTEIN}; E is not published",
    ("protein", "BBVI"): PROTEIN,
    (
        "protein",
        "SGLD",
    ): f"{PROTEIN}; the printed 4.5 needs a larger step or a softer direction than these features have",
    **{(name, method): FULL for name in BATCH for method in ("SGD-f", "SGFS-f")},
}


class Setting(NamedTuple):
    """A problem of the paper with H, C and the Laplace posterior at its mode."""

    name: str
    problem: gn.Problem
    mode: Any
    hessian: Any
    noise: Any
    batch_size: int

    @property
    def posterior(self) -> Any:
        """(N H)⁻¹."""
        return np.linalg.inv(self.problem.num_examples * self.hessian)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments that tuning takes."""
        return {"num_examples": self.problem.num_examples, "batch_size": self.batch_size}


class Sampler(NamedTuple):
    """A process with its predicted law, or a covariance alone (BBVI)."""

    covariance: Any
    chain: Any = None
    process: Any = None
    update: Any = None
    note: str = ""


def _standardised(x: Any) -> Any:
    return (x - x.mean(0)) / x.std(0)


@functools.cache
def setting(name: str) -> Setting:
    """Return one of "wine", "skin", "protein"."""
    if name == "wine":
        table = np.genfromtxt(DATA / "winequality-white.csv", delimiter=",", skip_header=1)
        x, y = table[:, :-1], table[:, -1]
    elif name == "skin":
        table = np.genfromtxt(DATA / "skin.csv.gz", delimiter=",", skip_header=1)
        x, y = table[:, :-1], table[:, -1]
    else:
        table = np.genfromtxt(DATA / "protein.csv.gz", delimiter=",", skip_header=1)
        x, y = table[:, 1:9], table[:, 9]
    x = _standardised(x)
    if name == "skin":
        problem = gn.models.logistic_regression(x, y, prior_scale=1.0, intercept=False)
    else:
        problem = gn.models.linear_regression(
            x, _standardised(y), prior_scale=1.0, observation_scale=1.0, intercept=False
        )
    mode = gn.find_mode(problem)
    local = gn.measure.local_geometry(problem, mode)
    return Setting(name, problem, mode, local.hessian, local.gradient_covariance, BATCH[name])


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
    """KL(posterior ‖ fit) of single runs of the full preconditioner on skin, as the paper fitted them: mean and its standard error."""
    at = setting("skin")
    made = samplers(at)["SGD-f"]
    run = gn.simulate(
        at.problem, made.process, num_steps=num_steps, num_chains=num_runs, key=key, init=(at.mode.params, made.covariance), progress=False
    )  # fmt: skip
    pieces = run.pieces
    fits = pieces.scatter / (pieces.count[:, None, None] - 1)
    values = [
        theory.gaussian_kl(at.posterior, fit, at.mode.vector, mean) for fit, mean in zip(fits, pieces.mean, strict=True)
    ]
    exact = divergences(made.covariance, at.posterior)[0]
    memory, quadratic = made.chain.worst_iact(), made.chain.worst_iact(quadratic=True)
    floor = 3 * 4 / 4 * quadratic / num_steps + 3 / 2 * memory / num_steps  # D(D+1)/4n + D/2n
    return {
        "mean": float(np.mean(values)),
        "standard_error": float(np.std(values, ddof=1) / np.sqrt(num_runs)),
        "infinitely_long": exact,
        "floor": floor,
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


@functools.cache
def poisson(num_examples: int = 2000) -> Setting:
    """Poisson regression on six correlated inputs, drawn from the model."""
    r = np.random.default_rng(2)
    x = r.normal(size=(num_examples, 6)) @ (np.eye(6) + 0.4 * r.normal(size=(6, 6)))
    x = _standardised(x)
    y = r.poisson(np.exp(x @ (0.25 * r.normal(size=6)) + 0.3)).astype(float)
    problem = gn.models.poisson_regression(x, y, prior_scale=1.0)
    mode = gn.find_mode(problem)
    local = gn.measure.local_geometry(problem, mode)
    return Setting("poisson", problem, mode, local.hessian, local.gradient_covariance, 32)


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


def main() -> None:
    """Print both tables and write the record."""
    began = time.perf_counter()
    rows = predicted()
    for row in rows:
        at = setting(row["data"])
        made = samplers(at)[row["method"]]
        if made.process is not None:
            row.update(over_itself(at, made))
            row.update(measure(at, made, most_steps={"wine": 2e7, "skin": 6e5, "protein": 6e7}[at.name]))
        print(recording.table([row], COLUMNS), flush=True)
    print(recording.table(rows, COLUMNS))
    for row in rows:
        print(f"{row['data']:8} {row['method']:7} {row['reason']}")
    for name in BATCH:
        at = setting(name)
        epsilon = theory.optimal_learning_rate(at.noise, time="continuous", **at.common)
        print(f"{name}: SGFS has ε = {epsilon:.6g} and E Eᵀ = {fisher_noise(at, epsilon)[0, 0]:.4g} I")
    runs = skin_runs()
    print("skin, full preconditioner:", runs)
    scans = []
    for name, most in {"wine": 1e7, "skin": 4e5, "protein": 3e7, "poisson": 1e7}.items():
        scans += scan_measured(poisson() if name == "poisson" else setting(name), most_steps=most)
    print(recording.table(scans, SCAN))
    result = {"rows": rows, "skin_full_preconditioner": runs, "learning_rates": scans, "fisher_share": SHARE}
    print(recording.write("mandt_table1", result, time.perf_counter() - began))


if __name__ == "__main__":
    main()
