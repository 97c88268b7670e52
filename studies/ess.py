"""Effective sample size per step, predicted before the run and measured: SGD, heavy ball, SGLD and corrected Langevin on wine and skin.

Predicted: draws worth one step, 1/τ with τ = aᵀVa/aᵀΣa of the sampler's `LinearChain`, along eigendirections of the curvature.
Measured: 64 chains or more, kept draws fitted as an autoregression of fourth order (Yule-Walker), whose spectrum at frequency zero
gives τ; its standard error is a jackknife over groups of chains. The bar is 10 %.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

import gradnoise as gn
from studies import recording
from studies.mandt_data import Setting, setting

ORDER = 4  # of the autoregression; two would miss a tenth of the memory of thinned heavy ball, whose draws are no AR(2)
PER_TIME = 12  # draws kept in one predicted time of the fastest direction looked at
GROUPS = 16
DATA = ("wine", "skin")


class Case(NamedTuple):
    """A process and the chain it is predicted to follow."""

    process: Any
    chain: Any


def cases(at: Setting) -> dict[str, Case]:
    """Four samplers, tuned over the posterior, batch as in the paper; constant-step ones with C averaged over their own law."""
    law = gn.measure.gaussian_law(at.problem, at.mode)
    common = {"batch_size": at.batch_size, "mode": at.mode, "law": law}
    plans = {
        "SGD": gn.infer.plan("constant_sgd", at.problem, preconditioner="scalar", **common),
        "heavy ball": gn.infer.plan("constant_sgd", at.problem, preconditioner="scalar", momentum=0.8, **common),
        "SGLD": gn.infer.plan("langevin", at.problem, step_size=_sgld_step(at), **common),
        "corrected Langevin": gn.infer.plan("corrected_langevin", at.problem, **common),
    }
    return {name: Case(made.process, made.chain) for name, made in plans.items()}


def _sgld_step(at: Setting) -> float:
    """Return a fifth of the step at the edge of stability."""
    return float(0.2 * 4 / (at.problem.num_examples * np.linalg.eigvalsh(at.hessian)[-1]))


def times(
    at: Setting, case: Case, *, slowest: int = 3, num_chains: int = 64, lengths: float = 40.0, key: int = 0
) -> list[dict[str, Any]]:
    """Predicted and measured times along the `slowest` slowest eigendirections of the posterior; chains last `lengths` of the slowest.

    Draws are thinned, so that the time in steps is thin times that of the kept draws; the prediction is thinned likewise.
    """
    vectors = np.linalg.eigh(at.hessian)[1]
    every = [case.chain.iact(v) for v in vectors.T]
    picked = np.argsort(every)[::-1][:slowest]
    thin = max(1, math.floor(min(every[i] for i in picked) / PER_TIME))
    longest = max(every)
    burn_in = math.ceil(2 * longest)
    run = gn.simulate(
        at.problem,
        case.process,
        num_steps=burn_in + math.ceil(lengths * longest / thin) * thin,
        burn_in=burn_in,
        num_chains=num_chains,
        key=key,
        init=(at.mode.params, case.chain.covariance),
        record=gn.record.draws(every=thin),
        progress=False,
    )
    draws = np.asarray(run.draws, np.float64)
    rows = []
    for i in picked:
        predicted = thin * case.chain.iact(vectors[:, i], thin=thin)
        found, error = autocorrelation_time(draws @ vectors[:, i])
        rows.append(
            {
                "direction": int(i),
                "predicted": 1 / predicted,
                "measured": 1 / (thin * found),
                "error": error / (thin * found**2),
                "ratio": thin * found / predicted,
                "ratio_error": thin * error / predicted,
            }
        )
    return rows


def autocorrelation_time(values: Any) -> tuple[float, float]:
    """Integrated autocorrelation time of trajectories (chains, draws) in draws, and its standard error over groups of chains."""
    centred = values - values.mean()
    sums = np.stack([_products(group) for group in np.array_split(centred, GROUPS)])  # (groups, ORDER + 1)
    left_out = np.array([_time(sums.sum(0) - one) for one in sums])
    error = np.sqrt((GROUPS - 1) / GROUPS * ((left_out - left_out.mean()) ** 2).sum())
    return _time(sums.sum(0)), float(error)


def _products(trajectories: Any) -> Any:
    """Mean product at each lag, summed over chains."""
    draws = trajectories.shape[1]
    return np.array([(trajectories[:, k:] * trajectories[:, : draws - k]).mean(1).sum() for k in range(ORDER + 1)])


def _time(products: Any) -> float:
    """Spectrum at zero over the variance, (1 - φ·ρ)/(1 - Σφ)², of the autoregression with these autocorrelations."""
    rho = products / products[0]
    lags = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
    phi = np.linalg.solve(rho[lags], rho[1:])
    return float((1 - phi @ rho[1:]) / (1 - phi.sum()) ** 2)


COLUMNS = ("data", "sampler", "direction", "predicted", "measured", "error", "ratio", "ratio_error")


def study(
    names: tuple[str, ...] = DATA, samplers: tuple[str, ...] | None = None, most_steps: float = 2e7, **settings: Any
) -> list[dict[str, Any]]:
    """Rows of all cases; chains are shortened where `most_steps` chain steps would not do."""
    rows = []
    for name in names:
        at = setting(name)
        for label, case in cases(at).items():
            if samplers is not None and label not in samplers:
                continue
            longest = max(case.chain.iact(v) for v in np.linalg.eigh(at.hessian)[1].T)
            chains = settings.get("num_chains", 64)
            wanted = settings.get("lengths", 100.0)
            lengths = min(wanted, most_steps / chains / longest - 2)
            rows += [
                {"data": name, "sampler": label, **row} for row in times(at, case, **{**settings, "lengths": lengths})
            ]
    return rows


def main() -> None:
    """Print the table and write the record."""
    began = time.perf_counter()
    rows = study(("wine",)) + study(("skin",), most_steps=4e5)
    print(recording.table(rows, COLUMNS, {"predicted": ".4g", "measured": ".4g"}))
    off = max(abs(row["ratio"] - 1) for row in rows)
    print(f"largest difference {100 * off:.2g} %")
    print(recording.write("ess", {"rows": rows, "largest_difference": off}, time.perf_counter() - began))


if __name__ == "__main__":
    main()
