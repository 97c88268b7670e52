"""First-passage times, exact: of a one-dimensional diffusion by quadrature, of SGD's own chain by an integral equation.

Times of a diffusion beyond float64 are infinity, without a warning; `log=True` keeps their digits. The chain's integral equation has
no logarithmic form: times above `LONGEST` steps are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp, ndtr

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.escape.escape_rate import saturated
from gradnoise.theory.stationary.covariance import stationary_covariance

Curve = Callable[[Array], ArrayLike]
LONGEST = 1e11  # steps: the linear system is singular to about one over the time, so float64 has four digits left here
MOST_NODES = 4000
MOST_POINTS = 10_000  # the equation's matrix takes 800 MB


def diffusion_passage_time(
    slope: Curve,
    diffusion: Curve,
    *,
    start: float,
    target: float,
    low: float,
    num_points: int = 20_001,
    log: bool = False,
) -> float:
    r"""Mean time in which dθ = −L'(θ) dt + √(2D(θ)) dW (Itô) first reaches `target`, by quadrature.

    Equation: τ = ∫_start^target dy e^{ψ(y)} ∫_low^y dz e^{−ψ(z)}/D(z), ψ(y) = ∫ L'/D.

    ==========  ======  =====  ===========================================
    argument    symbol  shape  scale
    ==========  ======  =====  ===========================================
    slope       L'      –      function of an array of θ; loss/parameter
    diffusion   D       –      function of an array of θ; parameter²/time
    start       –       ()     parameter
    target      –       ()     parameter, above start
    low         –       ()     parameter: reflecting end, where e^{−ψ} has died out
    num_points  –       ()     grid points, odd; error O(1/num_points²) at a jump of D
    log         –       –      True: ln τ, finite where τ is beyond float64 (infinity)
    returns     τ       ()     time: η a step
    ==========  ======  =====  ===========================================

    Assumptions: one dimension, D > 0. A symmetric exit from both sides is a passage that starts at low = the centre.
    Limit: D = T constant and T → 0 give Kramers' 2π e^{ΔL/T}/√(h*|h_s|) up to the barrier's top twice that rate.

    Reference: Gardiner (2009), Stochastic Methods, §5.5. Itô is what the chain of SGD is: the anti-Itô form of D differs by
    a factor up to h_a/|h_b| in the rate.

    >>> linear = diffusion_passage_time(lambda x: 0 * x, lambda x: 0.5 + 0 * x, start=0.0, target=1.0, low=0.0)
    >>> round(linear, 6)
    1.0
    >>> cold = {"start": 0.0, "target": 1.0, "low": -1.0, "log": True}  # L = |θ|: τ → 2T e^{1/T}
    >>> round(float(diffusion_passage_time(np.sign, lambda x: 1e-3 + 0 * x, **cold) - np.log(2e-3)), 3)
    1000.0
    """
    start, target = _checks.real("start", start), _checks.real("target", target)
    low = _checks.real("low", low)
    if not low <= start < target:
        msg = f"start must lie in [low, target) = [{low:g}, {target:g}), got {start:g}."
        raise ValueError(msg)
    grid = np.linspace(low, target, _checks.integer("num_points", num_points, low=101, high=10_000_000))
    middle, width = (grid[1:] + grid[:-1]) / 2, grid[1] - grid[0]
    noise = _positive_curve("diffusion", diffusion, middle)
    drift = _curve("slope", slope, middle)
    if not np.isfinite(drift).all():
        msg = "slope must be finite between low and target, but is not."
        raise ValueError(msg)
    rise = drift / noise * width
    bottom = np.concatenate([[0.0], np.cumsum(rise)])
    # per cell: ψ linear, so ∫e^{−ψ}/D and ∫e^{ψ} are exact for a constant drift and D
    inner = -bottom[:-1] + _log_mean_exponential(-rise) + np.log(width / noise)
    outer = bottom[:-1] + _log_mean_exponential(rise) + np.log(width)
    before = np.concatenate([[-np.inf], np.logaddexp.accumulate(inner)[:-1]])
    # within a cell the inner integral grows from its start: its own part is the double integral over the cell's triangle
    own = _log_triangle(rise) + np.log(width**2 / noise)
    total = float(logsumexp(np.logaddexp(outer + before, own)[middle > start]))
    return total if _checks.flag("log", log) else saturated(total)


def chain_passage_time(
    slope: Curve,
    noise_variance: Curve,
    *,
    learning_rate: float,
    start: float,
    target: float,
    low: float,
    num_points: int = 1201,
) -> float:
    r"""Mean number of steps in which SGD with Gaussian noise, θ ← θ − η(L'(θ) + √s(θ) ξ), first exceeds `target`.

    Equation: τ(x) = 1 + ∫_low^target p(y|x) τ(y) dy, p(·|x) normal of mean x − ηL'(x) and variance η²s(x); Gauss–Legendre nodes.

    ==============  ======  =====  ===========================================
    argument        symbol  shape  scale
    ==============  ======  =====  ===========================================
    slope           L'      –      function of an array of θ; loss/parameter
    noise_variance  s       –      function of an array of θ; gradient² a step (C/B)
    learning_rate   η       ()     parameter²/loss
    start           –       ()     parameter
    target          –       ()     parameter, above start
    low             –       ()     parameter: what jumps below is put at `low`
    num_points      –       ()     nodes; several must lie within one step's η√s
    returns         τ       ()     steps
    ==============  ======  =====  ===========================================

    Assumptions: one dimension, Gaussian noise (real minibatches of few examples have other tails: factors 1.5 to 8 at B = 1).
    Limit: η → 0 at fixed ηs: η τ tends to `diffusion_passage_time` with D = ηs/2.

    Reference: derived here; renewal equation of the mean first-passage time of a Markov chain.

    >>> setting = {"learning_rate": 1.0, "start": 0.0, "target": 1.0, "low": -1.0}
    >>> round(chain_passage_time(lambda x: x, lambda x: 1 + 0 * x, **setting), 4)  # η L' = θ: independent draws
    6.303
    """
    rate = _checks.positive("learning_rate", learning_rate)
    low, target = _checks.real("low", low), _checks.real("target", target)
    start = _checks.within("start", start, low, target)
    count = _checks.integer("num_points", num_points, low=11, high=MOST_POINTS)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = low + (nodes + 1) * (target - low) / 2, weights * (target - low) / 2
    points = np.append(nodes, [low, start])
    mean = points - rate * _curve("slope", slope, points)
    spread = rate * np.sqrt(_positive_curve("noise_variance", noise_variance, points))
    if (target - low) / count * 2 > spread.min():
        msg = f"num_points must be at least {int(2 * (target - low) / spread.min()) + 1} to resolve one step's noise, got {count}."
        raise ValueError(msg)
    kernel = np.exp(-(((nodes[None, :] - mean[:, None]) / spread[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi) * weights
    kernel = kernel / spread[:, None]
    below = ndtr((low - mean) / spread)
    # unknowns: τ at the nodes, and at `low`
    system = np.zeros((count + 1, count + 1))
    system[:, :count], system[:, count] = kernel[:-1], below[:-1]
    wish = f"target must be nearer or learning_rate larger, got {target:g} and {rate:g}"
    return _first_step(system, np.append(kernel[-1], below[-1]), wish)


def quadratic_exit_time(
    *, curvature: float, gradient_variance: float, learning_rate: float, batch_size: int, radius: float
) -> float:
    r"""Mean number of steps in which SGD on ½hθ² leaves |θ| < b, started at the minimum; exact in discrete time.

    Equation: τ(x) = 1 + ∫_{−b}^{b} p(y|x) τ(y) dy with y ~ N((1−ηh)x, η²c/B).

    =================  ======  =====  ==============================
    argument           symbol  shape  scale
    =================  ======  =====  ==============================
    curvature          h       ()     loss/parameter²
    gradient_variance  c       ()     gradient², per example
    learning_rate      η       ()     parameter²/loss, below 2/h
    batch_size         B       ()     examples a step
    radius             b       ()     parameter
    returns            τ       ()     steps
    =================  ======  =====  ==============================

    Assumptions: quadratic loss up to the exit, constant Gaussian noise.
    Limit: ln τ → b²/(2Σ), Σ the variance in *discrete* time; ηh and 2 − ηh give the same time at the same b²/Σ. This is an exit through a
    slope: a smooth barrier has no such correction (`kramers_rate`).

    Reference: derived here; Liu, Ziyin, Ueda (2021), Noise and fluctuation of finite learning rate SGD, for the exponent.

    >>> law = {"curvature": 1.0, "gradient_variance": 4.0, "learning_rate": 0.5, "batch_size": 4}
    >>> round(quadratic_exit_time(radius=3 * (1 / 3) ** 0.5, **law), 3)  # Σ = 1/3: three standard deviations
    397.461
    """
    h, c = _checks.positive("curvature", curvature), _checks.positive("gradient_variance", gradient_variance)
    b, rate = _checks.positive("radius", radius), _checks.positive("learning_rate", learning_rate)
    # raises beyond the edge of stability
    stationary_covariance([[h]], [[c]], learning_rate=rate, batch_size=batch_size)
    spread = rate * np.sqrt(c / batch_size)
    count = max(60, int(16 * b / spread) + 1)
    if count > MOST_NODES:
        msg = f"learning_rate is too small for the exact chain, got {rate:g} with radius {b:g}: a step's noise is {spread / b:.2g} of the radius. Use diffusion_passage_time."
        raise ValueError(msg)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = b * nodes, b * weights
    gap = (nodes[None, :] - (1 - rate * h) * np.append(nodes, 0.0)[:, None]) / spread
    kernel = np.exp(-(gap**2) / 2) / np.sqrt(2 * np.pi) / spread * weights
    wish = f"radius must be smaller or learning_rate larger, got {b:g} and {rate:g}"
    return _first_step(kernel[:-1], kernel[-1], wish)


def bowl_passage_time(
    *,
    curvature: float,
    learning_rate: float,
    batch_size: int,
    loss_ratio: float,
    num_directions: int = 1,
    log: bool = False,
) -> float:
    r"""Mean time in which the loss of a quadratic bowl first exceeds c L* under noise proportional to the loss, from the minimum.

    Equation: τ = ∫_0^R dr r^{1−n} e^{ψ(r)} ∫_0^r dz z^{n−1} e^{−ψ(z)}/D(z), D = TL, T = ηh/B, L = L* + ½hr², hR² = 2(c−1)L*.

    ==============  ======  =====  ==========================================
    argument        symbol  shape  scale
    ==============  ======  =====  ==========================================
    curvature       h       ()     loss/parameter², the same in every direction
    learning_rate   η       ()     parameter²/loss
    batch_size      B       ()     examples a step
    loss_ratio      c       ()     dimensionless, > 1
    num_directions  n       ()     noisy directions
    log             –       –      True: ln τ, finite where τ is beyond float64 (infinity)
    returns         τ       ()     time: η a step
    ==============  ======  =====  ==========================================

    Assumptions: continuous time, Gaussian noise 2LH/B. Real minibatches at B = 1 take 1.6 to 8 times as long (c = 1.2 to 2.4).
    Limit: d ln τ/d ln c → φ − (n/2) c/(c−1), φ = 1 + B/(ηh), which is the printed φ − n/2 only for c ≫ 1: there is no saddle.

    Reference: Mori, Ziyin, Liu, Ueda (2022), Power-law escape rate of SGD, fig. 3b (its dashed slopes are φ − n/2); quadrature derived here.

    >>> round(bowl_passage_time(curvature=1.0, learning_rate=0.1, batch_size=1, loss_ratio=1.2), 3)
    4.076
    """
    h = _checks.positive("curvature", curvature)
    rate = _checks.positive("learning_rate", learning_rate)
    if rate * h >= 2:
        msg = f"learning_rate must be below the stability edge {2 / h:.6g}, got {rate:g}."
        raise ValueError(msg)
    heat = rate * h / _checks.integer("batch_size", batch_size)
    if (ratio := _checks.real("loss_ratio", loss_ratio)) <= 1:
        msg = f"loss_ratio must be > 1, got {ratio:g}."
        raise ValueError(msg)
    count = _checks.integer("num_directions", num_directions)
    if heat * h < 1e-290:
        msg = f"curvature must be larger: the noise ηh²/B is {heat * h:.3g}. Change the unit of the parameter."
        raise ValueError(msg)
    # in units L* = 1, r = √(2/h) s: drift −h s, D = T h (1 + s²)/2; the n − 1 other directions push outwards by (n−1)D/s
    end = np.sqrt(ratio - 1)

    def slope(s: Array) -> Array:
        return h * (s - (count - 1) * heat * (1 + s * s) / (2 * s))

    return diffusion_passage_time(slope, lambda s: heat * h * (1 + s * s) / 2, start=0.0, target=end, low=0.0, log=log)


def _first_step(system: Array, row: Array, wish: str) -> float:
    """Solve τ = 1 + K τ at the nodes and take one step of `row` into them; refuse, with a wish, what float64 cannot resolve."""
    times = np.linalg.solve(np.eye(len(system)) - system, np.ones(len(system)))
    value = float(1 + row @ times)
    if not 1 <= value <= LONGEST:
        msg = (
            f"{wish}: the mean passage time must be below {LONGEST:.0e} steps to be resolved in float64, and here it is longer. "
            "Its exponent is ln τ ≈ b²/(2Σ) for a quadratic region; `kramers_rate` has it for a smooth barrier."
        )
        raise ValueError(msg)
    return value


def _curve(name: str, curve: Curve, points: Array) -> Array:
    values = _checks.array(f"{name}(x)", _checks.function(name, curve)(points))
    return np.array(np.broadcast_to(values, points.shape))


def _positive_curve(name: str, curve: Curve, points: Array) -> Array:
    values = _curve(name, curve, points)
    if values.min() <= 0:
        msg = f"{name} must be > 0 between low and target, but its smallest value there is {values.min():.6g}."
        raise ValueError(msg)
    return values


def _log_mean_exponential(x: Array) -> Array:
    """Logarithm of (eˣ − 1)/x, from e^{−|x|} alone, which cannot overflow."""
    size = np.maximum(np.abs(x), 1e-8)
    return np.asarray(np.maximum(x, 0.0) + np.log(-np.expm1(-size) / size))


def _log_triangle(x: Array) -> Array:
    """Logarithm of ∫₀¹ds ∫₀ˢdt e^{x(s−t)} = (eˣ − 1 − x)/x²."""
    small, steep = np.abs(x) < 1e-3, x > 30.0
    middle, large = np.where(small | steep, 1.0, x), np.where(steep, x, 30.0)
    value = np.log(np.where(small, 0.5 + x / 6 + x * x / 24, (np.expm1(middle) - middle) / middle**2))
    return np.where(steep, large + np.log1p(-(1 + large) * np.exp(-large)) - 2 * np.log(large), value)
