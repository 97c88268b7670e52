"""SGD on rows of data: every batch enumerated, moments two and four as Kronecker powers of a step; exponents of tails."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import references as ref
from case import Case, quick
from cases_laws import MU
from cases_theory import kesten_by_bisection
from hypothesis import strategies as st
from matrices import MILD, SEEDS, definite
from outcome import refuses
from scipy import optimize, special

from gradnoise import theory

SAMPLINGS = st.sampled_from(["with_replacement", "without_replacement"])


@st.composite
def rows(draw: Any, dims: Any = None, momentum: Any = MU, **more: Any) -> dict[str, Any]:
    d, mu = draw(st.integers(1, 2) if dims is None else dims), draw(momentum)
    n, r = draw(st.integers(3, 4)), np.random.default_rng(draw(SEEDS))
    P = draw(definite(dim=d, spread=0.7, scale=MILD)) if draw(st.booleans()) else None
    X = (r.standard_normal((n, d)) + r.choice([-1.0, 1.0], (n, d))) * draw(MILD)
    return {
        "X": X, "batch_size": draw(st.integers(1, 2)), "sampling": draw(SAMPLINGS), "ridge": draw(st.sampled_from([0.0, 0.2])) * float((X**2).mean()), "momentum": mu,
        "nesterov": mu > 0 and draw(st.booleans()), "preconditioner": P,
    } | {name: draw(s(n) if callable(s) else s) for name, s in more.items()}  # fmt: skip


def labels(n: int) -> Any:
    return st.builds(lambda s: np.random.default_rng(s).standard_normal(n), SEEDS)


def batches_of(n: int, size: int, sampling: str) -> list[list[int]]:
    if sampling == "with_replacement":
        return [list(b) for b in itertools.product(range(n), repeat=size)]
    return [list(b) for b in itertools.combinations(range(n), size)]


def steps(X: Any, rate: float, batch_size: int, sampling: str, ridge: float, momentum: float = 0.0, nesterov: bool = False, preconditioner: Any = None) -> Any:  # fmt: skip
    """Transition of (θ, m), or of θ, for every batch, and the gain of a gradient."""
    d, out, G = X.shape[1], [], None
    for b in batches_of(len(X), batch_size, sampling):
        H = X[b].T @ X[b] / len(b) + ridge * np.eye(d)
        F, G = ref.transition(H, rate, momentum, nesterov, preconditioner)
        out.append(F if momentum else F[:d, :d])
    return np.array(out), G if momentum else G[:d]


def powers(J: Any, order: int) -> Any:
    """Mean of J ⊗ J, or of J ⊗ J ⊗ J ⊗ J."""
    n = J.shape[1]
    squared = np.einsum("bij,bkl->bikjl", J, J).reshape(len(J), n * n, n * n)
    if order == 2:
        return squared.mean(0)
    m = n * n
    return (squared.reshape(len(J), m * m).T @ squared.reshape(len(J), m * m) / len(J)).reshape(m, m, m, m).transpose(0, 2, 1, 3).reshape(m * m, m * m)  # fmt: skip


def radius(order: int, rate: float, **a: Any) -> float:
    return float(np.abs(np.linalg.eigvals(powers(steps(rate=rate, **a)[0], order))).max())


def optimum(X: Any, y: Any, ridge: float) -> Any:
    return np.linalg.solve(X.T @ X / len(X) + ridge * np.eye(X.shape[1]), X.T @ y / len(X))


def stable(share: float, **a: Any) -> float:
    """A share of the rate at which the radius of the second moments, enumerated, passes 1 for the first time."""
    inner = a["X"].T @ a["X"] / len(a["X"]) + a["ridge"] * np.eye(a["X"].shape[1])
    top = np.linalg.eigvals(inner if a["preconditioner"] is None else a["preconditioner"] @ inner).real.max()
    low, high = 0.0, 2 * (1 + a["momentum"]) / top / ((1 + 2 * a["momentum"]) if a["nesterov"] else 1)
    while radius(2, high / 2, **a) >= 1:
        high /= 2
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if radius(2, middle, **a) < 1 else (low, middle)
    return share * low


def law(rate: float, y: Any, label_noise: float, **a: Any) -> Any:
    """Σ = E(JΣJᵀ + bbᵀ): one linear system; fresh noise on labels gives s²/B X̄."""
    J, G = steps(rate=rate, **a)
    X, d = a["X"], a["X"].shape[1]
    best = optimum(X, y, a["ridge"])
    noise = np.zeros((d, d))
    for b in batches_of(len(X), a["batch_size"], a["sampling"]):
        g = X[b].T @ (X[b] @ best - y[b]) / len(b) + a["ridge"] * best
        noise += np.outer(g, g) + label_noise**2 * X[b].T @ X[b] / len(b) ** 2
    noise = G @ (noise / len(J)) @ G.T
    n = J.shape[1]
    return np.linalg.solve(np.eye(n * n) - powers(J, 2), noise.reshape(-1)).reshape(n, n)[:d, :d]


def moments(share: float, y: Any, label_noise: float, **a: Any) -> Any:
    found = theory.least_squares_moments(y=y, label_noise=label_noise, learning_rate=stable(share, **a), **a)
    size = np.abs(found.covariance).max()
    return found.mean, found.covariance, found.chain.covariance / size, found.excess_loss, found.second_moment_radius + 1  # fmt: skip


def right_moments(share: float, y: Any, label_noise: float, **a: Any) -> Any:
    rate, X = stable(share, **a), a["X"]
    Sigma = law(rate, y, label_noise, **a)
    H = X.T @ X / len(X) + a["ridge"] * np.eye(X.shape[1])
    return optimum(X, y, a["ridge"]), Sigma, Sigma / np.abs(Sigma).max(), np.trace(H @ Sigma) / 2, radius(2, rate, **a) + 1  # fmt: skip


def edges(**a: Any) -> Any:
    """Radii of the second and fourth moments at their edges, 1; and below the edges less. The mean's edge by its own radius."""
    found = theory.least_squares_edges(**a)
    two, four = found.second_moment, found.fourth_moment
    below = [radius(2, two * x, **a) < 1 for x in (0.3, 0.7, 0.98)] + [radius(4, four * x, **a) < 1 for x in (0.5, 0.98)]  # fmt: skip
    inner = a["X"].T @ a["X"] / len(a["X"]) + a["ridge"] * np.eye(a["X"].shape[1])
    mean = ref.spectral_radius(inner, found.mean, a["momentum"], a["nesterov"], a["preconditioner"])
    return radius(2, two, **a), radius(4, four, **a), mean, float(all(below)), float(four <= two <= found.mean)


