"""The temperature of minibatch noise."""

from __future__ import annotations

from gradnoise import _checks
from gradnoise.theory.noise.batch_noise import noise_factor


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
