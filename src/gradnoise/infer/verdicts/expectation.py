"""What to expect of a sampler in every eigendirection of its target, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from gradnoise._types import AnyArray, Array
from gradnoise.infer.verdicts.ratios import along_directions, axes
from gradnoise.infer.verdicts.sandwich import Widths
from gradnoise.infer.verdicts.verdict import Verdict

SHOWN = 10
FAR = 5.0  # standard deviations beyond the typical radius √D: no chain of a law as predicted stays there


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected errors along the eigenvectors of the target, the widest first; `print` it.

    Attributes
    ----------
    method
        Name for people.
    names
        The parameter with the largest weight in each direction, D names.
    directions
        Eigenvectors of the target as columns (D, D).
    target_sd
        Standard deviation of the target along them (D,), in units of the parameters.
    variance_ratio
        Predicted over target variance (D,).
    mean_shift
        Predicted mean minus the target's, in the target's standard deviations (D,).
    sandwich_ratio
        Sandwich over posterior variance along the same directions (D,).
    verdict
        The verdict before the run.
    """

    method: str
    names: tuple[str, ...] = field(repr=False)
    directions: Array = field(repr=False)
    target_sd: Array = field(repr=False)
    variance_ratio: Array = field(repr=False)
    mean_shift: Array = field(repr=False)
    sandwich_ratio: Array = field(repr=False)
    verdict: Verdict

    def __str__(self) -> str:
        worst = np.argsort(-np.abs(np.log(self.variance_ratio)), kind="stable")[:SHOWN]
        head = f"{self.method}: expected {self.verdict.level}. {' '.join(self.verdict.reasons)}".rstrip()
        wide = max(len("along"), *(len(self.names[i]) for i in worst))
        lines = [head, f"{'along':<{wide}} {'target sd':>10} {'variance ×':>10} {'mean shift':>10} {'sandwich ×':>10}"]
        for i in sorted(worst):
            numbers = (self.target_sd[i], self.variance_ratio[i], self.mean_shift[i], self.sandwich_ratio[i])
            lines.append(" ".join([f"{self.names[i]:<{wide}}", *(f"{x:>10.3g}" for x in numbers)]))
        if len(self.names) > SHOWN:
            lines.append(f"({len(self.names) - SHOWN} directions with smaller errors are left out)")
        return "\n".join(lines)


def expected(
    method: str,
    names: tuple[str, ...],
    predicted: tuple[Array, Array],
    target: tuple[Array, Array],
    widths: Widths,
    verdict: Verdict,
) -> Expectation:
    """Set predicted mean and covariance against the target along the target's eigenvectors."""
    values, vectors = axes(target[1])
    values, vectors = values[::-1], vectors[:, ::-1]
    return Expectation(
        method,
        tuple(names[int(np.abs(v).argmax())] for v in vectors.T),
        vectors,
        np.sqrt(values),
        along_directions(predicted[1], target[1], vectors),
        vectors.T @ (predicted[0] - target[0]) / np.sqrt(values),
        along_directions(widths.sandwich, widths.posterior, vectors),
        verdict,
    )


def strayed_chains(draws: AnyArray, mean: Array, covariance: Array, chains: Sequence[int]) -> dict[int, float]:
    """Chains that left the basin: chain -> distance of its last draws in predicted standard deviations.

    The median over the last quarter of its draws of d² = (θ-m)ᵀΣ⁻¹(θ-m) is beyond (√D + 5)².
    """
    if not len(chains):
        return {}
    last = np.asarray(draws, np.float64)[:, -max(1, draws.shape[1] // 4) :]
    root = np.linalg.cholesky(covariance)
    apart = scipy.linalg.solve_triangular(root, (last - mean).reshape(-1, len(mean)).T, lower=True)
    far = np.sqrt(np.median((apart**2).sum(0).reshape(last.shape[:2]), axis=1))
    limit = np.sqrt(len(mean)) + FAR
    return {int(chain): float(d) for chain, d in zip(chains, far, strict=True) if d > limit}
