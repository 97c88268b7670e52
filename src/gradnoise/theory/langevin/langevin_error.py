"""The bias of Langevin samplers, direction by direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.langevin.overdamped import langevin_covariance
from gradnoise.theory.posterior.variance_errors import variance_errors


@dataclass(frozen=True, eq=False)
class LangevinError:
    """Finite-step error of SGLD, split by cause: covariance − (N H)⁻¹ = discretisation + minibatch.

    Attributes
    ----------
    discretisation
        What the finite step adds without minibatches, (D, D), parameter².
    minibatch
        What the gradient noise adds on top, (D, D), parameter².
    relative
        `variance_errors` of the whole against the posterior, (D,), dimensionless.
    """

    discretisation: Array
    minibatch: Array
    relative: Array


def langevin_error(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    num_examples: int,
    batch_size: int,
    preconditioner: ArrayLike | None = None,
    sampling: str = "with_replacement",
    drop_last: bool = True,
) -> LangevinError:
    r"""Finite-step error of stochastic gradient Langevin dynamics, exact in discrete time.

    Equation, h = εN/2, per commuting mode: discretisation h/(2N) · 1/(1 − hλ/2), minibatch h s/(2λ) · 1/(1 − hλ/2), s that of S.

    ===================  ======  ======  ======================================
    argument             symbol  shape   scale
    ===================  ======  ======  ======================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            ε       ()      parameter²; drift ε/2 times the total gradient
    num_examples         N       ()      examples
    batch_size           B       ()      examples a step
    preconditioner       P       (D, D)  multiplies ε
    sampling             –       –       "with_replacement" (default), "without_replacement", "shuffled"
    drop_last            –       –       shuffled only: False keeps an epoch's smaller last batch
    returns              –       –       `LangevinError`
    ===================  ======  ======  ======================================

    Assumptions: quadratic loss, constant noise. Both errors are positive semidefinite: SGLD is too wide in every direction.
    Limit: first order in ε: discretisation εP/4, minibatch εN/2 times the continuous law of S.

    Reference: Mandt, Hoffman, Blei (2017), §5.1, corrected as in `langevin_covariance`; the split derived here.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> error = langevin_error(H, C, step_size=0.004, num_examples=50, batch_size=4)
    >>> error.relative.round(4), np.diag(error.discretisation).round(7), np.diag(error.minibatch).round(7)
    (array([0.2821, 0.8056]), array([0.0011111, 0.0010256]), array([0.0069444, 0.0102564]))
    """
    setting = {"step_size": step_size, "num_examples": num_examples, "preconditioner": preconditioner}
    covariance = _checks.symmetric("gradient_covariance", gradient_covariance, definite="semi")
    whole = langevin_covariance(
        hessian,
        covariance,
        batch_size=batch_size,
        sampling=sampling,
        drop_last=drop_last,
        **setting,  # type: ignore[arg-type]
    )
    full_batch = langevin_covariance(hessian, np.zeros_like(covariance), batch_size=1, **setting)  # type: ignore[arg-type]
    posterior = np.linalg.inv(np.asarray(hessian, dtype=np.float64)) / num_examples
    posterior = _checks.symmetrised(posterior)
    return LangevinError(full_batch - posterior, whole - full_batch, variance_errors(whole, posterior))
