"""Draws as others read them: ArviZ's schema, with the record by which `load` rebuilds the posterior."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradnoise import derivatives
from gradnoise._types import AnyArray
from gradnoise.infer.predictive import log_likelihoods
from gradnoise.infer.stored import RECORD, recorded

LARGEST = 1 << 28  # pointwise log-likelihoods: 2 GiB
RESERVED = {"chain", "draw", "parameter"}


def datatree_of(posterior: Any, *, log_posterior: bool, log_likelihood: bool, by_leaf: bool) -> Any:
    """Return an `xarray.DataTree` in ArviZ's schema."""
    import arviz_base
    import xarray

    draws, names = np.asarray(posterior.draws), {"parameter": list(posterior.names)}
    variables, coords, dims = _leaves(posterior) if by_leaf else ({"theta": draws}, names, {"theta": ["parameter"]})
    groups: dict[str, Any] = {"posterior": variables}
    stats = _sample_stats(posterior, log_posterior)
    if stats:
        groups["sample_stats"] = stats
    if log_likelihood:
        groups["log_likelihood"], dims = {"y": _pointwise(posterior)}, {**dims, "y": ["example"]}
    with warnings.catch_warnings():  # many short chains are what we mean
        warnings.filterwarnings("ignore", "Found chain dimension to be longer than draw dimension", UserWarning)
        tree = arviz_base.from_dict(groups, coords=coords, dims=dims)
    verdict = posterior.verdict
    tree.attrs.update(
        {"method": posterior.method, "verdict": verdict.level, "verdict_reasons": " ".join(verdict.reasons)}
    )
    tree["posterior"].attrs.update({"inference_library": "gradnoise", **_scalars(posterior.settings)})
    tree[RECORD] = xarray.DataTree(recorded(posterior))
    return tree


def write(tree: Any, path: str | Path) -> Path:
    """Write a tree as NetCDF, whole or not at all; missing folders are made."""
    path = Path(path)
    if path.is_dir():
        msg = f"path must name a file, but {path} is a folder."
        raise IsADirectoryError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        tree.to_netcdf(part, engine="h5netcdf")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _scalars(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a NetCDF attribute can hold; it has no truth values, so True is 1."""
    kept = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
    return {k: int(v) if isinstance(v, bool) else v for k, v in kept.items() if isinstance(v, (int, float, str))}


def _leaves(posterior: Any) -> tuple[dict[str, AnyArray], dict[str, list[str]], dict[str, list[str]]]:
    """Return one variable a leaf of the params, with names along leaves that are vectors, and their dimensions."""
    problem = posterior.known_problem("to_datatree(by_leaf=True)")
    labels = problem.unflatten(np.array(posterior.names, dtype=object))
    variables, coords, dims = dict[str, AnyArray](), dict[str, list[str]](), dict[str, list[str]]()
    paths = jax.tree_util.tree_flatten_with_path(posterior.params)[0]
    for (path, leaf), label in zip(paths, jax.tree.leaves(labels), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".") or "theta"
        if name in variables or name in RESERVED:
            msg = f"by_leaf must be False for params with two leaves called {name!r}, or one called {', '.join(sorted(RESERVED))}."
            raise ValueError(msg)
        variables[name] = leaf
        dims[name] = [f"{name}_dim_{i}" for i in range(leaf.ndim - 2)] if path or leaf.ndim != 3 else ["parameter"]
        if problem.names is not None and leaf.ndim == 3:
            coords[dims[name][0]] = list(label)
    return variables, coords, dims


def _sample_stats(posterior: Any, log_posterior: bool) -> dict[str, Any]:
    """Absolute step of every draw (where there was a run) and, if wanted, the log posterior up to a constant."""
    chains, draws = posterior.draws.shape[:2]
    out: dict[str, Any] = {}
    if {"burn_in", "thin"} <= set(posterior.settings):
        steps = posterior.settings["burn_in"] + (np.arange(draws) + 1) * posterior.settings["thin"]
        out["step"] = np.tile(steps, (chains, 1))
    if log_posterior:
        problem = posterior.known_problem("the log posterior")
        flat = np.asarray(posterior.draws, np.float64).reshape(-1, posterior.draws.shape[-1])
        out["lp"] = -problem.num_examples * derivatives.losses(problem, flat).reshape(chains, draws)
    return out


def _pointwise(posterior: Any) -> AnyArray:
    """Log-likelihood of every example under every draw (chain, draw, N)."""
    problem = posterior.known_problem("the log-likelihood")
    chains, draws = posterior.draws.shape[:2]
    if chains * draws * problem.num_examples > LARGEST:
        msg = f"log_likelihood must be False for so many draws and examples: {chains * draws:,} x {problem.num_examples:,} numbers would take {chains * draws * problem.num_examples >> 27} GiB."
        raise ValueError(msg)
    return log_likelihoods(problem, posterior.draws)
