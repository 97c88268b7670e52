"""Sentences of the page and of the verdicts say what their numbers say: odd situations, one after the other."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer.plans.gaussian_draws import gaussian_verdict
from gradnoise.infer.plans.length import Length
from gradnoise.infer.plans.place import Place
from gradnoise.infer.samplers.iterate_averaging import _no_epochs, _warnings
from gradnoise.infer.verdicts.doubts import about_widths, of_law, remedy_for
from gradnoise.infer.verdicts.sandwich import widths_of
from gradnoise.infer.verdicts.shape import Shape
from gradnoise.infer.verdicts.verdict import judge, kl_limit
from gradnoise.measure import Nearness
from gradnoise.pages import local, samplers, summary, verdicts

TIMES = re.compile(r"(-?[\d.]+(?:e[-+]\d+)?) times")


def stationary(rows: list[dict[str, Any]], **change: Any) -> dict[str, Any]:
    """A section of the page as `pages.stationary` makes it, without a run."""
    out: dict[str, Any] = {
        "directions": rows, "learning_rate": 0.1, "batch_size": 10, "fraction_of_edge": 0.25, "edge": 0.4, "steps_per_epoch": 5,
    }  # fmt: skip
    for prefix in ("", "shuffled_"):
        out |= {f"{prefix}num_diverged": 0, f"{prefix}num_chains": 16}
    out |= verdicts.compared(rows, "", ("averaged", "discrete"), "simulated", "simulated_standard_error")
    keys = ("shuffled_averaged", "shuffled_predicted")
    out |= verdicts.compared(rows, "shuffled_", keys, "shuffled_simulated", "shuffled_standard_error")
    return {**out, **change}


def row(
    law: float, left: float, ratio: float = 1.0, *, simulated: bool = True, averaged: bool = True
) -> dict[str, Any]:
    """One direction: SGD's law is `law` times the posterior, shuffling leaves `left`, the simulation is `ratio` times as predicted."""
    measured = {
        "simulated": law * ratio, "simulated_standard_error": 0.01 * law, "shuffled_simulated": law * left * ratio,
        "shuffled_standard_error": 0.01 * law * left,
    }  # fmt: skip
    return {
        "posterior": 1.0, "discrete": law, "shuffled_predicted": law * left, "averaged": law if averaged else None,
        "shuffled_averaged": law * left if averaged else None,
        **(measured if simulated else dict.fromkeys(measured)),
    }  # fmt: skip


LAWS = ([3.0, 5.0], [0.2, 0.7], [0.5, 2.0], [2.0])
LEFT = (0.0, 1e-14, 0.1, 1.0, 1.8)
GRID = list(itertools.product(LAWS, LEFT, (True, False), (True, False), (1.0, 0.4)))


@pytest.mark.parametrize("index", range(len(GRID)))
def test_sentences_on_the_stationary_law_agree_with_its_numbers(index: int) -> None:
    """faults.md 9: wider or narrower, what shuffling leaves, "on average" and "worst", over laws of both kinds."""
    laws, left, simulated, averaged, ratio = GRID[index]
    section = stationary([row(law, left, ratio, simulated=simulated, averaged=averaged) for law in laws])
    width = summary._width(section["directions"])
    assert width == ("wider " if min(laws) > 1 else "narrower " if max(laws) < 1 else "")
    told = verdicts.verdict(section)
    assert (told["level"] in ("good", "info")) == (not simulated or ratio == 1.0)
    assert not re.search(r"\b1 (chains|directions)\b", told["text"])
    assert "nan" not in told["text"]
    assert ("worst direction" in told["text"]) == (simulated and len(laws) > 1)
    if simulated and left > 1e-9:
        assert set(map(float, TIMES.findall(told["text"].split("With shuffled")[0]))) == {ratio}
    share = summary._share(section)
    if left < 1e-9:
        assert share == ""  # one batch an epoch: a ratio of nothing
    elif simulated or averaged:
        assert {float(number) for number in TIMES.findall(share)} == {left}
        assert ("simulated" in share) == simulated
        assert ("predicted" in share) != simulated
    else:
        assert share == ""
    assert "times" not in summary._share({**section, "steps_per_epoch": 1})  # nothing to take a share of


@pytest.mark.parametrize("drift", [0.5, 0.95, 1.05, 1.0999, 1.1001, 3.0])
@pytest.mark.parametrize("growth", [None, 0.3, 1.0, 4.0])
def test_noise_is_called_constant_where_it_neither_grows_nor_falls(drift: float, growth: float | None) -> None:
    """faults.md 9: a sentence that compares with a limit, on both sides of it."""
    told = summary._noise({"noise_drift": drift, "drift_limit": 1.1}, growth, "narrower ")
    constant = all(1 / 1.1 <= x <= 1.1 for x in (drift, growth) if x is not None)
    assert (told["level"] == "good") == constant
    assert ("constant for practical purposes" in told["text"]) == constant
    numbers = [float(number) for number in TIMES.findall(told["text"])]
    assert numbers[0] == pytest.approx(drift, rel=5e-3)
    if "more than the limit" in told["text"]:
        assert numbers[0] > 1.1
    assert ("narrower law of SGD" in told["text"]) == (growth in (0.3, 4.0))


