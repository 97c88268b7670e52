"""Where a Gaussian law with one curvature no longer tells what SGD does: curvature that changes over the iterates' own law."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh

from gradnoise import derivatives, theory
from gradnoise._types import Array

FAR = 3.0  # standard deviations within which an iterate must find itself stable
EDGE = 2.0  # learning rate times curvature where a direction turns unstable
SATURATED = 0.999  # relative change up to which the logarithm of a curvature is taken to be linear


class CurvatureChange(NamedTuple):
    """How the curvature changes over a law.

    Attributes
    ----------
    slope
        (h₊ - h₋)/(h₊ + h₋), the largest over the directions, for curvatures h one standard deviation of the iterates either side.
    reach
        Learning rate times curvature `FAR` standard deviations out on the stiff side, where its logarithm goes on as it starts:
        the largest over the directions. At 2 and above iterates visit places where SGD is unstable and are thrown out of them.
    """

    slope: float
    reach: float

    @property
    def missed(self) -> float:
        """Relative variance of window means that constant curvature leaves out, about slope²/4.

        A window's mean of the squared deviation δ² fluctuates by 2s⁴τ₂/T with τ₂ ≈ τ/2, enters its mean of θ by half the relative
        slope of the curvature, κ = slope/s, and is weighed against s²τ/T. On logistic regressions of 10 to 40 successes 0.01 to
        0.04 was measured and 0.02 to 0.08 comes out here.
        """
        return self.slope**2 / 4

    @property
    def unstable(self) -> bool:
        """Whether iterates visit places where the step is beyond the edge."""
        return self.reach >= EDGE


def curvature_change(
    problem: Any, mean: Array, chain: theory.LinearChain, hessian: Array, *, rate: float, preconditioner: Array | None
) -> CurvatureChange:
    """Read the curvature one standard deviation of the iterates to either side of their mean, along every direction of the step."""
    metric = np.eye(len(mean)) if preconditioner is None else np.linalg.inv(preconditioner)
    curvatures, directions = eigh(hessian, metric)  # vᵀ metric v = 1
    slope, reach = 0.0, 0.0
    for curvature, direction in zip(curvatures, directions.T, strict=True):
        dual = metric @ direction
        spread = math.sqrt(max(float(dual @ chain.covariance @ dual), 0.0))
        ends = [
            float(direction @ derivatives.hessian_product(problem, mean + side * spread * direction, direction))
            for side in (-1.0, 1.0)
        ]
        change = min(abs(ends[1] - ends[0]) / max(sum(ends), 1e-300), SATURATED)
        slope, reach = max(slope, change), max(reach, rate * curvature * math.exp(FAR * math.atanh(change)))
    return CurvatureChange(slope, reach)
