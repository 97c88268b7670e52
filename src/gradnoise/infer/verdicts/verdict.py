"""The verdict: was the run as predicted, is what was predicted the target, in every direction; and how far is the sandwich."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from gradnoise import diagnose, theory
from gradnoise._types import Array
from gradnoise.infer.verdicts.doubts import about_widths, doubts_of, of_law
from gradnoise.infer.verdicts.ratios import LEAST, along_directions, axes, divergence, spread
from gradnoise.infer.verdicts.readable import apart
from gradnoise.infer.verdicts.rounding import UNSEEN, WRONG, Rounding
from gradnoise.infer.verdicts.sandwich import Widths
from gradnoise.infer.verdicts.shape import Shape
from gradnoise.measure import Nearness

# An error of 20 % in every variance is a KL of 0.01 a dimension: more than that is called wrong.
KL_PER_DIMENSION = 0.01
MOST_KL = 0.5  # nats: no number of parameters excuses more
DRIFT_LIMIT = 1.1
HARMLESS = 0.1  # nats: a run that near to its target is never condemned for what might have gone wrong
MEAN_TOLD = 0.05  # standard deviations from which on a mean that is off is mentioned
MEAN_LIMIT = 0.5  # standard deviations that the mean may be off in any direction
TOO_FEW = 10  # times the limit: a sampling floor above it leaves nothing to verify
RATIO_LIMIT = 1.5  # one direction that is wider or narrower by more costs "trustworthy", however small the KL
STILL = (
    1e-3  # of its predicted variance: a direction that has less does not move, unless there are too few draws to tell
)
DESIGN_LIMIT = 1.25  # the same where it is known beforehand, without sampling error


class Verdict(NamedTuple):
    """Whether draws may be used as the posterior, and why.

    Attributes
    ----------
    level
        "trustworthy"; "approximate" (the law is as predicted, but known not to be the posterior); "not trustworthy" (the
        law is not as predicted, or the assumptions behind the prediction fail). It speaks of the basin around the mode: another
        mode that no chain visits cannot be known from here.
    reasons
        Plain sentences with the numbers.
    numbers
        The numbers by name; NaN where one does not apply.
    """

    level: str
    reasons: tuple[str, ...]
    numbers: dict[str, float]

    def __bool__(self) -> bool:
        """Whether the draws are trustworthy."""
        return self.level == "trustworthy"


def judge(
    *,
    dim: int,
    noise_drift: float,
    drift_matters: bool,
    simulated: tuple[Array, Array] | None,
    predicted: tuple[Array, Array],
    target: tuple[Array, Array],
    effective_draws: float,
    diverged: Mapping[int, int] | None = None,
    strayed: Mapping[int, float] | None = None,
    num_chains: int = 0,
    widths: Widths | None = None,
    nearness: Nearness | None = None,
    shape: Shape | None = None,
    remedy: str = "",
    rounding: Rounding | None = None,
) -> Verdict:
    """Compare what was simulated with what was predicted, and both with the target.

    Parameters
    ----------
    dim
        D.
    noise_drift
        Tr C averaged over the variational law / Tr C at the mode.
    drift_matters
        Whether the law leans on a constant noise covariance (constant SGD does; corrected Langevin hardly).
    simulated, predicted, target
        (mean, covariance) each; target is the Gaussian variational law. `simulated` None: the verdict before the run.
    effective_draws
        What `simulated` is worth, for variances.
    diverged, strayed, num_chains
        Chain -> step at which it diverged; chain -> standard deviations at which its last draws lie; chains started.
    widths
        Sandwich against posterior (`widths_of`).
    nearness
        Of the Gaussian law to the posterior itself, where that law is the target.
    shape
        Of the draws, where there are any; of what is expected of them before.
    remedy
        What would reach the target where this sampler does not by design; empty where nothing is known to.
    rounding
        What the dtype of the run adds to the variances.
    """
    limit = kl_limit(dim)
    designed = theory.gaussian_kl(predicted[1], target[1], predicted[0], target[0])
    numbers = {"noise_drift": noise_drift, "predicted_kl_to_target": designed, "effective_draws": effective_draws}
    against, beside = _chains(diverged or {}, strayed or {}, num_chains), list[str]()
    numbers |= {"diverged_chains": float(len(diverged or {})), "strayed_chains": float(len(strayed or {}))}
    harmless = False
    # draws of a posterior that is not Gaussian leave the Gaussian law, and are right to
    allowed = 0.0 if nearness is None or math.isinf(nearness.kl) else 2 * nearness.at_most
    if simulated is not None:
        found = _simulated(dim, simulated, predicted, target, effective_draws)
        numbers |= found
        against += _still(found, dim, effective_draws)
        slack = 3 * found["kl_floor"] * math.sqrt(2 / (dim * (dim + 3)))
        harmless = found["simulated_kl_to_target"] - found["kl_floor"] <= HARMLESS
        excess = found["simulated_kl_to_predicted"] - found["kl_floor"]
        if excess > limit + slack:
            (beside if excess <= allowed else against).append(
                f"The simulation is not what was predicted: {_which(dim, numbers, excess)}; KL from prediction "
                f"{found['simulated_kl_to_predicted']:.3g}, of which sampling error explains {found['kl_floor']:.2g}"
                + (
                    f", and the posterior is itself up to {nearness.at_most:.2g} from the Gaussian law predicted."
                    if nearness is not None and excess <= allowed
                    else "."
                )
            )
        elif found["simulated_kl_to_target"] - found["kl_floor"] > limit + slack and designed <= limit:
            beside.append(
                f"What was simulated is {found['simulated_kl_to_target']:.3g} nats from the target, more than the {designed:.3g} "
                f"that were predicted and the {found['kl_floor']:.2g} that sampling error explains."
            )
        if found["directions_off"]:
            beside.append(_off(found, dim))
        if found["means_off"]:
            beside.append(
                f"In {found['means_off']:.0f} of {dim} eigendirections the run's mean is more than {MEAN_LIMIT:g} standard deviations of the "
                f"target from the target's; the worst is {found['worst_mean_shift']:.2g}."
            )
        if found["kl_floor"] > TOO_FEW * limit:
            beside.append(
                f"Too few draws to verify anything: they are worth {effective_draws:.3g} independent ones, and sampling error alone makes "
                f"a divergence of {found['kl_floor']:.2g}."
            )
    if rounding is not None:
        numbers["rounding"] = rounding.added
        if rounding.added > UNSEEN:
            (against if rounding.added > WRONG else beside).append(rounding.sentence)
    if drift_matters and noise_drift > DRIFT_LIMIT:
        said = (
            f"The gradient noise is not constant: averaged over the posterior it is {apart(noise_drift, DRIFT_LIMIT)} times that at the mode "
            f"(limit {DRIFT_LIMIT:g}), and this sampler leans on a constant one."
        )
        # before the run drifting noise is only a doubt; after it, or if the law is wrong already, it makes the verdict fail
        doubt = harmless or (simulated is None and designed <= limit)
        (beside if doubt else against).insert(0, said)
    if simulated is None:
        beside += doubts_of(shape, nearness, drift_matters, limit)
    elif shape is not None and shape.divergence > limit + allowed + 5 * shape.error:
        (against if shape.divergence > MOST_KL + allowed else beside).append(f"{shape.sentence('are')}.")
    if shape is not None:
        numbers["shape_divergence"] = shape.divergence
    if nearness is not None:
        own = numbers.get("simulated_kl_to_target", 0.0) - numbers.get("kl_floor", 0.0)
        beside += of_law(nearness, numbers, max(designed, own), MOST_KL)
    on_widths, numbers = about_widths(widths, target, limit, numbers)
    known = _by_design(dim, predicted, target, designed, limit, remedy)
    if against:
        return Verdict("not trustworthy", (*against, *known, *on_widths), numbers)
    beside = known + beside
    reasons = [*beside]
    if simulated is not None:
        reasons.append(
            f"Simulated variances are {numbers['mean_variance_ratio']:.3g} times the predicted ones on average "
            f"(KL {numbers['simulated_kl_to_predicted']:.3g}, sampling error alone {numbers['kl_floor']:.2g})."
        )
    return Verdict("approximate" if beside else "trustworthy", (*reasons, *on_widths), numbers)


def kl_limit(dim: int) -> float:
    """Divergence (nats) from which on a law of so many parameters is called wrong."""
    return min(KL_PER_DIMENSION * dim, MOST_KL)


def _simulated(
    dim: int, simulated: tuple[Array, Array], predicted: tuple[Array, Array], target: tuple[Array, Array], n: float
) -> dict[str, float]:
    """Return the run's divergences from prediction and target, with their floor, and the worst directions."""
    off, width, ratios = divergence(simulated, predicted)
    shift = max(0.0, off - width)  # = d'Σ⁻¹d/2
    values, vectors = axes(target[1])
    along = np.maximum(along_directions(simulated[1], predicted[1], vectors), LEAST)
    error = along * math.sqrt(2 / n) * float(stats.norm.isf(1e-3 / (2 * dim)))  # one alarm in a thousand runs
    low, high = (along + error) * RATIO_LIMIT < 1, along - error > RATIO_LIMIT
    worst = _worst(np.abs(np.log(along)), low | high)
    shifts = np.abs(vectors.T @ (simulated[0] - target[0])) / np.sqrt(values)
    scatter = np.sqrt(np.maximum(along_directions(simulated[1], target[1], vectors), 0) / n) * float(
        stats.norm.isf(1e-3 / (2 * dim))
    )
    shifted = shifts - scatter > MEAN_LIMIT
    return {
        "simulated_kl_to_predicted": off,
        "simulated_kl_to_target": divergence(simulated, target)[0],
        "rank": float((ratios > STILL).sum()),
        "covariance_kl": width,
        "mean_kl": shift,
        "mean_shift": math.sqrt(2 * shift),
        "kl_floor": diagnose.kl_floor(dim, n, fitted_mean=True),
        "mean_variance_ratio": float(ratios.mean()),
        "largest_variance_ratio": float(ratios[-1]),
        "smallest_variance_ratio": float(ratios[0]),
        "directions_off": float((low | high).sum()),
        "means_off": float(shifted.sum()),
        "worst_mean_shift": float(shifts[_worst(shifts, shifted)]),
        "worst_direction_ratio": float(along[worst]),
        "worst_direction_error": float(along[worst] * math.sqrt(2 / n)),
    }


