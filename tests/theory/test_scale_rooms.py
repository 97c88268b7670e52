"""Identity: the scale column of the rooms beside the stationary law (temperature, currents, escape, tails, sampler errors)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradnoise import theory
from gradnoise.testing import assert_fails

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
P = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])
W = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]])

# an argument with a scale: (value, power of the loss, power of the parameter); without: the value alone
HESSIAN, NOISE, RATE = (H, 1, -2), (C, 2, -2), (0.3, -1, 2)
SGD = {"hessian": HESSIAN, "gradient_covariance": NOISE, "learning_rate": RATE, "batch_size": 10}
EXAMPLES = (600, -1, 0)  # N·loss keeps its value
SCORING = {"step_size": (0.5, 0, 0), "injected": (W, 2, -2), "batch_size": 10}
REGRESSION = {"hessian": HESSIAN, "label_variance": (0.7, 1, 0), "batch_size": 10, "momentum": 0.4}

SIGN = {
    "gradient": (np.array([0.3, -0.2, 0.1]), 1, -1),
    "standard_deviation": (np.array([1.0, 0.6, 0.8]), 1, -1),
    "hessian": HESSIAN,
    "batch_size": 10,
}
LOCALISED = {
    "hessian": HESSIAN,
    "gradient_covariance": NOISE,
    "inverse_temperature": (40.0, -1, 0),
    "localization": (0.7, 0, -2),
    "step_size": (0.001, 0, 2),
    "batch_size": 10,
}

FLOW = {"hessian": HESSIAN, "diffusion": NOISE, "temperature": (0.3, -1, 2)}
CUBIC = sum(np.random.default_rng(0).normal(size=3)[i] * np.einsum("i,j,k->ijk", v, v, v) for i, v in enumerate(P))
SLOPE = np.einsum("ij,k->ijk", W, np.array([0.3, -0.2, 0.5]))

# formula, arguments, read-out, power of the loss, power of the parameter
SCALES = [
    ("newton_covariance", SGD | {"learning_rate": 0.3, "momentum": 0.4}, None, 0, 2),
    ("newton_regression_covariance", REGRESSION | {"learning_rate": 0.3}, None, 0, 2),
    ("natural_gradient_law", REGRESSION | {"learning_rate": (0.3, 1, 0)}, "covariance", 0, 2),
    ("natural_gradient_law", REGRESSION | {"learning_rate": (0.3, 1, 0)}, "scale", 1, 0),
    ("natural_gradient_law", REGRESSION | {"learning_rate": (0.3, 1, 0)}, "validity", 0, 0),
    ("natural_gradient_inverse_moment", {"num_params": 6, "learning_rate": (0.3, 1, 0), "batch_size": 4}, None, -1, 0),
    ("adam_law", SGD | {"learning_rate": (0.1, 0, 1), "eps": (0.05, 1, -1)}, "covariance", 0, 2),
    ("adam_law", SGD | {"learning_rate": (0.1, 0, 1), "eps": (0.05, 1, -1)}, "second_moment", 2, -2),
    ("rmsprop_law", SGD | {"learning_rate": (0.1, 0, 1), "eps": (0.05, 1, -1)}, "preconditioner", -1, 2),
    ("fisher_scoring_covariance", SGD | SCORING | {"learning_rate": None, "preconditioner": (P, -1, 2)}, None, 0, 2),
    ("fisher_scoring_preconditioner", SGD | SCORING | {"learning_rate": None, "num_examples": EXAMPLES}, None, -1, 2),
    (
        "fisher_scoring_injection",
        {
            "gradient_covariance": NOISE,
            "cap": (0.01, -1, 2),
            "step_size": 0.5,
            "batch_size": 10,
            "num_examples": EXAMPLES,
        },
        None,
        2,
        -2,
    ),
    ("position_velocity_law", SGD | {"momentum": 0.4}, "velocity", 0, 2),
    ("position_velocity_law", SGD | {"momentum": 0.4, "time": "continuous"}, "cross", 0, 2),
    ("effective_temperature", SGD | {"momentum": 0.4}, None, 1, 0),
    ("oscillation_frequencies", {"hessian": HESSIAN, "learning_rate": RATE, "momentum": 0.4}, None, 0, 0),
    ("continuous_autocovariance", SGD | {"momentum": 0.4, "lag": 2.5}, None, 0, 2),
    ("variance_errors", {"covariance": (W, 0, 2), "target": (C, 0, 2)}, None, 0, 0),
    (
        "langevin_error",
        {k: v for k, v in SGD.items() if k != "learning_rate"} | {"step_size": (0.001, 0, 2), "num_examples": EXAMPLES},
        "minibatch",
        0,
        2,
    ),
    ("averaging_factors", {"hessian": HESSIAN, "learning_rate": RATE, "window": 20}, None, 0, 0),
    ("averaging_correlation", {"hessian": HESSIAN, "learning_rate": RATE, "window": 20}, None, 0, 0),
    ("averaging_range", {"hessian": HESSIAN, "num_examples": 600, "batch_size": 10}, "low", -1, 2),
    ("averaging_range", {"hessian": HESSIAN, "num_examples": 600, "batch_size": 10}, "high", -1, 2),
    (
        "averaging_errors",
        {"hessian": HESSIAN, "learning_rate": RATE, "num_examples": 600, "batch_size": 10},
        None,
        0,
        0,
    ),
    ("long_run_bound", {k: v for k, v in SGD.items() if k != "learning_rate"}, None, 0, 2),
    ("hessian_regression_error", SGD | {"num_steps": 1000}, None, 1, -2),
    (
        "reverse_learning_rate",
        {k: v for k, v in SGD.items() if k != "learning_rate"} | {"num_examples": EXAMPLES},
        None,
        -1,
        2,
    ),
    ("best_sign_step", SIGN, "learning_rate", 0, 1),
    ("best_sign_step", SIGN, "loss_decrease", 1, 0),
    ("learning_coefficient", LOCALISED, "value", 0, 0),
    ("circulation", FLOW, "covariance", 0, 2),
    ("circulation", FLOW, "antisymmetric", 2, -2),
    ("circulation", FLOW, "potential", -1, 0),
    ("circulation", FLOW, "entropy_production", 1, -2),
    ("circulation", FLOW, "frequencies", 1, -2),
    ("force_decomposition", {"hessian": HESSIAN, "diffusion": NOISE}, "potential", -1, 0),
    ("lag_asymmetry", FLOW | {"lag": (0.4, -1, 2)}, None, 0, 2),
    ("cross_spectrum", FLOW | {"frequency": (0.4, 1, -2)}, None, -1, 4),
    (
        "most_likely_shift",
        FLOW | {"third_derivative": (CUBIC, 1, -3), "diffusion_gradient": (SLOPE, 2, -3)},
        None,
        0,
        1,
    ),
]


def evaluate(name, arguments, read, loss, parameter):
    kwargs = {}
    for argument, given in arguments.items():
        if given is None:
            continue
        value, a, b = given if isinstance(given, tuple) and len(given) == 3 else (given, 0, 0)
        kwargs[argument] = value * loss**a * parameter**b if (a, b) != (0, 0) else value
    if (a := arguments.get("num_examples")) is EXAMPLES:
        kwargs["num_examples"] = round(a[0] / loss)
    found = getattr(theory, name)(**kwargs)
    return getattr(found, read) if read else found


@pytest.mark.parametrize(
    ("name", "arguments", "read", "a", "b"), SCALES, ids=[f"{s[0]}-{i}" for i, s in enumerate(SCALES)]
)
def test_dimensions(name, arguments, read, a, b):
    """Loss × ½ and parameters × 3."""
    plain = np.asarray(evaluate(name, arguments, read, 1.0, 1.0))
    scaled = np.asarray(evaluate(name, arguments, read, 0.5, 3.0))

    def exponents(x, y):
        assert_allclose(scaled, plain * 0.5**x * 3.0**y, rtol=1e-6, atol=1e-12 * np.abs(scaled).max())

    exponents(a, b)
    assert_fails(exponents, a + 1, b, defect="exponent of the loss")
    assert_fails(exponents, a, b + 1, defect="exponent of the parameter")