def test_variances_that_do_not_settle_draw_the_remedy_that_helps() -> None:
    """faults.md 10: more time where there is a prediction, a smaller rate where there may be no variance."""
    for averaged, cure in ((True, "--max-time"), (False, "--learning-rate")):
        rows = [row(2.0, 0.5, averaged=averaged)]
        rows[0]["simulated_standard_error"] = 3.0
        told = verdicts.verdict(stationary(rows))["text"].split("With shuffled")[0]
        assert re.findall(r"--[a-z-]+", told) == [cure]


def sgd(name: str, level: str, kl: float | None, ratio: float | None = None, reason: str = "Why.") -> dict[str, Any]:
    return {
        "name": f"constant SGD, {name}", "kind": name.split(",")[0], "level": level, "reasons": [reason], "recommended": False,
        "kl_to_reference": kl, "kl_to_law": kl, "kl_floor": 0.01, "mean_variance_ratio": ratio,
    }  # fmt: skip


def test_the_sentence_on_constant_sgd_speaks_of_the_rows_that_it_condemns() -> None:
    rows = [
        sgd("scalar", "not trustworthy", 5.0, 2.0, "Scalar."),
        sgd("diagonal", "not trustworthy", 9.0, 3.0, "Diagonal."),
    ]
    rows.append(sgd("full", "trustworthy", 0.01))
    told = summary._constant_sgd(rows, 32, "reference")["text"]
    assert "in 2 of 3 settings" in told
    assert "Diagonal." in told
    assert "So for the diagonal preconditioner: simulated variances 3 times" in told
    assert " settings" not in summary._constant_sgd(rows[:2], 32, "reference")["text"]


def test_constant_sgd_without_draws_gives_its_own_reason() -> None:
    """faults.md 9: "needs more steps than the time allowed is good for" stood there where it had failed."""
    failed = sgd("full", "not run", None, reason="It failed: no memory")
    assert "It failed: no memory" in summary._constant_sgd([failed], 8, "law")["text"]
    told = summary._constant_sgd([failed, sgd("scalar", "approximate", 0.2)], 8, "law")["text"]
    assert "closest" not in told
    assert "the others" not in told


