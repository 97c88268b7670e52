"""Bad input of the rooms beside the stationary law: one error that names the argument."""

from __future__ import annotations

import pytest

from gradnoise import theory

H, C = [[2.0, 0.3], [0.3, 0.5]], [[1.0, -0.2], [-0.2, 0.4]]
SKEW, BROKEN = [[2.0, 0.3], [0.1, 0.5]], [[1.0, 2.0], [2.0, 0.4]]
SGD = {"learning_rate": 0.1, "batch_size": 4}
VALLEY = {"saddle_curvature": 1.0, "escape_curvature": 1.0, "learning_rate": 0.1, "batch_size": 1}

CALLS = [
    (lambda: theory.newton_covariance(SKEW, C, **SGD), "hessian must be symmetric"),
    (
        lambda: theory.newton_covariance(H, C, learning_rate=2.0, batch_size=4),
        "learning_rate must be below the stability edge 2 ",
    ),
    (lambda: theory.adam_law(H, [[1.0, 0.0], [0.0, 0.0]], **SGD), "gradient_covariance must have a positive diagonal"),
    (lambda: theory.adam_law(H, BROKEN, **SGD), "gradient_covariance must have no negative eigenvalue"),
    (lambda: theory.rmsprop_law(H, C, momentum=1.0, **SGD), "momentum must lie in"),
    (lambda: theory.natural_gradient_inverse_moment(num_params=2, **SGD), "num_params must be >= 3"),
    (lambda: theory.position_velocity_law(H, C, time="continuous", **SGD), "momentum must lie in"),
    (lambda: theory.effective_temperature(H, C, sampling="shuffled", **SGD), "sampling must be one of"),
    (
        lambda: theory.continuous_autocovariance(H, [[1.0]], lag=1, **SGD),
        "hessian and gradient_covariance must have the same shape, got (2, 2) and (1, 1)",
    ),
    (
        lambda: theory.averaging_factors(H, learning_rate=1.0, window=10),
        "learning_rate must be below the stability edge",
    ),
    (lambda: theory.averaging_range(H, num_examples=100, batch_size=10, tolerance=1.0), "tolerance must lie in"),
    (
        lambda: theory.long_run_bound(H, C, batch_size=9, sampling="without_replacement", num_examples=5),
        "batch_size must be <= num_examples",
    ),
    (lambda: theory.batch_means_error(H, [1.0, 0.0], num_steps=10), "chain must be a LinearChain"),
    (
        lambda: theory.reverse_learning_rate(H, [[1.0, 1.0], [1.0, 1.0]], num_examples=9, batch_size=1),
        "gradient_covariance must be positive definite",
    ),
    (
        lambda: theory.langevin_error(H, C, step_size=1.0, num_examples=50, batch_size=4),
        "step_size must be below the stability edge",
    ),
    (lambda: theory.circulation(SKEW, C, temperature=1.0), "hessian must be symmetric"),
    (lambda: theory.circulation([[-1.0, 0.0], [0.0, 1.0]], C, temperature=1.0), "hessian must be positive definite"),
    (lambda: theory.circulation(H, BROKEN, temperature=1.0), "diffusion must have no negative eigenvalue"),
    (lambda: theory.circulation(H, C, temperature=0.0), "temperature must be > 0"),
    (lambda: theory.entropy_production(H), "chain must be a LinearChain"),
    (
        lambda: theory.most_likely_shift(H, C, temperature=1.0, third_derivative=[[[1.0]]]),
        "third_derivative must have shape",
    ),
    (lambda: theory.escape_rate(minimum_loss=0.2, saddle_loss=0.1, **VALLEY), "saddle_loss must be above minimum_loss"),
    (
        lambda: theory.escape_rate(minimum_loss=0.1, saddle_loss=0.2, transverse_curvatures=[-1.0], **VALLEY),
        "transverse_curvatures must be",
    ),
    (
        lambda: theory.kramers_rate([[1.0]], [[-1.0]], barrier=1.0, temperature=0.1, momentum=0.5),
        "learning_rate must be given with momentum",
    ),
    *(
        (
            lambda rate=rate, momentum=momentum: theory.kramers_rate(
                [[1.0]], [[-1.0]], barrier=1.0, temperature=0.1, learning_rate=rate, momentum=momentum
            ),
            "learning_rate must be",
        )
        for rate in (-1.0, float("nan"), "fast")
        for momentum in (0.0, 0.5)
    ),
    (
        lambda: theory.quadratic_exit_time(
            curvature=1.0, gradient_variance=1.0, learning_rate=2.0, batch_size=1, radius=1.0
        ),
        "learning_rate must be below",
    ),
    (
        lambda: theory.diffusion_passage_time(lambda x: x, lambda x: x, start=0.0, target=1.0, low=-1.0),
        "diffusion must be > 0",
    ),
    (
        lambda: theory.chain_passage_time(
            lambda x: x, lambda x: 1e-4 + 0 * x, learning_rate=0.1, start=0.0, target=1.0, low=-1.0
        ),
        "num_points must be at least",
    ),
    (
        lambda: theory.bowl_passage_time(curvature=1.0, learning_rate=0.1, batch_size=1, loss_ratio=1.0),
        "loss_ratio must be > 1",
    ),
    (lambda: theory.multiplier_tail_exponent([2.0, 0.1], [0.5, 0.6]), "weights must be probabilities"),
    (lambda: theory.bulk_exponent(curvature=1.0, learning_rate=3.0, batch_size=4), "learning_rate must be below"),
    (lambda: theory.tail_exponent_estimate(SKEW, learning_rate=0.1, batch_size=1), "hessian must be symmetric"),
    (lambda: theory.stable_exit_time(half_width=1.0, noise_scale=0.1, alpha=2.0), "alpha must lie in"),
    (
        lambda: theory.stable_scale(curvature=1.0, noise_scale=1.0, alpha=1.5, learning_rate=2.0, batch_size=1),
        "learning_rate must be below",
    ),
]


@pytest.mark.parametrize(("call", "says"), CALLS, ids=[says for _, says in CALLS])
def test_bad_input(call, says):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert says in str(caught.value)
