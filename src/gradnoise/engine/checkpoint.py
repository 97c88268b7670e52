"""Checkpoints and saved runs: one format, written atomically.

`path` is an npz with the state, the step and the digest; what recorders emitted lies beside it in `path.<token>.<recorder>`,
whose committed length stands in the npz. The npz is replaced last, so a crash at any moment leaves the older state readable.

What a run recorded is stored without the problem and the process, so that it can be read where their functions are gone.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import secrets
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gradnoise import _tree
from gradnoise._types import AnyArray
from gradnoise.engine.job import Job, State, Stored


class Saved(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    meta
        Digest, step, counts, ...
    job, recorded
        Pickles: of the job (empty where its functions could not be pickled), and of what was recorded.
    arrays
        Params and rule states.
    """

    meta: dict[str, Any]
    job: bytes
    recorded: bytes
    arrays: dict[str, AnyArray]


def _side(path: Path, token: str, name: str) -> Path:
    return path.with_name(f"{path.name}.{token}.{name}")


def save(path: Path, job: Job, state: State) -> None:
    """Write the state to `path` and remember in it what is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = state.stored if state.stored is not None and state.stored.path == path.resolve() else None
    token = known.token if known else secrets.token_hex(4)
    counts = {}
    for name in state.emitted:
        rows = state.all_emitted(name)
        done, counts[name] = (known.counts.get(name, 0) if known else 0), len(rows)
        with _side(path, token, name).open("r+b" if done else "wb") as file:
            file.truncate(done * rows[0].nbytes if len(rows) else 0)
            file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(rows[done:]).tobytes())
            file.flush()
            os.fsync(file.fileno())
    meta = {
        "digest": job.digest,
        "token": token,
        "step": state.step,
        "diverged": {str(k): v for k, v in state.diverged.items()},
        "seconds": state.seconds,
        "compile_seconds": state.compile_seconds,
        "notes": state.notes,
        "emitted": {
            k: [n, list(state.all_emitted(k).shape[1:]), str(state.all_emitted(k).dtype)] for k, n in counts.items()
        },
    }
    kept = [{**carry, "params": _tree.flatten_rows(carry["params"]), "state": ()} for carry in state.carries]
    parts = {"meta": json.dumps(meta).encode(), "job": job.payload, "recorded": pickle.dumps((job.bare(), kept))}
    arrays: dict[str, AnyArray] = {k: np.frombuffer(v, np.uint8) for k, v in parts.items()}
    for q, carry in enumerate(state.carries):
        moving = jax.tree.leaves((carry["params"], carry["state"]))
        arrays |= {f"carry_{q}_{i}": np.asarray(leaf) for i, leaf in enumerate(moving)}
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    state.stored = Stored(path.resolve(), token, counts)
    pattern = re.compile(re.escape(path.name) + r"\.([0-9a-f]{8})\.\w+")
    for other in path.parent.iterdir():
        if (match := pattern.fullmatch(other.name)) and match[1] != token:
            other.unlink()


def read(path: Path) -> Saved:
    """Return what a file holds; it is not unpickled yet."""
    if not path.is_file():
        msg = f"path must name a checkpoint or a saved run, but {path} is not a file."
        raise FileNotFoundError(msg)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        return Saved(meta, arrays.pop("job").tobytes(), arrays.pop("recorded").tobytes(), arrays)
    except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        msg = f"path must name a checkpoint or a saved run of gradnoise, but {path} is damaged or something else ({type(error).__name__})."
        raise ValueError(msg) from error


def require_same(path: Path, saved: Saved, job: Job) -> None:
    """Raise ValueError if the file was written by another run."""
    if saved.meta["digest"] != job.digest:
        msg = (
            f"checkpoint must belong to this run, but {path} was written by another one (other data, model, process, "
            "seed, chains, recorders, burn-in, start or version). Choose another path, or remove the file."
        )
        raise ValueError(msg)


def load(path: Path) -> tuple[Job, State]:
    """Return job and state of a file. It holds pickles: open only files you trust.

    Where the problem or the process cannot be restored (lambdas, functions of a script that is gone), what was recorded is
    still there, and a note says so; such a run cannot be extended.
    """
    saved = read(path)
    bare, kept = pickle.loads(saved.recorded)
    job, note = Job(**bare), ""
    try:
        if saved.job:
            job = Job(**pickle.loads(saved.job))
        else:
            note = "its functions could not be pickled (lambdas or local functions)"
    except Exception as error:  # unpickling runs imports of the user's modules: anything may be raised
        note = f"its functions are not found here: {error}"
    state = _state(path, saved, kept)
    if note:
        text = f"{path} holds what was recorded, but not problem and process: {note}. To continue it, call simulate again with the same arguments and checkpoint=path."
        state.notes = (*state.notes, text)
        return job, state
    return job, _with_moving(job, state, saved)


def state_of(path: Path, job: Job) -> State:
    """Return the state stored in a file that belongs to `job`."""
    saved = read(path)
    require_same(path, saved, job)
    return _with_moving(job, _state(path, saved, pickle.loads(saved.recorded)[1]), saved)


def _state(path: Path, saved: Saved, kept: list[Any]) -> State:
    meta, emitted = saved.meta, {}
    for name, (count, shape, dtype) in meta["emitted"].items():
        side, size = _side(path, meta["token"], name), count * int(np.prod(shape))
        rows = np.fromfile(side, dtype, size) if side.is_file() else np.zeros(0)
        if len(rows) != size:
            msg = f"{side} must lie beside {path} with {count} records of {name}, but {'is cut short' if side.is_file() else 'is missing'}."
            raise ValueError(msg)
        emitted[name] = [rows.reshape(count, *shape)]
    stored = Stored(path.resolve(), meta["token"], {k: v[0] for k, v in meta["emitted"].items()})
    diverged = {int(k): v for k, v in meta["diverged"].items()}
    times = meta["seconds"], meta["compile_seconds"]
    return State(meta["step"], kept, emitted, diverged, *times, tuple(meta["notes"]), stored, meta["digest"])


def _with_moving(job: Job, state: State, saved: Saved) -> State:
    """Put params and rule states back into the carries."""
    shapes = job.carry_structure()
    treedef: Any = jax.tree.structure((shapes["params"], shapes["state"]))
    for q, carry in enumerate(state.carries):
        leaves = [saved.arrays[f"carry_{q}_{i}"] for i in range(treedef.num_leaves)]
        carry["params"], carry["state"] = jax.tree.unflatten(treedef, leaves)
    return state