def test_a_sampler_that_needs_more_chains_does_not_ask_for_more_time() -> None:
    """faults.md 10: 2 chains of at most 500 draws never make the 5 000 that a comparison of 1000 parameters takes."""
    few = samplers._too_long(2, Length(10, 50, 60, 10.0), 5000, 10**9)
    assert re.findall(r"--[a-z-]+", few) == ["--chains"]
    for chains, fewest, thin in itertools.product((4, 7, 16), (200, 213), (1, 40)):
        planned = Length(thin, 5 * thin, 6 * thin, float(thin))
        for steps in range(100, 4 * fewest * thin, fewest * thin // 3):
            if not samplers._affordable(steps, chains, planned, fewest)[1]:
                told = samplers._too_long(chains, planned, fewest, steps).replace(",", "")
                need, allowed = (int(re.search(p, told)[1]) for p in (r"(\d+) in all", r"limit allows (\d+)"))  # type: ignore[index]
                assert need > allowed
                assert "1 steps" not in told


@pytest.mark.parametrize(("size", "rows"), [(1, 1), (2, 3)])
def test_one_parameter_is_one_parameter(size: int, rows: int) -> None:
    problem = {
        "name": "x", "model": "linear", "target": "", "num_params": size, "num_examples": rows, "observation_scale": None,
        "mode": {"distance": 0.0},
    }  # fmt: skip
    told = summary._problem(problem)["text"]
    assert ("1 parameter and 1 example" in told) == (size == 1)
    assert not re.search(r"\b1 (parameters|examples)", told)


def test_what_the_page_says_of_the_edge_is_so() -> None:
    """Found by reading: "At half of the edge the variance is a third above its continuous-time value"; it is twice it."""
    page = (Path(gn.__file__).parent / "pages/templates/stationary.html.j2").read_text("utf-8")
    assert "At half of the edge the variance in the stiffest direction is twice its continuous-time value" in page
    assert "at a quarter a third above it" in page
    for share, factor in ((0.5, 2.0), (0.25, 4 / 3)):
        rate = share * gn.theory.stability_edge([[3.0]])
        both = [
            gn.theory.stationary_covariance([[3.0]], [[1.0]], learning_rate=rate, batch_size=4, time=time)[0, 0]
            for time in ("discrete", "continuous")
        ]
        assert both[0] / both[1] == pytest.approx(factor)


# --- verdicts --------------------------------------------------------------------------------------------------------


def law(dim: int, scale: Any = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return shift * np.eye(dim)[0], np.diag(np.broadcast_to(np.asarray(scale, float), dim))


NEAR = (Nearness(0.0, 0.0, -math.inf, 0.0), Nearness(1e-4, 1e-5, 0.1, 0.0), Nearness(0.3, 0.1, 0.5, 0.0))
FAR = (Nearness(2.0, 0.1, 0.5, 0.0), Nearness(0.002, 0.1, 0.9, 0.0), Nearness(math.inf, 0.0, math.inf, 0.0))


@pytest.mark.parametrize("near", [*NEAR, *FAR])
@pytest.mark.parametrize("own", [0.0, 0.2, 0.6, 5.0])
def test_not_gaussian_is_said_of_the_posterior_and_not_of_the_sampler(near: Nearness, own: float) -> None:
    """faults.md 9: "The posterior is not Gaussian: … 1e-4 nats from it", triggered by the sampler's own distance."""
    said = " ".join(of_law(near, {}, own, 0.5))
    assert bool(said) == (near.at_most + own > 0.5)
    if "is not Gaussian" in said:
        assert near.at_least > 0.01
    if near.at_most < 0.001:
        assert "Gaussian:" not in said
    assert not re.search(r"± 0(?!\.)", said)
    assert "inf ±" not in said


def test_the_verdict_of_a_gaussian_shows_no_error_of_zero() -> None:
    assert "infinitely many nats from" in gaussian_verdict(FAR[2], 3, "What.").reasons[0]
    assert "0.3 ± 0.1 nats" in gaussian_verdict(NEAR[2], 3, "What.").reasons[0]


@pytest.mark.parametrize(
    ("dim", "simulated", "predicted", "target"),
    [
        (1, 1.0, 1.0, 1.0), (1, 2.0, 1.0, 1.0), (1, 1.0, 1.0, 3.0), (3, 1.0, 1.0, 1.0), (3, [1, 1, 2.5], 1.0, 1.0),
        (3, [0.3, 1, 1], 1.0, 1.0), (3, 1.0, 1.0, [1, 1, 4]), (3, [1, 1, 1e-9], [1, 1, 1e-9], 1.0), (3, 1.0, 0.2, 0.2),
        (40, 1.0, 1.0, [1.3] + [1.0] * 39),
    ],
)  # fmt: skip
@pytest.mark.parametrize("draws", [8.0, 1e3, 1e7])
def test_every_ratio_in_a_verdict_is_one_of_its_numbers(
    dim: int, simulated: Any, predicted: Any, target: Any, draws: float
) -> None:
    """faults.md 9: each "times" of a reason is a ratio that was there, never negative, and "worst" is among those counted."""
    made = judge(
        dim=dim, noise_drift=1.0, drift_matters=False, simulated=law(dim, simulated), predicted=law(dim, predicted),
        target=law(dim, target), effective_draws=draws,
    )  # fmt: skip
    said, numbers = " ".join(made.reasons), made.numbers
    ratios = np.broadcast_to(np.divide(simulated, predicted), dim)
    design = np.broadcast_to(np.divide(predicted, target), dim)
    known = [*ratios, ratios.mean(), *design, 1.5]
    for number in map(float, TIMES.findall(said)):
        assert min(abs(number / k - 1) for k in known) < 6e-3, (number, said)
    if numbers["directions_off"]:
        worst = numbers["worst_direction_ratio"]
        assert max(worst, 1 / worst) > 1.5
    if "not its target" in said:
        assert numbers["predicted_kl_to_target"] > kl_limit(dim)
    assert "would reach it" not in said  # nothing is known of the method here


def test_the_worst_direction_is_one_of_those_that_are_counted() -> None:
    """Few draws: a variance of .6 is no evidence and one of 1.66 is, although it is nearer to 1 in logarithms."""
    made = judge(
        dim=2, noise_drift=1.0, drift_matters=False, simulated=law(2, [0.59, 1.66]), predicted=law(2), target=law(2), effective_draws=1300.0,
    )  # fmt: skip
    if made.numbers["directions_off"] == 1:
        assert (
            made.numbers["worst_direction_ratio"] == pytest.approx(1.66)
            or made.numbers["worst_direction_ratio"] < 1 / 1.5
        )


@pytest.mark.parametrize(
    ("method", "settings", "helps"),
    [
        ("constant SGD (scalar preconditioner)", {"preconditioner": "scalar"}, True),
        ("constant SGD (full preconditioner)", {"preconditioner": "full"}, False),
        ("corrected Langevin", {}, False),
        ("SGLD", {}, True),
    ],
)
def test_no_sampler_names_itself_as_its_remedy(method: str, settings: dict[str, Any], helps: bool) -> None:
    """faults.md 10: "(a full preconditioner or corrected Langevin would reach it)" stood under both of these too."""
    assert bool(remedy_for(method, settings)) == helps


def test_chains_are_counted_in_words_that_agree() -> None:
    for total, words in ((0, "1 chain diverged"), (8, "1 of 8 chains diverged")):
        said = judge(
            dim=1, noise_drift=1.0, drift_matters=False, simulated=law(1), predicted=law(1), target=law(1), effective_draws=1e4,
            diverged={0: 7}, num_chains=total,
        ).reasons[0]  # fmt: skip
        assert said.startswith(words)


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "words"),
    [(0.5, 1.0, "up to 0.5, excess kurtosis up to 1"), (-0.5, -1.0, "down to -0.5, excess kurtosis down to -1")],
)
def test_a_shape_goes_down_to_what_is_below_zero(skewness: float, kurtosis: float, words: str) -> None:
    assert words in Shape(0.2, 0.0, skewness, kurtosis).sentence()


