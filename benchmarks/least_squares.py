"""Accuracy, not speed: every cell of exact least squares against simulation, with the figures that the tests saw.

    python benchmarks/least_squares.py                 # diabetes and wine, B = 1, 4, 32, four learning rates: 8 minutes
    python benchmarks/least_squares.py --only wine

Runs the cells of `test_real_rows_closely`, at 0.9 of the edge those of `test_real_rows` (a failing cell raises), and replaces the cell's line in
`records/least_squares.jsonl`: relaxation time of the second moment in steps, the worst |z| of covariance and mean, the limit, the
probability of a |z| as large among that many entries, the smallest error seen, the defects that were planted and caught.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "theory"))

from test_least_squares_law import CELLS, CHAINS, CLOSELY, QUICKLY, compare  # noqa: E402

from conftest import standardised_rows  # noqa: E402

RECORD = Path(__file__).parent / "records" / "least_squares.jsonl"


def cell(name: str, size: int, fraction: float, detects: float, seed: int) -> dict[str, Any]:
    start = time.process_time()
    found = compare(standardised_rows, name, size, fraction, detects=detects, seed=seed)
    out = {
        "name": name,
        "batch_size": size,
        "fraction": fraction,
        "relaxation": round(found["relaxation"]),
        "detects": detects,
    }
    for part in ("covariance", "mean"):
        seen = found[part]
        p = min(1.0, 2 * seen.entries * float(stats.t.sf(abs(seen.worst_z), CHAINS - 1)))
        out[part] = {
            "z": round(abs(seen.worst_z), 2),
            "limit": round(seen.limit, 2),
            "p": round(p, 3),
            "sees": round(seen.smallest_detectable, 3),
        }
    excess = round(float(found["excess"]), 3)
    return {
        **out,
        "excess_over_constant_noise": excess,
        "caught": found["caught"],
        "seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="diabetes or wine")
    arguments = parser.parse_args()
    for name, size, fraction in CELLS:
        if name.startswith(arguments.only):
            close = fraction in CLOSELY
            line = cell(name, size, fraction, (CLOSELY if close else QUICKLY)[fraction], 100 if close else 0)
            print(json.dumps(line), flush=True)
            keep(line)


def keep(line: dict[str, Any]) -> None:
    """Replace the line of this cell."""
    old = [json.loads(text) for text in RECORD.read_text().splitlines()] if RECORD.exists() else []
    which = ("name", "batch_size", "fraction")
    rest = [other for other in old if [other[k] for k in which] != [line[k] for k in which]]
    RECORD.write_text("".join(json.dumps(one) + "\n" for one in [*rest, line]))


if __name__ == "__main__":
    main()
