"""Checkpoints and saved runs: one format, written atomically, and read only if every byte is as it was written.

`path` is an npz with the state, the step and the digest; what recorders emitted lies beside it in `path.<token>.<recorder>`,
whose committed length and checksum stand in the npz. The npz is replaced last, so a crash at any moment leaves the older state
readable. A lock on `.<path>.lock` is held while a run writes; it also names the files being made, so that what a killed process
left behind can be told from files of the user's.

What a run recorded is stored without the problem and the process, so that it can be read where their functions are gone.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gradnoise import _checks, _files, _tree
from gradnoise._types import AnyArray
from gradnoise.engine.job import FORMAT, Job, State, Stored

TOKEN = re.compile("[0-9a-f]{16}")


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


def require_writable(value: Any, job: Job | None = None, *, argument: str = "checkpoint") -> Path:
    """Return a path at which a run can be written, with its folder made; nothing else is left behind.

    Parameters
    ----------
    value
        A path as the user gave it.
    job
        The job whose files will lie there; None: of the usual recorders.
    argument
        What the user calls the path.

    Raises
    ------
    ValueError, TypeError
        If it is no path.
    OSError
        If it is a folder, too long, or in a place that cannot be written.
    """
    path = _checks.path(argument, value)
    names = ["averages"] if job is None else [recorder.name for recorder in job.recorders]
    longest = _side(path, secrets.token_hex(8), max([*names, "part"], key=len)).name
    try:
        if path.exists() and not path.is_file():
            msg = f"{argument} must name a file, but {path} is a folder or a device."
            raise IsADirectoryError(msg)
        path.parent.mkdir(parents=True, exist_ok=True)
        _files.probe(path.parent, longest)
    except IsADirectoryError:
        raise
    except OSError as error:
        what = f"{argument} must name a file in a place that can be written, but {path} is not"
        raise _files.refused(error, what) from error
    return path


def require_place(value: Any) -> Path:
    """Return a path where a run can be written, or where a file is already: it may hold all that is asked for."""
    path = _checks.path("checkpoint", value)
    return path if path.is_file() else require_writable(path)


class Writer:
    """Writes states of one job to a path that this process holds."""

    def __init__(self, path: Path, lock: _files.Lock) -> None:
        self.path, self._lock = path, lock

    def save(self, job: Job, state: State) -> None:
        """Write the state and remember in it what is stored."""
        path, old = self.path, _meta(self.path)
        known = _goes_on(path, old, state)
        token = known.token if known else secrets.token_hex(8)
        part = _side(path, token, "part")
        if not known:
            self._lock.note(tuple(_side(path, token, name).name for name in [*state.emitted, "part"]))
        made: list[Path] = []
        try:
            part.unlink(missing_ok=True)  # of a process that was killed: the token is ours alone
            counts, sums = {}, {}
            for name in state.emitted:
                side = _side(path, token, name)
                counts[name], sums[name] = _append(side, known, name, state.all_emitted(name))
                made.append(side)
            _files.write(path, _packed(job, state, token, counts, sums), part=part)
        except BaseException:
            for file in [] if known else made:
                file.unlink(missing_ok=True)
            raise
        state.stored = Stored(path.resolve(), token, counts, sums)
        if old is not None and old["token"] != token:
            _remove(path, old["token"], [*old["emitted"], "part"])


@contextlib.contextmanager
def writing(value: Any, job: Job, *, argument: str = "checkpoint") -> Iterator[Writer]:
    """Hold the right to write a run's files at a path; what a killed process left half made there is removed.

    Raises
    ------
    ValueError, TypeError, OSError
        As `require_writable`; BlockingIOError if another run is writing there, FileExistsError if something else than a run is there.
    """
    path = require_writable(value, job, argument=argument)
    with _files.alone(path, argument) as lock:
        meta = _meta(path)
        if meta is None and path.is_file() and not path.is_symlink() and path.stat().st_size:
            msg = f"{argument} must be a new path or one where gradnoise has saved a run, but {path} is damaged or something else. Choose another path, or remove the file."
            raise FileExistsError(msg)
        if meta is not None and argument == "checkpoint":
            require_same(path, meta, job)
        for name in lock.left:
            token, _, word = name.removeprefix(f"{path.name}.").partition(".")
            if TOKEN.fullmatch(token) and (word == "part" or meta is None or token != meta["token"]):
                _remove(path, token, [word])
        yield Writer(path, lock)


def save(path: Path, job: Job, state: State) -> Path:
    """Write the state to `path`, remember in it what is stored, and return the path."""
    with writing(path, job, argument="path") as writer:
        writer.save(job, state)
        return writer.path


def _goes_on(path: Path, old: dict[str, Any] | None, state: State) -> Stored | None:
    """Return what is stored of `state` at `path`, if that is what the file there holds and only new records need be added."""
    known = state.stored
    if known is None or old is None or known.path != path.resolve() or known.token != old["token"]:
        return None
    same = {name: (row[0], row[3]) for name, row in old["emitted"].items()}
    if same != {name: (count, known.sums[name]) for name, count in known.counts.items()}:
        return None  # the file has gone on without this state
    sizes = {name: count * state.all_emitted(name)[:1].nbytes for name, count in known.counts.items()}
    sides = {name: _side(path, known.token, name) for name in sizes}
    whole = all(side.is_file() and side.stat().st_size >= sizes[name] for name, side in sides.items())
    return known if whole else None


def _append(side: Path, known: Stored | None, name: str, rows: AnyArray) -> tuple[int, int]:
    """Write what a side file lacks; return records and checksum of the whole."""
    done, total = (known.counts[name], known.sums[name]) if known else (0, 0)
    new = np.ascontiguousarray(rows[done:]).tobytes()
    _files.append(side, new, committed=done * rows[:1].nbytes, new=known is None)
    return len(rows), zlib.crc32(new, total)


def _packed(job: Job, state: State, token: str, counts: dict[str, int], sums: dict[str, int]) -> memoryview:
    """Return the bytes of the npz; zip keeps a checksum of each of its arrays."""
    meta = {
        "format": FORMAT,
        "digest": job.digest,
        "token": token,
        "step": state.step,
        "diverged": {str(k): v for k, v in state.diverged.items()},
        "seconds": state.seconds,
        "compile_seconds": state.compile_seconds,
        "notes": state.notes,
        "emitted": {
            k: [n, list(state.all_emitted(k).shape[1:]), str(state.all_emitted(k).dtype), sums[k]]
            for k, n in counts.items()
        },
    }
    kept = [{**carry, "params": _tree.flatten_rows(carry["params"]), "state": ()} for carry in state.carries]
    parts = {"meta": json.dumps(meta).encode(), "job": job.payload, "recorded": pickle.dumps((job.bare(), kept))}
    arrays: dict[str, AnyArray] = {k: np.frombuffer(v, np.uint8) for k, v in parts.items()}
    for q, carry in enumerate(state.carries):
        moving = jax.tree.leaves((carry["params"], carry["state"]))
        arrays |= {f"carry_{q}_{i}": np.asarray(leaf) for i, leaf in enumerate(moving)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getbuffer()


def _meta(path: Path) -> dict[str, Any] | None:
    """Return what the npz at `path` says of itself; None where there is none, or something else."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta: dict[str, Any] = json.loads(file["meta"].tobytes())
            known = isinstance(meta["token"], str) and isinstance(meta["emitted"], dict) and "digest" in meta
        return meta if known else None
    except Exception:  # whatever zip, NumPy and JSON say of other files
        return None


