"""Scaling rules: which settings keep the law of training when the batch size changes.

Closed forms only; `advice` puts them into words. NumPy at most; imports no JAX.
"""

from gradnoise.scaling.averaging_rule import ema, ema_shift
from gradnoise.scaling.equilibrium import (
    Equilibrium,
    equilibrium_closeness,
    max_factor_for_linear,
    max_learning_rate_for_sde,
    scale_invariant_norm,
)
from gradnoise.scaling.limits import max_kappa
from gradnoise.scaling.linear_rule import linear
from gradnoise.scaling.ramp_rule import ramp
from gradnoise.scaling.records import TOLERANCE, Condition, Scaled
from gradnoise.scaling.root_rule import square_root
from gradnoise.scaling.svag_rule import svag

__all__ = [
    "TOLERANCE",
    "Condition",
    "Equilibrium",
    "Scaled",
    "ema",
    "ema_shift",
    "equilibrium_closeness",
    "linear",
    "max_factor_for_linear",
    "max_kappa",
    "max_learning_rate_for_sde",
    "ramp",
    "scale_invariant_norm",
    "square_root",
    "svag",
]
