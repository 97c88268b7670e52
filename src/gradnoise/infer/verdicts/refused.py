"""What a sampler raises where no setting of it can do what was asked."""

from __future__ import annotations


class Refused(ValueError):
    """No setting of this sampler does what was asked on these data; the message has the numbers. Bad arguments raise ValueError."""
