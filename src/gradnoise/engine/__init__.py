"""The engine: runs processes, many chains at a time, and knows no particular one."""

from gradnoise.engine import recorders as record
from gradnoise.engine.driver import resume, simulate
from gradnoise.engine.run import Divergence, Failure, Interrupted, Run

__all__ = ["Divergence", "Failure", "Interrupted", "Run", "record", "resume", "simulate"]
