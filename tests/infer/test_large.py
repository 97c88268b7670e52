"""Constant SGD above 1000 parameters: what is predicted along the stiffest directions holds; caps are told."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import Plan, constant_sgd, plan, sample
from gradnoise.infer.large.large_plan import LargePlan
from gradnoise.measure import leading_directions, local_geometry, noise_diagonal

D, N = 1010, 8000


@pytest.fixture(scope="module")
def wide() -> Any:
    """A regression of 1010 weights with a known mode and twelve stiff directions, as networks have."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D)) * np.where(np.arange(D) < 12, 3.0, 0.2)
    y = x[:, :5].sum(1) + rng.standard_normal(N)
    problem = gn.models.linear_regression(
        x.astype(np.float32), y.astype(np.float32), observation_scale=1.0, intercept=False
    )
    mode = np.linalg.solve(x.T @ x + np.eye(D), x.T @ y)
    return problem, mode, x, y


def test_measured_diagonal_and_directions_are_those_of_the_matrices(known: Any) -> None:
    problem, mode, _ = known("wine")
    dense = local_geometry(problem, mode)
    diagonal = noise_diagonal(problem, mode, num_rows=10**6)
    np.testing.assert_allclose(diagonal.variance, np.diag(dense.gradient_covariance), rtol=1e-4)
    step = 0.3 / np.diag(dense.hessian)
    found = leading_directions(problem, mode, preconditioner=step, count=4, num_rows=10**6)
    root = np.sqrt(step)
    scaled = root[:, None] * dense.hessian * root
    np.testing.assert_allclose(found.rates, np.linalg.eigvalsh(scaled)[::-1][:4], rtol=1e-3)
    noise = found.vectors.T @ (root[:, None] * dense.gradient_covariance * root) @ found.vectors
    np.testing.assert_allclose(found.noise, np.diag(noise), rtol=1e-3)


RUN: dict[str, Any] = {"num_draws": 200, "num_chains": 4, "key": 1, "thin": 10, "burn_in": 100, "progress": False}


@pytest.fixture(scope="module")
def ran(wide: Any) -> Callable[[str], Any]:
    """Return the run of constant SGD with a preconditioner, made once for all tests."""
    problem, mode, _, _ = wide
    return functools.cache(
        lambda kind: plan("constant_sgd", problem, batch_size=300, preconditioner=kind, mode=mode).run(**RUN)
    )


@pytest.mark.parametrize("kind", ["diagonal_closed", "scalar"])
def test_variances_along_the_stiffest_directions_are_as_predicted(kind: str, ran: Any) -> None:
    made = ran(kind)
    assert 0.1 < made.plan.settings["stiffest_rate"] <= 1.0
    assert made.verdict.level == "approximate", made.verdict
    numbers = made.verdict.numbers
    assert (
        0.8 < numbers["smallest_variance_ratio"] < numbers["largest_variance_ratio"] < 1.4
    )  # noise grows by about D/N = 0.15 over the law


def test_a_large_plan_runs_by_the_same_defaults_as_any_other(ran: Any) -> None:
    """`infer.plan(...).run(num_draws=...)`, as its docstring says; above 1000 parameters every argument had to be given."""
    signature = inspect.signature(LargePlan.run)
    assert signature == inspect.signature(Plan.run)
    again = ran("scalar").plan.run(num_draws=4, progress=False)
    assert again.draws.shape == (4, 4, D)
    assert again.settings["thin"] == N // 300


def test_capped_steps_are_said(wide: Any) -> None:
    problem, mode, _, _ = wide
    tuned = plan("constant_sgd", problem, batch_size=3000, preconditioner="diagonal_closed", mode=mode)
    assert tuned.settings["capped"] > 0.5
    assert "beyond stability and was cut for" in str(tuned)
    assert "plain SGD" not in str(tuned)
    assert (tuned.scale**2).max() == pytest.approx(tuned.settings["cap"])
    assert tuned.settings["stiffest_rate"] <= 1.0


