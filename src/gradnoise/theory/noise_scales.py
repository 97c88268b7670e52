"""Scalar measures of gradient noise: temperature, the batch sizes they single out, and the best step at a batch size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.noise import noise_factor


def temperature(
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> float:
    r"""Temperature of SGD: what multiplies 2C in the diffusion of the mean loss's Langevin equation.

    Equation: T = η f/(2(1−μ)) with f of `noise_factor`: η/(2B(1−μ)) with replacement; dθ = −∇L dt + √(2TC) dW.

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    learning_rate  η       ()     parameters per gradient of the mean loss
    batch_size     B       ()     examples a step
    momentum       μ       ()     m ← μ m + g; θ ← θ − η m
    sampling       –       –      "shuffled" raises
    num_examples   N       ()     examples; needed without replacement
    returns        T       ()     as η
    =============  ======  =====  ==========================================

    Assumptions: small step. In these units T holds no N when B ≪ N.
    Limit: B = N without replacement gives 0; T·C = (g/2N)·F with g of `noise_scale`, F = CN/(N−1).

    Reference: Chaudhari and Soatto (2018), β⁻¹ = η/(2b), and (η/2b)(1 − b/N) without replacement, there with D normalised
    by N − 1; momentum from Smith et al. (2018), appendix D.

    >>> round(temperature(learning_rate=0.1, batch_size=10, momentum=0.9), 12)
    0.05
    """
    rate = _checks.positive("learning_rate", learning_rate)
    factor = noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    return rate * factor / (2 * (1 - _checks.momentum(momentum)))


def optimum_batch_size(*, noise_scale: float, learning_rate: float, num_examples: int, momentum: float = 0.0) -> float:
    r"""Batch size that has a wanted noise scale: how the optimum moves with learning rate, momentum and data.

    Equation: B = N/(1 + g(1−μ)/η), the inverse of g = η(N/B − 1)/(1−μ).

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    noise_scale    g       ()     as η; found once, by validation
    learning_rate  η       ()     parameters per gradient of the mean loss
    num_examples   N       ()     examples
    momentum       μ       ()     m ← μ m + g; θ ← θ − η m
    returns        B       ()     examples a step, not rounded
    =============  ======  =====  ==========================================

    Assumptions: small step; the best g does not move with η, μ, N (observed, not proved; for N only above about 20 000). One
    example a step is the noisiest batch: a g above η(N−1)/(1−μ) raises.
    Limit: B ≪ N gives B = ηN/(g(1−μ)), proportional to η, N and 1/(1−μ).

    Reference: Smith and Le (2018), section 5 and appendix D, there without the 1; at fixed B the rule derived from fixed g
    is η ∝ 1/N, against the paper's footnote.

    >>> round(optimum_batch_size(noise_scale=0.9, learning_rate=0.2, num_examples=1000), 1)
    181.8
    """
    scale = _checks.within("noise_scale", noise_scale, 0.0, np.inf)
    rate = _checks.positive("learning_rate", learning_rate)
    examples = _checks.integer("num_examples", num_examples)
    effective = rate / (1 - _checks.momentum(momentum))
    if scale > effective * (examples - 1) * (1 + 1e-12):
        msg = f"noise_scale must be at most η(N−1)/(1−μ) = {effective * (examples - 1):.6g}, that of one example a step, got {scale:.6g}."
        raise ValueError(msg)
    return examples / (1 + scale / effective)


def gradient_noise_scale(gradient: ArrayLike, gradient_covariance: ArrayLike) -> float:
    r"""Return the simple gradient noise scale, the batch size at which noise and signal of one gradient are equal.

    Equation: B_simple = tr C/|∇L|².

    ===================  ======  ======  ======================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    returns              –       ()      examples
    ===================  ======  ======  ======================

    Assumptions: none; as a critical batch size it takes H ∝ I. Near stationarity it only reports the temperature.
    Limit: equals `critical_noise_scale` for H ∝ I.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eq. (2.9).

    >>> gradient_noise_scale([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]])
    6.0
    """
    mean = _gradient(gradient)
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, len(mean), definite="semi")
    return float(np.trace(covariance) / (mean @ mean))


def critical_noise_scale(gradient: ArrayLike, gradient_covariance: ArrayLike, hessian: ArrayLike) -> float:
    r"""Critical batch size of one step on a quadratic: where doubling the batch stops paying.

    Equation: B_noise = tr(HC)/(∇Lᵀ H ∇L).

    ===================  ======  ======  ==========================
    argument             symbol  shape   scale
    ===================  ======  ======  ==========================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    hessian              H       (D, D)  curvature of the mean loss
    returns              –       ()      examples
    ===================  ======  ======  ==========================

    Assumptions: quadratic loss; plain SGD; ∇LᵀH∇L > 0.
    Limit: H ∝ I gives `gradient_noise_scale`.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eq. (2.8).

    >>> round(critical_noise_scale([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]], [[2.0, 0.3], [0.3, 0.5]]), 6)
    11.329787
    """
    mean, covariance, curvature = _local(gradient, gradient_covariance, hessian)
    return float(np.sum(curvature * covariance) / _bend(mean, curvature))


@dataclass(frozen=True)
class BestStep:
    """The learning rate that lowers the expected loss most in one step, and by how much.

    Attributes
    ----------
    learning_rate
        η of that step.
    loss_decrease
        Expected decrease of the mean loss, > 0.
    """

    learning_rate: float
    loss_decrease: float


def best_step(
    gradient: ArrayLike, gradient_covariance: ArrayLike, hessian: ArrayLike, *, batch_size: float
) -> BestStep:
    r"""Learning rate with the largest expected decrease of a quadratic in one step of SGD at a batch size.

    Equation: E ΔL = −η|∇L|² + ½η²(∇LᵀH∇L + tr(HC)/B); η = η_max/(1 + B_noise/B), η_max = |∇L|²/∇LᵀH∇L; decrease
    ΔL_max/(1 + B_noise/B), ΔL_max = |∇L|⁴/(2∇LᵀH∇L).

    ===================  ======  ======  ==========================
    argument             symbol  shape   scale
    ===================  ======  ======  ==========================
    gradient             ∇L      (D,)    gradient, mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    hessian              H       (D, D)  curvature of the mean loss
    batch_size           B       ()      examples, any number > 0
    returns              –       ()      η: parameter²/loss; loss
    ===================  ======  ======  ==========================

    Assumptions: quadratic loss; with replacement, or B ≪ N; one step: repeated, the best learning rate is smaller.
    Limit: B ≪ B_noise: both proportional to B; B ≫ B_noise: steepest descent. Steps and examples to a target then obey
    (S/S_min − 1)(E/E_min − 1) = 1 with S ∝ 1 + B_noise/B, E ∝ 1 + B/B_noise.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eqs. (2.6)–(2.7); `papers/smith_chaudhari.md` §4.1.

    >>> found = best_step([0.3, -0.4], [[1.0, -0.2], [-0.2, 0.5]], [[2.0, 0.3], [0.3, 0.5]], batch_size=10)
    >>> round(found.learning_rate, 6), round(found.loss_decrease, 6)
    (0.623441, 0.07793)
    """
    mean, covariance, curvature = _local(gradient, gradient_covariance, hessian)
    size = _checks.positive("batch_size", batch_size)
    _bend(mean, curvature)
    square = float(mean @ mean)
    rate = square / (float(mean @ curvature @ mean) + float(np.sum(curvature * covariance)) / size)
    return BestStep(rate, rate * square / 2)


def _gradient(gradient: ArrayLike) -> Array:
    mean = _checks.vector("gradient", gradient)
    if not mean.any():
        msg = "gradient must not be zero: without signal no finite batch size balances the noise."
        raise ValueError(msg)
    return mean


def _local(gradient: ArrayLike, covariance: ArrayLike, hessian: ArrayLike) -> tuple[Array, Array, Array]:
    mean = _gradient(gradient)
    noise = _checks.symmetric("gradient_covariance", covariance, len(mean), definite="semi")
    return mean, noise, _checks.symmetric("hessian", hessian, len(mean))


def _bend(mean: Array, curvature: Array) -> float:
    bend = float(mean @ curvature @ mean)
    if bend <= 0:
        msg = f"hessian must curve upwards along the gradient, but ∇LᵀH∇L = {bend:.6g}: no step is best there."
        raise ValueError(msg)
    return bend
