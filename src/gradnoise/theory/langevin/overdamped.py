"""Langevin algorithms with minibatch gradients, exact in discrete time: their bias, and the injected noise that removes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.linear.stability_edge import rate_edge
from gradnoise.theory.noise.batch_noise import batch_noise
from gradnoise.theory.stationary.covariance import continuous_covariance, mode_covariance
from gradnoise.theory.stationary.shuffled_covariance import shuffled_covariance


def langevin_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    num_examples: int,
    batch_size: int,
    preconditioner: ArrayLike | None = None,
    time: str = "discrete",
    sampling: str = "with_replacement",
    position: str | int = "mean",
    drop_last: bool = True,
) -> Array:
    r"""Stationary covariance of stochastic gradient Langevin dynamics θ ← θ − (ε/2) N P ĝ + √ε P^{½} V on a quadratic.

    Equation, Q = (εN/2) P: QHΣ + ΣHQ − QHΣHQ = Q S Q + ε P (discrete); without the third term in continuous time. Shuffled
    epochs: the full-batch law (S = 0) plus `shuffled_covariance` at learning rate Q.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            ε       ()      parameter²; drift ε/2 times the total gradient
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    preconditioner       P       (D, D)  multiplies ε; symmetric positive
    position, drop_last  –       –       shuffled only, as in `shuffled_covariance`
    time                 –       –       "discrete" (default), "continuous"
    sampling             –       –       "with_replacement" (default), "without_replacement", "shuffled"
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise. Stable below ε = 4/(N λ_max(PH)).
    Limit: ε → 0 gives the posterior (N H)⁻¹; every ε > 0 is too wide.

    Reference: Mandt, Hoffman, Blei (2017), §5.1, whose minibatch term (εN/2S)C is too small by N/2: it must read
    (N/2)(HΣ + ΣH) = I + (εN²/4B) C. Discrete time and shuffled epochs are derived here; that shuffling reduces the bias is
    shown by Shaw and Whalley (2025), arXiv 2501.16055.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> langevin_covariance(H, C, step_size=0.004, num_examples=50, batch_size=4).round(7)
    array([[0.0180556, 0.       ],
           [0.       , 0.0512821]])
    """
    time = _checks.one_of("time", time, ("discrete", "continuous"))
    sampling = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    drop_last = _checks.drop_last(drop_last, sampling)
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    hessian = _checks.symmetric("hessian", hessian, len(covariance), definite="positive", like="gradient_covariance")
    examples, epsilon = _checks.integer("num_examples", num_examples), _checks.positive("step_size", step_size)
    rate = epsilon * examples / 2
    found = modes_of(hessian, checked_preconditioner(rate, preconditioner, len(hessian)))
    if time == "discrete" and found.rates[-1] >= rate_edge():
        msg = f"step_size must be below the stability edge {epsilon * rate_edge() / found.rates[-1]:.6g}, got {epsilon:.6g}."
        raise ValueError(msg)
    injected = 2 / examples * np.eye(len(hessian))  # B⁻¹ (εP) B⁻ᵀ with B Bᵀ = (εN/2) P
    if sampling == "shuffled":
        if time == "continuous":
            msg = "time must be 'discrete' when sampling='shuffled', got 'continuous': epochs have no continuous-time law here."
            raise ValueError(msg)
        epochs = shuffled_covariance(
            hessian,
            covariance,
            learning_rate=rate,
            batch_size=batch_size,
            num_examples=examples,
            preconditioner=preconditioner,
            position=position,
            drop_last=drop_last,
        )
        return epochs + found.covariance(mode_covariance(found.rates, np.zeros_like(injected), injected=injected))
    _checks.one_of("position", position, ("mean",))  # an epoch has positions, independent batches have none
    noise = batch_noise(covariance, batch_size=batch_size, sampling=sampling, num_examples=examples)
    law = mode_covariance if time == "discrete" else continuous_covariance
    return found.covariance(law(found.rates, found.gradient_noise(noise), injected=injected))


def langevin_correction(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    preconditioner: ArrayLike,
    num_examples: int,
    batch_size: int,
    momentum: float = 0.0,
    sampling: str = "with_replacement",
) -> Array:
    r"""Noise to add to the minibatch gradient so that the stationary covariance is (N H)⁻¹ at any finite step.

    Equation: E = (1/N) [ 2(1−μ) P⁻¹ − (1−μ)/(1+μ) H ] − S. It goes through P and momentum like the gradient; without momentum it is
    P E Pᵀ on θ.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    preconditioner       P       (D, D)  parameter²/loss; **contains** the learning rate
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − P m
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              E       (D, D)  gradient², per step
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise. Possible iff P ⪯ 2(1−μ) [(1−μ)/(1+μ) H + N S]⁻¹; a larger P raises with the
    factor that is still admissible.
    Limit: at equality E = 0: constant SGD with the full preconditioner.

    Reference: derived here: put Σ = (N H)⁻¹ into the equation of `stationary_covariance`; every term becomes P or P·P.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> langevin_correction(H, C, preconditioner=[[0.1, 0.0], [0.0, 0.2]], num_examples=50, batch_size=4).round(6)
    array([[0.11, 0.  ],
           [0.  , 0.09]])
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    step = _checks.symmetric("preconditioner", preconditioner, len(noise), definite="positive")
    examples, mu = _checks.integer("num_examples", num_examples), _checks.momentum(momentum)
    need = (1 - mu) / (1 + mu) * hessian + examples * noise
    used = float(modes_of(need, step).rates[-1]) / (2 * (1 - mu))
    if used > 1 + 1e-10:
        msg = (
            f"preconditioner must be at most {1 / used:.6g} times what was given: beyond that the gradient noise alone is wider "
            "than the posterior and no noise can be added. Multiply it by that factor, or take a larger batch_size."
        )
        raise ValueError(msg)
    inverse = np.linalg.inv(step)
    return np.asarray((2 * (1 - mu) * (inverse + inverse.T) / 2 - need) / examples)


