"""Tails of the stationary law: Kesten's exponent in discrete time, and the bulk exponent, which is another number."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.results import Estimate, mean_of

_NOISES = ("gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional")
_LARGEST = 4096.0  # exponents beyond have no practical meaning
_GROUPS = 16


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
    Limit: κ = 2 at η = 2B/(a(B+1+D)), the second-moment edge. η → 0 in one dimension: κ → 1.7955607 B/(ηa) (= e^{1+W(1/e)}/2), the
    rare large batches that no diffusion sees.

    Reference: Kesten (1973), Acta Math. 131, for E|·|^κ = 1; Ziyin, Liu, Mori, Ueda (2022) call the bulk exponent "the tail index": they agree at
    κ = 2 alone (`bulk_exponent`). Isotropic D derived here.

    >>> round(tail_exponent(curvature=1.0, learning_rate=1.0, batch_size=4), 5)
    3.50468
    >>> round(tail_exponent(curvature=1.0, learning_rate=0.25, batch_size=1, num_params=4), 5)
    4.39129
    """
    size, batch = _checks.integer("num_params", num_params), _checks.integer("batch_size", batch_size)
    step = _checks.positive("learning_rate", learning_rate) * _checks.positive("curvature", curvature) / batch
    logs, weights = _log_factors(step, batch, size)

    def growth(kappa: float) -> float:
        """Ln E|J u|^κ."""
        peak = float((kappa * logs + weights).max())
        return peak + math.log(float(np.exp(kappa * logs + weights - peak).sum()))

    drift = float(np.sum(logs * np.exp(weights)))
    if drift >= 0:
        msg = f"learning_rate must keep E ln|factor| below 0 for a stationary law, but it is {drift:.6g} at {learning_rate:.6g}."
        raise ValueError(msg)
    high = 1.0
    while growth(high) < 0:
        high *= 2
        if high > _LARGEST:
            return math.inf
    low = high / 2
    while growth(low) >= 0:
        low /= 2
    return float(brentq(growth, low, high, xtol=1e-12, rtol=1e-13))


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

    Reference: Kesten (1973), Random difference equations and renewal theory for products of random matrices, Acta Math. 131.

    >>> round(multiplier_tail_exponent([2.0, 0.5, 0.5]), 12)  # (2^κ + 2·2^−κ)/3 = 1
    1.0
    """
    size = np.abs(_checks.vector("multipliers", multipliers))
    share = np.full(len(size), 1 / len(size)) if weights is None else _checks.vector("weights", weights, len(size))
    if share.min() < 0 or abs(share.sum() - 1) > 1e-9:
        msg = f"weights must be probabilities that sum to 1, got a sum of {share.sum():.6g}."
        raise ValueError(msg)
    if size.max() <= 1:
        return math.inf
    kept = size > 0
    logs, share = np.log(size[kept]), share[kept]
    if kept.all() and share @ logs >= 0:
        msg = f"multipliers must contract on average, but the mean of ln|m| is {share @ logs:.6g}: there is no stationary law."
        raise ValueError(msg)

    def growth(kappa: float) -> float:
        top = kappa * logs.max()
        return float(top + np.log(share @ np.exp(kappa * logs - top)))

    high = 1.0
    while growth(high) < 0:
        high *= 2
    low = high / 2
    while growth(low) >= 0:
        low /= 2
    return float(brentq(growth, low, high, xtol=1e-13, rtol=1e-13))


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
    returns        κ       ()      dimensionless `Estimate`, from the 16 groups
    =============  ======  ======  ==========================================

    Assumptions: infinitely many data, label noise, no momentum. The bias is of order 16/num_particles, is not in the standard error, and was +0.2 % to
    +0.5 % at κ = 6 to 9 by default: compare two values of num_particles.
    Limit: isotropic H gives `tail_exponent`; κ = 2 at the second-moment edge Σ 1/(2/(ηa_i) − 1 − 1/B) = B.

    Reference: Kesten (1973), Acta Math. 131; Gurbuzbalaban, Simsekli, Zhu (2021), The heavy-tail phenomenon in SGD. No closed form is known.

    >>> found = tail_exponent_estimate([[1.0, 0.0], [0.0, 1.0]], learning_rate=0.5, batch_size=1, num_particles=256, num_steps=60)
    >>> abs(found.value - 2) < 0.25, found.n  # 2 exactly: this is the second-moment edge
    (True, 16)
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    rate, batch = _checks.positive("learning_rate", learning_rate), _checks.integer("batch_size", batch_size)
    particles = _checks.integer("num_particles", num_particles, low=8 * _GROUPS) // _GROUPS
    steps, seed = _checks.integer("num_steps", num_steps, low=20), _checks.integer("seed", seed, low=0)
    root = np.linalg.cholesky(hessian)
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

    def root_of(group: int) -> float:
        low = high = 1.0
        while growth(low, group) >= 0:
            low, high = low / 1.5, low
            if low < 0.02:
                msg = f"learning_rate must keep the Lyapunov exponent below 0 for a stationary law, got {rate:.6g}."
                raise ValueError(msg)
        while low == high or growth(high, group) < 0:
            low, high = high, 1.5 * high
            if high > _LARGEST:
                msg = f"learning_rate must be large enough to show a power law, but at {rate:.6g} κ is beyond {_LARGEST:g}."
                raise ValueError(msg)
        return float(brentq(growth, low, high, args=(group,), xtol=1e-3))

    return mean_of(np.array([root_of(group) for group in range(_GROUPS)]))


def bulk_exponent(*, curvature: float, learning_rate: float, batch_size: int, noise: str = "gaussian_inputs") -> float:
    r"""Exponent φ of the power law L^{−φ} that describes the *bulk* of the stationary density, by matching its exact variance.

    Equation: gaussian_inputs φ = ½ + B/(ηa) − B/2; loss_proportional (C = 2LH) φ = 1 + B/(ηa) − B/2; as stochastic differential equations (η → 0)
    ½ + B/(2ηa) + ½ and 1 + B/(ηa). Density ∝ (L* + ½aθ²)^{−φ}; its own tail is P(|θ| > r) ∝ r^{−(2φ−1)}.

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    curvature      a       ()     loss/parameter²
    learning_rate  η       ()     parameter²/loss
    batch_size     B       ()     examples a step; any number > 0
    noise          –       –      "gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional"
    returns        φ       ()     dimensionless
    =============  ======  =====  ==========================================

    Assumptions: one dimension (or isotropic noise), label noise. Maximum-likelihood fits of 10⁵ samples agree to 1 %.
    Limit: 2φ − 1 is `tail_exponent` only where both are 2; elsewhere the true tail is another: never mix the two.

    Reference: Ziyin, Liu, Mori, Ueda (2022), §6.6 (β = 2B/(ηa) − B = 2φ − 1, there called the tail index); Mori, Ziyin, Liu, Ueda (2022), eq. (18),
    the loss-proportional SDE. Finite η by variance matching derived here; "sde_gaussian_inputs" has the exact noise 2LA + Aδδ'A: B/(ηa) + 1 = 2φ − 1.

    >>> bulk_exponent(curvature=1.0, learning_rate=0.5, batch_size=4), bulk_exponent(
    ...     curvature=1.0, learning_rate=0.5, batch_size=4, noise="loss_proportional")
    (6.5, 7.0)
    """
    kind = _checks.one_of("noise", noise, _NOISES)
    batch = _checks.positive("batch_size", batch_size)
    cold = batch / (_checks.positive("learning_rate", learning_rate) * _checks.positive("curvature", curvature))
    if kind.startswith("sde"):
        return 1 + (cold / 2 if kind == "sde_gaussian_inputs" else cold)
    found = (0.5 if kind == "gaussian_inputs" else 1.0) + cold - batch / 2
    if found <= 0.5:
        msg = f"learning_rate must be below {2 * learning_rate * cold / batch:.6g}: beyond it no density of this form is normalisable, got {learning_rate:.6g}."
        raise ValueError(msg)
    return found


@dataclass(frozen=True, eq=False)
class LossPowerLaw:
    """Stationary law of a quadratic valley under noise proportional to the loss, C = 2LH.

    Attributes
    ----------
    exponent
        φ in density ∝ L^{−φ}, for the stiffest direction's noise; exact for the SDE where that noise is isotropic.
    mean_loss
        E L, loss.
    covariance
        Σ, (D, D), parameter².
    normalisable
        Whether L^{−φ} has a finite integral in the D dimensions: D < 2φ.
    """

    exponent: float
    mean_loss: float
    covariance: Array
    normalisable: bool


def loss_power_law(
    hessian: ArrayLike, *, minimum_loss: float, learning_rate: float, batch_size: float, time: str = "discrete"
) -> LossPowerLaw:
    r"""Stationary law of SGD in a quadratic valley whose noise is proportional to the loss, C = 2LH.

    Equation: discrete Σ = (2η/B) E L (2 − ηH)⁻¹, E L = L*/(1 − (η/B) Σ h_i/(2 − ηh_i)); continuous Σ = (η/B) E L · I,
    E L = L*/(1 − η Tr H/(2B)); density ∝ L^{−φ}, φ of `bulk_exponent` at λ_max.

    =============  ======  ======  ==========================================
    argument       symbol  shape   scale
    =============  ======  ======  ==========================================
    hessian        H       (D, D)  curvature of the mean loss
    minimum_loss   L*      ()      loss, > 0
    learning_rate  η       ()      parameter²/loss
    batch_size     B       ()      examples a step; any number > 0
    returns        –       –       `LossPowerLaw`
    =============  ======  ======  ==========================================

    Assumptions: mean squared error, residuals decoupled from their gradients, H frozen. The moments are exact for any H; the power law only for
    isotropic noise.
    Limit: L* → 0 collapses onto the minimum. E L is finite iff the denominator is positive (continuous: Tr H < 2B/η), a stricter bound than
    normalisability; beyond it the call raises.

    Reference: Mori, Ziyin, Liu, Ueda (2022), Power-law escape rate of SGD, eqs. (18) and (19); moments and discrete time derived here.

    >>> law = loss_power_law([[1.0]], minimum_loss=0.01, learning_rate=0.1, batch_size=0.5)
    >>> round(law.mean_loss, 8), law.covariance.round(8), law.exponent
    (0.01117647, array([[0.00235294]]), 5.75)
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    bottom, rate = _checks.positive("minimum_loss", minimum_loss), _checks.positive("learning_rate", learning_rate)
    batch = _checks.positive("batch_size", batch_size)
    values, vectors = np.linalg.eigh(hessian)
    slack = 2 - rate * values if time == "discrete" else np.full(len(values), 2.0)
    used = math.inf if slack.min() <= 0 else rate / batch * float(np.sum(values / slack))
    if used >= 1:
        msg = f"learning_rate must be small enough for a finite mean loss: (η/B) Σ h/(2 − ηh) must be below 1, got {used:.6g} at {rate:.6g}."
        raise ValueError(msg)
    mean = bottom / (1 - used)
    sigma = vectors * (2 * rate / batch * mean / slack) @ vectors.T
    noise = "loss_proportional" if time == "discrete" else "sde_loss_proportional"
    phi = bulk_exponent(curvature=float(values[-1]), learning_rate=rate, batch_size=batch, noise=noise)  # type: ignore[arg-type]
    return LossPowerLaw(phi, mean, (sigma + sigma.T) / 2, len(values) < 2 * phi)


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


def _log_factors(step: float, batch: int, size: int) -> tuple[Array, Array]:
    """ln|Ju| and log weights on a grid: X ~ χ²_B in ln X, split at the zero of 1 − step·X, times Y ~ χ²_{D−1}."""
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
    kept = mass > mass.max() - 4000
    log_x, mass = log_x[kept], mass[kept]
    first = (1 - step * np.exp(log_x)) ** 2
    if size == 1:
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(first), -1400.0) / 2, mass
    y_nodes, y_gauss = np.polynomial.legendre.leggauss(160)
    width = 8 * math.sqrt(2 / (size - 1)) + 6
    log_y = math.log(size - 1) + (y_nodes - 0.55) * width * 1.6
    y_mass = np.log(y_gauss * width * 1.6) + _log_chi2(log_y, size - 1)
    square = first[:, None] + step**2 * np.exp(log_x[:, None] + log_y[None, :])
    return (np.log(square) / 2).ravel(), (mass[:, None] + y_mass[None, :]).ravel()


def _log_chi2(logs: Array, degrees: int) -> Array:
    """Log density of ln X, X ~ χ²."""
    return np.asarray(degrees / 2 * (logs - math.log(2)) - np.exp(logs) / 2 - gammaln(degrees / 2))
