"""Tables as people have them: what is read, what is refused, and whether the remedy that is named helps.

Right values are computed here with NumPy and SciPy, or stand in the table itself.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import zipfile

import numpy as np
import polars as pl
import pytest
import scipy.optimize
import typer

import gradnoise as gn
from gradnoise import cli, datasets, pages
from gradnoise.datasets import files
from gradnoise.pages import local
from gradnoise.pages.subject import subject_of
from gradnoise.pages.units import disagreement

ROWS = 40


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Write a file into the working directory and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="t.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line up to the report itself; return code, stderr and the arguments of the report."""
    monkeypatch.setattr(cli, "_set_up_jax", lambda: None)

    def call(*arguments):
        taken = {}

        def report(table, **options):
            taken.update(options, table=table)
            raise KeyboardInterrupt

        monkeypatch.setattr(pages, "report", report)
        monkeypatch.setattr(sys, "argv", ["gradnoise", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err, taken

    return call


def table(columns, rows=ROWS, separator=","):
    """A CSV text: name -> list that is repeated, or a function of the row number."""
    lines = [separator.join(columns)]
    values = [c if callable(c) else (lambda i, c=c: c[i % len(c)]) for c in columns.values()]
    lines += [separator.join(str(value(i)) for value in values) for i in range(rows)]
    return "\n".join(lines) + "\n"


def number(i):
    return (7 * i) % 11 + 0.5


def test_the_named_file_is_read_and_no_other(put, tmp_path):
    """A1: a path is no pattern, in CSV, Parquet and NPZ, and `~` is the home folder."""
    for name in ("t[1]", "s*", "q?", "{a,b}", "with space", "dir=1"):
        for ending, wrong in ((".csv", "t1.csv"), (".parquet", "sa.parquet"), (".npz", "qa.npz")):
            for path, first in ((wrong, 9.0), (name + ending, 1.0)):
                frame = pl.DataFrame({"a": [first, 2.0, 4.0], "y": [3.0, 1.0, 2.0]})
                if ending == ".csv":
                    frame.write_csv(tmp_path / path)
                elif ending == ".parquet":
                    with (tmp_path / path).open("wb") as file:
                        frame.write_parquet(file)
                else:
                    np.savez(tmp_path / path, **frame.to_dict(as_series=False))
            assert datasets.load(name + ending, target="y").X[:, 0].tolist() == [1.0, 2.0, 4.0], name + ending


def test_home_folder(put, tmp_path, monkeypatch, run):
    """E: `~` in the path of the data, of --out, and of OpenML's cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    put(table({"a": number, "y": number}))
    assert datasets.load("~/t.csv", target="y").num_examples == ROWS
    code, _, taken = run("~/t.csv", "--target", "y", "--model", "linear", "--out", "~/there")
    assert (code, taken["out"]) == (130, tmp_path / "there")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert cli._cache_folder() == tmp_path / "cache" / "gradnoise" / "jax"
    with pytest.raises(ValueError, match="home folder"):
        datasets.load("~nobody-of-that-name/t.csv", target="y")


def test_files_that_are_none(put, tmp_path):
    """F: pipes, devices and folders are told apart, without waiting for what a pipe may bring."""
    os.mkfifo(tmp_path / "pipe.csv") if hasattr(os, "mkfifo") else put("", "pipe.csv")
    for path, words in (
        ("pipe.csv", "a pipe"),
        ("/dev/null", "a device"),
        (".", "a directory"),
        ("x/t.csv", "no file"),
    ):
        put("a,y\n1,2\n")
        with pytest.raises((ValueError, OSError), match=words):
            datasets.load(path, target="y")


def zipped(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("t.csv", text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,y\n1,2\n3,4\n".encode("utf-16"), "iconv -f UTF-16 -t"),
        ("a,y\n1,2\n3,4\n".encode("utf-16-le"), "iconv -f UTF-16LE -t"),
        ("a,y\n1,2\n3,4\n".encode("utf-16-be"), "iconv -f UTF-16BE -t"),
        ("a,y\n1,2\n3,4\n".encode("utf-32"), "iconv -f UTF-32 -t"),
        (gzip.compress(b"a,y\n1,2\n3,4\n", mtime=0), r"gzip file.*\.csv\.gz"),
        (zipped("a,y\n1,2\n"), "zip archive"),
        (b"PAR1\x15\x04\x15\x00", r"Parquet.*\.parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
        (b"<!DOCTYPE html><html><body>a,y</body></html>", "HTML"),
        (b"a,y\n1,\x002\n", "binary"),
    ],
)
def test_what_is_no_csv_is_called_by_its_name(put, content, words):
    """F: the remedy is for the format that the file has."""
    with pytest.raises(ValueError, match=words):
        datasets.load(put(content), target="y")
    assert datasets.load(put("PAR1,y\n1,2\n3,4\n"), target="y").feature_names == ("PAR1",)  # a name, no format


def test_a_small_file_that_expands_without_end_is_refused(put, tmp_path, monkeypatch):
    """E: the text of a .csv.gz is bounded while it is expanded, by measure and by memory."""
    bomb = tmp_path / put(gzip.compress(b"a,y\n" + b"1,2\n" * 400_000), "bomb.csv.gz")
    plain = tmp_path / put("a,y\n" + "1,2\n" * 100_000)
    monkeypatch.setattr(files, "MUCH", 1 << 20)
    with pytest.raises(ValueError, match=r"bomb.csv.gz' expands to more than \d MB, over 100 times"):
        datasets.load(bomb, target="y")
    monkeypatch.undo()
    monkeypatch.setattr("gradnoise._checks.memory", lambda: 1e6)
    with pytest.raises(ValueError, match=r"GB of text.*memory"):
        datasets.load(bomb, target="y")
    with pytest.raises(ValueError, match=r"memory"):
        datasets.load(plain, target="y")


def test_arrays_that_do_not_fit_the_target_or_the_file(tmp_path):
    """C2, F: an NPZ header is held against the file, and features of another length are named with both lengths."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("y.npy", header.getvalue() + b"\0" * 80)
        archive.writestr("X.npy", header.getvalue() + b"\0" * 80)
    with pytest.raises(ValueError, match=r"8,000,000,000,000 bytes, the file has 80"):
        datasets.load(tmp_path / "big.npz", target="y")
    np.savez(tmp_path / "short.npz", X=np.ones((5, 2)), y=np.arange(6.0))
    with pytest.raises(ValueError, match=r"as long as the target 'y' \(6,\).*X \(5, 2\)"):
        datasets.load(tmp_path / "short.npz", target="y")


def test_spaces_around_fields_are_no_part_of_them(put):
    """6: the layout of UCI Adult; a numeric column stays one, and " ?" is missing."""
    text = "age, work, hours, income\n39, State-gov, 40, <=50K\n50, ?, 13, >50K\n38, Private, ?, <=50K\n53, Private, 40, >50K\n28, State-gov, 12, >50K\n"
    data = datasets.load(put(text), target="income", model="logistic", encode="onehot", missing="drop")
    assert data.feature_names == ("age", "work=State-gov", "hours")
    assert data.X.tolist() == [[39, 1, 40], [53, 0, 40], [28, 1, 12]]
    assert data.class_labels == ("<=50K", ">50K")
    assert "2 of 5 rows" in data.notes[0]
    frame = pl.DataFrame({"work": [" ?", " a", "b ", "a", "b"], "x": [1, 2, 3, 5, 4], "y": [1.0, 2.0, 4.0, 3.0, 3.5]})
    framed = datasets.load(frame, target="y", encode="onehot", missing="drop")
    assert framed.X.tolist() == [[0, 2], [1, 3], [0, 5], [1, 4]]


@pytest.mark.parametrize("heading", ["", "Unnamed: 0", '""', "X", "rownames", "index"])
@pytest.mark.parametrize("first", [0, 1])
def test_row_numbers_are_left_out(put, heading, first):
    """8: the index of DataFrame.to_csv and write.csv, under the names it gets on its way."""
    text = table({heading: lambda i: i + first, "a": number, "y": [1, 2, 5, 3]})
    data = datasets.load(put(text), target="y")
    assert data.feature_names == ("a",)
    assert "row numbers" in data.notes[0]


def test_other_columns_without_a_name(put):
    """8: shuffled and subset row numbers, names of rows, R's short header, trailing separators; but no real feature."""
    for values, left in (
        (lambda i: (37 * i) % 41, True), (lambda i: 3 * i + 5, True), (lambda i: f"car {i}", True), (lambda i: "", True),
        (number, False),
    ):  # fmt: skip
        data = datasets.load(put(table({"": values, "a": number, "y": [1, 2, 5, 3]})), target="y")
        assert data.feature_names == (("a",) if left else ("column 1 (no name)", "a"))
    kept = datasets.load(put(table({"X": lambda i: i + 1, "y": [1, 2, 5]})), target="y")
    assert kept.feature_names == ("X",)  # the only feature
    named = datasets.load(put(table({"time": lambda i: i + 1, "X": number, "y": [1, 2, 5]})), target="y")
    assert named.feature_names == ("time", "X")
    short = '"a","y"\n' + "".join(f'"{i}",{number(i)},{i % 3}\n' for i in range(1, 9))
    assert datasets.load(put(short), target="y").X[:, 0].tolist() == [number(i) for i in range(1, 9)]
    for text in ("a,y,\n1,2,\n3,4,\n", "a,y\n1,2,\n3,4,\n", "a,y,,\n1,2,,\n3,4,,\n"):
        assert datasets.load(put(text), target="y").X.tolist() == [[1.0], [3.0]]


WRITTEN = {  # what stands in the file, what it is, and the options that read it
    "thousands": (["1,243.56", "12,000.5", "7"], [1243.56, 12000.5, 7], {"thousands": "comma"}),
    "whole thousands": (["1,243", "12,000", "7"], [1243, 12000, 7], {"thousands": "comma"}),
    "lakhs": (["1,23,456", "12,34,567", "7"], [123456, 1234567, 7], {"thousands": "comma"}),
    "decimal comma": (["-0,009", "1,25", "3"], [-0.009, 1.25, 3], {"decimal": "comma"}),
    "both": (["1.243,5", "12.000,25", "0,5"], [1243.5, 12000.25, 0.5], {"decimal": "comma", "thousands": "point"}),
    "points": (["1.243.000", "12.000.000", "5"], [1243000, 12e6, 5], {"decimal": "comma", "thousands": "point"}),
    "apostrophes": (["1'243", "12’000.5", "7"], [1243, 12000.5, 7], {"thousands": "apostrophe"}),
    "spaces": (["1 243", "12\u202f000", "1\u00a0000 000"], [1243, 12000, 1e6], {"thousands": "space"}),
    "percent": (["42%", "3.5 %", "-1%"], [42, 3.5, -1], {"signs": "drop"}),
    "currency": (["$1,243.50", "$7", "($4.10)"], [1243.5, 7, -4.1], {"signs": "drop", "thousands": "comma"}),
    "euros": (["1.243,50 €", "7,00 €", "-3,00 €"], [1243.5, 7, -3], {"signs": "drop", "decimal": "comma", "thousands": "point"}),
    "exponents": (["1,5e3", "2,5E-01", "3"], [1500, 0.25, 3], {"decimal": "comma"}),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize("role", ["a", "y"])
def test_numbers_in_another_notation(put, case, role, run):
    """10: the option is named that reads the column, also where it is the target; and it does."""
    texts, values, options = WRITTEN[case]
    columns = {"a": number, "b": number, "y": [1.5, 2, 5, 3]} | {role: texts}
    name = put(table(columns, rows=12, separator=";"))
    given = [name, "--target", "y", "--model", "linear", "--separator", ";"]
    for encode in ("error", "onehot"):
        code, told, _ = run(*given, "--encode", encode)
        assert code == 2
        assert "--encode onehot" not in told
        assert "softmax" not in told
        assert repr(texts[0]).strip("'\"") in told
        for option, value in options.items():
            assert f"--{option} {value}" in told
    more = [part for option, value in options.items() for part in (f"--{option}", value)]
    assert run(*given, *more, "--batch-size", 4)[0] == 130
    data = datasets.load(name, target="y", separator=";", **options)
    read = data.X[:, 0] if role == "a" else data.y
    np.testing.assert_allclose(read[:3], values, rtol=1e-15)


def test_a_point_that_may_be_either_is_not_guessed(put):
    """10: with decimal commas, 1.243 alone may be 1243; beside 2.5 it is not."""
    unclear = put(table({"a": ["1.243", "2.500", "7"], "y": ["0,5", "1,5", "2,5", "4"]}, separator=";"))
    with pytest.raises(ValueError, match=r"'1.243'.*thousands='point'"):
        datasets.load(unclear, target="y", separator=";", decimal="comma")
    data = datasets.load(unclear, target="y", separator=";", decimal="comma", thousands="point")
    assert data.X[:3, 0].tolist() == [1243, 2500, 7]
    clear = put(table({"a": ["1.243", "2.5", "7"], "y": ["0,5", "1,5", "2,5", "4"]}, separator=";"))
    assert datasets.load(clear, target="y", separator=";", decimal="comma").X[:3, 0].tolist() == [1.243, 2.5, 7]
    with pytest.raises(ValueError, match="decimal and thousands must be different"):
        datasets.load(clear, target="y", decimal=",", thousands="comma")


@pytest.mark.parametrize("code", [".", "-", "--", "n.a.", "none", "missing"])
def test_codes_for_missing_values_in_a_column_of_numbers(put, code, run):
    """10: the code is named with its rows; what it means is asked, and then obeyed."""
    name = put(table({"a": lambda i: code if i % 4 == 0 else number(i), "b": number, "y": [1, 2, 5, 3, 4]}))
    for encode in ("error", "onehot"):
        code_, told, _ = run(name, "--target", "y", "--model", "linear", "--encode", encode)
        assert code_ == 2
        assert f"'{code}' in 10 of 40 rows" in told
        assert f"--missing-codes {code}" in told
        assert "--encode onehot" not in told
    data = datasets.load(name, target="y", missing_codes=code, missing="drop")
    assert data.X[:, 0].tolist() == [number(i) for i in range(ROWS) if i % 4]
    mixed = put(table({"a": [1.5, code, 2.5, "?", 3.5, "-999", 4], "b": number, "y": [1, 2, 5, 3, 4]}))
    data = datasets.load(mixed, target="y", missing_codes=[code, "-999"], missing="drop")
    assert set(data.X[:, 0]) == {1.5, 2.5, 3.5, 4}


def test_a_number_that_stands_for_nothing(put, run):
    """10: -999 among small numbers is doubted aloud, and taken for missing on request."""
    name = put(table({"a": lambda i: -999 if i % 8 == 3 else number(i), "b": number, "y": [1, 2, 5, 3, 4]}))
    code, told, _ = run(name, "--target", "y", "--model", "linear")
    assert code == 130
    assert "holds -999 in 5 of 40 rows" in told
    assert "--missing-codes -999" in told
    data = datasets.load(name, target="y", missing_codes=-999, missing="drop")
    assert data.num_examples == 35
    assert data.X[:, 0].min() == 0.5
    quiet = datasets.load(
        put(table({"a": lambda i: i % 12 * 9, "b": number, "y": [1, 2, 5]})), target="y"
    )  # 99 is one of many
    assert not any(note.startswith("Caution") for note in quiet.notes)


@pytest.mark.parametrize(
    "text",
    ["2020-01-{:02d}", "{}/2/2020", "{}.3.99", "2020-01-{:02d} 12:30:00", "2020-01-{:02d}T12:30Z", "{} Jan 2021", "Jan {}, 2021", "{}-Mar-21", "12:{:02d}", "199{}-05"],
)  # fmt: skip
def test_dates_are_no_categories(put, text):
    """10: dates are named as dates, with and without one-hot encoding."""
    name = put(table({"d": lambda i: f'"{text.format(i % 9 + 1)}"', "b": number, "y": [1, 2, 5, 3, 4]}))
    for encode in ("error", "onehot"):
        with pytest.raises(ValueError, match=r"'d' holds dates or times such as .*drop='d'") as caught:
            datasets.load(name, target="y", encode=encode)
        assert "Pass encode" not in str(caught.value)
    assert datasets.load(name, target="y", drop="d").feature_names == ("b",)


def test_names_of_rows_are_no_categories(put):
    """10: 301 levels in 392 rows, ids; while real categories, also such as 3+, are encoded."""
    name = put(table({"car": lambda i: f"car {i % 301}", "b": number, "y": [1, 2, 5, 3, 4]}, rows=392))
    for encode in ("error", "onehot"):
        with pytest.raises(ValueError, match=r"'car' has 301 different values in 392 rows.*drop='car'"):
            datasets.load(name, target="y", encode=encode)
    with pytest.raises(ValueError, match=r"301 different values"):
        datasets.load(name, target="car", model="softmax")
    many = put(table({"town": lambda i: f"t{i % 30}", "b": number, "y": [1, 2, 5, 3, 4]}, rows=120))
    data = datasets.load(many, target="y", encode="onehot")
    assert data.num_features == 30
    assert any("'town' has 30 levels, 4 rows each" in note for note in data.notes)
    few = put(table({"children": ["0", "1", "2", "3+"], "b": number, "y": [1, 2, 5, 3, 4]}))
    assert datasets.load(few, target="y", encode="onehot").feature_names[:3] == (
        "children=1",
        "children=2",
        "children=3+",
    )
    for flags in (["True", "False"], ["TRUE", "FALSE"], ["true", "false"]):
        data = datasets.load(put(table({"s": flags, "b": number, "y": [1, 2, 5]})), target="y")
        assert (data.feature_names, data.X[:2, 0].tolist()) == (("s", "b"), [1, 0])
    with pytest.raises(ValueError, match=r"hold strings: 's' .*encode='onehot' to make 1 column"):
        datasets.load(put(table({"s": ["yes", "no"], "b": number, "y": [1, 2, 5]})), target="y")


def test_what_dropping_costs_is_said_before(put, run):
    """10: rows lost, the columns that cost them, and what is left without these."""
    name = put(table({"note": lambda i: "seen" if i % 10 == 0 else "", "a": lambda i: "" if i % 8 == 1 else number(i), "b": number, "y": [1, 2, 5, 3, 4]}))  # fmt: skip
    told = run(name, "--target", "y", "--model", "linear")[1]
    lost = sum(i % 10 != 0 or i % 8 == 1 for i in range(ROWS))
    assert f"('note': 36, 'a': 5). Pass --missing drop to drop the rows that hold them: {lost} of 40" in told
    assert "with --drop note and --drop a it is 0" in told
    code, told, taken = run(name, "--target", "y", "--model", "linear", "--missing", "drop", "--drop", "note")
    assert (code, taken["table"].num_examples) == (130, 35)
    assert "Dropped 5 of 40 rows" in told


def test_a_wide_encoding_is_counted_before_it_is_built(monkeypatch):
    """D: levels are counted, and memory is asked, before anything is filled."""
    monkeypatch.setattr("gradnoise.datasets.policy._filled", lambda *a: pytest.fail("built"))
    ids = pl.DataFrame({"id": [f"k{i}" for i in range(22_000)], "y": np.arange(22_000) % 7})
    with pytest.raises(ValueError, match="22000 different values"):
        datasets.load(ids, target="y", encode="onehot")
    three = {c: [f"{c}{i % 7_000}" for i in range(22_000)] for c in "abc"}
    with pytest.raises(ValueError, match=r"makes 20997 columns.*more than 20000.*drop='a'"):
        datasets.load(pl.DataFrame(three | {"y": np.arange(22_000) % 7}), target="y", encode="onehot")
    monkeypatch.setattr("gradnoise._checks.memory", lambda: 1e8)
    with pytest.raises(ValueError, match=r"22,000 rows of 6,999 features.*memory"):
        datasets.load(pl.DataFrame({"a": three["a"], "y": np.arange(22_000) % 7}), target="y", encode="onehot")


BIG = 2**53


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1000001, 1000002], ("1000001", "1000002")),
        ([BIG, BIG + 1, BIG + 2], (str(BIG), str(BIG + 1), str(BIG + 2))),
        ([-(2**60) - 1, 2**63 - 1, 2**63 - 2], (str(-(2**60) - 1), str(2**63 - 2), str(2**63 - 1))),
        ([0.1, 0.1 + 1e-15], ("0.1", "0.100000000000001")),
        ([True, False], ("False", "True")),
        (["New York", "New  York", "New Jersey"], ("New  York", "New Jersey", "New York")),
    ],
)
def test_labels_stay_apart_and_whole(values, labels, put, tmp_path):
    """A6: in frames, Parquet, CSV and NPZ."""
    model = "logistic" if len(labels) == 2 else "softmax"
    expected = [sorted(set(values)).index(v) for v in (values * 4)[:8]]
    frame = pl.DataFrame({"a": [1.0, 2, 3, 5, 4, 6, 8, 7], "y": (values * 4)[:8]})
    with (tmp_path / "t.parquet").open("wb") as file:
        frame.write_parquet(file)
    frame.write_csv(tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", a=frame["a"].to_numpy(), y=frame["y"].to_numpy().astype("U") if isinstance(values[0], str) else frame["y"].to_numpy())  # fmt: skip
    for source in (frame, tmp_path / "t.parquet", tmp_path / "t.csv", tmp_path / "t.npz"):
        data = datasets.load(source, target="y", model=model)
        shown = tuple(label.title() if values[0] is True else label for label in data.class_labels)
        assert (shown, data.y.tolist()) == (labels, expected)


def test_labels_that_differ_by_zeros_or_spaces_or_beyond_every_type(put):
    """A6: 01 and 1, whole numbers of 23 digits; labels of a frame that only spaces tell apart are an error."""
    digits = ["99999999999999999999992", "99999999999999999999993"]
    assert datasets.load(put(table({"a": number, "y": digits})), target="y", model="logistic").class_labels == tuple(
        digits
    )
    assert datasets.load(put(table({"a": number, "y": ["01", "1"]})), target="y", model="logistic").class_labels == (
        "01",
        "1",
    )
    frame = pl.DataFrame({"a": [1.0, 2, 4, 3], "y": ["k", "k ", "m", "k"]})
    with pytest.raises(ValueError, match="more than the spaces around them"):
        datasets.load(frame, target="y", model="softmax")


def test_two_columns_of_one_name(put):
    """A7: levels that collide with a column, headers that are equal after spaces, a feature called intercept."""
    frame = pl.DataFrame({"a": ["x", "y", "x", "y"], "a=y": [0.1, 0.2, 0.3, 0.7], "t": [0, 1, 1, 0]})
    with pytest.raises(ValueError, match="two columns called 'a=y'"):
        datasets.load(frame, target="t", model="logistic", encode="onehot")
    with pytest.raises(ValueError, match="duplicate column names: 'a'"):
        datasets.load(put("a, a,y\n1,2,3\n4,5,7\n"), target="y")
    own = datasets.load(pl.DataFrame({"intercept": [1.0, 2, 4], "y": [1.0, 5, 3]}), target="y", model="linear")
    with pytest.raises(ValueError, match="must not be called 'intercept'"):
        subject_of(own, name=None, model=None, prior_scale=1.0)


def test_layouts_of_csv(put):
    """C2 and siblings: quotes in names, BOM, CRLF, old line ends, blank lines, comments, words for separators."""
    quoted = put('a,"b""c",y\n1,2,3\n2,5,4\n3,1,8\n')
    assert datasets.load(quoted, target="y").feature_names == ("a", 'b"c')
    assert datasets.load(quoted, target='b"c').y.tolist() == [2, 5, 1]
    body = "a,y\n1,2\n3,4\n"
    same = [
        "\ufeff" + body, body.replace("\n", "\r\n"), body.replace("\n", "\r"), "\n\n" + body + "\n\n", body.replace("3", "\n3"),
        '"a","y"\n"1","2"\n"3","4"\n', "a , y \n 1, 2\n 3, 4\n",
    ]  # fmt: skip
    for text in same:
        data = datasets.load(put(text), target="y")
        assert (data.X.tolist(), data.y.tolist(), data.feature_names) == ([[1], [3]], [2, 4], ("a",)), text
    marked = put("# by hand\n" + body + "# the end\n")
    with pytest.raises(ValueError, match="pass comment='#'"):
        datasets.load(marked, target="y")
    assert datasets.load(marked, target="y", comment="#").y.tolist() == [2, 4]
    for mark, told, given in ((";", "';'", ";"), ("\t", "'tab'", "tab"), ("|", "'|'", "|"), (" ", "'space'", "space"), ("\t", "tab", "\\t")):  # fmt: skip
        name = put(body.replace(",", mark))
        with pytest.raises(ValueError, match=re.escape(f"separator={told}") if "'" in told else "separator"):
            datasets.load(name, target="y")
        assert datasets.load(name, target="y", separator=given).y.tolist() == [2, 4]
    for wrong in ("§", "ab", "", None, '"'):
        with pytest.raises(ValueError, match="separator must be one ASCII character"):
            datasets.load(name, target="y", separator=wrong)
    with pytest.raises(ValueError, match="row 2 has 3 fields, the header 2"):
        datasets.load(put("a,y\n1,2\n3,4,5\n"), target="y")


def weighted():
    r = np.random.default_rng(3)
    w = r.integers(0, 9, 60)
    x = r.normal(size=60) * np.where(w > 4, 3.0, 0.5) + 1000
    y = (r.random(60) < 1 / (1 + np.exp(x - 1000))).astype(int)
    return w, x, y


def test_a_weight_of_w_is_w_rows():
    """11: scales of a weighted table are those of its repeated rows, of the target too; what varies at weight 0 only is constant."""
    w, x, y = weighted()
    few = pl.DataFrame({"x": x, "z": np.where(w == 0, 5.0, 1.0), "w": w, "t": x**2, "y": y})
    many = pl.DataFrame({"x": np.repeat(x, w), "z": np.ones(w.sum()), "t": np.repeat(x**2, w), "y": np.repeat(y, w)})
    for target, model in (("y", "logistic"), ("t", "linear")):
        drop = "t" if target == "y" else "y"
        a = datasets.load(few, target=target, model=model, weights="w", drop=drop)
        b = datasets.load(many, target=target, model=model, drop=drop)
        assert a.feature_names == b.feature_names == ("x",)
        (sa, ka), (sb, kb) = (datasets.standardise(d, target=model == "linear") for d in (a, b))
        np.testing.assert_allclose(np.repeat(sa.X, w, axis=0), sb.X, atol=1e-11)
        np.testing.assert_allclose([ka.target_mean, ka.target_scale], [kb.target_mean, kb.target_scale], rtol=1e-13)
        np.testing.assert_allclose(kb.feature_scales, [np.repeat(x, w).std()], rtol=1e-12)
    with pytest.raises(ValueError, match="rows of positive weight"):
        datasets.load(
            few.with_columns(y=pl.Series((w == 0).astype(int))), target="y", model="logistic", weights="w", drop="t"
        )


def test_coefficients_in_the_units_of_the_columns():
    """11: exactly those of least squares on the raw columns, with their covariance; for classes, the same predictors."""
    r = np.random.default_rng(0)
    X = r.normal(size=(50, 2)) * [1e-3, 200.0] + [5.0, 1e3]
    y = 3 + X @ [500.0, 0.02] + 0.1 * r.normal(size=50)
    data, scaling = datasets.standardise(datasets.Dataset(X, y, ("a", "b"), "y", model="linear"), target=True)
    ones = np.ones((50, 1))
    A, B = np.hstack([data.X, ones]), np.hstack([X, ones])
    fitted, wanted = np.linalg.lstsq(A, data.y)[0], np.linalg.lstsq(B, y)[0]
    variance = np.sum((y - B @ wanted) ** 2)
    own, spread = scaling.coefficients(fitted, variance / scaling.target_scale**2 * np.linalg.inv(A.T @ A))
    np.testing.assert_allclose(own, wanted, rtol=1e-8)
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), np.sqrt(variance * np.diag(np.linalg.inv(B.T @ B))), rtol=1e-6)
    theta = r.normal(size=(3, 4))
    _, plain = datasets.standardise(datasets.Dataset(X, np.arange(50.0) % 4, ("a", "b"), "y", model="softmax"))
    back = plain.coefficients(theta.ravel())[0].reshape(3, 4)
    np.testing.assert_allclose(B @ back, np.hstack([(X - X.mean(0)) / X.std(0), ones]) @ theta, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="vector must hold 3 numbers"):
        scaling.coefficients([1.0, 2.0])


