"""advice.batch_change: the rows follow from the exact stationary law; the words say what the numbers say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradnoise import advice, scaling, theory

SETTINGS = {"learning_rate": 0.1, "batch_size": 32, "momentum": 0.5}
H = np.array([[2.0, 0.3, 0.1], [0.3, 0.7, -0.1], [0.1, -0.1, 0.05]])
C = np.array([[1.0, -0.2, 0.1], [-0.2, 0.6, 0.0], [0.1, 0.0, 0.3]])


def law(row):
    return theory.stationary_covariance(
        H, C, learning_rate=row.learning_rate, batch_size=row.batch_size, momentum=row.momentum
    )


def test_valid_rows_keep_the_exact_law_and_invalid_ones_do_not():
    advised = advice.batch_change(SETTINGS, hessian=H)
    assert [r.batch_size for r in advised.rows] == [8, 16, 32, 64, 128, 256]
    assert {r.valid for r in advised.rows} == {True, False}
    vectors = np.linalg.eigh(H)[1]
    for row in advised.rows:
        assert row.learning_rate == SETTINGS["learning_rate"] * row.batch_size / 32
        change = np.abs(np.einsum("di,de,ei->i", vectors, law(row), vectors) / np.einsum(
            "di,de,ei->i", vectors, law(advised.rows[2]), vectors
        ) - 1).max()  # fmt: skip
        assert (change <= 0.05) == row.valid, (row, change)


def test_fraction_of_edge_noise_scale_and_divergence():
    advised = advice.batch_change(
        {"learning_rate": 0.2, "batch_size": 10}, factors=(1, 2, 8), hessian=H, num_examples=1000
    )
    edge = theory.stability_edge(H)
    assert [r.fraction_of_edge for r in advised.rows] == pytest.approx([0.2 / edge, 0.4 / edge, 1.6 / edge])
    assert advised.rows[1].noise_scale == pytest.approx(0.4 * (1000 / 20 - 1))
    assert not advised.rows[2].valid
    assert "diverges" in advised.rows[2].note
    assert f"{edge:.4g}" in advised.text


def test_a_large_share_of_the_data_changes_the_noise_scale():
    row = advice.batch_change(
        {"learning_rate": 1e-3, "batch_size": 10}, to_batch_size=40, hessian=H, num_examples=100
    ).rows[-1]
    assert not row.valid
    assert "noise scale changes by −33 %" in row.note  # (N - 40)/(N - 10) = 60/90


def test_it_never_contradicts_the_linear_rule():
    for row in advice.batch_change(SETTINGS, hessian=H).rows:
        new = scaling.linear(SETTINGS, row.batch_size / 32, stability_edge=theory.stability_edge(H, momentum=0.5))
        assert new["learning_rate"] == row.learning_rate
        assert new.valid == row.valid or row.batch_size == 32


def test_without_curvature_it_says_what_is_not_known():
    advised = advice.batch_change(SETTINGS, to_batch_size=64)
    assert [r.batch_size for r in advised.rows] == [32, 64]
    assert advised.rows[1].fraction_of_edge is None
    assert "unknown" in advised.rows[1].note
    json.dumps(advised.as_dict(), allow_nan=False)
    assert "64" in str(advised)


def test_sizes_that_do_not_exist_are_left_out():
    rows = advice.batch_change({"learning_rate": 0.1, "batch_size": 6}, num_examples=20).rows
    assert [r.batch_size for r in rows] == [3, 6, 12]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"to_batch_size": 64, "factors": (2,)}, ValueError, "to_batch_size and factors"),
        ({"to_batch_size": 0}, ValueError, "batch_size must be >= 1"),
        ({"to_batch_size": 600, "num_examples": 500}, ValueError, "num_examples = 500"),
        ({"factors": (-1.0,)}, ValueError, "factors must be > 0"),
        ({"factors": (0.01,)}, ValueError, "at least one whole batch"),
        ({"hessian": -H}, ValueError, "positive eigenvalue"),
        ({"num_examples": 1}, ValueError, "num_examples must be >= 2"),
    ],
)
def test_bad_input(change, error, match):
    with pytest.raises(error, match=match):
        advice.batch_change(SETTINGS, **change)


def test_unknown_settings_are_refused_by_the_rule():
    with pytest.raises(ValueError, match="square-root rule"):
        advice.batch_change({"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32})


def test_from_the_full_batch_noise_appears():
    rows = advice.batch_change(
        {"learning_rate": 0.1, "batch_size": 20}, factors=(0.5, 1), hessian=H, num_examples=20
    ).rows
    assert [r.noise_scale for r in rows] == pytest.approx([0.05, 0.0])
    assert "is zero now" in rows[0].note


def test_the_batch_size_at_the_edge_is_rounded_not_cut():
    # 32·edge/η falls just short of 128 by rounding
    edge = 2 / 0.7
    text = advice.batch_change({"learning_rate": edge / 4 * (1 + 1e-15), "batch_size": 32}, hessian=[[0.7]]).text
    assert "a batch size of about 128." in text