@pytest.fixture(scope="module")
def uneven() -> Any:
    """A regression of 1100 weights of very different scales with one common factor: so stiff that no entry may stay as it is."""
    rng = np.random.default_rng(1)
    size = 1100
    x = (rng.standard_normal((2000, size)) + rng.standard_normal((2000, 1))) * np.exp(rng.uniform(-1.5, 1.5, size))
    y = x[:, :5].sum(1) + rng.standard_normal(2000)
    problem = gn.models.linear_regression(
        x.astype(np.float32), y.astype(np.float32), observation_scale=1.0, intercept=False
    )
    return problem, np.linalg.solve(x.T @ x + np.eye(size), x.T @ y), x


@pytest.mark.slow
def test_a_diagonal_step_that_is_cut_keeps_its_shape_and_comes_nearer_to_the_posterior(uneven: Any) -> None:
    """Of the stable steps that of least KL: scaled as a whole where clipping to one value would make plain SGD of it."""
    problem, mode, x = uneven
    common: dict[str, Any] = {"batch_size": 1000, "mode": mode}
    diagonal, scalar = (
        plan("constant_sgd", problem, **common, preconditioner=kind) for kind in ("diagonal_closed", "scalar")
    )
    assert diagonal.settings["capped"] == 1.0
    assert (diagonal.scale**2).max() > 3 * (diagonal.scale**2).min()
    assert diagonal.settings["stiffest_rate"] <= 1.0
    hessian = (x.T @ x + np.eye(x.shape[1])) / len(x)
    noise = gn.derivatives.gradient_moments(problem, mode)[1]
    posterior = np.linalg.inv(len(x) * hessian)

    def divergence(tuned: Any) -> float:
        step = np.diag(tuned.scale**2)
        law = gn.theory.stationary_covariance(hessian, noise, learning_rate=1.0, preconditioner=step, batch_size=1000)
        return float(gn.theory.gaussian_kl(law, posterior))

    from gradnoise.infer.large import diagonal_step as steps

    wanted = steps.wanted_step(noise_diagonal(problem, mode).variance, "diagonal_closed", 1000, len(x))
    gained = steps.excess_kl(scalar.scale**2, wanted) - steps.excess_kl(diagonal.scale**2, wanted)
    assert gained > 400
    assert divergence(scalar) - divergence(diagonal) == pytest.approx(gained, rel=0.15)


def test_the_step_chosen_has_the_least_excess_of_those_tried(uneven: Any, wide: Any) -> None:
    from gradnoise.infer.large import diagonal_step as steps

    for problem, mode in (uneven[:2], wide[:2]):
        wanted = steps.wanted_step(
            noise_diagonal(problem, mode).variance, "diagonal_closed", 1000, problem.num_examples
        )
        chosen, found = steps.stable_step(problem, mode, wanted, 0)
        capped = steps._capped(problem, mode, wanted, 0)
        assert steps.excess_kl(chosen, wanted) <= steps.excess_kl(capped, wanted) + 1e-9
        assert found.rates[0] <= steps.STIFFEST
    assert steps.excess_kl(wanted, wanted) == 0.0
    assert steps.excess_kl(wanted / 2, wanted) == pytest.approx(D / 2 * (0.5 - 1 + np.log(2)))


def test_plain_sgd_is_called_by_its_name() -> None:
    from gradnoise.infer.large.diagonal_step import cut_reason

    wanted = np.array([1.0, 2.0, 4.0])
    assert "this is plain SGD at that learning rate" in cut_reason(np.full(3, 0.5), wanted, 1.0, "diagonal_closed")[0]
    assert "plain SGD" not in cut_reason(np.full(3, 0.5), np.ones(3), 1.0, "scalar")[0]
    assert "plain SGD" not in cut_reason(wanted / 4, wanted, 1.0, "diagonal_closed")[0]
    assert cut_reason(wanted, wanted, 0.0, "diagonal_closed") == ()


