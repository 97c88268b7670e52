"""Text: what others wrote (names of columns, files, parameters) as a page can hold it, and numbers with the digits that they are known to."""

from __future__ import annotations

import math
import re

# what no reader sees or what turns the text around it: control characters, line and bidirectional marks, halves of surrogate pairs
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return the text with hidden characters as Python would write them.

    >>> print(visible("a\x1b[31mb\u202ec"))
    a\x1b[31mb\u202ec
    """
    return HIDDEN.sub(lambda hit: hit[0].encode("unicode_escape").decode("ascii"), text)


def digits_for(value: float, spread: float, least: int) -> int:
    """Return the significant digits of a value that shows a tenth of what it is spread by, at least `least` and at most 15.

    >>> digits_for(59000.5, 0.01, 4), digits_for(0.3, 0.1, 4)
    (8, 4)
    """
    if not (math.isfinite(value) and math.isfinite(spread) and value and spread > 0):
        return least
    return min(15, max(least, math.floor(math.log10(abs(value))) - math.floor(math.log10(spread)) + 2))


def placed(value: float, spread: float, least: int = 4) -> str:
    """Write a value with the digits that its spread (a standard deviation, a width) leaves it.

    >>> placed(59000.512, 0.01), placed(1 / 3, 0.1), placed(1e7, 1e-3)
    ('59000.512', '0.3333', '10000000')
    """
    return f"{value:.{digits_for(value, spread, least)}g}"
