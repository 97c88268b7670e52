"""Examples, OpenML on a recorded reply, standardising and splitting."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from gradnoise import datasets

REPLIES = Path(__file__).parent / "openml"


@pytest.mark.parametrize(
    ("name", "shape", "model", "labels"),
    [
        ("wine", (4898, 11), "linear", None),
        ("diabetes", (442, 10), "linear", None),
        ("breast-cancer", (569, 30), "logistic", ("benign", "malignant")),
        ("digits", (1797, 10), "logistic", ("even", "odd")),
    ],
)
def test_examples(name, shape, model, labels):
    data = datasets.example(name)
    assert (data.X.shape, data.model, data.class_labels) == (shape, model, labels)
    assert len(data.feature_names) == shape[1]
    assert model == "linear" or set(data.y) == {0.0, 1.0}
    with pytest.raises(ValueError, match="name must be one of 'wine', 'digits'"):
        datasets.example("mnist")


def test_breast_cancer_labels_and_bundled_wine(shared_data):
    assert datasets.example("breast-cancer").y.sum() == 212  # malignant
    from_file = datasets.load(shared_data / "winequality-white.csv", target="quality", model="linear")
    np.testing.assert_array_equal(datasets.bundled("wine").X, from_file.X)
    np.testing.assert_array_equal(datasets.bundled("wine").y, from_file.y)


def test_digits_are_principal_components_of_standardised_pixels():
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    pixels = load_digits()
    varying = pixels.data[:, pixels.data.std(0) > 0]
    scores = PCA(10, svd_solver="full").fit_transform((varying - varying.mean(0)) / varying.std(0))
    data = datasets.example("digits")
    np.testing.assert_allclose(np.abs(data.X), np.abs(scores), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(data.y, pixels.target % 2)


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Answer scikit-learn's requests from the recorded replies, and count them."""
    asked = []
    files = {
        "/data/61": "api-v1-jd-61.json.gz",
        "/data/features/61": "api-v1-jdf-61.json.gz",
        "/data/qualities/61": "api-v1-jdq-61.json.gz",
        "/data_name/iris/limit/2/status/active/": "api-v1-jdl-dn-iris-l-2-s-act-.json.gz",
        "/download/61/iris.arff": "data-v1-dl-61.arff.gz",
    }

    class Reply:
        def __init__(self, path):
            self.file = path.open("rb")

        def __enter__(self):
            return self.file

        def __exit__(self, *args):
            self.file.close()

        def info(self):
            return {"Content-Encoding": "gzip"}

        def __getattr__(self, name):
            return getattr(self.file, name)

    def urlopen(request, *args, **kwargs):
        url = getattr(request, "full_url", request)
        asked.append(url)
        name = next((name for end, name in files.items() if url.rstrip("/").endswith(end.rstrip("/"))), None)
        if name is None:
            raise URLError(f"no recorded reply for {url}")
        return Reply(REPLIES / name)

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
    return {"asked": asked, "data_home": str(tmp_path)}


def test_openml_by_number_name_and_cache(recorded):
    home = recorded["data_home"]
    data = datasets.openml(61, model="softmax", data_home=home)
    assert data.X.shape == (150, 4)
    assert data.feature_names == ("sepallength", "sepalwidth", "petallength", "petalwidth")
    assert (data.target_name, data.class_labels) == ("class", ("Iris-setosa", "Iris-versicolor", "Iris-virginica"))
    assert np.bincount(data.y.astype(int)).tolist() == [50, 50, 50]
    assert data.X[0].tolist() == [5.1, 3.5, 1.4, 0.2]
    assert data.notes[0] == "Fetched OpenML 'iris' (id 61), version 1."
    requests = len(recorded["asked"])
    again = datasets.openml(61, model="softmax", data_home=home)
    np.testing.assert_array_equal(again.X, data.X)
    assert len(recorded["asked"]) == requests  # from the cache
    with pytest.warns(UserWarning, match="Multiple active versions"):
        by_name = datasets.openml("iris", model="softmax", data_home=home)
    np.testing.assert_array_equal(by_name.X, data.X)


