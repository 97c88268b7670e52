"""The engine: runs processes, many chains at a time, and knows no particular one."""

from gradnoise.engine import recorders as record
from gradnoise.engine.run import Divergence, Failure, Interrupted, Run
from gradnoise.engine.simulation import resume, simulate

__all__ = ["Divergence", "Failure", "Interrupted", "Run", "record", "resume", "simulate"]
