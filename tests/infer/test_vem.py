"""Variational EM: the fixed point of constant SGD, exact evidence beside it, and joint optimisation as the counter-example."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import gradnoise as gn
from gradnoise.infer import variational_em
from gradnoise.infer.minima.hyperparameters import fixed_point, joint_problem
from gradnoise.results import mean_of


class Case(NamedTuple):
    num_params: int
    precision: float  # that the weights were drawn with
    condition: float
    seed: int


# seed 10: λ|θ̂(λ)|²/P stays below 0.917, so the plug-in equation has no root and joint optimisation runs away
CASES = {
    "identity": Case(20, 4.0, 1.0, 0),
    "condition 30": Case(20, 4.0, 30.0, 1),
    "weak signal": Case(40, 700.0, 1.0, 10),
}
WEAK_EVIDENCE, WEAK_FIXED_POINT = 751.5, 752.27  # its optimum, and that of the law of the finite step at batch 20


def design(case: Case, num_examples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(case.seed)
    scales = case.condition ** (-0.5 * np.linspace(0, 1, case.num_params))
    x = r.normal(size=(num_examples, case.num_params)) * scales
    return x, x @ (r.normal(size=case.num_params) / np.sqrt(case.precision)) + r.normal(size=num_examples)


@functools.cache
def linear(name: str) -> gn.Problem:
    x, y = design(CASES[name])
    return gn.models.linear_regression(
        x.astype(np.float32), y.astype(np.float32), observation_scale=1.0, intercept=False
    )


def evidence_optimum(name: str) -> float:
    x, y = (a.astype(np.float32).astype(float) for a in design(CASES[name]))
    found = scipy.optimize.minimize_scalar(
        lambda log: -gn.theory.linear_regression_evidence(x, y, prior_precision=np.exp(log), observation_scale=1.0),
        bounds=(-5, 12), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(np.exp(found.x))


def joint_optimum(name: str, sweeps: int = 4000) -> float:
    """Precision after so many exact steps θ ← mode, λ ← P/|θ|²: optimising θ and λ together."""
    x, y = design(CASES[name])
    values, vectors = np.linalg.eigh(x.T @ x)
    along, precision = vectors.T @ (x.T @ y), 1.0
    for _ in range(sweeps):
        precision = len(values) / np.sum((along / (values + precision)) ** 2)
        if precision > 1e12:
            break
    return float(precision)


@pytest.mark.parametrize("name", CASES)
def test_the_posterior_fixed_point_is_the_exact_evidence_optimum(name: str) -> None:
    joint = joint_problem(linear(name), "prior_precision")
    found = fixed_point(joint, law="posterior")
    assert found is not None
    np.testing.assert_allclose(joint.values(found)[0], evidence_optimum(name), rtol=1e-5)


# slow: test_fixed_points_far_from_the_start_are_found in test_vem_outlook.py has both at once on worse data
@pytest.mark.slow
def test_observation_noise_and_prior_scale_together_meet_the_evidence() -> None:
    x, y = design(CASES["identity"])
    problem = gn.models.linear_regression(x, 0.3 * y, observation_scale=1.0, intercept=False)
    joint = joint_problem(problem, ("prior_precision", "observation_scale"))
    found = fixed_point(joint, law="posterior")
    assert found is not None

    def minus(logs: np.ndarray) -> float:
        scale, precision = np.exp(logs)
        return -gn.theory.linear_regression_evidence(x, 0.3 * y, prior_precision=precision, observation_scale=scale)

    best = scipy.optimize.minimize(minus, [-1.0, 3.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
    np.testing.assert_allclose(found, best.x, atol=1e-5)


def test_two_hyperparameters_have_their_names_and_curvatures() -> None:
    joint = joint_problem(linear("identity"), ("prior_precision", "observation_scale"))
    assert joint.names == ("observation_scale", "prior_precision")
    np.testing.assert_allclose(joint.curvature, [2 * 2000, 20 / 2], rtol=1e-6)


def test_the_gradient_in_a_log_precision_is_that_of_the_note() -> None:
    """∂U/∂ln λ = λ|θ|²/2 - P/2, and -P/2 at θ = 0."""
    joint = joint_problem(linear("identity"), "prior_precision")
    theta = np.random.default_rng(2).normal(size=20)
    for point in (theta, np.zeros(20)):
        slope = 2000 * gn.derivatives.gradient(joint.problem, np.concatenate([[0.5], point]))[0]
        assert slope == pytest.approx(np.exp(0.5) * point @ point / 2 - 10, rel=1e-6)


def test_joint_optimisation_runs_away_where_the_signal_is_weak() -> None:
    assert joint_optimum("weak signal") > 1e6  # the named counter-example: joint MAP
    assert joint_optimum("identity") < 10
    joint = joint_problem(linear("weak signal"), "prior_precision")
    assert fixed_point(joint, law="plug_in", log_start=np.array([np.log(700.0)])) is None


# slow: a run that settles at its fixed point and beside the optimum of the evidence is by default that of
# test_badly_scaled_inputs_take_the_diagonal_step_and_meet_the_evidence in test_vem_outlook.py
@pytest.mark.slow
def test_weak_signal_stays_at_the_fixed_point() -> None:
    made = variational_em(linear("weak signal"), batch_size=20, num_steps=60_000, num_draws=50, key=3, progress=False)
    found = made.settings["variational_em"]
    assert evidence_optimum("weak signal") == pytest.approx(WEAK_EVIDENCE, rel=1e-3)
    assert found.fixed_point is not None
    assert found.fixed_point[0] == pytest.approx(WEAK_FIXED_POINT, rel=1e-3)
    assert found.settled
    assert found.final.standard_error[0] < 0.02 * WEAK_FIXED_POINT, "5 % would not be seen"
    assert found.final.value[0] == pytest.approx(found.fixed_point[0], rel=0.05)
    assert made.verdict.level == "trustworthy"  # .1 % from the optimum of the evidence
    assert found.problem.hyperparams["prior_precision"][0] == pytest.approx(found.final.value[0], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["identity", "condition 30"])
@pytest.mark.parametrize("noise", ["halves", "all", "first"])
def test_variational_em_settles_at_its_fixed_point(name: str, noise: str) -> None:
    made = variational_em(
        linear(name), batch_size=20, num_steps=200_000, noise=noise, num_draws=50, key=5, progress=False
    )
    found = made.settings["variational_em"]
    assert found.settled
    assert found.final.value[0] == pytest.approx(found.fixed_point[0], rel=0.03)
    assert found.final.value[0] == pytest.approx(evidence_optimum(name), rel=0.05)


@pytest.mark.slow
def test_groups_and_a_diagonal_preconditioner() -> None:
    """Two groups of weights of different size get their own precision; a third stays as it is."""
    r = np.random.default_rng(7)
    x = r.normal(size=(1000, 31)) * np.r_[np.ones(15), 2 * np.ones(15), 1.0]
    theta = np.r_[r.normal(size=15) * 2, r.normal(size=15) * 0.3, 1.0]
    problem = gn.models.linear_regression(x.astype(np.float32), (x @ theta + r.normal(size=1000)).astype(np.float32),
                                          observation_scale=1.0, intercept=False)  # fmt: skip
    groups = np.r_[np.zeros(15, int), np.ones(15, int), -1]
    made = variational_em(
        problem, batch_size=32, hyperparams={"prior_precision": groups}, preconditioner="diagonal", num_steps=30_000,
        num_draws=20, progress=False,
    )  # fmt: skip
    found = made.settings["variational_em"]
    assert found.names == ("prior_precision[0]", "prior_precision[1]")
    np.testing.assert_allclose(found.final.value, found.fixed_point, rtol=0.08)
    assert found.final.value[1] > 10 * found.final.value[0]
    assert found.problem.hyperparams["prior_precision"][-1] == 1.0


@pytest.mark.slow
def test_the_observation_scale_is_learnt() -> None:
    problem = gn.models.linear_regression(*design(CASES["identity"]), observation_scale=3.0, intercept=False)
    made = variational_em(
        problem, batch_size=20, hyperparams="observation_scale", num_steps=20_000, num_draws=20, progress=False
    )
    found = made.settings["variational_em"]
    assert found.final.value[0] == pytest.approx(found.fixed_point[0], rel=0.02)
    assert found.final.value[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.law
@pytest.mark.parametrize("noise", ["halves", "all", "first"])
def test_the_streaming_noise_estimate_has_the_missing_factor(noise: str) -> None:
    """Mean of the estimate over batches is Tr C; without S/(S-1) it would be a quarter short at S = 4."""
    problem = linear("identity")
    joint = joint_problem(problem, "prior_precision")
    theta = gn.find_mode(problem).vector
    trace = float(np.trace(gn.derivatives.gradient_moments(problem, theta)[1]))
    process = gn.processes.hyperparameter_sgd(4, curvature=joint.curvature, noise_start=trace, noise=noise)
    params = {"hyperparams": np.zeros(1, np.float32), "params": theta.astype(np.float32)}

    def estimate(rows: Any) -> Any:
        batch = jax.tree.map(lambda a: jnp.asarray(a)[rows], joint.problem.data)
        return jnp.sum(process._slopes(joint.problem, params, batch, {})[1])

    rows = np.random.default_rng(0).integers(0, problem.num_examples, (20_000, 4))
    values = np.asarray(jax.jit(jax.vmap(estimate))(rows), np.float64)
    check = {"false_fail": 1e-7, "detects": 0.1}
    gn.testing.assert_estimate(mean_of(values), trace, **check)
    gn.testing.assert_fails(
        lambda: gn.testing.assert_estimate(mean_of(0.75 * values), trace, **check), defect="no S/(S-1)"
    )


def test_runs_are_cut_and_resumed_without_a_change(tmp_path: Any) -> None:
    joint = joint_problem(linear("identity"), "prior_precision")
    process = gn.processes.hyperparameter_sgd(8, curvature=joint.curvature, noise_start=20.0, hold=100)
    common: dict[str, Any] = {"num_chains": 3, "key": 2, "progress": False, "record": gn.record.draws(50)}
    whole = gn.simulate(joint.problem, process, num_steps=2000, **common)
    part = gn.simulate(joint.problem, process, num_steps=700, checkpoint=tmp_path / "vem.npz", **common)
    assert not part.draws[:, :2, 0].any(), "held for the first 100 steps"
    again = gn.resume(tmp_path / "vem.npz", 2000, progress=False)
    np.testing.assert_array_equal(whole.draws, again.draws)
    assert "hyperparameters" in process.linear(np.eye(2), np.eye(2), 10).reason


BAD = [
    ({"batch_size": 1}, "batch_size must be >= 2"),
    ({"num_chains": 1}, "num_chains must be >= 2"),
    ({"num_steps": 100}, "num_steps must be >= 2000"),
    ({"hyperparams": "prior_scale"}, "hyperparams must be one of"),
    ({"hyperparams": ()}, "hyperparams must name leaves"),
    ({"hyperparams": 3}, "hyperparams must name leaves"),
    ({"hyperparams": {"prior_precision": np.zeros(3, int)}}, "must be integers of shape"),
    ({"hyperparams": {"prior_precision": np.full(20, 2)}}, "must number groups"),
    ({"preconditioner": "full"}, "preconditioner must be one of 'scalar', 'diagonal'"),
    ({"preconditioner": np.eye(3)}, "preconditioner must have shape"),
    ({"preconditioner": "diagonal", "learning_rate": 0.1}, "learning_rate must be None"),
    ({"learning_rate": -0.1}, "learning_rate must be > 0"),
    ({"hyper_rate": 2.0}, "hyper_rate must lie in"),
    ({"exponent": 0.5}, "exponent must lie in"),
    ({"noise": "some"}, "noise must be one of"),
    ({"memory": 1}, "memory must be >= 2"),
    ({"sampling": "shuffled"}, "sampling"),
    ({"sampling": "without_replacement", "batch_size": 2000}, "batch_size must be < num_examples = 2000"),
    ({"key": "zero"}, "key"),
    ({"init": np.zeros(3)}, "init must have shape"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_arguments_are_refused_before_anything_runs(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gradnoise.infer.hyperparameters.variational_em.simulate", lambda *a, **k: pytest.fail("it ran")
    )
    with pytest.raises((ValueError, TypeError), match=words):
        variational_em(linear("identity"), **{"batch_size": 20, **change})


def test_problems_without_a_scale_to_learn_are_refused() -> None:
    x, y = design(CASES["identity"])
    flat = gn.models.linear_regression(x, y, np.inf, observation_scale=1.0, intercept=False)
    with pytest.raises(ValueError, match="must be positive to be learnt"):
        variational_em(flat, batch_size=20)
    bare = gn.Problem(lambda w, e: -0.5 * (e - w[0]) ** 2, np.ones(5), np.zeros(1))
    with pytest.raises(ValueError, match="must have hyperparams and a log_prior"):
        variational_em(bare, batch_size=2)
    idle = gn.Problem(
        lambda w, e, h: -0.5 * (e - w[0]) ** 2, np.ones(5), np.zeros(1), lambda w, h: -0.5 * w[0] ** 2,
        hyperparams={"scale": 1.0},
    )  # fmt: skip
    with pytest.raises(ValueError, match="does not depend on them"):
        variational_em(idle, batch_size=2, hyperparams="scale")
    with pytest.raises(TypeError, match=r"problem must be a gn\.Problem"):
        variational_em(3, batch_size=2)


def test_beyond_a_thousand_parameters_the_same_process_goes_on_with_the_hyperparameters_held() -> None:
    r = np.random.default_rng(5)
    x = r.normal(size=(300, 101)).astype(np.float32)
    y = np.argmax(x[:, :10] + 0.5 * r.normal(size=(300, 10)), 1)
    problem = gn.models.softmax_regression(x, y, intercept=False)
    made = variational_em(problem, batch_size=20, num_steps=2000, num_draws=30, num_chains=2, thin=2, progress=False)
    found = made.settings["variational_em"]
    assert made.draws.shape == (2, 30, 1010)
    assert found.fixed_point is None
    assert made.predicted_covariance is None
    assert made.verdict.level != "trustworthy"
    assert "not predicted beyond 1000 parameters" in " ".join(made.verdict.reasons)
    held = np.asarray(made.run.state[:, 0])
    np.testing.assert_allclose(np.exp(held), found.final.value[0], rtol=1e-5)


@pytest.mark.slow
def test_mnist_prior_precision_is_the_papers_and_predicts_well(shared_data: Any) -> None:
    """The study with fewer steps and chains, on all images: with 5 000 the 7 840 weights outnumber them, another regime."""
    from studies.mnist_hyperparameters import BAND, images, learn, scan

    del shared_data
    data = images()
    found = learn(data, num_steps=20_000, num_chains=2)
    assert found.settled
    assert BAND[0] <= found.value <= BAND[1]
    losses = scan(data, (found.value, 0.0023))  # 0.0023 is the best of the study's scan
    assert losses[found.value] < 1.02 * losses[0.0023]


@pytest.mark.slow
def test_as_many_chains_as_parameters_and_hyperparameters() -> None:
    """Four chains of three weights and one prior precision: starts (4, 4) are no covariance."""
    r = np.random.default_rng(0)
    x = r.normal(size=(200, 3))
    problem = gn.models.linear_regression(x, x @ [1.0, 2.0, 3.0] + r.normal(size=200), 1.0, 1.0, intercept=False)
    made = variational_em(problem, batch_size=20, num_steps=2000, num_draws=20, num_chains=4, progress=False)
    assert made.draws.shape == (4, 20, 3)


@pytest.mark.slow
def test_without_signal_nothing_is_called_settled() -> None:
    """Pure noise: the evidence grows with the precision for ever; all data in a batch let it crawl."""
    r = np.random.default_rng(0)
    x, y = r.normal(size=(300, 10)), r.normal(size=300)
    problem = gn.models.linear_regression(x, y, 1.0, 1.0, intercept=False)
    made = variational_em(problem, batch_size=300, num_steps=6000, num_draws=20, progress=False)
    found = made.settings["variational_em"]
    assert np.abs(found.drift.value).max() < 0.1  # it looks still
    assert found.fixed_point is None
    assert not found.settled
    assert "no fixed point was found after 6,000 steps" in str(found)
    reasons = " ".join(made.verdict.reasons)
    assert "prior_precision went from 1 up to" in reasons
    assert "the data do not tell these parameters from 0; keep their prior as it was given" in reasons
    assert "settled" not in " ".join(made.verdict.reasons)
    assert made.verdict.level == "not trustworthy"
