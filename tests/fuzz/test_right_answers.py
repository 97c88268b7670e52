"""Random problems: the right answer by an independent route, or one clear refusal; never an error from inside, never a silent NaN.

A few draws of every case by default, the same every time; `slow` takes ten thousand, new ones with `GRADNOISE_SEED`.
"""

from __future__ import annotations

import os

import cases_escape
import cases_estimates
import cases_kinetic
import cases_laws
import cases_more
import cases_problems
import cases_rows
import cases_scaling
import cases_sde
import cases_settings
import cases_theory
import cases_tuning
import pytest
from case import Case, run

TOPICS = (
    cases_theory,
    cases_more,
    cases_settings,
    cases_laws,
    cases_tuning,
    cases_kinetic,
    cases_rows,
    cases_escape,
    cases_estimates,
    cases_sde,
    cases_scaling,
    cases_problems,
)
CASES = [case for topic in TOPICS for case in topic.CASES]
MANY = 10_000 // len(CASES) + 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_few(case: Case) -> None:
    run(case, case.few)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_many(case: Case) -> None:
    run(case, MANY, fresh=int(os.environ.get("GRADNOISE_SEED", "1")))
