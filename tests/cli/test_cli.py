"""The command line: one line and exit code 2 for bad input, and nothing compiled for it."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from gradnoise import __version__, cli


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch):
    monkeypatch.setattr(cli, "_set_up_jax", lambda: None)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradnoise", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out = capsys.readouterr()
        return caught.value.code, out.out, out.err

    return call


@pytest.fixture
def shortly(monkeypatch):
    """A report that simulates nothing and samples no posterior: its words about the problem are there all the same."""
    from gradnoise.pages import produce

    monkeypatch.setattr(produce, "stationary_section", lambda *a, **k: None)
    monkeypatch.setattr(produce, "_posterior", lambda *a, **k: None)


# slow: whole reports on the same problems; test_a_whole_run_on_a_file makes one by default, others are made in tests/pages
@pytest.fixture(params=["shortly", pytest.param("whole", marks=pytest.mark.slow)])
def length(request):
    """Short by default."""
    if request.param == "shortly":
        request.getfixturevalue("shortly")


@pytest.fixture
def csv(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 2))
    y = x @ [1.0, -0.5] + 0.5 * rng.standard_normal(120)
    path = tmp_path / "small.csv"
    rows = [f"{a:.6f},{b:.6f},{c:.6f},{'yes' if c > 0 else 'no'}" for (a, b), c in zip(x, y, strict=True)]
    path.write_text("one,two,y,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def numbers(tmp_path):
    """A file of the shape of the table in pages/test_report, so that compiled programs are shared."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3))
    y = x @ [1.0, -0.5, 0.2] + 0.5 * rng.standard_normal(300)
    path = tmp_path / "small.csv"
    np.savetxt(path, np.c_[x, y], "%.6f", ",", header="one,two,three,y", comments="")
    return [path, "--target", "y", "--model", "linear", "--batch-size", 16]


def test_version_and_help(run):
    assert run("--version") == (0, f"gradnoise {__version__}\n", "")
    code, out, _ = run("report", "--help")
    assert code == 0
    assert "--learning-rate" in out


def test_help_and_a_missing_file_need_no_jax():
    program = (
        "import sys\nfrom gradnoise import cli\nsys.argv = ['gradnoise', *{}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert stop.code == {}, stop.code\n"
        "assert 'jax' not in sys.modules\n"
    )
    for arguments, code in ((["report", "--help"], 0), (["report", "no.csv", "--target", "y", "--model", "linear"], 2)):
        subprocess.run(
            [sys.executable, "-c", program.format(arguments, code)], check=True, capture_output=True, timeout=60
        )


def wide(path):
    with gzip.open(path / "wide.csv.gz", "wt") as file:
        file.write(",".join(f"c{i}" for i in range(21_000)) + "\n")
        file.write("not,read")


