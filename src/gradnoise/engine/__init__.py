"""The engine: runs processes, many chains at a time, and knows no particular one."""

from gradnoise.engine import recorders as record
from gradnoise.engine.driver import resume, simulate
from gradnoise.engine.run import Divergence, Interrupted, Run

__all__ = ["Divergence", "Interrupted", "Run", "record", "resume", "simulate"]
