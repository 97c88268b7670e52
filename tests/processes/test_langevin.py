"""Langevin: what is injected, and what is refused. Its laws are in tests/conformance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradnoise.oracles import full_batch, minibatch
from gradnoise.processes import compose, langevin

P = np.array([[0.3, 0.1], [0.1, 0.2]])


def test_injected_covariance_defaults_to_the_posterior_limit() -> None:
    plain = langevin(full_batch(), learning_rate=0.1, num_examples=50)
    assert plain.root**2 == pytest.approx(2 * 0.1 / 50)
    shaped = langevin(full_batch(), learning_rate=0.1, num_examples=50, preconditioner=P)
    np.testing.assert_allclose(shaped.root @ shaped.root.T, 2 * 0.1 / 50 * P)


def test_injected_covariance_may_be_singular() -> None:
    flat = np.array([[1.0, 1.0], [1.0, 1.0]])
    made = langevin(full_batch(), learning_rate=0.1, injected_covariance=flat)
    np.testing.assert_allclose(made.root @ made.root.T, flat, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.0, "num_examples": 50}, "learning_rate must be > 0"),
        ({"learning_rate": 0.1}, "num_examples must be given"),
        ({"learning_rate": 0.1, "num_examples": 50, "preconditioner": -P}, "preconditioner must be positive definite"),
        (
            {"learning_rate": 0.1, "num_examples": 50, "preconditioner": [[1, 2], [0, 1]]},
            "preconditioner must be symmetric",
        ),
        ({"learning_rate": 0.1, "injected_covariance": -P}, "injected_covariance must have no negative eigenvalue"),
    ],
)
def test_bad_langevin(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        langevin(minibatch(4), **settings)


def test_compose_refuses_what_is_no_oracle() -> None:
    with pytest.raises(TypeError, match="oracle must have draw"):
        compose(32, None)
