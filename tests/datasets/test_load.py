"""Loading: what every kind of table becomes, and the one clear error that every bad one gets."""

from __future__ import annotations

import gzip
import re

import numpy as np
import polars as pl
import pytest

from gradnoise import datasets

ROWS = "a,b,y,w\n1,2.5,0,1\n2,-1,1,0\n4,0,1,2\n"


@pytest.fixture
def table(tmp_path):
    """Write text as a CSV file and return its path."""

    def write(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        data = text.encode(encoding)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
def frame():
    return pl.DataFrame(
        {
            "n": [1.0, 2.0, 4.0, 8.0],
            "flag": [True, False, True, True],
            "colour": ["red", "blue", "red", "green"],
            "same": [3, 3, 3, 3],
            "label": ["no", "yes", "yes", "no"],
            "y": [0, 1, 2, 5],
            "w": [0.0, 1.0, 2.0, 0.5],
        }
    )


def same(a, b):
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.y, b.y)
    assert (a.feature_names, a.target_name, a.class_labels) == (b.feature_names, b.target_name, b.class_labels)


def test_every_format_gives_the_same_data_set(table, tmp_path):
    expected = datasets.load(table(ROWS), target="y", weights="w", model="logistic")
    np.testing.assert_array_equal(expected.X, [[1, 2.5], [2, -1], [4, 0]])
    assert (expected.X.dtype, expected.y.dtype) == (np.float64, np.float64)
    assert (expected.y.tolist(), expected.weights.tolist()) == ([0, 1, 1], [1, 0, 2])
    assert (expected.feature_names, expected.class_labels) == (("a", "b"), ("0", "1"))
    frame = pl.read_csv(table(ROWS))
    frame.write_parquet(tmp_path / "table.parquet")
    np.savez(tmp_path / "table.npz", **{name: frame[name].to_numpy() for name in frame.columns})
    X, names = frame[["a", "b"]].to_numpy(), np.array(["a", "b"])
    np.savez_compressed(tmp_path / "wide.npz", X=X, y=frame["y"].to_numpy(), w=[1.0, 0, 2], feature_names=names)
    sources = [table(ROWS, "t.csv.gz"), str(table(ROWS)), table("\ufeff" + ROWS), table(ROWS.replace("\n", "\r\n"))]
    sources += [tmp_path / "table.parquet", tmp_path / "table.npz", tmp_path / "wide.npz", frame, frame.lazy()]
    for source in sources:
        same(datasets.load(source, target="y", weights="w", model="logistic"), expected)
    same(
        datasets.load(table(ROWS.replace(",", ";")), target="y", weights="w", model="logistic", separator=";"), expected
    )


def test_pandas_frames_are_read_through_narwhals(frame):
    pandas = pytest.importorskip("pandas")
    data = pandas.DataFrame(frame.to_dict(as_series=False))
    options = {"target": "label", "model": "logistic", "encode": "onehot", "weights": "w"}
    same(datasets.load(data, **options), datasets.load(frame, **options))
    nullable = pandas.DataFrame({0: pandas.array([1, None, 3], dtype="Int64"), 1: [1.0, 2.0, 5.0], 2: ["u", None, "v"]})
    loaded = datasets.load(nullable, target=1, missing="drop", encode="onehot")
    assert (loaded.X.tolist(), loaded.y.tolist()) == ([[1, 0], [3, 1]], [1, 5])
    with pytest.raises(ValueError, match=r"missing values \('0': 1, '2': 1\)"):
        datasets.load(nullable, target=1, encode="onehot")
    twice = pandas.DataFrame([[1, 2, 3], [4, 5, 6]], columns=["a", "a", "y"])
    with pytest.raises(ValueError, match=r"DataFrame has duplicate column names.*'a'"):
        datasets.load(twice, target="y")


