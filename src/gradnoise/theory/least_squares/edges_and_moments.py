"""What the laws of least squares share: the problem in modes, and the record of its exact second moments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.least_squares.fourth_moments import LARGEST, FourthMoments
from gradnoise.theory.least_squares.second_moments import SecondMoments
from gradnoise.theory.linear.chain import LinearChain
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.stationary.linear_chain import chain_from_noise


@dataclass(frozen=True, eq=False)
class StabilityEdges:
    r"""Learning rates at which moments of minibatch SGD on least squares diverge, each at most the one before.

    ==============  ======  =====  ==============================================================================
    field           symbol  shape  scale
    ==============  ======  =====  ==============================================================================
    mean            η₁      ()     parameter²/loss (with P: divided by P); the mean diverges
    second_moment   η₂      ()     the same; the covariance is infinite from here on
    fourth_moment   η₄      ()     the same; a sample covariance has no standard error from here on
    ==============  ======  =====  ==============================================================================

    The fourth is computed when it is asked for (a second or so for 12 parameters, minutes with momentum).
    """

    mean: float
    second_moment: float
    _problem: ModalProblem = field(repr=False)

    @property
    def fourth_moment(self) -> float | None:
        """η₄ = sup{η: E|θ|⁴ < ∞}, a number, or None above 12 modes or without data.

        Scale: parameter²/loss. Limit: one input x = 1 has no noise in its curvature: 2, like both other edges.

        >>> from gradnoise.theory import least_squares_edges
        >>> round(least_squares_edges([[1.0], [1.0]], batch_size=1).fourth_moment, 6)
        2.0
        """
        return self._problem.fourth_edge


@dataclass(frozen=True, eq=False)
class LeastSquaresMoments:
    r"""Stationary mean and covariance of SGD on least squares, and everything that follows from second moments.

    =====================  ==========  ======  ==============================================================
    field                  symbol      shape   scale
    =====================  ==========  ======  ==============================================================
    mean                   θ*          (D,)    parameter; exact at any learning rate
    covariance             Σ           (D, D)  parameter²
    noise                  S           (D, D)  gradient², of one step's gradient, averaged over the law
    learning_rate          η           ()      parameter²/loss
    =====================  ==========  ======  ==============================================================

    `chain` is the `LinearChain` with the noise S: its autocovariance, long-run covariance, averages, EMA and linear
    autocorrelation times are exact for the state-dependent noise too; its *quadratic* times are those of Gaussian noise.
    """

    mean: Array
    covariance: Array
    noise: Array
    learning_rate: float
    excess_loss: float
    _problem: ModalProblem = field(repr=False)
    _modal_noise: Array = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"LeastSquaresMoments(num_params={len(self.mean)}, rank={len(self._problem.moments.curvatures)}, "
            f"learning_rate={self.learning_rate:.6g}, second_moment_edge={self.second_moment_edge:.6g})"
        )

    @cached_property
    def second_moment_edge(self) -> float:
        """η₂ = sup{η: E|θ|² < ∞}, a number: the learning rate from which on the covariance is infinite.

        Scale: parameter²/loss. Limit: one parameter, batch size 1: 2 E x²/E x⁴.

        >>> from gradnoise.theory import least_squares_moments
        >>> law = least_squares_moments([[1], [2]], [1, 1], learning_rate=0.1, batch_size=1)
        >>> round(law.second_moment_edge, 6)  # 2 (1 + 4)/(1 + 16)
        0.588235
        """
        return self._problem.moments.edge

    @cached_property
    def fourth_moment_edge(self) -> float | None:
        """η₄ = sup{η: E|θ|⁴ < ∞}, a number: beyond it a sample covariance has no standard error. None above 12 modes or without data.

        Scale: parameter²/loss. Limit: one parameter, batch size 1: E(1 − ηx²)⁴ = 1.

        >>> from gradnoise.theory import least_squares_moments
        >>> law = least_squares_moments([[1], [2]], [1, 1], learning_rate=0.1, batch_size=1)
        >>> round(((1 - law.fourth_moment_edge) ** 4 + (1 - 4 * law.fourth_moment_edge) ** 4) / 2, 6)
        1.0
        """
        return self._problem.fourth_edge

    @cached_property
    def second_moment_radius(self) -> float:
        """Factor r, a number, by which a deviation of the second moments from stationarity shrinks each step: r = lim |Σ_t − Σ|^{1/t}.

        Scale: dimensionless, per step. Limit: one parameter, batch size 1: E(1 − ηx²)²; 1 at the second-moment edge.

        >>> from gradnoise.theory import least_squares_moments
        >>> law = least_squares_moments([[1], [2]], [1, 1], learning_rate=0.1, batch_size=1)
        >>> round(law.second_moment_radius, 6)  # (0.81 + 0.36)/2
        0.585
        """
        return self._problem.moments.radius(self.learning_rate)

    @cached_property
    def chain(self) -> LinearChain:
        """The chain z ← F z + ζ with the averaged noise S, on the directions that the data see, (D, n) read-out R: θ = mean + R z.

        Scale: parameters. Limit: its covariance is `covariance`, at every learning rate below the edge.

        >>> from gradnoise.theory import least_squares_moments
        >>> law = least_squares_moments([[1], [2]], [1, 1], learning_rate=0.1, batch_size=1)
        >>> bool(np.isclose(law.chain.covariance[0, 0], law.covariance[0, 0]))
        True
        """
        found, basis = self._problem.moments, self._problem.basis
        chain = chain_from_noise(
            np.diag(found.curvatures),
            self._modal_noise,
            learning_rate=self.learning_rate,
            momentum=found.momentum,
            nesterov=found.nesterov,
        )
        return replace(chain, readout=basis @ chain.readout)


@dataclass(frozen=True, eq=False)
class ModalProblem:
    """Least squares in modes, θ = Bφ, BBᵀ = P, BᵀHB = diag(h), the directions without curvature left out."""

    basis: Array
    moments: SecondMoments
    fourth: FourthMoments | None

    @cached_property
    def fourth_edge(self) -> float | None:
        """Edge of the fourth moment where it is computed."""
        if self.fourth is None or len(self.moments.curvatures) > LARGEST:
            return None
        return self.fourth.edge(self.moments.edge)

    @property
    def edges(self) -> StabilityEdges:
        """All three edges."""
        return StabilityEdges(self.moments.mean_edge, self.moments.edge, self)

    def solve(self, learning_rate: float, mean: Array, fixed: Array) -> LeastSquaresMoments:
        """Return the record for the noise S = fixed + f K(Σ), `fixed` (r, r) per step in modes."""
        rate = _checks.positive("learning_rate", learning_rate)
        if (slowest := rate * float(self.moments.curvatures.min())) < 1e-140:  # its square divides
            msg = f"learning_rate must be larger: times the smallest curvature it is {slowest:.3g}, and float64 needs 1e-140."
            raise ValueError(msg)
        if rate >= self.moments.edge:
            msg = (
                f"learning_rate must be below the second-moment edge {self.moments.edge:.6g}, got {rate:.6g}: "
                f"beyond it the minibatch noise that the spread itself makes outgrows it, and the covariance is infinite "
                f"(the mean is stable up to {self.moments.mean_edge:.6g})."
            )
            raise ValueError(msg)
        spread = self.moments.covariance(rate, fixed)
        noise = fixed + self.moments.factor * self.moments.inputs.apply(spread)
        back = np.linalg.pinv(self.basis)
        covariance, gradient = self.basis @ spread @ self.basis.T, back.T @ noise @ back
        excess = float(self.moments.curvatures @ np.diagonal(spread)) / 2
        return LeastSquaresMoments(
            mean,
            _checks.symmetrised(covariance),
            _checks.symmetrised(gradient),
            rate,
            excess,
            self,
            _checks.symmetrised(noise),
        )


def modal_basis(hessian: Array, preconditioner: ArrayLike | None, inputs: str = "X") -> tuple[Array, Array]:
    """Return (B, h) of the directions with curvature; ValueError where a curvature is negative. `inputs`: the argument to name."""
    found = modes_of(hessian, checked_preconditioner(1.0, preconditioner, len(hessian)))
    floor = 10 * len(hessian) * np.finfo(np.float64).eps * np.abs(found.rates).max()
    if found.rates[0] < -floor:
        msg = f"ridge must leave no negative curvature, but the smallest eigenvalue of the curvature (times P) is {found.rates[0]:.6g}."
        raise ValueError(msg)
    kept = found.rates > floor
    if not kept.any():
        msg = f"{inputs} must not be zero: the loss has no curvature."
        raise ValueError(msg)
    if not 1e-145 < found.rates[-1] < 1e145:  # their squares are needed
        msg = f"{inputs} and preconditioner must make curvatures between 1e-145 and 1e145, but the largest is {found.rates[-1]:.3g}. Change their unit."
        raise ValueError(msg)
    return found.basis[:, kept], found.rates[kept]
