"""Variational EM foreseen: which step, where it settles, what the exact evidence says, and what runs away stops and is named."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_diabetes

import gradnoise as gn
from gradnoise.infer import Refused, variational_em
from gradnoise.infer.hyperparameters import outlook
from gradnoise.infer.minima.hyperparameters import fixed_point, joint_problem, relaxation_rates

BOTH = ("prior_precision", "observation_scale")


@functools.cache
def diabetes() -> gn.Problem:
    """As it ships: columns of norm 1 beside an intercept, targets of 150 ± 77: a Hessian of condition 10⁴."""
    return gn.models.linear_regression(*load_diabetes(return_X_y=True))


@functools.cache
def optimum() -> tuple[float, float]:
    """(observation scale, precision) of largest exact evidence."""
    x, y = load_diabetes(return_X_y=True)
    design = np.column_stack([x, np.ones(len(x))])

    def minus(logs: np.ndarray) -> float:
        scale, precision = np.exp(logs)
        return -gn.theory.linear_regression_evidence(design, y, prior_precision=precision, observation_scale=scale)

    found = scipy.optimize.minimize(
        minus, [4.0, -11.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-9, "maxiter": 2000}
    )
    return float(np.exp(found.x[0])), float(np.exp(found.x[1]))


def test_badly_scaled_inputs_take_the_diagonal_step_and_meet_the_evidence() -> None:
    made = variational_em(diabetes(), batch_size=32, hyperparams=BOTH, num_draws=400, progress=False)
    found = made.settings["variational_em"]
    assert found.settled
    assert found.names == ("observation_scale", "prior_precision")
    np.testing.assert_allclose(found.final.value, found.fixed_point, rtol=0.02)
    np.testing.assert_allclose(found.exact, optimum(), rtol=1e-3)
    x, y = load_diabetes(return_X_y=True)
    design = np.column_stack([x, np.ones(len(x))])
    best, here = (
        gn.theory.linear_regression_evidence(design, y, prior_precision=v[1], observation_scale=v[0])
        for v in (optimum(), found.final.value)
    )
    assert found.evidence_lost == pytest.approx(best - here, abs=1e-4)
    assert 0.01 < found.evidence_lost < 0.1
    assert "exact optimum of the evidence: 54.22, 1.25e-05, 0.04" in str(found)
    assert found.preconditioner == made.settings["hyper_preconditioner"] == "diagonal"
    assert (
        "The diagonal step was taken: where the scalar one settles, its rates would go from 0.00019 to 1.6"
        in " ".join(made.verdict.reasons)
    )
    assert made.verdict.level == "trustworthy"
    assert made.verdict.numbers["evidence_lost"] == found.evidence_lost
    assert made.settings["preconditioner"] == "full"  # the last E-step: q free, λ held
    assert made.settings["num_steps"] < 50_000
    posterior = gn.infer.laplace(found.problem, num_draws=10)
    apart = made.divergence(posterior)
    assert apart.to_reference < 0.01 + 2 * apart.floor


def test_a_run_that_runs_away_is_stopped_and_told() -> None:
    said = r"ran away within [\d,]+ of 50,000 steps: observation_scale went from 168 up to .*; prior_precision went from 1 down to .*"
    with pytest.raises(Refused, match=said + r"The data hold them, at observation_scale = 54\.3, .*'diagonal'") as told:
        variational_em(diabetes(), batch_size=32, hyperparams=BOTH, preconditioner="scalar", progress=False)
    assert int(str(told.value).split("within ")[1].split(" of")[0].replace(",", "")) < 50_000


def test_a_step_that_is_unstable_where_it_would_settle_is_refused_before_it_runs(monkeypatch: Any) -> None:
    """At the noise scale of a prior far too narrow no step of batch 32 settles; the batch that is named does."""
    monkeypatch.setattr(
        "gradnoise.infer.hyperparameters.variational_em.simulate", lambda *a, **k: pytest.fail("it ran")
    )
    with pytest.raises(Refused, match="Learn observation_scale too or use batch_size <= 4"):
        variational_em(diabetes(), batch_size=32)
    joint = joint_problem(diabetes(), "prior_precision")
    common: dict[str, Any] = {"sampling": "with_replacement", "num_steps": 50_000}
    assert outlook.look_ahead(joint, None, batch_size=4, **common).stiffest < 1
    with pytest.raises(
        Refused, match=r"learning_rate is a step that is unstable at the fixed point .*: make it smaller"
    ):
        variational_em(diabetes(), batch_size=32, learning_rate=1e6)


def test_the_scalar_step_stays_where_it_is_right_and_rates_are_those_of_the_matrices() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(2000, 8))
    problem = gn.models.linear_regression(x, x @ r.normal(size=8) / 2 + r.normal(size=2000), 1.0, 1.0, intercept=False)
    joint = joint_problem(problem, "prior_precision")
    law: dict[str, Any] = {"batch_size": 20, "sampling": "with_replacement"}
    ahead = outlook.look_ahead(joint, None, num_steps=50_000, **law)
    assert ahead.rate == "scalar"
    assert ahead.reason == ""
    assert ahead.aim is not None
    here = joint.at(ahead.aim)
    mode = gn.find_mode(here)
    trace = np.trace(gn.derivatives.gradient_moments(here, mode.vector)[1])
    expected = 2 * 20 * 8 / (2000 * trace) * np.linalg.eigvalsh(gn.derivatives.hessian(here, mode.vector))
    np.testing.assert_allclose(relaxation_rates(joint, ahead.aim, rate="scalar", **law), expected, rtol=1e-5)
    assert (ahead.slowest, ahead.stiffest) == pytest.approx((expected[0], expected[-1]), rel=1e-4)
    assert outlook.look_ahead(joint, None, num_steps=2000, **law).rate == "diagonal"  # fewer than 50 relaxation times


def test_fixed_points_far_from_the_start_are_found() -> None:
    joint = joint_problem(diabetes(), BOTH)
    found = fixed_point(joint, law="posterior")
    assert found is not None
    np.testing.assert_allclose(joint.values(found), optimum(), rtol=1e-3)


def test_elsewhere_the_fixed_point_is_not_called_an_optimum_of_the_evidence() -> None:
    r = np.random.default_rng(3)
    x = r.normal(size=(400, 3))
    y = (r.uniform(size=400) < 1 / (1 + np.exp(-x @ [1.0, -1.0, 0.5]))).astype(float)
    problem = gn.models.logistic_regression(x, y, intercept=False)
    made = variational_em(problem, batch_size=20, num_steps=10_000, num_draws=200, progress=False)
    found = made.settings["variational_em"]
    assert found.exact is None
    assert found.evidence_lost is None
    assert "that is no optimum of the evidence, only near one" in str(found)
    assert made.verdict.level == "approximate"


@pytest.mark.slow
def test_directions_without_noise_are_sampled_by_corrected_langevin() -> None:
    r = np.random.default_rng(4)
    x = np.column_stack([r.normal(size=(500, 3)), np.zeros(500)])
    problem = gn.models.linear_regression(x, x.sum(1) + r.normal(size=500), 1.0, 1.0, intercept=False)
    groups = {"prior_precision": np.array([0, 0, 0, -1])}
    made = variational_em(problem, batch_size=20, hyperparams=groups, num_steps=5000, num_draws=100, progress=False)
    assert any(r.startswith("The draws are those of corrected Langevin") for r in made.verdict.reasons)
    assert np.asarray(made.draws)[..., 3].var() == pytest.approx(1.0, rel=0.5)


def test_what_ran_which_way_is_named() -> None:
    joint = joint_problem(diabetes(), BOTH)
    inside = np.array([[0.0, 1.0], [0.5, -3.0]])
    assert not outlook.ran_away(inside, None).any()
    assert not outlook.ran_away(inside, np.array([-1.0, -11.0])).any()
    assert outlook.ran_away(np.array([[0.0, 1.0], [8.0, -3.0]]), np.array([-1.0, -11.0])).tolist() == [True, False]
    assert outlook.ran_away(np.array([[np.nan, 1.0]]), None).tolist() == [True, False]
    assert outlook.ran_away(np.array([[0.0, 20.0]]), None).tolist() == [False, True]
    blind = outlook.Outlook("scalar")
    told = functools.partial(outlook.told_away, joint, ahead=blind)
    assert "prior_precision went from 1 up to 4.85e+08: a precision that rises: the data do not tell" in told(
        np.array([[0.0, 20.0]]), np.array([False, True])
    )
    both = told(np.array([[-20.0, -20.0]]), np.array([True, True]))
    assert "a noise scale that falls: the model fits every example" in both
    assert "a precision that falls: nothing holds the parameters" in both
    assert "up to" in told(np.array([[np.inf, 0.0]]), np.array([True, False]))
    assert outlook._cure("shape", up=True) == "the density grows for ever as shape rises; keep it as it was given"
