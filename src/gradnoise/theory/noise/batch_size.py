"""The batch size that pays: where noise serves generalisation, and the exchange of steps for examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks


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


@dataclass(frozen=True)
class BatchTradeoff:
    """Price of a batch size.

    Attributes
    ----------
    steps
        S, steps to the target.
    examples
        E = BS, examples to the target.
    fewest_steps
        S_min, with infinite batches.
    fewest_examples
        E_min, one example a step.
    """

    steps: float
    examples: float
    fewest_steps: float
    fewest_examples: float


def batch_tradeoff(*, batch_size: float, critical_batch_size: float, fewest_steps: float) -> BatchTradeoff:
    r"""Return the steps and examples that SGD at its best learning rate needs to reach a target, by batch size.

    Equation: S = S_min (1 + B_crit/B), E = E_min (1 + B/B_crit), E_min = B_crit S_min: (S/S_min − 1)(E/E_min − 1) = 1.

    ===================  ======  =====  ==========================================
    argument             symbol  shape  scale
    ===================  ======  =====  ==========================================
    batch_size           B       ()     examples a step, any number > 0
    critical_batch_size  B_crit  ()     examples; `critical_noise_scale` for one step
    fewest_steps         S_min   ()     steps to the target with infinite batches
    returns              –       –      `BatchTradeoff`: steps, examples
    ===================  ======  =====  ==========================================

    Assumptions: each step is the best one of `best_step` and lowers the loss by little; B_crit the same all the way (in training
    it grows: take its average).
    Limit: B = B_crit needs twice S_min steps and twice E_min examples. B ≪ B_crit wastes steps, B ≫ B_crit examples.

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eqs. (2.11) and (2.12); `docs/derivations/noise_scale.md`.

    >>> found = batch_tradeoff(batch_size=64, critical_batch_size=256, fewest_steps=1000)
    >>> found.steps, found.examples, (found.steps / found.fewest_steps - 1) * (found.examples / found.fewest_examples - 1)
    (5000.0, 320000.0, 1.0)
    """
    size = _checks.positive("batch_size", batch_size)
    critical = _checks.positive("critical_batch_size", critical_batch_size)
    fewest = _checks.positive("fewest_steps", fewest_steps)
    steps = fewest * (1 + critical / size)
    return BatchTradeoff(steps, size * steps, fewest, critical * fewest)
