"""The covariance of one step's gradient, and the scalar noise scale."""

from __future__ import annotations

from typing import Any

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike


def batch_noise(
    gradient_covariance: ArrayLike,
    *,
    batch_size: int,
    sampling: str = "with_replacement",
    num_examples: int | None = None,
) -> Array:
    r"""Covariance of one minibatch gradient, for batches that are independent from step to step.

    Equation: S = C/B with replacement, S = (C/B)(N−B)/(N−1) for a fresh random subset each step.

    ===================  ======  ======  ===================================
    argument             symbol  shape   scale
    ===================  ======  ======  ===================================
    gradient_covariance  C       (D, D)  gradient², per example
    batch_size           B       ()      examples a step
    sampling             –       –       "shuffled" raises
    num_examples         N       ()      examples; needed without replacement
    returns              S       (D, D)  gradient², per step
    ===================  ======  ======  ===================================

    Assumptions: C taken where the iterates are; steps draw independently. Shuffled epochs are not independent noise:
    `stationary_covariance(sampling="shuffled")` has their law.
    Limit: B = N without replacement gives 0; N → ∞ makes the two samplings equal.

    Reference: Mandt, Hoffman, Blei (2017), eq. (6), which leaves the sampling open; the finite-population factor is
    Cochran (1977), Sampling Techniques, chapter 2.

    >>> batch_noise([[1.0, -0.2], [-0.2, 0.4]], batch_size=4)
    array([[ 0.25, -0.05],
           [-0.05,  0.1 ]])
    >>> batch_noise([[2.0, 0.0], [0.0, 4.0]], batch_size=2, sampling="without_replacement", num_examples=5)
    array([[0.75, 0.  ],
           [0.  , 1.5 ]])
    """
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    return covariance * noise_factor(batch_size=batch_size, sampling=sampling, num_examples=num_examples)


def noise_factor(*, batch_size: Any, sampling: str = "with_replacement", num_examples: int | None = None) -> float:
    r"""Factor that turns the per-example gradient covariance into that of one step's gradient.

    Equation: f = 1/B with replacement, f = (N−B)/(B(N−1)) without.

    ============  ======  =====  =================================
    argument      symbol  shape  scale
    ============  ======  =====  =================================
    batch_size    B       ()     examples a step
    sampling      –       –      "shuffled" raises
    num_examples  N       ()     examples
    returns       f       ()     1/examples
    ============  ======  =====  =================================

    Assumptions: steps draw independently.
    Limit: B = N without replacement gives 0.

    Reference: Cochran (1977), Sampling Techniques, chapter 2, theorem 2.2 (its S² = C N/(N−1)).

    >>> noise_factor(batch_size=4), noise_factor(batch_size=2, sampling="without_replacement", num_examples=5)
    (0.25, 0.375)
    """
    sampling = _checks.one_of("sampling", sampling, _checks.SAMPLINGS)
    if sampling == "shuffled":
        msg = (
            "sampling must be 'with_replacement' or 'without_replacement' here, got 'shuffled'. The batches of an epoch are not "
            "independent noise; stationary_covariance(..., sampling='shuffled') has their law."
        )
        raise ValueError(msg)
    examples = None if num_examples is None else _checks.integer("num_examples", num_examples)
    size = _checks.batch_size(batch_size, examples, sampling)
    if sampling == "with_replacement" or examples is None:
        return 1 / size
    return (examples - size) / (size * max(examples - 1, 1))


def noise_scale(*, learning_rate: float, batch_size: int, num_examples: int, momentum: float = 0.0) -> float:
    r"""Noise scale of Smith and Le: the one number small-step SGD noise depends on.

    Equation: g = η (N/B − 1)/(1 − μ).

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    learning_rate  η       ()     parameters per gradient of the mean loss
    batch_size     B       ()     examples a step
    num_examples   N       ()     examples
    momentum       μ       ()     m ← μ m + g; θ ← θ − η m
    returns        g       ()     as η; the gradient of the *mean* loss
    =============  ======  =====  ==========================================

    Assumptions: small step. Batches without replacement: then (η/N)² Var(total gradient) = (η/N) g F exactly, with F the
    per-example covariance normalised by N − 1 (F = C N/(N−1)).
    Limit: B = N gives 0; B ≪ N gives η N/(B(1 − μ)).

    Reference: Smith and Le (2018), A Bayesian perspective on generalization and SGD, g = ε(N/B − 1); momentum factor from
    Smith et al. (2018), appendix D, here with N/B − 1 kept.

    >>> round(noise_scale(learning_rate=0.1, batch_size=10, num_examples=1000, momentum=0.9), 9)
    99.0
    """
    rate = _checks.positive("learning_rate", learning_rate)
    examples = _checks.integer("num_examples", num_examples)
    size = _checks.batch_size(batch_size, examples, "without_replacement")
    return rate * (examples / size - 1) / (1 - _checks.momentum(momentum))


def epoch_noise_autocovariance(
    gradient_covariance: ArrayLike, *, num_examples: int, batch_size: int, lag: int, drop_last: bool = True
) -> Array:
    r"""Autocovariance of the gradient noise of shuffled epochs at frozen parameters, averaged over the steps of an epoch.

    Equation: Γ_0 = C (N b̄ − 1)/(N−1), Γ_h = −(C/(N−1))(M−h)/M for 1 ≤ h < M, 0 from h = M on; M = ⌊N/B⌋ steps and b̄ = 1/B where the
    rest is dropped, Γ_0 = (C/B)(N−B)/(N−1) then; M = ⌈N/B⌉ and b̄ the mean of 1/size over the M batches where it is kept.

    ===================  ======  ======  ======================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================
    gradient_covariance  C       (D, D)  gradient², per example
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step, at most N
    lag                  h       ()      steps, ≥ 0
    drop_last            –       –       True (default): the last N − ⌊N/B⌋B examples are left out; False: a smaller batch
    returns              Γ_h     (D, D)  gradient²
    ===================  ======  ======  ======================

    Assumptions: a new order each epoch; every batch gradient is the mean over its own examples; parameters stay where they are.
    Limit: where B divides N, Γ_h = −Γ_0 (M−h)/(M(M−1)) and Γ_0 + 2ΣΓ_h = 0: no noise at zero frequency. With a rest r it is
    C r/(B(N−1)) if dropped, C m(B−r)²/(rB(m+1)(N−1)) if kept, m = ⌊N/B⌋.

    Reference: Kühn and Rosenow (2023), arXiv 2306.05300, for the anticorrelation; closed form derived here, `docs/derivations/noise_scale.md`.

    >>> C = [[1.0, -0.2], [-0.2, 0.4]]
    >>> [float(epoch_noise_autocovariance(C, num_examples=6, batch_size=2, lag=h)[0, 0].round(6)) for h in (0, 1, 2, 3)]
    [0.4, -0.133333, -0.066667, 0.0]
    >>> float(epoch_noise_autocovariance(C, num_examples=7, batch_size=2, lag=0, drop_last=False)[0, 0].round(6))  # 2 + 2 + 2 + 1
    0.5625
    """
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    examples = _checks.integer("num_examples", num_examples)
    size, h = _checks.batch_size(batch_size, examples, "shuffled"), _checks.integer("lag", lag, low=0)
    whole, rest = divmod(examples, size)
    kept = rest if not _checks.drop_last(drop_last) else 0
    steps = whole + (kept > 0)
    if h == 0:
        inverse = (whole / size + (1 / kept if kept else 0.0)) / steps
        return covariance * (examples * inverse - 1) / max(examples - 1, 1)
    return -covariance * max(steps - h, 0) / (steps * max(examples - 1, 1))
