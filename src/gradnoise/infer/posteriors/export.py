"""Draws as others read them: ArviZ's schema, with the record by which `load` rebuilds the posterior."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradnoise import _checks, _files, derivatives
from gradnoise._text import visible
from gradnoise._types import AnyArray
from gradnoise.infer.posteriors.predictive import log_likelihoods
from gradnoise.infer.posteriors.stored import (
    DIGESTS,
    MARK,
    RECORD,
    centre_of,
    digests_of,
    is_sealed,
    mark_of,
    recorded,
    seal_of,
)

LARGEST = 1 << 28  # pointwise log-likelihoods: 2 GiB
RESERVED = {"chain", "draw", "parameter"}


def datatree_of(posterior: Any, *, log_posterior: bool, log_likelihood: bool, by_leaf: bool) -> Any:
    """Return an `xarray.DataTree` in ArviZ's schema."""
    import arviz_base
    import xarray

    # NetCDF text has no NUL and no half characters: labels show them as `visible` does, the record has the names
    draws, names = np.asarray(posterior.draws), {"parameter": [visible(name) for name in posterior.names]}
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
        {
            "method": visible(posterior.method),
            "verdict": verdict.level,
            "verdict_reasons": visible(" ".join(verdict.reasons)),
        }
    )
    tree["posterior"].attrs.update({"inference_library": "gradnoise", **_scalars(posterior.settings)})
    tree[RECORD] = xarray.DataTree(recorded(posterior))
    return tree


def write(tree: Any, path: str | Path, *, problem: Any = None) -> Path:
    """Write a tree as NetCDF, whole or not at all; missing folders are made. The file knows the `problem` by its loss.

    It is made in memory first: HDF5 does not survive a disk that fills up under it.
    """
    path = _checks.path("path", path)
    if path.exists() and not path.is_file():
        msg = f"path must name a file, but {path} is a folder or a device."
        raise IsADirectoryError(msg)
    if path.is_file() and not path.is_symlink() and path.stat().st_size and not is_ours(path):
        msg = f"path must name a new file or one that Posterior.save wrote, but {path} is something else. Choose another name, or remove it."
        raise FileExistsError(msg)
    tree[RECORD].attrs[MARK] = json.dumps(mark_of(problem, centre_of(tree["posterior"]["theta"].values)))
    tree[RECORD].attrs[DIGESTS] = json.dumps(digests_of(tree))
    _files.write(path, _packed(tree))
    return path


def is_ours(path: Path) -> bool:
    """Whether a file is one that `write` wrote (it may be damaged since)."""
    import h5netcdf

    try:
        if is_sealed(path):
            return True
        with h5netcdf.File(path, "r") as file:
            return RECORD in file.groups and "record" in file.groups[RECORD].variables
    except Exception:  # whatever HDF5 says of other files
        return False


def _packed(tree: Any) -> memoryview:
    """Return the bytes of a NetCDF file. NaN is no mark of a missing value here: it keeps its bits.

    HDF5's own memory holds it. A Python buffer would be called back from wherever the garbage collector closes what is left of the
    file: Python 3.12 dies of it.
    """
    import h5netcdf
    import h5py
    from xarray.backends import H5NetCDFStore

    with h5py.File("posterior.nc", "w", driver="core", backing_store=False) as memory:
        with h5netcdf.File(memory, "w") as file:
            for node in tree.subtree:
                data = node.to_dataset(inherit=False)
                for variable in data.variables.values():
                    variable.encoding = {"_FillValue": None}
                at = file if node.path == "/" else file.create_group(node.path)
                data.dump_to_store(H5NetCDFStore(at))
        memory.flush()
        image = memory.id.get_file_image()
    return memoryview(image + seal_of(image))


def _scalars(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a NetCDF attribute can hold; it has no truth values, so True is 1."""
    kept = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
    kept = {k: int(v) if isinstance(v, bool) else visible(v) if isinstance(v, str) else v for k, v in kept.items()}
    fits = {k: isinstance(v, (float, str)) or (isinstance(v, int) and -(2**63) <= v < 2**64) for k, v in kept.items()}
    return {visible(k): v for k, v in kept.items() if k and fits[k]}


def _leaves(posterior: Any) -> tuple[dict[str, AnyArray], dict[str, list[str]], dict[str, list[str]]]:
    """Return one variable a leaf of the params, with names along leaves that are vectors, and their dimensions."""
    problem = posterior.known_problem("to_datatree(by_leaf=True)")
    labels = problem.unflatten(np.array(posterior.names, dtype=object))
    variables, coords, dims = dict[str, AnyArray](), dict[str, list[str]](), dict[str, list[str]]()
    paths = jax.tree_util.tree_flatten_with_path(posterior.params)[0]
    for (path, leaf), label in zip(paths, jax.tree.leaves(labels), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".") or "theta"
        name = visible(name)
        if name in variables or name in RESERVED:
            msg = f"by_leaf must be False for params with two leaves called {name!r}, or one called {', '.join(sorted(RESERVED))}."
            raise ValueError(msg)
        variables[name] = leaf
        dims[name] = [f"{name}_dim_{i}" for i in range(leaf.ndim - 2)] if path or leaf.ndim != 3 else ["parameter"]
        if problem.names is not None and leaf.ndim == 3:
            coords[dims[name][0]] = [visible(str(each)) for each in label]
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