def deaths():
    r = np.random.default_rng(0)
    pop, u = r.integers(50_000, 2_000_000, 50), r.normal(size=50)
    counts = r.poisson(pop * np.exp(-14.5 + 0.3 * u))
    return pl.DataFrame({"u": 10 + 3 * u, "logpop": np.log(pop), "pop": pop, "deaths": counts})


def section_of(data, scale):
    subject = subject_of(data, name="deaths", model=None, prior_scale=1.0, intercept_prior_scale=scale)
    return local.problem_section(subject, gn.find_mode(subject.problem))


def test_rare_events_are_not_pulled_to_one():
    """5: with a flat intercept the expected deaths are those of the data, with N(0, s²) they exceed them by -intercept/s², which is told."""
    frame = deaths()
    by_log = datasets.load(frame, target="deaths", model="poisson", offset="logpop", drop="pop")
    data = datasets.load(frame, target="deaths", model="poisson", exposure="pop", drop="logpop")
    np.testing.assert_allclose(data.offset, by_log.offset, rtol=1e-15)
    flat, tight = section_of(data, np.inf), section_of(data, 1.0)
    u, pop, y = (frame[name].to_numpy().astype(float) for name in ("u", "pop", "deaths"))

    def expected(section):
        own = {row["name"]: row["own_value"] for row in section["mode"]["parameters"]}
        return float(np.sum(pop * np.exp(own["intercept"] + own["u"] * u)))

    intercept = {row["name"]: row["value"] for row in tight["mode"]["parameters"]}["intercept"]
    assert expected(flat) == pytest.approx(39.0, abs=1e-3)
    assert expected(tight) - y.sum() == pytest.approx(-intercept, rel=1e-4)
    assert (flat["intercept_prior_scale"], tight["intercept_prior_scale"]) == ("flat", 1.0)
    assert disagreement(flat) == []
    (told,) = disagreement(tight)
    assert told["level"] == "warn"
    assert "intercept is -13.7" in told["text"]
    assert "14 prior standard deviations" in told["text"]
    assert "--intercept-prior-scale" in told["text"]
    # an independent fit on the raw column, with the prior on the standardised coefficient
    scale = u.std()

    def loss(t):
        eta = t[0] + t[1] * (u - 10) + np.log(pop)
        return np.sum(np.exp(eta) - y * eta) + 0.5 * (t[1] * scale) ** 2

    best = scipy.optimize.minimize(loss, [-14.0, 0.1], method="BFGS", options={"gtol": 1e-8}).x
    own = {row["name"]: row for row in flat["mode"]["parameters"]}
    assert own["u"]["own_value"] == pytest.approx(best[1], rel=1e-4)
    assert own["intercept"]["own_value"] == pytest.approx(best[0] - 10 * best[1], rel=1e-4)
    mu = pop * np.exp(best[0] + best[1] * (u - 10))
    raw = np.stack([u, np.ones(50)], 1)
    spread = np.sqrt(np.diag(np.linalg.inv(raw.T @ (mu[:, None] * raw) + np.diag([scale**2, 0.0]))))
    assert [own[k]["own_sd"] for k in ("u", "intercept")] == pytest.approx(spread.tolist(), rel=1e-3)
    assert flat["standardisation"]["features"] == [
        {"name": "u", "mean": pytest.approx(u.mean()), "scale": pytest.approx(scale)}
    ]


