"""SGD on a quadratic as a `LinearChain`: from the noise of one example, or of one step."""

from __future__ import annotations

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.chain import LinearChain
from gradnoise.theory.linear.modes import checked_preconditioner, modes_of
from gradnoise.theory.linear.stability_edge import require_forgetting, require_stable
from gradnoise.theory.noise.batch_noise import batch_noise


def linear_chain(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    injected: ArrayLike | None = None,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> LinearChain:
    r"""LinearChain of SGD with independent minibatches on a quadratic; see `chain_from_noise` for its matrices.

    Equation: `chain_from_noise` with S = C/B, or (C/B)(N−B)/(N−1) without replacement.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate; symmetric positive
    injected             W       (D, D)  parameter², covariance of ξ added to θ each step
    num_examples         N       ()      examples; needed without replacement
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `LinearChain`
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss, constant noise. Shuffled epochs are no such chain and raise: use `stationary_covariance`.
    Limit: `.covariance` is `stationary_covariance(...)`.

    Reference: Liu, Ziyin, Ueda (2021), as a linear recursion in (θ, v); the recursion is derived here.

    >>> chain = linear_chain([[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]], learning_rate=0.5, batch_size=4)
    >>> round(chain.iact([0.0, 1.0]), 6), round(chain.iact([0.0, 1.0], quadratic=True), 6)
    (8.179707, 4.204426)
    """
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=num_examples)
    return chain_from_noise(
        _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance"),
        noise,
        learning_rate=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        preconditioner=preconditioner,
        injected=injected,
    )


def chain_from_noise(
    hessian: ArrayLike,
    noise: ArrayLike,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    injected: ArrayLike | None = None,
) -> LinearChain:
    r"""LinearChain of SGD on a quadratic from the covariance S of one step's gradient.

    Equation, P with the learning rate, state (θ, v = P m): F = [[I−PH, −μI], [PH, μI]], G = [−P; P] (heavy ball);
    F = [[I−(1+μ)PH, −μ²I], [PH, μI]], G = [−(1+μ)P; P] (Nesterov); F = I−PH, G = −P (no momentum); Ω = G S Gᵀ + diag(W, 0).

    ==============  ======  ======  ================================================
    argument        symbol  shape   scale
    ==============  ======  ======  ================================================
    hessian         H       (D, D)  curvature of the mean loss
    noise           S       (D, D)  gradient², per step
    learning_rate   η       ()      parameter²/loss
    momentum        μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner  P       (D, D)  multiplies the learning rate; symmetric positive
    injected        W       (D, D)  parameter², covariance of ξ added to θ each step
    nesterov        –       –       False (default): m_new moves θ; True: g + μ m_new
    returns         –       –       `LinearChain`
    ==============  ======  ======  ================================================

    Assumptions: quadratic loss, noise independent from step to step.
    Limit: S = 0, W = 2P/N is the full-batch Langevin algorithm.

    Reference: Liu, Ziyin, Ueda (2021), as a linear recursion derived here; the state holds P m instead of m, so that all its entries are parameters.

    >>> chain_from_noise([[2.0, 0.0], [0.0, 1.0]], [[0.3, 0.1], [0.1, 0.2]], learning_rate=0.5).covariance.round(6)
    array([[0.075   , 0.025   ],
           [0.025   , 0.066667]])
    """
    hessian = _checks.symmetric("hessian", hessian, definite="positive")
    size = len(hessian)
    noise = _checks.symmetric("noise", noise, size, definite="semi")
    mu = _checks.momentum(momentum)
    scaled = checked_preconditioner(learning_rate, preconditioner, size)
    added = (
        np.zeros((size, size)) if injected is None else _checks.symmetric("injected", injected, size, definite="semi")
    )
    found = modes_of(hessian, scaled)
    require_stable(found, learning_rate, mu, nesterov)
    require_forgetting("learning_rate", found.rates, 1e-15)
    step = scaled * np.eye(size) if np.ndim(scaled) == 0 else np.asarray(scaled)
    return _assemble(step @ hessian, step, noise, added, mu, nesterov)


def _assemble(drift: Array, step: Array, noise: Array, added: Array, mu: float, nesterov: bool) -> LinearChain:
    one = np.eye(len(step))
    if mu == 0:
        return LinearChain(one - drift, step @ noise @ step.T + added, one)
    direct, kept = (1 + mu, mu**2) if nesterov else (1.0, mu)
    transition = np.block([[one - direct * drift, -kept * one], [drift, mu * one]])
    gain = np.vstack([-direct * step, step])
    total = gain @ noise @ gain.T
    total[: len(step), : len(step)] += added
    return LinearChain(transition, total, np.hstack([one, np.zeros_like(one)]))
