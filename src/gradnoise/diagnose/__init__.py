"""What trajectories say about themselves: memory, effective size, a Gaussian fit and its floor, stationarity.

Arrays in, numbers with standard errors out; NumPy only, no Problem, no simulator.
"""

from gradnoise.diagnose.autocorrelation import effective_sample_size, integrated_autocorrelation_time
from gradnoise.diagnose.batches import batch_means
from gradnoise.diagnose.gaussian import GaussianFit, gaussian_fit, kl_floor
from gradnoise.diagnose.halves import Stationarity, stationarity

__all__ = [
    "GaussianFit",
    "Stationarity",
    "batch_means",
    "effective_sample_size",
    "gaussian_fit",
    "integrated_autocorrelation_time",
    "kl_floor",
    "stationarity",
]
