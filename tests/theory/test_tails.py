"""Tails: Kesten's exponent and the bulk exponent kept apart; the loss's power law; α-stable noise (discrete_noise.md 3.8, 4.2, 4.5)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from gradnoise import theory
from gradnoise.results import mean_of
from gradnoise.testing import assert_covariance, assert_estimate, assert_fails, planted_defects

KESTEN = [
    (1, 0.1, 17.28459, 19, 21, 11),
    (1, 0.4, 3.80562, 4, 6, 3.5),
    (4, 0.2, 30.56291, 36, 41, 21),
    (4, 1, 3.50468, 4, 9, 5),
    (16, 0.4, 49.78911, 64, 81, 41),
]


@pytest.mark.parametrize(("batch", "rate", "kappa", "bulk", "loss", "exact"), KESTEN)
def test_four_exponents_golden_d17(batch, rate, kappa, bulk, loss, exact):
    """Table 3.8: the true tail, and three other numbers that go by its name."""
    law = {"curvature": 2.0, "learning_rate": rate / 2, "batch_size": batch}
    right = theory.tail_exponent(**law)
    kinds = {"gaussian_inputs": bulk, "sde_loss_proportional": 2 * (loss - 1) / 2 + 1, "sde_gaussian_inputs": exact}
    for kind, printed in kinds.items():
        assert_allclose(
            2 * theory.bulk_exponent(noise=kind, **law) - 1,
            printed if "sde_loss" not in kind else 2 * (1 + batch / rate) - 1,
            rtol=1e-12,
        )
    wrong = {"bulk exponent": bulk, "SDE with 2LH": loss, "SDE with exact C": exact}
    planted_defects(lambda k: assert_allclose(k, kappa, atol=6e-6), right, wrong)


def test_small_step_and_edge_d17():
    """κηa/B → 1.7955607 = e^{1+W(1/e)}/2; κ = 2 at 2B/(B+2); 4.1.5's other rows."""
    assert_allclose(theory.tail_exponent(curvature=1.0, learning_rate=0.02, batch_size=1) * 0.02, 1.782, atol=6e-4)
    small = theory.tail_exponent(curvature=1.0, learning_rate=1e-3, batch_size=1) * 1e-3
    assert_allclose(small, 1.7955607, rtol=1e-3)
    for batch in (1, 3, 16):
        assert_allclose(
            theory.tail_exponent(curvature=1.0, learning_rate=2 * batch / (batch + 2), batch_size=batch), 2, rtol=1e-9
        )
    for batch, printed in ((1, 1.091), (8, 6.202)):
        assert_allclose(theory.tail_exponent(curvature=1.0, learning_rate=1.0, batch_size=batch), printed, atol=6e-4)
    with pytest.raises(ValueError, match=r"E ln\|factor\| below 0"):
        theory.tail_exponent(curvature=1.0, learning_rate=2.43, batch_size=1)  # the almost-sure edge is 2.42125
    assert 0 < theory.tail_exponent(curvature=1.0, learning_rate=2.4212, batch_size=1) < 1e-3


ISOTROPIC = [
    (0.25, 1, 2, 5.90565),
    # slow: between the others in batch size and dimension
    pytest.param(0.25, 1, 4, 4.39129, marks=pytest.mark.slow),
    pytest.param(0.5, 4, 3, 8.92920, marks=pytest.mark.slow),
    (0.2, 4, 10, 26.54623),
]


@pytest.mark.parametrize(("rate", "batch", "size", "printed"), ISOTROPIC)
def test_isotropic_golden(rate, batch, size, printed):
    right = theory.tail_exponent(curvature=1.0, learning_rate=rate, batch_size=batch, num_params=size)
    one = theory.tail_exponent(curvature=1.0, learning_rate=rate, batch_size=batch)
    planted_defects(
        lambda k: assert_allclose(k, printed, atol=6e-6),
        right,
        {"one dimension": one, "bulk": 2 * batch / rate - batch},
    )
    edge = 2 * batch / (batch + 1 + size)
    found = theory.tail_exponent(curvature=1.0, learning_rate=edge, batch_size=batch, num_params=size)
    assert_allclose(found, 2, rtol=1e-7)


