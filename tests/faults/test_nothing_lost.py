"""A finished run is never lost: whatever a judge raises, the draws come back with a verdict that says which judge and why."""

from __future__ import annotations

import dataclasses
import errno
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import gradnoise as gn
from gradnoise import infer
from gradnoise.infer.choice import choose as choice
from gradnoise.infer.hyperparameters import variational_em as empirical_bayes
from gradnoise.infer.large.large_plan import LargePlan
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.posteriors import posterior
from gradnoise.infer.samplers import nuts as truth
from gradnoise.infer.verdicts.ratios import divergence
from gradnoise.infer.verdicts.rounding import rounding_of
from gradnoise.infer.verdicts.shape import shape_of
from gradnoise.infer.verdicts.verdict import judge

ERRORS = (np.linalg.LinAlgError, ValueError, FloatingPointError, MemoryError, ZeroDivisionError, RuntimeError, OSError)
LENGTH: dict[str, Any] = {"num_draws": 40, "num_chains": 2, "progress": False}
ROOM = "gradnoise.infer"


@pytest.fixture(scope="module")
def problem() -> Any:
    """Ordinary linear regression, two parameters."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((96, 2))
    return gn.models.linear_regression(
        x, x @ [1.0, -1.0] + rng.standard_normal(96), observation_scale=1.0, intercept=False
    )


@pytest.fixture(scope="module")
def made(problem: Any) -> Any:
    """Plan of constant SGD, and the mode and law behind it."""
    mode = gn.find_mode(problem)
    law = gn.measure.gaussian_law(problem, mode)
    return types.SimpleNamespace(
        mode=mode, law=law, plan=infer.plan("constant_sgd", problem, batch_size=8, mode=mode, law=law)
    )


def raising(error: type[Exception]) -> Callable[..., Any]:
    def fail(*args: Any, **keywords: Any) -> Any:
        raise error("broken on purpose.")

    return fail


def check(found: Any, shape: tuple[int, ...], error: type[Exception]) -> None:
    """The draws are there, and the verdict names the failure in plain words."""
    assert found.draws.shape == shape
    assert np.isfinite(found.draws).all()
    assert found.verdict.level == "not trustworthy"
    said = [reason for reason in found.verdict.reasons if reason.startswith("No verdict: ")]
    assert said
    assert f"failed: {error.__name__}: broken on purpose." in said[0]


JUDGES = [
    "verdicts.verification.simulated",
    "verdicts.verification.strayed_chains",
    "verdicts.verification.shape_of",
    "verdicts.verification.doubled",
    "plans.plan.judge",
    "plans.plan.rounding_of",
    "plans.plan.widths_at",
    "plans.plan.Plan.effective_draws",
    "plans.plan.Plan.law_nearness",
    "verdicts.verdict._simulated",
    "verdicts.verdict._chains",
    "verdicts.verdict._by_design",
    "verdicts.verdict.of_law",
    "verdicts.verdict.about_widths",
    "verdicts.verdict._still",
    "verdicts.verdict.divergence",
    "verdicts.verdict.along_directions",
    "verdicts.verdict.axes",
    "verdicts.ratios.spread",
    "verdicts.ratios.theory.gaussian_kl",
    "verdicts.verdict.diagnose.kl_floor",
    "verdicts.verdict.stats.norm.isf",
    "verdicts.shape._negentropy",
]


@pytest.mark.parametrize(("number", "name"), list(enumerate(JUDGES)), ids=JUDGES)
def test_every_judge_may_raise(number: int, name: str, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: what a judge raises after the run cost all draws."""
    fresh, error = dataclasses.replace(made.plan), ERRORS[number % len(ERRORS)]
    monkeypatch.setattr(f"{ROOM}.{name}", raising(error))
    if name == "plans.plan.rounding_of":  # asked before the run too, where an error is no loss
        monkeypatch.setattr(Plan, "rounding", lambda plan, dtype: rounding_once(plan, dtype, error))
    check(fresh.run(**LENGTH), (2, 40, 2), error)


