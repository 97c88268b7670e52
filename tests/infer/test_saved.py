"""Every posterior goes to a file and back: draws bit for bit, settings with their types, and what needs no run works on."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pytest
import xarray

import gradnoise as gn
from gradnoise import infer
from gradnoise.infer import Posterior, Verdict

QUICK: dict[str, Any] = {"num_draws": 8, "num_chains": 2, "thin": 2, "burn_in": 4, "progress": False}
CONSTANT: dict[str, Any] = {"batch_size": 50, **QUICK}


@functools.cache
def regression(dim: int = 3, n: int = 400) -> gn.Problem:
    r = np.random.default_rng(0)
    x = r.normal(size=(n, dim)) @ (np.eye(dim) + 0.3 * np.eye(dim, k=1))
    y = x[:, :3] @ [1.0, -1.0, 0.5] + r.normal(size=n)
    return gn.models.linear_regression(x, y, observation_scale=1.0, intercept=False)


SAMPLERS: dict[str, Callable[[gn.Problem], Posterior]] = {
    "constant SGD": lambda p: infer.constant_sgd(p, **CONSTANT),
    "constant SGD, adapted": lambda p: infer.constant_sgd(p, adapt=True, **CONSTANT),
    "constant SGD, to a matrix": lambda p: infer.constant_sgd(
        p, target=np.diag([1.0, 2, 3]) * 1e-3, momentum=0.5, **CONSTANT
    ),
    "corrected Langevin": lambda p: infer.corrected_langevin(p, adapt=True, **CONSTANT),
    "SGHMC": lambda p: infer.sghmc(p, control_variate=True, **CONSTANT),
    "SGLD, falling": lambda p: infer.langevin(
        p, step_size=1e-4, schedule=gn.processes.Decreasing(100, 0.33), **CONSTANT
    ),
    "SGLD, preconditioned": lambda p: infer.langevin(p, preconditioner="curvature", sampling="shuffled", **CONSTANT),
    "Fisher scoring": lambda p: infer.fisher_scoring(p, kind="diagonal", **CONSTANT),
    "iterate averaging": lambda p: infer.iterate_averaging(
        p, batch_size=4, tolerance=0.2, num_draws=8, num_chains=2, progress=False
    ),
    "NUTS": lambda p: infer.reference(p, method="nuts", num_draws=8, num_chains=2),
    "exact": lambda p: infer.reference(p, num_draws=8, num_chains=2),
    "Gaussian": lambda p: infer.gaussian(p, num_draws=8, num_chains=2),
    "calibrated": lambda p: infer.laplace(p, num_draws=8).calibrate(),
    "variational EM": lambda p: infer.variational_em(p, batch_size=50, num_steps=2000, **QUICK),
    "chosen": lambda p: infer.sample(p, num_draws=8, num_chains=2, progress=False),
}


# slow: their settings are numbers and words, as below in test_settings_of_all_kinds; all posteriors have one way to a file, and
# the cases left have what is special: matrices, marks, schedules, candidates, no run
COSTLY = {
    "constant SGD", "corrected Langevin", "SGHMC", "SGLD, preconditioned", "iterate averaging", "NUTS", "variational EM",
}  # fmt: skip


def same(left: Any, right: Any) -> bool:
    """Equal in type and bits; arrays by value, objects by their text."""
    if isinstance(left, np.generic):
        left = left.item()
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, tuple | list):
        return type(right) is type(left) and len(left) == len(right) and all(map(same, left, right))
    if left is None or isinstance(left, (bool, int, float, str)):
        return type(left) is type(right) and (left == right or (left != left and right != right))
    return bool(right == str(left))


def check_same(made: Posterior, back: Posterior) -> None:
    assert back.draws.dtype == made.draws.dtype
    assert back.draws.tobytes() == np.ascontiguousarray(made.draws).tobytes()
    for name in ("method", "names", "predicted_mean", "predicted_covariance", "effective_draws", "settings", "exact"):
        assert same(getattr(made, name), getattr(back, name)), name
    assert isinstance(back.verdict, Verdict)
    assert same(tuple(made.verdict), tuple(back.verdict))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in COSTLY else n for n in SAMPLERS])
def test_every_sampler_goes_to_a_file_and_back(name: str, tmp_path: Path) -> None:
    problem = regression()
    made = SAMPLERS[name](problem)
    path = made.save(tmp_path / "new" / "folder" / "draws")
    back = infer.load(path)
    check_same(made, back)
    assert str(back) == str(made)
    assert str(back.summary()) == str(made.summary())
    assert bool(back.verdict) == bool(made.verdict)
    assert back.divergence(made).to_reference == pytest.approx(0, abs=1e-9)
    assert len(back.directions(made)) == 3
    again = infer.load(back.save(tmp_path / "again.nc"), problem)
    check_same(made, again)
    x = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_array_equal(again.predictive(x).predictions, made.predictive(x).predictions)
    with pytest.raises(ValueError, match="extend must have the run of a plan to go on with"):
        again.extend(4)
    with pytest.raises(ValueError, match="predictive must know the problem"):
        back.predictive(x)


def test_settings_of_all_kinds_and_odd_numbers_come_back(tmp_path: Path) -> None:
    settings = {
        "truth": True, "numpy truth": np.bool_(False), "none": None, "whole": 2**60, "small": 5e-324, "not": float("nan"),
        "endless": -float("inf"), "marks": ((1, 0.1), (2, 1 / 3)), "list": [1, (2, None)], "matrix": np.eye(3, dtype=np.float32),
        "whole numbers": np.arange(4), "flags": np.array([True, False]), "a/b": {"inner": np.array([1.5]), "x": "ü\n"},
        "object": Path("x"), "record": np.ones(2),
    }  # fmt: skip
    draws = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    verdict = Verdict("approximate", ("One.", "Two ≤ 3."), {"kl": 0.1 + 0.2, "nan": float("nan")})
    made = Posterior("by hand", draws, ("a/b", "ä b"), None, None, float("inf"), verdict, settings)
    back = infer.load(made.save(tmp_path / "x.nc"))
    check_same(made, back)
    assert back.settings["object"] == "x"
    attrs = xarray.open_datatree(tmp_path / "x.nc", engine="h5netcdf")["posterior"].attrs
    assert attrs["truth"] == 1
    assert attrs["numpy truth"] == 0


def test_files_that_are_no_posteriors_and_other_problems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = regression()
    made = infer.laplace(problem, num_draws=8)
    path = made.save(tmp_path / "x.nc")
    with pytest.raises(FileNotFoundError, match="path must name a posterior that was saved"):
        infer.load(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("no")
    with pytest.raises(ValueError, match=r"path must name a file that Posterior\.save wrote"):
        infer.load(tmp_path / "text.nc")
    xarray.DataTree.from_dict({"posterior": xarray.Dataset({"theta": 1.0})}).to_netcdf(
        tmp_path / "other.nc", engine="h5netcdf"
    )
    with pytest.raises(ValueError, match=r"path must name a file that Posterior\.save wrote"):
        infer.load(tmp_path / "other.nc")
    with pytest.raises(ValueError, match="problem must have the parameters of"):
        infer.load(path, regression(4))
    with pytest.raises(IsADirectoryError, match="path must name a file"):
        made.save(tmp_path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(made, method="other").save(path)
    assert path.read_bytes() == before  # whole or not at all
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.nc", "text.nc", "x.nc"]


# --- ArviZ -----------------------------------------------------------------------------------------------------------


def test_arviz_stats_reads_the_tree() -> None:
    problem = regression()
    made = infer.laplace(problem, num_draws=500)
    table = arviz_stats.summary(made.to_datatree(), round_to="none")
    np.testing.assert_allclose(table["mean"].to_numpy(float), made.summary().mean.value, rtol=1e-6)
    assert list(table.index) == ["theta[x0]", "theta[x1]", "theta[x2]"]
    found = arviz_stats.loo(made.to_datatree(log_likelihood=True))
    x, y = problem.data["inputs"].astype(float), problem.data["targets"].astype(float)
    # leave-one-out of linear regression with known noise and prior, in closed form
    covariance = np.linalg.inv(x.T @ x + np.eye(3))
    leverage = np.einsum("ni,ij,nj->n", x, covariance, x)
    residual = (y - x @ covariance @ x.T @ y) / (1 - leverage)
    exact = -0.5 * (np.log(2 * np.pi / (1 - leverage)) + residual**2 * (1 - leverage))
    assert found.elpd == pytest.approx(exact.sum(), abs=0.5)
    assert found.p == pytest.approx(3, abs=0.7)


def test_one_variable_a_leaf_has_the_params_and_names_them() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(60, 2))
    net = gn.models.mlp(x, r.integers(0, 2, 60), widths=(3,))
    draws = r.normal(size=(2, 5, net.num_params)).astype(np.float32)
    made = Posterior(
        "by hand", draws, net.parameter_names, None, None, 10.0, Verdict("approximate", (), {}), problem=net
    )
    params = made.params
    np.testing.assert_array_equal(params["layer0"]["weight"][1, 3], net.unflatten(draws[1, 3])["layer0"]["weight"])
    tree = made.to_datatree(by_leaf=True)
    assert set(tree["posterior"].data_vars) == {"layer0.bias", "layer0.weight", "layer1.bias", "layer1.weight"}
    np.testing.assert_array_equal(tree["posterior"]["layer1.weight"].values, params["layer1"]["weight"])
    assert "theta" in made.to_datatree()["posterior"]
    flat = infer.laplace(regression(), num_draws=8).to_datatree(by_leaf=True)["posterior"]["theta"]
    assert flat.dims == ("chain", "draw", "parameter")
    assert list(flat.coords["parameter"].values) == ["x0", "x1", "x2"]

    def log_likelihood(p: Any, e: Any) -> Any:
        return -((e - p["draw"]) ** 2)

    bad = gn.Problem(log_likelihood, x[:, 0], {"draw": np.zeros(())})
    clash = Posterior("by hand", draws[..., :1], ("d",), None, None, 1.0, Verdict("approximate", (), {}), problem=bad)
    with pytest.raises(ValueError, match="by_leaf must be False for params with two leaves called 'draw'"):
        clash.to_datatree(by_leaf=True)
    with pytest.raises(ValueError, match="params must know the problem"):
        _ = dataclasses.replace(clash, problem=None).params
    with pytest.raises(TypeError, match="by_leaf must be True or False"):
        made.to_datatree(by_leaf="yes")


def test_a_log_likelihood_beyond_memory_is_refused() -> None:
    problem = gn.models.linear_regression(
        np.ones((300_000, 1)), np.zeros(300_000), observation_scale=1.0, intercept=False
    )
    made = Posterior(
        "by hand", np.zeros((1, 1000, 1)), ("x0",), None, None, 1.0, Verdict("approximate", (), {}), problem=problem
    )
    with pytest.raises(ValueError, match="log_likelihood must be False for so many draws and examples"):
        made.to_datatree(log_likelihood=True)