@pytest.mark.law
def test_moments_exist_up_to_kappa():
    """One step multiplies E|θ|^k by E|1−ηX̄|^k: simulated at k = κ it is 1, at the bulk exponent it is not."""
    rng, batch, rate = np.random.default_rng(0), 4, 1.0
    factors = np.abs(1 - rate * rng.chisquare(batch, size=4_000_000) / batch)
    kappa = theory.tail_exponent(curvature=1.0, learning_rate=rate, batch_size=batch)
    bulk = 2 * theory.bulk_exponent(curvature=1.0, learning_rate=rate, batch_size=batch) - 1
    assert_estimate(mean_of(factors**kappa), 1.0, detects=0.1)
    assert_fails(assert_estimate, mean_of(factors**bulk), 1.0, detects=0.2, defect="bulk exponent")


def test_large_exponents_are_finite():
    """A large batch: κ from a Laplace integral by hand; the two quadratures and the limit of small steps agree where they meet."""
    batch, step = 1024, 0.1 / 1024

    def balance(kappa):
        """Peak and width of κ ln(step·X − 1) + ln χ²_B in X > 1/step."""
        half = (1 + (2 * kappa + batch - 2) * step) / (2 * step)
        x = half + np.sqrt(half**2 - (batch - 2) / step)
        bend = kappa * step**2 / (step * x - 1) ** 2 + (batch / 2 - 1) / x**2
        return kappa * np.log(step * x - 1) + chi2.logpdf(x, batch) + np.log(2 * np.pi / bend) / 2

    right = theory.tail_exponent(curvature=1.0, learning_rate=0.1, batch_size=batch)
    wrong = {"the limit of small steps": 1.7955607 * batch / 0.1}
    planted_defects(lambda kappa: assert_allclose(balance(kappa), 0, atol=1e-3), right, wrong)
    for rate, size, rows in ((1e-5, 8, 4), (1e-5, 1, 1), (1e-12, 3, 5)):
        found = theory.tail_exponent(curvature=1.0, learning_rate=rate, batch_size=size, num_params=rows)
        assert_allclose(found * rate / size, 1.7955607, rtol=5e-5)
    # 1/512 of the exponents' scale on either side of the change of quadrature
    ratios = [
        theory.tail_exponent(curvature=1.0, learning_rate=r, batch_size=64) * r for r in (0.198, 0.2, 0.202, 0.204)
    ]
    assert_allclose(np.diff(ratios, 2), 0, atol=0.01)


def test_multiplier_tail_exponent():
    """Three draws by hand; Gaussian inputs as a fine list of multipliers."""
    right = theory.multiplier_tail_exponent([1.5, -0.25, 0.5], [0.5, 0.2, 0.3])

    def balanced(kappa):
        assert_allclose(0.5 * 1.5**kappa + 0.2 * 0.25**kappa + 0.3 * 0.5**kappa, 1, rtol=1e-12)

    equal = theory.multiplier_tail_exponent([1.5, -0.25, 0.5])
    planted_defects(balanced, right, {"weights forgotten": equal, "missing factor 2": 2 * right})
    assert theory.multiplier_tail_exponent([0.9, -1.0, 0.5]) == math.inf
    grid = (np.arange(400_000) + 0.5) / 400_000
    listed = theory.multiplier_tail_exponent(1 - chi2.ppf(grid, 4) / 4)
    assert_allclose(listed, theory.tail_exponent(curvature=1.0, learning_rate=1.0, batch_size=4), rtol=3e-4)
    with pytest.raises(ValueError, match="contract on average"):
        theory.multiplier_tail_exponent([2.0, 0.6])
    with pytest.raises(ValueError, match=r"contract on average, but the mean of ln\|m\| is 0"):
        theory.multiplier_tail_exponent([1.0, -1.0])
    assert theory.multiplier_tail_exponent([3.0, 0.5], [0.0, 1.0]) == math.inf


SMALL = {"num_particles": 1024, "num_steps": 80}


def test_tail_exponent_estimate():
    """Isotropic inputs against the closed form."""
    found = theory.tail_exponent_estimate(np.eye(2), learning_rate=0.25, batch_size=1, **SMALL)
    wrong = {
        "bulk exponent": 7.0,
        "one dimension": theory.tail_exponent(curvature=1.0, learning_rate=0.25, batch_size=1),
    }
    planted_defects(lambda k: assert_allclose(found.value, k, rtol=0.015), 5.90565, wrong)
    assert found.standard_error < 0.05


