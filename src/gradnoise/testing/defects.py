"""Planted defects: a test that cannot fail is no test, so let it fail on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradnoise import _checks
from gradnoise.testing.verdict import declared, forget


class UndetectedDefect(AssertionError):
    """A check passed although a defect was planted in the prediction."""


def assert_fails(check: Callable[..., Any], *args: Any, defect: str = "a planted defect", **kwargs: Any) -> str:
    """Require that ``check(*args, **kwargs)`` raises AssertionError, and return what it said.

    Any other exception passes through: above all `InsensitiveSample`, since a refusal is no detection.

    Parameters
    ----------
    check
        An assertion, e.g. `assert_covariance`.
    *args, **kwargs
        Its arguments: the same sample as in the test that passes, and the defective prediction.
    defect
        The defect in words, for the message.

    Returns
    -------
    str
        The message of the AssertionError.

    Raises
    ------
    UndetectedDefect
        If the check passes.

    Examples
    --------
    >>> from gradnoise.testing import assert_uniform
    >>> assert_fails(assert_uniform, [52_000, 49_000, 49_000], defect="cell 0 drawn too often")
    'counts are not uniform: ...'
    """
    spent = len(declared())
    try:
        outcome = check(*args, **kwargs)
    except AssertionError as failure:
        return str(failure)
    finally:
        forget(spent)
    msg = f"{getattr(check, '__name__', 'the check')} passed in spite of {defect}: {_checks.shown(outcome, 200)}."
    raise UndetectedDefect(msg)


def planted_defects(check: Callable[[Any], Any], right: Any, wrong: Mapping[str, Any]) -> dict[str, str]:
    """Require that a check passes on the right prediction and fails on each defective one.

    Parameters
    ----------
    check
        ``check(prediction)``, bound to one sample: ``lambda p: assert_covariance(sample, p)``.
    right
        The prediction that must pass.
    wrong
        Name of the defect -> defective prediction. At least one.

    Returns
    -------
    dict
        Name of the defect -> what the check said.

    Raises
    ------
    AssertionError
        If the right prediction fails.
    UndetectedDefect
        If a defect is not seen.

    Examples
    --------
    >>> from gradnoise.results import Estimate
    >>> from gradnoise.testing import assert_estimate
    >>> found = planted_defects(
    ...     lambda p: assert_estimate(Estimate(2.01, 0.01, 400), p), 2.0, {"noise x 1.05": 2.1, "missing factor 2": 1.0}
    ... )
    >>> list(found)
    ['noise x 1.05', 'missing factor 2']
    """
    if not wrong:
        msg = "wrong must name at least one defect, got an empty mapping."
        raise ValueError(msg)
    check(right)
    return {name: assert_fails(check, value, defect=repr(name)) for name, value in wrong.items()}
