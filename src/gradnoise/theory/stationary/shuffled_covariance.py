"""The law of SGD over shuffled epochs: one pass over a fresh permutation, as data loaders do."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.linear.modes import Modes, checked_preconditioner, modes_of
from gradnoise.theory.linear.stability_edge import checked_rates, rate_edge, require_forgetting, require_stable
from gradnoise.theory.stationary.epoch import SLOWEST, epoch_of


def shuffled_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    num_examples: int | None,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    position: str | int = "mean",
    drop_last: bool = True,
) -> Array:
    r"""Stationary covariance of SGD over shuffled epochs on a quadratic, exact in discrete time.

    Equation, n steps an epoch, ⌊N/B⌋ (drop_last) or ⌈N/B⌉: Z = Fⁿ Z Fⁿᵀ + K_n at epoch ends, Fᵏ Z Fᵏᵀ + K_k after k steps,
    K_m = 1/(N−1) [ Σ_{j<m} (N/b) Fʲ G C Gᵀ Fʲᵀ − (Σ_{j<m} Fʲ G) C (Σ_{j<m} Fʲ G)ᵀ ]; F, G of `chain_from_noise`, Σ = Z_θθ; b is the
    size of that step's batch: B, or r = N mod B in the last step of an epoch that keeps the rest (j = 0 of m = n).

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    num_examples         N       ()      examples
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate; symmetric positive
    position             –       –       "mean" over steps 1…n, "end" of an epoch, or k in 0…n
    drop_last            –       –       True (default): the last N − ⌊N/B⌋B examples are left out; False: a smaller batch
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: quadratic loss whose per-example gradients differ by constants; each epoch an independent, exact permutation; every
    batch gradient is the mean over its own examples, so that each of the last r counts B/r times as much. PyTorch's DataLoader,
    Keras' fit and tf.data keep the rest by default (drop_last=False here); drop_last=True, drop_remainder=True drop it there.
    Limit: along a direction with x = ηλN/B ≪ 1 the variance is x/3 (mean) or x²/12 (end) of the independent one. A rest r > 0 adds
    r/(N−1) of the independent one if it is dropped, and (B − r)²/(r(N−1)) · m/(m+1), m = ⌊N/B⌋, if it is kept: (B/r − 1)² m/(m+1)
    times as much, which can be more than independent batches have. One batch an epoch gives sampling without replacement.

    Reference: Kühn and Rosenow (2023), arXiv 2306.05300, for the anticorrelation of an epoch's noise; the law is derived here.
    Two batches of one epoch have covariance −C/(N−1), whether or not a remainder is dropped. If n B = N the bracket is
    n/(n−1) Σ FʲGSGᵀFʲᵀ − (ΣFʲG) S (ΣFʲG)ᵀ/(n−1), S = (C/B)(N−B)/(N−1); with a remainder that form would be wrong. The same in other
    words (one direction): example i has one weight w_i = −η fˢ/b over the epoch, and K_n = C N/(N−1) (Σ w_i² − (Σ w_i)²/N).

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> shuffled_covariance(H, C, learning_rate=0.1, batch_size=1, num_examples=2, position="end").round(8)
    array([[6.7751e-04, 0.0000e+00],
           [0.0000e+00, 5.3910e-05]])
    >>> epoch = {"learning_rate": 0.1, "batch_size": 3, "num_examples": 4}
    >>> [float(shuffled_covariance(H, C, drop_last=drop, **epoch)[1, 1].round(6)) for drop in (True, False)]
    [0.004558, 0.009801]
    """
    found, covariance, setting = _prepared(
        hessian,
        gradient_covariance,
        learning_rate,
        batch_size,
        num_examples,
        momentum,
        nesterov,
        preconditioner,
        drop_last,
    )
    return found.covariance(shuffled_weights(found.rates, position=position, **setting) * covariance)


def shuffled_weights(
    rates: ArrayLike,
    *,
    num_examples: int,
    batch_size: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    position: str | int = "mean",
    drop_last: bool = True,
) -> Array:
    r"""Factors that turn the per-example gradient covariance in the modes of PH into the covariance over shuffled epochs.

    Equation: Φ_ij = weight_ij (BᵀCB)_ij with the Z of `shuffled_covariance` for two modes and unit covariance.

    ============  ======  ======  ==============================================
    argument      symbol  shape   scale
    ============  ======  ======  ==============================================
    rates         r       (D,)    dimensionless: learning rate times curvature
    num_examples  N       ()      examples
    batch_size    B       ()      examples a step
    momentum      μ       ()      m ← μ m + g; θ ← θ − m
    position      –       –       "mean" over steps 1…n, "end", or k in 0…n
    nesterov      –       –       False (default): m_new moves θ; True: g + μ m_new
    drop_last     –       –       True (default): the rest of N/B is left out; False: it is a smaller last batch
    returns       –       (D, D)  1/examples
    ============  ======  ======  ==============================================

    Assumptions: as `shuffled_covariance`; rates inside (0, `rate_edge`).
    Limit: B divides N and r N/B = x ≪ 1: N/(6B²) (mean) and r N²/(24B³) (end), against 1/(2rB) for independent batches.

    Reference: as `shuffled_covariance`.

    >>> shuffled_weights([0.2, 0.5], num_examples=2, batch_size=1, position="end").round(6)
    array([[0.067751, 0.119048],
           [0.119048, 0.266667]])
    """
    examples, mu = _checks.integer("num_examples", num_examples), _checks.momentum(momentum)
    size = _checks.batch_size(batch_size, examples, "shuffled")
    values = checked_rates(rates, edge=rate_edge(momentum=mu, nesterov=nesterov))
    require_forgetting("rates", values, SLOWEST)
    epoch = epoch_of(values, examples, size, mu, nesterov, _checks.drop_last(drop_last))
    if isinstance(position, str):
        if position == "mean":
            return np.asarray(epoch.mean()[..., 0, 0])
        if position == "end":
            return np.asarray(epoch.ends()[..., 0, 0])
        msg = f"position must be 'mean', 'end' or a step of the epoch (0 to {epoch.steps}), got {position!r}."
        raise ValueError(msg)
    return np.asarray(epoch.after(_checks.integer("position", position, low=0, high=epoch.steps))[..., 0, 0])


def epoch_average_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    num_examples: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    drop_last: bool = True,
) -> Array:
    r"""Covariance of the average of all iterates of one shuffled epoch.

    Equation: M Z Mᵀ + 1/(N−1) [ Σ_j (N/b_j) W_j C W_jᵀ − (Σ_j W_j) C (Σ_j W_j)ᵀ ], M = (1/n) Σ_{k=1..n} Fᵏ,
    W_j = (1/n) Σ_{i<n−j} Fⁱ G and b_j examples in the j-th batch (j = 0…n−1), Z the covariance at epoch ends.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    num_examples         N       ()      examples
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate; symmetric positive
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    drop_last            –       –       True (default): the last N − ⌊N/B⌋B examples are left out; False: a smaller batch
    returns              –       (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: as `shuffled_covariance`.
    Limit: B dividing N: far below H⁻¹CH⁻¹/N, the covariance of averages over independent batches: why iterate averaging refuses epochs.

    Reference: derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    >>> epoch_average_covariance(H, C, learning_rate=0.1, batch_size=1, num_examples=2).round(8)
    array([[0.00195122, 0.        ],
           [0.        , 0.00237188]])
    """
    found, covariance, setting = _prepared(
        hessian,
        gradient_covariance,
        learning_rate,
        batch_size,
        num_examples,
        momentum,
        nesterov,
        preconditioner,
        drop_last,
    )
    return found.covariance(epoch_of(found.rates, **setting).average()[..., 0, 0] * covariance)


def fixed_order_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    num_examples: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    preconditioner: ArrayLike | None = None,
    drop_last: bool = True,
) -> Array:
    r"""Covariance over orders of the epoch-end iterate when the data are shuffled once and then read in that order for ever.

    Equation: (I − Fⁿ)⁻¹ K_n (I − Fⁿ)⁻ᵀ, K_n of `shuffled_covariance`: for one order the iterates settle on a cycle.

    ===================  ======  ======  ================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example
    learning_rate        η       ()      parameter²/loss
    batch_size           B       ()      examples a step
    num_examples         N       ()      examples
    momentum             μ       ()      m ← μ m + g; θ ← θ − η P m
    preconditioner       P       (D, D)  multiplies the learning rate; symmetric positive
    nesterov             –       –       False (default): m_new moves θ; True: g + μ m_new
    drop_last            –       –       True (default): the last N − ⌊N/B⌋B examples are left out; False: a smaller batch
    returns              –       (D, D)  parameter²
    ===================  ======  ======  ================================================

    Assumptions: as `shuffled_covariance`, with one permutation for all epochs.
    Limit: B = N gives 0.

    Reference: derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    >>> fixed_order_covariance(H, C, learning_rate=0.1, batch_size=1, num_examples=2).round(8)
    array([[0.00308642, 0.        ],
           [0.        , 0.00262985]])
    """
    found, covariance, setting = _prepared(
        hessian,
        gradient_covariance,
        learning_rate,
        batch_size,
        num_examples,
        momentum,
        nesterov,
        preconditioner,
        drop_last,
    )
    return found.covariance(epoch_of(found.rates, **setting).fixed_order()[..., 0, 0] * covariance)


def _prepared(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    learning_rate: Any,
    batch_size: Any,
    num_examples: Any,
    momentum: Any,
    nesterov: bool,
    preconditioner: ArrayLike | None,
    drop_last: Any,
) -> tuple[Modes, Array, dict[str, Any]]:
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    hessian = _checks.symmetric("hessian", hessian, len(covariance), definite="positive", like="gradient_covariance")
    examples = None if num_examples is None else _checks.integer("num_examples", num_examples)
    size, mu = _checks.batch_size(batch_size, examples, "shuffled"), _checks.momentum(momentum)
    found = modes_of(hessian, checked_preconditioner(learning_rate, preconditioner, len(covariance)))
    require_stable(found, learning_rate, mu, nesterov)
    require_forgetting("learning_rate", found.rates, SLOWEST)
    setting = {"num_examples": examples, "batch_size": size, "momentum": mu, "nesterov": nesterov}
    setting["drop_last"] = _checks.drop_last(drop_last)
    return found, found.gradient_noise(covariance), setting