def test_the_prior_that_the_command_line_takes(put, run):
    """5: flat for the intercept, proper where none is possible without it, and as given."""
    name = put(table({"a": number, "y": [1, 0, 0]}))
    for model, given, scale in (
        ("logistic", [], np.inf), ("softmax", [], 10.0), ("linear", [], np.inf), ("linear", ["--intercept-prior-scale", "2.5"], 2.5),
        ("poisson", ["--intercept-prior-scale", "inf"], np.inf), ("logistic", ["--prior-scale", "inf"], np.inf),
    ):  # fmt: skip
        assert run(name, "--target", "y", "--model", model, *given)[2]["intercept_prior_scale"] == scale
    code, told, _ = run(name, "--target", "y", "--model", "linear", "--intercept-prior-scale", "0")
    assert (code, "--intercept-prior-scale must be > 0" in told) == (2, True)
    data = datasets.load(name, target="y", model="softmax")
    with pytest.raises(ValueError, match="intercept_prior_scale must be finite for model='softmax'"):
        subject_of(data, name=None, model=None, prior_scale=1.0, intercept_prior_scale=np.inf)
    told = " ".join(subject_of(data, name=None, model=None, prior_scale=1.0, intercept_prior_scale=10.0).notes)
    assert "it has prior N(0, 10²), every other coefficient prior N(0, 1²)" in told
    usual = subject_of(data, name=None, model=None, prior_scale=2.0).problem.hyperparams["prior_precision"]
    assert np.unique(usual).tolist() == [0.25]  # the library's default is one prior for all


