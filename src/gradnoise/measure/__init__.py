"""What the curvature and the gradient noise of a problem are: at its mode, or averaged over an approximate posterior.

Nothing here shares code with `oracles`, which imitate the noise.
"""

from gradnoise.measure.geometry import LocalGeometry, local_geometry
from gradnoise.measure.law import GaussianLaw, NotConverged, gaussian_law

__all__ = ["GaussianLaw", "LocalGeometry", "NotConverged", "gaussian_law", "local_geometry"]
