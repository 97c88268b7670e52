"""Tuning of kinetic integrators: the step and the friction with the shortest memory within an error budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.langevin.kinetic import kinetic_chain, kinetic_correction, kinetic_covariance
from gradnoise.theory.langevin.kinetic_flows import Program, program_of
from gradnoise.theory.langevin.kinetic_pairs import pair_maps, stein_of_pairs, times_of_pairs
from gradnoise.theory.linear.modes import modes_of
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.posterior.variance_errors import variance_errors

_STEPS, _FRICTIONS = (1e-4, 4.0), (1e-3, 30.0)  # h√(largest r) and γh that are looked at
_GRID, _ZOOM, _ZOOMS = 41, 15, 5
_HIDDEN = 10.0  # autocorrelation times within which the slowest number, position or momentum, must forget a factor e
_CONDITION = 1e13
_TIGHTER = (1.0, 0.7, 0.4, 0.2, 0.1, 0.05)


@dataclass(frozen=True, eq=False)
class KineticTuning:
    """Setting of a kinetic sampler: what `processes.kinetic` takes, and what it gives.

    Attributes
    ----------
    scheme, step_size, friction
        The integrator, h and γ.
    mass
        M, (D, D).
    injected_covariance
        Noise of O (or U), (D, D), momentum²/step; None: (1 − e^(−2γh)) M/N, uncorrected.
    iact
        Larger of the worst linear and quadratic autocorrelation times, in steps.
    variance_error
        Worst relative error of a variance (0 where corrected).
    noise_share
        Largest share of a direction's variance that comes from minibatch noise.
    """

    scheme: str
    step_size: float
    friction: float
    mass: Array
    injected_covariance: Array | None
    iact: float
    variance_error: float
    noise_share: float


class _Limits(NamedTuple):
    corrected: bool
    error: float
    share: float


def kinetic_tuning(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    scheme: str = "BAOAB",
    step_size: float | None = None,
    friction: float | None = None,
    mass: str | ArrayLike | None = "curvature",
    corrected: bool = True,
    max_variance_error: float = 0.05,
    max_noise_share: float = 0.5,
    sampling: str = "with_replacement",
) -> KineticTuning:
    r"""Step size and friction with the shortest memory within an error budget, for a kinetic integrator with minibatches.

    Equation: minimise max over modes of max(τ, τ₂), the linear and quadratic autocorrelation times of `LinearChain`, over (h, γ),
    subject to |N r Σ − 1| ≤ max_variance_error (corrected: N r β s ≤ max_noise_share; the variance is then exact) and a
    relaxation time −1/ln ρ ≤ 10 max(τ, τ₂): without noise, at the edge of stability, positions are fresh at every step while an
    alternating remainder of the start lives for thousands.

    ===================  ======  ======  ==================================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ==================================================================
    hessian              H       (D, D)  curvature of the mean loss, averaged over the target
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    num_examples         N       ()      examples; the temperature is 1/N
    batch_size           B       ()      examples a step
    scheme               –       –       as in `kinetic_chain`
    step_size            h       ()      time; None: chosen
    friction             γ       ()      1/time; None: chosen
    mass                 M       (D, D)  loss·time²/parameter²; "curvature": H; None: identity
    corrected            –       –       inject the noise of `kinetic_correction`
    max_variance_error   –       ()      dimensionless; uncorrected only
    max_noise_share      –       ()      dimensionless, in (0, 1]; corrected only
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `KineticTuning`
    ===================  ======  ======  ==================================================================

    Assumptions: quadratic loss, constant noise. With M = H every direction has the frequency 1 and the search is over two chains
    of two numbers; with another mass it runs over the modes of M⁻¹H, and the bounds are then checked with all correlations.
    Limit: large minibatch noise: overdamped, τ no shorter than N λ_max(H^{-½}SH^{-½}) whatever the scheme (`long_run_bound`); small
    noise: a step near the edge and γ near the frequency, τ₂ of a few steps.

    Reference: derived here; "minimise the larger of both times" is the rule of recent work on tuning by autocorrelation times.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> tuned = kinetic_tuning(H, C, num_examples=50, batch_size=40)
    >>> round(tuned.iact, 1), tuned.variance_error < 1e-9, round(tuned.noise_share, 2)
    (3.4, True, 0.5)
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    _require_digits(hessian)
    examples, program = _checks.integer("num_examples", num_examples), program_of(scheme)
    weight = _mass(mass, hessian)
    fixed = tuple(
        None if value is None else _checks.positive(name, value)
        for name, value in (("step_size", step_size), ("friction", friction))
    )
    limits = _Limits(
        _checks.flag("corrected", corrected),
        _checks.positive("max_variance_error", max_variance_error),
        _checks.within("max_noise_share", max_noise_share, 0.0, 1.0, closed="right"),
    )
    rates, strengths = _modes(hessian, noise, weight, examples, alike=isinstance(mass, str))
    common: dict[str, Any] = {"num_examples": examples, "batch_size": 1, "scheme": scheme, "mass": weight}
    for factor in _TIGHTER:
        tight = limits._replace(error=factor * limits.error, share=factor * limits.share)
        found = _search(rates, strengths, program, fixed, tight)
        if found is None:
            continue
        setting = common | {"step_size": found[0], "friction": found[1]}
        if isinstance(mass, str):  # D pairs of numbers, the extreme ones of which were searched over
            return _of_pairs(hessian, noise, strengths, program, setting, found[2], limits)
        share = _share(hessian, noise, setting)
        if limits.corrected and share <= limits.share * (1 + 1e-6):
            injected = kinetic_correction(hessian, noise, **setting)
            return _record(hessian, noise, setting, injected, found[2], share)
        tuned = _record(hessian, noise, setting, None, found[2], share)
        if not limits.corrected and tuned.variance_error <= limits.error * (1 + 1e-6):
            return tuned
    _require_a_stable_step(hessian, noise, common, fixed)
    raise ValueError(_refusal(scheme, fixed, limits))


