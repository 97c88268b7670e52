"""Simulated against predicted stationary law of constant SGD on wine, skin and protein (Mandt et al. 2017, Table 1's data).

    python benchmarks/real_data.py [wine] [skin] [protein] --data ../shared/data

Prints one line a data set and appends it to `benchmarks/records/real_data.jsonl`. Protein takes minutes (2.3e8 chain-steps).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np

import gradnoise as gn

BATCH = {"wine": 100, "skin": 10_000, "protein": 100}
CHAINS = {"wine": 256, "skin": 64, "protein": 128}


def problem_of(name: str, folder: Path) -> gn.Problem:
    """Standardised columns, no intercept, prior scale 1, unit observation scale."""
    if name == "skin":
        data = gn.datasets.load(folder / "skin.csv.gz", target="skin", model="logistic")
        data, _ = gn.datasets.standardise(data)
        return gn.models.logistic_regression(data.X, data.y, prior_scale=1.0, intercept=False)
    source = {"wine": ("winequality-white.csv", "quality"), "protein": ("protein.csv.gz", "F9")}[name]
    data, _ = gn.datasets.standardise(gn.datasets.load(folder / source[0], target=source[1]), target=True)
    x = data.X
    if name == "protein":
        x = x[:, [i for i, f in enumerate(data.feature_names) if f.startswith("F")]]
    return gn.models.linear_regression(x, data.y, prior_scale=1.0, observation_scale=1.0, intercept=False)


def measure(name: str, folder: Path, key: int = 1) -> dict[str, Any]:
    """Simulate and compare; standard error at most 3 % in the softest direction."""
    import optax

    problem = problem_of(name, folder)
    mode = gn.find_mode(problem)
    geometry = gn.measure.local_geometry(problem, mode)
    setting = {"batch_size": BATCH[name], "num_examples": problem.num_examples}
    rate = gn.theory.optimal_learning_rate(geometry.gradient_covariance, hessian=geometry.hessian, **setting)
    stationary = {"learning_rate": rate, "batch_size": BATCH[name]}
    averaged, rounds = _noise_over_the_law(problem, mode, geometry, stationary)
    chain = gn.theory.linear_chain(geometry.hessian, averaged, **stationary)
    constant = gn.theory.stationary_covariance(geometry.hessian, geometry.gradient_covariance, **stationary)
    tau = max(chain.iact(v, quadratic=True) for v in geometry.eigenvectors.T)
    burn_in = math.ceil(5 * chain.relaxation_time)
    chains = CHAINS[name]
    steps = math.ceil(2 * tau / (0.028**2 * chains))
    run = gn.simulate(
        problem,
        gn.oracles.minibatch(BATCH[name]),
        gn.rule(optax.sgd, learning_rate=rate),
        num_steps=burn_in + steps,
        num_chains=chains,
        key=key,
        burn_in=burn_in,
        init=(mode, constant / 2),
        dtype="float64" if name == "protein" else "float32",
        progress=False,
    )
    vectors = geometry.eigenvectors
    each = np.einsum("di,cde,ei->ci", vectors, run.pieces.second_moments(mode.vector), vectors)
    simulated, error = each.mean(0), each.std(0, ddof=1) / math.sqrt(chains)
    along = {
        k: np.einsum("di,de,ei->i", vectors, c, vectors)
        for k, c in (("averaged", chain.covariance), ("constant", constant))
    }
    softest = int(np.argmin(geometry.eigenvalues))
    z, z_constant = (simulated - along["averaged"]) / error, (simulated - along["constant"]) / error
    return {
        "name": name,
        "dim": problem.num_params,
        "learning_rate": rate,
        "num_chains": chains,
        "num_steps": run.num_steps,
        "burn_in": burn_in,
        "chain_steps": chains * run.num_steps,
        "seconds": round(run.seconds, 1),
        "softest_relative_error": float(error[softest] / simulated[softest]),
        "worst_z": float(np.abs(z).max()),
        "worst_z_constant_noise": float(np.abs(z_constant).max()),
        "largest_deviation_from_constant_noise": float(np.abs(simulated / along["constant"] - 1).max()),
        "predicted_deviation_from_constant_noise": float(np.abs(along["averaged"] / along["constant"] - 1).max()),
        "noise_rounds": rounds,
        "halved_start_z": float(np.abs((simulated - along["constant"] / 2) / error).max()),
        "ratios": (simulated / along["averaged"]).round(4).tolist(),
    }


def _noise_over_the_law(
    problem: gn.Problem, mode: Any, geometry: Any, stationary: dict[str, Any]
) -> tuple[np.ndarray, int]:
    """Noise covariance averaged over the stationary law it causes, by fixed point: C + K(Σ), on 64 antithetic draws a round."""
    from gradnoise import derivatives

    averaged, z = geometry.gradient_covariance, np.random.default_rng(0).standard_normal((32, problem.num_params))
    rounds = 0
    for rounds in range(1, 4):  # noqa: B007 - reported
        root = np.linalg.cholesky(gn.theory.stationary_covariance(geometry.hessian, averaged, **stationary))
        draws = mode.vector + np.concatenate([z, -z]) @ root.T
        new = np.mean([derivatives.gradient_moments(problem, d)[1] for d in draws], axis=0)
        change = np.abs(new - averaged).max() / np.abs(new).max()
        averaged = new
        if change < 1e-4:
            break
    return averaged, rounds


def effective_sizes(folder: Path, chains: int = 4096, steps: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wine at the KL-optimal rate: predicted and measured effective draws of `steps` steps, along H's eigenvectors."""
    import optax

    problem = problem_of("wine", folder)
    mode = gn.find_mode(problem)
    geometry = gn.measure.local_geometry(problem, mode)
    h, c = geometry.hessian, geometry.gradient_covariance
    rate = gn.theory.optimal_learning_rate(c, hessian=h, num_examples=problem.num_examples, batch_size=100)
    process = gn.processes.compose(gn.oracles.minibatch(100), gn.rule(optax.sgd, learning_rate=rate))
    chain = process.linear(h, c, problem.num_examples)
    run = gn.simulate(
        problem, process, num_steps=steps, num_chains=chains, key=2, init=(mode, chain.covariance), progress=False
    )
    v = geometry.eigenvectors
    means = (run.pieces.mean - mode.vector) @ v
    variances = np.einsum("di,de,ei->i", v, run.second_moment(mode.vector).value, v)
    of_mean = (means**2).mean(0)
    measured = variances / of_mean
    predicted = np.array([a @ chain.covariance @ a / (a @ chain.average(steps) @ a) for a in v.T])
    return predicted, measured, np.full(len(v), math.sqrt(2 / chains))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["wine", "skin"])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    record = Path(__file__).parent / "records" / "real_data.jsonl"
    record.parent.mkdir(exist_ok=True)
    for name in arguments.names:
        result = measure(name, arguments.data)
        where = {"date": datetime.date.today().isoformat(), "gradnoise": gn.__version__, "machine": platform.machine()}
        with record.open("a") as file:
            file.write(json.dumps({**result, **where}) + "\n")
        print(
            f"{name}: worst |z| {result['worst_z']:.2f} (noise taken constant {result['worst_z_constant_noise']:.2f}, deviation "
            f"{result['largest_deviation_from_constant_noise']:.1%}), softest direction ± {result['softest_relative_error']:.1%}, "
            f"{result['chain_steps']:.2g} chain-steps in {result['seconds']} s"
        )


if __name__ == "__main__":
    main()
