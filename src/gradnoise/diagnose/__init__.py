"""What trajectories say about themselves: memory, effective size, a Gaussian fit and its floor, stationarity, calibration.

Arrays in, numbers with standard errors out; NumPy only, no Problem, no simulator.
"""

from gradnoise.diagnose.autocorrelation import effective_sample_size, integrated_autocorrelation_time
from gradnoise.diagnose.batches import batch_means
from gradnoise.diagnose.gaussian import GaussianFit, gaussian_fit, kl_floor
from gradnoise.diagnose.rank_calibration import CalibrationTest, calibration_test, expected_rank_spread, rank_statistics
from gradnoise.diagnose.stationarity_test import Stationarity, stationarity

__all__ = [
    "CalibrationTest",
    "GaussianFit",
    "Stationarity",
    "batch_means",
    "calibration_test",
    "effective_sample_size",
    "expected_rank_spread",
    "gaussian_fit",
    "integrated_autocorrelation_time",
    "kl_floor",
    "rank_statistics",
    "stationarity",
]