def _remove(path: Path, token: str, names: Any) -> None:
    """Remove files of a token that a file or a lock of ours has named."""
    for name in names:
        if re.fullmatch(r"[0-9a-f]{8,16}", token) and re.fullmatch(r"\w+", name):
            _side(path, token, name).unlink(missing_ok=True)


def read(path: Path) -> Saved:
    """Return what a file holds; it is not unpickled yet."""
    if not path.is_file():
        msg = f"path must name a checkpoint or a saved run, but {path} is not a file."
        raise FileNotFoundError(msg)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        saved = Saved(meta, arrays.pop("job").tobytes(), arrays.pop("recorded").tobytes(), arrays)
        layout = meta.get("format", 1)
    except Exception as error:  # zip, NumPy and JSON raise a dozen kinds for flipped bits
        msg = f"path must name a checkpoint or a saved run of gradnoise, but {path} is damaged or something else ({type(error).__name__})."
        raise ValueError(msg) from error
    if layout != FORMAT:
        msg = (
            f"path must name a checkpoint or a saved run of this version, but {path} has layout {layout} and not {FORMAT}: another version of "
            "gradnoise wrote it. Read it with that version."
        )
        raise ValueError(msg)
    return saved


def require_same(path: Path, meta: dict[str, Any], job: Job) -> None:
    """Raise ValueError if the file was written by another run."""
    if meta["digest"] != job.digest:
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
    require_same(path, saved.meta, job)
    return _with_moving(job, _state(path, saved, pickle.loads(saved.recorded)[1]), saved)


def _state(path: Path, saved: Saved, kept: list[Any]) -> State:
    meta, emitted = saved.meta, {}
    for name, (count, shape, dtype, checksum) in meta["emitted"].items():
        side, size = _side(path, meta["token"], name), count * int(np.prod(shape))
        rows = np.fromfile(side, dtype, size) if side.is_file() else np.zeros(0)
        wrong = "is missing" if not side.is_file() else "is cut short" if len(rows) != size else ""
        if not wrong and zlib.crc32(rows.view(np.uint8).data) != checksum:
            wrong = "is damaged: its checksum is not the one noted there"
        if wrong:
            msg = f"{side} must lie beside {path} with {count} records of {name}, but {wrong}."
            raise ValueError(msg)
        emitted[name] = [rows.reshape(count, *shape)]
    counts, sums = ({k: row[i] for k, row in meta["emitted"].items()} for i in (0, 3))
    stored = Stored(path.resolve(), meta["token"], counts, sums)
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
