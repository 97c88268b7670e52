"""Kinetic Langevin (SGHMC) with splittings that are right at a finite step, tuned by memory within an error budget."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from scipy.linalg import eigh

from gradnoise import _checks, theory
from gradnoise import mode as modes
from gradnoise._types import Array, ArrayLike
from gradnoise.infer.plans.chain_plan import from_chain
from gradnoise.infer.plans.place import Place, check_independent, check_size
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.sampler import Settings, place_of, sampler
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.measure.dense import score_averages
from gradnoise.measure.dense.stationary_law import mirrored_normals
from gradnoise.oracles import control_variate as anchored
from gradnoise.oracles import difference_covariance, minibatch
from gradnoise.processes import kinetic
from gradnoise.theory.langevin.kinetic_flows import program_of
from gradnoise.theory.langevin.kinetic_pairs import memory_of_pairs

NEAR = 0.01  # relative error of a variance up to which averages over the posterior do for the sampler's own law
TOLERANCE, ITERATIONS, RUNAWAY = 1e-3, 60, 1e4
RETRIES = 12


@sampler
def sghmc(
    problem: Any,
    *,
    batch_size: int,
    scheme: str = "BAOAB",
    step_size: float | None = None,
    friction: float | None = None,
    mass: str | ArrayLike | None = "curvature",
    corrected: bool = True,
    max_variance_error: float = 0.05,
    max_noise_share: float = 0.5,
    control_variate: bool = False,
    sampling: str = "with_replacement",
    **settings: Unpack[Settings],
) -> Plan:
    """Sample with underdamped Langevin dynamics: positions and velocities, exact sub-flows, one minibatch gradient a step.

    Its noise is reduced by what the minibatch noise adds, so that the positions have the right covariance at a finite step. It
    pays where minibatch noise is small (large batches, control variates); where it dominates, no sampler has a shorter memory
    than corrected Langevin's by much.

    Parameters
    ----------
    problem
        A `Problem` with a mode.
    batch_size, sampling
        B, and "with_replacement" or "without_replacement". "shuffled" is refused.
    scheme
        As in `processes.kinetic`: "BAOAB", "OBABO", "UBU", "sghmc" (Chen et al. 2014), "sghmc_half", ...
    step_size, friction
        h and γ; None: of the settings within the bounds those with the shortest memory, linear and quadratic. Both given:
        taken as they are, and their bias is predicted.
    mass
        "curvature" (M = H: all directions alike, h and γ in units of their one frequency), None (identity) or a matrix (D, D).
    corrected
        Whether to subtract the minibatch noise from the injected one (`theory.kinetic_correction`).
    max_variance_error
        Largest relative error of a variance, where not corrected and tuned.
    max_noise_share
        Largest share of a variance that may come from minibatch noise, where corrected and tuned: what the law leans on a
        constant noise.
    control_variate
        Use gradients with a control variate at the mode: less noise, at two gradients an example (`oracles.break_even`).
    num_draws, num_chains, key, at, thin, burn_in, mode, law, num_law_draws, progress, simulation
        As in `constant_sgd`.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything runs; where no setting meets the bounds, with the numbers.
    """
    _checks.problem(problem)
    size = _checks.drawn_batch(batch_size, problem.num_examples, sampling)
    check_independent(
        sampling,
        "the velocity remembers the batches of an epoch, whose noise is not independent from step to step; its law and the "
        "correction would be wrong.",
    )
    weight = _wishes(scheme, step_size, friction, mass, problem.num_params)
    _checks.flag("corrected", corrected)
    _checks.positive("max_variance_error", max_variance_error)
    _checks.within("max_noise_share", max_noise_share, 0.0, 1.0, closed="right")
    check_size(problem)
    anchor = None
    if _checks.flag("control_variate", control_variate):
        mode = settings.get("mode")
        anchor = settings["mode"] = modes.find_mode(problem) if mode is None else mode
    where = place_of(problem, settings)
    noise = (
        where.gradient_covariance
        if anchor is None
        else difference_covariance(problem, anchor, where.law, key=settings.get("key", 0))
    )
    common: dict[str, Any] = {
        "num_examples": problem.num_examples,
        "batch_size": size,
        "scheme": scheme,
        "sampling": sampling,
    }
    asked = {"step_size": step_size, "friction": friction, "mass": where.hessian if isinstance(weight, str) else weight}
    bounds = {"max_variance_error": max_variance_error, "max_noise_share": max_noise_share}
    budget = max_variance_error
    for _ in range(RETRIES):
        bounds["max_variance_error"] = budget
        tuned = _tuned(where, noise, common, asked, corrected, bounds, alike=isinstance(mass, str))
        free = not corrected and None in (step_size, friction)
        try:
            settled, chain = _settled(problem, where, noise, anchor, {**common, **tuned})
        except Refused:
            if not free:
                raise
            budget /= 2  # no stationary law: too large a step
            continue
        shift = settled.mean - where.law.mean
        about = theory.variance_errors(chain.covariance + np.outer(shift, shift), where.law.covariance)
        error = max(_off(chain.covariance, where.law.covariance), float(about[-1]))
        if not free or error <= max_variance_error * (1 + 1e-3):
            break
        budget *= 0.98 * max_variance_error / error  # the noise grows with the law: a little smaller step
    else:
        msg = (
            f"max_variance_error = {max_variance_error:g} is met by no step that was found with batch_size = {size:,}: the noise grows with the "
            "law. Take a larger batch_size, corrected=True, or infer.corrected_langevin."
        )
        raise Refused(msg)
    process = kinetic(
        minibatch(size, sampling) if anchor is None else anchored(size, anchor, sampling=sampling),
        num_examples=problem.num_examples,
        scheme=scheme,
        **tuned,
    )
    return from_chain(
        f"SGHMC ({scheme}{', corrected' if corrected else ''}{', control variates' if control_variate else ''})",
        problem,
        process,
        chain,
        settled,
        drift_matters=False,
        iact=_memory(where, noise, common, tuned, corrected) if isinstance(mass, str) and settled is where else None,
        settings={
            "batch_size": size,
            "scheme": scheme,
            "step_size": tuned["step_size"],
            "friction": tuned["friction"],
            "mass": mass if isinstance(mass, str) else ("identity" if mass is None else "matrix"),
            "corrected": corrected,
            "control_variate": control_variate,
        },
    )


def _memory(where: Place, noise: Array, common: dict[str, Any], tuned: dict[str, Any], corrected: bool) -> float | None:
    """Return the worst autocorrelation time where the mass is the curvature: directions of noise relative to it do not mix."""
    examples = common["num_examples"]
    batch = theory.batch_noise(
        noise, batch_size=common["batch_size"], sampling=common["sampling"], num_examples=examples
    )
    strengths = np.maximum(examples * eigh(batch, where.hessian, eigvals_only=True), 0.0)
    found = memory_of_pairs(strengths, common["scheme"], tuned["step_size"], tuned["friction"], corrected=corrected)
    return found if np.isfinite(found) else None


def _settled(
    problem: Any, where: Place, noise: Array, anchor: Any, setting: dict[str, Any]
) -> tuple[Place, theory.LinearChain]:
    """Return the law with curvature and noise averaged over itself, where it is not the posterior over which they were taken."""
    chain = theory.kinetic_chain(where.hessian, noise, **setting)
    if where.at != "posterior" or _off(chain.covariance, where.law.covariance) <= NEAR:
        return where, chain
    normals, mean = mirrored_normals(problem.num_examples, problem.num_params), where.mean
    for _ in range(ITERATIONS):
        points = mean + normals @ np.linalg.cholesky(chain.covariance).T
        over = score_averages.averages(problem, points)
        around = over.gradient_covariance if anchor is None else difference_covariance(problem, anchor, points)
        new = theory.kinetic_chain(over.hessian, around, **setting)
        if not new.spectral_radius < 1 or np.trace(new.covariance) > RUNAWAY * np.trace(where.law.covariance):
            break
        mean = mean - np.linalg.solve(over.hessian, over.gradient)
        change, chain = _off(new.covariance, chain.covariance), new
        if change < TOLERANCE:
            return where._replace(mean=mean, hessian=over.hessian, gradient_covariance=around), chain
    msg = (
        f"step_size must be smaller, got {setting['step_size']:.6g}: averaged over its own law the minibatch noise grows faster than it "
        "is forgotten, so there is no stationary variance. Take a larger batch_size, more friction or a smaller step."
    )
    raise Refused(msg)


def _off(covariance: Array, target: Array) -> float:
    return float(np.abs(theory.variance_errors(covariance, target)).max())


def _wishes(scheme: Any, step_size: Any, friction: Any, mass: Any, dim: int) -> str | Array | None:
    """Check what tuning takes before the mode is looked for; return the mass."""
    program_of(scheme)
    for name, value in (("step_size", step_size), ("friction", friction)):
        if value is not None:
            _checks.positive(name, value)
    if mass is None:
        return None
    if isinstance(mass, str):
        return _checks.one_of("mass", mass, ("curvature",))
    return _checks.symmetric("mass", mass, dim, definite="positive")


def _tuned(
    where: Place,
    noise: Array,
    common: dict[str, Any],
    asked: dict[str, Any],
    corrected: bool,
    bounds: dict[str, float],
    *,
    alike: bool,
) -> dict[str, Any]:
    """Return step, friction, mass and injected noise: the tuned ones, or those asked for."""
    if asked["step_size"] is not None and asked["friction"] is not None:
        theory.kinetic_covariance(where.hessian, np.zeros_like(noise), **common, **asked)  # refuses an unstable step
        injected = theory.kinetic_correction(where.hessian, noise, **common, **asked) if corrected else None
        return {**asked, "injected_covariance": injected}
    mass = "curvature" if alike else asked["mass"]
    wished = {**asked, "mass": mass, "corrected": corrected, **bounds}
    try:
        found = theory.kinetic_tuning(where.hessian, noise, **common, **wished)
    except ValueError as error:  # all arguments are checked by now: no setting within the bounds on these data
        raise Refused(str(error)) from error
    return {
        "step_size": found.step_size,
        "friction": found.friction,
        "mass": asked["mass"],
        "injected_covariance": found.injected_covariance,
    }