def test_the_verdict_catches_another_law(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ran("scalar")
    other = dataclasses.replace(made.plan, predicted_variances=2 * made.plan.predicted_variances)
    assert made.verdict.level == "approximate"
    monkeypatch.setattr(
        "gradnoise.infer.large.large_plan.simulate", lambda *a, **k: made.run
    )  # the same steps, judged again
    caught = other.run(**RUN).verdict
    assert caught.level == "not trustworthy"
    assert "The run is stationary, but" in " ".join(caught.reasons)
    assert "use a smaller batch_size" in " ".join(caught.reasons)


def test_a_run_that_has_not_settled_is_told_what_to_do(wide: Any) -> None:
    problem, mode, _, _ = wide
    common: dict[str, Any] = {"batch_size": 300, "num_draws": 100, "num_chains": 2, "progress": False}
    away = mode + 0.1 * (np.arange(D) < 12)
    made = gn.infer.corrected_langevin(
        problem, mode=away, preconditioner="low_rank", fraction=0.3, thin=2, burn_in=0, **common
    )
    assert made.verdict.level == "not trustworthy"
    told = " ".join(made.verdict.reasons)
    assert "not stationary" in told
    assert "train `mode` further), give a longer burn_in, or use a smaller fraction or infer.constant_sgd" in told


def test_averages_of_windows_are_as_predicted(wide: Any) -> None:
    problem, mode, _, _ = wide
    tuned = plan("iterate_averaging", problem, batch_size=300, preconditioner="scalar", mode=mode, window=30)
    numbers = tuned.run(num_draws=100, num_chains=4, key=2, thin=None, burn_in=90, progress=False).verdict.numbers
    assert 0.75 < numbers["smallest_variance_ratio"] < numbers["largest_variance_ratio"] < 1.35


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diagonal", "low_rank"])
def test_corrected_langevin_reaches_the_posterior_along_stiff_directions(kind: str, wide: Any) -> None:
    problem, mode, x, _ = wide
    tuned = plan("corrected_langevin", problem, batch_size=300, preconditioner=kind, rank=12, fraction=0.1, mode=mode)
    assert np.abs(tuned.posterior_ratios - 1).max() < 0.2
    made = tuned.run(num_draws=400, num_chains=4, key=3, thin=20, burn_in=400, progress=False)
    assert made.verdict.level == "approximate", made.verdict
    posterior = np.linalg.inv(x.T @ x + np.eye(D))
    flat = np.asarray(made.draws, np.float64).reshape(-1, D)[:, :12]
    ratios = flat.var(0) / np.diag(posterior)[:12]
    assert 0.75 < ratios.mean() < 1.25


def test_sample_says_what_it_can_do_with_many_parameters(wide: Any) -> None:
    problem, mode, _, _ = wide
    made = sample(problem, batch_size=300, num_draws=50, num_chains=2, mode=mode, progress=False)
    assert made.verdict.reasons[0].startswith("Chosen: corrected Langevin (rank 20)")
    with pytest.raises(ValueError, match="reference must be given"):
        made.directions()
    enough = dataclasses.replace(made, draws=np.random.default_rng(0).standard_normal((1, D + 1, D)))
    with pytest.raises(ValueError, match=r"target must be a covariance \(D, D\)"):
        enough.calibrate()
    with pytest.raises(ValueError, match="mode must be given"):
        sample(problem, batch_size=300, progress=False)


@pytest.mark.parametrize("settings", [{"preconditioner": "diagonal"}, {"preconditioner": "low_rank", "rank": 4}])
def test_bias_of_a_structured_step_is_predicted(settings: dict[str, Any], known: Any) -> None:
    problem, mode, law = known("digits")
    tuned = plan("corrected_langevin", problem, batch_size=64, fraction=0.9, mode=mode, law=law, **settings)
    assert 0.5 < tuned.worst_variance_error < 0.9
    made = tuned.run(num_draws=300, num_chains=16, key=4, progress=False)
    floor = gn.diagnose.kl_floor(problem.num_params, made.effective_draws, fitted_mean=True)
    assert gn.theory.gaussian_kl(made.run.covariance, tuned.predicted_covariance) < 3 * floor
    assert gn.theory.gaussian_kl(made.run.covariance, law.covariance) > 6 * floor


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"preconditioner": "full"},
            r"preconditioner must be 'diagonal_closed' or 'scalar' \(or None: the first\) above 1000 parameters, .* got 'full'",
        ),
        (
            {"preconditioner": "diagonal"},
            r"the closed form 2B/\(N C_kk\) \('diagonal_closed'\) the variances C_kk alone",
        ),
        (
            {"preconditioner": np.eye(D)},
            r"preconditioner must be 'diagonal_closed' or 'scalar' .* above 1000 parameters",
        ),
        ({"preconditioner": "scalar", "momentum": 0.5}, "momentum must be left"),
        ({"preconditioner": "scalar", "mode": None}, "mode must be given"),
        ({"preconditioner": "scalar", "mode": np.zeros(3)}, r"mode must have shape \(1010,\)"),
    ],
)
def test_what_large_problems_refuse(settings: dict[str, Any], match: str, wide: Any) -> None:
    problem, mode, _, _ = wide
    with pytest.raises((ValueError, TypeError), match=match):
        constant_sgd(problem, **{"batch_size": 300, "mode": mode, "progress": False, **settings})


