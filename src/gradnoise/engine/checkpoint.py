"""Checkpoints and saved runs: one format, written atomically.

`path` is an npz with the carries, the step and the digest; what recorders emitted is appended to `path.<recorder>`, whose
committed length stands in the npz. A crash between the two leaves the older state readable.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradnoise.engine.job import Job, State


def _side(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")


def save(path: Path, job: Job, state: State, committed: dict[str, int]) -> dict[str, int]:
    """Write the state; `committed` emissions of each recorder are already on disk. Return the new counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name in state.emitted:
        rows = state.all_emitted(name)
        done, counts[name] = committed.get(name, 0), len(rows)
        with _side(path, name).open("r+b" if done else "wb") as file:
            file.truncate(done * rows[0].nbytes if len(rows) else 0)
            file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(rows[done:]).tobytes())
            file.flush()
            os.fsync(file.fileno())
    meta = {
        "digest": job.digest,
        "step": state.step,
        "diverged": {str(k): v for k, v in state.diverged.items()},
        "seconds": state.seconds,
        "compile_seconds": state.compile_seconds,
        "notes": state.notes,
        "emitted": {
            k: [n, list(state.all_emitted(k).shape[1:]), str(state.all_emitted(k).dtype)] for k, n in counts.items()
        },
    }
    leaves = {f"carry_{q}_{i}": leaf for q, c in enumerate(state.carries) for i, leaf in enumerate(jax.tree.leaves(c))}
    temporary = _side(path, "part")
    with temporary.open("wb") as file:
        header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        np.savez(file, meta=header, job=np.frombuffer(job.payload, np.uint8), **leaves)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return counts


def read(path: Path) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    """Return (meta, pickled job, arrays) of a checkpoint."""
    if not path.is_file():
        msg = f"path must name a checkpoint or a saved run, but {path} is not a file."
        raise FileNotFoundError(msg)
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop("meta").tobytes()), arrays.pop("job").tobytes(), arrays
    except (ValueError, KeyError, OSError, EOFError) as error:
        msg = f"path must name a checkpoint or a saved run of gradnoise, but {path} cannot be read: {error}"
        raise ValueError(msg) from error


def job_of(payload: bytes, path: Path) -> Job:
    """Return the job stored in a file. It is a pickle: open only files you trust."""
    if not payload:
        msg = (
            f"{path} holds no job, because its functions could not be pickled (lambdas or local functions). "
            "Continue it by calling simulate again with the same arguments and checkpoint=path."
        )
        raise ValueError(msg)
    return Job(**pickle.loads(payload))


def state_of(path: Path, job: Job, meta: dict[str, Any], arrays: dict[str, Any]) -> State:
    """Return the state stored in a file that belongs to `job`."""
    if meta["digest"] != job.digest:
        msg = (
            f"checkpoint must belong to this run, but {path} was written by another one (other data, model, process, "
            "seed, chains, recorders, burn-in, start or version). Choose another path, or remove the file."
        )
        raise ValueError(msg)
    treedef: Any = jax.tree.structure(job.carry_structure())
    carries = [
        jax.tree.unflatten(treedef, [arrays[f"carry_{q}_{i}"] for i in range(treedef.num_leaves)])
        for q in range(job.num_groups)
    ]
    emitted = {}
    for name, (count, shape, dtype) in meta["emitted"].items():
        rows = np.fromfile(_side(path, name), dtype, count * int(np.prod(shape)))
        emitted[name] = [rows.reshape(count, *shape)]
    diverged = {int(k): v for k, v in meta["diverged"].items()}
    notes = tuple(meta["notes"])
    return State(meta["step"], carries, emitted, diverged, meta["seconds"], meta["compile_seconds"], notes)
