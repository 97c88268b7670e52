"""Effective samples per CPU second on skin (N = 245 057, logistic regression): gradnoise against BlackJAX and posteriors.

    python benchmarks/effective.py [--data ../shared/data] [--seconds 10]

Every row: independent draws of the worst of all parameters and their squares (BlackJAX's estimator, four chains), CPU time of
the process after compilation, and how far the variances are from the variational law: draws of another law are worth nothing
however many there are. SGLD runs at the step that gradnoise predicts to be 5 % too wide, in all libraries; there one effective
draw takes 130 000 steps, so its rows divide the steps run by the predicted autocorrelation time (within 10 % of the measured
one: studies/ess.py) and measure no variances. posteriors is skipped where it or PyTorch is not installed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.sgmcmc.gradients import grad_estimator
from harness import RECORDS, environment
from real_data import problem_of

import gradnoise as gn

BATCH = 1000
CHAINS = 4
BUDGET = 0.05

Sampler = Callable[[int], np.ndarray]  # number of draws a chain -> draws (chain, draw, D)


def effective(draws: np.ndarray) -> float:
    """Smallest effective sample size over parameters and squares."""
    both = np.concatenate([draws, (draws - draws.mean((0, 1))) ** 2], axis=-1)
    return float(np.min(blackjax.diagnostics.effective_sample_size(both)))


def ours(plan: Any, thin: int | None = None) -> Sampler:
    """A plan of gradnoise, thinned as it plans or as told (then without burn-in: steps are counted, not draws judged)."""

    def run(draws: int) -> np.ndarray:
        burn_in = None if thin is None else 0
        made = plan.run(num_draws=draws, num_chains=CHAINS, key=0, thin=thin, burn_in=burn_in, progress=False)
        return np.asarray(made.draws, np.float64)

    return run


def blackjax_sgld(problem: Any, start: np.ndarray, step_size: float, thin: int) -> Sampler:
    """Four chains in one compiled scan, every `thin`-th state kept; step_size as BlackJAX takes it."""
    x, y = jnp.asarray(problem.data["inputs"]), jnp.asarray(problem.data["targets"])
    n = len(y)

    def log_likelihood(params: Any, example: Any) -> Any:
        z = example[0] @ params
        return example[1] * z - jax.nn.softplus(z)

    estimator = grad_estimator(lambda p: -0.5 * jnp.sum(p**2), log_likelihood, n)
    algorithm = blackjax.sgld(estimator)

    def one(params: Any, key: Any) -> Any:
        rows, noise = jax.random.split(key)
        index = jax.random.randint(rows, (BATCH,), 0, n)
        return algorithm.step(noise, params, (x[index], y[index]), step_size)

    def kept(params: Any, key: Any) -> Any:
        out = jax.lax.scan(lambda p, k: (one(p, k), None), params, jax.random.split(key, thin))[0]
        return out, out

    go = jax.jit(lambda keys, p: jax.vmap(lambda k: jax.lax.scan(kept, p, k)[1])(keys), static_argnums=())

    def run(draws: int) -> np.ndarray:
        keys = jax.random.split(jax.random.key(1), CHAINS * draws).reshape(CHAINS, draws)
        return np.asarray(go(keys, jnp.asarray(start, x.dtype)), np.float64)

    return run


def blackjax_nuts(problem: Any, start: np.ndarray, root: np.ndarray) -> Sampler:
    """NUTS on all data in whitened coordinates, step 0.9: what window adaptation settles at on a Gaussian, without its cost."""
    x, y = jnp.asarray(problem.data["inputs"]), jnp.asarray(problem.data["targets"])

    def log_density(z: Any) -> Any:
        params = jnp.asarray(start, x.dtype) + jnp.asarray(root, x.dtype) @ z
        score = x @ params
        return jnp.sum(y * score - jax.nn.softplus(score)) - 0.5 * jnp.sum(params**2)

    kernel = blackjax.nuts(log_density, step_size=0.9, inverse_mass_matrix=jnp.ones(len(start), x.dtype))

    def chain(key: Any, keys: Any) -> Any:
        first = kernel.init(jax.random.normal(key, (len(start),), x.dtype))

        def step(state: Any, k: Any) -> Any:
            state, _ = kernel.step(k, state)
            return state, state.position

        return jax.lax.scan(step, first, keys)[1]

    go = jax.jit(jax.vmap(chain))

    def run(draws: int) -> np.ndarray:
        first = jax.random.split(jax.random.key(2), CHAINS)
        keys = jax.random.split(jax.random.key(3), CHAINS * draws).reshape(CHAINS, draws)
        return start + np.asarray(go(first, keys), np.float64) @ root.T

    return run


def posteriors_sgld(problem: Any, start: np.ndarray, step_size: float, thin: int) -> Sampler | None:
    """Chains of posteriors one after the other, eager PyTorch, as its guide shows; None where it is not installed."""
    try:
        import posteriors
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    x = torch.from_numpy(np.asarray(problem.data["inputs"], np.float32))
    y = torch.from_numpy(np.asarray(problem.data["targets"], np.float32))

    def log_posterior(params: Any, batch: Any) -> Any:
        z = batch[0] @ params["w"]
        mean = (batch[1] * z - torch.nn.functional.softplus(z)).mean()
        return mean - 0.5 * (params["w"] ** 2).sum() / len(y), torch.tensor([])

    # its log posterior is a mean over the data, so the temperature is 1/N and the rate N times BlackJAX's step
    transform = posteriors.sgmcmc.sgld.build(log_posterior, lr=step_size * len(y), temperature=1 / len(y))

    def run(draws: int) -> np.ndarray:
        torch.manual_seed(0)
        out = np.empty((CHAINS, draws, len(start)))
        for c in range(CHAINS):
            state = transform.init({"w": torch.from_numpy(start.astype(np.float32)).clone()})
            for i in range(draws):
                for _ in range(thin):
                    index = torch.randint(0, len(y), (BATCH,))
                    state, _ = transform.update(state, (x[index], y[index]))
                out[c, i] = state.params["w"].numpy()
        return out

    return run


def timed(sampler: Sampler, seconds: float) -> tuple[np.ndarray, float]:
    """Draws and CPU time of a run of about so many seconds, after one that compiles and finds the speed."""
    draws = 16
    sampler(draws)
    while True:
        began = time.process_time()
        made = sampler(draws)
        spent = time.process_time() - began
        if spent > seconds / 3:
            return made, spent
        more = int(draws * min(50.0, max(2.0, seconds / max(spent, 1e-3))))
        draws = min(more, 20_000)
        sampler(draws)  # another number of draws compiles anew
        if draws == 20_000:
            began = time.process_time()
            return sampler(draws), time.process_time() - began


def main() -> None:
    """Run all that are installed, print a table and append a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    problem = problem_of("skin", given.data)
    mode = gn.find_mode(problem)
    law = gn.measure.gaussian_law(problem, mode)
    common: dict[str, Any] = {"mode": mode, "law": law}
    sgld = gn.infer.plan("langevin", problem, batch_size=BATCH, max_variance_error=BUDGET, **common)
    epsilon = sgld.settings["step_size"]  # θ ← θ - (ε/2) N ĝ + √ε ξ; BlackJAX: θ + h ∇log p + √(2h) ξ
    thin = 100
    chosen = gn.infer.choose(problem, max_variance_error=BUDGET, **common)
    root = np.linalg.cholesky(law.covariance)
    contestants: dict[str, Sampler | None] = {
        f"gradnoise sample: {chosen.best.method}, B = {chosen.best.settings['batch_size']}": ours(chosen.plan),
        f"gradnoise corrected_langevin, B = {BATCH}": ours(
            gn.infer.plan("corrected_langevin", problem, batch_size=BATCH, **common)
        ),
        f"gradnoise langevin (SGLD), B = {BATCH}": ours(sgld, thin),
        f"BlackJAX SGLD, B = {BATCH}": blackjax_sgld(problem, mode.vector, epsilon / 2, thin),
        "BlackJAX NUTS, all data": blackjax_nuts(problem, mode.vector, root),
        f"posteriors SGLD, B = {BATCH}": posteriors_sgld(problem, mode.vector, epsilon / 2, thin),
    }
    rows = []
    for name, sampler in contestants.items():
        if sampler is None:
            print(f"{name}: not installed, skipped")
            continue
        draws, spent = timed(sampler, given.seconds)
        count = draws.shape[0] * draws.shape[1]
        if "SGLD" in name:
            n, off = count * thin / sgld.iact, sgld.variance_errors
        else:
            n, off = effective(draws), gn.theory.variance_errors(np.cov(draws.reshape(-1, 3).T), law.covariance)
        rows.append({"name": name, "draws": draws.shape[0] * draws.shape[1], "effective": round(n, 1), "cpu_seconds": round(spent, 3), "per_second": round(n / spent, 2), "variance_errors": [round(float(off[0]), 4), round(float(off[-1]), 4)]})  # fmt: skip
        print(f"{name:<48} {n / spent:10.1f} effective/s   {n:8.0f} effective of {rows[-1]['draws']:>7}   variances {off[0]:+.1%} to {off[-1]:+.1%}", flush=True)  # fmt: skip
    best = rows[0]["per_second"]
    ratios = {r["name"]: round(best / r["per_second"], 2) for r in rows[1:]}
    print("ours (first row) over: " + ", ".join(f"{k} {v:g}" for k, v in ratios.items()))
    entry = {
        "title": "effective samples a CPU second on skin",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "thin_of_sgld": thin,
        "rows": rows,
        "first_over": ratios,
        "environment": environment(),
    }
    with (RECORDS / "effective.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
