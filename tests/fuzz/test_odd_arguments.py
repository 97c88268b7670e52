"""Odd arguments in valid calls: an answer without NaN, or one clear error that names an argument; nothing from inside, nothing slow."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import base_calls
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from matrices import ODD
from outcome import Refused, has_silent_nan, names_an_argument, outcome

SETS = {"pure": base_calls.pure, "compiled": base_calls.compiled}
FEW = {"pure": 60, "compiled": 25}
MANY = {"pure": 2_500, "compiled": 500}
POWERS = st.integers(-320, 308)


@st.composite
def spoilt(draw: Any, calls: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A valid call with one argument replaced, rescaled, or with one entry spoilt."""
    name = draw(st.sampled_from(sorted(calls)))
    arguments = dict(calls[name][1])
    argument = draw(st.sampled_from(sorted(arguments)))
    value = arguments[argument]
    ways = ["odd"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number or isinstance(value, np.ndarray):
        ways.append("scaled")
    if isinstance(value, np.ndarray) and value.size:
        ways.append("entry")
    way = draw(st.sampled_from(ways))
    if way == "odd":
        arguments[argument] = draw(ODD)
    elif way == "scaled":
        with np.errstate(all="ignore"):
            arguments[argument] = value * float(f"1e{draw(POWERS)}")
    else:
        changed = np.array(value, np.float64)
        place = np.unravel_index(draw(st.integers(0, changed.size - 1)), changed.shape)
        changed[place] = draw(st.sampled_from([np.nan, np.inf, 0.0, -1.0, 1e300, 5e-324, 1e16]))
        arguments[argument] = changed
    return name, argument, arguments


def judge(calls: dict[str, Any], spoiled: tuple[str, str, dict[str, Any]]) -> None:
    name, argument, arguments = spoiled
    function = calls[name][0]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = outcome(function, **arguments)
    if isinstance(found, Refused):
        inner = getattr(function, "func", function)
        assert argument in found.message or names_an_argument(inner, found, arguments), f"{name}({argument}=…): {found}"
    else:
        assert not has_silent_nan(found), f"{name}({argument}=…) returned NaN: {found!r}"


def run(kind: str, count: int, fresh: int | None = None) -> None:
    calls = SETS[kind]()

    @settings(max_examples=count, deadline=None, database=None, derandomize=fresh is None, suppress_health_check=list(HealthCheck), print_blob=True)  # fmt: skip
    @given(spoilt(calls))
    def judged(spoiled: Any) -> None:
        judge(calls, spoiled)

    (seed(fresh)(judged) if fresh is not None else judged)()


@pytest.mark.parametrize("kind", sorted(SETS))
def test_a_few(kind: str) -> None:
    run(kind, FEW[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SETS))
def test_many(kind: str) -> None:
    run(kind, MANY[kind], int(os.environ.get("GRADNOISE_SEED", "1")))


# What people hand in by mistake, and sizes whose square or inverse float64 does not hold.
EVERY: dict[str, Any] = {
    "ones": np.ones(2), "empty": [], "zeros": np.zeros((2, 2)), "scalar array": np.array(3), "word": "yes", "None": None, "True": True,
    "object": object(), "function": lambda x: x, "negative": -1, "nan": float("nan"), "1e16": 10**16, "10**400": 10**400,
    "1e145": 1e145, "1e-17": 1e-17, "1e-200": 1e-200,
}  # fmt: skip
# the caller's own function that overflows raises its own error, so many steps take their time, a comparison fails where it must
THEIRS = {
    ("theory.transverse_gain", "1e145"),
    ("simulate", "1e16"),
    ("infer.constant_sgd", "1e16"),
    ("infer.corrected_langevin", "1e16"),
    *(("testing.assert_estimate", value) for value in EVERY),
}


def every_call(calls: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for name, (function, arguments) in sorted(calls.items()):
        for argument, parameter in inspect.signature(function).parameters.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                for said, value in EVERY.items():
                    yield name, argument, said, arguments | {argument: value}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SETS))
def test_every_argument(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every argument of every public function, with each odd value: all failures at once."""
    monkeypatch.chdir(tmp_path)  # a word is a path to some
    calls, wrong = SETS[kind](), []
    for name, argument, said, arguments in every_call(calls):
        if (name, said) in THEIRS:
            continue
        try:
            judge(calls, (name, argument, arguments))
        except AssertionError as fault:
            wrong.append(f"{name}({argument}={said}): {fault}")
    assert not wrong, "\n".join(wrong)
