"""Posteriors from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradnoise import _checks
from gradnoise.infer.posteriors.posterior import Posterior
from gradnoise.infer.posteriors.stored import (
    RECORD,
    centre_of,
    is_sealed,
    require_marked,
    require_unbroken,
    require_undamaged,
    restored,
)


def load(path: str | Path, problem: Any = None) -> Posterior:
    """Read a posterior that `Posterior.save` wrote: draws bit for bit, names, settings, verdict and what was predicted.

    Its run, plan and problem are not in the file: `extend` has nothing to go on with, `directions` needs a reference, and predictives,
    `params` and log-likelihoods need the problem. Objects among the settings come back as their text.

    Parameters
    ----------
    path
        The file. It holds numbers and text alone; nothing in it is run.
    problem
        The `Problem` of the draws, with parameters of the same names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a posterior of gradnoise, is not bit for bit what was saved, or `problem` is another than that of the draws.
    """
    path = _checks.path("path", path)
    if not path.is_file():
        msg = f"path must name a posterior that was saved, but {path} is not a file."
        raise FileNotFoundError(msg)
    draws, fields, record = _read(path)
    names = fields["names"]
    if problem is not None and tuple(problem.parameter_names) != names:
        msg = f"problem must have the parameters of {path}, {_few(names)}, got {_few(problem.parameter_names)}."
        raise ValueError(msg)
    if problem is not None:
        require_marked(record, problem, centre_of(draws))
    return Posterior(draws=draws, problem=problem, **fields)


def _read(path: Path) -> tuple[Any, dict[str, Any], Any]:
    import xarray

    try:
        if is_sealed(path):
            require_unbroken(path)
        # as stored: NaN is no mark of a missing value, and no unit is a date
        with xarray.open_datatree(path, engine="h5netcdf", mask_and_scale=False, decode_times=False) as file:
            tree = file.load()
            record = tree[RECORD].to_dataset()
            fields = restored(record)
            require_undamaged(tree)
            return tree["posterior"]["theta"].values, fields, record
    except Exception as error:  # HDF5 and what stands on it raise a dozen kinds for flipped bits
        msg = f"path must name a file that Posterior.save wrote, but {path} is damaged or not ours: {type(error).__name__}: {error}."
        raise ValueError(msg) from error


def _few(names: Any) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{len(names)} of them ({shown}{', …' if len(names) > 5 else ''})"
