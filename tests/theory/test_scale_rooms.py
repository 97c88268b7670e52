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

BARRIER = {
    "hessian_minimum": HESSIAN,
    "hessian_saddle": (H - 0.6 * np.eye(3), 1, -2),
    "barrier": (0.25, 1, 0),
    "temperature": (0.05, 1, 0),
    "learning_rate": RATE,
    "momentum": 0.4,
}
VALLEY = {
    "minimum_loss": (0.1, 1, 0),
    "saddle_loss": (0.2, 1, 0),
    "escape_curvature": (1.0, 1, -2),
    "saddle_curvature": (0.5, 1, -2),
    "learning_rate": RATE,
    "batch_size": 2,
}
EXIT = {
    "curvature": (1.0, 1, -2),
    "gradient_variance": (2.0, 2, -2),
    "learning_rate": RATE,
    "batch_size": 2,
    "radius": (0.8, 0, 1),
}
KESTEN = {"curvature": (1.0, 1, -2), "learning_rate": RATE, "batch_size": 2}
STABLE = {
    "curvature": (1.0, 1, -2),
    "noise_scale": (0.7, 1, -1),
    "alpha": 1.6,
    "learning_rate": RATE,
    "batch_size": 2,
}

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
    ("kramers_rate", BARRIER, "rate", 1, -2),
    ("kramers_rate", BARRIER, "validity", 0, 0),
    (  # C = |L''| holds for likelihoods, whose loss has no free scale: only parameters are rescaled
        "piecewise_escape_time",
        {
            "minimum_curvature": (2.0, 0, -2),
            "saddle_curvature": (1.0, 0, -2),
            "barrier": 0.25,
            "share": 0.4,
            "learning_rate": (0.1, 0, 2),
            "batch_size": 10,
        },
        None,
        0,
        2,
    ),
    ("escape_rate", VALLEY | {"transverse_curvatures": (np.array([0.3, 2.0]), 1, -2)}, None, 1, -2),
    ("quadratic_exit_time", EXIT, None, 0, 0),
    (
        "bowl_passage_time",
        {"curvature": (1.0, 1, -2), "learning_rate": RATE, "batch_size": 2, "loss_ratio": 2.0},
        None,
        -1,
        2,
    ),
    ("tail_exponent", KESTEN | {"num_params": 2}, None, 0, 0),
    ("bulk_exponent", KESTEN, None, 0, 0),
    (
        "tail_exponent_estimate",
        {"hessian": HESSIAN, "learning_rate": RATE, "batch_size": 2, "num_particles": 128, "num_steps": 20},
        "value",
        0,
        0,
    ),
    ("multiplier_tail_exponent", {"multipliers": np.array([1.4, -0.3, 0.5])}, None, 0, 0),
    (
        "loss_power_law",
        {"hessian": HESSIAN, "minimum_loss": (0.1, 1, 0), "learning_rate": RATE, "batch_size": 4},
        "covariance",
        0,
        2,
    ),
    (
        "loss_power_law",
        {"hessian": HESSIAN, "minimum_loss": (0.1, 1, 0), "learning_rate": RATE, "batch_size": 4},
        "mean_loss",
        1,
        0,
    ),
    ("stable_scale", STABLE | {"time": "discrete"}, None, 0, 1),
    ("stable_scale", STABLE | {"time": "continuous"}, None, 0, 1),
    (
        "stable_exit_time",
        {"half_width": (1.0, 0, 1), "noise_scale": (0.1, 2 / 3, -4 / 3 + 1), "alpha": 1.5},
        None,
        -1,
        2,
    ),
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


@pytest.mark.parametrize(
    ("measure", "b"),
    [
        (lambda chain: theory.mean_square_displacement(chain, 3), 2),
        (theory.entropy_production, 0),
        (lambda chain: theory.batch_means_error(chain, [0.3, -0.2, 0.5], num_steps=5000).constant, 0),
    ],
)
def test_dimensions_of_a_chain(measure, b):
    """The same for what takes a LinearChain: loss × ½, parameters × 3."""

    def at(loss, parameter):
        return measure(
            theory.linear_chain(
                H * loss / parameter**2,
                C * loss**2 / parameter**2,
                learning_rate=0.3 * parameter**2 / loss,
                batch_size=10,
            )
        )

    assert_allclose(at(0.5, 3.0), at(1.0, 1.0) * 3.0**b, rtol=1e-7)
    assert_fails(
        assert_allclose, at(0.5, 3.0), at(1.0, 1.0) * 3.0 ** (b + 1), rtol=1e-7, defect="exponent of the parameter"
    )


def test_dimensions_of_passages():
    """Functions of position: the same well in other units takes as many steps, and η times as long."""

    def steps(loss, p):
        return theory.chain_passage_time(
            lambda x: -(1 - (x / p) ** 2) * x * loss / p**2,
            lambda x: 2.0 * (loss / p) ** 2 + 0 * x,
            learning_rate=0.2 * p**2 / loss,
            start=-p,
            target=p,
            low=-3 * p,
            num_points=201,
        )

    def time(loss, p):
        return theory.diffusion_passage_time(
            lambda x: -(1 - (x / p) ** 2) * x * loss / p**2,
            lambda x: 0.2 * loss + 0 * x,
            start=-p,
            target=p,
            low=-3 * p,
        )

    def gain(loss, p):
        return theory.transverse_gain(
            lambda x: loss * (0.1 + (1 - (x / p) ** 2) ** 2 / 8),
            lambda x: -loss / p**2 * (1 - (x / p) ** 2) * x / 2,
            minimum=-p,
            saddle=0.0,
            escape_curvature=loss / p**2,
            transverse_curvatures=[2.0 * loss / p**2],
        )

    assert_allclose(steps(0.5, 3.0), steps(1.0, 1.0), rtol=1e-8)
    assert_allclose(time(0.5, 3.0), time(1.0, 1.0) * 18, rtol=1e-8)
    assert_allclose(gain(0.5, 3.0), gain(1.0, 1.0), rtol=1e-6)
    assert_fails(assert_allclose, time(0.5, 3.0), time(1.0, 1.0), rtol=1e-8, defect="time for steps")
