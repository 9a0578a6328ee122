"""The results of the calibration study: one line of JSON per case, in a file that may be cut off."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

RESULTS: Final = "cases.jsonl"
Row = dict[str, Any]

TARGET_MM: Final = 5.0
"""The margin that is aimed at."""


def read_results(path: Path, key: str = "number") -> list[Row]:
    """Read the results so far, in the order of ``key``; a last line that was cut off is dropped.

    One case counts once, with its last line.
    """
    rows: dict[Any, Row] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row[key]] = row
    return [rows[name] for name in sorted(rows)]


def append_result(path: Path, row: Row) -> None:
    """Append one line; after a torn one, on a line of its own."""
    torn = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as content:
            content.seek(-1, os.SEEK_END)
            torn = content.read(1) != b"\n"
    with path.open("a", encoding="utf-8") as content:
        content.write(("\n" if torn else "") + json.dumps(row) + "\n")


@dataclass(frozen=True, eq=False)
class Cases:
    """The results as columns; ``answered`` leaves out refusals and errors."""

    rows: list[Row]

    @property
    def answered(self) -> list[Row]:
        return [row for row in self.rows if row.get("measured") and row["measured"]["refusal"] is None]

    @property
    def refused(self) -> list[Row]:
        return [row for row in self.rows if row.get("measured") and row["measured"]["refusal"]]

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if "error" in row]


def true_margin(row: Row) -> float:
    return float(row["truth"]["minimal_margin_mm"])


def probability(row: Row) -> float:
    return float(row["measured"]["probability_complete"])


def holds_truth(row: Row) -> bool:
    low, high = row["measured"]["minimal_interval_90_mm"]
    return bool(low <= true_margin(row) <= high)


def width_mm(row: Row) -> float:
    low, high = row["measured"]["minimal_interval_90_mm"]
    return float(high - low)