def _worst(sizes: Any, counted: Any) -> int:
    """Index of the largest among those that are counted, or of all where none is."""
    return int(np.where(counted | ~counted.any(), sizes, -math.inf).argmax())


def _still(found: dict[str, float], dim: int, effective_draws: float) -> list[str]:
    """Say that the covariance of the run has not full rank, where that is no matter of too few draws."""
    if found["rank"] == dim or effective_draws < 2 * dim:
        return []
    return [
        f"The draws stand still in some directions: their covariance has rank {found['rank']:.0f} of {dim} (variances below {STILL:g} of "
        "the predicted ones count as 0)."
    ]


def _off(found: dict[str, float], dim: int) -> str:
    return (
        f"In {found['directions_off']:.0f} of {dim} eigendirections the run's variance is beyond {RATIO_LIMIT:g} times (or below "
        f"1/{RATIO_LIMIT:g} of) the predicted one; the worst is {found['worst_direction_ratio']:.3g} ± "
        f"{found['worst_direction_error']:.2g} times."
    )


def _by_design(
    dim: int, predicted: tuple[Array, Array], target: tuple[Array, Array], designed: float, limit: float, remedy: str
) -> list[str]:
    """Say what was known to be wrong before the run: the KL, or one direction that a small KL hides."""
    ratios = spread(predicted[1], target[1])
    said = f"variances {ratios[0]:.3g} to {ratios[-1]:.3g} times the target's"
    if designed > limit:
        shift = math.sqrt(max(0.0, 2 * (designed - theory.gaussian_kl(predicted[1], target[1]))))
        moved = f", its mean {shift:.2g} standard deviations from the target's" if shift > MEAN_TOLD else ""
        cure = f" ({remedy} would reach it)" if remedy else ""
        return [f"By design this law is not its target: its KL to it is {designed:.3g}, {said}{moved}{cure}."]
    if ratios[-1] > DESIGN_LIMIT or ratios[0] < 1 / DESIGN_LIMIT:
        return [f"By design {said}: right on the whole (KL {designed:.3g}), wrong in its worst of {dim} directions."]
    return []


