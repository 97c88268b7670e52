"""A sampler is one plan function: the decorator shows every argument once, and what a run or a plan does not take is named."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise import infer
from gradnoise.infer.choice.plan import SAMPLERS
from gradnoise.infer.plans.place import place
from gradnoise.infer.plans.sampler import OF_A_PLACE, OF_A_RUN
from gradnoise.infer.plans.simulation import SIMULATION

MOST_OWN = 15


def problem() -> Any:
    x = np.random.default_rng(0).standard_normal((40, 2))
    return gn.models.linear_regression(x, x @ [1.0, -1.0], observation_scale=1.0)


def test_the_table_holds_every_sampler_under_its_public_name() -> None:
    assert all(getattr(infer, name) is made for name, made in SAMPLERS.items())
    folder = Path(infer.__file__).parent / "samplers"
    decorated = {
        node.name
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "sampler" for d in node.decorator_list)
    }
    assert decorated == set(SAMPLERS)


def test_no_sampler_imports_another() -> None:
    folder = Path(infer.__file__).parent / "samplers"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("gradnoise.infer.samplers"), path.name


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_argument_is_seen_with_its_default(name: str) -> None:
    made = SAMPLERS[name]
    shown, planned = inspect.signature(made).parameters, inspect.signature(made.plan).parameters
    own = [p for p in shown if p not in OF_A_RUN and p not in OF_A_PLACE]
    assert own[:2] == ["problem", "batch_size"]
    assert len(own) <= MOST_OWN
    assert list(planned) == [*own, *OF_A_PLACE]
    for called in (infer.Plan.run, place):  # where the defaults are used
        for argument, parameter in inspect.signature(called).parameters.items():
            if argument in shown and argument != "problem":
                assert shown[argument].default == parameter.default, argument
    assert {argument: shown[argument].default for argument in SIMULATION} == SIMULATION
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    documented = inspect.getdoc(made)
    assert documented is not None
    assert all(argument in documented for argument in shown if argument not in SIMULATION), (
        "an argument is not documented"
    )
    assert made.__name__ == name
    assert name in made.plan.__doc__


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_what_is_not_taken_is_named(name: str) -> None:
    made = SAMPLERS[name]
    for call in (made, made.plan):
        with pytest.raises(TypeError, match=r"'num_drawz'.*"):
            call(problem(), batch_size=4, num_drawz=3)
        with pytest.raises(TypeError, match="batch_size must be given"):
            call(problem())
        with pytest.raises(TypeError, match=r"problem must be a gn\.Problem"):
            call("wine", batch_size=4)
    with pytest.raises(TypeError, match=r"num_draws must not be given to plan .* give it to the plan's run"):
        made.plan(problem(), batch_size=4, num_draws=10)
    with pytest.raises(ValueError, match="num_chains must be"):
        made(problem(), batch_size=4, num_chains=0)


def test_a_plan_of_a_sampler_is_the_plan_by_its_name() -> None:
    setting: dict[str, Any] = {"batch_size": 4, "key": 2}
    one, other = (
        infer.corrected_langevin.plan(problem(), **setting),
        infer.plan("corrected_langevin", problem(), **setting),
    )
    np.testing.assert_array_equal(one.predicted_covariance, other.predicted_covariance)
    run: dict[str, Any] = {"num_draws": 30, "num_chains": 3, "progress": False}
    at_once = infer.corrected_langevin(problem(), **setting, **run)
    np.testing.assert_array_equal(at_once.draws, one.run(**run, key=2).draws)