def test_policy_for_features(frame):
    with pytest.raises(ValueError, match=r"hold strings: 'colour' \(such as 'red'\), 'label'.*encode='onehot'"):
        datasets.load(frame, target="y")
    data = datasets.load(frame.drop("label"), target="y", encode="onehot", weights="w", model="poisson")
    assert data.feature_names == ("n", "flag", "colour=green", "colour=red")
    np.testing.assert_array_equal(data.X, [[1, 1, 0, 1], [2, 0, 0, 0], [4, 1, 0, 1], [8, 1, 1, 0]])
    assert data.notes == (
        "One-hot encoded 'colour': 3 levels, 'blue' is the reference.",
        "Dropped constant features: 'same'.",
    )
    dated = frame.select("y", day=pl.lit("2020-01-01").str.to_date())
    with pytest.raises(TypeError, match=r"'day' \(Date\)"):
        datasets.load(dated, target="y")
    with pytest.raises(ValueError, match=r"no feature that varies: 'same' are constant"):
        datasets.load(frame.select("y", "same"), target="y")
    with pytest.raises(ValueError, match="no feature that varies"):
        datasets.load(frame.select("y"), target="y")
    with pytest.raises(ValueError, match=r"column 'n' .* must be finite, but row 2 is inf"):
        datasets.load(pl.DataFrame({"n": [1.0, 2.0, float("inf")], "y": [1, 2, 3]}), target="y")


def test_policy_for_targets(frame):
    numbers = frame.select("n", "y")
    assert datasets.load(numbers, target="y").class_labels is None
    assert datasets.load(numbers, target="y", model="linear").notes == ()
    features = frame.select("n", "flag", "label")
    classes = datasets.load(features, target="label", model="logistic")
    assert (classes.class_labels, classes.y.tolist()) == (("no", "yes"), [0, 1, 1, 0])
    assert "no = 0 (2 rows), yes = 1 (2 rows)" in classes.notes[0]
    flags = datasets.load(features.drop("label"), target="flag", model="logistic")
    assert (flags.class_labels, flags.y.tolist()) == (("False", "True"), [1, 0, 1, 1])
    many = datasets.load(frame.select("n", "y"), target="y", model="softmax")
    assert (many.class_labels, many.y.tolist()) == (("0", "1", "2", "5"), [0, 1, 2, 3])
    for bad, model, kind, message in [
        (features, None, TypeError, "holds labels such as no.*use model='logistic'"),
        (features, "linear", TypeError, "must hold numbers for model='linear'"),
        (features, "poisson", TypeError, "must hold numbers for model='poisson'"),
        (numbers.rename({"y": "label"}), "logistic", ValueError, "exactly two classes for model='logistic', got 4"),
    ]:
        with pytest.raises(kind, match=message):
            datasets.load(bad, target="label", model=model)
    real = pl.DataFrame({"n": [1, 2, 3], "y": [0.5, 1, 2]})
    with pytest.raises(ValueError, match=r"counts 0, 1, 2, … for model='poisson', got 0\.5"):
        datasets.load(real, target="y", model="poisson")
    with pytest.raises(ValueError, match=r"for model='poisson', got -1"):
        datasets.load(real.with_columns(y=pl.Series([1, -1, 2])), target="y", model="poisson")
    with pytest.raises(ValueError, match=r"class labels for model='softmax', got the number 0\.5"):
        datasets.load(real, target="y", model="softmax")
    for model in (None, "linear", "logistic", "softmax", "poisson"):
        with pytest.raises(ValueError, match=r"target 'same' .* must vary, but is 3\.0 in all 4 rows"):
            datasets.load(frame.select("n", "same"), target="same", model=model)