def test_exposure_given_as_offset(put):
    """15: a raw exposure is refused by the name of the offset where it cannot be a logarithm, and doubted where it fits better so."""
    frame = deaths()
    with pytest.raises(ValueError, match=r"offset column 'pop' .*give log\(pop\), or pass exposure='pop'"):
        datasets.load(frame, target="deaths", model="poisson", offset="pop")
    r = np.random.default_rng(1)
    days = r.integers(1, 15, 200)
    seen = pl.DataFrame({"x": r.normal(size=200), "days": days, "logs": np.log(days), "n": r.poisson(1.7 * days)})
    doubted = datasets.load(seen.drop("logs"), target="n", model="poisson", offset="days")
    assert any(note.startswith("Caution: the offset 'days'") for note in doubted.notes)
    right = datasets.load(seen.drop("days"), target="n", model="poisson", offset="logs")
    assert not any(note.startswith("Caution") for note in right.notes)
    np.testing.assert_allclose(
        datasets.load(seen, target="n", model="poisson", exposure="days", drop="logs").offset, np.log(days)
    )
    for options, words in (
        ({"exposure": "x", "drop": ["days", "logs"]}, "exposure column 'x' .* must be positive"),
        ({"exposure": "days", "offset": "logs"}, "offset and exposure must not be given both"),
        ({"exposure": "days", "model": "linear"}, "exposure must come with model='poisson'"),
    ):
        with pytest.raises(ValueError, match=words):
            datasets.load(seen, **{"target": "n", "model": "poisson", **options})
    rates = pl.DataFrame({"x": [1.0, 2, 4, 3], "y": [0.5, 0.25, 0.75, 1.0]})
    with pytest.raises(ValueError, match=r"counts .*exposure='COLUMN'"):
        datasets.load(rates, target="y", model="poisson")
    with pytest.raises(ValueError, match=r"two classes .*Proportions: .*weights='COLUMN'"):
        datasets.load(rates, target="y", model="logistic")


