"""The page finds out by itself when constant SGD may not be trusted: breast cancer at batch 32, with prior scale 1."""

from __future__ import annotations

import json

import pytest

import gradnoise as gn
from gradnoise import datasets
from gradnoise.pages.summary import summarise


def by_name(results):
    return {row["name"]: row for row in results["posterior"]["methods"]}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Laplace as the reference and few steps: seconds."""
    return gn.report(
        datasets.example("breast-cancer"), out=tmp_path_factory.mktemp("cancer"), reference="laplace", max_time=4.0,
        name="breast cancer", progress=False,
    )  # fmt: skip


def test_constant_sgd_is_condemned_by_the_numbers(quick):
    rows = by_name(quick.results)
    assert quick.results["noise"]["noise_drift"] > 1.5
    assert {row["level"] for name, row in rows.items() if name.startswith("constant SGD")} <= {
        "not trustworthy",
        "not run",
    }
    tuned = rows["constant SGD, full, tuned at the mode"]
    assert tuned["level"] == "not trustworthy"
    assert tuned["largest_variance_ratio"] > 6
    assert rows["corrected Langevin"]["level"] == "trustworthy"
    bad = [s["text"] for s in quick.summary if s["level"] == "bad"]
    assert any(
        text.startswith("Constant SGD is not trustworthy here at batch size 32") and "1.76" in text for text in bad
    )
    assert any(s["text"].startswith("Corrected Langevin, the recommended sampler") for s in quick.summary)


def test_the_summary_comes_from_the_numbers_alone(quick):
    stored = json.loads(quick.data.read_text("utf-8"))
    assert summarise(stored) == stored["summary"]
    for row in stored["posterior"]["methods"]:  # the same page with acquitted rows is not red
        if row["kind"] in ("scalar", "diagonal", "full"):
            row["level"] = "trustworthy"
    assert not any("not trustworthy" in s["text"] for s in summarise(stored))


@pytest.mark.slow
def test_breast_cancer_against_nuts(tmp_path):
    made = gn.report(
        datasets.example("breast-cancer"), out=tmp_path, reference="nuts", name="breast cancer", progress=False
    )
    rows = by_name(made.results)
    assert rows["constant SGD, full, tuned at the mode"]["kl_to_reference"] > 100
    assert 0.2 < rows["constant SGD, full"]["kl_to_reference"] < 0.6
    assert rows["Laplace"]["kl_to_reference"] > 0.9
    best = rows["corrected Langevin"]
    assert best["kl_to_reference"] - best["kl_floor"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wine", "digits", "diabetes"])
def test_examples_that_are_right_are_green(name, tmp_path):
    made = gn.report(datasets.example(name), out=tmp_path, name=name, progress=False)
    rows = by_name(made.results)
    assert not any(s["level"] == "bad" for s in made.summary)
    assert "ot trustworthy" not in made.page.read_text("utf-8")
    assert rows["constant SGD, full"]["level"] == "trustworthy"
    assert rows["constant SGD, full"]["mean_variance_ratio"] == pytest.approx(1.0, abs=0.03)
    assert made.results["stationary"]["mean_ratio"] == pytest.approx(1.0, abs=0.05)
