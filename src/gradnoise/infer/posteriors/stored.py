"""What a file keeps of a posterior beside its draws, as an `xarray.Dataset`: text (JSON) that refers to arrays; and its digests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import derivatives
from gradnoise._types import Array
from gradnoise.infer.verdicts.verdict import Verdict

RECORD = "gradnoise"  # the group's name
LAYOUT = 2  # of the record
MARK = "problem"  # attribute of the record's group: what tells the problem, in a file that `save` wrote
DIGESTS = "digests"  # attribute of the record's group
UNCOUNTED = (DIGESTS, "_FillValue", "coordinates")  # and what xarray adds where it writes the same data again
SEAL = b"\ngradnoise blake2b "  # after HDF5's last byte, with the digest of all before it
SEAL_SIZE = len(SEAL) + 32
ALIKE = 1e-4  # relative difference of losses that float32 sums on another machine may make
KEPT = ("method", "names", "predicted_mean", "predicted_covariance", "effective_draws", "settings", "exact")


def recorded(posterior: Any) -> Any:
    """Return the record: all but draws, names, run, plan and problem."""
    import xarray

    arrays: dict[str, Any] = {}
    fields = {name: getattr(posterior, name) for name in KEPT} | {"verdict": posterior.verdict._asdict()}
    text = json.dumps({"layout": LAYOUT, "fields": _encoded(fields, "", arrays)})
    held = {name: ([f"{name}_dim_{i}" for i in range(a.ndim)], a) for name, a in arrays.items()}
    return xarray.Dataset({"record": ((), text), **held})


def restored(record: Any) -> dict[str, Any]:
    """Return the fields of a posterior from `recorded`'s dataset."""
    arrays = {str(name): np.array(variable.values) for name, variable in record.data_vars.items() if name != "record"}
    held = json.loads(str(record["record"].values[()]))
    if held["layout"] != LAYOUT:
        msg = (
            f"its layout is {held['layout']} and not {LAYOUT}: another version of gradnoise wrote it, which can read it"
        )
        raise ValueError(msg)
    fields: dict[str, Any] = _decoded(held["fields"], arrays)
    verdict = fields.pop("verdict")
    return {**fields, "verdict": Verdict(verdict["level"], tuple(verdict["reasons"]), verdict["numbers"])}


def centre_of(draws: Any) -> Array:
    """Return the mean of draws (chain, draw, D), where a problem is marked."""
    return np.asarray(np.asarray(draws, np.float64).reshape(-1, np.shape(draws)[-1]).mean(0))


def mark_of(problem: Any, centre: Array) -> dict[str, Any] | None:
    """Return what tells a problem from others of the same parameters: its examples, and the loss at the centre of the draws."""
    if problem is None:
        return None
    try:
        loss = float(derivatives.loss(problem, centre))
    except Exception:  # no mark is worth the draws
        return None
    return {"num_examples": problem.num_examples, "loss": loss} if math.isfinite(loss) else None


def require_marked(record: Any, problem: Any, centre: Array) -> None:
    """Raise ValueError if `problem` is not the one that the draws in a record are of."""
    noted = json.loads(record.attrs.get(MARK, "null"))
    found = mark_of(problem, centre)
    if noted is None or found is None:
        return
    apart = abs(found["loss"] - noted["loss"]) > ALIKE * (1 + abs(noted["loss"]))
    if found["num_examples"] != noted["num_examples"] or apart:
        msg = (
            f"problem must be the one of these draws, with {noted['num_examples']:,} examples and the loss {noted['loss']:.6g} at their mean, "
            f"got {found['num_examples']:,} examples and {found['loss']:.6g}: it has other data, another prior or other hyperparameters."
        )
        raise ValueError(msg)


def seal_of(data: bytes | memoryview) -> bytes:
    """Return what follows the bytes of a file, so that damage is found before HDF5 stumbles over it."""
    return SEAL + hashlib.blake2b(data, digest_size=16).hexdigest().encode()


def is_sealed(path: Path) -> bool:
    """Whether a file ends as ours do; it does not where another program has written it again."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - SEAL_SIZE, 0))
        return file.read(len(SEAL)) == SEAL


def require_unbroken(path: Path) -> None:
    """Raise ValueError if a sealed file does not hold the bytes that were saved."""
    h, left = hashlib.blake2b(digest_size=16), path.stat().st_size - SEAL_SIZE
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            h.update(block)
            left -= len(block)
        if file.read() != SEAL + h.hexdigest().encode():
            msg = "its bytes are not those that were saved"
            raise ValueError(msg)


def digests_of(tree: Any) -> dict[str, str]:
    """Return a fingerprint of every group of a tree: names, dimensions, types, values and attributes, but for the fingerprints."""
    return {node.path: _digest(node.to_dataset(inherit=False)) for node in tree.subtree}


def require_undamaged(tree: Any) -> None:
    """Raise ValueError if a group is not as its fingerprint says; groups that were added since are not looked at."""
    found, noted = digests_of(tree), json.loads(tree[RECORD].attrs[DIGESTS])
    if {"/posterior", f"/{RECORD}"} - set(noted):
        msg = "its digests are incomplete"
        raise ValueError(msg)
    for path, digest in noted.items():
        if found.get(path) != digest:
            msg = f"the digest of its group {path} is not the one noted when it was saved: it was changed since"
            raise ValueError(msg)


def _digest(group: Any) -> str:
    h = hashlib.blake2b(digest_size=16)
    for name in sorted(group.variables, key=str):
        variable = group.variables[name]
        values = np.asarray(variable.values)
        number = values.dtype.kind in "biufc"
        about = [str(name), list(map(str, variable.dims)), list(values.shape), values.dtype.str if number else "text"]
        h.update(json.dumps([*about, _attributes(variable.attrs)]).encode())
        if number:
            h.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        else:
            h.update(json.dumps(values.tolist(), default=str).encode())
    h.update(json.dumps(_attributes(group.attrs)).encode())
    return h.hexdigest()


def _attributes(attrs: Mapping[Any, Any]) -> list[Any]:
    held = {str(k): np.asarray(v).tolist() for k, v in attrs.items() if k not in UNCOUNTED}
    return [[k, held[k] if isinstance(held[k], (int, float, str)) else repr(held[k])] for k in sorted(held)]


def _encoded(value: Any, where: str, arrays: dict[str, Any]) -> Any:
    """Return `value` as JSON holds it: arrays go to `arrays`, under the name of their place; objects leave their text."""
    if isinstance(value, np.generic) or (hasattr(value, "dtype") and np.ndim(value) == 0):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in "fiub":
        name = re.sub(r"[^\w.+-]", "_", where).lstrip(".+-") or "array"  # what NetCDF takes as a name
        name = name if name not in arrays else f"{name}_{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    if type(value) in (tuple, list):
        items = [_encoded(item, f"{where}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        at = f"{where}." if where else ""
        return {"dict": {k: _encoded(v, f"{at}{k}", arrays) for k, v in value.items()}}
    return {"text": str(value)}


def _decoded(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "array":
        return arrays[held]
    if kind == "tuple":
        return tuple(_decoded(item, arrays) for item in held)
    return held if kind == "text" else {k: _decoded(v, arrays) for k, v in held.items()}
