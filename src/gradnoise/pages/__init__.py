"""Pages: results in stages, a JSON file of every number, and a page rendered from that file alone."""

from gradnoise.pages.produce import Interrupted, Report, StageFailed, report, rerender

__all__ = ["Interrupted", "Report", "StageFailed", "report", "rerender"]
