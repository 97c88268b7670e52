"""Stacks of states: what random mutants of the SDEs survived before (`benchmarks/mutants.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import sde
from gradnoise.testing import assert_fails

H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])
RATE = {"learning_rate": 0.05, "batch_size": 4}
ADAPTIVE = RATE | {"b2": 0.9, "eps": 0.3}
LAWS = {
    "sgd": RATE,
    "momentum": RATE | {"momentum": 0.6},
    "nesterov": RATE | {"momentum": 0.6},
    "rmsprop": ADAPTIVE,
    "adam": ADAPTIVE | {"b1": 0.8},
    "rmspropw": ADAPTIVE | {"weight_decay": 0.3},
    "adamw": ADAPTIVE | {"b1": 0.8, "weight_decay": 0.3},
    "sign_sgd": RATE,
}
CASES = [(name, order) for name in LAWS for order in (1, 2) if order == 1 or name in ("sgd", "momentum", "nesterov")]


def noise(x):
    """A covariance that changes with the place, (..., D) -> (..., D, D)."""
    return C * (1 + np.sum(x**2, -1))[..., None, None] + x[..., :, None] * x[..., None, :]


def built(name, order, covariance, hessian=H):
    more = {"order": 2, "hessian": hessian} if order == 2 else {}
    return getattr(sde, name)(lambda x: x @ H, covariance, **LAWS[name] | more)


def states(law, *shape):
    """States (…, parts·D) with positive second moments."""
    return 0.2 + np.random.default_rng(5).random((*shape, 2 * len(law.parts)))


@pytest.mark.parametrize(("name", "order"), CASES)
@pytest.mark.parametrize("shape", [(5,), (4, 1), (3, 2)])
def test_a_stack_of_states_is_its_states_one_by_one(name, order, shape):
    """Constant covariance and one that changes with the place, in every shape of stack."""
    kinds = [[1.0, 0.7]] if name == "sign_sgd" else [C, noise]
    for covariance in kinds:
        law = built(name, order, covariance, hessian=lambda x: noise(x) + H)
        stack = states(law, *shape)
        assert law.order == order
        for field in (law.drift, law.diffusion):
            single = [field(0.7, state) for state in stack.reshape(-1, stack.shape[-1])]
            found = field(0.7, stack)
            assert_allclose(found.reshape(len(single), *single[0].shape), single, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "order"), [case for case in CASES if case[0] != "sign_sgd"])
def test_a_function_that_is_constant_is_its_constant(name, order):
    law = built(name, order, C)
    stack = states(law, 5)
    same = built(
        name, order, lambda x: np.broadcast_to(C, (*x.shape, 2)), hessian=lambda x: np.broadcast_to(H, (*x.shape, 2))
    )
    turned = built(name, order, lambda x: np.broadcast_to(C[::-1, ::-1], (*x.shape, 2)))
    for read in ("drift", "diffusion"):
        assert_allclose(getattr(same, read)(0.7, stack), getattr(law, read)(0.7, stack), rtol=1e-12, atol=1e-14)
    wrong, right = (
        np.concatenate([l.drift(0.7, stack).ravel(), l.diffusion(0.7, stack).ravel()]) for l in (turned, law)
    )
    assert_fails(assert_allclose, wrong, right, rtol=1e-3, defect="coordinates of the noise exchanged")
