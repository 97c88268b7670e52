"""Mean and covariance over steps and chains, from the sums of the moments recorder; float64, on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array
from gradnoise.engine.job import Job, State
from gradnoise.engine.recorders import SUMS, SumMoments, read_pair


@dataclass(frozen=True, eq=False)
class Pieces:
    """Independent (or nearly independent) pieces of a run: chains, groups of chains, or batches of one chain.

    Attributes
    ----------
    count
        States in each piece, (pieces,).
    mean
        (pieces, D).
    scatter
        Σ (θ - mean)(θ - mean)ᵀ, (pieces, D, D); its diagonal, (pieces, D), where only variances were recorded.
    kind
        "chains", "groups of chains" or "batches of one chain".
    """

    count: Array
    mean: Array
    scatter: Array
    kind: str

    @property
    def serial(self) -> bool:
        """Whether the pieces follow each other in one chain."""
        return self.kind == "batches of one chain"

    @property
    def diagonal(self) -> bool:
        """Whether only variances are held."""
        return self.scatter.ndim == 2

    def squares(self, about: Any) -> Array:
        """Mean of (θ - about)² over each piece, (pieces, D)."""
        scatter = self.scatter if self.diagonal else np.einsum("pii->pi", self.scatter)
        return np.asarray(scatter / self.count[:, None] + (self.mean - about) ** 2)

    def total_mean(self) -> Array:
        """Mean over all states, (D,)."""
        weights = self.count / self.count.sum()
        return np.asarray(weights @ self.mean)

    def second_moments(self, about: Any) -> Array:
        """Mean of (θ - about)(θ - about)ᵀ over each piece, (pieces, D, D)."""
        if self.diagonal:
            msg = "covariances were not recorded, only variances (run.variance), the default above 1000 parameters; ask for them with record=gn.record.moments()."
            raise ValueError(msg)
        gap = self.mean - about
        return _checks.symmetrised(self.scatter / self.count[:, None, None] + np.einsum("pi,pj->pij", gap, gap))


def moments_kernel(job: Job) -> tuple[int, SumMoments]:
    """Return place and static part of the recorder that adds up moments."""
    index = next(i for i, r in enumerate(job.recorders) if r.name in SUMS)
    kernel: SumMoments = job.plan.kernels[index]  # type: ignore[assignment]
    return index, kernel


def mixed_groups(job: Job, state: State) -> list[int]:
    """Return the groups whose one sum holds diverged chains beside healthy ones."""
    if not state.diverged or not any(r.name in SUMS for r in job.recorders) or moments_kernel(job)[1].kind != "pooled":
        return []
    lost = np.bincount([c // job.plan.group for c in state.diverged], minlength=job.num_groups)
    return [int(q) for q in np.flatnonzero((lost > 0) & (lost < job.plan.group))]


def pieces_of(job: Job, state: State, again: Mapping[int, Any] | None = None) -> Pieces:
    """Return the pieces that the moments are made of; diverged chains are left out whole.

    `again`: carries of groups that were run again without their diverged chains (see `mixed_groups`).
    """
    index, kernel = moments_kernel(job)
    kind, again = kernel.kind, again or {}
    parts = [_group(job, state, again.get(q, carry), index, kernel) for q, carry in enumerate(state.carries)]
    sums, references = np.concatenate([s for s, _ in parts]), np.concatenate([r for _, r in parts])
    if kind == "chains":
        keep = [c for c in range(job.num_chains) if c not in state.diverged]
        sums, references = sums[keep], references[keep]
    elif kind == "pooled":
        lost = {c // job.plan.group for c in state.diverged}
        keep = [q for q in range(job.num_groups) if q not in lost or q in again]
        sums, references = sums[keep], references[keep]
    sums = sums if kernel.diagonal else _checks.symmetrised(sums)
    count = sums[:, -1, -1]
    if not len(count) or count.min() < 1:
        msg = f"no state was recorded by moments: {state.step} steps done, burn_in={job.burn_in}, diverged {sorted(state.diverged)}."
        if mixed_groups(job, state):
            msg = (
                f"moments are missing: {unheard(job, state)} healthy chains were added up together with diverged ones, and without the "
                "problem (it could not be stored) they cannot be run again."
            )
        raise ValueError(msg)
    shift = sums[:, -1, :-1] / count[:, None]
    if kernel.diagonal:
        shift = sums[:, 0, :-1] / count[:, None]
        scatter = np.maximum(sums[:, 1, :-1] - count[:, None] * shift**2, 0.0)
    else:
        scatter = sums[:, :-1, :-1] - count[:, None, None] * np.einsum("pi,pj->pij", shift, shift)
    names = {"chains": "chains", "pooled": "groups of chains", "batches": "batches of one chain"}
    return Pieces(count, references + shift, scatter, names[kind])


def unheard(job: Job, state: State) -> int:
    """Count the healthy chains whose moments are in one sum with those of diverged ones."""
    groups = mixed_groups(job, state)
    return len(groups) * job.plan.group - sum(c // job.plan.group in groups for c in state.diverged)


def _group(job: Job, state: State, carry: Any, index: int, kernel: SumMoments) -> tuple[Array, Array]:
    acc = carry["recorders"][index]
    sums, reference = read_pair(acc["sums"]), np.asarray(acc["reference"], np.float64)
    y = _incomplete(job, state, carry, reference)
    if kernel.kind == "pooled":
        y = y[np.asarray(acc["counted"], bool)]
    if kernel.diagonal:
        rest = np.stack([y.sum(1), (y * y).sum(1)], 1)
    elif kernel.kind == "chains":
        rest = np.einsum("gwi,gwj->gij", y, y)
    else:
        rest = np.einsum("gwi,gwj->ij", y, y)[None]
    if kernel.kind == "chains":
        sums = sums + rest
    elif kernel.kind == "pooled":
        sums = sums[None] + rest
    else:
        filled = -(-int(acc["windows"]) // int(acc["length"])) if int(acc["windows"]) else 0
        sums = sums[: max(filled, 1)].copy()
        sums[-1] += rest[0]
    return sums, np.broadcast_to(reference, (len(sums), reference.shape[1]))


def _incomplete(job: Job, state: State, carry: Any, reference: Array) -> AnyArray:
    """Rows [θ - reference, 1] after burn-in of the last, incomplete window."""
    begin = state.step // job.plan.window * job.plan.window
    rows = np.asarray(carry["rows"], np.float64)[:, max(job.burn_in - begin, 0) : state.step - begin]
    return rows - np.pad(reference, ((0, 0), (0, 1)))[:, None]
