"""Verdict on the stationary law: the simulation against its predictions, from the numbers of the section alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

from gradnoise._types import Array

# Relative deviations; the prediction for shuffled epochs splits their noise approximately.
GOOD = {"independent batches": 0.1, "shuffled epochs": 0.2}
FAIR = 0.5
SILENT = 1e-9  # variance over that of the posterior, or noise over curvature to the noisiest: only the prior acts there
UNSETTLED = 0.5  # relative standard error from which a simulation says nothing


def compared(
    rows: list[dict[str, Any]], prefix: str, predictions: tuple[str, str], simulated: str, error: str
) -> dict[str, Any]:
    """Compare simulation with the best prediction (averaged, if it exists) and with values at the mode; None without simulation."""
    averaged, at_mode = predictions
    best = at_mode if rows[0][averaged] is None else averaged
    moving = [r for r in rows if min(r[best], r[at_mode]) > SILENT * r["posterior"]]
    kept = [r for r in moving if r[simulated] is not None and r[error] > 0]
    out: dict[str, Any] = dict.fromkeys(
        ("worst_z", "worst_ratio", "mean_ratio", "mode_worst_ratio", "mode_mean_ratio", "worst_relative_error")
    )
    if kept:
        expected, mode, value, spread = (
            np.array([r[k] for r in kept], float) for k in (best, at_mode, simulated, error)
        )
        z = (value - expected) / spread
        out |= {
            "worst_z": z[np.abs(z).argmax()],
            "worst_ratio": _farthest(value / expected),
            "mean_ratio": (value / expected).mean(),
            "mode_worst_ratio": _farthest(value / mode),
            "mode_mean_ratio": (value / mode).mean(),
            "worst_relative_error": (spread / expected).max(),
        }
    out |= {"num_compared": len(kept), "num_silent": len(rows) - len(moving), "compared_with": best}
    return {prefix + name: value for name, value in out.items()}


def _farthest(ratios: Array) -> float:
    return float(ratios[np.abs(np.log(ratios)).argmax()])


def counted(number: int, noun: str) -> str:
    """Return "1 direction", "12 directions".

    >>> counted(1, "direction"), counted(1200, "direction")
    ('1 direction', '1,200 directions')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verdict(section: dict[str, Any]) -> dict[str, str]:
    """Judge the section from its numbers: are both laws as predicted."""
    parts = [_judged(section, "", "independent batches"), _judged(section, "shuffled_", "shuffled epochs")]
    levels = [level for level, _ in parts]
    level = next(one for one in ("bad", "warn", "info", "good") if one in levels)
    return {"level": level, "text": " ".join(text for _, text in parts)}


def _judged(section: dict[str, Any], prefix: str, what: str) -> tuple[str, str]:
    lost, chains = section[f"{prefix}num_diverged"], section[f"{prefix}num_chains"]
    if lost:
        return (
            "bad",
            f"With {what}, {lost} of {counted(chains, 'chain')} diverged, although the quadratic prediction is stable.",
        )
    ratio, mean, count = (section[prefix + k] for k in ("worst_ratio", "mean_ratio", "num_compared"))
    silent = section[f"{prefix}num_silent"]
    total = len(section["directions"]) - silent
    if total == 0:
        return "info", f"With {what} of this size there is no noise: SGD is gradient descent and stays at the mode."
    if ratio is None:
        return (
            "info",
            f"With {what}, no direction forgets its start within the time allowed, so the prediction stands untested.",
        )
    off, good = abs(ratio - 1), GOOD[what]
    error = section[f"{prefix}worst_relative_error"]
    if error > UNSETTLED:
        told = f"With {what} the simulated variances do not settle: their standard error is up to {error:.3g} times the prediction."
        if section[f"{prefix}compared_with"].endswith("averaged"):
            return "bad", f"{told} Take more time (--max-time)."
        told += " Averaged over the law there is no prediction: noise that grows with the state may have no stationary variance at this learning rate."
        return "bad", f"{told} Take a smaller learning rate (--learning-rate)."
    chance = float(scipy.stats.t.isf(0.005 / count, chains - 1)) if error <= good else 0.0
    level = "good" if off <= good or abs(section[f"{prefix}worst_z"]) <= chance else "warn" if off <= FAIR else "bad"
    word = {"good": "is as predicted", "warn": "is near the prediction", "bad": "is not as predicted"}[level]
    averaged = section[f"{prefix}compared_with"].endswith("averaged")
    worst = f" on average, {ratio:.3g} times in the worst direction" if count > 1 else ""
    text = (
        f"With {what} the simulated law {word}: variances are {mean:.3g} times the discrete-time prediction{worst} "
        f"(standard error at most {100 * error:.2g} %)."
    )
    if not averaged:
        text += " That prediction takes curvature and noise at the mode: averaged over the law they are beyond stability, or do not settle."
    elif abs(section[f"{prefix}mode_worst_ratio"] - 1) > good:
        text += (
            f" It averages curvature and noise over the law; with their values at the mode alone the simulation is {section[f'{prefix}mode_mean_ratio']:.3g} "
            f"(worst {section[f'{prefix}mode_worst_ratio']:.3g}) times the prediction."
        )
    if silent:
        text += f" In {counted(silent, 'direction')} no example adds noise (only the prior acts there): SGD stays at the mode."
    if count < total:
        slow = total - count
        text += f" {slow} of {counted(total, 'direction')} {'is' if slow == 1 else 'are'} too slow to be simulated in the time allowed."
    return level, text
