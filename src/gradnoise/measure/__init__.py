"""What the curvature and the gradient noise of a problem are: at its mode, or averaged over an approximate posterior.

Nothing here shares code with `oracles`, which imitate the noise.
"""

from gradnoise.measure.dense.gaussian_law import GaussianLaw, NotConverged, gaussian_law
from gradnoise.measure.dense.local_geometry import LocalGeometry, local_geometry
from gradnoise.measure.dense.nearness import Nearness, nearness
from gradnoise.measure.dense.stationary_law import SelfConsistentLaw, stationary_law
from gradnoise.measure.products.leading_directions import LeadingDirections, leading_directions
from gradnoise.measure.products.noise_diagonal import NoiseDiagonal, noise_diagonal

__all__ = [
    "GaussianLaw",
    "LeadingDirections",
    "LocalGeometry",
    "Nearness",
    "NoiseDiagonal",
    "NotConverged",
    "SelfConsistentLaw",
    "gaussian_law",
    "leading_directions",
    "local_geometry",
    "nearness",
    "noise_diagonal",
    "stationary_law",
]
