"""Closed forms of gradient-noise theory: quadratics, exact in discrete time. NumPy and SciPy only; imports no JAX."""

from __future__ import annotations

from gradnoise.theory.adaptive import AdaptiveLaw, adam_law, rmsprop_law
from gradnoise.theory.averaged_sampler import (
    AveragingRange,
    averaging_correlation,
    averaging_errors,
    averaging_factors,
    averaging_range,
)
from gradnoise.theory.averages import iterate_average_covariance
from gradnoise.theory.bayesian import BayesianTuning, bayesian_tuning
from gradnoise.theory.bias import LangevinError, langevin_error, variance_errors
from gradnoise.theory.chain import LinearChain, NotLinear
from gradnoise.theory.cumulants import StationaryShape, stationary_shape
from gradnoise.theory.escape import KramersRate, escape_rate, kramers_rate, piecewise_escape_time, transverse_gain
from gradnoise.theory.evidence import (
    linear_regression_evidence,
    log_evidence,
    log_evidence_ratio,
    log_occam_factor,
)
from gradnoise.theory.fisher import (
    FisherScoringError,
    fisher_scoring_covariance,
    fisher_scoring_error,
    fisher_scoring_injection,
    fisher_scoring_preconditioner,
)
from gradnoise.theory.gaussian_inputs import gaussian_inputs_moments
from gradnoise.theory.kesten import least_squares_tail_exponent
from gradnoise.theory.kinetic import kinetic_chain, kinetic_correction, kinetic_covariance
from gradnoise.theory.kinetic_search import KineticTuning, kinetic_tuning
from gradnoise.theory.langevin import (
    CorrectedLangevin,
    corrected_langevin_tuning,
    langevin_correction,
    langevin_covariance,
)
from gradnoise.theory.least_squares import (
    least_squares_edges,
    least_squares_moments,
    least_squares_noise,
    least_squares_preconditioner,
)
from gradnoise.theory.localised import LearningCoefficient, learning_coefficient
from gradnoise.theory.modes import rate_edge, relaxation_times, stability_edge, stability_fraction
from gradnoise.theory.newton import (
    NaturalGradient,
    natural_gradient_inverse_moment,
    natural_gradient_law,
    newton_covariance,
    newton_regression_covariance,
)
from gradnoise.theory.noise import batch_noise, epoch_noise_autocovariance, noise_factor, noise_scale
from gradnoise.theory.noise_estimates import (
    NoiseEstimates,
    gradient_estimates,
    online_gradient_covariance,
    two_batch_estimates,
)
from gradnoise.theory.noise_scales import (
    BestStep,
    best_step,
    critical_noise_scale,
    gradient_noise_scale,
    optimum_batch_size,
    temperature,
)
from gradnoise.theory.passage import bowl_passage_time, chain_passage_time, diffusion_passage_time, quadratic_exit_time
from gradnoise.theory.phase import (
    PositionVelocity,
    continuous_autocovariance,
    effective_temperature,
    mean_square_displacement,
    oscillation_frequencies,
    position_velocity_law,
)
from gradnoise.theory.posterior import gaussian_kl, mean_field_covariance
from gradnoise.theory.potential import (
    Circulation,
    Decomposition,
    circulation,
    cross_spectrum,
    entropy_production,
    force_decomposition,
    lag_asymmetry,
)
from gradnoise.theory.power_law import LossPowerLaw, bulk_exponent, loss_power_law
from gradnoise.theory.powers import power_sums, stein
from gradnoise.theory.regression import LeastSquaresMoments, StabilityEdges
from gradnoise.theory.reverse import reverse_learning_rate
from gradnoise.theory.scheduled import ScheduledLangevin, scheduled_langevin_covariance
from gradnoise.theory.shift import most_likely_shift
from gradnoise.theory.shuffled import (
    epoch_average_covariance,
    fixed_order_covariance,
    shuffled_covariance,
    shuffled_weights,
)
from gradnoise.theory.signs import best_sign_step
from gradnoise.theory.stable import stable_exit_time, stable_scale
from gradnoise.theory.stationary import (
    chain_from_noise,
    continuous_covariance,
    linear_chain,
    mode_covariance,
    stationary_covariance,
)
from gradnoise.theory.svag import (
    SvagMoments,
    svag_coefficients,
    svag_moments,
    svag_noise,
)
from gradnoise.theory.tails import multiplier_tail_exponent, tail_exponent, tail_exponent_estimate
from gradnoise.theory.targets import preconditioner_for
from gradnoise.theory.tradeoff import BatchTradeoff, batch_tradeoff
from gradnoise.theory.trajectory import BatchMeans, batch_means_error, hessian_regression_error, long_run_bound
from gradnoise.theory.tuning import optimal_learning_rate, optimal_preconditioner
from gradnoise.theory.weights import gaussian_weights

