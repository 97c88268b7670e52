"""Bad input gives one error that names the argument; unstable settings name the edge."""

from __future__ import annotations

import re

import numpy as np
import pytest
from calls import valid_call

from gradnoise import theory

H = np.array([[2.0, 0.3], [0.3, 0.5]])
C = np.array([[1.0, -0.2], [-0.2, 0.4]])
SETTING = {"learning_rate": 0.3, "batch_size": 4}
NAN = np.array([[1.0, np.nan], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ((NAN, C), {}, r"hessian must be finite, but entry \(0, 1\)"),
        ((H[:1], C), {}, "hessian must be a square matrix"),
        ((np.eye(3), C), {}, r"hessian and gradient_covariance must have the same shape, got \(3, 3\) and \(2, 2\)\."),
        ((-H, C), {}, "hessian must be positive definite"),
        ((H, [[1, 2], [2, 1]]), {}, "gradient_covariance must have no negative eigenvalue"),
        ((H, [[1, 2], [0, 1]]), {}, "gradient_covariance must be symmetric"),
        ((H, C), {"learning_rate": 0}, "learning_rate must be > 0"),
        ((H, C), {"learning_rate": 1.0}, r"learning_rate must be below the stability edge 0\.9719\d*, got 1"),
        ((H, C), {"learning_rate": 0.7, "momentum": 0.9, "nesterov": True}, r"stability edge 0\.6595"),
        ((H, C), {"batch_size": 0}, "batch_size must be >= 1"),
        ((H, C), {"batch_size": 2.5}, "batch_size must be a whole number"),
        ((H, C), {"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ((H, C), {"sampling": "epochs"}, "sampling must be one of"),
        ((H, C), {"sampling": "shuffled"}, "num_examples must be given"),
        ((H, C), {"sampling": "without_replacement"}, "num_examples must be given"),
        ((H, C), {"sampling": "without_replacement", "num_examples": 3}, "batch_size must be <= num_examples = 3"),
        ((H, C), {"sampling": "shuffled", "num_examples": 3}, "batch_size must be <= num_examples = 3"),
        ((H, C), {"sampling": "shuffled", "num_examples": 30, "time": "continuous"}, "time must be 'discrete'"),
        ((H, C), {"sampling": "shuffled", "num_examples": 30, "position": "middle"}, "position must be 'mean', 'end'"),
        ((H, C), {"sampling": "shuffled", "num_examples": 30, "position": 8}, "position must be between 0 and 7"),
        ((H, C), {"sampling": "shuffled", "num_examples": 30, "learning_rate": 2}, "stability edge"),
        ((H, C), {"time": "exact"}, "time must be one of"),
        ((H, C), {"preconditioner": -H}, "preconditioner must be positive definite"),
        ((H, C), {"preconditioner": np.eye(3)}, r"preconditioner must have shape \(2, 2\)"),
        (([[2.0, 0.3], [0.5]], C), {}, r"hessian must be an array of numbers, got \[\[2\.0, 0\.3\], \[0\.5\]\]"),
        (([[10**400]], C), {}, "hessian must be an array of numbers"),
        ((H, C), {"learning_rate": [[0.1], [0.2, 0.3]]}, r"learning_rate must be a finite number, got \[\[0\.1\]"),
        ((H, C), {"learning_rate": 10**400}, "learning_rate must be a finite number"),
        ((H, C), {"sampling": np.ones(2)}, "sampling must be one of"),
    ],
)
def test_stationary_covariance(arguments, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        theory.stationary_covariance(*arguments, **SETTING | changes)


def test_shuffled_is_refused_where_it_is_no_chain():
    shuffled = {"sampling": "shuffled", "num_examples": 40}
    for call in (
        lambda: theory.linear_chain(H, C, **SETTING, **shuffled),
        lambda: theory.iterate_average_covariance(H, C, **SETTING, window=10, **shuffled),
        lambda: theory.batch_noise(C, batch_size=4, **shuffled),
        lambda: theory.optimal_learning_rate(C, hessian=H, batch_size=4, **shuffled),
        lambda: theory.optimal_preconditioner(H, C, batch_size=4, **shuffled),
        lambda: theory.corrected_langevin_tuning(H, C, batch_size=4, **shuffled),
    ):
        with pytest.raises(ValueError, match="not independent noise"):
            call()


def test_unstable_chain_names_radius_and_cause():
    chain = theory.LinearChain([[1.2, 0.0], [0.0, 0.3]], np.eye(2), np.eye(2))
    for quantity in ("covariance", "long_run_covariance", "relaxation_time", "state_covariance"):
        with pytest.raises(
            ValueError, match=r"spectral radius below 1, got 1\.2.*learning rate beyond the stability edge"
        ):
            getattr(chain, quantity)
    assert "spectral_radius=1.2" in repr(chain)


def test_chain_arguments():
    with pytest.raises(ValueError, match=r"readout must have shape \(D, 2\)"):
        theory.LinearChain(0.5 * np.eye(2), np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="noise must have no negative eigenvalue"):
        theory.LinearChain(0.5 * np.eye(2), -np.eye(2), np.eye(2))
    chain = theory.linear_chain(H, C, **SETTING)
    for call, message in (
        (lambda: chain.iact([1.0]), r"direction must have shape \(2,\)"),
        (lambda: chain.iact(np.eye(2)), r"direction must have shape \(2,\)"),
        (lambda: chain.iact([[0, 1], [0, 0]], quadratic=True), "direction must be symmetric"),
        (lambda: chain.iact([0.0, 0.0]), "direction must be one in which the chain moves"),
        (lambda: chain.iact([1.0, 0.0], thin=0), "thin must be >= 1"),
        (lambda: chain.ema(1.0), "decay must lie in"),
        (lambda: chain.average(0), "window must be >= 1"),
        (lambda: chain.effective_sample_size([1.0, 0.0], 0), "num_steps must be >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    still = theory.linear_chain(H, 0 * C, **SETTING)
    with pytest.raises(ValueError, match="the chain does not move"):
        still.worst_iact()


def test_not_linear():
    reason = theory.NotLinear("Adam divides by its own gradients")
    assert not reason
    assert "Adam" in repr(reason)


def test_tuning_arguments():
    scale = {"num_examples": 50, "batch_size": 4}
    for call, message in (
        (lambda: theory.optimal_learning_rate(C, **scale), "hessian must be given when time='discrete'"),
        (lambda: theory.optimal_learning_rate(0 * C, hessian=H, **scale), "gradient_covariance must not be zero"),
        (lambda: theory.optimal_preconditioner(H, C, kind="best", **scale), "kind must be one of"),
        (
            lambda: theory.optimal_preconditioner(H, np.diag([1.0, 0]), time="continuous", **scale),
            "must be positive definite here",
        ),
        (
            lambda: theory.optimal_preconditioner(H, np.ones((2, 2)), kind="diagonal", **scale),
            "must be positive definite here",
        ),
        (lambda: theory.optimal_preconditioner(H, np.diag([1.0, 0]), kind="sqrt", **scale), "entry 1 is 0"),
        (lambda: theory.preconditioner_for(-H, H, C, batch_size=4), "target must be positive definite"),
        (
            lambda: theory.langevin_correction(H, C, preconditioner=np.eye(2), **scale),
            r"at most 0\.13\d* times what was given",
        ),
        (
            lambda: theory.langevin_covariance(H, C, step_size=0.05, **scale),
            r"step_size must be below the stability edge 0\.0388",
        ),
        (lambda: theory.corrected_langevin_tuning(H, C, fraction=0.0, **scale), r"fraction must lie in \(0, 1\]"),
        (lambda: theory.gaussian_kl(-H, H), "covariance_q must be positive definite, but its smallest eigenvalue is"),
        (lambda: theory.gaussian_kl(H, np.diag([1.0, 0.0])), "covariance_p must be positive definite"),
        (lambda: theory.gaussian_kl(H, H, [1.0]), r"mean_q must have shape \(2,\)"),
        (lambda: theory.stability_edge(-H), "hessian must have a positive eigenvalue"),
        (
            lambda: theory.noise_scale(learning_rate=0.1, batch_size=11, num_examples=10),
            "batch_size must be <= num_examples",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_full_preconditioner_works_where_noise_is_singular():
    """In discrete time H keeps it finite."""
    found = theory.optimal_preconditioner(H, np.diag([1.0, 0.0]), num_examples=50, batch_size=4)
    assert np.linalg.eigvalsh(found)[0] > 0


def test_kernels_check_what_they_are_given():
    for call, message in (
        (lambda: theory.stein([[1.0]], [[1.0]]), "transition must have a spectral radius below 1"),
        (lambda: theory.stein([[1.5, 0.0], [0.0, 0.1]], np.eye(2)), "transition must have a spectral radius below 1"),
        (lambda: theory.power_sums([[0.5]], -1), "count must be >= 0"),
        (
            lambda: theory.mode_covariance([0.1, 2.0], np.eye(2)),
            "rates must be positive and below the stability edge 2",
        ),
        (lambda: theory.mode_covariance([0.1], np.eye(2)), r"noise must have shape \(1, 1\)"),
        (lambda: theory.continuous_covariance([0.0, 1.0], np.eye(2)), "rates must be positive"),
        (
            lambda: theory.continuous_covariance([0.1], [[1.0]], momentum=0.5, injected=[[1.0]]),
            "injected must be 0 with momentum",
        ),
        (lambda: theory.shuffled_weights([0.1, 2.5], num_examples=8, batch_size=2), "rates must be positive and below"),
        (lambda: theory.shuffled_weights([0.1], num_examples=8, batch_size=9), "batch_size must be <= num_examples"),
        (lambda: theory.rate_edge(momentum=-0.1), "momentum must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "formula", ["stationary_covariance", "langevin_covariance", "kinetic_tuning", "shuffled_covariance"]
)
@pytest.mark.parametrize("short", ["hessian", "gradient_covariance"])
def test_two_matrices_of_different_size_are_both_named(formula, short):
    """Which of the two is wrong cannot be known."""
    setting = valid_call(formula)
    setting[short] = np.array([[1.0]])
    shapes = [setting[name].shape for name in ("hessian", "gradient_covariance")]
    words = f"hessian and gradient_covariance must have the same shape, got {shapes[0]} and {shapes[1]}."
    with pytest.raises(ValueError, match=re.escape(words)):
        getattr(theory, formula)(**setting)