def _require_digits(hessian: Array) -> None:
    """Raise where the inverse of H, in the best units of each parameter, has no digits left for a variance to 1 %."""
    roots = np.sqrt(np.diag(hessian))
    values = np.linalg.eigvalsh(hessian / roots[:, None] / roots)
    if values[0] < values[-1] / _CONDITION:
        msg = (
            f"hessian must have a condition number below {_CONDITION:.0e}, scaled to a unit diagonal, got {values[-1] / values[0]:.3g}: "
            "float64 then knows no variance to 1 %. Leave out a column that others repeat, or give it a prior."
        )
        raise ValueError(msg)


def _require_a_stable_step(
    hessian: Array, noise: Array, common: dict[str, Any], fixed: tuple[float | None, ...]
) -> None:
    """Raise with the edge where a given step is stable neither at the friction given nor at either end of those searched."""
    step, friction = fixed
    if step is None:
        return
    frictions = [low_or_high / step for low_or_high in _FRICTIONS] if friction is None else [friction]
    settings = [common | {"step_size": step, "friction": value} for value in frictions]
    if all(kinetic_chain(hessian, noise, **setting).spectral_radius >= 1 for setting in settings):
        kinetic_covariance(hessian, noise, **settings[0])  # raises and names the edge


def _refusal(scheme: str, fixed: tuple[float | None, ...], limits: _Limits) -> str:
    bound = f"max_noise_share = {limits.share:g}" if limits.corrected else f"max_variance_error = {limits.error:g}"
    wishes = ("smaller", "larger")
    given = [
        f"{name} must be {wish} or None, got {value:.6g}"
        for name, wish, value in zip(("step_size", "friction"), wishes, fixed, strict=True)
        if value is not None
    ]
    given = given or ["batch_size must be larger"]
    names = ("h√(largest r)", "γh")
    searched = [
        f"{low:g} ≤ {name} ≤ {high:g}"
        for name, (low, high), value in zip(names, (_STEPS, _FRICTIONS), fixed, strict=True)
        if value is None
    ]
    where = f" within the searched range ({', '.join(searched)})" if searched else ""
    return f"{' and '.join(given)}: {bound} is not met by {scheme}{where}, as minibatch noise or the finite step is too large."


def _mass(mass: str | ArrayLike | None, hessian: Array) -> Array:
    if mass is None:
        return np.eye(len(hessian))
    if isinstance(mass, str):
        _checks.one_of("mass", mass, ("curvature",))
        return hessian
    return _checks.symmetric("mass", mass, len(hessian), definite="positive")


def _modes(hessian: Array, noise: Array, mass: Array, examples: int, *, alike: bool) -> tuple[Array, Array]:
    """Squared frequencies r and noise strengths N s/r of the modes; of modes that are all alike the two extreme ones."""
    if alike:
        strengths = examples * eigh(noise, hessian, eigvals_only=True)
        return np.ones(2), np.maximum(strengths[[0, -1]], 0.0)
    inverse = np.linalg.inv(mass)
    found = modes_of(hessian, _checks.symmetrised(inverse))
    return found.rates, examples * np.diagonal(found.gradient_noise(noise)) / found.rates


def _search(
    rates: Array, strengths: Array, program: Program, fixed: tuple[float | None, ...], limits: _Limits
) -> tuple[float, float, float] | None:
    """Return (h, γ, time) of the shortest memory by a grid in (log h, log γh) and zooms around its best point."""
    fastest = float(np.sqrt(rates.max()))
    boxes = [np.log(_STEPS), np.log(_FRICTIONS)]
    counts, best = _GRID, None
    for _ in range(1 + _ZOOMS):
        x, y = (np.linspace(box[0], box[1], counts) for box in boxes)
        steps, rubbed = (a.ravel() for a in np.meshgrid(np.exp(x), np.exp(y), indexing="ij"))
        h = steps / fastest if fixed[0] is None else np.full(len(steps), fixed[0])
        friction = rubbed / h if fixed[1] is None else np.full(len(steps), fixed[1])
        times = _worst_times(rates, strengths, program, h, friction, limits)
        i = int(np.argmin(times))
        if np.isfinite(times[i]) and (best is None or times[i] <= best[2]):
            best, centre = (float(h[i]), float(friction[i]), float(times[i])), (np.log(steps[i]), np.log(rubbed[i]))
        if best is None:
            return None
        widths = [1.5 * (box[1] - box[0]) / (counts - 1) for box in boxes]
        boxes = [np.array([c - w, c + w]) for c, w in zip(centre, widths, strict=True)]
        counts = _ZOOM
    return best


