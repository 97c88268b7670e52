"""Exact moments of least squares against enumeration of every minibatch, and against the digits printed in the notes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq

from gradnoise import theory
from gradnoise.testing import assert_fails, planted_defects

X4, Y4 = np.array([[1.0, 0], [1, 1], [0, 2], [-1, 1]]), np.array([1.0, 0, 1, 2])  # discrete_noise.md 3.1
X6, Y6 = (
    np.array([[1, 0], [1, 1], [1, 2], [1, -1], [0.5, 2], [1, 0.5]]),
    np.array([0.3, 1.2, 1.1, -1, 3, 0.1]),
)  # recent.md 2.1
P2 = np.array([[0.6, 0.2], [0.2, 1.1]])
DIAGONAL = np.diag([1.0, 0.5, 0.2])


def batches(count, size, sampling):
    if sampling == "with_replacement":
        return list(itertools.product(range(count), repeat=size))
    return list(itertools.combinations(range(count), size))


def steps_of(X, y, chosen, *, rate, ridge=0.0, mu=0.0, nesterov=False, P=None):
    """Every possible step z' = J z + c of (θ, v), straight from the update rule; v = P m."""
    size = X.shape[1]
    one, step = np.eye(size), rate * (np.eye(size) if P is None else P)
    for rows in chosen:
        A = step @ (X[list(rows)].T @ X[list(rows)] / len(rows) + ridge * one)
        b = step @ X[list(rows)].T @ y[list(rows)] / len(rows)
        if mu == 0:
            yield one - A, b
        elif nesterov:
            yield np.block([[one - (1 + mu) * A, -(mu**2) * one], [A, mu * one]]), np.concatenate([(1 + mu) * b, -b])
        else:
            yield np.block([[one - A, -mu * one], [A, mu * one]]), np.concatenate([b, -b])


def enumerated(X, y, chosen, **rule):
    """Stationary mean, covariance and radius of the second moments about zero, by one dense linear system."""
    J, c = (np.stack(parts) for parts in zip(*steps_of(X, y, chosen, **rule), strict=True))
    size = J.shape[1]
    m = np.linalg.solve(np.eye(size) - J.mean(0), c.mean(0))
    carried = np.einsum("nab,b,nc->ac", J, m, c) / len(J)
    fresh = carried + carried.T + c.T @ c / len(c)
    operator = np.einsum("nab,ncd->acbd", J, J, optimize=True).reshape(size**2, size**2) / len(J)
    second = np.linalg.solve(np.eye(size**2) - operator, fresh.ravel()).reshape(size, size)
    radius = np.abs(np.linalg.eigvals(operator)).max()
    return m[: X.shape[1]], (second - np.outer(m, m))[: X.shape[1], : X.shape[1]], radius


# --- agreement: enumeration ---


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("ridge", [0.0, 0.1, -0.1])
@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.6, False), (0.6, True)])
@pytest.mark.parametrize("P", [None, P2])
def test_least_squares_moments_by_enumeration(sampling, ridge, mu, nesterov, P):
    setting = {"sampling": sampling, "ridge": ridge, "momentum": mu, "nesterov": nesterov, "preconditioner": P}
    for rate, size in ((0.1, 1), (0.15, 2)):
        law = theory.least_squares_moments(X6, Y6, learning_rate=rate, batch_size=size, **setting)
        mean, covariance, radius = enumerated(
            X6, Y6, batches(6, size, sampling), rate=rate, ridge=ridge, mu=mu, nesterov=nesterov, P=P
        )
        assert_allclose(law.mean, mean, rtol=1e-11)
        assert_allclose(law.covariance, covariance, rtol=0, atol=1e-12 * np.abs(covariance).max())
        assert law.second_moment_radius == pytest.approx(radius, rel=1e-10)
        assert_allclose(law.chain.covariance, covariance, rtol=1e-10)


