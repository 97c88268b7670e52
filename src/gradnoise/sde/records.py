"""What an SDE is: drift and diffusion, how much time a step takes, and how the parameters are read from the state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

Field = Callable[[float, Array], Array]


@dataclass(frozen=True)
class SDE:
    """An Itô equation dZ = drift(t, Z) dt + diffusion(t, Z) dW, dW of the gradient's dimension D.

    Attributes
    ----------
    drift
        (t, state (..., S)) -> (..., S), state per unit of time.
    diffusion
        (t, state (..., S)) -> (..., S, D), a root of the covariance per unit of time.
    time_step
        Time that one step of the algorithm takes.
    parts
        Names of the pieces of the state, each of size D, in order: S = D · len(parts). The first is the position.
    order
        Weak order of the approximation, in `time_step`.
    lookahead
        a in params = position + a · velocity; 0 where the position is what the algorithm holds.
    """

    drift: Field
    diffusion: Field
    time_step: float
    parts: tuple[str, ...]
    order: int
    lookahead: float = 0.0

    def params(self, state: ArrayLike) -> Array:
        """Return the algorithm's parameters (..., D) from the state (..., S): θ = position + a · velocity, a = `lookahead`.

        Scale: parameter, shape (D,) for one state. Limit: a = 0, everything but Nesterov, gives the position.

        >>> from gradnoise.sde import nesterov
        >>> law = nesterov(lambda x: x, np.eye(1), learning_rate=0.04, batch_size=1, momentum=0.5)
        >>> law.params([1.0, 2.0]).round(6)  # 1 + √0.04 · 0.5 · 2
        array([1.2])
        """
        values = _checks.array("state", state)
        if values.ndim == 0 or values.shape[-1] % len(self.parts):
            msg = f"state must have shape (..., D x {len(self.parts)}), {' and '.join(self.parts)}, got {values.shape}."
            raise ValueError(msg)
        pieces = np.split(values, len(self.parts), axis=-1)
        return pieces[0] + self.lookahead * pieces[1] if self.lookahead else pieces[0]

    def covariance(self, time: float, state: ArrayLike) -> Array:
        """Return diffusion·diffusionᵀ = σσᵀ, (..., S, S): (D, D) for the one-part SDE of SGD.

        Scale: state² per unit of time. Limit: order-1 SGD has ηC/B.

        >>> from gradnoise.sde import sgd
        >>> sgd(lambda x: x, [[2.0]], learning_rate=0.1, batch_size=4).covariance(0.0, [1.0]).round(6)
        array([[0.05]])
        """
        root = self.diffusion(time, np.asarray(state, np.float64))
        return root @ np.swapaxes(root, -1, -2)


@dataclass(frozen=True, eq=False)
class LinearSDE:
    """Linear SDE around the mode, X = θ − θ*.

    Equation: dX = A X dt + Q^{1/2} dW.

    ================  ======  ======  ==========================================
    field             symbol  shape   scale
    ================  ======  ======  ==========================================
    drift_matrix      A       (D, D)  1/time
    diffusion_matrix  Q       (D, D)  parameter²/time
    time_step         h       ()      time that one step of the algorithm takes
    ================  ======  ======  ==========================================

    Assumptions: quadratic loss, constant noise. Flat and unstable directions are allowed; only `stationary_covariance` needs a pull.
    Limit: A = 0 is Brownian motion of covariance Qt.

    Reference: Ornstein–Uhlenbeck process, Gardiner (2009), Stochastic Methods, §4.5.

    >>> law = LinearSDE(np.array([[-1.0]]), np.array([[2.0]]), 0.1)
    >>> law.stationary_covariance, law.transition(np.log(2.0))[0].round(6)
    (array([[1.]]), array([[0.5]]))
    """

    drift_matrix: Array
    diffusion_matrix: Array
    time_step: float

    @property
    def stationary_covariance(self) -> Array:
        """Σ with AΣ + ΣAᵀ + Q = 0, (D, D).

        Scale: parameter². Limit: A = −a gives Q/(2a).

        >>> LinearSDE(np.diag([-1.0, -2.0]), np.array([[2.0, 0.3], [0.3, 4.0]]), 0.1).stationary_covariance.round(6)
        array([[1. , 0.1],
               [0.1, 1. ]])
        """
        if np.linalg.eigvals(self.drift_matrix).real.max() >= 0:
            msg = "drift_matrix must pull back in every direction for a stationary law, but has an eigenvalue >= 0."
            raise ValueError(msg)
        return np.asarray(solve_continuous_lyapunov(self.drift_matrix, -self.diffusion_matrix))

    def transition(self, time: float) -> tuple[Array, Array]:
        """Return (F, Ω), each (D, D), of X(t) = F X(0) + noise of covariance Ω, exactly: Van Loan's block exponential, then doubling.

        Scale: dimensionless, and parameter². Limit: t → 0 gives (I + At, Qt); t → ∞ gives (0, `stationary_covariance`).

        >>> F, omega = LinearSDE(np.array([[-1.0]]), np.array([[2.0]]), 0.1).transition(np.log(2.0))
        >>> F.round(6), omega.round(6)
        (array([[0.5]]), array([[0.75]]))
        """
        A, zero = self.drift_matrix, np.zeros_like(self.drift_matrix)
        t, size = _checks.positive("time", time), len(A)
        doublings = max(0, math.ceil(math.log2(max(float(np.linalg.norm(A)) * t, 1.0))))
        block = expm(np.block([[-A, self.diffusion_matrix], [zero, A.T]]) * (t / 2**doublings))
        F = block[size:, size:].T
        omega = F @ block[:size, size:]
        for _ in range(doublings):  # one exponential over a long time would overflow
            F, omega = F @ F, omega + F @ omega @ F.T
        return F, omega
