"""How irreversible a chain is."""

from __future__ import annotations

import numpy as np

from gradnoise.theory.linear.chain import LinearChain, checked_chain
from gradnoise.theory.posterior.gaussian_kl import gaussian_kl


def entropy_production(chain: LinearChain) -> float:
    r"""Entropy that a stationary Gaussian chain produces in one step: how irreversible its positions are, exact in discrete time.

    Equation: σ = KL(law of (θ_t, θ_{t+1}) ‖ law of (θ_{t+1}, θ_t)).

    ========  ======  =====  ==============================
    argument  symbol  shape  scale
    ========  ======  =====  ==============================
    chain     –       –      a `LinearChain`
    returns   σ       ()     nats a step
    ========  ======  =====  ==============================

    Assumptions: Gaussian noise in every direction. With momentum the positions alone are no Markov chain: σ is then a lower bound.
    Limit: small steps η give η times `circulation(...).entropy_production`; commuting H and C give 0.

    Reference: Kullback–Leibler form of the entropy production of a Markov chain, Gaspard (2004), J. Stat. Phys. 117; the Gaussian form is
    derived here.

    >>> from gradnoise.theory import linear_chain
    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.8], [0.8, 1.0]]
    >>> round(entropy_production(linear_chain(H, C, learning_rate=0.01, batch_size=4)) / 0.01, 4)
    1.6064
    """
    chain = checked_chain(chain)
    sigma, ahead = chain.covariance, chain.autocovariance(1)
    fresh = np.linalg.eigvalsh(sigma - ahead @ np.linalg.lstsq(sigma, ahead.T, rcond=None)[0])
    if fresh[0] <= 1e-12 * fresh[-1]:
        msg = (
            "chain must have noise in every direction, but one has none: there the next step is known, and the entropy production is "
            "infinite where a current flows and undefined elsewhere. Work in the directions that move, or add isotropic noise."
        )
        raise ValueError(msg)
    return gaussian_kl(np.block([[sigma, ahead.T], [ahead, sigma]]), np.block([[sigma, ahead], [ahead.T, sigma]]))
