"""Checks of how batches are drawn: their size, the sampling, an epoch's last batch."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

from gradnoise._checks.scalars import flag, integer
from gradnoise._checks.wording import one_of

SAMPLINGS = ("with_replacement", "without_replacement", "shuffled")
BYTES_OF_INDEX = 24  # of an example of a batch: the random words and row numbers of two steps


def memory() -> float:
    """Bytes of memory that this process may use: of the machine, the container, or its own limit; infinite where none is known."""
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, AttributeError):  # not known on this system
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    with contextlib.suppress(OSError, ValueError):  # "max", or no container
        found.append(float(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    with contextlib.suppress(OSError, ValueError, ImportError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [] if soft == resource.RLIM_INFINITY else [float(soft)]
    return min(size for size in found if size > 0)


def batch_size(value: Any, num_examples: int | None = None, sampling: str = "with_replacement") -> int:
    """Return the batch size; without replacement (and shuffled) it must not exceed `num_examples`."""
    size = integer("batch_size", value)
    sampling = one_of("sampling", sampling, SAMPLINGS)
    if sampling != "with_replacement":
        if num_examples is None:
            msg = f"num_examples must be given when sampling={sampling!r}: the noise is (C/B)(N-B)/(N-1)."
            raise ValueError(msg)
        if size > num_examples:
            msg = f"batch_size must be <= num_examples = {num_examples} when sampling={sampling!r}, got {size}."
            raise ValueError(msg)
    return size


def drop_last(value: Any, sampling: str = "shuffled") -> bool:
    """Return whether an epoch's last, smaller batch is dropped; only shuffled epochs have one that could be kept."""
    dropped = flag("drop_last", value)
    if not dropped and sampling != "shuffled":
        msg = f"drop_last must be True (its default) when sampling={sampling!r}, got False: only sampling='shuffled' has a smaller last batch."
        raise ValueError(msg)
    return dropped


def drawn_batch(value: Any, num_examples: int, sampling: str = "with_replacement") -> int:
    """Return the batch size of a sampler, whose random numbers and rows must fit in memory."""
    size = batch_size(value, num_examples, sampling)
    if size * BYTES_OF_INDEX > memory():
        msg = (
            f"batch_size must be smaller: the random numbers of {size:,} examples take {size * BYTES_OF_INDEX / 1e9:.3g} GB a step, more than the "
            f"{memory() / 1e9:.3g} GB of this machine."
        )
        raise ValueError(msg)
    return size


def fits(name: str, needed: float, what: str) -> None:
    """Raise where `what` takes more bytes than half of this machine's memory; `name` is the argument that sets it."""
    if needed > memory() / 2:
        msg = f"{name} must be smaller: {what} takes {needed / 1e9:.3g} GB, more than half of the {memory() / 1e9:.3g} GB of this machine."
        raise ValueError(msg)
