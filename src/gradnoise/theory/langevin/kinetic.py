"""Kinetic (underdamped) Langevin with minibatch gradients: the exact discrete law of every splitting scheme, and its correction."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike
from gradnoise.theory.langevin.kinetic_flows import Program, mode_maps, program_of, refreshed
from gradnoise.theory.linear.chain import LinearChain
from gradnoise.theory.linear.modes import Modes, modes_of
from gradnoise.theory.noise.batch_noise import batch_noise

_BISECTIONS = 60
_LARGEST_ANGLE = 1e6  # step times frequency; splittings end at 2


class _Setting(NamedTuple):
    """Checked arguments, and the coordinates θ = Bφ, v = Bν with BBᵀ = M⁻¹ in which a step falls apart into modes."""

    noise: Array  # S
    mass: Array
    modes: Modes
    program: Program
    step_size: float
    friction: float
    num_examples: int

    @property
    def dim(self) -> int:
        return len(self.noise)

    def maps(self, step_size: float | None = None) -> tuple[Array, Array, Array]:
        step = self.step_size if step_size is None else step_size
        return mode_maps(self.modes.rates, self.program, step, self.friction)

    def radius(self, step_size: float | None = None) -> float:
        return float(np.abs(np.linalg.eigvals(self.maps(step_size)[0])).max())


def kinetic_chain(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    friction: float,
    num_examples: int,
    batch_size: int,
    scheme: str = "BAOAB",
    mass: ArrayLike | None = None,
    injected_covariance: ArrayLike | None = None,
    sampling: str = "with_replacement",
) -> LinearChain:
    r"""LinearChain of a kinetic integrator with independent minibatches on a quadratic; its state is (θ, v), v = M⁻¹p.

    Equation: dθ = M⁻¹p dt, dp = −∇L dt − γp dt + √(2γM/N) dW, split into A (drift), B (kick by the minibatch gradient of the mean
    loss), O (exact Ornstein–Uhlenbeck) or U (A and O at once, exact), one gradient a step. In each mode of M⁻¹H the step is
    F (2, 2), the product of the flows; Ω = w wᵀ s + Σ_k u_k u_kᵀ K with the gains w of the gradient's noise and u of the injected one.

    ===================  ======  ======  ==================================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ==================================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            h       ()      time: √(mass · parameter²/loss)
    friction             γ       ()      1/time; 0 leaves out O
    num_examples         N       ()      examples; the temperature is 1/N
    batch_size           B       ()      examples a step
    scheme               –       –       a word in A, B, O, U ("BAOAB", "OBABO", "UBU"), "sghmc", "sghmc_half", "sghmc_naive"
    mass                 M       (D, D)  loss·time²/parameter²; None: identity
    injected_covariance  –       (D, D)  momentum²/step, added by O, U in all; None: (1 − e^(−2γh)) M/N (SGHMC: 2γh M/N)
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       –       `LinearChain`
    ===================  ======  ======  ==================================================================

    Assumptions: quadratic loss, constant noise. Half kicks at one position share their minibatch gradient: the cycle of the
    scheme is begun after its last move, which leaves the law of the positions as it is. "sghmc" is Chen et al.'s, with the
    gradient at the new position; "sghmc_half" has half kicks; "sghmc_naive" takes the gradient at the position just left.
    Limit: h → 0 gives the posterior (N H)⁻¹ in θ and M⁻¹/N in v, whatever the scheme. BAOAB with S = 0 is exact in θ at any h.

    Reference: Leimkuhler and Matthews (2013), BAOAB; Bussi and Parrinello (2007), OBABO; Sanz-Serna and Zygalakis (2021),
    UBU; Chen, Fox, Guestrin (2014), SGHMC. Laws with minibatch noise derived here.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> chain = kinetic_chain(H, C, step_size=0.5, friction=1.0, num_examples=50, batch_size=4)
    >>> (50 * chain.covariance).round(4), round(chain.spectral_radius, 6)
    (array([[ 2.4242, -1.1941],
           [-1.1941,  5.6092]]), 0.778801)
    """
    made = _setting(hessian, gradient_covariance, step_size, friction, num_examples, batch_size, scheme, mass, sampling)
    kinetic = _injected(made, injected_covariance)
    transition, kick, injected = made.maps()
    noise = made.modes.gradient_noise(made.noise)
    omega = np.einsum("ia,jb,ij->aibj", kick, kick, noise) + np.einsum("iak,jbk,ij->aibj", injected, injected, kinetic)
    flow = np.einsum("iab,ij->aibj", transition, np.eye(made.dim))
    basis = np.kron(np.eye(2), made.modes.basis)  # (φ, ν) -> (θ, v)
    back = np.kron(np.eye(2), made.modes.basis.T @ made.mass)
    size = (2 * made.dim, 2 * made.dim)
    total = basis @ omega.reshape(size) @ basis.T
    readout = np.hstack([np.eye(made.dim), np.zeros((made.dim, made.dim))])
    return LinearChain(basis @ flow.reshape(size) @ back, _checks.symmetrised(total), readout)


def kinetic_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    friction: float,
    num_examples: int,
    batch_size: int,
    scheme: str = "BAOAB",
    mass: ArrayLike | None = None,
    injected_covariance: ArrayLike | None = None,
    sampling: str = "with_replacement",
) -> Array:
    r"""Stationary covariance of the positions of a kinetic integrator on a quadratic, exact in discrete time.

    Equation: Σ = R Z Rᵀ, Z = F Z Fᵀ + Ω with the matrices of `kinetic_chain`. With exact gradients and x = h²λ(M⁻¹H):
    N λ Σ = 1 (BAOAB), 1/(1 − x/4) (OBABO).

    ===================  ======  ======  ==================================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ==================================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            h       ()      time: √(mass · parameter²/loss)
    friction             γ       ()      1/time
    num_examples         N       ()      examples; the temperature is 1/N
    batch_size           B       ()      examples a step
    scheme               –       –       as in `kinetic_chain`
    mass                 M       (D, D)  loss·time²/parameter²; None: identity
    injected_covariance  –       (D, D)  momentum²/step, as in `kinetic_chain`
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              Σ       (D, D)  parameter²
    ===================  ======  ======  ==================================================================

    Assumptions: quadratic loss, constant noise. A step beyond the edge of stability (2/√λ_max(M⁻¹H) for BAOAB and OBABO) raises.
    Limit: small h: minibatch noise widens by (h/2γ) S H⁻¹ where matrices commute and M = I: of order h whatever the scheme.

    Reference: as for `kinetic_chain`.

    >>> H, C = [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.4]]
    >>> for scheme in ("BAOAB", "OBABO", "UBU", "sghmc_naive"):
    ...     sigma = kinetic_covariance(
    ...         H, np.zeros((2, 2)), step_size=0.5, friction=2.0, num_examples=50, batch_size=1, scheme=scheme
    ...     )
    ...     print(scheme, (50 * np.diag(H) * np.diag(sigma)).round(4))
    BAOAB [1. 1.]
    OBABO [1.1429 1.0323]
    UBU [0.9189 0.9797]
    sghmc_naive [2.4    1.2101]
    """
    made = _setting(hessian, gradient_covariance, step_size, friction, num_examples, batch_size, scheme, mass, sampling)
    _require_stable(made, scheme)
    return kinetic_chain(
        hessian,
        gradient_covariance,
        step_size=step_size,
        friction=friction,
        num_examples=num_examples,
        batch_size=batch_size,
        scheme=scheme,
        mass=mass,
        injected_covariance=injected_covariance,
        sampling=sampling,
    ).covariance


def kinetic_correction(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    step_size: float,
    friction: float,
    num_examples: int,
    batch_size: int,
    scheme: str = "BAOAB",
    mass: ArrayLike | None = None,
    sampling: str = "with_replacement",
) -> Array:
    r"""Noise to inject in O (or U) so that the positions of a kinetic integrator have the covariance (N H)⁻¹ at any finite step.

    Equation, in the modes i, j of M⁻¹H with squared frequencies r: the covariance of positions is α_ij K_ij + β_ij s_ij, linear in the
    injected covariance K and the gradient noise s; so K_ij = (δ_ij/(N r_i) − β_ij s_ij)/α_ij. With M = H all modes are alike:
    the noise of O is (1 − e^(−2γh)) (H/N − β S)/α, and α = 1 for BAOAB.

    ===================  ======  ======  ==================================================================
    argument             symbol  shape   scale
    ===================  ======  ======  ==================================================================
    hessian              H       (D, D)  curvature of the mean loss
    gradient_covariance  C       (D, D)  gradient², per example; S of `batch_noise`
    step_size            h       ()      time: √(mass · parameter²/loss)
    friction             γ       ()      1/time
    num_examples         N       ()      examples; the temperature is 1/N
    batch_size           B       ()      examples a step
    scheme               –       –       as in `kinetic_chain`
    mass                 M       (D, D)  loss·time²/parameter²; None: identity
    sampling             –       –       "with_replacement" (default), "without_replacement"
    returns              –       (D, D)  momentum²/step: `injected_covariance` of `kinetic_chain`
    ===================  ======  ======  ==================================================================

    Assumptions: quadratic loss, constant noise. Possible iff K is positive semidefinite, with M = H iff β N λ_max(H^{-½}SH^{-½}) ≤ 1; a
    larger step raises with the largest step that is still admissible.
    Limit: S = 0 gives the noise of exact gradients, for BAOAB (1 − e^(−2γh)) M/N.

    Reference: derived here; for overdamped Langevin see `langevin_correction`. Chen, Fox, Guestrin (2014), eq. (13), subtracts
    hS/2 from the friction's noise instead, which leaves errors of order h.

    >>> H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
    >>> setting = {"step_size": 0.2, "friction": 2.0, "num_examples": 50, "batch_size": 40, "mass": H}
    >>> injected = kinetic_correction(H, C, **setting)
    >>> (50 * kinetic_covariance(H, C, injected_covariance=injected, **setting) @ H).round(9) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    made = _setting(hessian, gradient_covariance, step_size, friction, num_examples, batch_size, scheme, mass, sampling)
    if made.friction == 0:
        msg = "friction must be > 0 for a correction, got 0: without friction no noise is injected."
        raise ValueError(msg)
    _require_stable(made, scheme)
    kinetic = _corrected(made, made.step_size)
    low, high = np.linalg.eigvalsh(kinetic)[[0, -1]]
    if low < -1e-9 * max(abs(high), abs(low)):
        edge = _largest(
            lambda h: made.radius(h) < 1 and np.linalg.eigvalsh(_corrected(made, h))[0] >= 0, made.step_size
        )
        msg = (
            f"step_size must be at most {edge:.6g} for friction {made.friction:.6g} and this batch_size, got {made.step_size:.6g}: "
            "beyond that the gradient noise alone is wider than the posterior and no noise can be injected. Take a smaller step, "
            "more friction or a larger batch_size."
        )
        raise ValueError(msg)
    back = made.mass @ made.modes.basis  # (BᵀK_pB = kinetic)
    injected = refreshed(made.program, made.step_size, made.friction) * back @ kinetic @ back.T
    return _checks.symmetrised(injected)