BAD = {
    "missing file": (["gone.csv", "--target", "y", "--model", "linear"], "no file at 'gone.csv'"),
    "wrong column": (
        ["{csv}", "--target", "z", "--model", "linear"],
        "--target must name a column of 'small.csv', got 'z'",
    ),
    "empty file": (["empty.csv", "--target", "y", "--model", "linear"], "'empty.csv' is empty"),
    "21 000 columns": (["wide.csv.gz", "--target", "c0", "--model", "linear"], "21000 columns"),
    "labels for linear": (
        ["{csv}", "--target", "label", "--model", "linear"],
        "Labels are classes: use --model logistic",
    ),
    "strings as features": (["{csv}", "--target", "y", "--model", "linear"], "Pass --encode onehot"),
    "batch above N": (["--example", "diabetes", "--batch-size", "443"], "--batch-size must be <= num_examples = 442"),
    "no batch": (["--batch-size", "0"], "--batch-size must be >= 1"),
    "negative rate": (["--learning-rate", "-1"], "--learning-rate must be > 0"),
    "momentum 1": (["--momentum", "1"], "--momentum must lie in [0, 1)"),
    "unknown example": (["--example", "iris"], "--example must be one of"),
    "unknown model": (["{csv}", "--target", "y", "--model", "ridge"], "--model must be one of"),
    "unknown reference": (["--reference", "hmc"], "--reference must be one of"),
    "no target": (["{csv}", "--model", "linear"], "--target COLUMN must be given"),
    "no model": (["{csv}", "--target", "y"], "--model linear|logistic|softmax|poisson must be given"),
    "target without data": (["--target", "y"], "--target must come with DATA"),
    "data and example": (["{csv}", "--example", "wine"], "either DATA or --example"),
    "not a number": (["--batch-size", "many"], "--batch-size"),
    "unknown option": (["--lr", "0.1"], "--lr"),
    "one chain": (["--chains", "1"], "--chains must be between 2 and 4096"),
    "negative seed": (["--seed", "-1"], "--seed must be between 0"),
    "no scale": (["--observation-scale", "0"], "--observation-scale must be > 0"),
    "offset of a linear model": (
        ["{csv}", "--target", "y", "--model", "linear", "--offset", "one"],
        "--offset must come with --model poisson",
    ),
    "missing values": (["holes.csv", "--target", "y", "--model", "linear"], "Pass --missing drop"),
    "ending": (["notes.txt", "--target", "y", "--model", "linear"], "must end in one of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, run, csv, tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "holes.csv").write_text("x,y\n1,2\n,3\n3,1\n")
    wide(tmp_path)
    arguments, message = BAD[case]
    compiled = []

    def count(event, *_, **__):
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        code, _, err = run("report", *[a.format(csv=csv) for a in arguments])
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert code == 2
    assert message in err
    assert err.startswith("gradnoise: ")
    assert err.count("\n") == 1
    assert not compiled
    assert not (tmp_path / "gradnoise-report").exists()


def test_a_learning_rate_beyond_the_edge_names_the_edge(run, numbers, monkeypatch, tmp_path):
    monkeypatch.setattr("gradnoise.pages.stationary.simulate", lambda *a, **k: pytest.fail("simulated"))
    code, _, err = run("report", *numbers, "--learning-rate", "9")
    assert code == 2
    table = np.loadtxt(numbers[0], delimiter=",", skiprows=1)
    x, y = ((table - table.mean(0)) / table.std(0))[:, :3], table[:, 3] / table[:, 3].std()
    rest = y - x @ np.linalg.lstsq(x, y - y.mean())[0] - y.mean()
    steepest = np.linalg.eigvalsh(x.T @ x / 300).max() / (rest @ rest / 296)
    assert re.search(r"--learning-rate must be below the stability edge [0-9.]+ ", err), err
    edge = float(re.search(r"edge ([0-9.]+)", err)[1])
    assert edge == pytest.approx(2 / steepest, rel=0.03)
    assert err.count("\n") == 1
    assert not (tmp_path / "gradnoise-report").exists()


def test_separable_classes_without_much_prior_are_no_traceback(run, tmp_path):
    (tmp_path / "apart.csv").write_text("x,y\n" + "\n".join(f"{i},{int(i > 10)}" for i in range(20)))
    code, _, err = run(
        "report", "apart.csv", "--target", "y", "--model", "logistic", "--batch-size", 2, "--prior-scale", 1e30
    )
    assert code == 2
    assert "stage 'mode' failed" in err
    assert err.count("\n") == 1


def test_a_whole_run_on_a_file(run, numbers, tmp_path, monkeypatch):
    from gradnoise.pages import produce

    arguments = ["report", *numbers, "--momentum", 0.5, "--max-time", 0.5, "--out", "there"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "observation scale" in out
    assert {p.name for p in (tmp_path / "there").iterdir()} >= {"index.html", "report.json", "draws-reference.nc"}
    held = json.loads((tmp_path / "there" / "report.json").read_text("utf-8"))

    def computed(subject, options, results, draws, stages):
        results |= {key: value for key, value in held.items() if key not in ("meta", "files")}

    monkeypatch.setattr(produce, "_compute", computed)  # the same again; what is told of it is another matter
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["problem"]["name"] == "small"
    assert run(*arguments, "--quiet") == (0, "", "")


def test_more_parameters_than_examples_take_an_observation_scale(run, tmp_path, length):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((6, 8))
    rows = "\n".join(",".join(f"{v:.6f}" for v in row) for row in table)
    (tmp_path / "few.csv").write_text(",".join("abcdefgy") + "\n" + rows + "\n")
    arguments = ["report", "few.csv", "--target", "y", "--model", "linear", "--batch-size", 2, "--max-time", 0.2]
    code, _, err = run(*arguments)
    assert code == 2
    assert "--observation-scale" in err
    code, _, err = run(*arguments, "--observation-scale", 0.5)
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "gradnoise-report" / "report.json").read_text("utf-8"))
    assert (results["problem"]["observation_scale"], results["problem"]["observation_scale_from"]) == (0.5, "given")


def test_offset_weights_and_a_flat_prior_reach_the_page(run, tmp_path, length):
    rng = np.random.default_rng(0)
    x, exposure = rng.standard_normal(80), rng.uniform(0.5, 3.0, 80)
    counts = rng.poisson(exposure * np.exp(0.5 + 0.4 * x))
    lines = [
        f"{a:.5f},{np.log(e):.5f},{k},{1 + i % 2}" for i, (a, e, k) in enumerate(zip(x, exposure, counts, strict=True))
    ]
    (tmp_path / "claims.csv").write_text("x,log_time,n,w\n" + "\n".join(lines) + "\n")
    code, out, err = run(
        "report", "claims.csv", "--target", "n", "--model", "poisson", "--offset", "log_time", "--weights", "w",
        "--prior-scale", "inf", "--batch-size", 8, "--max-time", 0.2, "--reference", "laplace",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "80 examples, 1 feature, target 'n'" in out
    problem = json.loads((tmp_path / "gradnoise-report" / "report.json").read_text("utf-8"))["problem"]
    told = " ".join(problem["notes"])
    assert "Example weights are used, from 1 to 2 (mean 1.5)" in told
    assert "An offset is added" in told
    assert "all priors are flat" in told
    assert problem["prior_scale"] is None
    intercept = {p["name"]: p for p in problem["mode"]["parameters"]}["intercept"]
    assert abs(intercept["value"] - 0.5) < 4 * intercept["sd"]  # without the offset it would be 1.0


def test_ctrl_c_keeps_the_finished_stages(run, numbers, monkeypatch, tmp_path):
    from gradnoise.pages import produce

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(produce, "stationary_section", interrupted)
    code, _, err = run("report", *numbers)
    assert code == 130
    assert err == "gradnoise: interrupted; the stages that were finished are in report.json\n"
    assert "noise" in json.loads((tmp_path / "gradnoise-report" / "report.json").read_text("utf-8"))


def test_ctrl_c_before_a_stage_is_finished_names_no_file(run, monkeypatch, tmp_path):
    from gradnoise.pages import produce

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(produce, "_compute", interrupted)
    code, out, err = run("report", "--example", "diabetes", "--quiet")
    assert (code, out) == (130, "")
    assert err == "gradnoise: interrupted; no stage was finished, so nothing was written\n"
    assert not (tmp_path / "gradnoise-report").exists()
    monkeypatch.setattr("gradnoise.cli._table", interrupted)
    assert run("report", "--example", "diabetes")[::2] == (130, "gradnoise: interrupted\n")


def test_a_folder_of_the_users_takes_force(run, monkeypatch, tmp_path):
    from gradnoise.pages import produce

    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "index.html").write_text("mine")
    code, _, err = run("report", "--example", "diabetes", "--out", "o", "--quiet")
    assert code == 2
    assert "--out must be a new or empty folder" in err
    assert "pass --force" in err
    assert (tmp_path / "o" / "index.html").read_text() == "mine"
    monkeypatch.setattr(produce, "_compute", lambda *a: 1 / 0)
    code, _, err = run("report", "--example", "diabetes", "--out", "o", "--quiet", "--force")
    assert code == 1
    assert "stage '' failed: division by zero" in err


def test_hidden_characters_of_names_do_not_reach_the_terminal(run, tmp_path):
    (tmp_path / "t\x1b[31m.csv").write_text("a,y\n1,2\n2,x\n")
    code, out, err = run("report", "t\x1b[31m.csv", "--target", "y", "--model", "linear")
    assert code == 2
    assert "\x1b" not in out + err
