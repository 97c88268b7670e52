"""The cheap recorder of many parameters: variances without covariances, the default above 1000."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.engine import simulate

SETTINGS: dict[str, Any] = {"num_steps": 1500, "burn_in": 111, "key": 5, "progress": False}


def regression(dim: int, num_examples: int = 200) -> gn.Problem:
    r = np.random.default_rng(0)
    x = r.standard_normal((num_examples, dim)).astype(np.float32)
    return gn.models.linear_regression(x, x[:, 0] + 1.0, observation_scale=1.0, intercept=False)


def sgd(rate: float = 0.02) -> Any:
    import optax

    return gn.rule(optax.sgd, learning_rate=rate)


# slow: many chains, a larger group of the same program as few
@pytest.mark.parametrize("num_chains", [1, 3, pytest.param(70, marks=pytest.mark.slow)])
def test_variances_are_the_diagonal_of_the_moments(num_chains: int) -> None:
    """One chain (batches), few and many (chains); the run ends inside a window."""
    problem = regression(4)
    common: dict[str, Any] = {**SETTINGS, "num_chains": num_chains}
    oracle = gn.oracles.minibatch(8)
    full = simulate(problem, oracle, sgd(), record=gn.record.moments(), **common)
    cheap = simulate(problem, oracle, sgd(), record=gn.record.variances(), **common)
    np.testing.assert_array_equal(cheap.state, full.state)
    np.testing.assert_allclose(cheap.mean, full.mean, rtol=1e-6)
    np.testing.assert_allclose(cheap.mean_standard_error, full.mean_standard_error, rtol=1e-4)
    np.testing.assert_allclose(cheap.variance, np.diag(full.covariance), rtol=1e-4)
    np.testing.assert_allclose(full.variance, np.diag(full.covariance), rtol=1e-12)
    wanted = np.diag(full.covariance_standard_error)
    np.testing.assert_allclose(cheap.variance_estimate.standard_error, wanted, rtol=1e-3)
    np.testing.assert_allclose(full.variance_estimate.standard_error, wanted, rtol=1e-9)
    assert cheap.standard_error_from == full.standard_error_from
    for ask in (lambda: cheap.covariance, lambda: cheap.second_moment(np.zeros(4))):
        with pytest.raises(ValueError, match="covariances were not recorded, only variances"):
            ask()


def test_variances_agree_with_the_draws() -> None:
    both = [gn.record.draws(1), gn.record.variances()]
    run = simulate(regression(4), gn.oracles.minibatch(8), sgd(), record=both, num_chains=3, **SETTINGS)
    draws = np.asarray(run.draws, np.float64).reshape(-1, 4)
    np.testing.assert_allclose(run.mean, draws.mean(0), rtol=1e-5)
    np.testing.assert_allclose(run.variance, draws.var(0), rtol=1e-5)


def test_runs_with_variances_are_cut_saved_and_extended_without_a_change(tmp_path: Any) -> None:
    problem, oracle = regression(4), gn.oracles.minibatch(8)
    common: dict[str, Any] = {**SETTINGS, "num_chains": 2, "record": gn.record.variances()}
    whole = simulate(problem, oracle, sgd(), **common)
    part = simulate(problem, oracle, sgd(), **{**common, "num_steps": 700})
    np.testing.assert_array_equal(part.extend(800, progress=False).variance, whole.variance)
    np.testing.assert_array_equal(gn.engine.Run.load(whole.save(tmp_path / "run.npz")).variance, whole.variance)


def test_the_default_is_moments_up_to_a_thousand_parameters_and_variances_beyond() -> None:
    oracle = gn.oracles.minibatch(8)
    few = simulate(regression(4), oracle, sgd(), num_steps=10, progress=False)
    assert "recorded: moments" in repr(few)
    assert few.covariance.shape == (4, 4)
    began = time.process_time()
    many = simulate(regression(3000), oracle, sgd(1e-4), num_steps=600, progress=False)
    assert time.process_time() - began < 10  # a covariance takes a minute and 4 GB
    assert "recorded: variances" in repr(many)
    assert many.variance.shape == many.mean.shape == (3000,)
    with pytest.raises(
        ValueError, match=r"the default above 1000 parameters; ask for them with record=gn\.record\.moments"
    ):
        _ = many.covariance


def test_bad_recorders() -> None:
    problem, oracle = regression(4), gn.oracles.minibatch(8)
    with pytest.raises(ValueError, match="record must hold moments or variances, not both"):
        simulate(problem, oracle, sgd(), num_steps=10, record=[gn.record.moments(), gn.record.variances()])
    with pytest.raises(TypeError, match="record must be a recorder or a list of them"):
        simulate(problem, oracle, sgd(), num_steps=10, record="all")
    bare = simulate(problem, oracle, sgd(), num_steps=10, record=None, progress=False)
    with pytest.raises(ValueError, match="moments were not recorded"):
        _ = bare.variance