def right_edges(**a: Any) -> Any:
    """All batches alike have one edge, of the mean."""
    del a
    return 1.0, 1.0, 1.0, 1.0, 1.0


def some(values: Any) -> Any:
    return st.fixed_dictionaries(values)


@st.composite
def columns(draw: Any) -> dict[str, Any]:
    """One column, batches up to five of six, mostly without replacement."""
    n = draw(st.integers(5, 6))
    a = draw(rows(dims=st.just(1)))
    X = np.random.default_rng(draw(SEEDS)).uniform(0.3, 1, (n, 1)) * draw(MILD)
    sampling = draw(st.sampled_from(["without_replacement", "without_replacement", "with_replacement"]))
    size = draw(st.sampled_from([1, 2, n - 1, 4, 3])) if sampling == "without_replacement" else draw(st.integers(1, 4))
    return a | {
        "X": X,
        "sampling": sampling,
        "batch_size": size,
        "ridge": a["ridge"] * float((X**2).mean() / (a["X"] ** 2).mean()),
    }


@st.composite
def spreads(draw: Any) -> dict[str, Any]:
    a = draw(rows(y=labels))
    return {"X": a["X"], "y": a["y"], "ridge": a["ridge"], "covariance": draw(definite(dim=a["X"].shape[1], spread=1.0, scale=MILD))}  # fmt: skip


def noise_over_points(X: Any, y: Any, ridge: float, covariance: Any) -> Any:
    """Covariance over rows of their gradients, averaged over the 2D points θ* ± √D L e that have mean θ* and covariance LLᵀ."""
    best, root, total = optimum(X, y, ridge), np.linalg.cholesky(covariance), 0.0
    points = [best + sign * math.sqrt(len(root)) * column for column in root.T for sign in (-1, 1)]
    for theta in points:
        total = total + np.cov((X * (X @ theta - y)[:, None]).T, bias=True).reshape(len(root), len(root))
    return total / len(points)


def preconditioned(y: Any, heat: float, goal: Any, preconditioner: Any, nesterov: bool, **a: Any) -> Any:
    """The law under the preconditioner found, by enumeration."""
    del preconditioner, nesterov
    X = a["X"]
    unit = X.T @ X / len(X)
    wanted = None if goal is None else goal * np.linalg.inv(unit + a["ridge"] * np.eye(len(unit))) / len(X)
    P = theory.least_squares_preconditioner(y=y, temperature=heat, target=wanted, **a)
    found = law(1.0, y, 0.0, **a, preconditioner=P)
    return found * np.abs(unit).max() * len(X)


