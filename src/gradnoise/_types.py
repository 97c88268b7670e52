"""Array types that signatures share. No JAX here: `theory` imports this module."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]  # what theory and results hold: float64 NumPy
AnyArray = NDArray[Any]
Sampling = Literal["with_replacement", "without_replacement", "shuffled"]
Pytree = Any

__all__ = ["AnyArray", "Array", "ArrayLike", "Pytree", "Sampling"]
