"""Processes: Markov chains on (params, state), what the engine runs.

A process has ``init``, ``draw``, ``step``, ``reads``, ``words_per_step``, ``period``, ``check`` and ``linear``, the
`LinearChain` it follows on a quadratic (or `NotLinear` with the reason). Every field is traced (numbers, matrices) or
static (functions, sizes).
"""

from gradnoise.processes.composition import Composed, compose
from gradnoise.processes.hyperparameter_steps import HyperparameterSGD, hyperparameter_sgd
from gradnoise.processes.kinetic_langevin import Kinetic, kinetic
from gradnoise.processes.langevin_dynamics import Decreasing, Langevin, langevin

__all__ = [
    "Composed",
    "Decreasing",
    "HyperparameterSGD",
    "Kinetic",
    "Langevin",
    "compose",
    "hyperparameter_sgd",
    "kinetic",
    "langevin",
]