def _setting(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    step_size: Any,
    friction: Any,
    num_examples: Any,
    batch_size: Any,
    scheme: Any,
    mass: ArrayLike | None,
    sampling: str,
) -> _Setting:
    examples = _checks.integer("num_examples", num_examples)
    noise = batch_noise(gradient_covariance, batch_size=batch_size, sampling=sampling, num_examples=examples)
    hessian = _checks.symmetric("hessian", hessian, len(noise), definite="positive", like="gradient_covariance")
    weight = np.eye(len(noise)) if mass is None else _checks.symmetric("mass", mass, len(noise), definite="positive")
    inverse = np.linalg.inv(weight)
    found = modes_of(hessian, _checks.symmetrised(inverse))
    step = _checks.positive("step_size", step_size)
    if step * math.sqrt(float(found.rates[-1])) > _LARGEST_ANGLE:
        msg = f"step_size must be smaller: times the fastest frequency it is {step * math.sqrt(float(found.rates[-1])):.3g}, and no scheme is stable beyond {_LARGEST_ANGLE:g}."
        raise ValueError(msg)
    rubbing = _checks.within("friction", friction, 0.0, math.inf, closed="left")
    return _Setting(noise, weight, found, program_of(scheme), step, rubbing, examples)


def _injected(made: _Setting, injected_covariance: ArrayLike | None) -> Array:
    """K in modes, Bᵀ K_p B: the covariance that the friction renews."""
    if injected_covariance is None:
        return np.eye(made.dim) / made.num_examples
    given = _checks.symmetric("injected_covariance", injected_covariance, made.dim, definite="semi")
    share = float(refreshed(made.program, made.step_size, made.friction))
    if share == 0:
        if given.any():
            msg = "injected_covariance must be 0 or None when friction is 0: without friction there is no O."
            raise ValueError(msg)
        return given
    return made.modes.gradient_noise(given) / share


