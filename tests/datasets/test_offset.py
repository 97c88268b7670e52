"""The offset of a Poisson model: read by name, kept with its rows, refused elsewhere."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gradnoise import datasets

FRAME = pl.DataFrame(
    {"x": [0.1, 0.4, 0.9, 0.2], "t": [0.0, 1.0, 2.0, 3.0], "n": [1, 0, 3, 2], "s": ["a", "b", "c", "d"]}
)


def test_an_offset_is_a_column_of_its_own_and_goes_with_its_rows():
    data = datasets.load(FRAME.drop("s"), target="n", model="poisson", offset="t")
    assert data.feature_names == ("x",)
    assert data.offset.tolist() == [0.0, 1.0, 2.0, 3.0]
    scaled, _ = datasets.standardise(data)
    assert scaled.offset.tolist() == data.offset.tolist()
    assert data.rows(np.array([3, 1])).offset.tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "linear"}, ValueError, "offset must come with model='poisson'"),
        ({"offset": "time"}, ValueError, "offset must name a column"),
        ({"offset": "n"}, ValueError, "target and offset must be different columns, got 'n'"),
        ({"offset": "s"}, TypeError, "offset column 's' of the DataFrame must hold numbers"),
    ],
)
def test_bad_offsets(change, error, words):
    with pytest.raises(error, match=words):
        datasets.load(FRAME, **{"target": "n", "model": "poisson", "offset": "t", **change})
