"""What a kinetic integrator is made of: its sub-flows in the order in which they run, and their exact coefficients.

Position θ, velocity v = M⁻¹p, one minibatch gradient ĝ of the *mean* loss a step, temperature 1/N, for a time t:
    A   θ ← θ + t v
    B   v ← v − t M⁻¹ ĝ
    O   v ← c v + √(1−c²) ζ, c = e^(−γt)                 (Ornstein–Uhlenbeck, exact; Cov ζ = K, by default M⁻¹/N)
    U   A and O at once, exact: their noises are correlated
    E   v ← (1−γt) v + √(2γt) ζ                          (Euler's O, which SGHMC uses)
    G   ĝ ← minibatch gradient at θ
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import Array, ArrayLike

Program = tuple[tuple[str, float], ...]  # letters, and the share of the step that each lasts

# Chen, Fox, Guestrin (2014), algorithm 2, uses the gradient at the position just reached; blackjax, SGMCMCJax and posteriors
# that at the position just left.
NAMED: dict[str, Program] = {
    "sghmc": (("G", 0.0), ("E", 1.0), ("B", 1.0), ("A", 1.0)),
    "sghmc_half": (("G", 0.0), ("E", 0.5), ("B", 0.5), ("E", 0.5), ("B", 0.5), ("A", 1.0)),
    "sghmc_naive": (("G", 0.0), ("A", 1.0), ("E", 1.0), ("B", 1.0)),
}
SOURCES = {"O": 1, "U": 2, "E": 1}  # standard normal vectors that a flow draws


def program_of(scheme: Any) -> Program:
    """Return the flows of one step with one gradient: the scheme's cycle, begun right after its last move.

    What follows the last move (B, O) does not change the position, so it may as well begin the next step: half kicks meet
    there and share one minibatch gradient, and the positions at the ends of the steps are those of the scheme as written.
    """
    if not isinstance(scheme, str) or (scheme not in NAMED and not set(scheme) <= set("ABOU")) or not scheme:
        msg = f"scheme must be {', '.join(map(repr, NAMED))} or a word in A, B, O, U such as 'BAOAB', got {_checks.shown(scheme)}."
        raise ValueError(msg)
    if scheme in NAMED:
        return NAMED[scheme]
    if "B" not in scheme or not (("U" in scheme) ^ ("A" in scheme and "O" in scheme)) or set("AU") <= set(scheme):
        msg = f"scheme must kick (B), and move and rub either by A and O or by U, got {scheme!r}."
        raise ValueError(msg)
    cut = max(scheme.rfind("A"), scheme.rfind("U")) + 1
    flows: list[tuple[str, float]] = []
    for letter in scheme[cut:] + scheme[:cut]:
        share = 1 / scheme.count(letter)
        if flows and flows[-1][0] == letter:  # exact flows of one kind add up
            flows[-1] = (letter, flows[-1][1] + share)
        else:
            flows.append((letter, share))
    return _with_gradients(scheme, flows)


def _with_gradients(scheme: str, flows: list[tuple[str, float]]) -> Program:
    out: list[tuple[str, float]] = []
    moved = True
    for letter, share in flows:
        if letter == "B" and moved:
            out.append(("G", 0.0))
            moved = False
        moved = moved or letter in "AU"
        out.append((letter, share))
    gradients = sum(letter == "G" for letter, _ in out)
    if gradients > 1:
        msg = f"scheme must kick at one position a step, got {scheme!r}, which needs {gradients} gradients a step."
        raise ValueError(msg)
    return tuple(out)


def refreshed(program: Program, step_size: Any, friction: Any) -> Any:
    """Share of the velocity's covariance K that the friction of one step renews: 1 − e^(−2γh), or Euler's 2γh."""
    rubbed = np.asarray(friction) * np.asarray(step_size)
    return 2 * rubbed if any(letter == "E" for letter, _ in program) else -np.expm1(-2 * rubbed)


def coefficients(letter: str, time: Any, friction: Any) -> tuple[Any, ...]:
    """Return the numbers of one flow; `time` and `friction` may be arrays.

    U: v ← ηv + l₁z₁, θ ← θ + d v + l₂z₁ + l₃z₂ with x = γt, η = e^(−x), d = (1−η)/γ, l₁² = 1−η², l₂ = d √tanh(x/2),
    l₃² = (2x − 4 tanh(x/2))/γ²: the Cholesky factor of the exact covariance.
    """
    time, rubbed = np.asarray(time, dtype=np.float64), np.asarray(friction, dtype=np.float64) * time
    if letter == "O":
        return np.exp(-rubbed), np.sqrt(-np.expm1(-2 * rubbed))
    if letter == "E":
        return 1 - rubbed, np.sqrt(2 * rubbed)
    if letter != "U":
        return (time,)
    safe = np.where(rubbed > 0, rubbed, 1.0)
    drift = time * np.where(rubbed > 0, -np.expm1(-safe) / safe, 1.0)
    half = rubbed / 2
    series = 4 * half**3 * (1 / 3 - half**2 * (2 / 15 - half**2 * (17 / 315 - half**2 * 62 / 2835)))
    rest = np.where(rubbed < 0.1, series, 2 * rubbed - 4 * np.tanh(half))
    return (
        np.exp(-rubbed),
        drift,
        np.sqrt(-np.expm1(-2 * rubbed)),
        drift * np.sqrt(np.tanh(half)),
        time * np.sqrt(rest) / safe,
    )


def mode_maps(rates: ArrayLike, program: Program, step_size: Any, friction: Any) -> tuple[Array, Array, Array]:
    """Return what one step does to (θ, v) of a mode of M⁻¹H with squared frequency `rates`.

    Transition (..., 2, 2), gain (..., 2) of the gradient's noise in M⁻¹ĝ, and gains (..., 2, k) of the k injected noises of
    covariance K. Arguments broadcast.
    """
    rates, step_size, friction = np.broadcast_arrays(
        np.asarray(rates, np.float64), np.asarray(step_size, np.float64), np.asarray(friction, np.float64)
    )
    sources = sum(SOURCES.get(letter, 0) for letter, _ in program)
    rows = np.zeros((3, *rates.shape, 3 + sources))  # θ, v, ĝ as sums of θ₀, v₀, gradient noise, injected noises
    theta, velocity, slope = rows
    theta[..., 0] = velocity[..., 1] = 1.0
    used = 3
    for letter, share in program:
        n = [c[..., None] for c in coefficients(letter, share * step_size, friction)]
        if letter == "G":
            slope[:] = rates[..., None] * theta
            slope[..., 2] += 1.0
        elif letter == "A":
            theta += n[0] * velocity
        elif letter == "B":
            velocity -= n[0] * slope
        elif letter == "U":
            theta += n[1] * velocity
            velocity *= n[0]
            velocity[..., used : used + 1] += n[2]
            theta[..., used : used + 1] += n[3]
            theta[..., used + 1 : used + 2] += n[4]
        else:
            velocity *= n[0]
            velocity[..., used : used + 1] += n[1]
        used += SOURCES.get(letter, 0)
    state = np.stack([theta, velocity], axis=-2)
    return state[..., :2], state[..., 2], state[..., 3:]
