"""Oracles: where the stochastic gradient and its noise come from.

An oracle has ``draw(stream, steps, spec) -> draws`` (all randomness of the K steps), ``gradient(problem, params, batch,
draws)``, ``reads`` = "rows" (draws name them in a leaf ``indices``; the engine gathers) or "all", ``words_per_step(spec)``,
``period(spec)``, ``check(spec)`` and ``noise(gradient_covariance, num_examples)``, the covariance of one step's gradient.
"""

from gradnoise.oracles.rows import Minibatch, minibatch
from gradnoise.oracles.smooth import FullBatch, Gaussian, full_batch, gaussian

__all__ = ["FullBatch", "Gaussian", "Minibatch", "full_batch", "gaussian", "minibatch"]