def test_openml_follows_the_policy(recorded):
    home = recorded["data_home"]
    with pytest.raises(ValueError, match=r"hold strings: 'class' \(such as 'Iris-setosa'\)"):
        datasets.openml(61, target="petalwidth", model="linear", data_home=home)
    data = datasets.openml(61, target="petalwidth", model="linear", encode="onehot", data_home=home)
    assert data.feature_names[-2:] == ("class=Iris-versicolor", "class=Iris-virginica")
    assert data.X[-1, -2:].tolist() == [0, 1]
    assert data.y[0] == 0.2
    with pytest.raises(TypeError, match="holds labels such as Iris-setosa"):
        datasets.openml(61, data_home=home)
    with pytest.raises(ValueError, match=r"target must name a column .*Nearest: 'petalwidth'"):
        datasets.openml(61, target="petal_width", data_home=home)
    unknown = pytest.raises(
        ValueError, match=r"name_or_id = 'irises' could not be fetched.*Check the name and the network"
    )
    with pytest.warns(UserWarning, match="network error"), unknown:
        datasets.openml("irises", data_home=home)
    with pytest.raises(ValueError, match="model must be one of"):
        datasets.openml(61, model="forest", data_home=home)


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    X = rng.normal([5.0, -1e3, 0.0], [2.0, 1e2, 1e-4], size=(11, 3))
    return datasets.Dataset(X, 3 + 7 * X[:, 0], ("a", "b", "c"), "y", weights=np.arange(11.0), model="linear")


def test_standardise_and_undo(small):
    scaled, scaling = datasets.standardise(small, target=True)
    rows = np.repeat(np.arange(11), np.arange(11))  # an example of weight w counts as w rows
    np.testing.assert_allclose(scaled.X[rows].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose((scaled.X[rows] ** 2).mean(0), 1, rtol=1e-12)  # divisor: the sum of the weights
    assert (scaled.y[rows].mean(), scaled.y[rows].std()) == pytest.approx((0, 1), abs=1e-12)
    back = scaling.undo(scaled)
    np.testing.assert_allclose(back.X, small.X, rtol=1e-12)
    np.testing.assert_allclose(back.y, small.y, rtol=1e-12)
    features_only, scaling = datasets.standardise(small)
    np.testing.assert_array_equal(features_only.y, small.y)
    assert (scaling.target_mean, scaling.target_scale) == (0.0, 1.0)
    assert scaled.notes[-1].startswith("Standardised every feature and the target")


def test_standardise_refuses_what_has_no_scale(small):
    constant = small.rows(np.array([1, 1, 1]))
    with pytest.raises(ValueError, match="all weights are 0"):
        datasets.standardise(small.rows(np.array([0, 0, 0])))
    with pytest.raises(ValueError, match=r"constant features.*: a, b, c"):
        datasets.standardise(constant)
    with pytest.raises(ValueError, match="'diagnosis' was loaded for model='logistic'"):
        datasets.standardise(datasets.example("breast-cancer"), target=True)
    flat = datasets.Dataset(small.X, np.ones(11), small.feature_names, "y")
    with pytest.raises(ValueError, match="'y' is 1 everywhere"):
        datasets.standardise(flat, target=True)


def test_split(small):
    train, test = datasets.split(small, 0.3, seed=4)
    assert (train.num_examples, test.num_examples) == (8, 3)
    assert sorted([*train.weights, *test.weights]) == list(range(11))
    for part in (train, test):  # rows stay together
        np.testing.assert_array_equal(part.X, small.X[part.weights.astype(int)])
        np.testing.assert_array_equal(part.y, small.y[part.weights.astype(int)])
    again = datasets.split(small, 0.3, seed=4)
    np.testing.assert_array_equal(again[1].y, test.y)
    assert not np.array_equal(datasets.split(small, 0.3, seed=5)[1].y, test.y)
    assert "8 training and 3 test rows" in train.notes[-1]
    assert datasets.split(small, 1e-6)[1].num_examples == 1
    for bad in (0, 1, -0.5):
        with pytest.raises(ValueError, match="test_fraction must lie in"):
            datasets.split(small, bad)
    with pytest.raises(ValueError, match="at least two rows"):
        datasets.split(small.rows(np.array([0])))


def test_a_scale_learned_on_the_training_set_is_applied_to_the_test_set(small):
    train, test = datasets.split(small, 0.4)
    _, scaling = datasets.standardise(train)
    applied = scaling.apply(test)
    rows = np.repeat(train.X, train.weights.astype(int), axis=0)
    np.testing.assert_allclose(applied.X, (test.X - rows.mean(0)) / rows.std(0))


def test_records_are_checked():
    with pytest.raises(ValueError, match=r"X must be finite with shape \(N, 2\)"):
        datasets.Dataset(np.ones((3, 1)), np.ones(3), ("a", "b"), "y")
    with pytest.raises(ValueError, match=r"y must have shape \(3,\)"):
        datasets.Dataset(np.ones((3, 1)), np.ones(2), ("a",), "y")
    with pytest.raises(ValueError, match="weights must have shape"):
        datasets.Dataset(np.ones((3, 1)), np.ones(3), ("a",), "y", weights=np.ones(4))
    assert "classes=2" in repr(datasets.example("digits"))
