"""LinearChain: the one object of theory. On a quadratic every method here is z ← F z + noise, θ = R z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.power_sums import NEGLIGIBLE, power_sums
from gradnoise.theory.linear.stein import stein


@dataclass(frozen=True)
class NotLinear:
    """What a process returns where no linear law exists; false in a condition.

    >>> law = NotLinear("Adam divides by its own gradients")
    >>> bool(law), law.reason
    (False, 'Adam divides by its own gradients')
    """

    reason: str

    def __bool__(self) -> Literal[False]:
        return False


@dataclass(frozen=True, eq=False)
class LinearChain:
    r"""Linear stationary chain z_{t+1} = F z_t + ζ_t, θ_t = R z_t, with independent ζ of covariance Ω and mean zero.

    The law of SGD, heavy ball, Nesterov, Langevin and every other consistent linear method on a quadratic. All second
    moments are exact for any noise distribution of finite variance.

    ==========  ======  ======  ===============================
    field       symbol  shape   scale
    ==========  ======  ======  ===============================
    transition  F       (n, n)  per step
    noise       Ω       (n, n)  state², added each step
    readout     R       (D, n)  parameters per unit of state
    ==========  ======  ======  ===============================

    Equation: z_{t+1} = F z_t + ζ_t, Cov ζ = Ω, θ_t = R z_t; Z = FZFᵀ + Ω, Σ = RZRᵀ.
    Assumptions: spectral radius of F below 1, else every quantity raises ValueError; ζ independent from step to step.
    Limit: F = 0 is white noise: Σ = V = RΩRᵀ and every autocorrelation time is 1.

    Reference: textbook moments of a vector autoregression, e.g. Lütkepohl (2005), New Introduction to Multiple Time Series
    Analysis, §2.1; for SGD Wang, Ding, Huggins (2026), arXiv 2606.00293. The quadratic time is derived here.

    >>> chain = LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.3], [0.3, 0.36]], [[1.0, 0.0], [0.0, 1.0]])
    >>> chain.covariance
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> round(chain.iact([0.0, 1.0]), 6), round(chain.relaxation_time, 3)
    (9.0, 4.481)
    """

    transition: Array
    noise: Array
    readout: Array

    def __post_init__(self) -> None:
        transition = _checks.square("transition", self.transition)
        readout = np.atleast_2d(_checks.array("readout", self.readout))
        if readout.ndim != 2 or readout.shape[1] != transition.shape[0]:
            msg = f"readout must have shape (D, {transition.shape[0]}), got shape {readout.shape}."
            raise ValueError(msg)
        object.__setattr__(self, "transition", transition)
        object.__setattr__(self, "noise", _checks.symmetric("noise", self.noise, transition.shape[0], definite="semi"))
        object.__setattr__(self, "readout", readout)

    def __repr__(self) -> str:
        return (
            f"LinearChain(num_params={self.readout.shape[0]}, state={self.transition.shape[0]}, "
            f"spectral_radius={self.spectral_radius:.6g})"
        )

    @cached_property
    def spectral_radius(self) -> float:
        """Largest |eigenvalue| of F, a number: ρ = max|λ(F)|. The chain has a stationary law when it is below 1.

        Scale: dimensionless, per step. Limit: SGD has max|1 − ηλ(H)|.

        >>> LinearChain([[0.5, 9.0], [0.0, -0.8]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0]]).spectral_radius
        0.8
        """
        return float(np.abs(np.linalg.eigvals(self.transition)).max())

    @property
    def relaxation_time(self) -> float:
        """Steps in which the slowest direction forgets a factor e, a number: −1/ln ρ with ρ = `spectral_radius`.

        Scale: steps. Limit: 1/(1 − ρ) as ρ → 1; 0 for white noise.

        >>> round(LinearChain([[0.5]], [[0.75]], [[1.0]]).relaxation_time, 6)
        1.442695
        """
        self._require_stable()
        return -1.0 / math.log(self.spectral_radius) if self.spectral_radius > 0 else 0.0

    @cached_property
    def state_covariance(self) -> Array:
        """Covariance of the state, (n, n): Z = F Z Fᵀ + Ω.

        Scale: state². Limit: F = 0 gives Ω.

        >>> LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.3], [0.3, 0.36]], [[1.0, 0.0]]).state_covariance
        array([[1. , 0.5],
               [0.5, 1. ]])
        """
        self._require_stable()
        return _checks.symmetrised(stein(self.transition, self.noise))

    @cached_property
    def covariance(self) -> Array:
        """Σ = R Z Rᵀ, the stationary covariance of θ, (D, D).

        Scale: parameter². Limit: R = I gives `state_covariance`.

        >>> LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.3], [0.3, 0.36]], [[1.0, 2.0]]).covariance
        array([[7.]])
        """
        return _checks.symmetrised(self.readout @ self.state_covariance @ self.readout.T)

    def autocovariance(self, lag: int) -> Array:
        """Cov(θ_{t+lag}, θ_t) = R F^lag Z Rᵀ, (D, D); a negative lag gives the transpose.

        Scale: parameter². Limit: lag 0 gives `covariance`; it dies out like the spectral radius to the power of the lag.

        >>> LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.3], [0.3, 0.36]], np.eye(2)).autocovariance(1)
        array([[0.5 , 0.25],
               [0.4 , 0.8 ]])
        """
        lag = _checks.integer("lag", lag, low=-(2**62))
        ahead = (
            self.readout @ np.linalg.matrix_power(self.transition, abs(lag)) @ self.state_covariance @ self.readout.T
        )
        return np.asarray(ahead if lag >= 0 else ahead.T)

    @cached_property
    def long_run_covariance(self) -> Array:
        """V = Σ_j Cov(θ_{t+j}, θ_t) over all lags = R (I−F)⁻¹ Ω (I−F)⁻ᵀ Rᵀ, (D, D); T·Var(mean of T steps) tends to it.

        Scale: parameter², times steps. Limit: SGD, heavy ball and Nesterov share H⁻¹SH⁻¹, whatever their rate.

        >>> LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.3], [0.3, 0.36]], np.eye(2)).long_run_covariance
        array([[3., 3.],
               [3., 9.]])
        """
        self._require_stable()
        gain = np.linalg.solve((np.eye(len(self.transition)) - self.transition).T, self.readout.T).T
        return _checks.symmetrised(gain @ self.noise @ gain.T)

    def average(self, window: int) -> Array:
        """Covariance of the mean of T = `window` steps, (D, D): D_T = R (U_T Z + Z U_Tᵀ − T Z) Rᵀ/T², U_T = Σ_j (T−j) Fʲ.

        Scale: parameter². Limit: T = 1 gives `covariance`; T·D_T → `long_run_covariance`.

        >>> LinearChain([[0.5]], [[0.75]], [[1.0]]).average(2)
        array([[0.75]])
        """
        window = _checks.integer("window", window)
        weighted = power_sums(self.transition, window)[2] @ self.state_covariance
        inner = weighted + weighted.T - window * self.state_covariance
        return _checks.symmetrised(self.readout @ inner @ self.readout.T) / window**2

    def ema(self, decay: float) -> Array:
        """Covariance of e ← ρ e + (1−ρ) θ, (D, D): (1−ρ)/(1+ρ) R [(I−ρF)⁻¹Z + Z(I−ρF)⁻ᵀ − Z] Rᵀ, ρ = `decay` in [0, 1).

        Scale: parameter². Limit: ρ = 0 gives `covariance`; ρ → 1 gives (1−ρ)/2 times `long_run_covariance`.

        >>> LinearChain([[0.5]], [[0.75]], [[1.0]]).ema(0.5).round(6)
        array([[0.555556]])
        """
        decay = _checks.within("decay", decay, 0.0, 1.0, closed="left")
        return (1 - decay) / (1 + decay) * self._read(_two_sided(decay * self.transition, self.state_covariance))

    def iact(self, direction: ArrayLike, *, quadratic: bool = False, thin: int = 1) -> float:
        r"""Integrated autocorrelation time τ = Σ_j corr(lag j), a number, in kept draws (one step in `thin` is kept).

        Of aᵀθ for a vector `direction` a (D,); with `quadratic=True` of (aᵀθ)², or of θᵀAθ for a matrix A (D, D). The variance
        estimated from T steps has relative standard error √(2τ/T) when θ is Gaussian.

        Scale: kept draws. Limit: white noise has 1; one mode f has (1+f)/(1−f), and (1+f²)/(1−f²) for its square.

        >>> chain = LinearChain([[0.5]], [[0.75]], [[1.0]])
        >>> round(chain.iact([1.0]), 6), round(chain.iact([1.0], quadratic=True), 6), round(chain.iact([1.0], thin=2), 6)
        (3.0, 1.666667, 1.666667)
        """
        direction = _direction(direction, self.readout.shape[0], quadratic)
        thinned = np.linalg.matrix_power(self.transition, _checks.integer("thin", thin))
        if not quadratic:
            variance = float(direction @ self.covariance @ direction)
            _require_positive(variance)
            return float(direction @ self._read(_two_sided(thinned, self.state_covariance)) @ direction) / variance
        form = np.outer(direction, direction) if direction.ndim == 1 else direction
        form = self.readout.T @ form @ self.readout
        seed = self.state_covariance @ form @ self.state_covariance
        variance = float(np.sum(form * seed))
        _require_positive(variance)
        return 2 * float(np.sum(form * stein(thinned, seed))) / variance - 1

    def worst_iact(self, *, quadratic: bool = False, thin: int = 1) -> float:
        r"""Largest integrated autocorrelation time over all directions, exact: max_a aᵀVa/aᵀΣa, a number.

        Linear: the largest generalised eigenvalue of V against Σ. Quadratic: the largest over *all* symmetric A of θᵀAθ, which
        is the leading eigenvalue of A → ½ Σ_j (Γ_j A Γ_jᵀ + Γ_jᵀ A Γ_j) over all lags (Γ_j whitened by Σ), found by Lanczos steps to 1e-6. Directions in which θ does
        not move (Σ singular) do not count. The quadratic time costs about 0.5 s for a state of 200 numbers, 17 s for 600.

        Scale: kept draws. Limit: SGD with commuting H and C has (2 − x)/x, and (1 + (1−x)²)/(1 − (1−x)²) for squares, x = ηλ_min < 1.

        >>> chain = LinearChain([[0.5, 0.0], [0.0, 0.8]], [[0.75, 0.0], [0.0, 0.36]], [[1.0, 0.0], [0.0, 1.0]])
        >>> round(chain.worst_iact(), 6), round(chain.worst_iact(quadratic=True), 6)
        (9.0, 4.555556)
        """
        thinned = np.linalg.matrix_power(self.transition, _checks.integer("thin", thin))
        whiten = _whitener(self.covariance)
        if not _checks.flag("quadratic", quadratic):
            long_run = self._read(_two_sided(thinned, self.state_covariance))
            return float(np.linalg.eigvalsh(whiten.T @ long_run @ whiten)[-1])
        return _worst_quadratic(thinned, self.state_covariance, self.readout.T @ whiten)

    def effective_sample_size(
        self, direction: ArrayLike, num_steps: int, num_chains: int = 1, *, quadratic: bool = False
    ) -> float:
        """Return the number of independent draws that num_chains·num_steps steps are worth: num_chains·num_steps/τ.

        Scale: draws. Limit: white noise is worth every step; τ is that of `iact`.

        >>> LinearChain([[0.5]], [[0.75]], [[1.0]]).effective_sample_size([1.0], 300, num_chains=2)
        200.0
        """
        steps, chains = _checks.integer("num_steps", num_steps), _checks.integer("num_chains", num_chains)
        return steps * chains / self.iact(direction, quadratic=quadratic)

    def _read(self, state: Array) -> Array:
        return _checks.symmetrised(self.readout @ state @ self.readout.T)

    def _require_stable(self) -> None:
        if not self.spectral_radius < 1:
            msg = (
                f"transition must have a spectral radius below 1, got {self.spectral_radius:.9g}: the chain has no stationary law. "
                "The usual cause is a learning rate beyond the stability edge, or a direction without curvature."
            )
            raise ValueError(msg)


def longest_memory(chain: LinearChain) -> float:
    """Return the larger of `worst_iact()` and `worst_iact(quadratic=True)`, the latter left out where it cannot be the larger.

    With the whitened transition G and W = (I+G)(I−G)⁻¹, whose symmetric part's largest eigenvalue is the linear time, the quadratic
    one is that of (W⊗1 + 1⊗W)⁻¹ + (W⁻¹⊗1 + 1⊗W⁻¹)⁻¹, at most 1/2m + 1/2m', m and m' the smallest eigenvalues of the symmetric
    parts of W and W⁻¹ (for a single mode this is equality).
    """
    linear = chain.worst_iact()
    return linear if _quadratic_at_most(chain) <= linear else max(linear, chain.worst_iact(quadratic=True))


def _quadratic_at_most(chain: LinearChain) -> float:
    if chain.readout.shape[0] != chain.readout.shape[1]:
        return math.inf
    whiten = _whitener(chain.state_covariance)
    inner = whiten.T @ chain.transition @ chain.state_covariance @ whiten
    one = np.eye(len(inner))
    total = 0.0
    for above, below in ((one + inner, one - inner), (one - inner, one + inner)):
        try:
            ratio: Array = np.asarray(np.linalg.solve(below, above))
        except np.linalg.LinAlgError:
            return math.inf
        least = float(np.linalg.eigvalsh(_checks.symmetrised(ratio))[0])
        if not least > 0:
            return math.inf
        total += 1 / (2 * least)
    return total * (1 - 1e-9)  # rounding: equality holds where all modes are alike


def checked_chain(chain: LinearChain) -> LinearChain:
    """Return `chain` if it is one."""
    if not isinstance(chain, LinearChain):
        msg = f"chain must be a LinearChain, got {_checks.shown(chain)}."
        raise TypeError(msg)
    return chain


def _two_sided(transition: Array, covariance: Array) -> Array:
    """Σ over all integer j of Cov(z_{t+j}, z_t) = (I−F)⁻¹Z + Z(I−F)⁻ᵀ − Z."""
    half = np.linalg.solve(np.eye(len(transition)) - transition, covariance)
    return np.asarray(half + half.T - covariance)


def _direction(direction: ArrayLike, size: int, quadratic: bool) -> Array:
    if _checks.flag("quadratic", quadratic) and np.ndim(direction) == 2:
        return _checks.symmetric("direction", direction, size)
    return _checks.vector("direction", direction, size)


def _require_positive(variance: float) -> None:
    if not variance > 0:
        msg = f"direction must be one in which the chain moves, but its stationary variance is {variance:.3g}."
        raise ValueError(msg)


def _whitener(covariance: Array) -> Array:
    """W with WᵀΣW = I on the range of Σ, shape (D, rank)."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-13 * values[-1]
    if not kept.any():
        msg = "noise must not be zero: the chain does not move, so it has no autocorrelation time."
        raise ValueError(msg)
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


def _worst_quadratic(transition: Array, state: Array, readout: Array) -> float:
    """Leading eigenvalue of A → Φ(A) + Φᵀ(A) − A with Φ(A) = Σ_{j≥0} Γ_j A Γ_jᵀ, Γ_j = RᵀFʲZR, where R whitens: RᵀZR = I."""
    rank = readout.shape[1]
    lead = state @ readout
    powers = [transition]
    while np.abs(powers[-1]).max() > NEGLIGIBLE**0.5:
        powers.append(powers[-1] @ powers[-1])

    def apply(flat: Array) -> Array:
        form = flat.reshape(rank, rank)
        ahead, back = lead @ form @ lead.T, readout @ form @ readout.T
        for power in powers:
            ahead = ahead + power @ ahead @ power.T
            back = back + power.T @ back @ power
        return np.asarray((readout.T @ ahead @ readout + lead.T @ back @ lead - form).ravel())

    if rank == 1:
        return float(apply(np.ones(1))[0])
    operator: Any = LinearOperator((rank * rank, rank * rank), matvec=apply, dtype=np.float64)
    start = np.eye(rank).ravel()  # the leading form is positive semidefinite (Perron), so this start never misses it
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
