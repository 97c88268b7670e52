"""Every public formula has a law or agreement test that calls it, a defect planted in that test, and all parts of a docstring.

`audit` reads both from the source; the tests at the end take a piece away and see that it is missed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from audit import definitions, docstring_of, gaps_in_docstring, gaps_in_summary, gaps_in_tests, parameters, reached
from calls import public_formulas

from gradnoise import theory

# formula -> (tests "file::function", a planted defect named in one of them)
TABLE = {
    "LinearChain": ("test_record_fields::test_any_linear_chain", "R forgotten"),
    "LinearChain.autocovariance": (
        "test_law::test_autocovariance test_golden_chain::test_table_recent_2_1",
        "one lag short",
    ),
    "LinearChain.average": (
        "test_law::test_averages_and_ema test_identity::test_averages_limits",
        "leading term alone",
    ),
    "LinearChain.covariance": (
        "test_law::test_preconditioned_with_injected_noise test_golden_discrete::test_table_2_1",
        "noise x 1.05",
    ),
    "LinearChain.effective_sample_size": ("test_law::test_integrated_autocorrelation_times", "sample size for time"),
    "LinearChain.ema": (
        "test_law::test_averages_and_ema test_golden_chain::test_table_recent_2_1",
        "factor 1 - decay alone",
    ),
    "LinearChain.iact": (
        "test_law::test_integrated_autocorrelation_times test_identity::test_times_are_sums_of_autocorrelations",
        "one-sided sum",
    ),
    "LinearChain.long_run_covariance": (
        "test_golden_chain::test_long_run_bound_recent_2_2 test_law::test_averages_and_ema",
        "leading term alone",
    ),
    "LinearChain.relaxation_time": ("test_agreement::test_relaxation_times", "momentum"),
    "LinearChain.spectral_radius": (
        "test_agreement::test_edges_by_bisection test_golden_discrete::test_table_2_1",
        "preconditioner forgotten",
    ),
    "LinearChain.state_covariance": ("test_record_fields::test_any_linear_chain", "F transposed"),
    "LinearChain.worst_iact": ("test_agreement::test_worst_times_by_brute_force", "best coordinate"),
    "batch_tradeoff": ("test_acceptance_formulas::test_batch_tradeoff_by_best_steps", "without - 1"),
    "bayesian_tuning": (
        "test_acceptance_formulas::test_bayesian_tuning_by_search test_acceptance_formulas::test_bayesian_tuning_golden_recent_2_4",
        "τ alone",
    ),
    "epoch_noise_autocovariance": ("test_acceptance_smith_chaudhari::test_epoch_noise_a3", "white noise"),
    "online_gradient_covariance": (
        "test_acceptance_mandt::test_online_gradient_covariance_t11",
        "as printed: no B/(B-1)",
    ),
    "fisher_scoring_error": (
        "test_acceptance_formulas::test_fisher_scoring_error_by_lyapunov test_acceptance_formulas::test_fisher_scoring_error_golden_g3",
        "batch size forgotten",
    ),
    "gaussian_weights": (
        "test_acceptance_formulas::test_gaussian_weights_t11 test_acceptance_formulas::test_gaussian_weights_law",
        "not centred",
    ),
    "batch_noise": ("test_agreement::test_batch_noise_by_enumeration", "N for N - 1"),
    "chain_from_noise": (
        "test_agreement::test_discrete_law_and_mode_covariance test_law::test_langevin_correction",
        "noise x 1.05",
    ),
    "continuous_covariance": ("test_agreement::test_continuous_covariance", "eq. (25) as printed"),
    "corrected_langevin_tuning": ("test_law::test_corrected_langevin_tuning", "minibatch noise not subtracted"),
    "epoch_average_covariance": (
        "test_law_shuffled::test_epoch_average_and_fixed_order test_shuffled::test_shuffled_equals_enumeration",
        "independent batches",
    ),
    "fixed_order_covariance": ("test_law_shuffled::test_epoch_average_and_fixed_order", "new order each epoch"),
    "gaussian_kl": ("test_agreement::test_gaussian_kl_by_quadrature", "factor 1/2 missing"),
    "iterate_average_covariance": (
        "test_law::test_averages_and_ema test_golden_mandt::test_g3_averages",
        "no averaging",
    ),
    "langevin_correction": ("test_law::test_langevin_correction", "no correction"),
    "langevin_covariance": (
        "test_law::test_langevin test_law_shuffled::test_langevin_shuffled_and_preconditioned",
        "the paper's minibatch term",
    ),
    "kinetic_chain": (
        "test_kinetic::test_law_by_simulation test_kinetic::test_the_cycle_has_the_law_of_the_scheme_as_written",
        "another scheme",
    ),
    "kinetic_correction": ("test_kinetic::test_correction_by_simulation", "a quarter of h²S"),
    "kinetic_covariance": ("test_kinetic::test_law_by_simulation", "γ for 2γ"),
    "kinetic_tuning": ("test_kinetic::test_tuned_sampler_by_simulation", "minibatch noise not subtracted"),
    "linear_chain": ("test_law::test_preconditioned_with_injected_noise", "injected noise through P"),
    "mean_field_covariance": ("test_agreement::test_mean_field_covariance_is_the_best_diagonal", "marginal variances"),
    "mode_covariance": ("test_agreement::test_discrete_law_and_mode_covariance", "injected noise forgotten"),
    "noise_factor": ("test_agreement::test_batch_noise_by_enumeration", "with replacement"),
    "noise_scale": ("test_agreement::test_noise_scale_by_enumeration", "momentum forgotten"),
    "optimal_learning_rate": ("test_agreement::test_optimal_learning_rate_by_search", "continuous time"),
    "optimal_preconditioner": (
        "test_law::test_optimal_preconditioner test_agreement::test_best_diagonal_by_search",
        "missing factor 2",
    ),
    "power_sums": ("test_agreement::test_power_sums", "weights from zero"),
    "preconditioner_for": ("test_law::test_preconditioner_for", "HΣ*H dropped"),
    "rate_edge": ("test_agreement::test_edges_by_bisection", "SGD's edge"),
    "relaxation_times": ("test_agreement::test_relaxation_times", "continuous time"),
    "shuffled_covariance": (
        "test_law_shuffled::test_shuffled test_shuffled::test_shuffled_equals_enumeration",
        "remainder of N/B ignored",
    ),
    "shuffled_weights": (
        "test_shuffled::test_shuffled_design_5",
        "independent batches",
    ),
    "stability_edge": ("test_agreement::test_edges_by_bisection", "missing factor 2"),
    "stability_fraction": ("test_agreement::test_edges_by_bisection", "inverse"),
    "stationary_covariance": (
        "test_law::test_sgd test_law::test_heavy_ball test_law::test_nesterov",
        "weighted-mean momentum",
    ),
    "stein": ("test_agreement::test_stein", "F transposed"),
    "best_step": ("test_noise_scales::test_best_step_by_search", "missing factor 1/2"),
    "critical_noise_scale": (
        "test_noise_scales::test_best_step_by_search test_noise_scales::test_noise_scales_equal_for_isotropic_curvature",
        "the simple scale",
    ),
    "gradient_estimates": ("test_noise_scales::test_gradient_estimates", "biased |mean|²"),
    "gradient_noise_scale": ("test_noise_scales::test_noise_scale_by_simulation", "det for trace"),
    "linear_regression_evidence": (
        "test_evidence::test_laplace_is_exact_for_linear_regression",
        "prior variance for precision",
    ),
    "log_evidence": ("test_evidence::test_laplace_is_exact_for_linear_regression", "mean-loss Hessian"),
    "log_evidence_ratio": ("test_evidence::test_evidence_against_the_null", "inverted sign"),
    "log_occam_factor": (
        "test_law_small_rooms::test_occam_factor_by_quadrature test_evidence::test_occam_factor",
        "factor 1/2 missing",
    ),
    "optimum_batch_size": ("test_noise_scales::test_optimum_batch_size", "B much smaller than N"),
    "svag_coefficients": ("test_svag::test_every_pair test_svag::test_one_is_plain_sgd", "amplified twice"),
    "svag_moments": ("test_svag::test_every_pair", "third as l"),
    "svag_noise": ("test_svag::test_svag_noise", "halves independent"),
    "temperature": (
        "test_law_small_rooms::test_temperature_of_a_slow_mode test_noise_scales::test_temperature",
        "missing factor 2",
    ),
    "two_batch_estimates": ("test_noise_scales::test_two_batch_estimates", "harmonic weights"),
    "newton_covariance": ("test_adaptive::test_newton_golden_2_9", "noise not through H"),
    "newton_regression_covariance": (
        "test_adaptive::test_newton_regression_law_c7 test_adaptive::test_newton_regression_golden_2_9",
        "dimension forgotten",
    ),
    "natural_gradient_law": (
        "test_adaptive::test_natural_gradient_solves_the_matrix_equation test_adaptive::test_natural_gradient_golden_d9",
        "Tr(HΣ)H dropped",
    ),
    "natural_gradient_inverse_moment": ("test_adaptive::test_natural_gradient_inverse_moment_d9", "D for D - 1/2"),
    "adam_law": ("test_adaptive::test_adam_law_d10 test_adaptive::test_adam_golden_2_11", "noise-dominated v"),
    "rmsprop_law": ("test_adaptive::test_adam_law_d10 test_adaptive::test_adam_golden_2_11", "noise-dominated v"),
    "fisher_scoring_covariance": (
        "test_adaptive::test_fisher_scoring_law test_adaptive::test_fisher_scoring_golden_g3",
        "injected noise without root",
    ),
    "fisher_scoring_preconditioner": ("test_adaptive::test_fisher_scoring_golden_g3", "missing factor 2"),
    "fisher_scoring_injection": (
        "test_adaptive::test_fisher_scoring_injection_t7",
        "Ahn et al.: noise like the gradient's",
    ),
    "position_velocity_law": (
        "test_phase::test_position_velocity_law test_phase::test_position_velocity_continuous",
        "velocity backwards",
    ),
    "effective_temperature": ("test_phase::test_effective_temperature", "continuous time"),
    "oscillation_frequencies": ("test_phase::test_oscillation_frequencies_kunin", "continuous time"),
    "mean_square_displacement": (
        "test_law_small_rooms::test_mean_square_displacement_of_simulated_chains test_phase::test_mean_square_displacement",
        "missing factor 2",
    ),
    "continuous_autocovariance": (
        "test_phase::test_position_velocity_continuous test_phase::test_continuous_autocovariance_is_the_limit_of_the_discrete_one",
        "transposed",
    ),
    "scheduled_langevin_covariance": (
        "test_scheduled::test_scheduled_langevin_law test_scheduled::test_scheduled_langevin_by_matrices",
        "the first step for ever",
    ),
    "langevin_error": ("test_sampler_errors::test_langevin_error_is_the_whole_bias", "the paper's minibatch term"),
    "variance_errors": ("test_sampler_errors::test_variance_errors_bound_every_direction", "ratio without - 1"),
    "stationary_shape": ("test_cumulants::test_cumulants_of_simulated_chains", "noise's own shape"),
    "averaging_factors": ("test_sampler_errors::test_averaging_factors_golden_g3", "continuous time"),
    "averaging_errors": ("test_sampler_errors::test_averaging_errors_golden_and_exact", "noise at the optimum alone"),
    "averaging_range": ("test_sampler_errors::test_averaging_range", "stiffest for softest"),
    "averaging_correlation": ("test_sampler_errors::test_averaging_correlation_mandt_2_13", "continuous time"),
    "long_run_bound": ("test_sampler_errors::test_long_run_bound_golden_and_attained", "one-sided sum"),
    "batch_means_error": (
        "test_sampler_errors::test_batch_means_law test_sampler_errors::test_batch_means_golden_2_5",
        "no bias",
    ),
    "hessian_regression_error": ("test_sampler_errors::test_hessian_regression_law", "transposed"),
    "reverse_learning_rate": ("test_sampler_errors::test_reverse_learning_rate_golden_g3", "eq. (41)"),
    "best_sign_step": ("test_small_ones::test_best_sign_step", "H instead of its off-diagonal"),
    "learning_coefficient": (
        "test_small_ones::test_learning_coefficient_by_simulation test_small_ones::test_learning_coefficient",
        "batch size forgotten",
    ),
    "Circulation.entropy_production": (
        "test_record_fields::test_entropy_production_by_the_heat_of_simulated_paths",
        "temperature in it",
    ),
    "Circulation.frequencies": ("test_record_fields::test_frequency_by_the_return_of_the_flow", "per turn"),
    "Circulation.velocity": ("test_record_fields::test_velocity_by_the_fokker_planck_current", "sign of Q"),
    "LeastSquaresMoments.chain": (
        "test_record_fields::test_chain_of_least_squares_has_the_law_of_all_batches",
        "noise at the optimum alone",
    ),
    "LeastSquaresMoments.fourth_moment_edge": (
        "test_record_fields::test_edges_are_where_moments_of_all_batches_stop_shrinking",
        "the second's edge",
    ),
    "LeastSquaresMoments.second_moment_edge": (
        "test_record_fields::test_edges_are_where_moments_of_all_batches_stop_shrinking",
        "the mean's edge",
    ),
    "LeastSquaresMoments.second_moment_radius": (
        "test_record_fields::test_second_moment_radius_is_that_of_all_batches",
        "the mean's, squared",
    ),
    "NoiseEstimates.resolution": ("test_record_fields::test_resolution_by_leave_one_out", "inverse"),
    "StabilityEdges.fourth_moment": (
        "test_record_fields::test_edges_are_where_moments_of_all_batches_stop_shrinking",
        "ridge forgotten",
    ),
    "circulation": ("test_potential::test_circulation_by_lyapunov test_potential::test_benchmark_b1", "sign of Q"),
    "force_decomposition": ("test_potential::test_decomposition_at_a_saddle", "Q forgotten"),
    "lag_asymmetry": (
        "test_potential::test_lag_asymmetry_of_sgd_b2 test_potential::test_lag_asymmetry_golden",
        "continuous time",
    ),
    "cross_spectrum": ("test_potential::test_cross_spectrum_b5", "sign of the frequency"),
    "entropy_production": (
        "test_potential::test_entropy_production_by_path_ratios_c8 test_potential::test_entropy_production_golden_b3",
        "continuous time",
    ),
    "most_likely_shift": (
        "test_potential::test_most_likely_shift_by_fokker_planck_b14 test_potential::test_most_likely_shift_one_parameter_b13",
        "factor 1/2",
    ),
    "gaussian_inputs_moments": (
        "test_gaussian_inputs::test_gaussian_inputs_moments_by_many_rows test_gaussian_inputs::test_table_discrete_noise_3_3",
        "truth forgotten",
    ),
    "least_squares_edges": (
        "test_least_squares::test_least_squares_edges_by_bisection test_kesten::test_tail_exponent_at_the_edges",
        "ridge forgotten",
    ),
    "least_squares_moments": (
        "test_least_squares::test_least_squares_moments_by_enumeration test_least_squares::test_least_squares_moments_defects "
        "test_least_squares_law::test_least_squares_with_momentum_ridge_and_subsets",
        "sign of HΣH",
    ),
    "least_squares_noise": ("test_least_squares::test_least_squares_noise_by_sampling_points", "ridge forgotten"),
    "least_squares_preconditioner": ("test_least_squares::test_least_squares_preconditioner", "K dropped"),
    "least_squares_tail_exponent": (
        "test_kesten::test_least_squares_tail_exponent_by_enumeration test_kesten::test_tail_exponent_at_the_edges",
        "bulk exponent",
    ),
    "kramers_rate": (
        "test_escape::test_double_well_continuous_and_kramers test_escape::test_kramers_anisotropic test_escape::test_kramers_inertia",
        "no inertia",
    ),
    "piecewise_escape_time": ("test_escape::test_piecewise_prefactor_d22", "anti-Itô"),
    "escape_rate": ("test_escape::test_log_barrier_golden_d19 test_escape::test_trace_exponent", "n for Tr H"),
    "transverse_gain": (
        "test_escape::test_transverse_gain_law_d20 test_escape::test_transverse_gain_golden_d20",
        "printed count",
    ),
    "diffusion_passage_time": (
        "test_escape::test_diffusion_passage_of_brownian_motion test_escape::test_log_barrier_golden_d19",
        "start at the wall",
    ),
    "chain_passage_time": ("test_escape::test_chain_passage_law", "time for steps"),
    "quadratic_exit_time": ("test_escape::test_quadratic_exit_law_c5", "batch size forgotten"),
    "bowl_passage_time": ("test_escape::test_bowl_passage_golden_4_7", "the printed φ - n/2"),
    "tail_exponent": ("test_tails::test_four_exponents_golden_d17 test_tails::test_isotropic_golden", "bulk exponent"),
    "multiplier_tail_exponent": ("test_tails::test_multiplier_tail_exponent", "weights forgotten"),
    "tail_exponent_estimate": ("test_tails::test_tail_exponent_estimate", "bulk exponent"),
    "bulk_exponent": (
        "test_tails::test_bulk_exponent_law_d18 test_tails::test_four_exponents_golden_d17",
        "the SDE's exponent",
    ),
    "loss_power_law": (
        "test_tails::test_loss_power_law test_tails::test_loss_power_law_golden_d18",
        "noise of the minimum",
    ),
    "stable_scale": ("test_tails::test_stable_scale_law", "variance for scale"),
    "stable_exit_time": ("test_tails::test_stable_exit_law", "missing factor 2"),
}
# record -> what makes one: a computed field counts as tested where a test makes the record and reads the field
MAKERS = {
    "LinearChain": {"LinearChain", "linear_chain", "chain_from_noise"},
    "Circulation": {"circulation"},
    "LeastSquaresMoments": {"least_squares_moments", "gaussian_inputs_moments"},
    "NoiseEstimates": {"gradient_estimates", "two_batch_estimates"},
    "StabilityEdges": {"least_squares_edges"},
}


def nodes_of(test):
    file, _, function = test.partition("::")
    path = Path(__file__).with_name(f"{file}.py")
    assert function in definitions(path), f"{test} does not exist"
    assert function.startswith("test_"), f"{test} is no test"
    return reached(path, function)


def gaps(name, row):
    tests, defect = row
    return gaps_in_tests(name, {test: nodes_of(test) for test in tests.split()}, defect, MAKERS)


def test_every_public_formula_has_a_row():
    assert sorted(TABLE) == public_formulas()


@pytest.mark.parametrize("name", sorted(TABLE))
def test_row(name):
    assert not gaps(name, TABLE[name])


@pytest.mark.parametrize("name", public_formulas())
def test_docstring(name):
    record, _, field = name.rpartition(".")
    if record:
        assert not gaps_in_summary(docstring_of(vars(getattr(theory, record))[field]))
        return
    item = getattr(theory, name)
    arguments = ["transition", "noise", "readout"] if name == "LinearChain" else [*parameters(item), "returns"]
    assert not gaps_in_docstring(docstring_of(item), arguments)


# --- the audit has teeth: it fails when a piece is removed ---

GOOD = docstring_of(theory.stein)


@pytest.mark.parametrize(
    ("old", "new", "gap"),
    [
        ("Equation", "Formula", "no 'Equation'"),
        ("Assumptions: ", "Where ", "no 'Assumptions: '"),
        ("Limit: ", "Also ", "no 'Limit: '"),
        ("Reference: ", "By ", "no source"),
        (">>>", "...", "no doctest"),
        ("====", "----", "no symbol table"),
        ("shape ", "size  ", "symbol table with the header"),
        ("\ntransition", "\nmatrix    ", "the symbol table lacks transition"),
    ],
)
def test_a_docstring_without_a_part_is_found(old, new, gap):
    assert not gaps_in_docstring(GOOD, ["transition", "noise"])
    found = gaps_in_docstring(GOOD.replace(old, new), ["transition", "noise"])
    assert len(found) == 1
    assert found[0].startswith(gap)


@pytest.mark.parametrize("argument", ["sampling", "time", "nesterov", "num_examples", "returns"])
def test_an_argument_without_a_row_is_found(argument):
    """Words and switches too, and what the text says elsewhere does not count: "continuous time" is no row."""
    law = theory.position_velocity_law
    good, owed = docstring_of(law), [*parameters(law), "returns"]
    assert argument in owed
    assert not gaps_in_docstring(good, owed)
    broken = re.sub(rf"^{argument}  .*\n", "", good, flags=re.MULTILINE)
    assert gaps_in_docstring(broken, owed) == [f"the symbol table lacks {argument}"]


@pytest.mark.parametrize(
    ("old", "new", "gap"),
    [
        ("=", "is", "no equation"),
        ("(D, D)", "", "no shape"),
        ("Scale: ", "", "no 'Scale: '"),
        ("Limit: ", "", "no 'Limit: '"),
        (">>>", "", "no doctest"),
    ],
)
def test_a_method_without_a_part_is_found(old, new, gap):
    good = docstring_of(theory.LinearChain.long_run_covariance)
    assert not gaps_in_summary(good)
    assert gap in gaps_in_summary(good.replace(old, new))


TESTED = """
WRONG = {"twice": 2.0}