# slow: particles in three dimensions; by default they are compared in two, and the edge in many dimensions by quadrature
@pytest.mark.slow
def test_tail_exponent_estimate_of_anisotropic_inputs():
    """At their second-moment edge κ = 2."""
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    hessian = turn @ np.diag([1.0, 0.5, 0.2]) @ turn.T
    found = theory.tail_exponent_estimate(hessian, learning_rate=1.2883575, batch_size=4, **SMALL)
    planted_defects(lambda k: assert_allclose(found.value, k, rtol=0.015), 2.0, {"missing factor 2": 4.0})


# --- the loss's power law ---


def discrete_sample(h, bottom, rate, batch, chains=8192, seed=1):
    """Chains of SGD with Gaussian noise of covariance 2LH/B, snapshots apart."""
    rng, h = np.random.default_rng(seed), np.asarray(h)
    theta, kept = np.zeros((chains, len(h))), []
    apart = int(np.ceil(2.5 / (rate * h.min())))
    for t in range(apart * 20):
        loss = bottom + 0.5 * (theta**2 @ h)
        theta = theta - rate * (
            theta * h + np.sqrt(2 * loss / batch)[:, None] * np.sqrt(h) * rng.normal(size=theta.shape)
        )
        if t >= 4 * apart and t % apart == 0:
            kept.append(theta)
    return np.stack(kept, 1)


LOSSES = [
    ((1.0,), 0.1, 0.5, (0.00235294,), 0.01117647, (0.00222222,), 0.01111111),
    ((1.0, 0.5, 0.2), 0.1, 0.5, (0.00255730, 0.00249168, 0.00245393), 0.01214694, (0.00240964,) * 3, 0.01204819),
    ((1.0, 0.5, 0.2), 0.5, 4, (0.0019206, 0.0016462, 0.0015162), 0.01152347, (0.00139860,) * 3, 0.01118881),
]


@pytest.mark.parametrize(("h", "rate", "batch", "sigma", "mean", "sde_sigma", "sde_mean"), LOSSES)
def test_loss_power_law_golden_d18(h, rate, batch, sigma, mean, sde_sigma, sde_mean):
    law = {"minimum_loss": 0.01, "learning_rate": rate, "batch_size": batch}
    found = theory.loss_power_law(np.diag(h), **law)
    assert_allclose(np.diag(found.covariance), sigma, atol=6e-8)
    assert_allclose(found.mean_loss, mean, atol=6e-9)
    assert_allclose(found.mean_loss, 0.01 + np.sum(np.diag(found.covariance) * h) / 2, rtol=1e-12)
    sde = theory.loss_power_law(np.diag(h), time="continuous", **law)
    assert_allclose(np.diag(sde.covariance), sde_sigma, atol=6e-9)
    assert_allclose(sde.mean_loss, sde_mean, atol=6e-9)
    assert_allclose(sde.exponent, 1 + batch / rate, rtol=1e-12)
    assert_allclose(found.exponent, 1 + batch / rate - batch / 2, rtol=1e-12)


@pytest.mark.law
def test_loss_power_law():
    h = (1.0, 0.5, 0.2)
    law = {"minimum_loss": 0.01, "learning_rate": 0.5, "batch_size": 4}
    right = theory.loss_power_law(np.diag(h), **law)
    wrong = {
        "continuous time": theory.loss_power_law(np.diag(h), time="continuous", **law).covariance,
        "noise of the minimum": right.covariance * 0.01 / right.mean_loss * 0.95,
        "noise x 1.08": 1.08 * right.covariance,
    }
    sample = discrete_sample(h, 0.01, 0.5, 4)
    planted_defects(lambda s: assert_covariance(sample, s, mean=np.zeros(3)), right.covariance, wrong)
    with pytest.raises(ValueError, match="finite mean loss"):
        theory.loss_power_law(np.diag(h), minimum_loss=0.01, learning_rate=0.5, batch_size=0.2, time="continuous")