def right_preconditioned(X: Any, heat: float, goal: Any, ridge: float, **_: Any) -> Any:
    unit = X.T @ X / len(X)
    return np.linalg.inv(unit + ridge * np.eye(len(unit))) * np.abs(unit).max() * (heat if goal is None else goal)


def one_column(share: float, **a: Any) -> Any:
    squares = (a["X"] ** 2)[:, 0]
    rate = share * 2 / (squares.max() + a["ridge"])
    return theory.least_squares_tail_exponent(**{k: a[k] for k in ("X", "batch_size", "sampling", "ridge")}, learning_rate=rate).value  # fmt: skip


def right_column(share: float, **a: Any) -> Any:
    squares = (a["X"] ** 2)[:, 0]
    rate = share * 2 / (squares.max() + a["ridge"])
    batches = batches_of(len(squares), a["batch_size"], a["sampling"])
    multipliers = np.array([abs(1 - rate * (squares[b].mean() + a["ridge"])) for b in batches])
    found = kesten_by_bisection(multipliers)
    return found if isinstance(found, float) else refuses("learning_rate")


@st.composite
def planes(draw: Any) -> dict[str, Any]:
    """Eight rows in two directions, B = 1."""
    r = np.random.default_rng(draw(SEEDS))
    return {"X": r.standard_normal((8, 2)) * draw(MILD), "seed": draw(st.integers(0, 99))}


def near_two(X: Any, seed: int) -> float:
    """At the edge of the second moment the exponent is 2, within six standard errors, themselves small."""
    a = {"X": X, "batch_size": 1, "sampling": "with_replacement", "ridge": 0.0}
    plain = a | {"momentum": 0.0, "nesterov": False, "preconditioner": None}
    low = stable(1.0, **plain)
    edge = optimize.brentq(lambda rate: radius(2, rate, **plain) - 1, low * 0.9, low * 1.1)
    found = theory.least_squares_tail_exponent(**a, learning_rate=edge, seed=seed, num_particles=64, num_steps=64)
    return float(abs(found.value - 2) <= 6 * found.standard_error + 0.05 and 0 < found.standard_error < 0.5)


def gaussian_edge(values: Any, batch: int) -> float:
    """Rate at which E|θ|² of Gaussian inputs diverges: Σ = diag, η(2h − ηh²(1 + 1/B))Σ = η²h/B tr(hΣ)."""

    def excess(rate: float) -> float:
        return float((rate * values / batch / (2 - rate * values * (1 + 1 / batch))).sum() - 1)

    top = 2 / values.max() / (1 + 1 / batch)
    return float(optimize.brentq(excess, 1e-9 * top, top * (1 - 1e-12)))


def estimated(seed: int, batch: int, spread: float) -> float:
    """The same of Gaussian inputs of two variances."""
    values = np.array([1.0, spread])
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((2, 2)))[0]
    H = (turn * values) @ turn.T
    found = theory.tail_exponent_estimate((H + H.T) / 2, learning_rate=gaussian_edge(values, batch), batch_size=batch, num_particles=128, num_steps=24, seed=seed)  # fmt: skip
    return float(abs(found.value - 2) <= 6 * found.standard_error + 0.05 and 0 < found.standard_error < 0.5)


def chi_moment(degrees: int, k: int) -> float:
    return math.exp(k * math.log(2) + math.lgamma(degrees / 2 + k) - math.lgamma(degrees / 2)) if degrees else float(k == 0)  # fmt: skip


def even_moment(step: float, batch: int, size: int, half: int) -> float:
    """E[((1 − sX)² + s²XY)^half], term by term."""
    total = 0.0
    for j in range(half + 1):
        for i in range(2 * j + 1):
            total += math.comb(half, j) * math.comb(2 * j, i) * (-step) ** i * step ** (2 * (half - j)) * chi_moment(batch, i + half - j) * chi_moment(size - 1, half - j)  # fmt: skip
    return total


def even_exponent(curvature: float, batch: int, size: int, half: int) -> float:
    """The rate at which this even moment is 1, and the exponent there."""
    low = 1e-4 / (batch + size)
    high = low
    while even_moment(high, batch, size, half) < 1:
        high *= 1.1
    step = optimize.brentq(lambda s: even_moment(s, batch, size, half) - 1, high / 1.1, high, xtol=1e-15)
    return theory.tail_exponent(curvature=curvature, learning_rate=step * batch / curvature, batch_size=batch, num_params=size)  # fmt: skip


