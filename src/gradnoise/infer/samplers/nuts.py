"""The reference posterior: exact where the loss is quadratic, NUTS where it is affordable, else Laplace; it says which."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree, derivatives
from gradnoise import mode as modes
from gradnoise._types import Array
from gradnoise.infer.plans.simulation import check_memory
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.judges import Judges
from gradnoise.infer.verdicts.verdict import Verdict
from gradnoise.stream import seed_of

R_HAT = 1.01  # split; above R_HAT_LOOSE the draws are not used
R_HAT_LOOSE = 1.05
DIVERGENT = 0.01  # share of transitions above which the draws are not used; any at all costs "trustworthy"
FEWEST_DRAWS = 4  # a chain: both halves need a variance
LEAPFROGS = 16  # gradients a NUTS draw is counted at
WARM_UP = 500
ACCEPTANCE = 0.8  # that NUTS tunes its step for
COMPILATION = 15.0  # seconds that compiling NUTS takes: 10 to 20 on two cores, whatever the problem
DISPATCH = 0.01  # seconds of a gradient above which what surrounds it does not count
REPEATED = 50


def gradient_seconds(problem: Any, mode: Any) -> float:
    """Wall time of one gradient over all data, after compilation."""
    here = mode.vector
    derivatives.loss_and_gradient(problem, here)
    began = time.perf_counter()
    for _ in range(3):
        derivatives.loss_and_gradient(problem, here)
    return (time.perf_counter() - began) / 3


def nuts_seconds(problem: Any, mode: Any, *, num_draws: int, num_chains: int) -> float:
    """Predict the wall time of `nuts` on this machine: compilation, and gradients of the warm-up and of the draws.

    A gradient of all chains at once is timed here, after its own compilation, without dispatch where that counts. A draw is taken
    to need `LEAPFROGS` of them: chains run in step, so each waits for the longest trajectory, of 7 or 15 steps on most
    posteriors; one with a funnel or with far tails may need ten times as many.
    """
    return COMPILATION + _chains_seconds(problem, mode, num_chains) * LEAPFROGS * (WARM_UP + num_draws)


def _chains_seconds(problem: Any, mode: Any, num_chains: int) -> float:
    """Wall time of one gradient over all data for each of the chains."""
    single = gradient_seconds(problem, mode)
    if single > DISPATCH:
        return single * num_chains
    points = np.tile(mode.vector, (num_chains, 1))
    with jax.enable_x64(True):
        wide = _tree.cast(problem, np.float64)
        jax.block_until_ready(_many_gradients(wide, points))
        began = time.perf_counter()
        jax.block_until_ready(_many_gradients(wide, points))
    return (time.perf_counter() - began) / REPEATED


@jax.jit
def _many_gradients(problem: Any, points: Any) -> Any:
    """Move points (chains, D) by a little of their gradients, `REPEATED` times."""
    slope = jax.vmap(jax.grad(lambda vector: problem.loss(problem.unflatten(vector))))
    return jax.lax.fori_loop(0, REPEATED, lambda _, at: at - 1e-9 * slope(at), points)


def nuts(
    problem: Any,
    *,
    num_draws: int,
    num_chains: int,
    key: Any = 0,
    mode: Any = None,
    target_acceptance: float = ACCEPTANCE,
) -> Posterior:
    """Sample by NUTS (BlackJAX, window adaptation) in coordinates whitened by the curvature at the mode, in float64.

    The verdict is "trustworthy" for at least max(100, 5 D) effective draws, split R-hat up to 1.01 and no divergent
    transition; "approximate" up to R-hat 1.05 and 1 % divergent; else "not trustworthy".

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    num_draws, num_chains
        At least 4 draws a chain and 2 chains: effective draws and R-hat compare chains.
    key
        Seed.
    mode
        From `find_mode` (or its params or vector), where it is known already.
    target_acceptance
        Acceptance rate that the warm-up tunes the step for, in (0, 1): nearer to 1 for posteriors with far tails or sharp bends,
        whose transitions diverge at larger steps.
    """
    draws, chains = check_nuts(num_draws, num_chains)
    aim = _checks.within("target_acceptance", target_acceptance, 0.0, 1.0, closed="neither")
    seed = seed_of(key)
    check_memory(draws, chains, _checks.problem(problem).num_params)
    found = modes.as_mode(problem, mode)
    here = found.vector
    root = np.linalg.cholesky(np.linalg.inv(problem.num_examples * derivatives.hessian(problem, here)))
    start = np.random.default_rng(seed).standard_normal((chains, len(here)))
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), chains)
        whitened, divergent = jax.device_get(
            _all_chains(_tree.cast(problem, np.float64), here, root, keys, start, draws, aim)
        )
    bad, judges = int(np.sum(divergent)), Judges()
    effective = judges.ask("the effective draws", lambda: _effective(whitened), 0.0)
    r_hat = judges.ask("R-hat", lambda: _split_r_hat(whitened), math.inf)
    return Posterior(
        "NUTS",
        here + whitened @ root.T,
        problem.parameter_names,
        None,
        None,
        effective,
        judges.verdict(lambda: judge_nuts(len(here), chains, draws, effective, r_hat, bad)),
        {"num_draws": draws, "num_chains": chains, "divergent": bad, "r_hat": r_hat},
        problem=problem,
    )


def check_nuts(num_draws: Any, num_chains: Any) -> tuple[int, int]:
    """Return draws a chain and chains, enough of both for effective draws and R-hat."""
    return (
        _checks.integer("num_draws", num_draws, low=FEWEST_DRAWS),
        _checks.integer("num_chains", num_chains, low=2),
    )


def judge_nuts(dim: int, chains: int, draws: int, effective: float, r_hat: float, divergent: int) -> Verdict:
    """Judge NUTS draws by effective draws (worst parameter), split R-hat (worst parameter) and divergent transitions."""
    needed, share = max(100, 5 * dim), divergent / (chains * draws)
    told = (
        f"{chains} x {draws} draws, {effective:.0f} effective (at least {needed} wanted), split R-hat {r_hat:.4g} "
        f"(limit {R_HAT:g}), {divergent} divergent."
    )
    numbers = {"effective_draws": effective, "r_hat": r_hat, "divergent_share": share}
    if not (effective >= needed and r_hat <= R_HAT_LOOSE and share <= DIVERGENT):  # NaN fails too
        return Verdict("not trustworthy", (told,), numbers)
    return Verdict("trustworthy" if r_hat <= R_HAT and divergent == 0 else "approximate", (told,), numbers)


def _one_chain(problem: Any, centre: Any, root: Any, key: Any, start: Any, num_draws: int, aim: Any) -> tuple[Any, Any]:
    import blackjax

    def log_density(z: Any) -> Any:
        return -problem.num_examples * problem.loss(problem.unflatten(centre + root @ z))

    warm, sample = jax.random.split(key)
    (state, parameters), _ = blackjax.window_adaptation(blackjax.nuts, log_density, target_acceptance_rate=aim).run(
        warm, start, num_steps=WARM_UP
    )
    kernel = blackjax.nuts(log_density, **parameters)

    def step(state: Any, key: Any) -> Any:
        state, info = kernel.step(key, state)
        return state, (state.position, info.is_divergent)

    _, (positions, divergent) = jax.lax.scan(step, state, jax.random.split(sample, num_draws))
    return positions, jnp.sum(divergent)


_all_chains = jax.jit(
    jax.vmap(_one_chain, in_axes=(None, None, None, 0, 0, None, None)), static_argnums=5
)  # compiles once


def _effective(draws: Array) -> float:
    """Smallest effective sample size over parameters and their squares."""
    import blackjax

    both = np.concatenate([draws, (draws - draws.mean((0, 1))) ** 2], axis=-1)
    found = float(np.min(blackjax.diagnostics.effective_sample_size(both)))
    return found if np.isfinite(found) else 0.0  # a chain that never moved has no variance


def _split_r_hat(draws: Array) -> float:
    """Largest R-hat over parameters, each chain split in halves; infinite where nothing moved."""
    import blackjax

    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    found = float(np.max(blackjax.diagnostics.potential_scale_reduction(halves)))
    return found if np.isfinite(found) else float("inf")