def test_least_squares_moments_defects():
    """What the enumeration would see: each slip in the formula is off by far more than 1e-12."""
    _, right, _ = enumerated(X6, Y6, batches(6, 2, "without_replacement"), rate=0.15)
    setting = {"learning_rate": 0.15, "sampling": "without_replacement", "num_examples": 6}
    H, at_minimum = X6.T @ X6 / 6, theory.least_squares_noise(X6, Y6, np.zeros((2, 2)))

    def self_consistent(sign, size):
        """Σ = T(E + K) by iteration, with the sign of HΣH inside K and the batch size open."""
        spread = np.zeros((2, 2))
        for _ in range(400):
            kept = theory.least_squares_noise(X6, Y6, spread) + (1 + sign) * H @ spread @ H
            spread = theory.stationary_covariance(H, kept, batch_size=size, **setting)
        return spread

    def check(covariance):
        assert_allclose(covariance, right, rtol=1e-9)

    planted_defects(
        check,
        theory.least_squares_moments(
            X6, Y6, batch_size=2, **{k: setting[k] for k in ("learning_rate", "sampling")}
        ).covariance,
        {
            "sign of HΣH": self_consistent(1, 2),
            "K dropped": theory.stationary_covariance(H, at_minimum, batch_size=2, **setting),
            "f without N - 1": theory.least_squares_moments(X6, Y6, learning_rate=0.15, batch_size=3).covariance,
            "with replacement": theory.least_squares_moments(X6, Y6, learning_rate=0.15, batch_size=2).covariance,
            "noise x 1.05": 1.05 * right,
        },
    )
    check(self_consistent(-1, 2))


@pytest.mark.parametrize("name", ["random", "diabetes", "wine"])
def test_least_squares_at_nine_tenths_of_the_second_edge(regression_data, name):
    """B = 1, all N rows enumerated, where the fourth moment does not exist and no simulation could tell."""
    X, y = regression_data(name)
    edge = theory.least_squares_edges(X, batch_size=1).second_moment
    law = theory.least_squares_moments(X, y, learning_rate=0.9 * edge, batch_size=1)
    mean, covariance, radius = enumerated(X, y, [(n,) for n in range(len(X))], rate=0.9 * edge)
    assert_allclose(law.mean, mean, atol=1e-11)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    constant = theory.stationary_covariance(
        X.T @ X / len(X),
        theory.least_squares_noise(X, y, 0 * covariance),
        learning_rate=0.9 * edge,
        batch_size=1,
    )
    planted_defects(
        lambda found: assert_allclose(found / scale, covariance / scale, rtol=0, atol=1e-9),
        law.covariance,
        {"constant noise": constant},
    )
    assert np.diag(covariance / constant).max() > 4
    assert law.second_moment_radius == pytest.approx(radius, rel=1e-9)


def test_evolution_over_all_minibatches(regression_data):
    """One step from the predicted law leaves it alone; from another law it goes there at the rate of the radius."""
    X, y = regression_data("random")
    law = theory.least_squares_moments(X, y, learning_rate=0.2, batch_size=2, sampling="without_replacement")
    J, c = (np.stack(p) for p in zip(*steps_of(X, y, batches(20, 2, "without_replacement"), rate=0.2), strict=True))
    residual = np.einsum("nab,b->na", J, law.mean) + c - law.mean

    def step(spread):
        return np.einsum("nab,bd,ncd->ac", J, spread, J, optimize=True) / len(J) + residual.T @ residual / len(J)

    assert_allclose(step(law.covariance), law.covariance, rtol=1e-12)
    gaps, spread = [], np.eye(3)
    for _ in range(60):
        spread = step(spread)
        gaps.append(np.linalg.norm(spread - law.covariance))
    assert gaps[-1] / gaps[-2] == pytest.approx(law.second_moment_radius, rel=1e-6)
    assert_fails(assert_allclose, step(1.05 * law.covariance), 1.05 * law.covariance, rtol=1e-9, defect="noise x 1.05")


@pytest.mark.parametrize(
    ("sampling", "size"), [("with_replacement", 2), ("without_replacement", 2), ("without_replacement", 6)]
)
def test_label_noise_by_enumeration(sampling, size):
    """Labels y ± s on every drawn row, all signs enumerated: the noise of labels is not thinned by drawing without replacement."""
    chosen = [(b, s) for b in batches(6, size, sampling) for s in itertools.product([-0.4, 0.4], repeat=size)]
    steps = [next(steps_of(X6[list(b)], Y6[list(b)] + s, [range(size)], rate=0.15)) for b, s in chosen]
    J, c = (np.stack(p) for p in zip(*steps, strict=True))
    law = theory.least_squares_moments(X6, Y6, learning_rate=0.15, batch_size=size, sampling=sampling, label_noise=0.4)
    residual = J @ law.mean + c - law.mean
    after = np.einsum("nab,bd,ncd->ac", J, law.covariance, J) / len(J) + residual.T @ residual / len(J)
    assert_allclose(after, law.covariance, rtol=1e-11)