__all__ = [
    "AdaptiveLaw",
    "AveragingRange",
    "BatchMeans",
    "BatchTradeoff",
    "BayesianTuning",
    "BestStep",
    "Circulation",
    "CorrectedLangevin",
    "Decomposition",
    "FisherScoringError",
    "KineticTuning",
    "KramersRate",
    "LangevinError",
    "LearningCoefficient",
    "LeastSquaresMoments",
    "LinearChain",
    "LossPowerLaw",
    "NaturalGradient",
    "NoiseEstimates",
    "NotLinear",
    "PositionVelocity",
    "ScheduledLangevin",
    "StabilityEdges",
    "StationaryShape",
    "SvagMoments",
    "adam_law",
    "averaging_correlation",
    "averaging_errors",
    "averaging_factors",
    "averaging_range",
    "batch_means_error",
    "batch_noise",
    "batch_tradeoff",
    "bayesian_tuning",
    "best_sign_step",
    "best_step",
    "bowl_passage_time",
    "bulk_exponent",
    "chain_from_noise",
    "chain_passage_time",
    "circulation",
    "continuous_autocovariance",
    "continuous_covariance",
    "corrected_langevin_tuning",
    "critical_noise_scale",
    "cross_spectrum",
    "diffusion_passage_time",
    "effective_temperature",
    "entropy_production",
    "epoch_average_covariance",
    "epoch_noise_autocovariance",
    "escape_rate",
    "fisher_scoring_covariance",
    "fisher_scoring_error",
    "fisher_scoring_injection",
    "fisher_scoring_preconditioner",
    "fixed_order_covariance",
    "force_decomposition",
    "gaussian_inputs_moments",
    "gaussian_kl",
    "gaussian_weights",
    "gradient_estimates",
    "gradient_noise_scale",
    "hessian_regression_error",
    "iterate_average_covariance",
    "kinetic_chain",
    "kinetic_correction",
    "kinetic_covariance",
    "kinetic_tuning",
    "kramers_rate",
    "lag_asymmetry",
    "langevin_correction",
    "langevin_covariance",
    "langevin_error",
    "learning_coefficient",
    "least_squares_edges",
    "least_squares_moments",
    "least_squares_noise",
    "least_squares_preconditioner",
    "least_squares_tail_exponent",
    "linear_chain",
    "linear_regression_evidence",
    "log_evidence",
    "log_evidence_ratio",
    "log_occam_factor",
    "long_run_bound",
    "loss_power_law",
    "mean_field_covariance",
    "mean_square_displacement",
    "mode_covariance",
    "most_likely_shift",
    "multiplier_tail_exponent",
    "natural_gradient_inverse_moment",
    "natural_gradient_law",
    "newton_covariance",
    "newton_regression_covariance",
    "noise_factor",
    "noise_scale",
    "online_gradient_covariance",
    "optimal_learning_rate",
    "optimal_preconditioner",
    "optimum_batch_size",
    "oscillation_frequencies",
    "piecewise_escape_time",
    "position_velocity_law",
    "power_sums",
    "preconditioner_for",
    "quadratic_exit_time",
    "rate_edge",
    "relaxation_times",
    "reverse_learning_rate",
    "rmsprop_law",
    "scheduled_langevin_covariance",
    "shuffled_covariance",
    "shuffled_weights",
    "stability_edge",
    "stability_fraction",
    "stable_exit_time",
    "stable_scale",
    "stationary_covariance",
    "stationary_shape",
    "stein",
    "svag_coefficients",
    "svag_moments",
    "svag_noise",
    "tail_exponent",
    "tail_exponent_estimate",
    "temperature",
    "transverse_gain",
    "two_batch_estimates",
    "variance_errors",
]