def _worst_times(
    rates: Array, strengths: Array, program: Program, step: Array, friction: Array, limits: _Limits
) -> Array:
    """max(τ, τ₂) over the modes for each (h, γ), or infinity where a bound is broken; positions in posterior deviations."""
    transition, from_kick, from_rubbing = pair_maps(rates, program, step[:, None], friction[:, None])
    det = transition[..., 0, 0] * transition[..., 1, 1] - transition[..., 0, 1] * transition[..., 1, 0]
    trace = transition[..., 0, 0] + transition[..., 1, 1]
    stable = (np.abs(det) < 1 - 1e-12) & (np.abs(trace) < (1 + det) * (1 - 1e-12))
    transition = np.where(stable[..., None, None], transition, 0.0)
    kick_part = strengths * stein_of_pairs(transition, from_kick)[..., 0, 0]
    rub_part = stein_of_pairs(transition, from_rubbing)[..., 0, 0]
    positive = rub_part > 0
    scale = np.divide(1 - kick_part, rub_part, out=np.ones_like(rub_part), where=positive & limits.corrected)
    allowed = kick_part <= limits.share if limits.corrected else np.abs(kick_part + rub_part - 1) <= limits.error
    omega = strengths[:, None, None] * from_kick + scale[..., None, None] * from_rubbing
    times = times_of_pairs(transition, omega)
    radius = np.where(
        trace**2 < 4 * det, np.sqrt(np.abs(det)), (np.abs(trace) + np.sqrt(np.abs(trace**2 - 4 * det))) / 2
    )
    forgotten = radius <= np.exp(-1 / (_HIDDEN * np.maximum(times, 1.0)))
    return np.asarray(np.where(stable & positive & allowed & forgotten, times, np.inf).max(1))


def _of_pairs(
    hessian: Array,
    noise: Array,
    strengths: Array,
    program: Program,
    setting: dict[str, Any],
    time: float,
    limits: _Limits,
) -> KineticTuning:
    """Return the setting found where M = H: shares and errors are linear in a mode's noise, so the extreme ones bound them."""
    transition, from_kick, from_rubbing = pair_maps(np.ones(2), program, setting["step_size"], setting["friction"])
    kick = strengths * stein_of_pairs(transition, from_kick)[..., 0, 0]
    errors = kick + stein_of_pairs(transition, from_rubbing)[..., 0, 0] - 1
    return KineticTuning(
        setting["scheme"],
        setting["step_size"],
        setting["friction"],
        setting["mass"],
        kinetic_correction(hessian, noise, **setting) if limits.corrected else None,
        time,
        0.0 if limits.corrected else float(np.abs(errors).max()),
        float(kick.max()),
    )


def least_memory(strengths: Array, scheme: str, max_noise_share: float) -> float:
    """Return the shortest memory of a corrected kinetic sampler with M = H within a share of noise; infinite where there is none.

    `strengths` are the eigenvalues of N H⁻¹S, of which the smallest and the largest count: `kinetic_tuning` without its matrices.
    """
    ends = np.maximum(np.asarray([strengths.min(), strengths.max()]), 0.0)
    for factor in _TIGHTER:
        limits = _Limits(True, 1.0, factor * max_noise_share)
        found = _search(np.ones(2), ends, program_of(scheme), (None, None), limits)
        if found is not None:
            return found[2]
    return float("inf")


def _share(hessian: Array, noise: Array, setting: dict[str, Any]) -> float:
    """Largest share of a direction's posterior variance that the gradient noise makes, all correlations counted."""
    chain = kinetic_chain(hessian, noise, **setting, injected_covariance=np.zeros_like(noise))
    root = np.linalg.cholesky(
        hessian
    )  # N LᵀΣL, H = LLᵀ: no inverse, whose rounding is not definite where H is badly conditioned
    return float(setting["num_examples"] * np.linalg.eigvalsh(root.T @ chain.covariance @ root)[-1])


def _record(
    hessian: Array, noise: Array, setting: dict[str, Any], injected: Array | None, time: float, share: float
) -> KineticTuning:
    chain = kinetic_chain(hessian, noise, **setting, injected_covariance=injected)
    inverse = np.linalg.inv(hessian)
    errors = variance_errors(chain.covariance, (inverse + inverse.T) / (2 * setting["num_examples"]))
    return KineticTuning(
        setting["scheme"],
        setting["step_size"],
        setting["friction"],
        setting["mass"],
        injected,
        time,
        float(np.abs(errors).max()),
        share,
    )
