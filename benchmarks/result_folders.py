"""Where results are kept: ``results/<date>[.<number>]-<machine>/<benchmark>.json``; nothing is overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"
NAME: Final = re.compile(r"(?P<date>\d{4}-\d{2}-\d{2})(?:\.(?P<number>\d+))?-(?P<machine>.+)")

Row = dict[str, Any]


@dataclass(frozen=True, order=True)
class ResultFolder:
    """The results of one day's run on one machine; folders sort by age.

    Parameters
    ----------
    date : str
        ISO 8601.
    number : int
        1 for the first of a day.
    machine : str
    path : Path
    """

    date: str
    number: int
    machine: str
    path: Path

    def reports(self) -> dict[str, Row]:
        """Every benchmark's record by its name."""
        return {
            file.stem: json.loads(file.read_text(encoding="utf-8"))
            for file in sorted(self.path.glob("*.json"))
        }


def result_folders(root: Path, machine: str | None = None) -> list[ResultFolder]:
    """All folders of results, the oldest first; of one machine if it is named."""
    folders = []
    for path in root.iterdir() if root.exists() else ():
        match = NAME.fullmatch(path.name)
        if match and path.is_dir() and machine in (None, match["machine"]):
            folders.append(ResultFolder(match["date"], int(match["number"] or 1), match["machine"], path))
    return sorted(folders)


def folder_for(root: Path, machine: str, names: Iterable[str], today: date) -> Path:
    """Today's newest folder if it holds none of these benchmarks yet, else the next one."""
    day = today.isoformat()
    of_today = [folder for folder in result_folders(root, machine) if folder.date == day]
    if not of_today:
        return root / f"{day}-{machine}"
    newest = of_today[-1]
    if not any((newest.path / f"{name}.json").exists() for name in names):
        return newest.path
    return root / f"{day}.{newest.number + 1}-{machine}"
