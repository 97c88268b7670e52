"""Going on with a run, and what a run hands to the engine as it is: dtype, checkpoint, threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import laplace, sample
from gradnoise.processes import Decreasing

R = np.random.default_rng(3)
X = R.normal(size=(300, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
Y = X @ [1.0, -0.5] + R.normal(size=300)
SAMPLERS: dict[str, dict[str, Any]] = {
    "constant_sgd": {"momentum": 0.5},
    "corrected_langevin": {},
    "iterate_averaging": {"preconditioner": "curvature", "tolerance": 0.3},
    "fisher_scoring": {},
    "sghmc": {},
    "langevin": {"preconditioner": "curvature", "schedule": Decreasing(offset=1000.0, power=0.3)},
}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    problem = gn.models.linear_regression(X, Y, prior_scale=1.0, observation_scale=1.0, intercept=False)
    mode = gn.find_mode(problem)
    return {"problem": problem, "mode": mode, "law": gn.measure.gaussian_law(problem, mode)}


@pytest.mark.parametrize("method", SAMPLERS)
def test_going_on_is_one_long_run(method: str, known: dict[str, Any]) -> None:
    common: dict[str, Any] = {"batch_size": 16, "num_chains": 3, "key": 5, "progress": False} | SAMPLERS[method] | known
    if method == "langevin":
        common["thin"] = 40  # falling steps are thinned by the draws wanted unless told
    run = getattr(gn.infer, method)
    whole, part = run(num_draws=30, **common), run(num_draws=12, **common)
    longer = part.extend(18, progress=False)
    np.testing.assert_array_equal(longer.draws, whole.draws)
    assert longer.verdict == whole.verdict
    assert longer.settings.keys() == whole.settings.keys()
    assert (longer.settings["num_steps"], longer.effective_draws) == (
        whole.settings["num_steps"],
        whole.effective_draws,
    )
    np.testing.assert_array_equal(longer.predicted_covariance, whole.predicted_covariance)
    assert part.draws.shape[1] == 12
    assert len(longer.extend(1, progress=False).draws[0]) == 31


def test_a_choice_is_kept_and_large_problems_go_on_too(known: dict[str, Any]) -> None:
    made = sample(num_draws=20, progress=False, **known)
    longer = made.extend(20, progress=False)
    assert longer.verdict.reasons[0] == made.verdict.reasons[0]
    assert longer.verdict.reasons[0].startswith("Chosen: ")
    r = np.random.default_rng(0)
    x = r.normal(size=(120, 1010))
    problem = gn.models.linear_regression(x, x[:, 0], prior_scale=1.0, observation_scale=1.0, intercept=False)
    common: dict[str, Any] = {"mode": np.zeros(1010), "batch_size": 20, "num_chains": 2, "progress": False}
    for window in (None, 4):
        run = gn.infer.constant_sgd if window is None else gn.infer.iterate_averaging
        more = {} if window is None else {"window": window}
        kind = {"preconditioner": "diagonal_closed"}
        whole = run(problem, num_draws=8, **common, **more, **kind)
        part = run(problem, num_draws=3, **common, **more, **kind).extend(5, progress=False)
        np.testing.assert_array_equal(part.draws, whole.draws)
        assert part.verdict == whole.verdict


def test_where_there_is_no_run_to_go_on_with(known: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"extend must have the run of a plan .* draws of Laplace"):
        laplace(known["problem"], mode=known["mode"], num_draws=3).extend(5)
    made = gn.infer.constant_sgd(batch_size=16, num_draws=5, progress=False, **known)
    with pytest.raises(ValueError, match="num_draws must be >= 1, got 0"):
        made.extend(0)


def test_what_the_engine_takes_reaches_it(known: dict[str, Any], tmp_path: Path) -> None:
    common: dict[str, Any] = {"batch_size": 16, "num_draws": 10, "num_chains": 3, "progress": False} | known
    plain = gn.infer.constant_sgd(**common)
    assert plain.draws.dtype == np.float32
    double = gn.infer.constant_sgd(dtype="float64", **common)
    assert double.draws.dtype == np.float64
    np.testing.assert_allclose(double.draws, plain.draws, rtol=2e-4, atol=2e-5)
    path = tmp_path / "run.npz"
    kept = gn.infer.constant_sgd(checkpoint=path, threads=1, **common)
    np.testing.assert_array_equal(kept.draws, plain.draws)
    assert gn.Run.load(path).num_steps == kept.settings["num_steps"]
    again = gn.infer.constant_sgd(checkpoint=path, **common)
    np.testing.assert_array_equal(again.draws, plain.draws)
    with pytest.raises(ValueError, match="dtype must be"):
        gn.infer.constant_sgd(dtype="float8", **common)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(known: dict[str, Any], tmp_path: Path) -> None:
    common: dict[str, Any] = {"batch_size": 16, "num_draws": 300, "num_chains": 2, "thin": 100} | known
    path = tmp_path / "run.npz"

    def stop(done: int, of: int) -> None:
        if 0 < done < of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gn.infer.constant_sgd(checkpoint=path, progress=stop, **common)
    whole = gn.infer.constant_sgd(progress=False, **common)
    np.testing.assert_array_equal(gn.infer.constant_sgd(checkpoint=path, progress=False, **common).draws, whole.draws)


@pytest.mark.parametrize("method", [*SAMPLERS, "sample"])
def test_an_argument_that_nobody_takes_is_named(method: str, known: dict[str, Any]) -> None:
    batch = {} if method == "sample" else {"batch_size": 16}
    with pytest.raises(TypeError, match=r"unexpected argument 'num_draw': (did you mean 'num_draws'|known are)"):
        getattr(gn.infer, method)(num_draw=10, **batch, **known)
