"""Pages: results in stages, a JSON file of every number, and a page rendered from that file alone."""

from gradnoise.pages.outcome import Interrupted, Report, StageFailed
from gradnoise.pages.produce import report, rerender

__all__ = ["Interrupted", "Report", "StageFailed", "report", "rerender"]
