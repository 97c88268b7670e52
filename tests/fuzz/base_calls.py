"""One valid call of every public function: what odd arguments are put into."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax

import gradnoise as gn
from gradnoise import diagnose, infer, measure, models, scaling, sde, testing, theory

TESTS = Path(__file__).parents[1]
r = np.random.default_rng(0)
X = r.standard_normal((24, 2))
Y = X @ [1.0, -0.5] + r.standard_normal(24)
LABELS = (Y > 0).astype(float)
COUNTS = r.poisson(2.0, 24).astype(float)
PATHS = r.standard_normal((4, 30, 2)).cumsum(1)


def _module(path: str) -> Any:
    """A module of another folder of tests, by file."""
    name = "calls_of_" + Path(path).parent.name
    if name not in sys.modules:
        folder = str((TESTS / path).parent)
        sys.path.insert(0, folder)
        if "theory" not in folder:
            sys.path.insert(0, str(TESTS / "theory"))
        spec = importlib.util.spec_from_file_location(name, TESTS / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@functools.cache
def problem() -> Any:
    return models.linear_regression(X, Y, observation_scale=1.0)


@functools.cache
def mode() -> Any:
    return gn.find_mode(problem())


@functools.cache
def law() -> Any:
    return measure.gaussian_law(problem(), mode())


def pure() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions that need no JAX: theory, sde, scaling, diagnose, testing."""
    calls = _module("theory/calls.py")
    found: dict[str, Any] = {
        f"theory.{n}": (getattr(theory, n), calls.valid_call(n)) for n in calls.public_formulas() if "." not in n and not isinstance(getattr(theory, n), type)
    }  # fmt: skip
    others = _module("sde/test_inputs_table.py").CALLS
    modules = {"sde": sde, "scaling": scaling}
    for name, arguments in others.items():
        module, _, function = name.partition(".")
        found[name] = (getattr(modules[module], function), dict(arguments))
    given: dict[Any, dict[str, Any]] = {
        diagnose.integrated_autocorrelation_time: {"trajectories": PATHS},
        diagnose.effective_sample_size: {"trajectories": PATHS},
        diagnose.stationarity: {"trajectories": PATHS},
        diagnose.batch_means: {"trajectory": PATHS[0], "length": 5},
        diagnose.gaussian_fit: {"draws": PATHS},
        diagnose.kl_floor: {"dim": 3, "n_eff": 100.0},
        diagnose.rank_statistics: {"draws": PATHS, "truth": PATHS[:, 0], "key": 0},
        diagnose.calibration_test: {"ranks": r.integers(0, 10, (200, 2)), "num_draws": 9, "false_fail": 1e-3},
        diagnose.expected_rank_spread: {"variance_ratio": 1.3},
        testing.assert_estimate: {"estimate": gn.Estimate(1.0, 0.001, 1000), "expected": 1.0},
    }
    return found | {f"{f.__module__.split('.')[1]}.{f.__name__}": (f, a) for f, a in given.items()}


def compiled() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions over a Problem; tiny budgets."""
    run = {"num_draws": 40, "num_chains": 2, "key": 0, "progress": False}
    return {
        "models.linear_regression": (models.linear_regression, {"X": X, "y": Y, "prior_scale": 1.0, "observation_scale": 1.0, "weights": np.ones(24)}),
        "models.logistic_regression": (models.logistic_regression, {"X": X, "y": LABELS, "prior_scale": 1.0}),
        "models.softmax_regression": (models.softmax_regression, {"X": X, "y": LABELS.astype(int), "prior_scale": 1.0}),
        "models.poisson_regression": (models.poisson_regression, {"X": X, "y": COUNTS, "prior_scale": 1.0, "offset": np.zeros(24)}),
        "models.robust_linear_regression": (models.robust_linear_regression, {"X": X, "y": Y, "beta": 0.5, "observation_scale": 1.0}),
        "find_mode": (gn.find_mode, {"problem": problem()}),
        "measure.local_geometry": (measure.local_geometry, {"problem": problem(), "params": mode(), "at": "mode", "num_draws": 16, "key": 0}),
        "measure.gaussian_law": (measure.gaussian_law, {"problem": problem(), "params": mode(), "num_draws": 16, "key": 0}),
        "measure.nearness": (measure.nearness, {"problem": problem(), "mean": law().mean, "covariance": law().covariance}),
        "oracles.minibatch": (gn.oracles.minibatch, {"batch_size": 4, "sampling": "shuffled"}),
        "oracles.gaussian": (gn.oracles.gaussian, {"batch_size": 4}),
        "rule": (functools.partial(gn.rule, optax.sgd), {"learning_rate": 0.1, "momentum": 0.5}),
        "simulate": (gn.simulate, {"problem": problem(), "oracle": gn.oracles.minibatch(4), "rule": gn.rule(optax.sgd, learning_rate=0.1), "num_steps": 20, "num_chains": 2, "key": 0, "burn_in": 2, "progress": False}),
        "infer.plan": (functools.partial(infer.plan, "constant_sgd"), {"problem": problem(), "batch_size": 4, "mode": mode(), "law": law()}),
        "infer.constant_sgd": (infer.constant_sgd, {"problem": problem(), "batch_size": 4, "preconditioner": "full", "mode": mode(), "law": law()} | run),
        "infer.corrected_langevin": (infer.corrected_langevin, {"problem": problem(), "batch_size": 4, "fraction": 0.5, "mode": mode(), "law": law()} | run),
        "infer.laplace": (infer.laplace, {"problem": problem(), "num_draws": 40, "num_chains": 2, "key": 0, "mode": mode()}),
        "infer.gaussian": (infer.gaussian, {"problem": problem(), "num_draws": 40, "num_chains": 2, "key": 0, "mode": mode(), "law": law()}),
        "infer.choose": (infer.choose, {"problem": problem(), "max_variance_error": 0.1, "batch_size": 4, "mode": mode(), "law": law()}),
        "infer.evidence": (infer.evidence, {"problem": problem(), "mode": mode()}),
    }  # fmt: skip
