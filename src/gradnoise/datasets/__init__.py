"""Tables for models: files and data frames with a stated policy, bundled examples, OpenML, standardising, splitting."""

from gradnoise.datasets.loading import load
from gradnoise.datasets.record import Dataset, Standardisation, split, standardise
from gradnoise.datasets.sources import bundled, example, openml

__all__ = ["Dataset", "Standardisation", "bundled", "example", "load", "openml", "split", "standardise"]
