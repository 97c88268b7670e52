"""What every sampler takes beside its own arguments, and the decorator that makes a sampler of a plan function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, cast

from gradnoise import _checks
from gradnoise.infer.plans.place import Place, place
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.plans.simulation import SIMULATION, Simulation, check_run
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.verdicts.refused import Refused
from gradnoise.theory.tuning.optimal import NoSetting

P = ParamSpec("P")


class Settings(Simulation, total=False):
    """What every sampler takes beside its own arguments; the defaults are those of `Plan.run` and `place`.

    Attributes
    ----------
    num_draws, num_chains, thin, burn_in, progress
        As in `Plan.run`.
    at, mode, law, num_law_draws
        As in `place`.
    key
        Seed, of the run and of the variational law.
    """

    num_draws: int
    num_chains: int
    thin: int | None
    burn_in: int | None
    progress: Any
    at: str
    mode: Any
    law: Any
    num_law_draws: int | None
    key: Any


def _parameters(function: Callable[..., Any], left_out: tuple[str, ...]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function that a sampler also has, by keyword only."""
    found = inspect.signature(function).parameters
    return {
        name: parameter.replace(kind=parameter.KEYWORD_ONLY)
        for name, parameter in found.items()
        if parameter.kind is not parameter.VAR_KEYWORD and name not in left_out
    }


SAID: dict[str, Any] = Simulation.__annotations__
OF_A_RUN = _parameters(Plan.run, ("self", "key")) | {
    name: inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=SAID[name].__forward_arg__
    )
    for name, default in SIMULATION.items()
}
OF_A_PLACE = _parameters(place, ("problem", "chain"))


class Sampler(Protocol[P]):
    """A sampler: called, it runs; its `plan` is tuned and predicted, and nothing is run."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Posterior:
        """Tune, predict, run and judge."""
        ...

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return the plan: arguments as for a run, without those of the run itself."""
        ...


def place_of(problem: Any, settings: Mapping[str, Any]) -> Place:
    """Return where the settings of a sampler take curvature and noise."""
    return place(problem, **{name: settings[name] for name in OF_A_PLACE if name in settings})


def sampler(make: Callable[P, Any]) -> Sampler[P]:
    """Make a sampler of a function that returns its plan: one signature, which shows every argument with its default.

    The function takes the problem, its own arguments by keyword, and **settings: Unpack[Settings], of which it is given those that
    are in the call and in `place`. Its docstring is that of the sampler.
    """
    own = [p for p in inspect.signature(make).parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = tuple(p.name for p in own[1:])

    def plan(problem: Any, **settings: Any) -> Any:
        _checks.problem(problem)
        _check_plan(make.__name__, settings, taken)
        try:
            return cast(Callable[..., Any], make)(problem, **settings)
        except NoSetting as none:
            raise Refused(str(none)) from none

    @functools.wraps(make)
    def run(problem: Any, **settings: Any) -> Posterior:
        _checks.keywords(settings, (*taken, *OF_A_PLACE, *OF_A_RUN))
        of_run = {name: settings.pop(name) for name in OF_A_RUN if name in settings}
        of_run |= {"key": settings["key"]} if "key" in settings else {}
        check_run(simulation={name: of_run[name] for name in SIMULATION if name in of_run}, **_of_all(of_run))
        return cast(Posterior, plan(problem, **settings).run(**of_run))

    shared = [*OF_A_RUN.values(), *OF_A_PLACE.values()]
    run.__signature__ = inspect.Signature([*own, *shared], return_annotation="Posterior")  # type: ignore[attr-defined]
    plan.__signature__ = inspect.Signature([*own, *OF_A_PLACE.values()])  # type: ignore[attr-defined]
    plan.__name__, plan.__qualname__ = "plan", f"{make.__name__}.plan"
    plan.__doc__ = f"Tune and predict `{make.__name__}`, and run nothing: its arguments without {', '.join(OF_A_RUN)}."
    run.plan = plan  # type: ignore[attr-defined]
    return cast(Sampler[P], run)


def _of_all(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `check_run` asks of any run, with the defaults where it is not given."""
    asked = {"key": OF_A_PLACE["key"], **OF_A_RUN}
    return {name: given.get(name, parameter.default) for name, parameter in asked.items() if name not in SIMULATION}


def _check_plan(method: str, settings: dict[str, Any], taken: tuple[str, ...]) -> None:
    """Say which argument a plan does not take, and where it belongs."""
    for name in settings:
        where = "give it to the plan's run()" if name in OF_A_RUN else ""
        if name == "preconditioner" and "kind" in taken:
            where = "there the argument is kind"
        if where and name not in taken:
            msg = f"{name} must not be given to plan {method!r}: {where}."
            raise TypeError(msg)
    _checks.keywords(settings, (*taken, *OF_A_PLACE))
    if "batch_size" not in settings:
        msg = f"batch_size must be given to {method}."
        raise TypeError(msg)
