"""Closed forms of gradient-noise theory: quadratics, exact in discrete time. NumPy and SciPy only; imports no JAX."""

from __future__ import annotations

from gradnoise.theory.currents.circulation import Circulation, circulation
from gradnoise.theory.currents.cross_spectrum import cross_spectrum
from gradnoise.theory.currents.entropy_production import entropy_production
from gradnoise.theory.currents.force_decomposition import Decomposition, force_decomposition
from gradnoise.theory.currents.lag_asymmetry import lag_asymmetry
from gradnoise.theory.currents.most_likely_shift import most_likely_shift
from gradnoise.theory.escape.escape_rate import escape_rate, piecewise_escape_time
from gradnoise.theory.escape.kramers_rate import KramersRate, kramers_rate
from gradnoise.theory.escape.passage_time import (
    bowl_passage_time,
    chain_passage_time,
    diffusion_passage_time,
    quadratic_exit_time,
)
from gradnoise.theory.escape.transverse_gain import transverse_gain
from gradnoise.theory.langevin.fisher_scoring import (
    FisherScoringError,
    fisher_scoring_covariance,
    fisher_scoring_error,
    fisher_scoring_injection,
    fisher_scoring_preconditioner,
)
from gradnoise.theory.langevin.kinetic import kinetic_chain, kinetic_correction, kinetic_covariance
from gradnoise.theory.langevin.kinetic_tuning import KineticTuning, kinetic_tuning
from gradnoise.theory.langevin.langevin_error import LangevinError, langevin_error
from gradnoise.theory.langevin.learning_coefficient import LearningCoefficient, learning_coefficient
from gradnoise.theory.langevin.overdamped import (
    CorrectedLangevin,
    corrected_langevin_tuning,
    langevin_correction,
    langevin_covariance,
)
from gradnoise.theory.langevin.scheduled import ScheduledLangevin, scheduled_langevin_covariance
from gradnoise.theory.least_squares.edges_and_moments import LeastSquaresMoments, StabilityEdges
from gradnoise.theory.least_squares.gaussian_inputs import gaussian_inputs_moments
from gradnoise.theory.least_squares.rows import (
    least_squares_edges,
    least_squares_moments,
    least_squares_noise,
    least_squares_preconditioner,
)
from gradnoise.theory.least_squares.tail_exponent import least_squares_tail_exponent
from gradnoise.theory.linear.chain import LinearChain, NotLinear
from gradnoise.theory.linear.power_sums import power_sums
from gradnoise.theory.linear.relaxation_times import relaxation_times
from gradnoise.theory.linear.stability_edge import rate_edge, stability_edge, stability_fraction
from gradnoise.theory.linear.stein import stein
from gradnoise.theory.noise.batch_noise import batch_noise, epoch_noise_autocovariance, noise_factor, noise_scale
from gradnoise.theory.noise.batch_size import BatchTradeoff, batch_tradeoff, optimum_batch_size
from gradnoise.theory.noise.best_step import BestStep, best_sign_step, best_step
from gradnoise.theory.noise.gaussian_weights import gaussian_weights
from gradnoise.theory.noise.gradient_estimates import (
    NoiseEstimates,
    gradient_estimates,
    online_gradient_covariance,
    two_batch_estimates,
)
from gradnoise.theory.noise.noise_scales import critical_noise_scale, gradient_noise_scale
from gradnoise.theory.noise.svag import SvagMoments, svag_coefficients, svag_moments, svag_noise
from gradnoise.theory.noise.temperature import temperature
from gradnoise.theory.posterior.gaussian_kl import gaussian_kl
from gradnoise.theory.posterior.log_evidence import (
    linear_regression_evidence,
    log_evidence,
    log_evidence_ratio,
    log_occam_factor,
)
from gradnoise.theory.posterior.mean_field import mean_field_covariance
from gradnoise.theory.posterior.variance_errors import variance_errors
from gradnoise.theory.stationary.adaptive_law import AdaptiveLaw, adam_law, rmsprop_law
from gradnoise.theory.stationary.averaging import (
    AveragingRange,
    averaging_correlation,
    averaging_errors,
    averaging_factors,
    averaging_range,
)
from gradnoise.theory.stationary.covariance import continuous_covariance, mode_covariance, stationary_covariance
from gradnoise.theory.stationary.iterate_average import iterate_average_covariance
from gradnoise.theory.stationary.linear_chain import chain_from_noise, linear_chain
from gradnoise.theory.stationary.natural_gradient import (
    NaturalGradient,
    natural_gradient_inverse_moment,
    natural_gradient_law,
)
from gradnoise.theory.stationary.newton import newton_covariance, newton_regression_covariance
from gradnoise.theory.stationary.shuffled_covariance import (
    epoch_average_covariance,
    fixed_order_covariance,
    shuffled_covariance,
    shuffled_weights,
)
from gradnoise.theory.stationary.stationary_shape import StationaryShape, stationary_shape
from gradnoise.theory.tails.bulk_exponent import bulk_exponent
from gradnoise.theory.tails.loss_power_law import LossPowerLaw, loss_power_law
from gradnoise.theory.tails.stable import stable_exit_time, stable_scale
from gradnoise.theory.tails.tail_exponent import multiplier_tail_exponent, tail_exponent, tail_exponent_estimate
from gradnoise.theory.trajectories.autocovariance import continuous_autocovariance
from gradnoise.theory.trajectories.batch_means import BatchMeans, batch_means_error
from gradnoise.theory.trajectories.effective_temperature import effective_temperature
from gradnoise.theory.trajectories.hessian_regression import hessian_regression_error
from gradnoise.theory.trajectories.long_run_bound import long_run_bound
from gradnoise.theory.trajectories.mean_square_displacement import mean_square_displacement
from gradnoise.theory.trajectories.oscillation_frequencies import oscillation_frequencies
from gradnoise.theory.trajectories.position_velocity import PositionVelocity, position_velocity_law
from gradnoise.theory.tuning.bayesian_tuning import BayesianTuning, bayesian_tuning
from gradnoise.theory.tuning.optimal import optimal_learning_rate, optimal_preconditioner
from gradnoise.theory.tuning.preconditioner_for import preconditioner_for
from gradnoise.theory.tuning.reverse_learning_rate import reverse_learning_rate

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
