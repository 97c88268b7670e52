"""What a batch size costs: optimisation steps against examples."""

from __future__ import annotations

from dataclasses import dataclass

from gradnoise import _checks


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

    Reference: McCandlish, Kaplan, Amodei et al. (2018), eqs. (2.11) and (2.12); `papers/smith_chaudhari.md` §4.1.

    >>> found = batch_tradeoff(batch_size=64, critical_batch_size=256, fewest_steps=1000)
    >>> found.steps, found.examples, (found.steps / found.fewest_steps - 1) * (found.examples / found.fewest_examples - 1)
    (5000.0, 320000.0, 1.0)
    """
    size = _checks.positive("batch_size", batch_size)
    critical = _checks.positive("critical_batch_size", critical_batch_size)
    fewest = _checks.positive("fewest_steps", fewest_steps)
    steps = fewest * (1 + critical / size)
    return BatchTradeoff(steps, size * steps, fewest, critical * fewest)
