"""Samplers on real data: corrected Langevin at the sampling floor, constant SGD right where it must be and refused where not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import constant_sgd, corrected_langevin, gaussian, laplace, plan, reference
from gradnoise.infer.posteriors.posterior import judge, spread


def excess(posterior: Any, mean: np.ndarray, covariance: np.ndarray, n_reference: float = np.inf) -> float:
    """KL of the draws' Gaussian fit to the truth, less what sampling error alone would give."""
    dim = len(mean)
    floor = sum(
        gn.diagnose.kl_floor(dim, n, fitted_mean=True)
        for n in (posterior.effective_draws, n_reference)
        if np.isfinite(n)
    )
    return gn.theory.gaussian_kl(posterior.covariance, covariance, posterior.mean, mean) - floor


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [32, 128])
def test_corrected_langevin_on_breast_cancer(batch_size: int, known: Any, nuts_fit: Any) -> None:
    problem, mode, law = known("breast cancer")
    mean, covariance, n = nuts_fit
    made = corrected_langevin(problem, batch_size=batch_size, num_draws=4000, key=1, mode=mode, law=law, progress=False)
    off = excess(made, mean, covariance, n)
    of_laplace = excess(laplace(problem, mode=mode), mean, covariance, n)
    assert of_laplace > 0.9
    assert off <= 0.1
    assert off < of_laplace / 10
    assert made.verdict.level == "trustworthy"


@pytest.mark.slow
def test_constant_sgd_on_breast_cancer_is_called_not_trustworthy(known: Any, nuts_fit: Any) -> None:
    problem, mode, law = known("breast cancer")
    mean, covariance, n = nuts_fit
    at_mode = constant_sgd(problem, batch_size=32, at="mode", num_draws=1000, mode=mode, law=law, progress=False)
    assert excess(at_mode, mean, covariance, n) > 100
    assert at_mode.verdict.level == "not trustworthy"
    assert "simulation is not what was predicted" in " ".join(at_mode.verdict.reasons)
    averaged = constant_sgd(problem, batch_size=32, num_draws=4000, mode=mode, law=law, progress=False)
    assert excess(averaged, mean, covariance, n) < 0.5
    assert averaged.verdict.level == "not trustworthy"
    assert averaged.verdict.numbers["noise_drift"] > 1.1


@pytest.mark.parametrize(
    "name", ["digits", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wine", "protein"))]
)
def test_corrected_langevin_reaches_the_floor(name: str, known: Any) -> None:
    problem, mode, law = known(name)
    made = corrected_langevin(
        problem, batch_size=64, num_draws=800, num_chains=8, key=2, mode=mode, law=law, progress=False
    )
    dim = problem.num_params
    floor = gn.diagnose.kl_floor(dim, made.effective_draws, fitted_mean=True)
    # 6400 draws: the KL of a fit scatters by about floor·√(2·2/(D(D+3))) around the floor
    assert excess(made, law.mean, law.covariance) < 3 * floor
    assert made.verdict.level == "trustworthy"
    wrong = gn.theory.gaussian_kl(made.covariance, 1.15 * law.covariance, made.mean, law.mean) - floor
    assert wrong > 3 * floor, "a 15 % error in every variance would pass"


@pytest.mark.parametrize("name", ["digits", pytest.param("wine", marks=pytest.mark.slow)])
def test_full_preconditioner_samples_the_posterior_where_noise_is_constant(name: str, known: Any) -> None:
    problem, mode, law = known(name)
    made = constant_sgd(problem, batch_size=64, num_draws=800, num_chains=8, mode=mode, law=law, progress=False)
    assert made.verdict.level == "trustworthy", str(made)
    ratios = spread(made.run.covariance, law.covariance)
    assert 0.93 < ratios.mean() < 1.07


@pytest.fixture(scope="module")
def restricted(known: Any) -> Callable[[str], Any]:
    """Return the run of a restricted preconditioner on wine, made once for all tests."""
    problem, mode, law = known("wine")
    common: dict[str, Any] = {"batch_size": 100, "mode": mode, "law": law}
    return functools.cache(
        lambda kind: plan("constant_sgd", problem, preconditioner=kind, **common).run(
            num_draws=60, num_chains=8, progress=False
        )
    )


@pytest.mark.parametrize(
    "kind", ["scalar", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("diagonal", "sqrt"))]
)
def test_restricted_preconditioners_follow_their_prediction_and_say_so(kind: str, restricted: Any) -> None:
    made = restricted(kind)
    assert made.verdict.level == "approximate", str(made)
    assert "By design" in made.verdict.reasons[0]
    assert made.verdict.numbers["predicted_kl_to_target"] > 0.5
    assert abs(made.verdict.numbers["mean_variance_ratio"] - 1) < 0.08


