"""Closed forms of gradient-noise theory: quadratics, exact in discrete time. NumPy and SciPy only; imports no JAX."""

from __future__ import annotations

from gradnoise.theory.averages import iterate_average_covariance
from gradnoise.theory.chain import LinearChain, NotLinear, power_sums, stein
from gradnoise.theory.langevin import (
    CorrectedLangevin,
    corrected_langevin_tuning,
    langevin_correction,
    langevin_covariance,
)
from gradnoise.theory.modes import rate_edge, relaxation_times, stability_edge, stability_fraction
from gradnoise.theory.noise import batch_noise, noise_factor, noise_scale
from gradnoise.theory.posterior import gaussian_kl, mean_field_covariance
from gradnoise.theory.shuffled import (
    epoch_average_covariance,
    fixed_order_covariance,
    shuffled_covariance,
    shuffled_weights,
)
from gradnoise.theory.stationary import (
    chain_from_noise,
    continuous_covariance,
    linear_chain,
    mode_covariance,
    stationary_covariance,
)
from gradnoise.theory.targets import preconditioner_for
from gradnoise.theory.tuning import optimal_learning_rate, optimal_preconditioner

__all__ = [
    "CorrectedLangevin",
    "LinearChain",
    "NotLinear",
    "batch_noise",
    "chain_from_noise",
    "continuous_covariance",
    "corrected_langevin_tuning",
    "epoch_average_covariance",
    "fixed_order_covariance",
    "gaussian_kl",
    "iterate_average_covariance",
    "langevin_correction",
    "langevin_covariance",
    "linear_chain",
    "mean_field_covariance",
    "mode_covariance",
    "noise_factor",
    "noise_scale",
    "optimal_learning_rate",
    "optimal_preconditioner",
    "power_sums",
    "preconditioner_for",
    "rate_edge",
    "relaxation_times",
    "shuffled_covariance",
    "shuffled_weights",
    "stability_edge",
    "stability_fraction",
    "stationary_covariance",
    "stein",
]
