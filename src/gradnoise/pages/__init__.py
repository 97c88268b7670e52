"""Pages: results in stages, a JSON file of every number, and a page rendered from that file alone."""

from gradnoise.pages.produce import Report, StageFailed, report, rerender

__all__ = ["Report", "StageFailed", "report", "rerender"]
