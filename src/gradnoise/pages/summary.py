"""Summary: what the numbers of a report mean, in plain words. It reads the results alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gradnoise.infer.posteriors.posterior import kl_limit
from gradnoise.infer.verdicts.readable import apart
from gradnoise.pages.units import disagreement
from gradnoise.pages.verdicts import SILENT, UNSETTLED, counted

Sentence = dict[str, str]
LEVELS = {"trustworthy": "good", "approximate": "warn", "not trustworthy": "bad", "not run": "info"}
JUDGES = {"reference": "reference", "law": "Gaussian variational law"}


def summarise(results: dict[str, Any]) -> list[Sentence]:
    """Return four to nine sentences with a level each ("good", "warn", "bad", "info"), from the sections that exist."""
    out: list[Sentence] = []
    if "problem" in results:
        out += [_problem(results["problem"]), *disagreement(results["problem"])]
    if "noise" in results:
        stationary = results.get("stationary") or {}
        out.append(_noise(results["noise"], stationary.get("noise_growth"), _width(stationary.get("directions", []))))
        if results["noise"].get("fit"):
            out.append(_fit(results["noise"]["fit"]))
    if "stationary" in results:
        out += [_stationary(results["stationary"]), _loader(results["stationary"])]
    if "posterior" in results:
        out += list(_posterior(results["posterior"], results["problem"]["num_params"]))
    if "scaling" in results:
        out.append({"level": "info", "text": results["scaling"]["text"].split(". ")[0] + "."})
    return out


def _problem(problem: dict[str, Any]) -> Sentence:
    told = f" for {problem['target']}" if problem["target"] else ""
    size = f"{counted(problem['num_params'], 'parameter')} and {counted(problem['num_examples'], 'example')}"
    text = f"{problem['name']}: a {problem['model']} model{told} with {size}"
    if problem["observation_scale"] is not None:
        origin = {"estimated": " (estimated from the residuals at the mode)", "given": " (given)"}
        text += (
            f", observation scale {problem['observation_scale']:.4g}{origin.get(problem['observation_scale_from'], '')}"
        )
    mode = problem["mode"]
    return {
        "level": "info",
        "text": f"{text}. Its mode is certified: {mode['distance']:.1g} posterior standard deviations from the exact one, all curvatures positive.",
    }


def _fit(fit: dict[str, Any]) -> Sentence:
    """Say whether curvature and gradient noise agree as in a right model; where they do not, the verdict's own sentence."""
    if fit["num_misspecified"]:
        return {"level": "warn", "text": fit["text"]}
    spread = f"{_ratio(fit['smallest_ratio'])} to {_ratio(fit['largest_ratio'])} times the posterior's"
    return {
        "level": "good",
        "text": f"No sign of misspecification in the widths: sandwich variances are {spread}, no farther than a right model allows.",
    }


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value >= 1e-3 else "below 0.001"


def _noise(noise: dict[str, Any], growth: float | None, width: str = "") -> Sentence:
    """Say whether the noise is constant, over the posterior and over the law of the user's own SGD (`growth`, `width`)."""
    drift, limit = noise["noise_drift"], noise["drift_limit"]
    much = apart(drift, limit)
    text = "Averaged over the posterior the gradient noise is " + (
        "the same as at the mode, to three digits" if much == "1" else f"{much} times that at the mode"
    )
    own = ""
    if growth is not None and not 1 / limit <= growth <= limit:
        own = f" Averaged over the {width}law of SGD at these settings it is {apart(growth, limit)} times."
    if not 1 / limit <= drift <= limit:
        beyond = f"more than the limit {limit:g}" if drift > limit else f"less than 1/{limit:g}"
        return {"level": "warn", "text": f"{text}, {beyond}: it may not be taken as constant.{own}"}
    if own:
        return {
            "level": "warn",
            "text": f"{text} (limit {limit:g}), constant there.{own} It may not be taken as constant for SGD.",
        }
    return {"level": "good", "text": f"{text}: constant for practical purposes (limit {limit:g})."}


def _width(rows: list[dict[str, Any]]) -> str:
    """Return "wider " or "narrower " where SGD's predicted law is so in every direction, beside the posterior."""
    ratios = [row["discrete"] / row["posterior"] for row in rows if row["posterior"] > 0]
    if not ratios or not (min(ratios) > 1 or max(ratios) < 1):
        return ""
    return "wider " if min(ratios) > 1 else "narrower "


def _stationary(section: dict[str, Any]) -> Sentence:
    """Say in one sentence whether SGD spreads as predicted; the section's own verdict has the details."""
    level = section["verdict"]["level"]
    words = {
        "good": "spreads as predicted",
        "warn": "spreads nearly as predicted",
        "bad": "does not spread as predicted",
    }
    told = [
        f"{section[prefix + 'mean_ratio']:.3g} for {what} ({section[prefix + 'worst_ratio']:.3g} in the worst direction)"
        for prefix, what in (("", "independent batches"), ("shuffled_", "shuffled epochs"))
        if section[f"{prefix}mean_ratio"] is not None and not section[f"{prefix}num_diverged"]
    ]
    if level not in words or len(told) < 2:
        return {**section["verdict"]}
    setting = f"learning rate {section['learning_rate']:.3g} and batch size {section['batch_size']}"
    return {
        "level": level,
        "text": f"SGD at {setting} {words[level]}: simulated over predicted variance is on average {' and '.join(told)}.",
    }


def _loader(stationary: dict[str, Any]) -> Sentence:
    """Say what shuffling leaves of the variance: as simulated where both were, else as predicted, else nothing."""
    edge = f"The learning rate is {stationary['fraction_of_edge']:.2g} of the stability edge {stationary['edge']:.4g}."
    told = _share(stationary)
    return {"level": "info", "text": f"{told} {edge}" if told else edge}


