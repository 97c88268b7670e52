"""Fisher scoring with injected noise (SGFS): its stationary law, exact preconditioner, and the printed ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.inverse import inverse_of
from gradnoise.theory.linear.modes import modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.posterior.variance_errors import variance_errors
from gradnoise.theory.stationary.covariance import continuous_covariance, mode_covariance
from gradnoise.theory.tuning.optimal import best_diagonal, discrete_rate

_KINDS = ("full", "diagonal", "diagonal_closed", "scalar")


def fisher_scoring_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    preconditioner: ArrayLike,
    step_size: float,
    injected: ArrayLike,
    batch_size: int,
    time: str = "discrete",
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Stationary covariance of stochastic gradient Fisher scoring, θ ← θ − ε G ĝ + √ε G E w, w ~ N(0, I).

    Equation: GHΣ + ΣHG − ε GHΣHG = G (ε S + E Eᵀ) G (discrete); without the third term in continuous time.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    preconditioner       G       (D, D)  parameter²/(loss · ε); symmetric positive
    step_size            ε       ()      dimensionless, or time
    injected             E Eᵀ    (D, D)  gradient²·ε, covariance of E w
    batch_size           B       ()      examples a step
    num_examples         N       ()      examples; needed without replacement
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise.
    Limit: E = 0 is constant SGD with preconditioner εG.

    Reference: Mandt, Hoffman, Blei (2017), §5.2 and appendix E (C/B put for their C); discrete time derived here.

    >>> law = {"preconditioner": [[0.1, 0.0], [0.0, 0.2]], "step_size": 0.5, "injected": [[0.3, 0.1], [0.1, 0.2]]}
    >>> fisher_scoring_covariance([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.4]], batch_size=4, **law).round(6)
    array([[0.011184, 0.005263],
           [0.005263, 0.026316]])
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    size, epsilon = len(noise), _checks.positive("step_size", step_size)
    hessian = _checks.symmetric("hessian", hessian, size, definite="positive")
    gain = _checks.symmetric("preconditioner", preconditioner, size, definite="positive")
    total = noise + _checks.symmetric("injected", injected, size, definite="semi") / epsilon
    found = modes_of(hessian, epsilon * gain)
    if time == "continuous":
        return found.covariance(continuous_covariance(found.rates, found.gradient_noise(total)))
    if found.rates[-1] >= rate_edge():
        msg = f"step_size must be below the stability edge {epsilon * rate_edge() / found.rates[-1]:.6g}, got {epsilon:.6g}."
        raise ValueError(msg)
    return found.covariance(mode_covariance(found.rates, found.gradient_noise(total)))


def fisher_scoring_preconditioner(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    injected: ArrayLike,
    num_examples: int,
    batch_size: int,
    kind: str = "full",
    time: str = "discrete",
    sampling: str = "with_replacement",
) -> Array:
    r"""Preconditioner of stochastic gradient Fisher scoring whose stationary law is the posterior N(0, (N H)⁻¹), or nearest to it.

    Equation: full G = (2/N) [ε S + E Eᵀ + (ε/N) H]⁻¹ (discrete: exact), (2/N) [ε S + E Eᵀ]⁻¹ (continuous); diagonal_closed
    G_kk = (2/N)/(ε S_kk + (E Eᵀ)_kk); scalar G = (2D/N)/Tr(ε S + E Eᵀ) (continuous; discrete: the minimiser of the KL divergence);
    diagonal: the numerical minimiser of the KL divergence over positive diagonal G.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            ε       ()      dimensionless, or time
    injected             E Eᵀ    (D, D)  gradient²·ε, covariance of E w
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    kind                 –       –       "full", "diagonal", "diagonal_closed", "scalar"
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              G       (D, D)  parameter²/(loss · ε)
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise, Gaussian posterior. diagonal_closed minimises only an upper bound of the KL
    divergence, and is the paper's continuous form in both times. εG is the preconditioner of SGD with noise S + E Eᵀ/ε.
    Limit: E = 0 gives εG = `optimal_preconditioner` of the same kind. Full is always stable in discrete time.

    Reference: Mandt, Hoffman, Blei (2017), theorem 5, eq. (27), corollary 6; exact discrete form derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> tuned = {"step_size": 0.5, "injected": [[0.3, 0.1], [0.1, 0.2]], "num_examples": 50, "batch_size": 4}
    >>> fisher_scoring_preconditioner(H, C, **tuned).round(6)
    array([[ 0.098575, -0.038657],
           [-0.038657,  0.172022]])
    """
    kind = _checks.one_of("kind", kind, _KINDS)
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    examples, epsilon = _checks.integer("num_examples", num_examples), _checks.positive("step_size", step_size)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    total = epsilon * noise + _checks.symmetric("injected", injected, len(noise), definite="semi")
    if kind == "full":
        bend = epsilon / examples * hessian if time == "discrete" else 0.0
        return inverse_of(total + bend, 2 / examples)
    if kind == "diagonal":
        return best_diagonal(hessian, total / epsilon, examples, 0.0, time) / epsilon
    spread = np.diag(total) if kind == "diagonal_closed" else np.full(len(total), np.trace(total) / len(total))
    if spread.min() <= 0:
        msg = "injected must add noise to every parameter that has no gradient noise, but one has neither."
        raise ValueError(msg)
    if kind == "scalar" and time == "discrete":
        one = np.eye(len(total))
        return one * discrete_rate(hessian, total / epsilon, one, examples, 0.0) / epsilon
    return np.diag(2 / examples / spread)


@dataclass(frozen=True, eq=False)
class FisherScoringError:
    """Error of Fisher scoring against the posterior, split by cause: covariance − (N H)⁻¹ = discretisation + mismatch.

    Attributes
    ----------
    discretisation
        What the finite step adds to the law in continuous time, (D, D), parameter².
    mismatch
        Law in continuous time less the posterior, (D, D), parameter²: what is wrong with the preconditioner itself.
    relative
        `variance_errors` of the whole against the posterior, (D,), dimensionless.
    """

    discretisation: Array
    mismatch: Array
    relative: Array


def fisher_scoring_error(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    preconditioner: ArrayLike,
    step_size: float,
    injected: ArrayLike,
    num_examples: int,
    batch_size: int,
    sampling: str = "with_replacement",
) -> FisherScoringError:
    r"""Finite-step error of stochastic gradient Fisher scoring with any preconditioner, full or diagonal, exact in discrete time.

    Equation: Σ − (N H)⁻¹ = (Σ − Σ_c) + (Σ_c − (N H)⁻¹), with Σ and Σ_c the discrete and continuous laws of `fisher_scoring_covariance`.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    preconditioner       G       (D, D)  parameter²/(loss · ε); symmetric positive
    step_size            ε       ()      dimensionless, or time
    injected             E Eᵀ    (D, D)  gradient²·ε, covariance of E w
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `FisherScoringError`
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise.
    Limit: G = (2/N)(εS + E Eᵀ)⁻¹ has no mismatch and the discretisation εG/(2N) to first order; a commuting mode of rate
    r = εgλ is too wide by 1/(1 − r/2). G of kind "full" in discrete time: both cancel.

    Reference: Mandt, Hoffman, Blei (2017), theorem 5, for the law at small steps; the error derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> law = {"step_size": 0.5, "injected": [[0.3, 0.0], [0.0, 0.2]], "num_examples": 50, "batch_size": 4}
    >>> G = fisher_scoring_preconditioner(H, C, time="continuous", **law)
    >>> error = fisher_scoring_error(H, C, preconditioner=G, **law)
    >>> error.relative.round(4), np.diag(error.discretisation).round(6), bool(np.abs(error.mismatch).max() < 1e-16)
    (array([0.0204, 0.0494]), array([0.000494, 0.000816]), True)
    """
    law = {
        "preconditioner": preconditioner,
        "step_size": step_size,
        "injected": injected,
        "batch_size": batch_size,
        "sampling": sampling,
        "num_examples": _checks.integer("num_examples", num_examples),
    }
    whole = fisher_scoring_covariance(hessian, gradient_covariance, **law)  # type: ignore[arg-type]
    small_step = fisher_scoring_covariance(hessian, gradient_covariance, time="continuous", **law)  # type: ignore[arg-type]
    posterior = inverse_of(np.asarray(hessian, dtype=np.float64), 1 / num_examples)
    return FisherScoringError(whole - small_step, small_step - posterior, variance_errors(whole, posterior))


def fisher_scoring_injection(
    gradient_covariance: ArrayLike,
    *,
    cap: float,
    step_size: float,
    num_examples: int,
    batch_size: int,
    sampling: str = "with_replacement",
) -> Array:
    r"""Diagonal noise to inject so that the diagonal Fisher-scoring preconditioner has the same entry everywhere.

    Equation: (E Eᵀ)_kk = 2/(h_max N) − ε S_kk: more noise where the gradient noise is small.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    cap                  h_max   ()      parameter²/(loss · ε): the wanted G_kk
    step_size            ε       ()      dimensionless, or time
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              E Eᵀ    (D, D)  gradient²·ε, diagonal
    ===================  ======  ======  ======================================

    Assumptions: possible iff h_max ≤ min_k 2/(N ε S_kk), else ValueError with that bound.
    Limit: at the bound the noisiest parameter gets none.

    Reference: Mandt, Hoffman, Blei (2017), §5.2; the bound derived here.

    >>> C = [[1.0, 0.0], [0.0, 0.4]]
    >>> fisher_scoring_injection(C, cap=0.2, step_size=0.5, num_examples=50, batch_size=4).round(3)
    array([[0.075, 0.   ],
           [0.   , 0.15 ]])
    """
    examples, epsilon = _checks.integer("num_examples", num_examples), _checks.positive("step_size", step_size)
    noise = np.diag(batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=examples))
    added = 2 / (_checks.positive("cap", cap) * examples) - epsilon * noise
    if added.min() < 0:
        msg = f"cap must be at most {2 / (examples * epsilon * noise.max()):.6g}, got {cap:.6g}: the gradient noise alone is larger."
        raise ValueError(msg)
    return np.diag(added)
