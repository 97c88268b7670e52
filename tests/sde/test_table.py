"""Every public formula of `sde` and `scaling` has a law or agreement test that calls it, a defect planted there, and its docstring."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from audit import (
    definitions,
    docstring_of,
    formulas_of,
    gaps_in_docstring,
    gaps_in_rule,
    gaps_in_summary,
    gaps_in_tests,
    parameters,
    reached,
)

from gradnoise import scaling, sde

# formula -> (tests "folder/file::function", a planted defect named in one of them)
TABLE = {
    "sde.LinearSDE": ("sde/test_exact::test_equal_to_sgd_at_every_step", "order-1 diffusion"),
    "sde.LinearSDE.stationary_covariance": (
        "sde/test_exact::test_golden_recent_2_7 sde/test_exact::test_stationary_law",
        "missing factor 2",
    ),
    "sde.LinearSDE.transition": ("sde/test_exact::test_equal_to_sgd_at_every_step", "order-1 drift"),
    "sde.SDE.covariance": ("sde/test_adaptive::test_rmsprop_record", "batch size"),
    "sde.SDE.params": (
        "sde/test_weak_order::test_parameters_of_nesterov_are_where_the_gradient_is_taken",
        "no lookahead",
    ),
    "sde.adam": ("sde/test_adaptive::test_adam_record", "eps unscaled"),
    "sde.adam_moments": (
        "sde/test_adaptive::test_golden_moments sde/test_adaptive::test_adam_record",
        "batch size",
    ),
    "sde.adamw": (
        "sde/test_adaptive::test_adamw_record sde/test_adaptive::test_adamw_bias_correction",
        "as printed: no noise in X",
    ),
    "sde.adamw_variance": ("sde/test_adaptive::test_adamw_rule_and_variance", "no decay"),
    "sde.momentum": (
        "sde/test_weak_order::test_golden_momentum",
        "sign of H",
    ),
    "sde.nesterov": (
        "sde/test_weak_order::test_golden_momentum",
        "the other method",
    ),
    "sde.rmsprop": (
        "sde/test_adaptive::test_rmsprop_record",
        "eps unscaled",
    ),
    "sde.rmsprop_moments": (
        "sde/test_adaptive::test_golden_moments sde/test_adaptive::test_rmsprop_record",
        "learning rate",
    ),
    "sde.rmsprop_variance": ("sde/test_adaptive::test_long_time_and_fast_average", "eps dropped"),
    "sde.rmspropw": (
        "sde/test_adaptive::test_rmspropw_keeps_the_signal",
        "(∇L)² dropped",
    ),
    "sde.sgd": (
        "sde/test_weak_order::test_golden_svag_rows sde/test_weak_order::test_golden_orders "
        "sde/test_weak_order::test_wrong_second_order_drift_is_only_first_order",
        "noise / 2",
    ),
    "sde.sgd_exact": ("sde/test_exact::test_stationary_law sde/test_exact::test_golden_recent_2_7", "continuous time"),
    "sde.sign_sgd": ("sde/test_adaptive::test_sign_sgd", "batch size"),
    "sde.sign_variance": ("sde/test_adaptive::test_sign_variance", "√(2/π) dropped"),
    "scaling.Scaled.inverse": ("scaling/test_linear::test_inverse_is_exact", "steps left"),
    "scaling.ema": ("scaling/test_rules::test_ema_against_matrix_power", "leading order"),
    "scaling.ema_shift": ("scaling/test_rules::test_ema_against_matrix_power", "wrong sign"),
    "scaling.equilibrium_closeness": ("scaling/test_equilibrium::test_golden_closeness", "product of ratios"),
    "scaling.linear": (
        "scaling/test_linear::test_small_step_variance_is_kept_and_the_rate_alone_is_not "
        "scaling/test_linear::test_stiffest_variance_is_the_exact_change",
        "batch size left as it was",
    ),
    "scaling.max_factor_for_linear": (
        "scaling/test_equilibrium::test_golden_linear_bound scaling/test_equilibrium::test_the_bounds_hold",
        "weak form",
    ),
    "scaling.max_kappa": ("scaling/test_rules::test_max_kappa_by_bisection", "one step further"),
    "scaling.max_learning_rate_for_sde": (
        "scaling/test_equilibrium::test_golden_closeness scaling/test_equilibrium::test_the_bounds_hold",
        "C² for C² − 1",
    ),
    "scaling.ramp": (
        "scaling/test_ramp::test_ramp_of_sgd_keeps_the_stationary_loss scaling/test_ramp::test_ramp_of_adam_keeps_the_sde_of_the_decay",
        "as SGD",
    ),
    "scaling.scale_invariant_norm": (
        "scaling/test_equilibrium::test_identity_of_sgd scaling/test_equilibrium::test_identity_of_svag",
        "noise alone",
    ),
    "scaling.square_root": (
        "scaling/test_rules::test_square_root_keeps_the_sde sde/test_adaptive::test_rmsprop_square_root_rule",
        "linear learning rate",
    ),
    "scaling.svag": (
        "scaling/test_rules::test_svag_keeps_the_sde scaling/test_rules::test_svag_tends_to_the_sde",
        "l for ℓ",
    ),
}
MAKERS = {
    "SDE": {"sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "rmspropw", "sign_sgd"},
    "LinearSDE": {"LinearSDE", "sgd_exact"},
    "Scaled": {"linear", "square_root", "svag", "ema"},
}
# computed fields without a formula of their own
ACCESSORS = {
    "scaling.Condition.holds": "one comparison",
    "scaling.Scaled.validity": "the conditions of the rule, which its own tests read",
    "scaling.Scaled.valid": "all of them",
}
RULES = {
    "scaling.linear",
    "scaling.square_root",
    "scaling.svag",
    "scaling.ema",
    "scaling.max_kappa",
    "scaling.ramp",
}  # numpydoc
PLAIN = {"sampling", "schedule"}  # explained in the text
MODULES = {"sde": (sde, {"LinearSDE"}), "scaling": (scaling, set())}
PUBLIC = [f"{name}.{f}" for name, (module, classes) in MODULES.items() for f in formulas_of(module, classes)]


def nodes_of(test):
    file, _, function = test.partition("::")
    path = Path(__file__).parents[1] / f"{file}.py"
    assert function in definitions(path), f"{test} does not exist"
    assert function.startswith("test_"), f"{test} is no test"
    return reached(path, function)


def gaps(name, row):
    tests, defect = row
    return gaps_in_tests(name.partition(".")[2], {test: nodes_of(test) for test in tests.split()}, defect, MAKERS)


def test_every_public_formula_has_a_row():
    assert set(TABLE) == set(PUBLIC) - set(ACCESSORS)
    assert set(ACCESSORS) <= set(PUBLIC)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_row(name):
    assert not gaps(name, TABLE[name])


def item_of(name):
    module, _, path = name.partition(".")
    record, _, field = path.rpartition(".")
    return vars(getattr(MODULES[module][0], record))[field] if record else getattr(MODULES[module][0], path)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_docstring(name):
    item = item_of(name)
    text = docstring_of(item)
    if name.count(".") > 1:
        assert not gaps_in_summary(text)
    elif name in RULES:
        assert not gaps_in_rule(text, parameters(item))
    else:
        arguments = ["drift_matrix", "diffusion_matrix"] if name == "sde.LinearSDE" else set(parameters(item)) - PLAIN
        assert not gaps_in_docstring(text, arguments)


def test_records_that_only_hold_results_say_what():
    for record in (sde.SDE, sde.Moments, scaling.Condition, scaling.Equilibrium, scaling.Scaled):
        assert {f.name for f in fields(record)} <= set(docstring_of(record).split())


# --- the audit has teeth ---


@pytest.mark.parametrize(
    "part", ["Equation", "Assumptions: ", "Limit: ", "References", "Raises", ">>>", "num_examples"]
)
def test_a_rule_without_a_part_is_found(part):
    text = docstring_of(scaling.linear)
    assert not gaps_in_rule(text, ["settings", "num_examples"])
    assert gaps_in_rule(text.replace(part, ""), ["settings", "num_examples"])


@pytest.mark.parametrize(
    ("name", "row", "gap"),
    [
        ("sde.sgd", ("sde/test_exact::test_stationary_law", "continuous time"), "no law or agreement test calls sgd"),
        ("sde.sgd_exact", ("sde/test_exact::test_refusals", "continuous time"), "no test that calls sgd_exact plants"),
        (
            "scaling.max_kappa",
            ("scaling/test_rules::test_max_kappa", "one step further"),
            "no test that calls max_kappa plants",
        ),
    ],
)
def test_a_refusal_or_another_formula_is_no_defect(name, row, gap):
    assert any(line.startswith(gap) for line in gaps(name, row))
