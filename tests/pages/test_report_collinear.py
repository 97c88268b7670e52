"""A duplicated column: its direction has no noise, only the prior acts there, and the page is made all the same."""

from __future__ import annotations

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.datasets import Dataset
from gradnoise.pages import samplers


def doubled(n=200, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n))
    y = a - 0.5 * b + 0.5 * rng.standard_normal(n)
    return Dataset(np.stack([a, a, b], axis=1), y, ("a", "a2", "b"), "y", model="linear")


def test_a_duplicated_column_gives_a_page(tmp_path):
    made = gn.report(doubled(), out=tmp_path, batch_size=16, max_time=0.5, progress=False)
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
    made = gn.report(doubled(), out=tmp_path, batch_size=16, max_time=0.5, progress=False)
    (row,) = [row for row in made.results["posterior"]["methods"] if row["recommended"]]
    assert (row["level"], row["reasons"]) == ("not run", ["It failed: no Langevin today"])
    assert made.page.exists()