def test_policy_for_weights(frame):
    good = frame.select("n", "y", "w")
    assert datasets.load(good, target="y", weights="w").feature_names == ("n",)
    for bad, message in [
        (pl.lit(-1.0), "must be nonnegative, but row 0 is -1"),
        (pl.lit(0.0), "must not be 0 everywhere"),
        (pl.lit(float("inf")), "must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            datasets.load(good.with_columns(w=bad), target="y", weights="w")
    with pytest.raises(TypeError, match=r"weights column 'w' .* must hold numbers, got text"):
        datasets.load(good.with_columns(w=pl.lit("x")), target="y", weights="w")
    with pytest.raises(ValueError, match="target and weights must be different columns, got 'y'"):
        datasets.load(good, target="y", weights="y")
    with pytest.raises(ValueError, match=r"weights must name a column .* got 'ww'"):
        datasets.load(good, target="y", weights="ww")


@pytest.mark.parametrize("gap", ["", "NA", "NaN", "nan", "?", "null"])
def test_missing_values(table, gap):
    path = table(f"a,b,y\n1,5,2\n{gap},6,3\n3,{gap},4\n5,8,9\n")
    with pytest.raises(ValueError, match=r"missing values \('a': 1, 'b': 1\)\. Pass missing='drop'"):
        datasets.load(path, target="y")
    data = datasets.load(path, target="y", missing="drop")
    assert (data.X.tolist(), data.y.tolist()) == ([[1, 5], [5, 8]], [2, 9])
    assert data.notes == ("Dropped 2 of 4 rows with missing values ('a': 1, 'b': 1).",)
    with pytest.raises(ValueError, match=r"in every row \('a': 2\)"):
        datasets.load(table(f"a,y\n{gap},2\n{gap},3\n"), target="y", missing="drop")


def test_missing_strings_and_classes_are_counted_too():
    frame = pl.DataFrame({"c": ["u", None, "v", "u"], "n": [1, 2, 3, 4], "y": ["k", "k", None, "m"]})
    data = datasets.load(frame, target="y", model="logistic", encode="onehot", missing="drop")
    assert (data.y.tolist(), data.feature_names) == ([0, 1], ("n",))
    assert "'c': 1, 'y': 1" in data.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'table.csv' is empty \(0 bytes\)"),
        ("\n\n", "its first line, the header, has no names"),
        ("a,b,y\n", "has a header but no rows"),
        ("a,b,y\n1,2,3\n", "at least two rows of data, got 1"),
        ("a,b,a,y,b\n1,2,3,4,5\n", "duplicate column names: 'a', 'b'"),
        ("a,b,Y2\n1,2,3\n4,5,6\n", r"target must name a column of 'table.csv', got 'y'\. Nearest: 'Y2'"),
        ("p,q\n1,2\n4,5\n", r"got 'y'\. Its columns: 'p', 'q'"),
        ("a;b;y\n1;2;3\n", "another separator: pass separator=';'"),
        ("1,2.5,3\n4,5,6\n", "first line holds numbers only"),
        ("a,y\n1,2\n3,4,5\n", "cannot be read as CSV"),
        ("a,y\n1,2\nx7,3\n", r"'a' \(such as 'x7'\)"),
    ],
)
def test_bad_csv(table, text, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(table(text), target="y")


def test_bad_files(table, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nothing\.csv"):
        datasets.load(tmp_path / "nothing.csv", target="y")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        datasets.load(tmp_path, target="y")
    with pytest.raises(ValueError, match=re.escape("must end in one of .csv, .csv.gz, .parquet, .npz")):
        datasets.load(table(ROWS, "table.xlsx"), target="y")
    with pytest.raises(ValueError, match=r"not UTF-8.*iconv"):
        datasets.load(table("größe,y\n1,2\n3,4\n", encoding="latin-1"), target="y")
    late = "a,y\n" + "1,2\n" * 20_000 + "é,3\n"  # beyond what reading the header touches
    with pytest.raises(ValueError, match=r"cannot be read as CSV.*(utf|UTF)"):
        datasets.load(table(late, encoding="latin-1"), target="y")
    for name, kind in (("t.parquet", "Parquet"), ("t.npz", "NPZ"), ("t.csv.gz", "CSV")):
        (tmp_path / name).write_bytes(b"this is something else")
        with pytest.raises(ValueError, match=f"'{name}' cannot be read as {kind}"):
            datasets.load(tmp_path / name, target="y")
    with pytest.raises(ValueError, match="empty: its first line"):
        datasets.load(table("", "void.csv.gz"), target="y")
    cut = table(ROWS * 500, "cut.csv.gz")
    cut.write_bytes(cut.read_bytes()[:40])
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        datasets.load(cut, target="y")


def test_too_many_columns_are_refused_before_the_data_are_read(table, tmp_path, monkeypatch):
    header = ",".join(f"x{i}" for i in range(21_000)) + ",y\n"
    wide = pl.DataFrame({f"x{i}": [0.0] for i in range(20_001)})
    wide.write_parquet(tmp_path / "wide.parquet")
    np.savez(tmp_path / "wide.npz", X=np.zeros((2, 21_000)), y=np.arange(2))

    def parsed(*args, **kwargs):
        pytest.fail("the data were read")

    monkeypatch.setattr(pl, "read_csv", parsed)
    monkeypatch.setattr(pl, "read_parquet", parsed)
    monkeypatch.setattr(np, "load", parsed)
    for source in (table(header), table(header, "t.csv.gz"), tmp_path / "wide.parquet", tmp_path / "wide.npz", wide):
        with pytest.raises(ValueError, match=r"has 2\d{4} columns, more than 20000"):
            datasets.load(source, target="y")


def test_npz_flattens_images_and_notes_what_it_leaves_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, size=(6, 2, 2), dtype=np.uint8)
    np.savez(tmp_path / "t.npz", x_train=images, y_train=np.arange(6) % 3, x_test=images[:2], y_test=np.arange(2))
    data = datasets.load(tmp_path / "t.npz", target="y_train", model="softmax")
    np.testing.assert_array_equal(data.X, images.reshape(6, 4))
    assert data.feature_names == ("x_train[0]", "x_train[1]", "x_train[2]", "x_train[3]")
    assert data.notes[0] == "Left out arrays of another length than the target: x_test (2, 2, 2), y_test (2,)."
    np.savez(tmp_path / "o.npz", x=np.array([{}, 1]), y=np.arange(2))
    with pytest.raises(TypeError, match="array 'x' holds Python objects"):
        datasets.load(tmp_path / "o.npz", target="y")
    np.savez(tmp_path / "s.npz", x=np.ones((3, 2)), y=np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"arrays of shape \(N,\), got y: \(3, 1\)"):
        datasets.load(tmp_path / "s.npz", target="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": "lasso"}, "model must be one of"), ({"encode": "hash"}, "encode"), ({"missing": "mean"}, "missing")],
)
def test_bad_options(frame, options, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(frame, target="y", **options)


def test_sources_that_are_no_table():
    for source in ({"a": [1]}, np.ones((3, 2)), 7, None, pl.Series([1, 2])):
        with pytest.raises(TypeError, match="source must be a path or a data frame"):
            datasets.load(source, target="y")


@pytest.mark.parametrize(
    ("name", "options", "shape", "labels"),
    [
        ("winequality-white.csv", {"target": "quality", "model": "linear"}, (4898, 11), None),
        ("protein.csv.gz", {"target": "RMSD", "model": "linear"}, (45730, 9), None),
        ("skin.csv.gz", {"target": "skin", "model": "logistic"}, (245057, 3), ("0", "1")),
    ],
)
def test_real_files(shared_data, name, options, shape, labels):
    data = datasets.load(shared_data / name, **options)
    assert (data.X.shape, data.class_labels) == (shape, labels)
    if name.startswith("skin"):
        assert data.notes == ("Classes of the target 'skin': 0 = 0 (194198 rows), 1 = 1 (50859 rows).",)
