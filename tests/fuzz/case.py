"""A case: how its arguments are drawn, what is called, and the independent route to the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from outcome import Expected, Refused, has_silent_nan, outcome

FEW = 3  # examples a case by default


class Case(NamedTuple):
    """One public call.

    Attributes
    ----------
    name
        Of the function, and what about it.
    draw
        Strategy of a mapping of arguments.
    call
        The function, or one that reads the answer's numbers.
    right
        The same numbers another way, or `refuses(names)`.
    rtol
        Relative to the largest entry of the right answer (entries of covariances cancel).
    few
        Examples by default; those that cost milliseconds take more.
    """

    name: str
    draw: Any
    call: Callable[..., Any]
    right: Callable[..., Any]
    rtol: float = 1e-6
    few: int = FEW


def quick(cases: list[Case], few: int = 5) -> list[Case]:
    """Cases that take this many examples by default, but for those that say how many."""
    return [case if case.few != FEW else case._replace(few=few) for case in cases]


def agree(found: Any, right: Any, rtol: float) -> None:
    """Both as arrays, each entry within rtol of the largest; infinite where the other is."""
    a, b = np.asarray(found, np.float64), np.asarray(right, np.float64)
    assert a.shape == b.shape, f"shapes {a.shape}, right {b.shape}"
    assert not np.isnan(a).any(), f"NaN: {a}, right {b}"
    same = np.isinf(b) & (a == b)
    size = float(np.abs(np.where(np.isinf(b), 0, b)).max(initial=0.0))
    off = np.abs(np.where(same, 0, a) - np.where(same, 0, b)).max(initial=0.0)
    assert off <= rtol * size, f"off by {off:.3g} of {size:.3g}: {found!r}, right {right!r}"


def judge(case: Case, arguments: dict[str, Any]) -> None:
    """Call it once and hold the answer against the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outcome(case.call, **arguments)
    with np.errstate(all="ignore"):
        right = case.right(**arguments)
    if isinstance(right, Expected):
        assert isinstance(found, Refused), f"{case.name}: should refuse, naming {right.names}, got {found!r}"
        assert any(name in found.message for name in right.names), f"{case.name}: {found.message}"
        return
    assert not isinstance(found, Refused), f"{case.name} refused: {found.message}; right {right!r}"
    assert not has_silent_nan(found), f"{case.name}: NaN in {found!r}"
    if isinstance(right, tuple):
        assert len(found) == len(right)
        for one, other in zip(found, right, strict=True):
            agree(one, other, case.rtol)
    else:
        agree(found, right, case.rtol)


def run(case: Case, num_examples: int, *, fresh: int | None = None) -> None:
    """Judge so many draws of a case; the same ones every time unless `fresh` is a seed."""

    @settings(
        max_examples=num_examples,
        deadline=None,
        database=None,
        derandomize=fresh is None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(case.draw)
    def judged(arguments: dict[str, Any]) -> None:
        judge(case, arguments)

    if fresh is not None:
        judged = seed(fresh)(judged)
    judged()
