"""report end to end on a small problem: the schema, honest failures, one file of numbers from which the page is made."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.datasets import Dataset
from gradnoise.pages import StageFailed, produce, rerender, samplers

ROW = {
    "index", "curvature", "relaxation_steps", "posterior", "continuous", "discrete", "averaged", "simulated",
    "simulated_standard_error", "shift", "shuffled_predicted", "shuffled_averaged", "shuffled_simulated",
    "shuffled_standard_error", "shuffled_shift", "shuffled_dropped",
}  # fmt: skip
METHOD = {
    "name", "kind", "level", "recommended", "reasons", "kl_to_reference", "kl_from_reference", "kl_to_law", "kl_floor",
    "predicted_kl_to_reference", "predicted_kl_from_reference", "num_steps", "thin", "num_draws", "num_chains", "seconds",
    "effective_draws", "smallest_variance_ratio", "largest_variance_ratio", "mean_variance_ratio", "num_diverged",
}  # fmt: skip
COMPARED = {
    "worst_z", "worst_ratio", "mean_ratio", "mode_worst_ratio", "mode_mean_ratio", "worst_relative_error", "num_compared", "num_silent",
    "compared_with", "num_chains", "num_steps", "burn_in", "num_diverged",
}  # fmt: skip
SECTIONS = {
    "meta": {"version", "command", "seed", "date", "platform", "seconds", "cpu_seconds", "total_seconds", "max_time"},
    "problem": {
        "name", "model", "num_examples", "num_params", "target", "notes", "observation_scale",
        "observation_scale_from", "prior_scale", "mode", "intercept_prior_scale", "standardisation", "prior_conflicts",
    },
    "noise": {
        "hessian_eigenvalues", "noise_eigenvalues", "trace", "effective_rank", "alignment", "noise_scale",
        "noise_in_hessian_basis", "noise_drift", "noise_drift_whitened", "drift_limit", "averaged_over", "averaged_over_note", "fit",
    },
    "stationary": {
        "learning_rate", "batch_size", "momentum", "learning_rate_from", "edge", "fraction_of_edge", "noise_growth", "dtype",
        "directions", "steps_per_epoch", "last_batch_size", "loader_note", "verdict", *COMPARED, *(f"shuffled_{name}" for name in COMPARED),
    },
    "posterior": {"reference", "batch_size", "methods", "marginals"},
    "scaling": {"text", "rows"},
    "files": {"draws"},
}  # fmt: skip


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)) @ np.array([[1.0, 0.6, 0.0], [0.0, 0.5, 0.2], [0.0, 0.0, 2.0]])
    y = X @ [1.0, -2.0, 0.5] + 0.7 * rng.standard_normal(n)
    return Dataset(X, y, ("a", "b", "c"), "yield", model="linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return gn.report(table(), out=out, batch_size=16, momentum=0.5, max_time=3.0, name="small", progress=False)


def numbers(value, where=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from numbers(inner, f"{where}[{i}]")
    else:
        yield where, value


def test_the_json_matches_the_schema_and_has_no_nan(made):
    def refuse(constant):
        raise AssertionError(constant)

    results = json.loads(made.data.read_text("utf-8"), parse_constant=refuse)
    assert set(results) == {*SECTIONS, "summary"}
    for name, keys in SECTIONS.items():
        assert set(results[name]) == keys, name
    assert all(set(row) == ROW for row in results["stationary"]["directions"])
    assert all(set(row) == METHOD for row in results["posterior"]["methods"])
    assert {type(value) for _, value in numbers(results)} <= {float, int, str, bool, type(None)}
    assert results == made.results
    assert set(results["meta"]["seconds"]) == set(produce.STAGES) - {"page"}  # which the page cannot show


def test_a_linear_model_comes_out_right(made):
    results = made.results
    assert results["problem"]["observation_scale"] == pytest.approx(0.7 / np.std(table().y), rel=0.1)
    directions = results["stationary"]["directions"]
    for row in directions:  # the closure is exact for least squares: within 6 standard errors
        assert row["simulated"] == pytest.approx(row["averaged"], abs=6 * row["simulated_standard_error"])
        assert row["simulated_standard_error"] < 0.1 * row["averaged"]
        assert row["shuffled_simulated"] == pytest.approx(row["shuffled_averaged"], rel=0.2)
        assert row["shuffled_simulated"] < row["simulated"]
    assert results["posterior"]["reference"]["method"] == "exact posterior"
    by_name = {row["name"]: row for row in results["posterior"]["methods"]}
    assert by_name["Gaussian variational law"]["kl_to_reference"] == pytest.approx(0.0, abs=1e-9)
    best = by_name["corrected Langevin"]
    assert best["recommended"]
    assert best["level"] == "trustworthy"
    assert best["kl_to_reference"] < 4 * best["kl_floor"]
    assert by_name["constant SGD, scalar"]["predicted_kl_to_reference"] > 0.01
    assert not any(sentence["level"] == "bad" for sentence in made.summary)
    assert "ot trustworthy" not in made.data.read_text("utf-8")


def test_draws_are_in_the_schema_of_arviz(made):
    import xarray

    assert set(made.draws) == {"reference", *(row["name"] for row in made.results["posterior"]["methods"])}
    tree = xarray.open_datatree(made.draws["corrected Langevin"])
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "parameter")
    assert list(tree["posterior"]["parameter"].values) == ["a", "b", "c", "intercept"]


def test_the_page_is_made_from_the_json_alone(made, tmp_path):
    copy = tmp_path / "report.json"
    copy.write_text(made.data.read_text("utf-8"), "utf-8")
    page = rerender(tmp_path)
    assert page == tmp_path / "index.html"
    assert page.read_text("utf-8") == made.page.read_text("utf-8")
    assert not re.search(r'(src|href)="https?:', page.read_text("utf-8").replace('href="https://www.w3.org', ""))
    with pytest.raises(FileNotFoundError, match=r"report\.json"):
        rerender(tmp_path / "nowhere")


def test_a_failing_stage_is_named_and_keeps_what_was_computed(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        msg = "no sampler today"
        raise RuntimeError(msg)

    monkeypatch.setattr(produce, "_posterior", broken)
    with pytest.raises(StageFailed, match="stage 'posterior' failed: no sampler today") as caught:
        gn.report(table(), out=tmp_path, batch_size=16, momentum=0.5, max_time=3.0, progress=False)
    assert caught.value.stage == "posterior"
    kept = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert set(kept) == {"meta", "summary", "problem", "noise", "stationary"}
    assert len(kept["summary"]) == 5
    assert not (tmp_path / "index.html").exists()


def test_a_failed_report_leaves_nothing_of_an_older_one(made, tmp_path, monkeypatch):
    for path in (made.page, made.data, *made.draws.values()):
        shutil.copy(path, tmp_path)
    for name in ("notes.txt", "draws-mine.nc"):
        (tmp_path / name).write_text("of the user")
    monkeypatch.setattr(produce, "stationary_section", lambda *a, **k: 1 / 0)
    with pytest.raises(StageFailed):
        gn.report(table(), out=tmp_path, batch_size=16, momentum=0.5, max_time=3.0, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "notes.txt", "draws-mine.nc"}


def test_a_learning_rate_beyond_the_edge_is_refused_before_anything_runs(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        pytest.fail("something was simulated")

    monkeypatch.setattr("gradnoise.pages.stationary.simulate", never)
    monkeypatch.setattr(produce, "settled", never)
    with pytest.raises(
        ValueError, match=r"learning_rate must be below the stability edge [0-9.]+ of this problem, got 50"
    ):
        gn.report(table(), out=tmp_path / "new", batch_size=16, learning_rate=50.0, progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"batch_size": 301}, ValueError, "batch_size must be <= num_examples = 300"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be > 0"),
        ({"momentum": 1.0}, ValueError, "momentum must lie in"),
        ({"num_chains": 1}, ValueError, "num_chains must be between 2"),
        ({"reference": "exactly"}, ValueError, "reference must be one of"),
        ({"max_time": 0}, ValueError, "max_time must be > 0"),
        ({"prior_scale": 0}, ValueError, "prior_scale must be > 0"),
        ({"model": "logistic"}, ValueError, "model must be 'linear'"),
    ],
)
def test_bad_arguments_are_refused_before_the_mode_is_looked_for(change, error, match, monkeypatch, tmp_path):
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    with pytest.raises(error, match=match):
        gn.report(table(), out=tmp_path / "new", progress=False, **change)
    assert not (tmp_path / "new").exists()


def test_other_things_than_problems_and_data_sets_are_refused():
    with pytest.raises(TypeError, match=r"problem must be a gn.Problem or a datasets.Dataset"):
        gn.report(np.zeros((3, 2)))
    wide = np.random.default_rng(0).standard_normal((5, 1200))
    with pytest.raises(ValueError, match="at most 1000 parameters"):
        gn.report(Dataset(wide, np.arange(5.0), tuple(map(str, range(1200))), "y", model="linear"), batch_size=2)


def doubled(n=300, seed=0):
    """A duplicated column: its direction has no noise, only the prior acts there. Of the shape of `table`."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n))
    y = a - 0.5 * b + 0.5 * rng.standard_normal(n)
    return Dataset(np.stack([a, a, b], axis=1), y, ("a", "a2", "b"), "y", model="linear")


