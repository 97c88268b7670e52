"""Oracles: where the stochastic gradient and its noise come from.

An oracle has ``draw(stream, steps, spec) -> draws`` (all randomness of the K steps), ``gradient(problem, params, batch,
draws)``, ``reads`` = "rows" (draws name them in a leaf ``indices``; the engine gathers) or "all", ``words_per_step(spec)``,
``period(spec)``, ``check(spec)`` and ``noise(gradient_covariance, num_examples)``, the covariance of one step's gradient.
"""

from gradnoise.oracles.break_even_batches import BreakEven, break_even, difference_covariance
from gradnoise.oracles.control_variates import ControlVariate, control_variate
from gradnoise.oracles.full_batches import FullBatch, Gaussian, full_batch, gaussian
from gradnoise.oracles.minibatches import Minibatch, minibatch

__all__ = [
    "BreakEven",
    "ControlVariate",
    "FullBatch",
    "Gaussian",
    "Minibatch",
    "break_even",
    "control_variate",
    "difference_covariance",
    "full_batch",
    "gaussian",
    "minibatch",
]