@pytest.mark.law
@pytest.mark.parametrize(("rate", "batch", "printed", "excluded"), [(0.1, 0.5, 5.75, 6.0), (0.5, 4, 7.0, 9.0)])
def test_bulk_exponent_law_d18(rate, batch, printed, excluded):
    """Maximum-likelihood φ of ρ ∝ L^{−φ} on independent draws of the chain; standard error from its curvature."""
    theta = discrete_sample((1.0,), 0.5, rate, batch, chains=20_000, seed=2)[:, ::4, 0].ravel()
    logs = np.log1p(theta**2).mean()

    def cost(phi):
        return phi * logs + math.lgamma(phi - 0.5) - math.lgamma(phi)

    fit = minimize_scalar(cost, bounds=(1, 60), method="bounded", options={"xatol": 1e-9}).x
    right = theory.bulk_exponent(curvature=1.0, learning_rate=rate, batch_size=batch, noise="loss_proportional")
    assert_allclose(right, printed, rtol=1e-12)
    wrong = {"the SDE's exponent": excluded, "Gaussian inputs": right - 0.5}
    planted_defects(lambda p: assert_allclose(fit, p, atol=0.13), right, wrong)


# --- α-stable noise ---


def stable_draws(rng, alpha, size):
    """Chambers–Mallows–Stuck, symmetric, E e^{ikx} = e^{−|k|^α}."""
    angle, wait = rng.uniform(-np.pi / 2, np.pi / 2, size), rng.exponential(size=size)
    return (
        np.sin(alpha * angle)
        / np.cos(angle) ** (1 / alpha)
        * (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha)
    )


@pytest.mark.law
@pytest.mark.parametrize("alpha", [1.4, 2.0])
def test_stable_scale_law(alpha):
    """Characteristic function of the chain at two frequencies; batches of three examples."""
    rng, h, rate, batch = np.random.default_rng(3), 2.0, 0.4, 3
    theta = np.zeros(60_000)
    for _ in range(12):
        theta = theta - rate * (h * theta + stable_draws(rng, alpha, (60_000, batch)).mean(1))
    law = {"curvature": h, "noise_scale": 1.0, "alpha": alpha, "learning_rate": rate, "batch_size": batch}
    right = theory.stable_scale(**law)
    wrong = {
        "continuous time": theory.stable_scale(time="continuous", **law),
        "batch as for variances": right * 3 ** (0.5 - 1 / alpha) if alpha < 2 else right / 3**0.5,
        "variance for scale": right * 2**0.5,
    }
    frequencies = np.array([0.7, 1.2]) / right
    seen = mean_of(np.cos(theta[:, None] * frequencies))
    planted_defects(
        lambda s: assert_estimate(seen, np.exp(-((s * frequencies) ** alpha)), detects=0.025, relative=False),
        right,
        wrong,
    )
    if alpha == 2.0:
        variance = theory.stationary_covariance([[h]], [[2.0]], learning_rate=rate, batch_size=batch)[0, 0]
        assert_allclose(2 * right**2, variance, rtol=1e-12)


@pytest.mark.law
# slow: the exit time does not feel the curvature, and 4 is where it would show
@pytest.mark.parametrize("curvature", [pytest.param(1.0, marks=pytest.mark.slow), 4.0])
def test_stable_exit_law(curvature):
    """Euler chain of dθ = −hθ dt + ε dL_α: the exit time does not feel the curvature."""
    rng, alpha, scale, dt, count = np.random.default_rng(4), 1.5, 0.07, 0.04, 1000
    theta, times, step = np.zeros(count), np.zeros(count), 0
    while (alive := times == 0).any() and step < 400_000:
        step += 1
        theta = theta * alive * (1 - curvature * dt) + scale * dt ** (1 / alpha) * stable_draws(rng, alpha, count)
        times[alive & (np.abs(theta) > 1)] = step * dt
    right = theory.stable_exit_time(half_width=1.0, noise_scale=scale, alpha=alpha)
    wrong = {
        "missing factor 2": 2 * right,
        "scale for its power": right * scale**0.5,
        "a potential's curvature": right * 4,
    }
    # asymptotic in ε: within 8 % there, which these 1 000 exits do not see
    planted_defects(lambda t: assert_estimate(mean_of(times), t, detects=0.35), right, wrong)
