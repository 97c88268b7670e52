"""One epoch of SGD in modes: sums over its steps, built by doubling.

Two halves of an epoch merge like two halves of a sample, so an epoch of 10⁵ steps costs 17 merges, and nothing cancels
although the result can be 10⁻⁶ of the independent-batch covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradnoise._types import Array
from gradnoise.theory.linear.modes import mode_gain, mode_transitions
from gradnoise.theory.linear.power_sums import power_sums

SLOWEST = 1e-12  # 1 − r in float64 knows r to 1e-16: below this a law of what an epoch forgets would have fewer than four digits


def _congruence(blocks: Array, pairs: Array) -> Array:
    """F_i X_ij F_jᵀ for all pairs of modes: blocks (D, b, b), pairs (D, D, b, b)."""
    return np.asarray(blocks[:, None] @ pairs @ blocks.swapaxes(-1, -2)[None])


def _outer(left: Array, right: Array) -> Array:
    """left_i right_jᵀ for all pairs of modes: (D, b), (D, b) -> (D, D, b, b)."""
    return np.asarray(left[:, None, :, None] * right[None, :, None, :])


def _apply(blocks: Array, vectors: Array) -> Array:
    return np.asarray((blocks @ vectors[..., None])[..., 0])


@dataclass(frozen=True, eq=False)
class Steps:
    """Sums over m consecutive steps with weights w_j = Fʲ G, in modes; `merge` joins two runs of steps.

    With s_k = Σ_{j<k} w_j: total s_m, totals Σ_{k≤m} s_k, comoment Σ w wᵀ − s sᵀ/m, squares Σ_{k≤m} s_k s_kᵀ, partial
    Σ_{k≤m} Σ_{j<k} w_j w_jᵀ.
    """

    steps: int
    power: Array
    total: Array
    totals: Array
    comoment: Array
    squares: Array
    partial: Array

    def merge(self, late: Steps) -> Steps:
        n, m = self.steps, late.steps
        ahead, later = _apply(self.power, late.total), _apply(self.power, late.totals)
        apart = self.total / n - ahead / m
        cross, mean = _outer(self.total, later), _outer(self.total, self.total) / n
        return Steps(
            n + m,
            self.power @ late.power,
            self.total + ahead,
            self.totals + m * self.total + later,
            self.comoment + _congruence(self.power, late.comoment) + n * m / (n + m) * _outer(apart, apart),
            self.squares + m * n * mean + cross + cross.transpose(1, 0, 3, 2) + _congruence(self.power, late.squares),
            self.partial + m * (self.comoment + mean) + _congruence(self.power, late.partial),
        )


def _run(base: Array, gain: Array, steps: int) -> Steps:
    weight = np.broadcast_to(gain, base.shape[:-1])
    square = _outer(weight, weight)
    one = Steps(1, base, weight, weight, np.zeros_like(square), square, square)
    out = one
    for bit in bin(steps)[3:]:  # the binary digits of steps after the first, from the left
        out = out.merge(out)
        out = out.merge(one) if bit == "1" else out
    return out


@dataclass(frozen=True, eq=False)
class Epoch:
    """One epoch in modes, for C = 1: m = ⌊N/B⌋ steps of B examples, then one of the `rest` where that is not 0."""

    base: Array
    gain: Array
    examples: int
    size: int
    rest: int  # examples of a last, smaller batch; 0: there is none

    @property
    def whole(self) -> int:
        """Steps of B examples."""
        return self.examples // self.size

    @property
    def steps(self) -> int:
        """All steps of an epoch."""
        return self.whole + (self.rest > 0)

    @property
    def batches(self) -> float:
        """N/B, not rounded."""
        return self.examples / self.size

    def bracket(self, run: Steps) -> Array:
        """K_k = [ (N/B) Σ w wᵀ − s sᵀ ]/(N−1) of k whole batches, as comoment plus what is left of the mean: both are ≥ 0."""
        left = self.batches / run.steps - 1
        return (self.batches * run.comoment + left * _outer(run.total, run.total)) / max(self.examples - 1, 1)

    def full(self) -> tuple[Array, Array]:
        """Fⁿ and K_n of all steps; a last batch of r adds A r (F s/A − G/r)(…)ᵀ/(N−1), A = N − r, to what stays of the comoment."""
        run = _run(self.base, self.gain, self.whole)
        if not self.rest:
            return run.power, self.bracket(run)
        read = self.examples - self.rest
        weight = np.broadcast_to(self.gain, run.total.shape)
        apart = _apply(self.base, run.total) / read - weight / self.rest
        spread = self.batches * _congruence(self.base, run.comoment) + read * self.rest * _outer(apart, apart)
        return self.base @ run.power, spread / max(self.examples - 1, 1)

    def ends(self) -> Array:
        """Z = Fⁿ Z Fⁿᵀ + K_n by doubling."""
        power, total = self.full()
        while np.abs(power).max() > 1e-10:
            total = total + _congruence(power, total)
            power = power @ power
        return total

    def after(self, steps: int) -> Array:
        """Fᵏ Z Fᵏᵀ + K_k."""
        if steps in (0, self.steps):
            return self.ends()
        run = _run(self.base, self.gain, steps)
        return _congruence(run.power, self.ends()) + self.bracket(run)

    def mean(self) -> Array:
        """Average over k = 1…n of Fᵏ Z Fᵏᵀ + K_k."""
        run = _run(self.base, self.gain, self.whole)
        brackets = (self.batches * run.partial - run.squares) / max(self.examples - 1, 1)
        if self.rest:
            brackets = brackets + self.full()[1]
        return (self._orbit(self.ends()) + brackets) / self.steps

    def average(self) -> Array:
        """Covariance of the average of the n iterates."""
        run = _run(self.base, self.gain, self.steps)
        noise = self.batches * run.squares - _outer(run.totals, run.totals)
        if self.rest:  # the last batch enters the last iterate alone, and each of its examples counts more
            weight = np.broadcast_to(self.gain, run.total.shape)
            noise = noise + (self.examples / self.rest - self.batches) * _outer(weight, weight)
        noise = noise / max(self.examples - 1, 1)
        return (_congruence(self.base @ power_sums(self.base, self.steps)[1], self.ends()) + noise) / self.steps**2

    def fixed_order(self) -> Array:
        """(I − Fⁿ)⁻¹ K_n (I − Fⁿ)⁻ᵀ."""
        power, noise = self.full()
        gap = np.asarray(np.linalg.inv(np.eye(power.shape[-1]) - power), dtype=np.float64)
        return _congruence(gap, noise)

    def _orbit(self, start: Array) -> Array:
        """Σ_{k=1..n} Fᵏ Z Fᵏᵀ by doubling."""
        power, total = np.broadcast_to(np.eye(self.base.shape[-1]), self.base.shape), np.zeros_like(start)
        for bit in bin(self.steps)[2:]:
            total, power = total + _congruence(power, total), power @ power
            if bit == "1":
                total, power = _congruence(self.base, start + total), self.base @ power
        return total


def epoch_of(
    rates: Array, num_examples: int, batch_size: int, momentum: float, nesterov: bool, drop_last: bool
) -> Epoch:
    """Return the epoch of modes with these rates (learning rate times curvature), each at least `SLOWEST`."""
    base = mode_transitions(rates, momentum, nesterov)
    rest = 0 if drop_last else num_examples % batch_size
    return Epoch(base, mode_gain(momentum, nesterov), num_examples, batch_size, rest)
