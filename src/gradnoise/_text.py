"""Text of others (names of columns, files, parameters) as a page, a terminal and a file can hold it."""

from __future__ import annotations

import re

# what no reader sees or what turns the text around it: control characters, line and bidirectional marks, halves of surrogate pairs
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return the text with hidden characters as Python would write them.

    >>> print(visible("a\x1b[31mb\u202ec"))
    a\x1b[31mb\u202ec
    """
    return HIDDEN.sub(lambda hit: hit[0].encode("unicode_escape").decode("ascii"), text)