def growth(kappa: float, step: float, batch: int, size: int) -> float:
    """ln E|J u|^κ by the trapezium in ln X and ln Y."""

    def axis(degrees: int, top: float, count: int) -> tuple[Any, Any]:
        u = np.linspace(math.log(degrees) - 40 / math.sqrt(degrees) - 60 / degrees, math.log(top), count)
        return np.exp(u), degrees / 2 * (u - math.log(2)) - np.exp(u) / 2 - math.lgamma(degrees / 2) + math.log(u[1] - u[0])  # fmt: skip

    x, wx = axis(batch, 12 / step + 4 * batch + 100, 3000 if size > 1 else 60_000)
    if size == 1:
        with np.errstate(divide="ignore"):
            return float(special.logsumexp(kappa * np.log(np.abs(1 - step * x)) + wx))
    y, wy = axis(size - 1, 3 / step + 100, 160)
    inner = np.log((1 - step * x[:, None]) ** 2 + step**2 * x[:, None] * y)
    return float(special.logsumexp(kappa / 2 * inner + wx[:, None] + wy))


def between(step: float, batch: int, size: int) -> float:
    """The growth changes its sign within 1e-5 of the exponent."""
    kappa = theory.tail_exponent(curvature=1.0, learning_rate=step * batch, batch_size=batch, num_params=size)
    return float(growth(kappa * 0.99999, step, batch, size) < 0 < growth(kappa * 1.00001, step, batch, size))


EXPONENTS = {"curvature": MILD, "batch": st.integers(1, 6), "size": st.integers(1, 4), "half": st.integers(1, 6)}

CASES = quick([
    Case("least_squares_moments, every argument", rows(y=labels, share=st.floats(0.1, 0.85), label_noise=st.sampled_from([0.0, 0.7])), moments, right_moments, 1e-5),
    Case("least_squares_edges, every argument", rows().filter(lambda a: a["batch_size"] < len(a["X"]) and (a["X"].shape[1] == 1 or a["momentum"] == 0)), edges, right_edges, 1e-5, few=6),
    Case("least_squares_edges of a column", columns(), edges, right_edges, 1e-5),
    Case("least_squares_noise", spreads(), theory.least_squares_noise, noise_over_points, 1e-6),
    Case("least_squares_preconditioner", rows(momentum=st.sampled_from([0.0, 0.3]), y=labels, heat=st.floats(0.2, 2), goal=st.sampled_from([None, 0.5])).filter(lambda a: len(a["X"]) > a["X"].shape[1] + 1), preconditioned, right_preconditioned, 1e-5),
    Case("least_squares_tail_exponent of a column", rows(dims=st.just(1), share=st.floats(0.3, 1.8)), one_column, right_column, 1e-5),
    Case("least_squares_tail_exponent at 2", planes(), near_two, lambda **_: 1.0, few=2),
    Case("tail_exponent_estimate at 2", some({"seed": st.integers(0, 50), "batch": st.integers(1, 4), "spread": st.floats(0.3, 1.0)}), estimated, lambda **_: 1.0, few=1),
    Case("tail_exponent of even order", some(EXPONENTS), even_exponent, lambda half, **_: 2.0 * half, 1e-6, few=3),
    Case("tail_exponent by quadrature", some({"step": st.floats(-3.3, -1).map(lambda x: 10**x), "batch": st.integers(1, 5), "size": st.integers(1, 3)}), between, lambda **_: 1.0, few=2),
    Case("tail_exponent of tiny steps", some({"step": st.floats(-14, -9).map(lambda x: 10**x), "batch": st.integers(1, 5), "size": st.integers(1, 3)}),
         lambda step, batch, size: theory.tail_exponent(curvature=1.0, learning_rate=step * batch, batch_size=batch, num_params=size) * step,
         lambda **_: optimize.brentq(lambda c: c * math.log(2 * c) - c - 0.5, 1, 3, xtol=1e-14)),
    Case("multiplier_tail_exponent with weights", some({"seed": SEEDS, "count": st.integers(2, 6)}),
         lambda seed, count: theory.multiplier_tail_exponent(*(lambda r: (r.uniform(-1.6, 1.6, count), np.full(count, 1 / count)))(np.random.default_rng(seed))),
         lambda seed, count: kesten_by_bisection(np.abs(np.random.default_rng(seed).uniform(-1.6, 1.6, count))), 1e-5),
])  # fmt: skip
