"""Print the newest record of every group as the Markdown table of the README.

python benchmarks/latest.py
"""

from __future__ import annotations

import json
from typing import Any

from harness import RECORDS

COMMANDS = ("speed", "samplers", "features", "startup", "cores")


def newest(command: str) -> dict[str, dict[str, Any]]:
    """Title -> its newest record."""
    path = RECORDS / f"{command}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {entry["title"]: entry for entry in map(json.loads, lines)}


def line(goal: dict[str, Any]) -> str:
    """One row of the table."""
    value, sign = goal["value"], "≥" if goal["at_least"] else "≤"
    aimed = value >= goal["aim"] if goal["at_least"] else value <= goal["aim"]
    word = "aim" if aimed else "pass" if goal["passed"] else "**miss**"
    return f"| {goal['label']} | {value:.3g} | {sign} {goal['accept']:g} | {goal['aim']:g} | {word} |"


def main() -> None:
    print("| ratio | measured | accept | aim | |\n| --- | ---: | ---: | ---: | --- |")
    for command in COMMANDS:
        for entry in newest(command).values():
            for goal in entry["goals"]:
                print(line(goal))


if __name__ == "__main__":
    main()
