"""Tails of the stationary law: Kesten's exponent in discrete time. The bulk exponent is another number: `power_law`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, lambertw, logsumexp

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.results import Estimate

_LARGEST = 4096.0  # estimated exponents beyond have no practical meaning
_NEAR = 512.0  # exponents up to here see the whole law of the factor; beyond, only its peak
_GROUPS = 16
_SMALL_STEP = math.exp(1 + float(lambertw(math.exp(-1)).real)) / 2  # κηa/B as η → 0


def tail_exponent(*, curvature: float, learning_rate: float, batch_size: int, num_params: int = 1) -> float:
    r"""Exponent κ of the tail P(|θ| > r) ∝ r^{−κ} of minibatch SGD on linear regression with isotropic Gaussian inputs.

    Equation: E[((1 − (ηa/B)X)² + (ηa/B)²XY)^{κ/2}] = 1, X ~ χ²_B, Y ~ χ²_{D−1} independent; one dimension: E|1 − (ηa/B)X|^κ = 1.

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    curvature      a       ()     loss/parameter²: the variance of each input
    learning_rate  η       ()     parameter²/loss
    batch_size     B       ()     fresh examples a step
    num_params     D       ()     parameters
    returns        κ       ()     dimensionless; E|θ|^k is finite iff k < κ
    =============  ======  =====  ==========================================

    Assumptions: infinitely many data, label noise, no momentum. Finite data: `least_squares_tail_exponent`; anisotropic inputs:
    `tail_exponent_estimate`. Where E ln|…| ≥ 0 the iterates have no stationary law and the call raises.
    Limit: κ = 2 at η = 2B/(a(B+1+D)), the second-moment edge. η → 0: κ → 1.7955607 B/(ηa) (= e^{1+W(1/e)}/2; returned from
    ηa(2 + D/B) < 1e-7), the rare large batches that no diffusion sees.

    Reference: Kesten (1973), Acta Math. 131, for E|·|^κ = 1; Ziyin, Liu, Mori, Ueda (2022) call the bulk exponent "the tail index": they agree at
    κ = 2 alone (`bulk_exponent`). Isotropic D derived here.

    >>> round(tail_exponent(curvature=1.0, learning_rate=1.0, batch_size=4), 5)
    3.50468
    >>> round(tail_exponent(curvature=1.0, learning_rate=0.25, batch_size=1, num_params=4), 5)
    4.39129
    """
    size, batch = _checks.integer("num_params", num_params), _checks.integer("batch_size", batch_size)
    step = _checks.positive("learning_rate", learning_rate) * _checks.positive("curvature", curvature) / batch
    if step * (2 * batch + size) < 1e-7:
        return _SMALL_STEP / step
    logs, weights = _log_factors(step, batch, size)

    def growth(kappa: float) -> float:
        """Ln E|J u|^κ."""
        return float(logsumexp(kappa * logs + weights))

    drift = float(np.sum(logs * np.exp(weights)))
    if drift >= 0:
        msg = f"learning_rate must keep E ln|factor| below 0 for a stationary law, but it is {drift:.6g} at {learning_rate:.6g}."
        raise ValueError(msg)
    if growth(_NEAR) < 0:
        return _far_root(step, batch, size)
    return positive_root(growth)


def _far_root(step: float, batch: int, size: int) -> float:
    logs, weights = _log_factors(step, batch, size, common=True)

    def growth(kappa: float) -> float:
        return float(np.logaddexp(logsumexp(kappa * logs + weights), _far_growth(kappa, step, batch, size)))

    high = 2 * _NEAR
    while growth(high) < 0:
        high *= 2
    return float(brentq(growth, high / 2, high, rtol=1e-13))


def _far_growth(kappa: float, step: float, batch: int, size: int) -> float:
    """Share of the rare X > 1/step in ln E|J u|^κ, κ large, by quadrature about the peaks in ln X and, at each X, in ln Y."""
    nodes, gauss = np.polynomial.legendre.leggauss(48)

    def inner(log_x: Array) -> Array:
        """Ln of the integral over ln Y, whose peak solves a quadratic: κ/2 · bY/(a + bY) + (D−1)/2 − Y/2 = 0."""
        x = np.exp(log_x)
        a, b = (1 - step * x) ** 2, step**2 * x
        with np.errstate(divide="ignore"):
            if size == 1:
                return np.asarray(kappa / 2 * np.log(a) + _log_chi2(log_x, batch))
        half = (kappa + size - 1 - a / b) / 2
        root = np.hypot(half, np.sqrt((size - 1) * a / b))
        top = np.where(half > 0, half + root, (size - 1) * a / b / (root - np.minimum(half, 0)))
        pull = b * top / (a + b * top)
        width = 1 / np.sqrt(np.maximum(top / 2 - kappa / 2 * pull * (1 - pull), 1e-3 * top))
        log_y = np.log(top) + 9 * width * nodes[:, None]
        logs = kappa / 2 * np.log(a + b * np.exp(log_y)) + _log_chi2(log_y, size - 1)
        return np.asarray(logsumexp(logs, 0, b=9 * width * gauss[:, None]) + _log_chi2(log_x, batch))

    low, high = -math.log(step), math.log(1 / step + batch + 2 * kappa) + 0.5
    for _ in range(12):  # zoom to where all the mass is
        log_x = np.linspace(low, high, 201)
        logs = inner(log_x)
        seen = np.flatnonzero(logs > logs.max() - 60)
        low, high = log_x[max(seen[0] - 1, 0)], log_x[min(seen[-1] + 1, 200)]
    edges = np.linspace(low, high, 9)
    half = np.diff(edges) / 2
    log_x = ((edges[:-1] + half)[:, None] + half[:, None] * nodes).ravel()
    return float(logsumexp(inner(log_x), b=(half[:, None] * gauss).ravel()))


def positive_root(growth: Callable[[float], float]) -> float:
    """Return the κ > 0 at which ln E|m|^κ, convex and negative just above 0, comes back to 0."""
    high = 1.0
    while growth(high) < 0:
        high *= 2
    low = high / 2
    while growth(low) >= 0:
        low /= 2
    return float(brentq(growth, low, high, xtol=1e-13, rtol=1e-13))


def multiplier_tail_exponent(multipliers: ArrayLike, weights: ArrayLike | None = None) -> float:
    r"""Exponent of the tail of x ← m x + noise with random multipliers from a finite list, one dimension, exact.

    Equation: Σ_i w_i |m_i|^κ = 1.

    ===========  ======  =====  ===================================
    argument     symbol  shape  scale
    ===========  ======  =====  ===================================
    multipliers  m       (n,)   dimensionless, e.g. 1 − η h_i
    weights      w       (n,)   probabilities; default 1/n
    returns      κ       ()     dimensionless; infinity if all |m| ≤ 1
    ===========  ======  =====  ===================================

    Assumptions: independent draws, additive noise of lighter tail, Σ w ln|m| < 0 (else ValueError).
    Limit: all |m_i| ≤ 1 gives infinity: no power law.

    Reference: Kesten (1973), Random difference equations and renewal theory for products of random matrices, Acta Math. 131, theorem 5.

    >>> round(multiplier_tail_exponent([2.0, 0.5, 0.5]), 12)  # (2^κ + 2·2^−κ)/3 = 1
    1.0
    """
    size = np.abs(_checks.vector("multipliers", multipliers))
    share = np.full(len(size), 1 / len(size)) if weights is None else _checks.vector("weights", weights, len(size))
    if share.min() < 0 or abs(share.sum() - 1) > 1e-9:
        msg = f"weights must be probabilities that sum to 1, got a sum of {share.sum():.6g}."
        raise ValueError(msg)
    met = share > 0
    kept = met & (size > 0)
    never_zero = bool((kept == met).all())
    logs, share = np.log(size[kept]), share[kept]
    if never_zero and share @ logs >= 0:
        msg = f"multipliers must contract on average, but the mean of ln|m| is {share @ logs:.6g}: there is no stationary law."
        raise ValueError(msg)
    if not (logs > 0).any():
        return math.inf

    def growth(kappa: float) -> float:
        top = kappa * logs.max()
        return float(top + np.log(share @ np.exp(kappa * logs - top)))

    return positive_root(growth)


def tail_exponent_estimate(
    hessian: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    num_particles: int = 2048,
    num_steps: int = 150,
    seed: int = 0,
) -> Estimate:
    r"""Exponent κ of the tail for anisotropic Gaussian inputs in several dimensions, estimated, with its standard error.

    Equation: Λ(κ) = lim (1/n) ln E|J_n⋯J_1 u|^κ = 0, J = I − ηX̄, X̄ the mean of x xᵀ over B inputs x ~ N(0, H). Unit vectors u are moved by J,
    weighted by |Ju|^κ and resampled; Λ is the mean log weight. The inputs along u come from a mixture of wider laws (importance weights),
    since rare large batches carry the tail; common random numbers make Λ a function of κ.

    =============  ======  ======  ==========================================
    argument       symbol  shape   scale
    =============  ======  ======  ==========================================
    hessian        H       (D, D)  curvature of the mean loss: the covariance of the inputs
    learning_rate  η       ()      parameter²/loss
    batch_size     B       ()      fresh examples a step
    num_particles  –       ()      unit vectors, in 16 independent groups
    num_steps      n       ()      steps, the first quarter dropped
    seed           –       ()      of the random numbers
    returns        κ       ()      dimensionless `Estimate`, from the 16 groups; Student's t with 15 degrees
    =============  ======  ======  ==========================================

    Assumptions: infinitely many data, label noise, no momentum. A group's Z = e^{nΛ} is unbiased, its logarithm too small by about
    var(ln Z)/2: this is added, and the standard error of that variance, over 16 groups, is in the standard error.
    Limit: isotropic H gives `tail_exponent`; κ = 2 at the second-moment edge Σ 1/(2/(ηa_i) − 1 − 1/B) = B.

    Reference: Kesten (1973), Acta Math. 131; Gurbuzbalaban, Simsekli, Zhu (2021), The heavy-tail phenomenon in SGD. No closed form is known;
    the estimator is derived here.

    >>> found = tail_exponent_estimate([[1.0, 0.0], [0.0, 1.0]], learning_rate=0.5, batch_size=1, num_particles=256, num_steps=60)
    >>> bool(abs(found.value - 2) < 0.25), found.n  # 2 exactly: this is the second-moment edge
    (True, 16)
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    rate, batch = _checks.positive("learning_rate", learning_rate), _checks.integer("batch_size", batch_size)
    particles = _checks.integer("num_particles", num_particles, low=8 * _GROUPS) // _GROUPS
    steps, seed = _checks.integer("num_steps", num_steps, low=20, high=100_000), _checks.integer("seed", seed, low=0)
    root = np.linalg.cholesky(hessian)
    name = "batch_size" if batch > particles else "num_particles"
    _checks.fits(name, 32.0 * particles * batch * len(root), "the inputs of one step of a group")
    stiffest = rate / batch * float(np.linalg.eigvalsh(hessian)[-1])

    def growth(kappa: float, group: int) -> float:
        rng = np.random.default_rng((seed, group))
        scales = _proposal_scales(kappa, stiffest, batch)
        u = rng.normal(size=(particles, len(root)))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        total = 0.0
        for t in range(steps):
            z, logs = _proposed(rng, u @ root, batch, scales)
            x = z @ root.T
            u = u - rate / batch * np.einsum("pbi,pb->pi", x, np.einsum("pbi,pi->pb", x, u))
            length = np.linalg.norm(u, axis=1)
            logs = logs + kappa * np.log(length)
            peak = logs.max()
            mass = np.exp(logs - peak)
            if t >= steps // 4:
                total += peak + math.log(mass.mean())
            # systematic resampling keeps one uniform number a step, whatever κ
            places = (np.arange(particles) + rng.random()) / particles
            chosen = np.minimum(np.searchsorted(np.cumsum(mass) / mass.sum(), places), particles - 1)
            u = (u / length[:, None])[chosen]
        return total / (steps - steps // 4)

    kept = steps - steps // 4

    def groups(kappa: float) -> Array:
        return np.array([growth(kappa, group) for group in range(_GROUPS)])

    low = high = 1.0
    while unbiased_growth(groups(low), kept).value >= 0:
        low, high = low / 1.5, low
        if low < 0.02:
            msg = f"learning_rate must keep the Lyapunov exponent below 0 for a stationary law, got {rate:.6g}."
            raise ValueError(msg)
    while low == high or unbiased_growth(groups(high), kept).value < 0:
        low, high = high, 1.5 * high
        if high > _LARGEST:
            msg = f"learning_rate must be large enough to show a power law, but at {rate:.6g} κ is beyond {_LARGEST:g}."
            raise ValueError(msg)
    return growth_root(groups, low, high, kept)


def unbiased_growth(groups: Array, steps: int) -> Estimate:
    """Return Λ from the groups' mean log weights: each group's e^{nΛ} is unbiased, so half the variance of its logarithm is added."""
    n, spread = len(groups), float(groups.var(ddof=1))
    bias = steps * spread / 2
    error = math.hypot(math.sqrt(spread / n), bias * math.sqrt(2 / (n - 1)))
    return Estimate(float(groups.mean()) + bias, error, n)


def growth_root(groups: Callable[[float], Array], low: float, high: float, steps: int) -> Estimate:
    """Return the κ in (low, high) with Λ(κ) = 0; its standard error is that of Λ there, divided by the slope."""

    def growth(kappa: float) -> float:
        return float(unbiased_growth(groups(kappa), steps).value)

    root = float(brentq(growth, low, high, xtol=1e-3, rtol=1e-4))
    slope = (growth(1.05 * root) - growth(0.95 * root)) / (0.1 * root)
    return Estimate(root, unbiased_growth(groups(root), steps).standard_error / slope, len(groups(root)))


def _proposal_scales(kappa: float, step: float, batch: int) -> Array:
    """Scales of χ²_B proposals: 1, and what centres one where |1 − step·X|^κ times the density peaks; their geometric mean between."""
    if kappa <= 1:  # no rare batch matters: plain sampling
        return np.ones(1)
    half = (1 + (2 * kappa + batch) * step) / (2 * step)
    top = half + math.sqrt(max(half**2 - batch / step, 0.0))
    return np.array([1.0, math.sqrt(max(top / batch, 1.0)), max(top / batch, 1.0)])


def _proposed(rng: np.random.Generator, along: Array, batch: int, scales: Array) -> tuple[Array, Array]:
    """White inputs z (particles, B, D), stretched along `along` by a random one of the scales, and their log importance weights."""
    z = rng.normal(size=(len(along), batch, along.shape[1]))
    axis = along / np.linalg.norm(along, axis=1, keepdims=True)
    s = np.einsum("pbi,pi->pb", z, axis)
    stretch = scales[rng.integers(len(scales), size=len(along))]
    z = z + (s * (np.sqrt(stretch) - 1)[:, None])[:, :, None] * axis[:, None, :]
    square = stretch * np.sum(s**2, 1)
    ratios = -batch / 2 * np.log(scales) + square[:, None] / 2 * (1 - 1 / scales)
    peak = ratios.max(1)
    return z, -peak - np.log(np.exp(ratios - peak[:, None]).mean(1))


def _log_factors(step: float, batch: int, size: int, *, common: bool = False) -> tuple[Array, Array]:
    """ln|Ju| and log weights on a grid: X ~ χ²_B in ln X, split at the zero of 1 − step·X (`common`: below it), times Y ~ χ²_{D−1}."""
    pieces, spread = [], math.sqrt(2 / batch)
    centre, turn = math.log(batch), -math.log(step)
    ends = sorted({centre - 40 * spread - 40 / batch, turn, centre + 6 * spread + 4.5})
    # geometric refinement towards the turn, where the factor vanishes
    for a, b in itertools.pairwise(ends):
        depth = np.concatenate([[0.0], np.geomspace(1e-14, 1.0, 120)]) * (b - a)
        pieces.append(b - depth[::-1] if b == turn else a + depth)
    nodes, gauss = np.polynomial.legendre.leggauss(24)
    cells = np.concatenate([np.stack([p[:-1], p[1:]], 1) for p in pieces])
    half = (cells[:, 1] - cells[:, 0]) / 2
    log_x = (cells.mean(1)[:, None] + half[:, None] * nodes).ravel()
    with np.errstate(divide="ignore"):
        mass = np.log((half[:, None] * gauss).ravel())
    mass = mass + _log_chi2(log_x, batch)
    kept = (mass > mass.max() - 4000) & ((log_x < turn) if common else True)
    log_x, mass = log_x[kept], mass[kept]
    first = (1 - step * np.exp(log_x)) ** 2
    if size == 1:
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(first), -1400.0) / 2, mass
    # cells that widen away from the mode of ln Y, whose width is √(2/(D−1)); large κ looks far above it
    width = math.sqrt(2 / (size - 1))
    out = [np.geomspace(width / 2, reach, 12) for reach in (40 * width + 40 / (size - 1), 6 * width + 6)]
    edges = math.log(size - 1) + np.concatenate([-out[0][::-1], [0.0], out[1]])
    y_nodes, y_gauss = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges) / 2
    log_y = ((edges[:-1] + half)[:, None] + half[:, None] * y_nodes).ravel()
    y_mass = np.log((half[:, None] * y_gauss).ravel()) + _log_chi2(log_y, size - 1)
    square = first[:, None] + step**2 * np.exp(log_x[:, None] + log_y[None, :])
    return (np.log(square) / 2).ravel(), (mass[:, None] + y_mass[None, :]).ravel()


def _log_chi2(logs: Array, degrees: int) -> Array:
    """Log density of ln X, X ~ χ²."""
    return np.asarray(degrees / 2 * (logs - math.log(2)) - np.exp(logs) / 2 - gammaln(degrees / 2))