def test_ratios_of_the_gradient_noise_are_not_below_zero() -> None:
    """faults.md 9: "Sandwich variances are −6.38e-16 to .423 times": clip at 0. Three rows for five parameters."""
    r = np.random.default_rng(0)
    x = r.normal(size=(3, 5))
    problem = gn.models.linear_regression(x, r.normal(size=3), 1.0, 1.0, intercept=False)
    found = gn.measure.gaussian_law(problem, gn.find_mode(problem))
    widths = widths_of(problem, found.mean, found.hessian, found.gradient_covariance)
    told, numbers = about_widths(widths, (found.mean, found.covariance), kl_limit(5), {})
    assert told == []
    assert 0 <= numbers["sandwich_ratio_smallest"] <= numbers["sandwich_ratio_largest"]
    where = Place(found.mean, found.hessian, found.gradient_covariance, found, "posterior")
    for said in (_no_epochs(where, 0.1, None, 1), *_warnings(where, "posterior", 3, 3)):
        assert not re.search(r"(?<!e)[-−]\d|e-1\d", said)  # neither negative nor rounding


def test_the_summary_ticks_the_fit_only_where_nothing_is_misspecified() -> None:
    """faults.md 9: over-dispersed counts (sandwich several times the posterior) and all ticks."""
    r = np.random.default_rng(1)
    x = r.normal(size=(600, 2))
    for shape, level in ((None, "good"), (0.5, "warn")):
        mean = np.exp(1 + x @ [0.3, 0.0]) * (1.0 if shape is None else r.gamma(shape, 1 / shape, 600))
        problem = gn.models.poisson_regression(x, r.poisson(mean), 10.0, names=("dose", "age"))
        found = gn.measure.gaussian_law(problem, gn.find_mode(problem))
        section = local.fit_section(widths_of(problem, found.mean, found.hessian, found.gradient_covariance))
        told = summary._fit(section)
        assert told["level"] == section["level"] == level
        assert (section["num_misspecified"] > 0) == (level == "warn")
        assert ("misspecified" in told["text"]) == (level == "warn")
        ratios = sorted(row["ratio"] for row in section["parameters"])
        assert ratios[0] == section["smallest_ratio"]
        if level == "good":
            assert f"{ratios[0]:.3g} to {ratios[-1]:.3g} times" in told["text"]
        else:
            assert all(row["ratio"] > 2 for row in section["parameters"])


def test_a_target_is_called_what_it_is() -> None:
    """The sandwich as target: both sentences, each by its own number; the posterior as target: neither."""
    r = np.random.default_rng(2)
    x = r.normal(size=(500, 1))
    y = x[:, 0] + (0.2 + np.abs(x[:, 0])) * r.normal(size=500)
    problem = gn.models.linear_regression(x, y, np.inf)
    found = gn.measure.gaussian_law(problem, gn.find_mode(problem))
    widths = widths_of(problem, found.mean, found.hessian, found.gradient_covariance)
    said = {
        name: " ".join(about_widths(widths, (found.mean, target), kl_limit(2), {})[0])
        for name, target in (
            ("posterior", widths.posterior),
            ("sandwich", widths.sandwich),
            ("other", 9 * widths.posterior),
        )
    }
    assert "The target" not in said["posterior"]
    assert "misspecified" in said["posterior"]
    assert "The target has the sandwich's width" in said["sandwich"]
    assert "calibrate" not in said["sandwich"]
    assert "The target is not the posterior: its variances are 9 to 9 times" in said["other"]
    assert "sandwich's width" not in said["other"]
