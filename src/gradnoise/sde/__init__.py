"""Stochastic differential equations of the training algorithms: drift and diffusion as records, closed forms in NumPy.

Nothing here integrates or samples: a record holds the functions, `processes` runs them. Imports no JAX.
"""

from gradnoise.sde.adam_rmsprop import adam, rmsprop
from gradnoise.sde.adamw_rmspropw import adamw, rmspropw
from gradnoise.sde.moments import Moments, adam_moments, rmsprop_moments
from gradnoise.sde.momentum_nesterov import momentum, nesterov
from gradnoise.sde.records import SDE, LinearSDE
from gradnoise.sde.sgd_flows import sgd, sgd_exact
from gradnoise.sde.signs import sign_sgd
from gradnoise.sde.variances import adamw_variance, rmsprop_variance, sign_variance

__all__ = [
    "SDE",
    "LinearSDE",
    "Moments",
    "adam",
    "adam_moments",
    "adamw",
    "adamw_variance",
    "momentum",
    "nesterov",
    "rmsprop",
    "rmsprop_moments",
    "rmsprop_variance",
    "rmspropw",
    "sgd",
    "sgd_exact",
    "sign_sgd",
    "sign_variance",
]
