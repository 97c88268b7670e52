"""Agreement: the golden instance G3 of mandt2017.md section 7."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory


def sym(*upper: float) -> np.ndarray:
    """Upper triangle, row by row, to a symmetric matrix."""
    size = int((np.sqrt(8 * len(upper) + 1) - 1) / 2)
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


A3 = sym(2, 0.5, 0, 1, 0.3, 0.5)
C3 = sym(1, -0.4, 0.2, 0.5, 0.1, 0.8)
G3 = {"num_examples": 1000, "batch_size": 10}
EPS = 0.0260869565217
POSTERIOR = np.linalg.inv(A3) / 1000


def law(rate=EPS, **kwargs):
    return theory.stationary_covariance(A3, C3, learning_rate=rate, batch_size=10, **kwargs)


def test_g3_posterior_and_scalar_rate():
    assert_allclose(
        POSTERIOR,
        sym(0.0005899280576, -0.0003597122302, 0.0002158273381, 0.001438848921, -0.0008633093525, 0.002517985612),
    )
    rate = theory.optimal_learning_rate(C3, **G3, time="continuous")
    assert_allclose(rate, EPS, rtol=1e-11)


@pytest.mark.parametrize(
    ("time", "printed"),
    [
        (
            "continuous",
            (0.0008366743967, -0.0007380019347, 0.0004424236361, 0.001238926508, -0.0007258387589, 0.002522459777),
        ),
        (
            "discrete",
            (0.0008524515959, -0.0007427631493, 0.000442881661, 0.001249508924, -0.0007250960098, 0.002535810991),
        ),
    ],
)
def test_g3_covariance(time, printed):
    assert_allclose(law(time=time), sym(*printed), rtol=1e-8)


@pytest.mark.parametrize(
    ("time", "printed"),
    [
        ("continuous", (0.4561052705, 0.1663844996, 0.6266637288)),
        ("discrete", (0.4488722254, 0.1630179566, 0.6658228617)),
    ],
)
def test_g3_divergence(time, printed):
    found = [theory.gaussian_kl(law(a * EPS, time=time), POSTERIOR) for a in (0.5, 1, 2)]
    assert_allclose(found, printed, rtol=1e-8)


def test_g3_reverse_divergence():
    assert_allclose(theory.gaussian_kl(POSTERIOR, law(time="continuous")), 0.2375658095, rtol=1e-8)


def step(**kwargs):
    return theory.optimal_preconditioner(A3, C3, **G3, **kwargs)


def divergence(preconditioner, **kwargs):
    return theory.gaussian_kl(law(1.0, preconditioner=preconditioner, **kwargs), POSTERIOR)


def test_g3_full_preconditioner():
    continuous = step(time="continuous")
    printed = sym(0.03451327434, 0.03008849558, -0.01238938053, 0.06725663717, -0.01592920354, 0.03008849558)
    assert_allclose(continuous, printed, rtol=1e-8)
    assert_allclose(divergence(continuous), 0.001435853509, rtol=1e-7)
    assert divergence(continuous, time="continuous") < 1e-25
    exact = step()
    assert_allclose(
        exact, sym(0.032559776, 0.02756388107, -0.01161619248, 0.06359048218, -0.01498459115, 0.02964801414), rtol=1e-8
    )
    assert divergence(exact) < 1e-25


def test_g3_diagonal_preconditioners():
    closed = step(kind="diagonal_closed", time="continuous")
    assert_allclose(closed, np.diag([0.02, 0.04, 0.025]), rtol=1e-12)
    assert_allclose(divergence(closed, time="continuous"), 0.2067744882, rtol=1e-8)
    best = step(kind="diagonal", time="continuous")
    assert_allclose(np.diag(best), (0.0273756, 0.023537, 0.0260698), rtol=1e-5)
    assert_allclose(divergence(best, time="continuous"), 0.1642790539, rtol=1e-8)


def test_g3_square_root_preconditioner():
    root = step(kind="sqrt", time="continuous")
    assert_allclose(np.diag(root) * np.sqrt(np.diag(C3)), 0.02306331597, rtol=1e-8)
    assert_allclose(divergence(root, time="continuous"), 0.183338572, rtol=1e-8)


@pytest.mark.parametrize(
    ("time", "printed"),
    [
        ("continuous", (0.01258711889, -0.01008795158, 0.004172318292, 0.02747483222, -0.01515815177, 0.04806754529)),
        ("discrete", (0.01289610067, -0.01018817724, 0.004200247405, 0.02767990454, -0.01514020529, 0.04832139253)),
    ],
)
def test_g3_momentum(time, printed):
    assert_allclose(law(0.05, momentum=0.9, time=time), sym(*printed), rtol=1e-8)


@pytest.mark.parametrize(
    ("time", "printed"),
    [
        (
            "continuous",
            (0.002193553985, -0.001774215938, 0.001063805974, 0.003813458061, -0.002254500307, 0.007352700184),
        ),
        ("discrete", (0.002279121102, -0.0017913109, 0.001065429111, 0.003878430197, -0.002251403388, 0.007427365993)),
    ],
)
def test_g3_langevin(time, printed):
    assert_allclose(theory.langevin_covariance(A3, C3, step_size=1e-4, time=time, **G3), sym(*printed), rtol=1e-8)


def test_g3_averages():
    found = theory.iterate_average_covariance(A3, C3, learning_rate=EPS, batch_size=10, window=100)
    printed = sym(0.0003564011009, -0.0004546162577, 0.0003371302409, 0.0008239370935, -0.0006958752963, 0.001857056227)
    assert_allclose(found, printed, rtol=1e-8)
    leading = sym(0.0006551420734, -0.001066611459, 0.001149319393, 0.002050618498, -0.002467781171, 0.005423114746)
    chain = theory.linear_chain(A3, C3, learning_rate=EPS, batch_size=10)
    assert_allclose(chain.long_run_covariance / 100, leading, rtol=1e-8)


def test_g3_averages_where_noise_is_curvature():
    found = theory.iterate_average_covariance(A3, A3, learning_rate=0.05, batch_size=10, window=100)
    frame = np.linalg.eigh(A3)[1]
    factors = np.diag(frame.T @ found @ frame) * 1000 * np.linalg.eigvalsh(A3)
    assert_allclose(factors, (0.5108313189, 0.7976798892, 0.9150020388), rtol=1e-8)


def test_g3_simulated_far_from_small_steps():
    """T1: at 0.8 the discrete value is more than 50 % away from continuous time."""
    wide, small = law(0.8), law(0.8, time="continuous")
    assert_allclose(np.linalg.norm(wide - small) / np.linalg.norm(small), 0.96, atol=0.01)
