"""One valid call of every formula, with the scale of every argument and of the result: the dimension test and the bad-input test run over it.

A scale is a pair (power of the loss, power of the parameter). Posterior-type formulas keep N·loss, so num_examples has power −1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from audit import formulas_of

from gradnoise import theory

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]])
C = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
P = np.array([[0.4, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.6]])
W = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]])
ROWS = np.random.default_rng(0).standard_normal((20, 3))
LABELS = np.random.default_rng(1).standard_normal(20)


class Of(NamedTuple):
    """An argument with a scale."""

    value: Any
    loss: float
    parameter: float


class Built(NamedTuple):
    """An argument made from the two units: a chain, a function of position."""

    make: Callable[[float, float], Any]


HESSIAN, NOISE, RATE = Of(H, 1, -2), Of(C, 2, -2), Of(0.3, -1, 2)
EXAMPLES = Of(600, -1, 0)
SPREAD = Of(W, 0, 2)
ARGUMENTS = {
    "hessian": HESSIAN,
    "gradient_covariance": NOISE,
    "noise": NOISE,
    "preconditioner": Of(P, -1, 2),
    "injected": SPREAD,
    "target": SPREAD,
    "X": Of(ROWS, 0.5, -1),
    "y": Of(LABELS, 0.5, 0),
    "covariance": SPREAD,
    "input_covariance": HESSIAN,
    "truth": Of(np.array([1.0, -2.0, 0.5]), 0, 1),
    "covariance_q": SPREAD,
    "covariance_p": Of(C, 0, 2),
    "total_hessian": Of(H, 0, -2),
    "gradient": Of(np.array([0.3, -0.2, 0.5]), 1, -1),
    "ridge": Of(0.2, 1, -2),
    "label_noise": Of(0.3, 0.5, 0),
    "temperature": Of(0.7, 1, 0),
    "learning_rate": RATE,
    "step_size": Of(0.01, 0, 2),
    "num_examples": Of(60, -1, 0),
    "prior_precision": Of(0.3, 0, -2),
    "noise_scale": Of(3.0, -1, 2),
    "label_variance": Of(0.7, 1, 0),
    "l": 4,
    "batch_size": 10,
    "momentum": 0.4,
    "window": 7,
}


def take(names: str, **others: Any) -> dict[str, Any]:
    return {name: ARGUMENTS[name] for name in names.split()} | others


SGD = take("hessian gradient_covariance learning_rate batch_size")
EPOCH = take("hessian gradient_covariance learning_rate batch_size momentum", num_examples=63)
TUNE = take("hessian gradient_covariance num_examples batch_size")
NO_RATE = take("hessian gradient_covariance batch_size")
KINETIC = TUNE | {
    "step_size": 0.2,
    "friction": 1.5,
    "mass": Of(W, 1, -2),
}  # a mass like the curvature: time has no unit
SCORING = NO_RATE | {"step_size": 0.5, "injected": Of(W, 2, -2)}
REGRESSION = take("hessian label_variance batch_size momentum")
NATURAL = REGRESSION | {"learning_rate": Of(0.3, 1, 0)}
ADAM = SGD | {"learning_rate": Of(0.1, 0, 1), "eps": Of(0.05, 1, -1)}
SIGN = take("gradient hessian batch_size", standard_deviation=Of(np.array([1.0, 0.6, 0.8]), 1, -1))
LOCALISED = NO_RATE | {
    "inverse_temperature": Of(40.0, -1, 0),
    "localization": Of(0.7, 0, -2),
    "step_size": Of(0.001, 0, 2),
}
FLOW = {"hessian": HESSIAN, "diffusion": NOISE, "temperature": RATE}
CUBIC = sum(np.random.default_rng(0).normal(size=3)[i] * np.einsum("i,j,k->ijk", v, v, v) for i, v in enumerate(P))
SLOPE = np.einsum("ij,k->ijk", W, np.array([0.3, -0.2, 0.5]))
BARRIER = {
    "hessian_minimum": HESSIAN,
    "hessian_saddle": Of(H - 0.6 * np.eye(3), 1, -2),
    "barrier": Of(0.25, 1, 0),
    "temperature": Of(0.05, 1, 0),
    "learning_rate": RATE,
    "momentum": 0.4,
}
VALLEY = {
    "minimum_loss": Of(0.1, 1, 0),
    "saddle_loss": Of(0.2, 1, 0),
    "escape_curvature": Of(1.0, 1, -2),
    "saddle_curvature": Of(0.5, 1, -2),
    "learning_rate": RATE,
    "batch_size": 2,
    "transverse_curvatures": Of(np.array([0.3, 2.0]), 1, -2),
}
ONE = {"curvature": Of(1.0, 1, -2), "learning_rate": RATE, "batch_size": 2}
STABLE = ONE | {"noise_scale": Of(0.7, 1, -1), "alpha": 1.6}
AVERAGED = {"hessian": HESSIAN, "learning_rate": RATE, "num_examples": 600, "batch_size": 10}
POWER_LAW = {"hessian": HESSIAN, "minimum_loss": Of(0.1, 1, 0), "learning_rate": RATE, "batch_size": 4}
# C = |L''| holds for likelihoods, whose loss has no free scale: only parameters are rescaled
PIECES = {
    "minimum_curvature": Of(2.0, 0, -2),
    "saddle_curvature": Of(1.0, 0, -2),
    "barrier": 0.25,
    "share": 0.4,
    "learning_rate": Of(0.1, 0, 2),
    "batch_size": 10,
}
WELL = {
    "slope": Built(lambda loss, p: lambda x: -(1 - (x / p) ** 2) * x * loss / p**2),
    "start": Of(-1.0, 0, 1),
    "target": Of(1.0, 0, 1),
    "low": Of(-3.0, 0, 1),
}
CHAIN_PASSAGE = WELL | {
    "noise_variance": Built(lambda loss, p: lambda x: 2.0 * (loss / p) ** 2 + 0 * x),
    "learning_rate": Of(0.2, -1, 2),
    "num_points": 201,
}
TRANSVERSE = {
    "loss": Built(lambda loss, p: lambda x: loss * (0.1 + (1 - (x / p) ** 2) ** 2 / 8)),
    "slope": Built(lambda loss, p: lambda x: -loss / p**2 * (1 - (x / p) ** 2) * x / 2),
    "minimum": Of(-1.0, 0, 1),
    "saddle": 0.0,
    "escape_curvature": Of(1.0, 1, -2),
    "transverse_curvatures": Of(np.array([2.0]), 1, -2),
}
CHAIN = Built(
    lambda loss, p: theory.linear_chain(
        H * loss / p**2, C * loss**2 / p**2, learning_rate=0.3 * p**2 / loss, batch_size=10
    )
)
DIRECTION = np.array([0.3, -0.2, 0.5])
EDDY = Built(lambda loss, p: theory.circulation(H * loss / p**2, C * loss**2 / p**2, temperature=0.3 * p**2 / loss))


class Row(NamedTuple):
    """`call` a formula, `read` an attribute of the result (or apply a function): its power of the loss and of the parameter."""

    call: str
    arguments: dict[str, Any]
    read: Any
    loss: float
    parameter: float


SCALES = [
    Row(
        "least_squares_tail_exponent",
        {"X": Of(1.5 * ROWS[:, :1], 0.5, -1), **take("learning_rate ridge"), "batch_size": 2},
        "value",
        0,
        0,
    ),
    Row("least_squares_noise", take("X y covariance ridge"), None, 2, -2),
    Row("least_squares_preconditioner", take("X y batch_size temperature ridge momentum"), None, -1, 2),
    Row("least_squares_preconditioner", take("X y batch_size target ridge"), None, -1, 2),
    *(
        Row("least_squares_edges", take("X batch_size ridge momentum"), e, -1, 2)
        for e in ("mean", "second_moment", "fourth_moment")
    ),
    *(
        Row(name, take(f"{data} learning_rate batch_size momentum ridge label_noise"), read, a, b)
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
    Row("least_squares_moments", take("X y learning_rate batch_size momentum ridge"), "fourth_moment_edge", -1, 2),
    Row(
        "least_squares_moments",
        take("X y learning_rate batch_size momentum"),
        lambda found: found.chain.covariance,
        0,
        2,
    ),
    Row("stationary_covariance", SGD | take("momentum"), None, 0, 2),
    Row("shuffled_covariance", EPOCH, None, 0, 2),
    Row("epoch_average_covariance", EPOCH, None, 0, 2),
    Row("fixed_order_covariance", EPOCH, None, 0, 2),
    Row("linear_chain", SGD | take("momentum injected"), "covariance", 0, 2),
    Row("linear_chain", SGD | take("momentum injected"), "long_run_covariance", 0, 2),
    Row("chain_from_noise", take("hessian noise learning_rate momentum injected"), "covariance", 0, 2),
    Row("LinearChain", {"transition": np.eye(3) - 0.3 * H, "noise": SPREAD, "readout": np.eye(3)}, "covariance", 0, 2),
    Row("LinearChain.covariance", {"self": CHAIN}, None, 0, 2),
    Row("LinearChain.state_covariance", {"self": CHAIN}, None, 0, 2),
    Row("LinearChain.long_run_covariance", {"self": CHAIN}, None, 0, 2),
    Row("LinearChain.spectral_radius", {"self": CHAIN}, None, 0, 0),
    Row("LinearChain.relaxation_time", {"self": CHAIN}, None, 0, 0),
    Row("LinearChain.autocovariance", {"self": CHAIN, "lag": 3}, None, 0, 2),
    Row("LinearChain.average", {"self": CHAIN, "window": 7}, None, 0, 2),
    Row("LinearChain.ema", {"self": CHAIN, "decay": 0.9}, None, 0, 2),
    Row("LinearChain.iact", {"self": CHAIN, "direction": DIRECTION, "thin": 2}, None, 0, 0),
    Row("LinearChain.iact", {"self": CHAIN, "direction": W, "quadratic": True}, None, 0, 0),
    Row("LinearChain.worst_iact", {"self": CHAIN, "thin": 2}, None, 0, 0),
    Row("LinearChain.worst_iact", {"self": CHAIN, "quadratic": True}, None, 0, 0),
    Row(
        "LinearChain.effective_sample_size",
        {"self": CHAIN, "direction": DIRECTION, "num_steps": 900, "num_chains": 2},
        None,
        0,
        0,
    ),
    Row("stein", {"transition": np.eye(3) - 0.3 * H, "noise": SPREAD}, None, 0, 2),
    Row(
        "mode_covariance",
        {"rates": np.array([0.2, 0.5, 1.1]), "noise": SPREAD, "momentum": 0.4, "injected": Of(C, 0, 2)},
        None,
        0,
        2,
    ),
    Row(
        "continuous_covariance",
        {"rates": np.array([0.2, 0.5, 1.1]), "noise": SPREAD, "injected": Of(C, 0, 2)},
        None,
        0,
        2,
    ),
    Row("iterate_average_covariance", SGD | take("window"), None, 0, 2),
    Row("stability_edge", take("hessian momentum"), None, -1, 2),
    Row("stability_edge", take("hessian momentum preconditioner"), None, 0, 0),
    Row("stability_fraction", take("hessian learning_rate momentum"), None, 0, 0),
    Row("relaxation_times", take("hessian learning_rate momentum"), None, 0, 0),
    Row("batch_noise", take("gradient_covariance batch_size"), None, 2, -2),
    Row("optimal_learning_rate", TUNE | take("momentum"), None, -1, 2),
    Row("optimal_learning_rate", TUNE | take("momentum preconditioner"), None, 0, 0),
    Row("optimal_preconditioner", TUNE | take("momentum"), None, -1, 2),
    *(
        Row("optimal_preconditioner", TUNE | {"kind": kind}, None, -1, 2)
        for kind in ("scalar", "diagonal", "diagonal_closed", "sqrt")
    ),
    Row("preconditioner_for", NO_RATE | take("target momentum"), None, -1, 2),
    Row("preconditioner_for", TUNE | {"target": "posterior", "momentum": 0.4}, None, -1, 2),
    Row("preconditioner_for", TUNE | {"target": "tempered", "temperature": 1.7}, None, -1, 2),
    *(
        Row("bayesian_tuning", TUNE | {"method": "langevin", "budget": 0.1}, read, a, b)
        for read, a, b in (("learning_rate", -1, 2), ("iact", 0, 0), ("errors", 0, 0))
    ),
    Row("langevin_correction", TUNE | {"preconditioner": Of(P / 20, -1, 2)}, None, 2, -2),
    Row("langevin_covariance", TUNE | take("step_size"), None, 0, 2),
    Row("kinetic_chain", KINETIC, "covariance", 0, 2),
    Row("kinetic_covariance", KINETIC, None, 0, 2),
    Row("kinetic_correction", KINETIC | {"friction": 2.0, "batch_size": 60}, None, 2, -2),
    *(
        Row("kinetic_tuning", KINETIC | {"batch_size": 60, "friction": None, "step_size": 0.2}, read, a, b)
        for read, a, b in (("injected_covariance", 2, -2), ("friction", 0, 0), ("iact", 0, 0))
    ),
    Row("corrected_langevin_tuning", TUNE, "injected_covariance", 0, 2),
    Row("corrected_langevin_tuning", TUNE, "preconditioner", -1, 2),
    Row("corrected_langevin_tuning", TUNE, "eta_max", 0, 0),
    Row("mean_field_covariance", take("hessian num_examples"), None, 0, 2),
    Row(
        "gaussian_kl",
        take("covariance_q covariance_p", mean_q=Of(DIRECTION, 0, 1), mean_p=Of(2 * DIRECTION, 0, 1)),
        None,
        0,
        0,
    ),
    Row("temperature", take("learning_rate batch_size momentum"), None, -1, 2),
    Row("noise_scale", {"learning_rate": RATE, "batch_size": 10, "num_examples": 60, "momentum": 0.4}, None, -1, 2),
    Row("gradient_noise_scale", take("gradient gradient_covariance"), None, 0, 0),
    Row("critical_noise_scale", take("gradient gradient_covariance hessian"), None, 0, 0),
    Row("best_step", take("gradient gradient_covariance hessian batch_size"), "learning_rate", -1, 2),
    Row("best_step", take("gradient gradient_covariance hessian batch_size"), "loss_decrease", 1, 0),
    *(
        Row("gradient_estimates", {"gradients": Of(ROWS + 0.5, 1, -1), "batch_size": 2}, read, a, b)
        for read, a, b in (
            (lambda found: found.squared_gradient.value, 2, -2),
            (lambda found: found.noise_trace.standard_error, 2, -2),
            (lambda found: found.gradient_noise_scale.value, 0, 0),
            ("resolution", 0, 0),
        )
    ),
    *(
        Row(
            "two_batch_estimates",
            {
                "small_squared_norms": Of(3 + LABELS**2, 2, -2),
                "big_squared_norms": Of(1 + 0.1 * LABELS**2, 2, -2),
                "small_batch_size": 4,
                "big_batch_size": 64,
            },
            read,
            a,
            b,
        )
        for read, a, b in ((lambda found: found.noise_trace.value, 2, -2), ("resolution", 0, 0))
    ),
    Row("svag_noise", take("gradient_covariance batch_size l"), None, 2, -2),
    Row("log_occam_factor", take("total_hessian prior_precision"), None, 0, 0),
    # logarithms of densities: D = 3 parameters, N = 20 labels
    Row("log_evidence", take("total_hessian", total_log_joint=-3.0), np.exp, 0, 3),
    Row(
        "linear_regression_evidence",
        take("X y prior_precision", observation_scale=Of(0.8, 0.5, 0)),
        lambda found: np.exp(found / 20),
        -0.5,
        0,
    ),
    Row(
        "log_evidence_ratio",
        take("total_hessian prior_precision", total_cost=30.0, num_examples=60, num_classes=3),
        None,
        0,
        0,
    ),
    Row("optimum_batch_size", take("noise_scale learning_rate num_examples momentum"), None, -1, 0),
    Row("newton_covariance", SGD | {"learning_rate": 0.3, "momentum": 0.4}, None, 0, 2),
    Row("newton_regression_covariance", REGRESSION | {"learning_rate": 0.3}, None, 0, 2),
    Row("natural_gradient_law", NATURAL, "covariance", 0, 2),
    Row("natural_gradient_law", NATURAL, "scale", 1, 0),
    Row("natural_gradient_law", NATURAL, "validity", 0, 0),
    Row(
        "natural_gradient_inverse_moment",
        {"num_params": 6, "learning_rate": Of(0.3, 1, 0), "batch_size": 4},
        None,
        -1,
        0,
    ),
    Row("adam_law", ADAM, "covariance", 0, 2),
    Row("adam_law", ADAM, "second_moment", 2, -2),
    Row("rmsprop_law", ADAM, "preconditioner", -1, 2),
    Row("fisher_scoring_covariance", SCORING | take("preconditioner"), None, 0, 2),
    Row("fisher_scoring_preconditioner", SCORING | {"num_examples": EXAMPLES}, None, -1, 2),
    *(
        Row(
            "fisher_scoring_error",
            SCORING | {"preconditioner": Of(P / 60, -1, 2), "num_examples": EXAMPLES},
            read,
            a,
            b,
        )
        for read, a, b in (("discretisation", 0, 2), ("mismatch", 0, 2), ("relative", 0, 0))
    ),
    Row(
        "fisher_scoring_injection",
        take("gradient_covariance batch_size", cap=Of(0.01, -1, 2), step_size=0.5, num_examples=EXAMPLES),
        None,
        2,
        -2,
    ),
    Row("position_velocity_law", SGD | {"momentum": 0.4}, "velocity", 0, 2),
    Row("position_velocity_law", SGD | {"momentum": 0.4, "time": "continuous"}, "cross", 0, 2),
    Row("effective_temperature", SGD | {"momentum": 0.4}, None, 1, 0),
    Row("oscillation_frequencies", take("hessian learning_rate momentum"), None, 0, 0),
    Row("mean_square_displacement", {"chain": CHAIN, "lag": 3}, None, 0, 2),
    Row("continuous_autocovariance", SGD | {"momentum": 0.4, "lag": 2.5}, None, 0, 2),
    Row("variance_errors", {"covariance": SPREAD, "target": Of(C, 0, 2)}, None, 0, 0),
    Row("langevin_error", NO_RATE | {"step_size": Of(0.001, 0, 2), "num_examples": EXAMPLES}, "minibatch", 0, 2),
    *(
        Row(
            "scheduled_langevin_covariance",
            NO_RATE
            | {
                "num_examples": EXAMPLES,
                "start": SPREAD,
                "step_sizes": Of(0.001 * (1 + np.arange(30)) ** -0.5, 0, 2),
                "burn_in": 5,
                "every": 3,
            },
            read,
            0,
            2,
        )
        for read in ("draws", "step_weighted", "final")
    ),
    *(
        Row(
            "stationary_shape",
            {
                "rates": Of(np.array([0.2, 0.7, 1.3]), 0, 0),
                "noise_skewness": Of(np.array([1.5, -0.4, 0.9]), 0, 0),
                "noise_kurtosis": Of(np.array([4.0, 0.3, -0.8]), 0, 0),
                "batch_size": 4,
                "noise_share": Of(np.array([0.5, 0.9, 0.3]), 0, 0),
            },
            read,
            0,
            0,
        )
        for read in ("skewness", "kurtosis")
    ),
    Row("averaging_factors", {"hessian": HESSIAN, "learning_rate": RATE, "window": 20}, None, 0, 0),
    Row("averaging_correlation", {"hessian": HESSIAN, "learning_rate": RATE, "window": 20}, None, 0, 0),
    Row("averaging_range", {"hessian": HESSIAN, "num_examples": 600, "batch_size": 10}, "low", -1, 2),
    Row("averaging_range", {"hessian": HESSIAN, "num_examples": 600, "batch_size": 10}, "high", -1, 2),
    Row("averaging_errors", AVERAGED, None, 0, 0),
    Row(
        "online_gradient_covariance",
        {"first_gradients": Of(ROWS, 1, -1), "batch_gradients": Of(0.3 * ROWS[::-1], 1, -1), "batch_size": 4},
        "value",
        2,
        -2,
    ),
    Row(
        "epoch_noise_autocovariance",
        {"gradient_covariance": NOISE, "num_examples": 63, "batch_size": 10, "lag": 2},
        None,
        2,
        -2,
    ),
    Row("long_run_bound", NO_RATE, None, 0, 2),
    Row("batch_means_error", {"chain": CHAIN, "direction": DIRECTION, "num_steps": 5000}, "constant", 0, 0),
    Row("hessian_regression_error", SGD | {"num_steps": 1000}, None, 1, -2),
    Row("reverse_learning_rate", NO_RATE | {"num_examples": EXAMPLES}, None, -1, 2),
    Row("best_sign_step", SIGN, "learning_rate", 0, 1),
    Row("best_sign_step", SIGN, "loss_decrease", 1, 0),
    Row("learning_coefficient", LOCALISED, "value", 0, 0),
    Row("kramers_rate", BARRIER, "rate", 1, -2),
    Row("kramers_rate", BARRIER, "validity", 0, 0),
    Row("piecewise_escape_time", PIECES, None, 0, 2),
    Row("escape_rate", VALLEY, None, 1, -2),
    Row("transverse_gain", TRANSVERSE, None, 0, 0),
    Row(
        "diffusion_passage_time", WELL | {"diffusion": Built(lambda loss, p: lambda x: 0.2 * loss + 0 * x)}, None, -1, 2
    ),
    Row("chain_passage_time", CHAIN_PASSAGE, None, 0, 0),
    Row("quadratic_exit_time", ONE | {"gradient_variance": Of(2.0, 2, -2), "radius": Of(0.8, 0, 1)}, None, 0, 0),
    Row("bowl_passage_time", ONE | {"loss_ratio": 2.0, "num_directions": 2}, None, -1, 2),
    Row("tail_exponent", ONE | {"num_params": 2}, None, 0, 0),
    Row("bulk_exponent", ONE, None, 0, 0),
    Row(
        "tail_exponent_estimate",
        take("hessian learning_rate", batch_size=2, num_particles=128, num_steps=20),
        "value",
        0,
        0,
    ),
    Row("multiplier_tail_exponent", {"multipliers": np.array([1.4, -0.3, 0.5])}, None, 0, 0),
    Row("loss_power_law", POWER_LAW, "covariance", 0, 2),
    Row("loss_power_law", POWER_LAW, "mean_loss", 1, 0),
    Row("stable_scale", STABLE | {"time": "discrete"}, None, 0, 1),
    Row("stable_scale", STABLE | {"time": "continuous"}, None, 0, 1),
    # noise of the diffusion dθ = σ dL: σ^α is (length)^α over time
    Row(
        "stable_exit_time",
        {"half_width": Of(1.0, 0, 1), "noise_scale": Of(0.1, 2 / 3, -1 / 3), "alpha": 1.5},
        None,
        -1,
        2,
    ),
    Row("circulation", FLOW, "covariance", 0, 2),
    Row("circulation", FLOW, "antisymmetric", 2, -2),
    Row("circulation", FLOW, "potential", -1, 0),
    Row("circulation", FLOW, "entropy_production", 1, -2),
    Row("circulation", FLOW, "frequencies", 1, -2),
    Row("Circulation.velocity", {"self": EDDY, "position": Of(DIRECTION, 0, 1)}, None, 1, -1),
    Row("force_decomposition", {"hessian": HESSIAN, "diffusion": NOISE}, "potential", -1, 0),
    Row("lag_asymmetry", FLOW | {"lag": Of(0.4, -1, 2)}, None, 0, 2),
    Row("cross_spectrum", FLOW | {"frequency": Of(0.4, 1, -2)}, None, -1, 4),
    Row("entropy_production", {"chain": CHAIN}, None, 0, 0),
    Row(
        "most_likely_shift",
        FLOW | {"third_derivative": Of(CUBIC, 1, -3), "diffusion_gradient": Of(SLOPE, 2, -3)},
        None,
        0,
        1,
    ),
]

# numbers in, numbers out: there is no unit to rescale
DIMENSIONLESS = {
    "noise_factor": ({"batch_size": 10, "sampling": "without_replacement", "num_examples": 60}, "sizes alone"),
    "power_sums": ({"transition": np.eye(3) - 0.3 * H, "count": 5}, "powers of a matrix per step"),
    "rate_edge": ({"momentum": 0.4}, "momentum alone"),
    "shuffled_weights": (
        {"rates": np.array([0.2, 0.5, 1.1]), "num_examples": 63, "batch_size": 10, "momentum": 0.4},
        "rates ηλ have no unit",
    ),
    "svag_coefficients": ({"l": 4.0}, "the factor l alone"),
    "svag_moments": ({"l": 4.0}, "the factor l alone"),
    "batch_tradeoff": (
        {"batch_size": 10.0, "critical_batch_size": 40.0, "fewest_steps": 300.0},
        "numbers of examples and steps",
    ),
    "gaussian_weights": ({"normals": LABELS, "batch_size": 4}, "weights of examples"),
}


def argument(given: Any, loss: float = 1.0, parameter: float = 1.0) -> Any:
    """The argument in units in which losses are `loss` and parameters `parameter` times as large."""
    if isinstance(given, Built):
        return given.make(loss, parameter)
    if not isinstance(given, Of):
        return given
    scaled = given.value * loss**given.loss * parameter**given.parameter
    return round(scaled) if isinstance(given.value, int) else scaled


def called(name: str, kwargs: dict[str, Any]) -> Any:
    """theory.name(**kwargs); a dotted name is a method or property of `self`."""
    if "." not in name:
        return getattr(theory, name)(**kwargs)
    given = dict(kwargs)
    found = getattr(given.pop("self"), name.partition(".")[2])
    return found(**given) if callable(found) else found


def evaluated(row: Row, loss: float = 1.0, parameter: float = 1.0) -> np.ndarray:
    found = called(row.call, {name: argument(given, loss, parameter) for name, given in row.arguments.items()})
    if callable(row.read):
        return np.asarray(row.read(found))
    return np.asarray(found if row.read is None else getattr(found, row.read))


def valid_call(name: str) -> dict[str, Any]:
    """Arguments that the formula accepts."""
    if name in DIMENSIONLESS:
        return dict(DIMENSIONLESS[name][0])
    row = next(row for row in SCALES if row.call == name)
    return {key: argument(given) for key, given in row.arguments.items()}


def public_formulas() -> list[str]:
    return formulas_of(theory, {"LinearChain"})
