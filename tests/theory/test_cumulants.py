"""Skewness and kurtosis of what SGD settles in, by simulation and in its limits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.results import Estimate
from gradnoise.testing import assert_estimate, planted_defects

CHAINS = 1_200_000


def settled(rate: float, batch_size: int, share: float) -> np.ndarray:
    """Iterates of z ← (1-r) z + ξ after 8 relaxation times; example gradients are exponential (skewness 2, excess kurtosis 6)."""
    r = np.random.default_rng(8)
    z = np.zeros(CHAINS)
    for _ in range(int(8 / min(rate, 1.0)) + 1):
        batch = (r.gamma(batch_size, size=CHAINS) - batch_size) / np.sqrt(batch_size)
        z = (1 - rate) * z + np.sqrt(share) * batch + np.sqrt(1 - share) * r.standard_normal(CHAINS)
    return z


# slow: the smallest rate takes the most steps; the others have memory of both signs
@pytest.mark.law
@pytest.mark.parametrize(
    ("rate", "batch_size", "share"),
    [pytest.param(0.25, 2, 1.0, marks=pytest.mark.slow), (0.7, 1, 0.6), (1.4, 3, 0.9)],
)
def test_cumulants_of_simulated_chains(rate: float, batch_size: int, share: float) -> None:
    z = settled(rate, batch_size, share).reshape(50, -1)
    z = (z - z.mean()) / z.std()
    found = theory.stationary_shape([rate], [2.0], [6.0], batch_size=batch_size, noise_share=[share])
    kept = 1 - rate
    plain = theory.stationary_shape([rate], [2.0], [6.0], batch_size=batch_size, noise_share=[1.0])
    for power, gauss, right, own, name in (
        (3, 0.0, found.skewness[0], 2 * share**1.5 / np.sqrt(batch_size), "skewness"),
        (4, 3.0, found.kurtosis[0], 6 * share**2 / batch_size, "kurtosis"),
    ):
        each = (z**power).mean(1) - gauss
        measured = Estimate(float(each.mean()), float(each.std(ddof=1) / np.sqrt(50)), 50)
        wrong = {"noise's own shape": own, "no memory of cubes": own * (1 - kept**2) ** (power / 2), "sign": -right}
        if share < 1:
            wrong["all of it minibatch noise"] = getattr(plain, name)[0]
        planted_defects(
            lambda p, m=measured: assert_estimate(m, p, false_fail=1e-7, detects=0.25),
            float(right),
            {k: v for k, v in wrong.items() if abs(v - right) > 0.25 * abs(right)},
        )


def test_limits() -> None:
    """One step forgets all: the noise itself. Small steps: γ (8r/9)^½, κ r. Gaussian noise or large batches: nothing."""
    one = theory.stationary_shape([1.0], [2.0], [6.0], batch_size=1, noise_share=[1.0])
    assert_allclose((one.skewness[0], one.kurtosis[0]), (2.0, 6.0))
    small = theory.stationary_shape([1e-4], [2.0], [6.0], batch_size=9, noise_share=[1.0])
    assert_allclose((small.skewness[0], small.kurtosis[0]), (2 * np.sqrt(8e-4 / 9) / 3, 6e-4 / 9), rtol=1e-3)
    none = theory.stationary_shape([0.3], [2.0], [6.0], batch_size=1, noise_share=[0.0])
    assert (none.skewness[0], none.kurtosis[0]) == (0.0, 0.0)


@pytest.mark.parametrize(("argument", "value"), [("rates", [2.0]), ("rates", [0.0]), ("noise_share", [1.1])])
def test_beyond_what_there_is(argument: str, value: list[float]) -> None:
    given = {"rates": [0.5], "noise_skewness": [1.0], "noise_kurtosis": [1.0], "noise_share": [0.5]} | {argument: value}
    with pytest.raises(ValueError, match=f"{argument} must lie in"):
        theory.stationary_shape(**given, batch_size=2)
