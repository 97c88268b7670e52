"""Kinetic integrators: the chain against products of dense blocks, against a simulator, and against the numbers in peers.md §4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from gradnoise import theory
from gradnoise.testing import assert_covariance, planted_defects
from gradnoise.theory.langevin.kinetic_flows import coefficients, program_of

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
M = np.array([[1.0, 0.2], [0.2, 0.6]])
W = np.array([[0.01, 0.002], [0.002, 0.006]])
I2, O2 = np.eye(2), np.zeros((2, 2))
N, B = 50, 4
EXACT = ["BAOAB", "OBABO", "UBU", "ABO", "ABOBA", "OABAO", "BUB"]
SCHEMES = [*EXACT, "sghmc", "sghmc_half", "sghmc_naive"]
SETTING = {"step_size": 0.4, "friction": 1.3, "num_examples": N, "batch_size": B, "mass": M}


def ou(t, gamma, drift):
    """Exact map and noise of (θ, v) under dv = −γv dt + √(2γK) dW and, with drift, dθ = v dt: a block exponential (Van Loan)."""
    flow = np.block([[O2, drift * I2], [O2, -gamma * I2]])
    diffusion = np.block([[O2, O2], [O2, 2 * gamma * np.linalg.inv(M) / N]])
    big = expm(np.block([[-flow, diffusion], [np.zeros((4, 4)), flow.T]]) * t)
    transition = big[4:, 4:].T
    return transition, transition @ big[:4, 4:]


def as_written(scheme, *, h, gamma, noise, defect=None):
    """Transition and noise of (θ, v, n) for the scheme as written, not its cycle; n is the noise of the last gradient.

    Half kicks at one position, in one step or at the seam of two, share n: it is drawn anew only where the position has moved.
    """
    step, spread = np.eye(6), np.zeros((6, 6))
    inverse = np.linalg.inv(M)
    moved = bool(set(scheme[scheme.rfind("B") :]) & set("AU"))
    for letter in scheme:
        t = h / scheme.count(letter)
        flow, added = np.eye(6), np.zeros((6, 6))
        if letter in "AOU":
            now = {"A": (np.block([[I2, t * I2], [O2, I2]]), np.zeros((4, 4)))}.get(letter)
            flow[:4, :4], added[:4, :4] = now if now else ou(t, gamma, letter == "U")
            moved = moved or letter in "AU"
        else:
            if moved:
                fresh = np.diag([1.0, 1, 1, 1, 0, 0])
                step, spread = fresh @ step, fresh @ spread @ fresh
                spread[4:, 4:] += noise
                moved = False
            flow[2:4, :2], flow[2:4, 4:] = -t * inverse @ H, -t * inverse
        step, spread = flow @ step, flow @ spread @ flow.T + added
    return step, spread


@pytest.mark.parametrize("scheme", ["BAOAB", "OBABO", "UBU", "ABO", "ABOBA", "BUB"])
@pytest.mark.parametrize("noise", [O2, C / B])
def test_the_cycle_has_the_law_of_the_scheme_as_written(scheme, noise):
    """Covariance and autocovariances of the positions; half kicks drawn with two gradients are another law."""
    step, spread = as_written(scheme, h=0.4, gamma=1.3, noise=noise)
    readout = np.hstack([I2, np.zeros((2, 4))])
    written = theory.LinearChain(step, (spread + spread.T) / 2, readout)
    cycle = theory.kinetic_chain(H, noise * B, scheme=scheme, **SETTING)
    for lag in (0, 1, 5):
        np.testing.assert_allclose(cycle.autocovariance(lag), written.autocovariance(lag), rtol=1e-10, atol=1e-14)
    assert cycle.spectral_radius == pytest.approx(written.spectral_radius, rel=1e-10)


def test_exact_drift_with_friction_for_any_rubbing():
    """U's coefficients against a matrix exponential, also where γt is small and its closed form cancels."""
    for rubbed in (1e-6, 1e-3, 0.05, 0.099, 0.101, 1.0, 8.0):
        t = 0.7
        eta, drift, l1, l2, l3 = coefficients("U", t, rubbed / t)
        spread = np.array([[l2**2 + l3**2, l1 * l2], [l1 * l2, l1**2]])
        gamma = rubbed / t
        big = expm(np.array([[0, -1, 0, 0], [0, gamma, 0, 2 * gamma], [0, 0, 0, 0], [0, 0, 1, -gamma]]) * t)
        move = big[2:, 2:].T
        np.testing.assert_allclose([[1, drift], [0, eta]], move, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(spread, move @ big[:2, 2:], rtol=1e-6, atol=1e-12)


def test_programs_have_one_gradient():
    assert program_of("BAOAB") == (("G", 0.0), ("B", 1.0), ("A", 0.5), ("O", 1.0), ("A", 0.5))
    assert program_of("OBABO") == (("G", 0.0), ("B", 0.5), ("O", 1.0), ("B", 0.5), ("A", 1.0))
    assert program_of("UBU") == (("U", 0.5), ("G", 0.0), ("B", 1.0), ("U", 0.5))
    for scheme in SCHEMES:
        assert sum(letter == "G" for letter, _ in program_of(scheme)) == 1


class Kinetic:
    """Simulator written from the definitions: chains of (θ, p), one gradient a step, momentum p (not velocity)."""

    def __init__(self, scheme, *, h, gamma, seed=0, noise=C / B, chains=4096, wrong=""):
        self.rng, self.scheme, self.h, self.gamma, self.wrong = np.random.default_rng(seed), scheme, h, gamma, wrong
        self.inverse, self.root = np.linalg.inv(M), np.linalg.cholesky(M / N)
        self.noise = np.linalg.cholesky(noise) if noise.any() else noise
        self.theta, self.p, self.g = np.zeros((chains, 2)), np.zeros((chains, 2)), None

    def normal(self):
        return self.rng.normal(size=self.theta.shape)

    def gradient(self):
        return self.theta @ H + self.normal() @ self.noise.T

    def advance(self):
        h, gamma = self.h, self.gamma
        if self.scheme.startswith("sghmc"):
            return self.chen(h, gamma)
        for letter in self.scheme:
            t = h / self.scheme.count(letter)
            if letter == "A":
                self.theta, self.g = self.theta + t * self.p @ self.inverse, None
            elif letter == "B":
                self.g = self.gradient() if self.g is None else self.g
                self.p = self.p - t * self.g
            else:
                c = np.exp(-gamma * t)
                self.p = c * self.p + np.sqrt(1 - c**2) * self.normal() @ self.root.T
        return self.theta

    def chen(self, h, gamma):
        if self.scheme == "sghmc_half":
            for _ in range(2):
                self.g = self.gradient() if self.g is None else self.g
                self.p = self.p - h / 2 * (gamma * self.p + self.g) + np.sqrt(gamma * h) * self.normal() @ self.root.T
                if _ == 0:
                    self.theta, self.g = self.theta + h * self.p @ self.inverse, None
            return self.theta
        g = self.gradient() if self.scheme == "sghmc_naive" else None
        self.theta = self.theta + h * self.p @ self.inverse
        g = self.gradient() if g is None else g
        self.p = self.p - h * (gamma * self.p + g) + np.sqrt(2 * gamma * h) * self.normal() @ self.root.T
        return self.theta

    def sample(self, apart, snapshots=16):
        for _ in range(5 * apart):
            self.advance()
        out = []
        for _ in range(snapshots):
            for _ in range(apart):
                self.advance()
            out.append(self.theta)
        return np.stack(out, axis=1)


def check(sample):
    return lambda predicted: assert_covariance(sample, predicted, mean=np.zeros(2))


LAWS = [
    *((scheme, 0.4, 1.3, C / B) for scheme in ("BAOAB", "OBABO", "sghmc", "sghmc_half", "sghmc_naive")),
    *((scheme, 0.9, 2.5, C / B) for scheme in ("BAOAB", "ABO")),
    ("OBABO", 0.9, 2.5, O2),
]


@pytest.mark.law
@pytest.mark.parametrize(("scheme", "h", "gamma", "noise"), LAWS)
def test_law_by_simulation(scheme, h, gamma, noise):
    setting = SETTING | {"step_size": h, "friction": gamma}
    chain = theory.kinetic_chain(H, noise * B, scheme=scheme, **setting)
    made = Kinetic(scheme, h=h, gamma=gamma, noise=noise, seed=3)
    sample = made.sample(int(np.ceil(2 * chain.relaxation_time)))
    right = theory.kinetic_covariance(H, noise * B, scheme=scheme, **setting)
    np.testing.assert_allclose(right, chain.covariance)
    other = {"sghmc_naive": "sghmc"}.get(scheme, "sghmc_naive")
    wrong = {
        "noise x 1.05": 1.05 * right,
        "another scheme": theory.kinetic_covariance(H, noise * B, scheme=other, **setting),
        "temperature 2/N": theory.kinetic_covariance(H, noise * B, scheme=scheme, **setting | {"num_examples": N // 2}),
        "γ for 2γ": theory.kinetic_covariance(
            H, noise * B, scheme=scheme, injected_covariance=(1 - np.exp(-gamma * h)) * M / N, **setting
        ),
    }
    if noise.any():
        wrong["minibatch noise forgotten"] = theory.kinetic_covariance(H, O2, scheme=scheme, **setting)
    planted_defects(check(sample), right, wrong)


@pytest.mark.law
def test_correction_by_simulation():
    """BAOAB with the noise of O reduced samples (NH)⁻¹ at a finite step; without the correction it does not."""
    setting = SETTING | {"step_size": 0.4, "friction": 3.0, "batch_size": 25}
    injected = theory.kinetic_correction(H, C, **setting)
    made = Kinetic("BAOAB", h=0.4, gamma=3.0, noise=C / 25, seed=5)
    made.root = np.linalg.cholesky(injected / (1 - np.exp(-2 * 3.0 * 0.4)))
    chain = theory.kinetic_chain(H, C, injected_covariance=injected, **setting)
    right = np.linalg.inv(N * H)
    np.testing.assert_allclose(chain.covariance, right, rtol=1e-9)
    naive = (1 - np.exp(-2 * 1.2)) * M / N - 0.4**2 * C / 25 / 4
    planted_defects(
        check(made.sample(int(np.ceil(2 * chain.relaxation_time)))),
        right,
        {
            "no correction": theory.kinetic_covariance(H, C, **setting),
            "a quarter of h²S": theory.kinetic_covariance(H, C, injected_covariance=naive, **setting),
            "noise x 1.05": 1.05 * right,
        },
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mass", [None, M, H])
def test_correction_is_exact_for_every_scheme_and_mass(scheme, mass):
    setting = SETTING | {"mass": mass, "batch_size": 40, "step_size": 0.2, "friction": 2.0}
    injected = theory.kinetic_correction(H, C, scheme=scheme, **setting)
    got = theory.kinetic_covariance(H, C, scheme=scheme, injected_covariance=injected, **setting)
    np.testing.assert_allclose(N * got @ H, I2, atol=1e-10)
    assert np.abs(N * theory.kinetic_covariance(H, C, scheme=scheme, **setting) @ H - I2).max() > 0.003


def test_correction_refuses_with_the_admissible_step():
    setting = SETTING | {"mass": H, "friction": 1.0}
    with pytest.raises(ValueError, match=r"step_size must be at most 0\.128132 .* gradient noise alone is wider"):
        theory.kinetic_correction(H, C, **setting | {"step_size": 0.5})
    theory.kinetic_correction(H, C, **setting | {"step_size": 0.12813})
    with pytest.raises(ValueError, match="at most"):
        theory.kinetic_correction(H, C, **setting | {"step_size": 0.12814})


def test_exact_gradients_closed_forms():
    """x = h²λ: BAOAB is exact, OBABO too wide by 1/(1 − x/4), and both have the edge h√λ = 2."""
    for h in (0.3, 0.9):
        setting = {"step_size": h, "friction": 0.8, "num_examples": N, "batch_size": 1}
        exact = np.linalg.inv(N * H)
        np.testing.assert_allclose(theory.kinetic_covariance(H, O2, **setting), exact, rtol=1e-10)
        wide = np.linalg.inv(N * (H - h**2 / 4 * H @ H))
        np.testing.assert_allclose(theory.kinetic_covariance(H, O2, scheme="OBABO", **setting), wide, rtol=1e-10)
    edge = 2 / np.sqrt(np.linalg.eigvalsh(H)[-1])
    for scheme in ("BAOAB", "OBABO"):
        setting = {"friction": 0.8, "num_examples": N, "batch_size": B, "scheme": scheme}
        theory.kinetic_covariance(H, C, step_size=0.999 * edge, **setting)
        with pytest.raises(ValueError, match=f"step_size must be below {edge:.4f}"):
            theory.kinetic_covariance(H, C, step_size=1.001 * edge, **setting)


def test_order_of_the_bias():
    """Exact gradients: halving h divides the error by four (OBABO, UBU, half kicks) or two (ABO, the naive SGHMC)."""
    for scheme, order in (("OBABO", 2), ("UBU", 2), ("ABO", 1), ("sghmc_naive", 1)):
        errors = []
        for h in (0.02, 0.01):
            sigma = theory.kinetic_covariance(
                H, O2, step_size=h, friction=1.3, num_examples=N, batch_size=1, scheme=scheme
            )
            errors.append(np.abs(N * sigma @ H - I2).max())
        assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05), scheme


def redrawn(scheme, h, curvature=100.0, steps=10):
    """Variance over the exact one when the momentum is drawn anew every ten steps of a friction-free scheme."""
    flow = theory.kinetic_chain(
        [[curvature]], [[0.0]], step_size=h, friction=0.0, num_examples=1, batch_size=1, scheme=scheme
    ).transition
    many = np.linalg.matrix_power(flow, steps)
    if scheme == "sghmc_half":  # the cycle starts with both half kicks; as written one of them comes last
        half = np.array([[1.0, 0.0], [-h * curvature / 2, 1.0]])
        many = half @ many @ np.linalg.inv(half)
    return many[0, 1] ** 2 / (1 - many[0, 0] ** 2) * curvature


def test_peers_numbers_section_4():
    """peers.md §4: closed forms 1.62, 1.12, 1.155 against 1.010, 1.001, 1.003 with half kicks."""
    assert [round(redrawn("sghmc_naive", h), 3) for h in (0.02, 0.005, 0.01)] == [1.622, 1.120, 1.155]
    assert [round(redrawn("sghmc_half", h), 3) for h in (0.02, 0.005, 0.01)] == [1.010, 1.001, 1.003]
    kept = {
        scheme: theory.kinetic_chain(
            [[100.0]], [[0.0]], step_size=0.01, friction=5.0, num_examples=1, batch_size=1, scheme=scheme
        ).covariance.item()
        for scheme in ("sghmc_naive", "sghmc")
    }
    assert {k: round(100 * v, 3) for k, v in kept.items()} == {"sghmc_naive": 1.253, "sghmc": 1.003}
    rates = {
        scheme: theory.kinetic_chain(
            [[100.0]], [[0.0]], step_size=0.01, friction=0.01, num_examples=1, batch_size=1, scheme=scheme
        ).spectral_radius
        for scheme in ("sghmc_naive", "sghmc")
    }
    assert round(rates["sghmc_naive"], 3) == 1.005
    assert round(rates["sghmc"], 5) == 0.99995


def chain_of(tuned, batch_size):
    return theory.kinetic_chain(
        H,
        C,
        step_size=tuned.step_size,
        friction=tuned.friction,
        num_examples=N,
        batch_size=batch_size,
        scheme=tuned.scheme,
        mass=tuned.mass,
        injected_covariance=tuned.injected_covariance,
    )


CHANGES = [{}, {"corrected": False}, {"scheme": "OBABO"}, {"mass": None}, {"mass": M}]


# slow: sixty tunings each; by default every batch size and every change is there
@pytest.mark.parametrize(
    ("batch_size", "change"),
    [
        pytest.param(size, change, marks=pytest.mark.slow if i < 3 and i != j else ())
        for j, size in enumerate([4, 40, 400])
        for i, change in enumerate(CHANGES)
    ],
)
def test_tuning_keeps_its_word_and_is_the_best(batch_size, change):
    """Predicted times are the chain's, bounds hold, and no setting on a random search does better."""
    tuned = theory.kinetic_tuning(H, C, num_examples=N, batch_size=batch_size, **change)
    chain = chain_of(tuned, batch_size)
    worst = max(chain.worst_iact(), chain.worst_iact(quadratic=True))
    # with another mass the search neglects the correlations of modes, which matter a little
    assert worst == pytest.approx(tuned.iact, rel=1e-5 if "mass" not in change else 0.05)
    errors = theory.variance_errors(chain.covariance, np.linalg.inv(N * H))
    assert tuned.variance_error == pytest.approx(np.abs(errors).max(), abs=1e-9)
    if change.get("corrected", True):
        assert tuned.variance_error < 1e-9
        assert tuned.noise_share <= 0.5 * (1 + 1e-5)
    else:
        assert tuned.variance_error <= 0.05 * (1 + 1e-5)
    if "mass" in change:
        return
    random = np.random.default_rng(0)
    for _ in range(60):
        h, rubbed = np.exp(random.uniform(-5, 0.6)), np.exp(random.uniform(-4, 2.5))
        trial = {"step_size": h, "friction": rubbed / h} | change
        try:
            other = theory.kinetic_tuning(H, C, num_examples=N, batch_size=batch_size, **trial)
        except ValueError as refused:
            assert "is not met by" in str(refused)  # noqa: PT017
            continue
        assert other.iact > tuned.iact * 0.999


def test_tuning_against_the_bound_and_overdamped_langevin():
    """No linear method beats the long-run bound; noise-dominated, a kinetic sampler comes close to it and no closer."""
    bound = np.linalg.eigvals(
        np.linalg.solve(np.linalg.inv(N * H), theory.long_run_bound(H, C, batch_size=B))
    ).real.max()
    free = theory.kinetic_tuning(H, C, num_examples=N, batch_size=B, max_noise_share=1.0)
    assert bound < free.iact < 1.02 * bound
    half = theory.kinetic_tuning(H, C, num_examples=N, batch_size=B)
    assert half.iact == pytest.approx(2 * bound, rel=0.02)


@pytest.mark.law
def test_tuned_sampler_by_simulation():
    """What the tuning returns samples (NH)⁻¹ in another mass than the curvature; uncorrected it does not."""
    tuned = theory.kinetic_tuning(H, C, num_examples=N, batch_size=25, mass=M)
    share = 1 - np.exp(-2 * tuned.friction * tuned.step_size)
    made = Kinetic("BAOAB", h=tuned.step_size, gamma=tuned.friction, noise=C / 25, seed=6)
    made.root = np.linalg.cholesky(tuned.injected_covariance / share)
    sample = made.sample(int(np.ceil(2 * tuned.iact)))
    right = np.linalg.inv(N * H)
    setting = SETTING | {"step_size": tuned.step_size, "friction": tuned.friction, "batch_size": 25}
    wrong = {
        "minibatch noise not subtracted": theory.kinetic_covariance(H, C, **setting),
        "noise x 1.05": 1.05 * right,
    }
    planted_defects(check(sample), right, wrong)


def test_tuning_says_when_a_bound_is_not_met():
    with pytest.raises(
        ValueError,
        match=r"step_size must be smaller or None, got 0\.5 and .* max_variance_error = 0\.05 is not met by BAOAB, as",
    ):
        theory.kinetic_tuning(H, C, num_examples=N, batch_size=B, corrected=False, step_size=0.5, friction=0.1)
    with pytest.raises(ValueError, match=r"max_noise_share = 0\.5 is not met by BAOAB, as"):
        theory.kinetic_tuning(H, C, num_examples=N, batch_size=B, step_size=1.0, friction=0.01)


def test_tuning_says_where_it_has_looked():
    """A bound that holds beyond the range is not refused as impossible."""
    tight: dict[str, Any] = {"num_examples": N, "batch_size": 1, "max_noise_share": 1e-9}
    both = (
        r"batch_size must be larger: .* within the searched range \(0\.0001 ≤ h√\(largest r\) ≤ 4, 0\.001 ≤ γh ≤ 30\)"
    )
    with pytest.raises(ValueError, match=both):
        theory.kinetic_tuning(H, C, **tight)
    with pytest.raises(ValueError, match=r"friction must be larger .* range \(0\.0001 ≤ h√\(largest r\) ≤ 4\)"):
        theory.kinetic_tuning(H, C, **tight, friction=1.0)


@pytest.mark.parametrize("friction", [None, 0.3])
@pytest.mark.parametrize("scheme", ["BAOAB", "OBABO"])
def test_tuning_names_the_edge_of_an_unstable_step(scheme, friction):
    """In the mass of the curvature every frequency is 1, and the edge 2."""
    with pytest.raises(
        ValueError, match=rf"step_size must be below (2|1\.99999), got 3: beyond it {scheme} is not stable"
    ):
        theory.kinetic_tuning(H, C, num_examples=N, batch_size=B, scheme=scheme, step_size=3.0, friction=friction)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": "AB"}, "scheme must kick"),
        ({"scheme": "UBAU"}, "scheme must kick"),
        ({"scheme": "BABAO"}, "one position a step, got 'BABAO', which needs 2"),
        ({"scheme": "XYZ"}, "scheme must be"),
        ({"scheme": 3}, "scheme must be"),
        ({"scheme": ""}, "scheme must be"),
        ({"friction": -1.0}, "friction must lie in"),
        ({"friction": float("nan")}, "friction must be a finite number"),
        ({"step_size": 0.0}, "step_size must be > 0"),
        ({"mass": -M}, "mass must be positive definite"),
        ({"mass": np.eye(3)}, "mass must have shape"),
        ({"injected_covariance": -W}, "injected_covariance must have no negative eigenvalue"),
        ({"injected_covariance": W, "friction": 0.0}, "injected_covariance must be 0"),
        ({"sampling": "shuffled"}, "sampling must be"),
        ({"batch_size": 60, "sampling": "without_replacement"}, "batch_size must be <= num_examples"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        theory.kinetic_chain(H, C, **SETTING | change)


def test_friction_is_needed_for_a_law():
    for step_size in (0.1, 0.2, 0.3, 0.5, 0.7):  # rounding puts the radius on either side of 1
        with pytest.raises(ValueError, match="friction must be > 0, got 0: at friction 0 nothing forgets"):
            theory.kinetic_covariance(H, C, **SETTING | {"friction": 0.0, "step_size": step_size})
    with pytest.raises(ValueError, match="friction must be > 0 for a correction"):
        theory.kinetic_correction(H, C, **SETTING | {"friction": 0.0})


@pytest.mark.parametrize("scheme", ["BAOAB", "UBU"])
def test_tuning_without_noise_forgets_its_start(scheme: str) -> None:
    """At the edge of stability positions are fresh at every step, while an alternating remainder lives for thousands."""
    found = theory.kinetic_tuning(H, C, num_examples=N, batch_size=N, sampling="without_replacement", scheme=scheme)
    chain = theory.kinetic_chain(
        H, 0 * C, num_examples=N, batch_size=N, scheme=scheme, step_size=found.step_size, friction=found.friction,
        mass=found.mass, injected_covariance=found.injected_covariance,
    )  # fmt: skip
    assert found.iact == pytest.approx(max(chain.worst_iact(), chain.worst_iact(quadratic=True)), rel=1e-6)
    assert found.iact < 4
    assert chain.relaxation_time < 10.1 * found.iact