def test_an_expectation_before_the_run_names_every_direction(restricted: Any) -> None:
    run = restricted("scalar")
    found = run.plan.expectation()
    np.testing.assert_allclose(found.variance_ratio, run.plan.direction_errors + 1)
    assert found.verdict.level == "approximate"
    assert np.isnan(found.verdict.numbers["effective_draws"])
    assert found.target_sd[0] == found.target_sd.max()
    lines = str(found).splitlines()
    assert lines[0].startswith("constant SGD (scalar preconditioner): expected approximate. By design")
    assert len(lines) == 13  # ten of twelve directions and what was left out
    assert run.verdict.level == found.verdict.level
    achieved = np.array([d.achieved.value for d in run.directions()])
    assert np.abs(np.log(achieved / found.variance_ratio)).max() < 0.35


def test_targets_temperature_and_momentum(known: Any) -> None:
    problem, mode, law = known("digits")
    common: dict[str, Any] = {
        "batch_size": 64,
        "num_draws": 400,
        "num_chains": 8,
        "mode": mode,
        "law": law,
        "progress": False,
    }
    inverse = np.linalg.inv(law.mode_hessian)
    sandwich = inverse @ law.mode_gradient_covariance @ inverse / problem.num_examples
    for settings, goal in (
        ({"target": "sandwich"}, sandwich),
        ({"temperature": 0.5}, None),  # its own law: tests/infer/test_shape.py
        ({"target": 0.7 * law.covariance}, 0.7 * law.covariance),
        ({"momentum": 0.6}, law.covariance),
        ({"sampling": "without_replacement"}, law.covariance),
    ):
        made = constant_sgd(problem, **{**common, **settings})
        goal = made.plan.target if goal is None else goal
        np.testing.assert_allclose(made.predicted_covariance, goal, rtol=1e-4, atol=1e-12)
        assert 0.92 < spread(made.run.covariance, goal).mean() < 1.08, settings


def test_reference_is_exact_for_linear_regression_and_says_which(known: Any) -> None:
    wine = known("wine")
    exact = reference(wine.problem, mode=wine.mode)
    assert exact.method == "exact posterior"
    h = gn.measure.local_geometry(wine.problem, wine.mode).hessian
    np.testing.assert_allclose(exact.covariance, np.linalg.inv(wine.problem.num_examples * h))
    digits = known("digits")
    poor = reference(digits.problem, mode=digits.mode, budget_seconds=1e-6, num_draws=50)
    assert poor.method == "Laplace"
    assert "NUTS would take" in poor.verdict.reasons[0]
    with pytest.raises(ValueError, match="not quadratic"):
        reference(digits.problem, method="exact", mode=digits.mode)


@pytest.mark.slow
def test_nuts_agrees_with_the_exact_posterior() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(200, 3)) @ np.array([[1, 0.7, 0], [0, 0.5, 0.2], [0, 0, 2.0]])
    problem = gn.models.linear_regression(x, x @ [1.0, -2, 0.3] + r.normal(size=200), observation_scale=1.0)
    exact = reference(problem)
    drawn = reference(problem, method="nuts", num_draws=2000, key=3)
    assert drawn.method == "NUTS"
    assert drawn.effective_draws > 2000
    both = drawn.divergence(exact)
    assert both.to_reference < 5 * both.floor
    assert gn.theory.gaussian_kl(drawn.covariance, 1.15 * exact.covariance, drawn.mean, exact.mean) > 5 * both.floor


def test_laplace_and_gaussian_draw_what_they_say(known: Any) -> None:
    problem, mode, law = known("digits")
    for made in (
        laplace(problem, mode=mode, num_draws=20_000),
        gaussian(problem, mode=mode, law=law, num_draws=20_000),
    ):
        flat = made.draws.reshape(-1, problem.num_params)
        gn.testing.assert_covariance(
            flat, made.predicted_covariance, mean=made.predicted_mean, false_fail=1e-7, detects=0.06
        )
        assert made.exact


def test_draws_go_to_arviz_and_back(known: Any, tmp_path: Any) -> None:
    import xarray

    problem, mode, law = known("digits")
    made = corrected_langevin(problem, batch_size=64, num_draws=20, num_chains=8, mode=mode, law=law, progress=False)
    tree = xarray.open_datatree(made.save(tmp_path / "draws.nc"), engine="h5netcdf")
    theta = tree["posterior"]["theta"]
    assert theta.dims == ("chain", "draw", "parameter")
    assert list(theta.coords["parameter"].values) == list(problem.parameter_names)
    np.testing.assert_array_equal(theta.values, made.draws)
    assert tree.attrs["verdict"] == made.verdict.level


