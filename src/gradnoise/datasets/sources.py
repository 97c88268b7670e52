"""Data sets by name: bundled with the package, shipped with scikit-learn, or fetched from OpenML."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray
from gradnoise.datasets.columns import Column, check_names
from gradnoise.datasets.loading import assemble, load
from gradnoise.datasets.record import MODELS, Dataset, standardise

EXAMPLES = ("wine", "digits", "breast-cancer", "diabetes")


def bundled(name: str = "wine") -> Dataset:
    """Return a data set that is part of the package: "wine" (4 898 white wines, 11 features, quality 3..9; model linear).

    Examples
    --------
    >>> bundled("wine")
    Dataset(num_examples=4898, num_features=11, target='quality', model='linear')
    """
    _checks.one_of("name", name, ("wine",))
    with resources.as_file(resources.files("gradnoise") / "data" / "winequality-white.csv.gz") as path:
        return load(path, target="quality", model="linear")


def example(name: str) -> Dataset:
    """Return an example with its model: no network, no files but those of this package and scikit-learn.

    Parameters
    ----------
    name
        "wine" (linear, 4 898 × 11), "diabetes" (linear, 442 × 10), "breast-cancer" (logistic, 569 × 30) or "digits"
        (logistic, odd against even, 1 797 × 10: the leading principal components of the standardised pixels).

    Returns
    -------
    Dataset
        In the units of the source: `standardise` is left to you.

    Examples
    --------
    >>> example("digits").class_labels
    ('even', 'odd')
    """
    _checks.one_of("name", name, EXAMPLES)
    if name == "wine":
        return bundled("wine")
    from sklearn import datasets

    if name == "digits":
        return _digits(datasets.load_digits())
    if name == "diabetes":
        table = datasets.load_diabetes(scaled=False)
        note = "Diabetes of scikit-learn: ten baseline measurements, target: progression after one year."
        return _table(table.data, table.target, table.feature_names, "progression", "linear", note)
    table = datasets.load_breast_cancer()
    labels = np.array([str(n) for n in table.target_names], dtype=object)
    note = "Breast cancer (Wisconsin, diagnostic) of scikit-learn: measurements of cell nuclei."
    return _table(table.data, labels[table.target], table.feature_names, "diagnosis", "logistic", note)


def _table(data: AnyArray, target: AnyArray, names: Any, target_name: str, model: str, note: str) -> Dataset:
    columns = [Column(str(n), "number", np.asarray(data[:, i], dtype=np.float64)) for i, n in enumerate(names)]
    kind = "text" if target.dtype == object else "number"
    columns.append(Column(target_name, kind, target))
    wanted = {"target": target_name, "weights": None}
    return assemble(
        f"the {target_name} example", columns, wanted, model=model, encode="error", missing="error", notes=[note]
    )


def _digits(bunch: Any, components: int = 10) -> Dataset:
    parity = np.array(["even", "odd"], dtype=object)[bunch.target % 2]
    note = "Digits of scikit-learn (8 × 8 pixels), odd against even."
    pixels, _ = standardise(_table(bunch.data, parity, bunch.feature_names, "parity", "logistic", note))
    _, directions = np.linalg.eigh(pixels.X.T @ pixels.X)
    leading = directions.T[::-1][:components]
    leading = leading * np.sign(leading[np.arange(components), np.abs(leading).argmax(1)])[:, None]  # a sign by rule
    names = tuple(f"component {i + 1}" for i in range(components))
    notes = (*pixels.notes, f"Features are the {components} leading principal components of the standardised pixels.")
    return Dataset(pixels.X @ leading.T, pixels.y, names, "parity", pixels.class_labels, None, "logistic", notes)


def openml(
    name_or_id: str | int,
    *,
    target: str | None = None,
    version: int | str = "active",
    model: str | None = None,
    weights: str | None = None,
    encode: str = "error",
    missing: str = "error",
    data_home: str | None = None,
) -> Dataset:
    """Fetch a data set from OpenML through scikit-learn, which keeps it in its cache; needs a network the first time.

    Parameters
    ----------
    name_or_id
        Name, or number (then `version` is not used).
    target
        Name of the target column; None: the one that OpenML declares.
    version
        Version for a name, or "active".
    model, weights, encode, missing
        As in `load`; the same policy holds. Nominal features are strings.
    data_home
        Folder of scikit-learn's cache.

    Returns
    -------
    Dataset
        Its first note says what was fetched.

    Raises
    ------
    ValueError, TypeError
        If there is no such data set or column, it is sparse, or the policy refuses it.
    """
    if model is not None:
        _checks.one_of("model", model, MODELS)
    _checks.one_of("encode", encode, ("error", "onehot"))
    _checks.one_of("missing", missing, ("error", "drop"))
    home = None if data_home is None else str(_checks.path("data_home", data_home))
    bunch = _fetch(name_or_id, version, target, home)
    what = f"OpenML {bunch.details['name']!r} (id {bunch.details['id']})"
    if not isinstance(bunch.data, np.ndarray):
        msg = f"{what} is sparse, but features must be a dense table."
        raise TypeError(msg)
    names = [str(n) for n in bunch.feature_names]
    categories = bunch.categories or {}
    columns = [_nominal(n, bunch.data[:, i], categories.get(n)) for i, n in enumerate(names)]
    if target is None:
        if bunch.target is None or np.ndim(bunch.target) != 1:
            msg = f"target must be given: {what} declares {len(bunch.target_names)} targets."
            raise ValueError(msg)
        target = str(bunch.target_names[0])
        columns.append(_nominal(target, bunch.target, None))
    wanted = {"target": target, "weights": weights}
    check_names(what, [column.name for column in columns], wanted)
    note = f"Fetched {what}, version {bunch.details['version']}."
    return assemble(what, columns, wanted, model=model, encode=encode, missing=missing, notes=[note])


def _fetch(name_or_id: str | int, version: int | str, target: str | None, data_home: str | None) -> Any:
    from sklearn.datasets import fetch_openml

    chosen = {"data_id": name_or_id} if isinstance(name_or_id, int) else {"name": name_or_id, "version": version}
    try:
        return fetch_openml(
            **chosen,
            target_column="default-target" if target is None else None,
            parser="liac-arff",
            as_frame=False,
            data_home=data_home,
            n_retries=1,
        )
    except (OSError, ValueError, KeyError) as error:
        msg = f"name_or_id = {name_or_id!r} could not be fetched from OpenML: {_checks.shown(str(error), 160)}. Check the name and the network."
        raise ValueError(msg) from error


def _nominal(name: str, values: AnyArray, categories: list[str] | None) -> Column:
    """Undo scikit-learn's numbering of nominal values, so that the policy for strings sees strings."""
    if categories is not None:
        labels = np.array([*categories, None], dtype=object)
        codes = values.astype(np.float64)
        return Column(name, "text", labels[np.where(np.isnan(codes), len(categories), codes).astype(int)])
    if values.dtype == object:
        return Column(name, "text", values)
    return Column(name, "number", values.astype(np.float64))