def _share(stationary: dict[str, Any]) -> str:
    rows = [r for r in stationary["directions"] if r["discrete"] > SILENT * r["posterior"]]
    lost = stationary["num_diverged"] or stationary["shuffled_num_diverged"]
    errors = [stationary[f"{prefix}worst_relative_error"] for prefix in ("", "shuffled_")]
    if stationary.get("steps_per_epoch") == 1:  # no law, no share of it
        return "A data loader's epoch is one batch of all examples here: without noise, SGD is gradient descent."
    if not rows or lost or any(error is not None and error > UNSETTLED for error in errors):
        return ""  # there is no law to take a share of
    if all(r["shuffled_predicted"] <= SILENT * r["posterior"] for r in rows):
        return ""  # nothing is left to shuffle
    both = [r for r in rows if all(r[name] and math.isfinite(r[name]) for name in ("simulated", "shuffled_simulated"))]
    if both:
        share = np.array([r["shuffled_simulated"] / r["simulated"] for r in both])
        few = "" if len(both) == len(rows) else f", over the {len(both)} of {len(rows)} directions that were simulated"
        verbs, how = ("leaves", "gives"), f" (simulated{few})"
    elif rows[0]["averaged"] is None or rows[0]["shuffled_averaged"] is None:
        return ""
    else:
        share = np.array([r["shuffled_averaged"] / r["averaged"] for r in rows])
        verbs, how = ("is predicted to leave", "is predicted to give"), ""
    verb, mean, least = verbs[int(share.mean() > 1)], f"{share.mean():.2g}", f"{share.min():.2g}"
    worst = (
        f" on average and {least} times in the direction that keeps least"
        if least != mean
        else " in every direction"
        if len(share) > 1
        else ""
    )
    return f"A data loader shuffles epochs, which {verb} {mean} times the variance of independent batches{worst}{how}."


def _posterior(section: dict[str, Any], dim: int) -> Iterator[Sentence]:
    reference = section["reference"]
    level = "info" if reference["level"] == "trustworthy" else LEVELS[reference["level"]]
    yield {"level": level, "text": f"Reference for the posterior: {reference['method']}. {reference['text']}"}
    judged = "reference" if reference.get("can_judge", True) else "law"
    rows = section["methods"]
    sgd = [row for row in rows if row["kind"] in ("scalar", "diagonal", "full")]
    if sgd:
        yield _constant_sgd(sgd, section["batch_size"], judged)
    for row in rows:
        if row["recommended"]:
            yield _recommended(row, dim, judged)


def _constant_sgd(rows: list[dict[str, Any]], batch_size: int, judged: str) -> Sentence:
    """Describe constant SGD by its best and its worst row: one bad verdict condemns it, for it cannot be seen in a run."""
    condemned = [row for row in rows if row["level"] == "not trustworthy"]
    if condemned:
        worst = max(condemned, key=lambda row: row[f"kl_to_{judged}"] or 0.0)
        ratio = _number(worst, "mean_variance_ratio", "simulated variances {} times the predicted ones on average")
        kl = _number(worst, f"kl_to_{judged}", f"KL to the {JUDGES[judged]} {{}}")
        said = "; ".join(part for part in (ratio, kl) if part)
        some = "" if len(condemned) == len(rows) else f" in {len(condemned)} of {len(rows)} settings"
        text = f"Constant SGD is not trustworthy here at batch size {batch_size}{some}: {worst['reasons'][0]}"
        return {"level": "bad", "text": text + (f" So for {_kind(worst)}: {said}." if said else "")}
    run = [row for row in rows if row[f"kl_to_{judged}"] is not None]
    best = min(run, key=lambda row: row[f"kl_to_{judged}"], default=None)
    if best is None:
        why = rows[0]["reasons"][0] if rows[0]["reasons"] else "It has no draws to compare."
        return {"level": "info", "text": f"Constant SGD has nothing to compare. With {_kind(rows[0])}: {why}"}
    closest = "comes closest with" if len(run) > 1 else "ran with"
    text = f"Constant SGD at batch size {batch_size} {closest} {_kind(best)}: {_distance(best, judged)}"
    others = [
        f"{row['name'].removeprefix('constant SGD, ')} {row[f'kl_to_{judged}']:.2g}" for row in run if row is not best
    ]
    return {"level": LEVELS[best["level"]], "text": f"{text}{'; the others: ' + ', '.join(others) if others else ''}."}


def _kind(row: dict[str, Any]) -> str:
    """Return "the full preconditioner, tuned at the mode" of a row of constant SGD."""
    kind, _, where = row["name"].removeprefix("constant SGD, ").partition(", ")
    return f"the {kind} preconditioner" + (f", {where}" if where else "")


def _recommended(row: dict[str, Any], dim: int, judged: str) -> Sentence:
    name = row["name"][0].upper() + row["name"][1:]
    if row[f"kl_to_{judged}"] is None:
        return {
            "level": LEVELS[row["level"]],
            "text": f"{name}, the recommended sampler: {' '.join(row['reasons']) or 'it has no draws to compare.'}",
        }
    excess = row[f"kl_to_{judged}"] - row["kl_floor"]
    level = LEVELS[row["level"]]
    if level == "good" and excess > kl_limit(dim):
        level = "warn"
    return {"level": level, "text": f"{name}, the recommended sampler, is {row['level']}: {_distance(row, judged)}."}


def _distance(row: dict[str, Any], judged: str) -> str:
    return f"KL to the {JUDGES[judged]} {row[f'kl_to_{judged}']:.2g} (sampling error alone gives about {row['kl_floor']:.2g})"


def _number(row: dict[str, Any], key: str, words: str) -> str:
    return "" if row[key] is None else words.format(f"{row[key]:.3g}")
