"""What results are made of: numbers that carry their own uncertainty. No JAX here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number (or array) estimated from a sample, with its standard error.

    Attributes
    ----------
    value
        The estimate; a float or an array.
    standard_error
        Its standard error, same shape and unit as `value`.
    n
        Number of independent pieces behind it (chains, batches, probes).
    """

    value: Any
    standard_error: Any
    n: int

    def z(self, expected: Any) -> Any:
        """Return (value - expected) / standard_error, elementwise."""
        return (np.asarray(self.value) - np.asarray(expected)) / np.asarray(self.standard_error)

    def __format__(self, spec: str) -> str:
        """Format as `value ± standard_error`, each with `spec`; of an array its shape."""
        if np.ndim(self.value) > 0:
            return repr(self)
        spec = spec or ".4g"
        return f"{float(self.value):{spec}} ± {float(self.standard_error):{spec}}"

    def __repr__(self) -> str:
        if np.ndim(self.value) == 0:
            return f"Estimate({self:.4g}, n={self.n})"
        return f"Estimate(shape={np.shape(self.value)}, n={self.n})"


def mean_of(values: Any) -> Estimate:
    """Return the mean over the first axis with its standard error.

    Parameters
    ----------
    values
        Independent values, shape (n, ...), n >= 2.
    """
    values = np.asarray(values, dtype=np.float64)
    n = values.shape[0]
    if n < 2:
        msg = f"values must hold at least two independent pieces along its first axis, got shape {values.shape}."
        raise ValueError(msg)
    return Estimate(values.mean(0), values.std(0, ddof=1) / math.sqrt(n), n)
