"""The mode of a posterior, certified: stationary to rounding, curved upwards in every direction, and lower than its surroundings."""

from gradnoise.mode.certified import Mode, as_mode, find_mode
from gradnoise.mode.search import NotAMinimum

__all__ = ["Mode", "NotAMinimum", "as_mode", "find_mode"]
