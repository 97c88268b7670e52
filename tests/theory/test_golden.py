"""Agreement: every printed number of the sources, and brute force over all orders of an epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory

H = np.array([[2, 0.3], [0.3, 0.5]])
C = np.array([[1, -0.2], [-0.2, 0.4]])
E2 = np.array([0.0, 1.0])


def sym(*upper: float) -> np.ndarray:
    """Upper triangle, row by row, to a symmetric matrix."""
    size = int((np.sqrt(8 * len(upper) + 1) - 1) / 2)
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


# --- mandt2017.md section 7, instance G3 ---

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


# --- discrete_noise.md section 2, system R ---

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


# --- recent.md ---


@pytest.mark.parametrize(
    ("setting", "sigma", "ahead", "average", "ema", "times"),
    [
        (
            {"learning_rate": 0.5, "batch_size": 4},
            (0.0641027, -0.0209858, 0.0712323),
            (0.0031479, -0.0106848, -0.0253548, 0.0565721),
            (0.0086672, -0.0116109, 0.0370393),
            (0.0047468, -0.0068005, 0.0216648),
            (8.179707, 4.204426),
        ),
        (
            {"learning_rate": 0.1, "batch_size": 4, "injected": 0.2 / 50 * np.eye(2)},
            (0.0196620, -0.0109630, 0.0578727),
            (0.0160585, -0.0105066, -0.0110047, 0.0553080),
            (0.0114138, -0.0100663, 0.0501186),
            (0.0072735, -0.0083369, 0.0405166),
            (44.205056, 22.106884),
        ),
        (
            {"learning_rate": 0.1, "batch_size": 4, "momentum": 0.9, "injected": 0.02 * np.eye(2)},
            (0.1687089, -0.0226922, 0.2551709),
            (0.1418347, -0.0204959, -0.0285956, 0.2393405),
            (0.0295165, -0.0310578, 0.1602719),
            (0.0136715, -0.0137776, 0.0651488),
            (2.670522, 10.023580),
        ),
    ],
)
def test_table_recent_2_1(setting, sigma, ahead, average, ema, times):
    chain = theory.linear_chain(H, C, **setting)
    assert_allclose(chain.covariance, sym(*sigma), atol=6e-8)
    assert_allclose(chain.autocovariance(1).ravel(), ahead, atol=6e-8)
    assert_allclose(chain.average(10), sym(*average), atol=6e-8)
    assert_allclose(chain.ema(0.9), sym(*ema), atol=6e-8)
    assert_allclose((chain.iact(E2), chain.iact(E2, quadratic=True)), times, atol=6e-7)


def test_thinning_recent_2_1():
    chain = theory.linear_chain(H, C, learning_rate=0.1, batch_size=4, momentum=0.9)
    assert_allclose([k * chain.iact(E2, thin=k) for k in (1, 10, 20)], (4.26, 4.40, 10.16), atol=0.006)


def test_long_run_bound_recent_2_2():
    chain = theory.linear_chain(H, C, learning_rate=0.5, batch_size=4)
    assert_allclose(chain.long_run_covariance, sym(0.1044560, -0.1835527, 0.5826591), atol=6e-8)
    assert_allclose(1500 * chain.average(1500), sym(0.10433, -0.18306, 0.58112), atol=6e-6)


def test_iact_of_exact_posterior_recent_2_2():
    for mu in (0, 0.6):
        best = theory.optimal_preconditioner(H, C, num_examples=50, batch_size=4, momentum=mu)
        chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, momentum=mu, preconditioner=best)
        assert_allclose([chain.iact(e) for e in np.eye(2)], (9.505495, 13.255495), atol=6e-7)


def test_sandwich_recent_2_3():
    target = np.linalg.solve(H, np.linalg.solve(H, C).T) / 50
    assert_allclose(target, sym(0.0083565, -0.0146842, 0.0466127), atol=6e-8)
    found = theory.preconditioner_for(target, H, C, batch_size=4)
    assert_allclose(found, sym(0.0814001, -0.0488400, 0.3256003), atol=6e-8)
    heavy = theory.preconditioner_for(target, H, C, batch_size=4, momentum=0.6)
    assert_allclose(heavy, 0.0627451 * np.linalg.inv(H), rtol=1e-6)
    chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, preconditioner=found)
    assert_allclose([chain.iact([1.0, 0.0]), chain.iact(E2)], 50 / 4, rtol=1e-12)


def test_any_target_recent_2_3():
    target = sym(0.03, 0.01, 0.05)
    found = theory.preconditioner_for(target, H, C, batch_size=4, momentum=0.6)
    assert_allclose(found, sym(0.2129120, 0.1430093, 0.2295987), atol=6e-8)
    law = theory.stationary_covariance(H, C, learning_rate=1, batch_size=4, momentum=0.6, preconditioner=found)
    assert_allclose(law, target, rtol=1e-12)


def test_published_solution_is_inexact_recent_2_3():
    noise = C / 4
    sandwich = np.linalg.solve(H, np.linalg.solve(H, C).T) / 50
    published = (C @ np.linalg.inv(H) + np.linalg.inv(H) @ C) @ np.linalg.inv(noise + C / 50) / 50
    # P is not symmetric: the published map needs a chain of its own
    F = np.eye(2) - published @ H
    chain = theory.LinearChain(F, published @ noise @ published.T, np.eye(2))
    ratios = np.sort(np.linalg.eigvals(np.linalg.solve(sandwich, chain.covariance)).real)
    assert_allclose(ratios, (0.704, 1.728), atol=6e-4)


CORRECTED = [
    (0.1332535 * np.eye(2), 32.9397),
    (np.diag([0.1106677, 0.2917604]), 15.9765),
]


@pytest.mark.parametrize(("preconditioner", "time"), CORRECTED)
def test_corrected_langevin_recent_2_4(preconditioner, time):
    preconditioner = preconditioner * (1 - 1e-6)  # printed digits may round beyond the bound
    added = theory.langevin_correction(H, C, preconditioner=preconditioner, num_examples=50, batch_size=4)
    chain = theory.chain_from_noise(H, C / 4 + added, learning_rate=1, preconditioner=preconditioner)
    assert_allclose(chain.covariance, np.linalg.inv(H) / 50, rtol=1e-12)
    assert_allclose(chain.worst_iact(), time, rtol=1e-5)
    with pytest.raises(ValueError, match="preconditioner must be at most"):
        theory.langevin_correction(H, C, preconditioner=1.01 * preconditioner, num_examples=50, batch_size=4)


@pytest.mark.parametrize(("rate", "bias", "time"), [(0.0069029, 0.05, 654.187), (0.0271030, 0.20, 165.905)])
def test_plain_langevin_recent_2_4(rate, bias, time):
    law = theory.langevin_covariance(H, C, step_size=2 * rate / 50, num_examples=50, batch_size=4)
    assert_allclose(np.linalg.eigvals(50 * H @ law).max() - 1, bias, rtol=1e-4)
    chain = theory.linear_chain(H, C, learning_rate=rate, batch_size=4, injected=2 * rate / 50 * np.eye(2))
    assert_allclose(chain.covariance, law, rtol=1e-12)
    assert_allclose(chain.worst_iact(), time, rtol=1e-5)


def test_constant_sgd_recent_2_4():
    best = theory.optimal_preconditioner(H, C, num_examples=50, batch_size=4)
    chain = theory.linear_chain(H, C, learning_rate=1, batch_size=4, preconditioner=best)
    assert_allclose(chain.worst_iact(), 15.5236, atol=6e-5)


@pytest.mark.parametrize(
    ("mu", "times"), [(0, (3.910703, 9.033969)), (0.6, (1.175720, 2.489072)), (0.9, (0.469303, 9.709771))]
)
def test_momentum_pays_at_small_noise_recent_2_4(mu, times):
    need = (1 - mu) / (1 + mu) * H + 50 / 400 * C
    rate = 2 * (1 - mu) / np.linalg.eigvalsh(need)[-1] * (1 - 1e-12)
    added = theory.langevin_correction(
        H, C, preconditioner=rate * np.eye(2), num_examples=50, batch_size=400, momentum=mu
    )
    chain = theory.chain_from_noise(H, C / 400 + added, learning_rate=rate, momentum=mu)
    assert_allclose(chain.worst_iact(), times[0], rtol=3e-6)
    grid = [chain.iact((np.cos(t), np.sin(t)), quadratic=True) for t in np.linspace(0, np.pi, 61)]
    assert_allclose(max(grid), times[1], rtol=3e-5)  # the printed maximum is one over 60 angles
    fine = max(chain.iact((np.cos(t), np.sin(t)), quadratic=True) for t in np.linspace(0, np.pi, 4001))
    assert_allclose(chain.worst_iact(quadratic=True), fine, rtol=1e-6)


# --- recent.md section 2.6: shuffled epochs ---

NOISES = np.array([(1, 0.2), (-0.4, 0.6), (0.3, -1.1), (-0.9, 0.3)])
EPOCH = {"learning_rate": 0.2, "momentum": 0.8, "batch_size": 1, "num_examples": 4}


def test_shuffled_recent_2_6():
    spread = NOISES.T @ NOISES / 4
    assert_allclose(
        theory.shuffled_covariance(H, spread, **EPOCH, position="end"), sym(0.0276241, -0.0033915, 0.0624252), atol=6e-8
    )
    assert_allclose(theory.shuffled_covariance(H, spread, **EPOCH), sym(0.0722213, -0.0063799, 0.0766343), atol=6e-8)
    assert_allclose(
        theory.epoch_average_covariance(H, spread, **EPOCH), sym(0.0460475, -0.0075068, 0.0623145), atol=6e-8
    )
    assert_allclose(theory.fixed_order_covariance(H, spread, **EPOCH), sym(0.0074085, -0.0015375, 0.0042215), atol=6e-8)
    independent = theory.stationary_covariance(H, spread, **EPOCH, sampling="without_replacement")
    assert_allclose(independent, sym(0.1473640, -0.1006322, 0.5419739), atol=6e-8)


@pytest.mark.parametrize(
    ("rate", "independent", "shuffled"),
    [(0.001, 1.051201, 1.004046), (0.005, 1.256891, 1.068472), (0.02, 2.041110, 1.628292)],
)
def test_shuffled_langevin_recent_2_6(rate, independent, shuffled):
    setting = {"step_size": 2 * rate / 1000, "num_examples": 1000, "batch_size": 10}
    for sampling, printed in (("with_replacement", independent), ("shuffled", shuffled)):
        law = theory.langevin_covariance(H, C, **setting, sampling=sampling)
        assert_allclose(np.linalg.eigvals(1000 * H @ law).real.max(), printed, atol=6e-7)


def test_shuffled_design_5():
    """x = .05, .3, 1, 5 with n = 50 steps an epoch: formula column of design.md section 5."""
    rates = np.array([0.05, 0.3, 1, 5]) / 50
    found = theory.shuffled_weights(rates, num_examples=50, batch_size=1)
    heavy = theory.shuffled_weights(rates, num_examples=50, batch_size=1, momentum=0.6)
    assert_allclose(heavy, heavy.T, rtol=1e-13)
    independent = theory.mode_covariance(rates, np.ones((4, 4)))
    assert_allclose(found, found.T, rtol=1e-13)
    assert_allclose(np.diag(found / independent), (0.0168, 0.0951, 0.2717, 0.7057), atol=6e-5)


def enumerate_orders(hessian, noises, batch, rate, mu, nesterov):
    """Exact law over all orders of one epoch: covariance at every position, of the average, and of the fixed-order cycle."""
    size, (examples, _) = len(hessian), noises.shape
    steps = examples // batch
    chain = theory.chain_from_noise(hessian, np.eye(size), learning_rate=rate, momentum=mu, nesterov=nesterov)
    F, n = chain.transition, len(chain.transition)
    gain = -rate * (1 + mu if nesterov else 1) * np.eye(size)
    G = gain if mu == 0 else np.vstack([gain, rate * np.eye(size)])
    maps, offsets = [np.eye(n)], []
    for _ in range(steps):
        maps.append(F @ maps[-1])
    for order in itertools.permutations(range(examples)):
        z, path = np.zeros(n), []
        for k in range(steps):
            z = F @ z + G @ noises[list(order[k * batch : (k + 1) * batch])].mean(0)
            path.append(z)
        offsets.append(path)
    offsets = np.array(offsets)  # (orders, steps, n), from z = 0
    within = np.einsum("oki,okj->kij", offsets, offsets) / len(offsets)
    vec = np.linalg.solve(np.eye(n * n) - np.kron(maps[-1], maps[-1]), within[-1].ravel())
    ends = vec.reshape(n, n)
    positions = np.array([m @ ends @ m.T + w for m, w in zip(maps[1:], within, strict=True)])
    means, mean_map = offsets.mean(1), np.mean(maps[1:], axis=0)
    average = mean_map @ ends @ mean_map.T + means.T @ means / len(means)
    cycles = np.linalg.solve(np.eye(n) - maps[-1], offsets[:, -1].T)
    return positions[:, :size, :size], average[:size, :size], (cycles @ cycles.T / len(offsets))[:size, :size]


FIVE = np.vstack([NOISES, [(0.5, 1.4)]]) - np.vstack([NOISES, [(0.5, 1.4)]]).mean(0)


@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.8, False), (0.6, True)])
@pytest.mark.parametrize(
    ("noises", "batch"), [(NOISES, 1), (NOISES, 2), (FIVE, 2), (FIVE, 3)], ids=["4/1", "4/2", "5/2", "5/3"]
)
def test_shuffled_equals_enumeration(noises, batch, mu, nesterov):
    """All 24 (or 120) orders, with and without a remainder that is dropped."""
    positions, average, cycle = enumerate_orders(H, noises, batch, 0.2, mu, nesterov)
    spread = noises.T @ noises / len(noises)
    setting = {
        "learning_rate": 0.2,
        "momentum": mu,
        "nesterov": nesterov,
        "batch_size": batch,
        "num_examples": len(noises),
    }
    for k, expected in enumerate(positions, start=1):
        assert_allclose(theory.shuffled_covariance(H, spread, **setting, position=k), expected, atol=1e-15, rtol=1e-12)
    found = theory.stationary_covariance(H, spread, **setting, sampling="shuffled", position="end")
    assert_allclose(found, positions[-1], atol=1e-15, rtol=1e-12)
    found = theory.stationary_covariance(H, spread, **setting, sampling="shuffled")
    assert_allclose(found, positions.mean(0), atol=1e-15, rtol=1e-12)
    assert_allclose(theory.epoch_average_covariance(H, spread, **setting), average, atol=1e-15, rtol=1e-12)
    assert_allclose(theory.fixed_order_covariance(H, spread, **setting), cycle, atol=1e-15, rtol=1e-12)
