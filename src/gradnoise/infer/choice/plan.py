"""`plan`: any sampler by name, tuned and predicted but not run."""

from __future__ import annotations

from typing import Any

from gradnoise import _checks
from gradnoise.infer.samplers.constant_sgd import constant_sgd
from gradnoise.infer.samplers.corrected_langevin import corrected_langevin
from gradnoise.infer.samplers.fisher_scoring import fisher_scoring
from gradnoise.infer.samplers.iterate_averaging import iterate_averaging
from gradnoise.infer.samplers.langevin import langevin
from gradnoise.infer.samplers.sghmc import sghmc

SAMPLERS: dict[str, Any] = {
    made.__name__: made
    for made in (constant_sgd, corrected_langevin, fisher_scoring, iterate_averaging, langevin, sghmc)
}


def plan(method: str, problem: Any, **settings: Any) -> Any:
    """Tune a sampler and predict its law, its bias and its cost; nothing is run.

    Parameters
    ----------
    method
        Name of a sampler of `gradnoise.infer`, such as "constant_sgd".
    problem
        A `Problem` with a mode.
    **settings
        As for the function of that name, without `num_draws`, `num_chains`, `thin`, `burn_in`, `progress`.

    Returns
    -------
    Plan
        (`LargePlan` above 1000 parameters.) Read `.variance_errors`, `.kl_to_target`, `.iact`, `.effective_draws(num_steps)`; then `.run(num_draws=...)`.

    Raises
    ------
    ValueError, TypeError
        On bad arguments; `Refused` where no setting of the method does what is asked on these data.
    """
    return SAMPLERS[_checks.one_of("method", method, tuple(SAMPLERS))].plan(problem, **settings)
