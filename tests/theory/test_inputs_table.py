"""Bad input to every argument of every public formula: one error that names the argument and what was expected, never a number."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
from calls import called, public_formulas, valid_call
from wrong_values import (
    no_chain,
    no_count,
    no_covariance,
    no_decay,
    no_flag,
    no_function,
    no_index,
    no_level,
    no_levels,
    no_matrix,
    no_part,
    no_position,
    no_positive,
    no_real,
    no_size,
    no_square,
    no_squares,
    no_stack,
    no_symmetric,
    no_tensor,
    no_vector,
    no_whole,
    no_word,
    problems,
    said_of,
)

from gradnoise import theory

# what each argument must be, hence what it must not be
WRONG = {
    no_positive: "hessian hessian_minimum covariance_q covariance_p target preconditioner input_covariance total_hessian mass",
    no_covariance: "gradient_covariance noise injected injected_covariance covariance diffusion",
    no_symmetric: "hessian_saddle",
    no_square: "transition",
    no_matrix: "X gradients first_gradients batch_gradients",
    no_tensor: "third_derivative diffusion_gradient",
    no_vector: "y truth gradient mean_q mean_p direction position multipliers noise_skewness noise_kurtosis",
    no_levels: "step_sizes rates standard_deviation small_squared_norms big_squared_norms weights transverse_curvatures noise_share",
    no_real: "lag start target low minimum saddle frequency ridge total_log_joint total_cost",
    no_level: "label_noise localization eps noise_scale friction",
    no_size: (
        "learning_rate step_size temperature prior_precision observation_scale curvature gradient_variance radius half_width alpha "
        "inverse_temperature barrier minimum_loss saddle_loss escape_curvature saddle_curvature minimum_curvature label_variance "
        "loss_ratio cap l tolerance budget max_variance_error critical_batch_size fewest_steps"
    ),
    no_part: "fraction share max_noise_share",
    no_decay: "momentum decay b1",
    no_index: "burn_in count num_directions seed",
    no_count: (
        "batch_size num_examples window num_steps num_chains thin num_params num_particles num_points num_classes small_batch_size "
        "big_batch_size length every"
    ),
    no_word: "sampling time kind exponent well noise method scheme",
    no_stack: "normals",
    no_flag: "nesterov drop_last above_prior quadratic log corrected",
    no_function: "loss slope noise_variance diffusion",
    no_chain: "chain",
}
BY_NAME = {}
for check, names in WRONG.items():
    for argument in names.split():
        BY_NAME.setdefault(argument, check)
# where a name means something else, or more is allowed
SPECIAL = {
    "LinearChain": {"readout": no_matrix},
    "LinearChain.autocovariance": {"lag": no_whole},
    "Circulation.velocity": {"position": no_vector},
    "stein": {"noise": no_square},
    "mode_covariance": {"noise": no_square, "injected": no_square},  # linear in its noise, whatever that is
    "continuous_covariance": {"noise": no_square, "injected": no_square},
    "bulk_exponent": {"noise": no_word, "batch_size": no_size},
    "best_step": {"batch_size": no_size, "hessian": no_symmetric},  # a saddle may curve upwards along the gradient
    "batch_tradeoff": {"batch_size": no_size},
    "best_sign_step": {"batch_size": no_size, "hessian": no_symmetric},
    "loss_power_law": {"batch_size": no_size},
    "critical_noise_scale": {"hessian": no_symmetric},
    "force_decomposition": {"hessian": no_symmetric, "diffusion": no_positive},
    "circulation": {"diffusion": no_covariance},
    "relaxation_times": {"hessian": no_symmetric},  # infinite where nothing relaxes
    "oscillation_frequencies": {"hessian": no_symmetric},
    "stability_edge": {"hessian": no_symmetric},
    "stability_fraction": {"hessian": no_symmetric},
    "gaussian_inputs_moments": {"input_covariance": no_covariance},  # directions without input are left out
    "learning_coefficient": {"hessian": no_covariance},  # the localization makes it definite
    "power_sums": {"transition": no_squares},
    "mean_square_displacement": {"lag": no_index},
    "epoch_noise_autocovariance": {"lag": no_index},
    "diffusion_passage_time": {"target": no_real, "diffusion": no_function},
    "chain_passage_time": {"target": no_real},
    "least_squares_noise": {"covariance": no_covariance},
    "scheduled_langevin_covariance": {"start": no_covariance},
    "kinetic_tuning": {"friction": no_size},
}
SPECIAL = {name: SPECIAL.get(name, {}) for name in public_formulas()} | SPECIAL
for name in ("stationary_covariance", "shuffled_covariance", "shuffled_weights", "langevin_covariance"):
    SPECIAL[name]["position"] = no_position


def parameters(name):
    """Name -> default of every argument but `self`."""
    if "." in name:
        item = vars(getattr(theory, name.partition(".")[0]))[name.partition(".")[2]]
        if not inspect.isfunction(item):
            return {}
    else:
        item = getattr(theory, name)
    found = inspect.signature(item).parameters
    return {key: parameter.default for key, parameter in found.items() if key != "self"}


ARGUMENTS = [(name, argument) for name in public_formulas() for argument in parameters(name)]
FIELDS = {
    name for name in public_formulas() if "." in name and not parameters(name)
}  # their record was made from checked arguments


def kind_of(name, argument):
    return SPECIAL[name].get(argument) or BY_NAME.get(argument)


def test_every_argument_has_its_wrong_values():
    assert not [f"{name}.{argument}" for name, argument in ARGUMENTS if kind_of(name, argument) is None]
    functions = {name for name, _ in ARGUMENTS}
    assert functions | FIELDS == set(public_formulas())


def wrong_values(name, argument):
    default = parameters(name)[argument]
    base = valid_call(name)
    value = base.get(argument, np.diag([0.3, 0.2, 0.4]) if default is None else default)
    found = kind_of(name, argument)(value)
    if default is None:
        found = {label: bad for label, bad in found.items() if bad is not None}
    return base, found


def complaint(name, kwargs):
    return said_of(functools.partial(called, name, kwargs))


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=[f"{n}-{a}" for n, a in ARGUMENTS])
def test_bad_input(name, argument):
    base, wrong = wrong_values(name, argument)
    assert not problems(lambda kwargs: called(name, kwargs), base, argument, wrong)


def lenient(hessian):
    return float(np.sum(np.abs(hessian)))


def vague(hessian):
    np.linalg.inv(hessian)
    if np.linalg.eigvalsh(hessian)[0] < 1e6:
        raise ValueError("hessian must be positive definite.")


def nameless(hessian):
    if not np.allclose(hessian, 1e9):
        raise ValueError("the matrix must be positive definite, got something else.")


@pytest.mark.parametrize(
    ("function", "gap"),
    [
        (lenient, "negative: accepted"),
        (vague, "negative: the message does not show"),
        (vague, "LinAlgError"),
        (nameless, "negative: the matrix must"),
    ],
)
def test_a_careless_function_is_found(function, gap):
    value = np.diag([2.0, 1.0])
    wrong = no_positive(value) | {"singular": np.zeros((2, 2))}
    found = problems(lambda kwargs: function(**kwargs), {"hessian": value}, "hessian", wrong)
    assert any(gap in line for line in found)


# --- what arguments must be together ---

RATES = ("learning_rate", "step_size")
NO_EDGE = {
    "noise_scale": "knows no curvature",
    "temperature": "knows no curvature",
    "optimum_batch_size": "knows no curvature",
    "gradient_noise_scale": "knows no curvature",
    "relaxation_times": "infinite beyond the edge",
    "stability_fraction": "above 1 beyond the edge",
    "oscillation_frequencies": "a frequency is defined beyond the edge too",
    "continuous_autocovariance": "continuous time",
    "kramers_rate": "continuous time; `.validity` tells",
    "piecewise_escape_time": "continuous time",
    "chain_passage_time": "any chain passes",
    "adam_law": "a step of Adam is at most its learning rate",
    "rmsprop_law": "a step of RMSprop is at most its learning rate",
    "natural_gradient_law": "its step never outgrows the scale it finds; `.validity` tells",
    "natural_gradient_inverse_moment": "the same law",
    "kinetic_chain": "`.spectral_radius` tells",
    "fisher_scoring_preconditioner": "chosen for the step size",
    "fisher_scoring_injection": "the cap is the limit, and is named",
}
WITH_RATE = [(n, r) for n in public_formulas() for r in RATES if r in parameters(n)]


@pytest.mark.parametrize(("name", "rate"), [(n, r) for n, r in WITH_RATE if n not in NO_EDGE])
def test_beyond_the_edge(name, rate):
    """A learning rate for which there is no law is refused with the condition and the value."""
    base = valid_call(name)
    too_large = 1000 * base[rate]
    said = complaint(name, base | {rate: too_large})
    assert said is not None, "accepted"
    assert f"{rate} must" in said
    assert f"{too_large:.6g}" in said


def test_every_formula_without_an_edge_has_its_reason():
    assert set(NO_EDGE) <= {name for name, _ in WITH_RATE} | {"gradient_noise_scale"}


def matrices(name):
    return [key for key, value in valid_call(name).items() if np.ndim(value) == 2 and len(value) == 3]


@pytest.mark.parametrize("name", [n for n in public_formulas() if n not in FIELDS and len(matrices(n)) > 1])
def test_sizes_must_agree(name):
    base = valid_call(name)
    for key in matrices(name):
        said = complaint(name, base | {key: base[key][:-1, :-1]})
        assert said is not None, f"{key}: accepted"
        assert any(other in said.split(" must ")[0] for other in base), said
        assert "2" in said
        assert "3" in said


DRAWS = [n for n in public_formulas() if {"sampling", "batch_size"} <= set(parameters(n))]


@pytest.mark.parametrize("name", DRAWS)
def test_a_batch_is_no_larger_than_the_data(name):
    base = valid_call(name) | {"sampling": "without_replacement", "batch_size": 1000}
    if "num_examples" in parameters(name):
        base["num_examples"] = 30
    said = complaint(name, base)
    assert said is not None, "accepted"
    assert "batch_size must be <= num_examples" in said
    assert "1000" in said


SHUFFLED = {"stationary_covariance", "langevin_covariance", "langevin_error"}


@pytest.mark.parametrize("name", DRAWS)
def test_samplings_it_cannot_describe_are_refused(name):
    base = valid_call(name) | {"sampling": "shuffled"}
    if "num_examples" in parameters(name):
        base["num_examples"] = 63
    said = complaint(name, base)
    if name in SHUFFLED:
        assert said is None
    else:
        assert said is not None
        assert "sampling" in said
