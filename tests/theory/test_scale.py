"""Identity: the scale column of every docstring, and any linear change of parameters."""

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

# --- scale: the exponents of loss and parameter in every docstring ---

# argument -> (value, power of the loss, power of the parameter); None: no scale
MATRICES = {
    "hessian": (H, 1, -2),
    "gradient_covariance": (C, 2, -2),
    "noise": (C, 2, -2),
    "preconditioner": (P, -1, 2),
    "injected": (W, 0, 2),
    "target": (W, 0, 2),
    "X": (np.random.default_rng(0).standard_normal((20, 3)), 0.5, -1),
    "y": (np.random.default_rng(1).standard_normal(20), 0.5, 0),
    "covariance": (W, 0, 2),
    "input_covariance": (H, 1, -2),
    "truth": (np.array([1.0, -2.0, 0.5]), 0, 1),
    "covariance_q": (W, 0, 2),
    "covariance_p": (C, 0, 2),
}
MATRICES |= {
    "total_hessian": (H, 0, -2),
    "gradient": (np.array([0.3, -0.2, 0.5]), 1, -1),
}
SCALARS = {
    "ridge": (0.2, 1, -2),
    "label_noise": (0.3, 0.5, 0),
    "temperature": (0.7, 1, 0),
    "learning_rate": (0.3, -1, 2),
    "step_size": (0.01, 0, 2),
    "num_examples": (60, -1, 0),
}
SCALARS |= {
    "prior_precision": (0.3, 0, -2),
    "noise_scale": (3.0, -1, 2),
}
PLAIN = {"l": 4, "batch_size": 10, "momentum": 0.4, "window": 7}

# formula -> (arguments, read-out, power of the loss, power of the parameter); posterior-type formulas keep N·loss fixed
SCALES = [
    ("least_squares_tail_exponent", "X learning_rate batch_size ridge", "value", 0, 0),
    ("least_squares_noise", "X y covariance ridge", None, 2, -2),
    ("least_squares_preconditioner", "X y batch_size temperature ridge momentum", None, -1, 2),
    ("least_squares_preconditioner", "X y batch_size target ridge", None, -1, 2),
    *(
        ("least_squares_edges", "X batch_size ridge momentum", e, -1, 2)
        for e in ("mean", "second_moment", "fourth_moment")
    ),
    *(
        (name, f"{data} learning_rate batch_size momentum ridge label_noise", read, a, b)
        for name, data in (("least_squares_moments", "X y"), ("gaussian_inputs_moments", "input_covariance truth"))
        for read, a, b in (
            ("mean", 0, 1),
            ("covariance", 0, 2),
            ("noise", 2, -2),
            ("excess_loss", 1, 0),
            ("second_moment_edge", -1, 2),
            ("second_moment_radius", 0, 0),
        )
    ),
    ("stationary_covariance", "hessian gradient_covariance learning_rate batch_size momentum", None, 0, 2),
    ("shuffled_covariance", "hessian gradient_covariance learning_rate batch_size momentum", "epoch", 0, 2),
    ("epoch_average_covariance", "hessian gradient_covariance learning_rate batch_size momentum", "epoch", 0, 2),
    ("fixed_order_covariance", "hessian gradient_covariance learning_rate batch_size momentum", "epoch", 0, 2),
    ("linear_chain", "hessian gradient_covariance learning_rate batch_size momentum injected", "covariance", 0, 2),
    (
        "linear_chain",
        "hessian gradient_covariance learning_rate batch_size momentum injected",
        "long_run_covariance",
        0,
        2,
    ),
    ("linear_chain", "hessian gradient_covariance learning_rate batch_size momentum", "relaxation_time", 0, 0),
    ("chain_from_noise", "hessian noise learning_rate momentum injected", "covariance", 0, 2),
    ("iterate_average_covariance", "hessian gradient_covariance learning_rate batch_size window", None, 0, 2),
    ("stability_edge", "hessian momentum", None, -1, 2),
    ("stability_edge", "hessian momentum preconditioner", None, 0, 0),
    ("stability_fraction", "hessian learning_rate momentum", None, 0, 0),
    ("relaxation_times", "hessian learning_rate momentum", None, 0, 0),
    ("batch_noise", "gradient_covariance batch_size", None, 2, -2),
    ("optimal_learning_rate", "gradient_covariance hessian num_examples batch_size momentum", None, -1, 2),
    (
        "optimal_learning_rate",
        "gradient_covariance hessian num_examples batch_size momentum preconditioner",
        None,
        0,
        0,
    ),
    ("optimal_preconditioner", "hessian gradient_covariance num_examples batch_size momentum", None, -1, 2),
    ("optimal_preconditioner", "hessian gradient_covariance num_examples batch_size", "diagonal", -1, 2),
    ("optimal_preconditioner", "hessian gradient_covariance num_examples batch_size", "diagonal_closed", -1, 2),
    ("optimal_preconditioner", "hessian gradient_covariance num_examples batch_size", "sqrt", -1, 2),
    ("preconditioner_for", "target hessian gradient_covariance batch_size momentum", None, -1, 2),
    ("langevin_correction", "hessian gradient_covariance preconditioner num_examples batch_size", None, 2, -2),
    ("langevin_covariance", "hessian gradient_covariance step_size num_examples batch_size", None, 0, 2),
    ("corrected_langevin_tuning", "hessian gradient_covariance num_examples batch_size", "injected_covariance", 0, 2),
    ("corrected_langevin_tuning", "hessian gradient_covariance num_examples batch_size", "preconditioner", -1, 2),
    ("corrected_langevin_tuning", "hessian gradient_covariance num_examples batch_size", "eta_max", 0, 0),
    ("mean_field_covariance", "hessian num_examples", None, 0, 2),
    ("gaussian_kl", "covariance_q covariance_p", None, 0, 0),
    ("temperature", "learning_rate batch_size momentum", None, -1, 2),
    ("gradient_noise_scale", "gradient gradient_covariance", None, 0, 0),
    ("critical_noise_scale", "gradient gradient_covariance hessian", None, 0, 0),
    ("best_step", "gradient gradient_covariance hessian batch_size", "learning_rate", -1, 2),
    ("best_step", "gradient gradient_covariance hessian batch_size", "loss_decrease", 1, 0),
    ("svag_noise", "gradient_covariance batch_size l", None, 2, -2),
    ("log_occam_factor", "total_hessian prior_precision", None, 0, 0),
    ("optimum_batch_size", "noise_scale learning_rate num_examples momentum", None, -1, 0),
]