def rounding_once(plan: Any, dtype: Any, error: type[Exception]) -> Any:
    """Answer before the run, which asks by name, and fail after it, which asks by the draws' dtype."""
    if isinstance(dtype, str):
        return rounding_of(plan.predicted_mean, plan.start, plan.relaxation_time, dtype)
    return raising(error)()


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_is_raised(error: type[Exception], made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: the kind of the exception does not matter; nor does it where the sums of the run itself cannot be read."""
    monkeypatch.setattr("gradnoise.engine.run.pieces_of", raising(error))
    check(dataclasses.replace(made.plan).run(**LENGTH), (2, 40, 2), error)


def test_what_the_other_judges_found_is_still_said(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: one judge that fails does not silence the others."""
    monkeypatch.setattr(f"{ROOM}.verdicts.verification.shape_of", raising(ValueError))
    verdict = dataclasses.replace(made.plan).run(**LENGTH).verdict
    assert any("Simulated variances are" in reason for reason in verdict.reasons)
    assert verdict.numbers["rank"] == 2


def test_ctrl_c_while_judging(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: Ctrl-C after the last step leaves the run with the exception, as during the run."""
    monkeypatch.setattr(f"{ROOM}.verdicts.verification.shape_of", raising(KeyboardInterrupt))  # type: ignore[arg-type]
    with pytest.raises(gn.engine.Interrupted) as stopped:
        dataclasses.replace(made.plan).run(**LENGTH)
    assert stopped.value.run.draws.shape == (2, 40, 2)


OTHERS: dict[str, dict[str, Any]] = {
    "corrected_langevin": {},
    "iterate_averaging": {"tolerance": 0.5},
    "langevin": {"max_variance_error": 0.5},
    "fisher_scoring": {},
}


@pytest.mark.parametrize("method", OTHERS)
def test_every_sampler(method: str, problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: another sampler, and going on with it."""
    plan = infer.plan(method, problem, batch_size=8, mode=made.mode, law=made.law, **OTHERS[method])
    monkeypatch.setattr(f"{ROOM}.verdicts.verification.shape_of", raising(np.linalg.LinAlgError))
    found = plan.run(**LENGTH)
    check(found, (2, 40, 2), np.linalg.LinAlgError)
    check(found.extend(5, progress=False), (2, 45, 2), np.linalg.LinAlgError)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"method": "sghmc"}, {"method": "langevin", "schedule": gn.processes.Decreasing(100.0, 0.55)}]
)
def test_every_slow_sampler(settings: Any, problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: momentum, and steps that fall."""
    plan = infer.plan(**settings, problem=problem, batch_size=8, mode=made.mode, law=made.law)
    monkeypatch.setattr(f"{ROOM}.verdicts.verification.strayed_chains", raising(ValueError))
    check(plan.run(**LENGTH), (2, 40, 2), ValueError)


def test_large_plans(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: plans above 1000 parameters, which judge along a few directions."""
    process = gn.processes.compose(gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=0.1))
    plan = LargePlan(
        "large", problem, process, np.zeros(2), np.ones(2), np.eye(2), np.full(2, 0.1), np.full(2, 0.01), np.ones(2), 8
    )
    monkeypatch.setattr(LargePlan, "_cure", raising(ValueError))
    monkeypatch.setattr(f"{ROOM}.large.large_plan.ndtri", raising(FloatingPointError))
    found = plan.run(key=0, thin=None, burn_in=None, **LENGTH)
    check(found, (2, 40, 2), FloatingPointError)
    check(found.extend(3, progress=False), (2, 43, 2), FloatingPointError)