def test_a_duplicated_column_gives_a_page(tmp_path):
    made = gn.report(doubled(), out=tmp_path, batch_size=16, momentum=0.5, max_time=0.5, progress=False)
    assert made.page.exists()
    rows = {row["name"]: row for row in made.results["posterior"]["methods"]}
    for kind in ("scalar", "diagonal", "full"):
        assert "In 1 of 4 directions no example adds noise" in rows[f"constant SGD, {kind}"]["reasons"][0]


@pytest.mark.parametrize("size", [1e-10, 1e-13, 0.0])
def test_silent_directions_are_counted_at_rounding_level(size):
    assert samplers.silent_directions(np.diag([1.0, 2.0, 3.0]), np.diag([1.0, size, 3.0])) == 1
    assert samplers.silent_directions(np.diag([1.0, 2.0, 3.0]), np.diag([1.0, 1e-7, 3.0])) == 0


def test_one_sampler_that_fails_is_a_row_with_the_reason(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        msg = "no Langevin today"
        raise ValueError(msg)

    monkeypatch.setattr(samplers.theory, "corrected_langevin_tuning", broken)
    made = gn.report(doubled(), out=tmp_path, batch_size=16, momentum=0.5, max_time=0.5, progress=False)
    (row,) = [row for row in made.results["posterior"]["methods"] if row["recommended"]]
    assert (row["level"], row["reasons"]) == ("not run", ["It failed: no Langevin today"])
    assert made.page.exists()
