"""Every public formula of `sde` and `scaling` has a test that can fail, a planted defect, a source and a doctest."""

from __future__ import annotations

import ast
import doctest
import inspect
from pathlib import Path

import pytest

from gradnoise import scaling, sde

# formula -> (tests "folder/file::function", a planted defect named in one of them)
TABLE = {
    "sde.LinearSDE": ("sde/test_exact::test_equal_to_sgd_at_every_step", "order-1 diffusion"),
    "sde.adam": ("sde/test_adaptive::test_adam_record sde/test_adaptive::test_adam_warm", "eps unscaled"),
    "sde.adam_moments": (
        "sde/test_adaptive::test_golden_moments sde/test_adaptive::test_adam_record sde/test_adaptive::adam_at",
        "batch size",
    ),
    "sde.adamw": (
        "sde/test_adaptive::test_adamw_record sde/test_adaptive::test_adamw_bias_correction",
        "as printed: no noise in X",
    ),
    "sde.adamw_variance": ("sde/test_adaptive::test_adamw_rule_and_variance", "no decay"),
    "sde.momentum": (
        "sde/test_weak_order::test_golden_momentum sde/test_weak_order::underdamped_errors",
        "sign of H",
    ),
    "sde.nesterov": (
        "sde/test_weak_order::test_golden_momentum sde/test_weak_order::underdamped_errors",
        "the other method",
    ),
    "sde.rmsprop": (
        "sde/test_adaptive::test_rmsprop_record sde/test_adaptive::test_rmsprop_square_root_rule",
        "eps unscaled",
    ),
    "sde.rmsprop_moments": (
        "sde/test_adaptive::test_golden_moments sde/test_adaptive::test_rmsprop_record sde/test_adaptive::rmsprop_at",
        "learning rate",
    ),
    "sde.rmsprop_variance": ("sde/test_adaptive::test_long_time_and_fast_average", "eps dropped"),
    "sde.rmspropw": (
        "sde/test_adaptive::test_rmspropw_keeps_the_signal sde/test_adaptive::rmspropw_error",
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
    "scaling.max_kappa": ("scaling/test_rules::test_max_kappa", "one step further"),
    "scaling.max_learning_rate_for_sde": (
        "scaling/test_equilibrium::test_golden_closeness scaling/test_equilibrium::test_the_bounds_hold",
        "C² for C² − 1",
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
RECORDS = {"sde.SDE", "sde.Moments", "scaling.Condition", "scaling.Equilibrium", "scaling.Scaled", "scaling.TOLERANCE"}
RULES = {"scaling.linear", "scaling.square_root", "scaling.svag", "scaling.ema", "scaling.max_kappa"}  # numpydoc
HOLDERS = RECORDS | {"sde.LinearSDE"}


def public(name):
    module, _, attribute = name.partition(".")
    return getattr({"sde": sde, "scaling": scaling}[module], attribute)


def source_of(test):
    file, function = test.split("::")
    text = (Path(__file__).parents[1] / f"{file}.py").read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_source_segment(text, node)
    pytest.fail(f"{test} does not exist")


def test_every_public_formula_has_a_row():
    names = {f"sde.{n}" for n in sde.__all__} | {f"scaling.{n}" for n in scaling.__all__}
    assert set(TABLE) == names - RECORDS


@pytest.mark.parametrize("name", sorted(TABLE))
def test_row(name):
    tests, defect = TABLE[name]
    sources = [source_of(test) for test in tests.split()]
    called = name.partition(".")[2]
    assert any(called in source for source in sources), f"no test of {name} calls it"
    assert any(defect in source for source in sources), f"no test of {name} plants {defect!r}"
    assert any(word in s for s in sources for word in ("planted_defects(", "assert_fails(", "raises("))


@pytest.mark.parametrize("name", sorted(set(TABLE) - HOLDERS))
def test_docstring(name):
    text = inspect.getdoc(public(name)) or ""
    lines = text.splitlines()
    assert "Reference" in text, f"{name} names no source"
    assert doctest.DocTestParser().get_examples(text), f"{name} has no doctest"
    assert "Assumptions: " in text, f"{name} states no assumptions"
    if name in RULES:
        assert "Parameters" in lines
        assert "Raises" in lines
        return
    assert "Limit: " in text, f"{name} has no known limit"
    assert "Equation" in text, f"{name} has no equation"
    bars = [i for i, line in enumerate(lines) if line.startswith("====")]
    assert len(bars) == 3, f"{name} has no symbol table"
    assert lines[bars[0] + 1].split()[1:] == ["symbol", "shape", "scale"]
    symbols = "\n".join(lines[bars[0] : bars[2]])
    plain = {"sampling", "schedule"} if "schedule" in symbols else {"sampling"}
    for argument in set(inspect.signature(public(name)).parameters) - plain:
        assert argument in symbols, f"{name} does not explain {argument}"