def test_interpolation_and_row_space():
    """N < D: no noise at the minimum, zero spread on the row space; the null space keeps its start."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((6, 9))
    y = rng.standard_normal(6)
    edges = theory.least_squares_edges(X, batch_size=2)
    law = theory.least_squares_moments(X, y, learning_rate=0.9 * edges.second_moment, batch_size=2)
    assert_allclose(X @ law.mean, y, atol=1e-10)
    assert_allclose(law.mean, np.linalg.pinv(X) @ y, atol=1e-10)
    assert np.abs(law.covariance).max() < 1e-20
    noisy = theory.least_squares_moments(X, y, learning_rate=0.05, batch_size=2, label_noise=1.0)
    assert np.linalg.matrix_rank(noisy.covariance) == 6
    assert_allclose(noisy.chain.covariance, noisy.covariance, atol=1e-12)
    assert edges.fourth_moment < edges.second_moment < edges.mean


def test_dense_and_conjugate_gradients_agree(monkeypatch, regression_data):
    X, y = regression_data("diabetes")
    edge = theory.least_squares_edges(X, batch_size=4, momentum=0.5).second_moment
    setting = {"learning_rate": 0.6 * edge, "batch_size": 4, "momentum": 0.5}
    dense = theory.least_squares_moments(X, y, **setting)
    monkeypatch.setattr("gradnoise.theory.least_squares.second_moments.DENSE", 2)
    free = theory.least_squares_moments(X, y, **setting)
    assert_allclose(free.covariance, dense.covariance, atol=1e-9 * np.abs(dense.covariance).max())
    assert free.second_moment_edge == pytest.approx(edge, rel=1e-9)
    assert theory.gaussian_inputs_moments(
        DIAGONAL, learning_rate=0.3, batch_size=4, label_noise=0.5**0.5
    ).excess_loss == (pytest.approx(0.02016387, abs=5e-9))


def test_rows_repeated_change_nothing():
    law, twice = (
        theory.least_squares_moments(np.tile(X6, (k, 1)), np.tile(Y6, k), learning_rate=0.2, batch_size=3, momentum=0.3)
        for k in (1, 2)
    )
    assert_allclose(law.covariance, twice.covariance, rtol=1e-12)
    assert law.fourth_moment_edge == pytest.approx(twice.fourth_moment_edge, rel=1e-9)


# --- edges ---


# slow: sixteen batches of two with replacement; by default single rows, and pairs without replacement
@pytest.mark.parametrize(("mu", "nesterov"), [(0.0, False), (0.5, False), (0.5, True)])
@pytest.mark.parametrize(
    ("sampling", "size"),
    [
        ("with_replacement", 1),
        pytest.param("with_replacement", 2, marks=pytest.mark.slow),
        ("without_replacement", 2),
    ],
)
def test_least_squares_edges_by_bisection(mu, nesterov, sampling, size):
    edges = theory.least_squares_edges(
        X4, batch_size=size, sampling=sampling, ridge=0.1, momentum=mu, nesterov=nesterov
    )
    chosen = batches(4, size, sampling)

    def radius(rate, order):
        J = np.stack([j for j, _ in steps_of(X4, Y4, chosen, rate=rate, ridge=0.1, mu=mu, nesterov=nesterov)])
        power = J
        for _ in range(order - 1):
            power = np.stack([np.kron(a, b) for a, b in zip(power, J, strict=True)])
        return np.abs(np.linalg.eigvals(power.mean(0))).max() - 1

    found = [brentq(radius, 0.02, 2, args=(k,), xtol=1e-11) for k in (1, 2, 4)]
    other = theory.least_squares_edges(X4, batch_size=size, sampling=sampling, momentum=mu, nesterov=nesterov)
    planted_defects(
        lambda e: assert_allclose((e.mean, e.second_moment, e.fourth_moment), found, rtol=1e-8),
        edges,
        {"ridge forgotten": other},
    )


def test_edges_golden_recent_2_7():
    printed = {1: (0.6440101, 0.4681987, 0.1154133), 2: (0.8736364, 0.7636779, 0.2212233)}
    for size, values in printed.items():
        found = [theory.least_squares_edges(X4, batch_size=size, momentum=mu).second_moment for mu in (0, 0.5, 0.9)]
        assert_allclose(found, values, atol=5e-8)
    assert theory.least_squares_edges(X4, batch_size=1).mean == pytest.approx(4 / 3)


@pytest.mark.parametrize("mu", [0.0, 0.4, 0.9])
def test_edge_in_one_dimension(mu):
    """η = 2(1−μ)/(h[v + (1−μ)/(1+μ)]), v = f(E h²/h² − 1): recent.md 2.7; v = (1−μ)/(1+μ) is the crossing of the plateaus."""
    squares = np.array([0.3, 1.0, 2.5, 0.7])
    h, f = squares.mean(), 0.5
    v = f * ((squares**2).mean() / h**2 - 1)
    right = 2 * (1 - mu) / (h * (v + (1 - mu) / (1 + mu)))
    found = theory.least_squares_edges(np.sqrt(squares)[:, None], batch_size=2, momentum=mu)
    assert found.second_moment == pytest.approx(right, rel=1e-12)
    assert found.mean == pytest.approx(2 * (1 + mu) / h)


def test_mean_square_edge_is_that_of_a_mixture(regression_data):
    """discrete_noise.md 3.2: full batch with probability 1−p, one example with p = (N−B)/(B(N−1)); monotone in B."""
    X, _ = regression_data("random")
    found = [
        theory.least_squares_edges(X, batch_size=B, sampling="without_replacement").second_moment for B in range(1, 21)
    ]
    assert np.all(np.diff(found) > 0)
    p = (20 - 5) / (5 * 19)
    one = np.stack([np.eye(3) - found[4] * np.outer(x, x) for x in X])
    full = np.eye(3) - found[4] * X.T @ X / 20
    mixed = p * np.mean([np.kron(j, j) for j in one], axis=0) + (1 - p) * np.kron(full, full)
    assert np.abs(np.linalg.eigvals(mixed)).max() == pytest.approx(1, rel=1e-10)


def test_fourth_edge_in_one_dimension():
    """E(1 − ηx²)⁴ = 1, and every size of batch beside the sum over its N^B members."""
    x = np.array([0.4, 1.0, 1.7, 0.9, 1.3])
    for size in (1, 2, 3, 4):
        means = (x[np.array(batches(5, size, "with_replacement"))] ** 2).mean(1)
        right = brentq(lambda eta, m=means: np.mean((1 - eta * m) ** 4) - 1, 0.2, 3, xtol=1e-13)
        assert theory.least_squares_edges(x[:, None], batch_size=size).fourth_moment == pytest.approx(right, rel=1e-10)
    assert theory.least_squares_edges(np.ones((30, 13)), batch_size=1).fourth_moment is not None  # one mode only
    wide = np.random.default_rng(0).standard_normal((40, 13))
    assert theory.least_squares_edges(wide, batch_size=1).fourth_moment is None


def test_fourth_moment_iterated_equals_dense():
    """Four modes (35 numbers, dense) beside five (70, Lanczos) of which one is idle, with and without momentum."""
    rng = np.random.default_rng(6)
    X = rng.standard_normal((15, 4))
    wide = np.hstack([X, 1e-3 * rng.standard_normal((15, 1))])
    for mu in (0.0, 0.5):
        plain, padded = (
            theory.least_squares_edges(rows, batch_size=2, momentum=mu).fourth_moment for rows in (X, wide)
        )
        assert padded == pytest.approx(plain, rel=1e-4)
        assert padded != plain


# --- golden: discrete_noise.md 3.1 and recent.md 2.1, 2.3 ---


@pytest.mark.parametrize(
    ("setting", "printed", "radius"),
    [
        ({"learning_rate": 0.2, "batch_size": 1}, (0.11012783, -0.02168022, 0.04228122), 0.7326209),
        ({"learning_rate": 0.2, "batch_size": 2}, (0.05341807, -0.01090661, 0.01787518), 0.7267715),
        (
            {"learning_rate": 0.2, "batch_size": 2, "sampling": "without_replacement"},
            (0.03529060, -0.00728597, 0.01129262),
            0.7252166,
        ),
        ({"learning_rate": 0.2, "batch_size": 2, "ridge": 0.1}, (0.04850719, -0.01200035, 0.01633353), 0.6931882),
        ({"learning_rate": 0.2, "batch_size": 2, "ridge": -0.1}, (0.05999791, -0.00920377, 0.02009784), 0.7611557),
        ({"learning_rate": 0.1, "batch_size": 2, "momentum": 0.5}, (0.05057048, -0.00982198, 0.01577806), 0.6621241),
        ({"learning_rate": 0.5, "batch_size": 4}, (0.07727980, -0.01630989, 0.03353167), 0.4071307),
        ({"learning_rate": 0.5, "batch_size": 4, "sampling": "without_replacement"}, (0, 0, 0), 0.390625),
    ],
)
def test_table_discrete_noise_3_1(setting, printed, radius):
    law = theory.least_squares_moments(X4, Y4, **setting)
    assert_allclose(law.covariance[[0, 0, 1], [0, 1, 1]], printed, atol=5e-9)
    assert law.second_moment_radius == pytest.approx(radius, abs=5e-8)
    mean = {0.1: (-0.2941176, 0.625), -0.1: (-0.3846154, 0.7142857)}.get(setting.get("ridge", 0), (-1 / 3, 2 / 3))
    assert_allclose(law.mean, mean, atol=5e-8)


def test_minimum_discrete_noise_3_1():
    law = theory.least_squares_moments(X4, Y4, learning_rate=0.2, batch_size=1)
    assert np.mean((X4 @ law.mean - Y4) ** 2) / 2 == pytest.approx(0.375)
    E = theory.least_squares_noise(X4, Y4, np.zeros((2, 2)))
    assert_allclose(E[[0, 0, 1], [0, 1, 1]], (0.722222, -0.222222, 0.388889), atol=5e-7)
    assert law.excess_loss == pytest.approx(np.trace(X4.T @ X4 / 4 @ law.covariance) / 2)
    assert_allclose(law.noise, theory.least_squares_noise(X4, Y4, law.covariance), rtol=1e-12)


def test_least_squares_noise_by_sampling_points():
    """E over any law with the right two moments: here 2D points on the axes of Σ."""
    rng = np.random.default_rng(4)
    spread = np.array([[0.3, 0.1], [0.1, 0.5]])
    hessian = X6.T @ X6 / 6 + 0.2 * np.eye(2)
    minimum = np.linalg.solve(hessian, X6.T @ Y6 / 6)
    corners = np.sqrt(2) * np.linalg.cholesky(spread).T
    total = np.zeros((2, 2))
    for point in np.concatenate([corners, -corners]):
        gradients = X6 * (X6 @ (minimum + point) - Y6)[:, None] + 0.2 * (minimum + point)
        total += np.cov(gradients.T, bias=True) / 4
    planted_defects(
        lambda found: assert_allclose(found, total, rtol=1e-12),
        theory.least_squares_noise(X6, Y6, spread, ridge=0.2),
        {
            "ridge forgotten": theory.least_squares_noise(X6, Y6, spread),
            "at the minimum": theory.least_squares_noise(X6, Y6, 0 * spread, ridge=0.2),
            "any other": total + 0.01 * rng.standard_normal((2, 2)),
        },
    )


def test_long_run_covariance_recent_2_1():
    chain = theory.least_squares_moments(X6, Y6, learning_rate=0.2, batch_size=1).chain
    assert_allclose(chain.long_run_covariance[[0, 0, 1], [0, 1, 1]], (0.2535033, -0.0535433, 0.5285346), atol=5e-8)
    H, E = X6.T @ X6 / 6, theory.least_squares_noise(X6, Y6, np.zeros((2, 2)))
    constant = theory.linear_chain(H, E, learning_rate=0.2, batch_size=1).long_run_covariance
    assert_allclose(constant[[0, 0, 1], [0, 1, 1]], (0.1473527, -0.0132550, 0.3908909), atol=5e-8)


# --- preconditioner: the posterior for the actual algorithm ---


def test_least_squares_preconditioner_recent_2_3():
    H = X6.T @ X6 / 6
    E = theory.least_squares_noise(X6, Y6, np.zeros((2, 2)))
    sandwich = np.linalg.solve(H, np.linalg.solve(H, E).T) / 6
    assert_allclose(sandwich[[0, 0, 1], [0, 1, 1]], (0.0245588, -0.0022092, 0.0651485), atol=5e-8)
    P = theory.least_squares_preconditioner(X6, Y6, batch_size=1, target=sandwich)
    assert_allclose(P[[0, 0, 1], [0, 1, 1]], (0.2826879, -0.0905113, 0.1748037), atol=5e-8)
    law = theory.least_squares_moments(X6, Y6, learning_rate=1, batch_size=1, preconditioner=P)
    assert_allclose(law.covariance, sandwich, atol=1e-14)


@pytest.mark.parametrize(
    ("mu", "sampling"), [(0.0, "with_replacement"), (0.5, "with_replacement"), (0.3, "without_replacement")]
)
def test_least_squares_preconditioner(mu, sampling):
    """Target 0.7 times the posterior, with a prior: exact for the enumerated algorithm, and wrong without K."""
    setting = {"batch_size": 2, "sampling": sampling, "momentum": mu}
    posterior = 0.7 * np.linalg.inv(X6.T @ X6 + 0.6 * np.eye(2))
    P = theory.least_squares_preconditioner(X6, Y6, temperature=0.7, ridge=0.1, **setting)
    constant = theory.preconditioner_for(
        posterior,
        X6.T @ X6 / 6 + 0.1 * np.eye(2),
        theory.least_squares_noise(X6, Y6, np.zeros((2, 2)), ridge=0.1),
        num_examples=6,
        **setting,
    )

    def check(step):
        _, found, radius = enumerated(X6, Y6, batches(6, 2, sampling), rate=1.0, ridge=0.1, mu=mu, P=step)
        assert radius < 1
        assert_allclose(found, posterior, rtol=1e-10)

    planted_defects(check, P, {"K dropped": constant, "momentum forgotten": P * (1 - 0.9 * mu) * 0.99})


def test_posterior_d5_diverges_without_k():
    """discrete_noise.md D5: on the 4x2 data N H Σ = I to 1e-10, and the second moment diverges when K is left out."""
    H = X4.T @ X4 / 4
    P = theory.least_squares_preconditioner(X4, Y4, batch_size=1)
    law = theory.least_squares_moments(X4, Y4, learning_rate=1, batch_size=1, preconditioner=P)
    assert_allclose(4 * H @ law.covariance, np.eye(2), atol=1e-10)
    E = theory.least_squares_noise(X4, Y4, np.zeros((2, 2)))
    without = theory.optimal_preconditioner(H, E, num_examples=4, batch_size=1)
    assert theory.least_squares_edges(X4, batch_size=1, preconditioner=without).second_moment < 1
    with pytest.raises(ValueError, match="second-moment edge"):
        theory.least_squares_moments(X4, Y4, learning_rate=1, batch_size=1, preconditioner=without)


# --- bad input ---

NAN = np.array([[1.0, np.nan], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": NAN}, r"X must be finite, but entry"),
        ({"X": Y4}, r"X must be a matrix \(N, D\)"),
        ({"X": 0 * X4}, "X must not be zero"),
        ({"y": Y4[:3]}, r"y must have shape \(4,\)"),
        ({"learning_rate": 0}, "learning_rate must be > 0"),
        ({"learning_rate": 0.7}, r"learning_rate must be below the second-moment edge 0\.64401, got 0\.7"),
        ({"learning_rate": 2.0, "batch_size": 3}, r"the mean is stable up to 1\.33333"),
        ({"learning_rate": 0.5, "momentum": 0.5, "nesterov": True}, r"second-moment edge 0\.414181"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"batch_size": 5, "sampling": "without_replacement"}, "batch_size must be <= num_examples = 4"),
        ({"sampling": "epochs"}, "sampling must be one of"),
        ({"sampling": "shuffled"}, "correlated with the parameters"),
        ({"ridge": -0.8}, "ridge must leave no negative curvature"),
        ({"ridge": float("nan")}, "ridge must be a finite number"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"preconditioner": -P2}, "preconditioner must be positive definite"),
        ({"label_noise": -1.0}, "label_noise must lie in"),
    ],
)
def test_least_squares_bad_input(changes, message):
    arguments = {"X": X4, "y": Y4, "learning_rate": 0.2, "batch_size": 1} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        theory.least_squares_moments(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_other_bad_input():
    flat = np.array([[1.0, 1], [2, 2], [3, 3]])
    with pytest.raises(ValueError, match="must be positive definite"):
        theory.least_squares_preconditioner(flat, [1, 2, 4], batch_size=1)
    with pytest.raises(ValueError, match="correlated with the parameters"):
        theory.least_squares_edges(X4, batch_size=2, sampling="shuffled")
    with pytest.raises(ValueError, match="covariance must have no negative eigenvalue"):
        theory.least_squares_noise(X4, Y4, -P2)
    with pytest.raises(ValueError, match="second-moment edge"):
        theory.gaussian_inputs_moments(DIAGONAL, learning_rate=0.6, batch_size=1)


def test_record_says_what_it_is():
    law = theory.least_squares_moments(X4, Y4, learning_rate=0.2, batch_size=2)
    assert repr(law) == "LeastSquaresMoments(num_params=2, rank=2, learning_rate=0.2, second_moment_edge=0.873636)"
    assert law.fourth_moment_edge == theory.least_squares_edges(X4, batch_size=2).fourth_moment
    assert theory.gaussian_inputs_moments(DIAGONAL, learning_rate=0.1, batch_size=1).fourth_moment_edge is None