def test_defaults_above_a_thousand_parameters_are_those_that_work_there(wide: Any, known: Any) -> None:
    problem, mode, _, _ = wide
    assert plan("constant_sgd", problem, batch_size=300, mode=mode).settings["preconditioner"] == "diagonal_closed"
    assert plan("corrected_langevin", problem, batch_size=300, mode=mode).settings["preconditioner"] == "low_rank"
    small, mode, law = known("wine")
    assert plan("constant_sgd", small, batch_size=64, mode=mode, law=law).settings["preconditioner"] == "full"
    assert plan("corrected_langevin", small, batch_size=64, mode=mode, law=law).method == "corrected Langevin"


@pytest.mark.parametrize("given", [None, "params"])
@pytest.mark.parametrize("method", ["langevin", "sghmc", "fisher_scoring", "laplace", "gaussian", "choose", "plan"])
def test_what_needs_matrices_is_refused_before_any_search(
    method: str, given: str | None, wide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, mode, _, _ = wide
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    monkeypatch.setattr("gradnoise.mode.searched", lambda *a, **k: pytest.fail("the mode was certified"))
    settings: dict[str, Any] = {"mode": mode if given else None}
    if method not in ("laplace", "gaussian", "choose"):
        settings["batch_size"] = 300
    if method == "sghmc":
        settings["control_variate"] = True
    call = functools.partial(plan, "langevin") if method == "plan" else getattr(gn.infer, method)
    with pytest.raises(
        gn.infer.Refused, match=r"got 1010\. For larger problems use infer\.constant_sgd, iterate_averaging, "
    ):
        call(problem, **settings)


def test_convolutional_network_is_a_convolution() -> None:
    """Against scipy's correlation on one channel, layer by layer."""
    from scipy.signal import correlate2d

    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 81))
    problem = gn.models.convolutional(images, [0, 1, 2], channels=(2,), image_shape=(9, 9), activation="tanh")
    assert problem.num_params == 9 * 2 + 2 + 9 * 2 * 3 + 3
    layer, last = problem.init["layer0"], problem.init["layer1"]
    maps = np.stack(
        [correlate2d(images[0].reshape(9, 9), layer["weight"][:, c].reshape(3, 3), mode="valid") for c in range(2)], -1
    )
    hidden = np.tanh(maps + layer["bias"])[:6, :6].reshape(3, 2, 3, 2, 2).mean((1, 3))
    z = hidden.reshape(-1) @ last["weight"] + last["bias"]
    expected = np.exp(z) / np.exp(z).sum()
    shown = problem.predict(problem.init, images[0].astype(np.float32), problem.hyperparams)
    np.testing.assert_allclose(shown, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="image_shape must have 81 numbers"):
        gn.models.convolutional(images, [0, 1, 2], image_shape=(8, 8))
    with pytest.raises(ValueError, match="channels must have fewer layers"):
        gn.models.convolutional(images, [0, 1, 2], channels=(2, 2, 2, 2), image_shape=(9, 9))