def right():
    return theory.stein([[0.5]], [[0.75]])

def test_law():
    check = lambda p: assert_covariance(SAMPLE, p)
    planted_defects(check, right(), WRONG)
"""


@pytest.mark.parametrize(
    ("old", "new", "gap"),
    [
        ("theory.stein(", "print(", "does not call stein"),
        ("right(), WRONG", "1.0, WRONG", "does not call stein"),
        ("assert_covariance", "print", "no law or agreement test calls stein"),
        ('"twice"', '"thrice"', "no test that calls stein plants 'twice'"),
        ("planted_defects", "print", "no test that calls stein plants 'twice'"),
        ("right(), WRONG", "right(), {}", "no test that calls stein plants 'twice'"),
    ],
)
def test_a_test_without_a_part_is_found(tmp_path, old, new, gap):
    def found(text, name):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return gaps_in_tests("stein", {name: reached(path, "test_law")}, "twice", MAKERS)

    assert not found(TESTED, "whole")
    assert any(gap in line for line in found(TESTED.replace(old, new), "broken"))


def test_a_formula_elsewhere_in_the_file_does_not_count(tmp_path):
    path = tmp_path / "other.py"
    path.write_text(TESTED.replace("right(), WRONG", "1.0, WRONG") + "\n\ndef unused():\n    return right()\n")
    assert "does not call stein" in gaps_in_tests("stein", {"t": reached(path, "test_law")}, "twice", MAKERS)[0]


def test_an_identity_alone_is_no_law():
    """Two formulas that agree may both be wrong."""
    row = ("test_identity::test_velocity_block", "F transposed")
    assert "no law or agreement test calls LinearChain.state_covariance" in gaps("LinearChain.state_covariance", row)


def test_a_field_counts_only_where_its_record_is_made():
    row = ("test_record_fields::test_any_linear_chain", "R forgotten")
    assert "no law or agreement test calls Circulation.velocity" in gaps("Circulation.velocity", row)
