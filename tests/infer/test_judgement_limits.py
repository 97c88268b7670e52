"""Limits of the verdict at both ends of D, of draws, and of what is given as a mode or a law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import constant_sgd, plan
from gradnoise.infer.verdicts.verdict import judge, kl_limit


def verdict(dim: int, scale: float, shift: float, n: float = 1e7, drift: float = 1.0) -> Any:
    target = (np.zeros(dim), np.eye(dim))
    mean = np.zeros(dim)
    mean[0] = shift
    simulated = (mean, scale * np.eye(dim))
    return judge(
        dim=dim,
        noise_drift=drift,
        drift_matters=True,
        simulated=simulated,
        predicted=simulated if drift == 1.0 else target,
        target=target,
        effective_draws=n,
    )


def test_no_number_of_parameters_excuses_half_a_nat() -> None:
    assert kl_limit(20) == pytest.approx(0.2)
    assert kl_limit(1000) == 0.5
    assert verdict(300, 1.05, 0.0).level == "trustworthy"  # 0.18 nats in all
    assert verdict(300, 1.19, 0.0).level == "approximate"  # 2.4 nats


@pytest.mark.parametrize("dim", [60, 100, 400])
def test_a_mean_that_is_off_in_one_direction_is_told(dim: int) -> None:
    made = verdict(dim, 1.0, 0.8)
    assert made.level == "approximate"
    assert "mean is more than 0.5 standard deviations" in " ".join(made.reasons)
    assert verdict(dim, 1.0, 0.2).level == "trustworthy"


def test_a_harmless_run_in_one_dimension_is_not_condemned() -> None:
    """0.0035 nats off: the bar is 0.1."""
    assert verdict(1, 1.12, 0.0, n=1000, drift=1.5).level == "approximate"
    assert verdict(1, 2.5, 0.0, n=1000, drift=1.5).level == "not trustworthy"


def test_too_few_draws_verify_nothing() -> None:
    made = verdict(4, 1.0, 0.0, n=3)
    assert made.level == "approximate"
    assert "Too few draws" in " ".join(made.reasons)
    assert verdict(4, 1.0, 0.0, n=2000).level == "trustworthy"


def test_a_mode_that_is_none_is_refused(known: Any) -> None:
    problem, mode, law = known("digits")
    with pytest.raises(
        ValueError, match=r"mode must be a minimum of the loss, got params .* standard deviations from one"
    ):
        plan("constant_sgd", problem, batch_size=32, mode=np.zeros(problem.num_params))
    assert plan("constant_sgd", problem, batch_size=32, mode=mode.vector, law=law).where.at == "posterior"
    assert plan("constant_sgd", problem, batch_size=32, mode=mode.vector, at="mode").where.at == "mode"


def test_a_law_of_another_problem_is_refused(known: Any) -> None:
    problem, mode, _ = known("digits")
    with pytest.raises(ValueError, match=r"law must be measure.gaussian_law of this problem"):
        constant_sgd(problem, batch_size=32, mode=mode, law=known("wine").law, progress=False)


def test_a_funnel_can_be_looked_at_from_its_mode() -> None:
    """No variational law exists there; at="laplace" is judged by Laplace's, and the run is not called right."""
    rng = np.random.default_rng(0)
    y = (rng.standard_normal((8, 1)) + 0.3 * rng.standard_normal((8, 20))).reshape(-1)
    group = np.repeat(np.arange(8), 20)

    def log_likelihood(params: Any, example: Any) -> Any:
        return -0.5 * ((example["y"] - params["mu"][example["g"]]) / 0.3) ** 2

    import jax.numpy as jnp

    def log_prior(params: Any) -> Any:
        s = params["log_scale"]
        return -0.5 * jnp.sum((params["mu"] / jnp.exp(s)) ** 2) - 8 * s - 0.5 * (s / 0.5) ** 2

    problem = gn.Problem(
        log_likelihood,
        {"y": y.astype(np.float32), "g": group},
        {"mu": np.zeros(8, np.float32), "log_scale": np.float32(0.0)},
        log_prior,
    )
    tuned = plan("corrected_langevin", problem, batch_size=16, at="laplace")
    assert tuned.where.at == "laplace"
    assert tuned.worst_variance_error >= 0