BAD = [
    ("", []), ("\n\n", []), ("a,y\n", []), ("a,y\n1,2\n", []), ("a,y\n1,2\n3,2\n", []), ("a,y\n1,2\n1,3\n", []), ("a;y\n1;2\n", []),
    ("a,z\n1,2\n", []), ("# c\na,y\n1,2\n", []), ("a,a,y\n1,2,3\n", []), ("1,2\n3,4\n", []), ("a,y\n1,2,3,4\n5,6\n", []),
    ("a,y\n1,inf\n2,3\n", []), ("a,y\ninf,1\n2,3\n", []), ("a,y\nx,1\nz,3\n", []), ("a,y\n1%,1\n2%,3\n", []), ("a,y\n,1\n2,3\n", []),
    ("a,y\n,\n,\n", []), ("a,y\n2020-01-01,1\n2020-01-02,3\n", []), ('a,y\n"1,5",1\n"2,25",3\n', []), ("a,y\n1,x\n2,z\n", []),
    ("a,y\n1,1\n2,3\n", ["--drop", "q"]), ("a,y\n1,1\n2,3\n", ["--drop", "y"]), ("a,y\n1,1\n2,3\n", ["--drop", "a"]),
    ("a,y\n1,1\n2,3\n", ["--decimal", "dot"]), ("a,y\n1,1\n2,3\n", ["--thousands", "x"]), ("a,y\n1,1\n2,3\n", ["--signs", "x"]),
    ("a,y\n1,1\n2,3\n", ["--comment", ""]), ("a,y\n1,1\n2,3\n", ["--separator", "§"]), ("a,y\n1,1\n2,3\n", ["--exposure", "a"]),
    ("a,w,y\n1,-1,1\n2,3,2\n", ["--weights", "w"]), ("a,w,y\n1,x,1\n2,3,2\n", ["--weights", "w"]), ("a,y\n1,\"2\n3,4\n", []),
    ("sep=;\na;y\n1;2\n3;4\n", []), (b"\xff\xfea\x00", []), (b"a,y\n\xe9,1\n2,2\n", []), (b"a\xe9,y\n1,1\n2,2\n", []), (b"\0\0\0\0", []),
    ("a b y\n1 2 3\n4 5 6\n", []), ("a,y\n1.,1\n.,2\n3,2\n5,1\n", ["--encode", "onehot"]), ("a,\0b,y\n1,2,3\n4,5,6\n", []),
    ("a,y\n1,1\n2,3\n", ["--offset", "a"]), ("a,y\n1,1\n2,3\n", ["--missing-codes", "1"]), ("a,y\n" + "9" * 400 + ",1\n2,3\n", []),
]  # fmt: skip