def evaluate(name, arguments, read, loss, parameter):
    """Call a formula with every argument rescaled: loss → loss·L, parameters → parameters·p."""
    kwargs = {}
    for argument in arguments.split():
        if argument in PLAIN:
            kwargs[argument] = PLAIN[argument]
            continue
        value, a, b = MATRICES.get(argument) or SCALARS[argument]
        kwargs[argument] = value * loss**a * parameter**b
    if read == "epoch":
        kwargs["num_examples"], read = 63, None
    if "num_examples" in kwargs:
        kwargs["num_examples"] = round(kwargs["num_examples"])
    if name == "least_squares_tail_exponent":  # one dimension, and steps that sometimes expand
        kwargs |= {"X": 1.5 * kwargs["X"][:, :1], "batch_size": 2}
    if name == "langevin_correction":
        kwargs["preconditioner"] = kwargs["preconditioner"] / 20
    if read in ("diagonal", "diagonal_closed", "sqrt"):
        kwargs["kind"], read = read, None
    found = getattr(theory, name)(**kwargs)
    return getattr(found, read) if read else found


@pytest.mark.parametrize(
    ("name", "arguments", "read", "a", "b"), SCALES, ids=[f"{s[0]}-{i}" for i, s in enumerate(SCALES)]
)
def test_dimensions(name, arguments, read, a, b):
    """Loss × ½ (N × 2, so that N·loss keeps its value) and parameters × 3."""
    plain = np.asarray(evaluate(name, arguments, read, 1.0, 1.0))
    scaled = np.asarray(evaluate(name, arguments, read, 0.5, 3.0))
    tolerance = 1e-6 if read == "diagonal" else 1e-10

    def exponents(x, y):
        assert_allclose(scaled, plain * 0.5**x * 3.0**y, rtol=tolerance, atol=1e-14 * np.abs(scaled).max())

    exponents(a, b)
    assert_fails(exponents, a + 1, b, defect="exponent of the loss")
    assert_fails(exponents, a, b + 1, defect="exponent of the parameter")


@pytest.mark.parametrize(
    "law",
    [
        {},
        {"time": "continuous"},
        {"momentum": 0.4},
        {"momentum": 0.4, "nesterov": True},
        {"sampling": "shuffled", "num_examples": 63},
    ],
)
def test_any_linear_change_of_parameters(law):
    """θ' = Jθ: H → J⁻ᵀHJ⁻¹, C → J⁻ᵀCJ⁻¹, P → JPJᵀ, Σ → JΣJᵀ."""
    J = np.array([[1.0, 0.4, -0.2], [0.0, 2.0, 0.3], [0.5, 0.0, 0.7]])
    K = np.linalg.inv(J)
    setting = {"learning_rate": 0.5, "batch_size": 10, **law}
    plain = theory.stationary_covariance(H, C, preconditioner=P, **setting)
    moved = theory.stationary_covariance(K.T @ H @ K, K.T @ C @ K, preconditioner=J @ P @ J.T, **setting)
    assert_allclose(moved, J @ plain @ J.T, rtol=1e-10)
    assert_fails(assert_allclose, moved, J.T @ plain @ J, rtol=1e-10, defect="transposed change of parameters")
