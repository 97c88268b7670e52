"""What the curvature and the gradient noise of a problem are: at its mode, or averaged over an approximate posterior.

Nothing here shares code with `oracles`, which imitate the noise.
"""

from gradnoise.measure.diagonal import LeadingDirections, NoiseDiagonal, leading_directions, noise_diagonal
from gradnoise.measure.geometry import LocalGeometry, local_geometry
from gradnoise.measure.importance import Nearness, nearness
from gradnoise.measure.law import GaussianLaw, NotConverged, gaussian_law
from gradnoise.measure.self_consistent import SelfConsistentLaw, stationary_law

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
