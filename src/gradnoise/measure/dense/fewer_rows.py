"""A problem seen through a few of its rows, for what changes little from row to row: differences between two laws."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gradnoise import _tree
from gradnoise._types import AnyArray, Pytree
from gradnoise.problem import Problem


@_tree.record()
class FewerRows:
    """Rows of a problem, each with the loss that it has in the whole: the prior counts 1/N of it in every row, not 1/R.

    Attributes
    ----------
    problem
        The problem of these R rows alone.
    data
        Its rows.
    share
        R/N.
    """

    problem: Problem
    data: Pytree
    share: float

    @property
    def init(self) -> Pytree:
        """Initial parameters, for their shape."""
        return self.problem.init

    @property
    def num_examples(self) -> int:
        """R."""
        return self.problem.num_examples

    @property
    def num_params(self) -> int:
        """D."""
        return self.problem.num_params

    def flatten(self, params: Pytree) -> AnyArray:
        """Return params as one vector (D,)."""
        return self.problem.flatten(params)

    def example_loss(self, params: Pytree, example: Pytree) -> Any:
        """Loss of one example in the whole problem."""
        loss = self.problem.example_loss(params, example)
        if self.problem.log_prior is None:
            return loss
        more = () if self.problem.hyperparams is None else (self.problem.hyperparams,)
        return loss + self.problem.log_prior(params, *more) * (1 - self.share) / self.num_examples


def fewer_rows(problem: Problem, count: int) -> FewerRows:
    """Return `count` rows of a problem, drawn once and for all."""
    chosen = np.sort(np.random.default_rng(0).choice(problem.num_examples, count, replace=False))
    data = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], problem.data)
    return FewerRows(dataclasses.replace(problem, data=data), data, count / problem.num_examples)
