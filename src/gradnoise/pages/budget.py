"""Budget: seconds turned into numbers of steps by a model of their cost, not by the clock.

The same command therefore simulates the same steps on every machine; a slower one only takes longer. The choice of the
reference (`infer.reference`, "auto") is not made by it: that one is timed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SORTED_BELOW = 1024  # shuffled epochs below this many rows are sorted each time a block touches them
# Of the simulation time; the recommended sampler gets most.
SHARES = {"independent": 0.15, "shuffled": 0.15, "scalar": 0.08, "diagonal": 0.08, "full": 0.15, "corrected": 0.24}


class Budget(NamedTuple):
    """CPU seconds for all simulations of a report.

    Attributes
    ----------
    seconds
        For all together.
    """

    seconds: float

    def steps(self, purpose: str, problem: Any, batch_size: int) -> int:
        """Chain-steps that the share of `purpose` pays for (a key of `SHARES`)."""
        cost = step_seconds(problem, batch_size, shuffled=purpose == "shuffled")
        return max(1, int(self.seconds * SHARES[purpose] / cost))


def step_seconds(problem: Any, batch_size: int, *, shuffled: bool = False) -> float:
    """CPU seconds of one step of one chain among many: 100 ns, and 2.5 ns + 0.35 ns a parameter for each row.

    Fitted on two cores of a server to linear and logistic regression, D = 12 and 31, B = 4, 32, 256 (within 20 %).
    Shuffling adds 4 ns a row, 35 ns where whole epochs are sorted.
    """
    row = 2.5 + 0.35 * problem.num_params
    if shuffled:
        row += 35.0 if problem.num_examples < SORTED_BELOW else 4.0
    return float(1e-9 * (100 + batch_size * row))
