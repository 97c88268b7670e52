"""Checks of arguments: one clear error that names the argument, what was expected and what came.

Every check returns the value in the form the caller computes with, so that `learning_rate = positive("learning_rate",
learning_rate)` is both the check and the conversion. No JAX here.
"""

from gradnoise._checks.arrays import array, square, symmetric, symmetrised, vector
from gradnoise._checks.batches import BYTES_OF_INDEX, SAMPLINGS, batch_size, drawn_batch, drop_last, fits, memory
from gradnoise._checks.scalars import (
    LARGEST,
    MOST,
    SMALLEST,
    flag,
    integer,
    integers,
    momentum,
    positive,
    real,
    shown,
    squarable,
    within,
)
from gradnoise._checks.wording import function, keywords, one_of, path, problem, progress, words

__all__ = [
    "BYTES_OF_INDEX", "LARGEST", "MOST", "SAMPLINGS", "SMALLEST", "array", "batch_size", "drawn_batch", "drop_last", "fits", "flag", "function",
    "integer", "integers", "keywords", "memory", "momentum", "one_of", "path", "positive", "problem", "progress", "real", "shown",
    "squarable", "square", "symmetric", "symmetrised", "vector", "within", "words",
]  # fmt: skip