@pytest.mark.parametrize("name", ["_effective", "_split_r_hat", "judge_nuts"])
def test_nuts(name: str, problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: NUTS, whose diagnostics come from another library."""
    drawn = np.random.default_rng(0).standard_normal((2, 40, 2)), np.zeros(2)
    monkeypatch.setattr(truth, "_all_chains", lambda *args: drawn)
    monkeypatch.setattr(
        truth, "_effective", lambda draws: 80.0
    )  # they compile for seconds; NUTS is tried in tests/infer
    monkeypatch.setattr(truth, "_split_r_hat", lambda draws: 1.0)
    monkeypatch.setattr(truth, name, raising(ValueError))
    check(infer.nuts(problem, num_draws=40, num_chains=2, mode=made.mode), (2, 40, 2), ValueError)


@pytest.mark.parametrize("method", ["laplace", "gaussian"])
def test_gaussian_laws(method: str, problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: draws of a Gaussian need no verdict either."""
    monkeypatch.setattr(f"{ROOM}.samplers.{method}.gaussian_verdict", raising(MemoryError))
    known = {"law": made.law} if method == "gaussian" else {}
    found = getattr(infer, method)(problem, num_draws=40, num_chains=2, mode=made.mode, **known)
    check(found, (2, 40, 2), MemoryError)


def test_the_reason_of_a_choice(problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: `sample` adds its reason after the run, and so does going on."""
    chosen = types.SimpleNamespace(plan=dataclasses.replace(made.plan), reason="the cheapest")
    monkeypatch.setattr(choice, "_chosen", lambda *args, **keywords: chosen)
    good = infer.sample(problem, **LENGTH)
    assert good.settings["choice"] == "the cheapest"
    monkeypatch.setattr(posterior.Posterior, "chosen_for", raising(ValueError))
    check(infer.sample(problem, **LENGTH), (2, 40, 2), ValueError)
    check(good.extend(2, progress=False), (2, 42, 2), ValueError)


def test_adaptation_that_fails_leaves_the_plan(problem: Any, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: the trial runs of `adapt` fail to measure; the plan before them stands, with a warning."""
    monkeypatch.setattr(f"{ROOM}.plans.adaptation._measured", raising(np.linalg.LinAlgError))
    plan = infer.plan("constant_sgd", problem, batch_size=8, mode=made.mode, law=made.law, adapt=True)
    assert "Not adapted beyond step 0: the tuning anew failed: LinAlgError: broken on purpose." in plan.warnings
    np.testing.assert_array_equal(plan.predicted_covariance, made.plan.predicted_covariance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["judged", "learnt"])
def test_variational_em(name: str, problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1, every path: its judge costs the verdict; where the hyperparameters cannot be read the error holds the run."""
    monkeypatch.setattr(empirical_bayes, name, raising(ValueError))
    settings: dict[str, Any] = {"batch_size": 8, "hyperparams": ("observation_scale",), "num_steps": 4000}
    if name == "judged":
        check(infer.variational_em(problem, **settings, **LENGTH), (2, 40, 2), ValueError)
        return
    with pytest.raises(gn.engine.Failure, match="broken on purpose") as stopped:
        infer.variational_em(problem, **settings, **LENGTH)
    assert stopped.value.run.num_steps == 4000


def test_all_chains_lost_is_an_error_with_the_run_inside(made: Any) -> None:
    """B1: `Divergence` where no chain is left."""
    wild = gn.processes.compose(gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=1e6))
    with pytest.raises(gn.engine.Divergence) as lost:
        dataclasses.replace(made.plan, process=wild).run(**LENGTH)
    assert len(lost.value.run.diverged) == 2


def test_a_posterior_that_met_a_full_disk_is_saved_elsewhere(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B2: an error of writing does not spoil the Posterior."""
    found = made.plan.run(**LENGTH)
    before = np.array(found.draws)
    with monkeypatch.context() as full:
        full.setattr(posterior, "write", lambda *args, **keywords: raising_full())
        with pytest.raises(OSError, match="No space left"):
            found.save(tmp_path / "full.nc")
    again = infer.load(found.save(tmp_path / "elsewhere.nc"))
    np.testing.assert_array_equal(again.draws, before)
    assert again.verdict.level == found.verdict.level


def raising_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- a covariance without full rank is a verdict


def straight_line(offset: float, seed: int) -> tuple[Any, Any]:
    """Linear regression far from 0, and its exact posterior's covariance, by NumPy."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((800, 2))
    y = offset + x @ [1.0, 2.0] + rng.standard_normal(800)
    full = np.column_stack([x, np.ones(800)])
    return gn.models.linear_regression(x, y, np.inf, 1.0), np.linalg.inv(full.T @ full)


def test_what_float32_cannot_hold_is_a_verdict() -> None:
    """B1: y = 1e7 + …, flat prior: no exception; float32 on request is named, with the rank."""
    problem, _ = straight_line(1e7, 0)
    found = infer.constant_sgd(problem, batch_size=32, num_draws=400, progress=False, dtype="float32")
    assert found.verdict.level == "not trustworthy"
    said = " ".join(found.verdict.reasons)
    assert "rank 2 of 3" in said
    assert "float32 cannot hold these draws: near intercept = 1e+07" in said


def test_where_rounding_would_be_seen_the_run_is_made_in_float64() -> None:
    """B1, digits lost to float32: the default run holds the posterior, known in closed form, and says why it took float64."""
    problem, exact = straight_line(1e7, 1)
    found = infer.constant_sgd(problem, batch_size=32, num_draws=400, progress=False)
    assert found.draws.dtype == np.float64
    assert found.verdict.level == "trustworthy"
    assert "The run was made in float64. float32 cannot hold" in found.verdict.reasons[-1]
    ratios = np.diag(found.covariance) / np.diag(exact)
    np.testing.assert_allclose(ratios, 1.0, atol=0.3)  # 1600 draws: one standard error is 0.035


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rounding_is_predicted(scale: float) -> None:
    """Digits lost to float32: the predicted share against a chain x ← round(ax + noise) run here in NumPy, in any unit."""
    a, noise, centre, steps = 0.9, 2e-5, 100.0, 40_000
    rng, x, kept = np.random.default_rng(0), np.float32(scale * centre), np.empty(steps)
    for t in range(steps):
        x = np.float32(scale * centre + a * (float(x) - scale * centre) + scale * noise * rng.standard_normal())
        kept[t] = x
    plain = (scale * noise) ** 2 / (1 - a**2)
    added = kept[1000:].var() / plain - 1
    told = rounding_of(np.array([scale * centre]), np.array([[plain]]), -1 / np.log(a), "float32").added
    assert added > 0.01
    assert 0.4 < told / added < 2.5


def test_still_directions_are_counted_in_any_units() -> None:
    """B1: rank is judged relative to the predicted variances, not to the units; stuck chains are no exception."""
    predicted = np.array([[1.0, 0.5], [0.5, 1.0]])
    flat = np.array([[1.0, 1.0], [1.0, 1.0]])
    for unit in (1e-8, 1.0, 1e8):
        mixed = np.array([1.0, unit])
        laws = [m * np.outer(mixed, mixed) for m in (flat, predicted)]
        verdict = judge(
            dim=2, noise_drift=1.0, drift_matters=False, simulated=(np.zeros(2), laws[0]), predicted=(np.zeros(2), laws[1]),
            target=(np.zeros(2), laws[1]), effective_draws=1000.0,
        )  # fmt: skip
        assert verdict.level == "not trustworthy"
        assert "rank 1 of 2" in verdict.reasons[0]
        assert verdict.numbers["rank"] == 1


def test_divergence_is_that_of_the_textbook() -> None:
    """The KL of two Gaussians against determinants and inverses, in badly scaled units."""
    rng = np.random.default_rng(0)
    a, b = (np.cov(rng.standard_normal((3, 20))) for _ in range(2))
    shift, unit = rng.standard_normal(3), np.array([1e-6, 1.0, 1e5])
    inverse = np.linalg.inv(b)
    right = (np.trace(inverse @ a) - 3 + np.log(np.linalg.det(b) / np.linalg.det(a)) + shift @ inverse @ shift) / 2
    found, _, ratios = divergence((unit * shift, a * np.outer(unit, unit)), (np.zeros(3), b * np.outer(unit, unit)))
    assert found == pytest.approx(right, rel=1e-9)
    np.testing.assert_allclose(ratios, np.sort(np.linalg.eigvals(inverse @ a).real), rtol=1e-9)


def test_nearly_equal_columns_are_judged_by_the_draws(made: Any) -> None:
    """B1: sums of float32 cannot tell a correlation of 1 - 1e-7; the draws, read in float64, can."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 1))
    twins = np.column_stack([x, x + 1e-3 * rng.standard_normal((500, 1))])
    y = twins @ [1.0, 1.0] + rng.standard_normal(500)
    problem = gn.models.linear_regression(twins, y, 3.0, 1.0, intercept=False)
    found = infer.corrected_langevin(problem, batch_size=32, num_draws=400, progress=False)
    assert found.verdict.level != "not trustworthy"
    exact = np.linalg.inv(twins.T @ twins + np.eye(2) / 9)
    narrow = np.linalg.eigh(exact)[1][:, 0]
    flat = np.asarray(found.draws, np.float64).reshape(-1, 2)
    assert (flat @ narrow).var() / (narrow @ exact @ narrow) == pytest.approx(1.0, abs=0.3)


# --- every matrix is symmetric, to the last bit


# slow: double precision, in which the same sums are made; one of them is made by default
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float32", "batches"), ("float32", "chains"), ("float32", "pooled"), ("float64", "pooled"),
     *(pytest.param("float64", kind, marks=pytest.mark.slow) for kind in ("batches", "chains"))],
)  # fmt: skip
def test_moments_are_symmetric(kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: float32 products are not symmetric on every processor; what a run returns is."""
    if kind == "pooled":
        monkeypatch.setattr("gradnoise.engine.sizes.PER_CHAIN_BYTES", 0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 20)) * np.logspace(-2, 2, 20)
    problem = gn.models.linear_regression(x, rng.standard_normal(64), observation_scale=1.0, intercept=False)
    run = gn.simulate(
        problem, gn.oracles.minibatch(4), gn.rule(optax.sgd, learning_rate=1e-5), num_steps=700, dtype=dtype,
        num_chains=1 if kind == "batches" else 8, progress=False,
    )  # fmt: skip
    about = run.second_moment(np.zeros(20))
    for matrix in (
        run.covariance,
        run.covariance_standard_error,
        about.value,
        about.standard_error,
        *run.pieces.scatter,
    ):
        np.testing.assert_array_equal(matrix, matrix.T)


# --- one bad chain costs one chain


@pytest.mark.parametrize("bad", [[0], [3], [0, 1], [2, 9], [1, 8, 15], [0, 1, 2, 3, 4, 5, 6]])
def test_one_bad_chain_costs_one_chain(bad: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A8: moments pooled over groups of chains leave out the diverged chains alone: NumPy's mean and covariance of the others."""
    monkeypatch.setattr("gradnoise.engine.sizes.PER_CHAIN_BYTES", 0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3))
    problem = gn.models.linear_regression(x, rng.standard_normal(64), observation_scale=1.0, intercept=False)
    init = rng.standard_normal((16, 3))
    init[bad] = 1e13
    run = gn.simulate(
        problem, gn.oracles.minibatch(4), gn.rule(optax.sgd, learning_rate=0.05), num_steps=600, burn_in=7, num_chains=16,
        init=init, record=[gn.record.draws(1), gn.record.moments()], on_divergence="keep", progress=False,
    )  # fmt: skip
    flat = np.asarray(run.draws, np.float64).reshape(-1, 3)
    assert len(run.chains) == 16 - len(bad)
    assert run.pieces.count.sum() == len(flat)
    np.testing.assert_allclose(run.mean, flat.mean(0), atol=1e-6)
    np.testing.assert_allclose(run.covariance, np.cov(flat.T, bias=True), atol=1e-6)
    assert "diverged" in run.notes[-1]
    more = run.extend(100, progress=False, on_divergence="keep")
    longer = np.asarray(more.draws, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(more.mean, longer.mean(0), atol=1e-6)


# --- refusals come before the run


def test_one_draw_has_no_shape() -> None:
    """B3: num_draws=1, num_chains=1 ended after the run in "argmax of an empty sequence"."""
    found = shape_of(np.ones((1, 1, 2)), np.eye(2), 1.0)
    assert found[::2] == (0.0, 0.0)
    assert found.kurtosis == 0.0


@pytest.mark.parametrize(("draws", "chains"), [(1, 1), (1, 2), (2, 1), (3, 1)])
def test_tiny_budgets_work_or_are_refused_by_name(draws: int, chains: int, made: Any) -> None:
    """B3: too few draws to verify is a verdict; too few states for a covariance are refused before anything runs."""
    found = made.plan.run(num_draws=draws, num_chains=chains, progress=False)
    assert found.draws.shape == (chains, draws, 2)
    assert any("Too few draws to verify" in reason for reason in found.verdict.reasons)
    assert not any("No verdict" in reason for reason in found.verdict.reasons)
    found.summary()
    if draws * chains <= 2:
        with pytest.raises(ValueError, match="num_draws must be larger"):
            made.plan.run(num_draws=draws, num_chains=chains, thin=1, burn_in=0, progress=False)


NOT_YET: dict[str, Any] = {"until": 5, "progress": "yes", "on_divergence": "ignore"}


@pytest.mark.parametrize("name", NOT_YET)
def test_bad_arguments_are_refused_before_the_first_step(
    name: str, problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3: `until=5` failed after 1,024 steps."""
    monkeypatch.setattr("gradnoise.engine.simulation.advance", raising(AssertionError))
    keywords = {"progress": False, name: NOT_YET[name]}
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        gn.simulate(problem, gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=0.1), num_steps=2000, **keywords)


HUGE = ["constant_sgd", "corrected_langevin", "langevin", "sghmc", "fisher_scoring"]


@pytest.mark.parametrize("method", HUGE)
def test_a_batch_that_memory_cannot_hold_is_refused(method: str, problem: Any) -> None:
    """D: constant_sgd(batch_size=10**9) computed for 128 s and then ran out of memory."""
    with pytest.raises(ValueError, match=r"batch_size must be smaller: the random numbers of 100,000,000,000 examples"):
        getattr(infer, method)(problem, batch_size=10**11, progress=False)


def test_every_oracle_refuses_a_batch_that_memory_cannot_hold(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D: the rows that a step reads are counted with their width; and what the recorders would emit."""
    small = gn.rule(optax.sgd, learning_rate=0.1)
    control = gn.oracles.control_variate(5000, np.zeros(2), problem=problem)
    monkeypatch.setattr("gradnoise._checks.memory", lambda: 1e5)
    for oracle in (gn.oracles.minibatch(5000), control):
        with pytest.raises(ValueError, match="batch_size must be smaller"):
            gn.simulate(problem, oracle, small, num_steps=5, progress=False)
    with pytest.raises(ValueError, match="num_steps, num_chains and record must be smaller"):
        gn.simulate(
            problem, gn.oracles.minibatch(8), small, num_steps=20_000, record=gn.record.draws(1), progress=False
        )
