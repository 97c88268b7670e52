"""Exact second moments of minibatch SGD on any finite least-squares data set: the noise is not assumed constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.least_squares.edges_and_moments import (
    LeastSquaresMoments,
    ModalProblem,
    StabilityEdges,
    modal_basis,
)
from gradnoise.theory.least_squares.fourth_moments import FourthMoments
from gradnoise.theory.least_squares.second_moments import InputNoise, SecondMoments
from gradnoise.theory.noise.batch_noise import noise_factor
from gradnoise.theory.tuning.preconditioner_for import preconditioner_for


def least_squares_moments(
    X: ArrayLike,
    y: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    sampling: str = "with_replacement",
    ridge: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    label_noise: float = 0.0,
) -> LeastSquaresMoments:
    r"""Stationary mean and covariance of minibatch SGD on least squares, exact for the actual algorithm.

    Equation: loss (1/N) Σ (x·θ − y)²/2 + (ρ/2)|θ|², H₀ = XᵀX/N, H = H₀ + ρ, θ* = H⁻¹Xᵀy/N, r = Xθ* − y,
    E = Cov_n(r_n x_n), K(Σ) = (1/N) Σ x_n x_nᵀ Σ x_n x_nᵀ − H₀ΣH₀. The mean is θ*; Σ is the stationary covariance for the
    noise S = f(E + K(Σ)) + (s²/B) H₀ on each gradient, f of `noise_factor`: one linear system in Σ.

    ==============  ======  ======  =============================================================
    argument        symbol  shape   scale
    ==============  ======  ======  =============================================================
    X               x       (N, D)  √loss/parameter; no column of ones is added
    y               y       (N,)    √loss
    learning_rate   η       ()      parameter²/loss
    batch_size      B       ()      examples a step
    ridge           ρ       ()      loss/parameter²; may be negative while H is positive
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  multiplies the learning rate; symmetric positive
    label_noise     s       ()      √loss; sd of fresh noise on every label drawn
    sampling        –       –       "with_replacement" (default), "without_replacement"
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         –       –       `.mean` (D,) and `.covariance` (D, D); edges, chain, radius
    ==============  ======  ======  =============================================================

    Assumptions: steps draw their batches independently; nothing else (no Gaussian law, no small step). Shuffled epochs are
    refused: their batches depend on one another. Directions that no row touches keep their start: mean and covariance are 0
    there (with P: they are the chain's from θ = 0). Up to 16 parameters the system is dense; beyond, conjugate gradients
    preconditioned by the solution for constant noise (the same to 1e-13), to several hundred.
    Limit: small steps give `stationary_covariance(H, E)`; interpolation (r = 0) gives Σ = 0; one row in one dimension with
    label noise gives η s²/(B h (2 − η h)).

    Reference: Ziyin, Liu, Mori, Ueda (2022), Strength of minibatch noise in SGD, for the state-dependent noise; the exact
    finite-data form is derived here. Their −H₀ΣH₀ in place of + for Gaussian inputs is corrected in `gaussian_inputs_moments`.

    >>> X, y = [[1, 0], [1, 1], [0, 2], [-1, 1]], [1, 0, 1, 2]
    >>> law = least_squares_moments(X, y, learning_rate=0.2, batch_size=2)
    >>> law.mean.round(6), law.covariance.round(8)
    (array([-0.333333,  0.666667]), array([[ 0.05341807, -0.01090661],
           [-0.01090661,  0.01787518]]))
    >>> round(law.second_moment_edge, 7), round(law.second_moment_radius, 7)
    (0.8736364, 0.7267715)
    """
    rows = checked_rows(X)
    target = _checks.vector("y", y, len(rows))
    sd = _checks.within("label_noise", label_noise, 0.0, np.inf)
    problem = _modal(rows, batch_size, sampling, ridge, momentum, nesterov, preconditioner)
    basis, features = problem.basis, rows @ problem.basis
    mean = basis @ (features.T @ target / len(rows) / problem.moments.curvatures)
    fixed = problem.moments.factor * _spread_of(features * (rows @ mean - target)[:, None])
    if sd:
        fixed = fixed + sd**2 / _checks.integer("batch_size", batch_size) * features.T @ features / len(rows)
    return problem.solve(learning_rate, mean, fixed)


def least_squares_edges(
    X: ArrayLike,
    *,
    batch_size: int,
    sampling: str = "with_replacement",
    ridge: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
) -> StabilityEdges:
    r"""Learning rates at which the mean, the second and the fourth moments of minibatch SGD on least squares diverge.

    Equation: second moment, heavy ball, in modes of PH: η₂ = 1/λ_max(A⁻¹M), A = (1−μ)(h_i + h_j),
    M = (1+μ²)/(1−μ²) h_i h_j − μ/(1−μ²)(h_i² + h_j²) + f K. Nesterov: the root of radius(f T_η K) = 1 with T_η of `mode_covariance`.
    Fourth: the root of radius(E J⊗J⊗J⊗J) = 1 on symmetric tensors, J the random matrix of a step; up to 12 modes, else None.

    ==============  ======  ======  =============================================================
    argument        symbol  shape   scale
    ==============  ======  ======  =============================================================
    X               x       (N, D)  √loss/parameter
    batch_size      B       ()      examples a step
    ridge           ρ       ()      loss/parameter²
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  symmetric positive; multiplies the learning rate
    sampling        –       –       "with_replacement" (default), "without_replacement"
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         –       –       `.mean` ≥ `.second_moment` ≥ `.fourth_moment`
    ==============  ======  ======  =============================================================

    Assumptions: steps draw their batches independently. Labels play no part.
    Limit: B = N without replacement makes the three equal; one dimension, B = 1: 2E x²/E x⁴ for the second moment.

    Reference: Mulayoff, Michaeli (2024), Exact mean square linear stability analysis for SGD, for μ = 0; momentum and the
    fourth moment derived here.

    >>> edges = least_squares_edges([[1, 0], [1, 1], [0, 2], [-1, 1]], batch_size=1)
    >>> round(edges.mean, 6), round(edges.second_moment, 7), round(edges.fourth_moment, 6)
    (1.333333, 0.6440101, 0.574665)
    """
    return _modal(checked_rows(X), batch_size, sampling, ridge, momentum, nesterov, preconditioner).edges


def least_squares_noise(X: ArrayLike, y: ArrayLike, covariance: ArrayLike, *, ridge: float = 0.0) -> Array:
    r"""Gradient covariance per example of least squares, averaged over a law with mean θ* and a given covariance.

    Equation: E + K(Σ), with E and K of `least_squares_moments`.

    ==========  ======  ======  ======================================================
    argument    symbol  shape   scale
    ==========  ======  ======  ======================================================
    X           x       (N, D)  √loss/parameter
    y           y       (N,)    √loss
    covariance  Σ       (D, D)  parameter², of any law with mean θ*
    ridge       ρ       ()      loss/parameter²
    returns     C̄       (D, D)  gradient², per example; `batch_noise` turns it into a step's
    ==========  ======  ======  ======================================================

    Assumptions: the mean of the law is the minimum θ*, as it is for SGD and for the posterior.
    Limit: Σ = 0 gives the covariance at the minimum.

    Reference: Mandt, Hoffman, Blei (2017), §3.1, where C is taken constant; the average is derived here.

    >>> least_squares_noise([[1, 0], [1, 1], [0, 2], [-1, 1]], [1, 0, 1, 2], [[0, 0], [0, 0]]).round(6)
    array([[ 0.722222, -0.222222],
           [-0.222222,  0.388889]])
    """
    rows = checked_rows(X)
    target = _checks.vector("y", y, len(rows))
    spread = _checks.symmetric("covariance", covariance, rows.shape[1], definite="semi")
    basis, curvatures = modal_basis(_hessian(rows, ridge), None)
    mean = basis @ (basis.T @ rows.T @ target / len(rows) / curvatures)
    second = rows.T @ rows / len(rows)
    weights = np.einsum("ni,ni->n", rows @ spread, rows) / len(rows)
    total = _spread_of(rows * (rows @ mean - target)[:, None])
    noise = total + (rows * weights[:, None]).T @ rows - second @ spread @ second
    return _checks.symmetrised(noise)


def least_squares_preconditioner(
    X: ArrayLike,
    y: ArrayLike,
    *,
    batch_size: int,
    target: ArrayLike | None = None,
    temperature: float = 1.0,
    sampling: str = "with_replacement",
    ridge: float = 0.0,
    momentum: float = 0.0,
) -> Array:
    r"""Preconditioner for which minibatch SGD on least squares has exactly the posterior (or any target) as covariance.

    Equation: `preconditioner_for` with C replaced by E + K(Σ*) of `least_squares_noise`: the noise at the wanted law.

    ===========  ======  ======  ================================================================
    argument     symbol  shape   scale
    ===========  ======  ======  ================================================================
    X            x       (N, D)  √loss/parameter
    y            y       (N,)    √loss
    batch_size   B       ()      examples a step
    target       Σ*      (D, D)  parameter²; None: T (N H)⁻¹
    temperature  T       ()      as N·loss; the observation variance where the loss is not divided by it
    ridge        ρ       ()      loss/parameter²; prior precision over N
    momentum     μ       ()      m ← μ m + g; θ ← θ − P m
    sampling     –       –       "with_replacement" (default), "without_replacement"
    returns      P       (D, D)  parameter²/loss: use with learning_rate=1
    ===========  ======  ======  ================================================================

    Assumptions: steps draw independently; H positive definite. The second moment is stable too: a positive definite solution of
    the stationary equation exists only where it is.
    Limit: constant noise gives `optimal_preconditioner`.

    Reference: Mandt, Hoffman, Blei (2017), theorem 2, in discrete time and with the noise of the actual algorithm; derived here.

    >>> X, y = [[1, 0], [1, 1], [0, 2], [-1, 1]], [1, 0, 1, 2]
    >>> P = least_squares_preconditioner(X, y, batch_size=1)
    >>> 4 * least_squares_moments(X, y, learning_rate=1, batch_size=1, preconditioner=P).covariance.round(9)
    array([[1.33333333, 0.        ],
           [0.        , 0.66666667]])
    """
    rows = checked_rows(X)
    hessian, heat = _hessian(rows, ridge), _checks.positive("temperature", temperature)
    if target is None:
        wanted = _posterior(hessian, len(rows), heat)
    else:
        wanted = _checks.symmetric("target", target, rows.shape[1], definite="positive")
    per_example = least_squares_noise(rows, y, wanted, ridge=ridge)
    return preconditioner_for(
        wanted,
        hessian,
        per_example,
        batch_size=batch_size,
        momentum=momentum,
        sampling=sampling,
        num_examples=len(rows),
    )


def checked_rows(X: Any) -> Array:
    """Return X as a finite float64 matrix (N, D)."""
    rows = _checks.array("X", X)
    if rows.ndim != 2 or 0 in rows.shape:
        msg = f"X must be a matrix (N, D), got shape {rows.shape}."
        raise ValueError(msg)
    return rows


def _hessian(rows: Array, ridge: float) -> Array:
    return np.asarray(rows.T @ rows / len(rows) + _checks.real("ridge", ridge) * np.eye(rows.shape[1]))


def _posterior(hessian: Array, count: int, temperature: float) -> Array:
    inverse = np.linalg.inv(_checks.symmetric("X'X/N + ridge", hessian, definite="positive"))
    return np.asarray((inverse + inverse.T) * temperature / count / 2)


def _modal(
    rows: Array,
    batch_size: Any,
    sampling: str,
    ridge: float,
    momentum: float,
    nesterov: bool,
    preconditioner: ArrayLike | None,
) -> ModalProblem:
    if isinstance(sampling, str) and sampling == "shuffled":
        msg = (
            "sampling must be 'with_replacement' or 'without_replacement' here, got 'shuffled'. The batches of an epoch depend on one "
            "another, so that the noise is correlated with the parameters; for constant noise stationary_covariance has the law."
        )
        raise ValueError(msg)
    count, mu = len(rows), _checks.momentum(momentum)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=count)
    basis, curvatures = modal_basis(_hessian(rows, ridge), preconditioner)
    features = rows @ basis
    moments = SecondMoments(curvatures, InputNoise.of_rows(features), factor, mu, nesterov)
    rest = np.diag(curvatures) - features.T @ features / count
    fourth = FourthMoments(features, rest, int(batch_size), sampling == "with_replacement", mu, nesterov)
    return ModalProblem(basis, moments, fourth)


def _spread_of(gradients: Array) -> Array:
    """Covariance of the rows, divided by N."""
    centred = gradients - gradients.mean(0)
    return np.asarray(centred.T @ centred / len(gradients))