def _corrected(made: _Setting, step_size: float) -> Array:
    """K in modes that gives positions the covariance δ_ij/(N r_i)."""
    transition, kick, injected = made.maps(step_size)
    rates, dim = made.modes.rates, made.dim
    noise = made.modes.gradient_noise(made.noise)
    out = np.empty((dim, dim))
    first = np.eye(4)[0]
    for i in range(dim):  # Z_ij = F_i Z_ij F_jᵀ + Ω_ij, of which the position's entry is asked for
        squared = np.einsum("ab,jcd->jacbd", transition[i], transition).reshape(dim, 4, 4)
        reads = np.linalg.solve(np.swapaxes(np.eye(4) - squared, 1, 2), np.broadcast_to(first[:, None], (dim, 4, 1)))
        alpha = np.einsum("jx,jx->j", reads[..., 0], np.einsum("ak,jbk->jab", injected[i], injected).reshape(dim, 4))
        beta = np.einsum("jx,jx->j", reads[..., 0], np.einsum("a,jb->jab", kick[i], kick).reshape(dim, 4))
        target = np.eye(dim)[i] / (made.num_examples * rates[i])
        out[i] = (target - beta * noise[i]) / alpha
    return _checks.symmetrised(out)


def _require_stable(made: _Setting, scheme: str) -> None:
    if made.friction == 0:  # a radius of 1, to rounding
        msg = "friction must be > 0, got 0: at friction 0 nothing forgets its start, and there is no stationary law."
        raise ValueError(msg)
    if made.radius() < 1:
        return
    edge = _largest(lambda h: made.radius(h) < 1, made.step_size)
    msg = (
        f"step_size must be below {edge:.6g}, got {made.step_size:.6g}: "
        f"beyond it {scheme} is not stable at friction {made.friction:.6g}."
    )
    raise ValueError(msg)


def _largest(holds: Any, high: float) -> float:
    """Largest step below `high` for which a condition holds that holds for small steps and fails at `high`."""
    low = 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
