"""How far a chain in its stationary law moves in a number of steps."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise.theory.linear.chain import LinearChain, checked_chain


def mean_square_displacement(chain: LinearChain, lag: int) -> float:
    r"""Mean square distance that a stationary chain moves in `lag` steps.

    Equation: E|θ_{t+k} − θ_t|² = 2 Tr(Σ − Γ_k).

    ========  ======  =====  ======================
    argument  symbol  shape  scale
    ========  ======  =====  ======================
    chain     –       –      a `LinearChain`
    lag       k       ()     steps
    returns   –       ()     parameter²
    ========  ======  =====  ======================

    Assumptions: stationary chain.
    Limit: k → ∞ gives 2 Tr Σ. With h_l = l^{−α} and C = H it grows as k^{1/α} at intermediate k: anomalous diffusion.

    Reference: Kunin et al. (2021), arXiv 2107.09133; the exponent 1/α derived here.

    >>> from gradnoise.theory import linear_chain
    >>> chain = linear_chain([[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]], learning_rate=0.1, batch_size=1)
    >>> round(mean_square_displacement(chain, 1), 7)
    0.0213675
    """
    chain = checked_chain(chain)
    return 2 * float(np.trace(chain.covariance - chain.autocovariance(_checks.integer("lag", lag, low=0))))