def test_thinning_follows_the_worst_autocorrelation_time(known: Any) -> None:
    problem, mode, law = known("digits")
    common: dict[str, Any] = {"batch_size": 64, "num_chains": 8, "mode": mode, "law": law, "progress": False}
    made = corrected_langevin(problem, num_draws=50, **common)
    eta = made.settings["eta"]
    assert made.settings["thin"] == int(np.ceil((2 - eta) / eta - 1e-9))  # every direction is AR(1) with 1 - η
    assert made.settings["num_steps"] == made.settings["burn_in"] + 50 * made.settings["thin"]
    assert corrected_langevin(problem, num_draws=5, thin=3, burn_in=7, **common).settings["num_steps"] == 22


H2 = np.array([[2.0, 0.3], [0.3, 0.5]])


def verdict(**change: Any) -> Any:
    law = (np.zeros(2), H2)
    settings: dict[str, Any] = {
        "dim": 2, "noise_drift": 1.0, "drift_matters": True, "simulated": law, "predicted": law, "target": law, "effective_draws": 1e5,
    }  # fmt: skip
    return judge(**{**settings, **change})


def test_verdict_sees_each_planted_fault() -> None:
    assert verdict()
    assert verdict().level == "trustworthy"
    assert verdict(noise_drift=1.2, simulated=None).level == "approximate"  # before the run
    assert verdict(noise_drift=1.2).level == "approximate"  # the run shows no harm
    assert verdict(noise_drift=1.2, simulated=(np.zeros(2), 1.25 * H2)).level == "not trustworthy"
    assert verdict(noise_drift=1.2, drift_matters=False).level == "trustworthy"
    assert verdict(simulated=(np.zeros(2), 1.3 * H2)).level == "not trustworthy"
    assert verdict(simulated=(np.array([0.5, 0]), H2)).level == "not trustworthy"
    assert verdict(simulated=(np.zeros(2), 1.3 * H2), effective_draws=20).level == "trustworthy", (
        "sampling error explains it"
    )
    assert verdict(target=(np.zeros(2), 1.5 * H2)).level == "approximate"
    assert verdict(diverged={1: 40}).level == "not trustworthy"
    assert not verdict(diverged={1: 40})


@pytest.mark.parametrize(
    ("function", "change", "words"),
    [
        (constant_sgd, {"batch_size": 0}, "batch_size"),
        (constant_sgd, {"batch_size": 10**6, "sampling": "without_replacement"}, "batch_size must be <= num_examples"),
        (constant_sgd, {"sampling": "shuffled"}, "shuffled"),
        (constant_sgd, {"sampling": "bootstrap"}, "sampling"),
        (constant_sgd, {"at": "origin"}, "at must be one of"),
        (constant_sgd, {"preconditioner": "adam"}, "preconditioner"),
        (constant_sgd, {"preconditioner": np.eye(3)}, "preconditioner must have shape"),
        (constant_sgd, {"preconditioner": "scalar", "temperature": 2.0}, "preconditioner must be 'full'"),
        (constant_sgd, {"temperature": -1.0}, "temperature"),
        (constant_sgd, {"target": "prior"}, "target"),
        (constant_sgd, {"momentum": 1.0}, "momentum"),
        (constant_sgd, {"num_draws": 0}, "num_draws"),
        (constant_sgd, {"thin": 0}, "thin"),
        (corrected_langevin, {"fraction": 1.0}, "fraction"),
        (corrected_langevin, {"fraction": 0}, "fraction"),
        (corrected_langevin, {"sampling": "shuffled"}, "shuffled"),
        (reference, {"method": "hmc"}, "method"),
    ],
)
def test_bad_arguments(function: Any, change: dict[str, Any], words: str, known: Any) -> None:
    problem, mode, law = known("digits")
    settings: dict[str, Any] = {
        "mode": mode,
        **({} if function is reference else {"batch_size": 32, "law": law, "progress": False}),
    }
    with pytest.raises((ValueError, TypeError), match=words):
        function(problem, **{**settings, **change})


def test_a_preconditioner_beyond_the_edge_is_refused(known: Any) -> None:
    problem, mode, law = known("digits")
    with pytest.raises(ValueError, match=r"edge|radius|stable"):
        constant_sgd(
            problem, batch_size=32, preconditioner=3 * np.linalg.inv(law.hessian), mode=mode, law=law, progress=False
        )


def test_laplace_and_gaussian_are_exact_only_where_the_loss_is_quadratic(known: Any) -> None:
    wine, digits = known("wine"), known("digits")
    for exact in (
        laplace(wine.problem, mode=wine.mode, num_draws=2),
        gaussian(wine.problem, mode=wine.mode, law=wine.law, num_draws=2),
    ):
        assert "quadratic" in exact.verdict.reasons[0]
    for other in (
        laplace(digits.problem, mode=digits.mode, num_draws=2),
        gaussian(digits.problem, mode=digits.mode, law=digits.law, num_draws=2),
    ):
        assert "quadratic" not in other.verdict.reasons[0]
