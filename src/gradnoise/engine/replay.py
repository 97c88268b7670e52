"""Groups of chains run again without their diverged chains: for moments that were added up over a whole group."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradnoise.engine.job import Job, State
from gradnoise.engine.loop import era_length, next_stop, start_carries, tasks_of
from gradnoise.engine.parallel import Program, Threads
from gradnoise.engine.statistics import mixed_groups, moments_kernel

STEPS = 1 << 20  # of a chunk, at most


def without_diverged(job: Job, state: State) -> dict[int, Any]:
    """Return group -> carry of each group that lost some of its chains, run again with the others alone in its sums.

    What a diverged chain added to a sum cannot be taken out of it. The steps are those of the run, bit by bit. It takes as long
    as these groups took; nothing is done where no group is mixed, or where the problem is not known.
    """
    groups = mixed_groups(job, state)
    if not groups or job.problem is None:
        return {}
    pool = Threads(Program(job.problem, job.process, job.plan), job.threads)
    try:
        begun = start_carries(job, pool, groups)
        carries = [_alone(job, state, q, carry) for q, carry in zip(groups, begun, strict=True)]
        t, length = 0, era_length(job)
        while t < state.step:
            stop = next_stop(job, t, state.step, STEPS, length, False)
            carries = [
                carry for carry, _ in pool.map(tasks_of(job, dict(zip(groups, carries, strict=True)), t, stop, length))
            ]
            t = stop
        return dict(zip(groups, carries, strict=True))
    finally:
        pool.close()


def _alone(job: Job, state: State, group: int, carry: dict[str, Any]) -> dict[str, Any]:
    """Return the carry with the diverged chains of the group left out of its moments."""
    index, _ = moments_kernel(job)
    counted = np.array([int(c) not in state.diverged for c in job.chains(group)])
    kept = list(carry["recorders"])
    kept[index] = {**kept[index], "counted": counted}
    return {**carry, "recorders": tuple(kept)}
