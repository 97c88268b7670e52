"""Verdicts: honest in every direction, per chain, about the sandwich; and the bar on breast cancer for every sampler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from studies import breast_cancer

import gradnoise as gn
from gradnoise.infer.choice.plan import SAMPLERS
from gradnoise.infer.verdicts.expectation import strayed_chains
from gradnoise.infer.verdicts.sandwich import prior_curvature, widths_of
from gradnoise.infer.verdicts.verdict import judge

D = 31
EYE = np.eye(D)
ZERO = np.zeros(D)


def verdict(**change: Any) -> Any:
    law = (ZERO, EYE)
    settings: dict[str, Any] = {
        "dim": D, "noise_drift": 1.0, "drift_matters": True, "simulated": law, "predicted": law, "target": law, "effective_draws": 1e5,
    }  # fmt: skip
    return judge(**{**settings, **change})


def one_wide(factor: float) -> np.ndarray:
    return np.diag([*np.ones(D - 1), factor])


def test_one_direction_that_a_small_kl_hides_costs_the_good_verdict() -> None:
    ran = (ZERO, one_wide(1.7))
    assert gn.theory.gaussian_kl(ran[1], EYE) < 0.1  # nowhere near the limit of 0.31
    said = verdict(simulated=ran)
    assert said.level == "approximate"  # within 0.1 nats: not condemned either
    assert "In 1 of 31 eigendirections" in said.reasons[0]
    assert said.numbers["worst_direction_ratio"] == pytest.approx(1.7)
    assert verdict(simulated=ran, effective_draws=200).level == "trustworthy"  # sampling error explains it
    planned = verdict(simulated=None, predicted=ran, effective_draws=np.nan)
    assert planned.level == "approximate"
    assert "wrong in its worst of 31 directions" in planned.reasons[0]
    assert verdict(simulated=(ZERO, one_wide(1.3))).level == "trustworthy"


def test_small_errors_of_design_and_of_the_run_may_not_add_up_to_a_good_verdict() -> None:
    predicted, ran = (ZERO, 1.13 * EYE), (ZERO, 1.13 * 1.13 * EYE)
    assert gn.theory.gaussian_kl(predicted[1], EYE) < 0.31
    assert gn.theory.gaussian_kl(ran[1], predicted[1]) < 0.31
    assert gn.theory.gaussian_kl(ran[1], EYE) > 0.31
    said = verdict(predicted=predicted, simulated=ran)
    assert said.level == "approximate"
    assert "nats from the target" in said.reasons[0]


def test_drifting_noise_condemns_unless_the_run_shows_no_harm() -> None:
    assert verdict(noise_drift=1.3, simulated=None).level == "approximate"
    assert verdict(noise_drift=1.3, simulated=None, predicted=(ZERO, 1.4 * EYE)).level == "not trustworthy"
    assert verdict(noise_drift=1.3).level == "approximate"
    assert verdict(noise_drift=1.3, simulated=(ZERO, 1.12 * EYE)).level == "not trustworthy"  # 0.18 nats
    assert verdict(noise_drift=1.3, drift_matters=False).level == "trustworthy"


def test_chains_are_named_one_by_one() -> None:
    said = verdict(diverged={3: 120, 0: 4567}, strayed={2: 57.3}, num_chains=8)
    assert said.level == "not trustworthy"
    assert said.reasons[0] == "2 of 8 chains diverged (chain 0 at step 4,567, chain 3 at step 120) and are left out."
    assert said.reasons[1].startswith("1 of 8 chains left the basin")
    assert "chain 2: 57.3" in said.reasons[1]
    assert said.numbers["diverged_chains"] == 2


def test_a_chain_in_another_basin_is_found_and_no_other() -> None:
    r = np.random.default_rng(0)
    covariance = np.array([[2.0, 0.3], [0.3, 0.5]])
    draws = r.multivariate_normal([1.0, -1.0], covariance, size=(200, 400))
    assert strayed_chains(draws, np.array([1.0, -1.0]), covariance, range(200)) == {}
    draws[7, 300:] += [40.0, 0.0]  # leaves late
    draws[9, :100] += [40.0, 0.0]  # came back
    found = strayed_chains(draws, np.array([1.0, -1.0]), covariance, range(200))
    assert list(found) == [7]
    assert found[7] == pytest.approx(40 / np.sqrt(2 - 0.3**2 / 0.5), rel=0.05)


# --- sandwich and posterior side by side -----------------------------------------------------------------------------


def regression(outliers: float, n: int = 4000, prior_scale: float = 10.0, size: float = 1.0) -> Any:
    r = np.random.default_rng(2)
    x = r.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 1.3]])
    noise = r.normal(size=n) * np.where(np.abs(x[:, 2]) > 1.3, outliers, 1.0)  # noisier where x2 is large
    problem = gn.models.linear_regression(x, x @ [size, 2 * size, -size] + noise, prior_scale, 1.0, intercept=False)
    return problem, gn.find_mode(problem)


@pytest.mark.parametrize("outliers", [1.0, 2.0])
def test_misspecification_is_told_where_it_is_and_nowhere_else(outliers: float) -> None:
    problem, mode = regression(outliers)
    law = gn.measure.gaussian_law(problem, mode)
    found = widths_of(problem, law.mean, law.hessian, law.gradient_covariance)
    inverse = np.linalg.inv(law.hessian)
    np.testing.assert_allclose(found.sandwich, inverse @ law.gradient_covariance @ inverse / 4000, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, law.covariance, rtol=1e-9)
    run = gn.infer.corrected_langevin(problem, batch_size=50, num_draws=500, mode=mode, law=law, progress=False)
    said = " ".join(run.verdict.reasons)
    if outliers == 1.0:
        assert not found.misspecified.any()
        assert "misspecified" not in said
        np.testing.assert_allclose(found.ratios, 1, atol=0.15)
    else:
        assert found.misspecified.sum() >= 1
        assert found.ratios.max() > 2
        assert "the model is misspecified, or" in said
        assert run.verdict.numbers["sandwich_ratio_largest"] == pytest.approx(found.ratios.max())
    assert run.verdict.level == "trustworthy"  # it is the posterior; whether that is what is wanted is another matter


def test_what_the_prior_holds_is_not_called_misspecified() -> None:
    problem, mode = regression(1.0, n=40, prior_scale=0.05, size=0.03)  # the prior is ten times as sharp as the data
    law = gn.measure.gaussian_law(problem, mode)
    found = widths_of(problem, law.mean, law.hessian, law.gradient_covariance)
    assert found.ratios.max() < 0.5
    assert found.data_shares.max() < 0.5
    assert not found.misspecified.any()
    np.testing.assert_allclose(prior_curvature(problem, law.mean), np.eye(3) / 0.05**2 / 40)


def test_another_target_is_named_as_such(known: Any) -> None:
    problem, mode, law = known("digits")
    for settings in ({"target": "sandwich"}, {"temperature": 3.0}):
        plan = gn.infer.plan("constant_sgd", problem, batch_size=64, mode=mode, law=law, **settings)
        assert "The target is not the posterior" in " ".join(plan.expectation().verdict.reasons)
    plan = gn.infer.plan("constant_sgd", problem, batch_size=64, mode=mode, law=law)
    assert "The target is not" not in " ".join(plan.expectation().verdict.reasons)


# --- the bar ---------------------------------------------------------------------------------------------------------


def test_the_bar_on_breast_cancer_at_reduced_size() -> None:
    rows = breast_cancer.study(400, variants=False, names=("constant_sgd", "corrected_langevin"))
    assert breast_cancer.breaches(rows) == []
    by_name = {row["sampler"]: row for row in rows}
    assert by_name["corrected_langevin"]["after"] == "trustworthy"
    assert by_name["constant_sgd"]["after"] == "not trustworthy"
    wrong = [{**by_name["laplace"], "after": "trustworthy"}, {**by_name["gaussian"], "before": "not trustworthy"}]
    assert len(breast_cancer.breaches(wrong)) == 2


@pytest.mark.slow
def test_the_bar_on_breast_cancer_for_every_sampler() -> None:
    rows = breast_cancer.study(1500)
    assert breast_cancer.breaches(rows) == []
    assert {row["sampler"].split(",")[0] for row in rows} >= {*SAMPLERS, "laplace", "gaussian"}
    ran = [row for row in rows if "after" in row]
    assert len(ran) > len(SAMPLERS)
