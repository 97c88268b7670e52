"""Agreement: the printed numbers of discrete_noise.md section 2, system R."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])


def sym(*upper: float) -> np.ndarray:
    """Upper triangle, row by row, to a symmetric matrix."""
    size = int((np.sqrt(8 * len(upper) + 1) - 1) / 2)
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


P = sym(0.4, 0.1, 0.3)
TABLE = [
    ({"learning_rate": 0.1}, (0.0075616, -0.0043867, 0.0128908), 0.95578),
    ({"learning_rate": 0.5}, (0.0641027, -0.0209858, 0.0712323), 0.77889),
    ({"learning_rate": 0.9}, (0.6645618, 0.0578937, 0.1609349), 0.85200),
    ({"learning_rate": 0.1, "momentum": 0.9}, (0.0629299, -0.0201978, 0.1369198), 0.94868),
    ({"learning_rate": 0.5, "momentum": 0.5}, (0.0930298, -0.0300852, 0.1418472), 0.70711),
    ({"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}, (0.0350069, -0.0230503, 0.1035769), 0.92747),
    ({"learning_rate": 0.3, "momentum": 0.5, "nesterov": True}, (0.0565723, -0.0230524, 0.0809416), 0.65853),
    ({"learning_rate": 1, "preconditioner": P}, (0.0392502, -0.0007498, 0.0371109), 0.88861),
    ({"learning_rate": 1, "preconditioner": P, "momentum": 0.6}, (0.0732817, -0.0004204, 0.0956107), 0.77460),
]


@pytest.mark.parametrize(("setting", "printed", "radius"), TABLE)
def test_table_2_1(setting, printed, radius):
    chain = theory.linear_chain(H, C, batch_size=4, **setting)
    assert_allclose(theory.stationary_covariance(H, C, batch_size=4, **setting), sym(*printed), atol=6e-8)
    assert_allclose(chain.covariance, sym(*printed), atol=6e-8)
    assert_allclose(chain.spectral_radius, radius, atol=6e-6)


def test_table_2_1_continuous():
    found = theory.stationary_covariance(H, C, learning_rate=0.5, batch_size=4, time="continuous")
    assert_allclose(found, sym(0.0345055, -0.0217033, 0.0630220), atol=6e-8)


def test_closed_form_nesterov_2_2():
    found = theory.stationary_covariance([[2.0]], [[1.0]], learning_rate=0.3, batch_size=1, momentum=0.5, nesterov=True)
    assert_allclose(found, 0.21875, rtol=1e-13)


def test_edges_2_3():
    found = [
        theory.stability_edge(H, momentum=m, nesterov=n)
        for m, n in ((0, False), (0.9, False), (0.9, True), (0.5, True))
    ]
    assert_allclose(found, (0.97192, 1.84666, 0.65952, 0.72894), atol=6e-6)


def test_full_preconditioner_2_7():
    for mu, printed, gap in (
        (0, (0.1468429, 0.0587372, 0.3871312), 0.024213),
        (0.6, (0.0674960, 0.0319371, 0.1712093), 0.0011405),
    ):
        setting = {"num_examples": 50, "batch_size": 4, "momentum": mu}
        best = theory.optimal_preconditioner(H, C, **setting)
        assert_allclose(best, sym(*printed), atol=6e-8)
        small = theory.optimal_preconditioner(H, C, time="continuous", **setting)
        found = theory.stationary_covariance(H, C, learning_rate=1, batch_size=4, momentum=mu, preconditioner=small)
        assert_allclose(theory.gaussian_kl(found, np.linalg.inv(H) / 50), gap, rtol=5e-5)


@pytest.mark.parametrize(
    ("examples", "mu", "rate", "gap", "small", "gap_there"),
    [
        (50, 0, 0.190138, 0.127525, 0.228571, 0.154142),
        (50, 0.9, 0.0229274, 0.0586295, 0.0228571, 0.0586344),
        (10, 0, 0.535393, 0.237750, 1.142857, None),
    ],
)
def test_scalar_rate_2_7(examples, mu, rate, gap, small, gap_there):
    setting = {"num_examples": examples, "batch_size": 4, "momentum": mu}
    best = theory.optimal_learning_rate(C, hessian=H, **setting)
    assert_allclose(best, rate, rtol=3e-6)
    continuous = theory.optimal_learning_rate(C, time="continuous", **setting)
    assert_allclose(continuous, small, rtol=3e-6)
    posterior = np.linalg.inv(H) / examples

    def at(value):
        return theory.gaussian_kl(
            theory.stationary_covariance(H, C, learning_rate=value, batch_size=4, momentum=mu), posterior
        )

    assert_allclose(at(best), gap, rtol=1e-5)
    if gap_there is None:
        with pytest.raises(ValueError, match="stability edge"):
            at(continuous)
    else:
        assert_allclose(at(continuous), gap_there, rtol=1e-5)


@pytest.mark.parametrize(
    ("rate", "mu", "printed"),
    [
        (0.5, 0, (0.0348187, -0.0611842, 0.1942197)),
        (0.5, 0.6, (0.0773748, -0.1359650, 0.4315993)),
        (1.2, 0, (0.1566840, -0.2753291, 0.8739886)),
    ],
)
def test_damped_newton_2_9(rate, mu, printed):
    found = theory.stationary_covariance(
        H, C, learning_rate=rate, batch_size=4, momentum=mu, preconditioner=np.linalg.inv(H)
    )
    assert_allclose(found, sym(*printed), atol=6e-8)