@dataclass(frozen=True, eq=False)
class CorrectedLangevin:
    """Setting of the corrected Langevin sampler θ ← θ − P ĝ + ξ, Cov ξ = injected_covariance.

    Attributes
    ----------
    preconditioner
        P = η A⁻¹, (D, D), parameter²/loss; contains the learning rate.
    injected_covariance
        (1 − (1−η)²)(N A)⁻¹ − P S P, (D, D), parameter².
    eta, eta_max
        Relaxation rate per step and the largest admissible one.
    relaxation_time
        Steps in which every direction forgets a factor e: −1/ln|1−η|.
    """

    preconditioner: Array
    injected_covariance: Array
    eta: float
    eta_max: float
    relaxation_time: float


def corrected_langevin_tuning(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    fraction: float = 0.5,
    sampling: str = "with_replacement",
) -> CorrectedLangevin:
    r"""Tune the corrected Langevin sampler: exact covariance (N A)⁻¹, every direction relaxing at the same rate.

    Equation: P = η A⁻¹, Cov ξ = (1 − (1−η)²)(N A)⁻¹ − P S P, η = fraction·η_max,
    η_max = 2/(1 + N λ_max(A^{-½} S A^{-½})), which with replacement is 2/(1 + (N/B) λ_max(A^{-½}CA^{-½})).

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              A       (D, D)  curvature of the mean loss, averaged over the target
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    fraction             –       ()      share of η_max, in (0, 1]
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `CorrectedLangevin`
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise. η_max is 2, not a usable rate, only where C = 0.
    Limit: fraction = 1 injects nothing along the direction of largest noise; if C ∝ A it is constant SGD.

    Reference: derived here: `langevin_correction` at P = ηA⁻¹ without momentum, where I − PA = (1−η)I.

    >>> tuned = corrected_langevin_tuning([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]], num_examples=50, batch_size=4)
    >>> round(tuned.eta_max, 6), round(tuned.eta, 6), tuned.injected_covariance.round(7)
    (0.181818, 0.090909, array([[0.001219 , 0.       ],
           [0.       , 0.0036364]]))
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    examples = _checks.integer("num_examples", num_examples)
    fraction = _checks.within("fraction", fraction, 0.0, 1.0, closed="right")
    # λ_max(A^{-½}SA^{-½}), and Cov ξ in the coordinates where A = I, so that nothing is lost on ill-conditioned A
    root = np.linalg.cholesky(hessian)
    inverse_root = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(inverse_root @ noise @ inverse_root.T)
    eta_max = 2 / (1 + examples * max(float(values[-1]), 0.0))
    eta = fraction * eta_max
    frame = inverse_root.T @ vectors
    injected = frame * np.maximum(eta * (2 - eta) / examples - eta**2 * values, 0.0) @ frame.T
    relaxation = -1 / math.log(abs(1 - eta)) if 0 < abs(1 - eta) < 1 else (0.0 if eta == 1 else math.inf)
    step = eta * frame @ frame.T
    return CorrectedLangevin(_checks.symmetrised(step), _checks.symmetrised(injected), eta, eta_max, relaxation)
