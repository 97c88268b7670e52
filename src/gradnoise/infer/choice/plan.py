"""`plan`: any sampler by name, tuned and predicted but not run."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from gradnoise import _checks
from gradnoise.infer.samplers.constant_sgd import plan_constant_sgd
from gradnoise.infer.samplers.corrected_langevin import plan_corrected_langevin
from gradnoise.infer.samplers.fisher_scoring import plan_fisher_scoring
from gradnoise.infer.samplers.iterate_averaging import plan_iterate_averaging
from gradnoise.infer.samplers.langevin import plan_langevin
from gradnoise.infer.samplers.sghmc import plan_sghmc
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.theory.tuning.optimal import NoSetting

OF_A_RUN = ("num_draws", "num_chains", "thin", "burn_in", "progress", "dtype", "checkpoint", "workers", "threads")
PLANNERS: dict[str, Callable[..., Any]] = {
    "constant_sgd": plan_constant_sgd,
    "corrected_langevin": plan_corrected_langevin,
    "fisher_scoring": plan_fisher_scoring,
    "iterate_averaging": plan_iterate_averaging,
    "langevin": plan_langevin,
    "sghmc": plan_sghmc,
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
    _checks.problem(problem)
    make = PLANNERS[_checks.one_of("method", method, tuple(PLANNERS))]
    _check_names(method, settings, tuple(signature(make).parameters)[1:])
    try:
        return make(problem, **settings)
    except NoSetting as none:
        raise Refused(str(none)) from none


def _check_names(method: str, settings: dict[str, Any], taken: tuple[str, ...]) -> None:
    """Say which argument a plan does not take, and where it belongs."""
    for name in settings:
        where = "give it to the plan's run()" if name in OF_A_RUN else ""
        if name == "preconditioner" and "kind" in taken:
            where = "there the argument is kind"
        if where and name not in taken:
            msg = f"{name} must not be given to plan {method!r}: {where}."
            raise TypeError(msg)
    _checks.keywords(settings, taken)
    if "batch_size" not in settings:
        msg = f"batch_size must be given to plan {method!r}."
        raise TypeError(msg)
