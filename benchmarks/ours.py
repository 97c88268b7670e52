"""The engine's compiled chunk as a contestant: all groups of chains, one after the other, in one thread."""

from __future__ import annotations

from typing import Any

import optax
from harness import Variant
from problems import Setting

import gradnoise as gn
from gradnoise.engine import loop as execution
from gradnoise.engine.job import Job
from gradnoise.engine.parallel import Program, Task
from gradnoise.engine.recorders import as_recorders
from gradnoise.engine.simulation import initial_params
from gradnoise.engine.sizes import make_plan

KEY = 3


def sgd_process(setting: Setting) -> Any:
    """Minibatch SGD."""
    return gn.processes.compose(
        gn.oracles.minibatch(setting.batch_size), gn.rule(optax.sgd, learning_rate=setting.learning_rate)
    )


def job_of(setting: Setting, process: Any, chains: int, record: Any = None) -> Job:
    """Return the job that `simulate` would make."""
    recorders = as_recorders(record)
    plan = make_plan(setting.problem, process, recorders, chains, "float32")
    start = initial_params(setting.problem, None, chains, KEY)
    return Job(setting.problem, process, recorders, plan, KEY, chains, 0, start, 1)


def tasks_of(job: Job, program: Program, steps: int) -> list[Task]:
    """Return the tasks of a chunk of `steps` steps from the start."""
    length = execution.era_length(job)
    still = execution._clock(job, 0, 0, length)
    starts = [program.run(Task(q, None, still, None, job.start_params(q)))[0] for q in range(job.num_groups)]
    return execution._tasks(job, starts, 0, steps, length)


def engine(name: str, setting: Setting, process: Any, chains: int, steps: int, record: Any = None) -> Variant:
    """One call: `steps` steps of `chains` chains."""
    job = job_of(setting, process, chains, record)
    program = Program(job.problem, job.process, job.plan)
    tasks = tasks_of(job, program, steps)

    def run() -> Any:
        done = [program.run(task)[0]["params"] for task in tasks]
        return done[0]

    return Variant(name, run, chains * steps)
