"""Constant SGD and iterate averaging on a small network for MNIST: reduced from studies/deep_mnist.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import deep_mnist, recording


@pytest.mark.slow
def test_predictives_of_constant_sgd_and_averages_beat_the_network_they_start_from(shared_data: Path) -> None:
    del shared_data
    found = {row["method"]: row for row in deep_mnist.study(3000, 6, 8, only="mlp")}
    one = found["one network"]
    for method in ("constant SGD", "iterate averaging"):
        assert found[method]["nll"] < one["nll"] + 2 * one["nll_standard_error"]
        assert "stiffest directions" in found[method]["plan"]


def test_the_committed_record_has_every_method_on_both_networks() -> None:
    rows: list[dict[str, Any]] = recording.read("deep_mnist")["rows"]
    assert len(rows) == 14
    for network in {row["network"] for row in rows}:
        nll = {row["method"]: row["nll"] for row in rows if row["network"] == network}
        assert nll["constant SGD"] < nll["one network"]
