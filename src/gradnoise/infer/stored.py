"""What a file keeps of a posterior beside its draws, as an `xarray.Dataset`: text (JSON) that refers to arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradnoise.infer.judgement import Verdict

RECORD = "gradnoise"  # the group's name
LAYOUT = 1  # of the record
KEPT = ("method", "predicted_mean", "predicted_covariance", "effective_draws", "settings", "exact")


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
        msg = f"layout {held['layout']} is not the {LAYOUT} of this version"
        raise ValueError(msg)
    fields: dict[str, Any] = _decoded(held["fields"], arrays)
    verdict = fields.pop("verdict")
    return {**fields, "verdict": Verdict(verdict["level"], tuple(verdict["reasons"]), verdict["numbers"])}


def _encoded(value: Any, where: str, arrays: dict[str, Any]) -> Any:
    """Return `value` as JSON holds it: arrays go to `arrays`, under the name of their place; objects leave their text."""
    if isinstance(value, np.generic) or (hasattr(value, "dtype") and np.ndim(value) == 0):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in "fiub":
        name = where if where not in arrays else f"{where}_{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    if type(value) in (tuple, list):
        items = [_encoded(item, f"{where}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        at = f"{where}." if where else ""
        return {"dict": {k: _encoded(v, f"{at}{k}".replace("/", "."), arrays) for k, v in value.items()}}
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
