"""The results of the calibration study: one line of JSON per case, in a file that survives being cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

RESULTS: Final = "cases.jsonl"
Row = dict[str, Any]


def read_results(path: Path) -> list[Row]:
    """The results so far; a last line that was cut off is dropped, one case counts once (the last)."""
    rows: dict[int, Row] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row["number"]] = row
    return [rows[number] for number in sorted(rows)]


def append_result(path: Path, row: Row) -> None:
    """Append one line; after a torn one, on a line of its own."""
    torn = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as content:
            content.seek(-1, os.SEEK_END)
            torn = content.read(1) != b"\n"
    with path.open("a", encoding="utf-8") as content:
        content.write(("\n" if torn else "") + json.dumps(row) + "\n")
