"""One figure a file: results (plain dicts and arrays) in, matplotlib Axes out; nothing is computed but positions.

Every function takes `axes=None`: without axes it makes a `matplotlib.figure.Figure` of its own (no pyplot, no global
state), reachable as `axes.figure`.
"""

from gradnoise.plots.divergence import divergences
from gradnoise.plots.marginals import marginal_densities
from gradnoise.plots.spectrum import noise_alignment, noise_spectrum
from gradnoise.plots.stability import stability_gauge
from gradnoise.plots.stationary import predicted_against_simulated, stationary_variances, variance_ratios

__all__ = [
    "divergences",
    "marginal_densities",
    "noise_alignment",
    "noise_spectrum",
    "predicted_against_simulated",
    "stability_gauge",
    "stationary_variances",
    "variance_ratios",
]