def flags():
    command = typer.main.get_command(cli.app).commands["report"]
    return {option for parameter in command.params for option in parameter.opts} | {"--version", "--help"}


@pytest.mark.parametrize("model", ["linear", "logistic", "softmax", "poisson"])
def test_every_refusal_is_one_line_with_flags_that_exist(put, run, model):
    """All: exit code 2, one line, no traceback, and every flag that it names is one of the command's."""
    known = flags()
    for text, more in BAD:
        code, told, _ = run(put(text), "--target", "y", "--model", model, *more)
        assert code in (2, 130), (text, more, told)  # 130: the table was read and the report begun
        assert "Traceback" not in told
        assert code == 130 or (told.startswith("gradnoise: ") and told.count("\n") == 1), told
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told)) <= known, told
        assert not re.search(r"(?<![\w-])(missing_codes|drop|encode|decimal|thousands|signs|exposure)='", told), told


def test_remedies_in_the_source_name_arguments_and_flags_that_exist():
    """All: what the messages of datasets and pages call `name='…'` is an argument of load with a flag of its own name."""
    import ast
    import inspect
    from pathlib import Path

    known = flags()
    arguments = set(inspect.signature(datasets.load).parameters) - {"source"}
    assert {f"--{name.replace('_', '-')}" for name in arguments} <= known
    folder = Path(datasets.__file__).parent
    for path in [*folder.glob("*.py"), folder.parent / "cli.py", *(folder.parent / "pages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value)) <= known, (path.name, node.value)
            named = re.findall(r"(?:[Pp]ass|with|\(|or|and) ([a-z_]+)=(?:'|$)", node.value)
            assert set(named) <= arguments | {"model"}, (path.name, node.value)


def test_columns_without_any_value_are_named_together(put):
    """10: two empty columns each cost every row; what is left without both is said."""
    name = put(
        table(
            {
                "e": lambda i: "",
                "f": lambda i: "",
                "a": lambda i: "" if i == 3 else number(i),
                "b": number,
                "y": [1, 2, 5],
            }
        )
    )
    with pytest.raises(ValueError, match=r"40 of 40; with drop='e' and drop='f' it is 1\."):
        datasets.load(name, target="y")
    assert datasets.load(name, target="y", drop=["e", "f"], missing="drop").num_examples == 39


def test_a_limit_of_detection_is_no_missing_value(put):
    """10: '<0.006' between numbers asks for a number, not for a code."""
    name = put(table({"a": lambda i: "<0.006" if i % 3 == 0 else number(i), "b": number, "y": [1, 2, 5, 3]}))
    with pytest.raises(ValueError, match=r"'<0.006' in 14 of 40 rows: pass a number for such limits") as caught:
        datasets.load(name, target="y")
    assert "missing_codes" not in str(caught.value)


def test_names_in_single_quotes(put):
    """10: the layout of statsmodels' anes96, tabs and single quotes, loses its quotes."""
    data = datasets.load(put("'a'\t'y'\n1\t2\n3\t4\n"), target="y", separator="tab")
    assert data.feature_names == ("a",)