def _chains(diverged: Mapping[int, int], strayed: Mapping[int, float], num_chains: int) -> list[str]:
    """Name the chains that left the basin, each by itself."""
    out = []

    def counted(count: int) -> str:
        return f"{count} of {num_chains} chains" if num_chains else f"{count} chain{'s' * (count > 1)}"

    if diverged:
        named = _listed(f"chain {c} at step {s:,}" for c, s in sorted(diverged.items()))
        out.append(f"{counted(len(diverged))} diverged ({named}) and {'is' if len(diverged) == 1 else 'are'} left out.")
    if strayed:
        named = _listed(f"chain {c}: {s:.3g}" for c, s in sorted(strayed.items()))
        out.append(
            f"{counted(len(strayed))} left the basin: the last draws lie far from the predicted mean, in predicted standard deviations ({named})."
        )
    return out


def _listed(parts: object, most: int = 8) -> str:
    named = list(parts)  # type: ignore[call-overload]
    return ", ".join(named[:most]) + (", …" if len(named) > most else "")


def _which(dim: int, numbers: dict[str, float], excess: float) -> str:
    """Name the part of the KL that is too large, covariance or mean: whatever is half of the excess."""
    n = numbers["effective_draws"]
    said = []
    if numbers["covariance_kl"] - diagnose.kl_floor(dim, n) >= excess / 2:
        low, high, mean = (numbers[f"{k}_variance_ratio"] for k in ("smallest", "largest", "mean"))
        said.append(f"variances are {low:.3g} to {high:.3g} times the predicted ones (mean {mean:.3g})")
    if numbers["mean_kl"] - dim / (2 * n) >= excess / 2 or not said:
        said.append(
            f"the mean is {numbers['mean_shift']:.2g} standard deviations of the predicted law away from its own"
        )
    return " and ".join(said)
