"""The written results of the calibration study: a summary as Markdown and as JSON, and its pictures.

``python -m benchmarks.calibration.report RESULTS_FOLDER`` writes them anew from the folder's ``cases.jsonl``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.calibration.page import markdown
from benchmarks.calibration.plots import draw
from benchmarks.calibration.results import RESULTS, Row, read_results
from benchmarks.calibration.summary import summarize


def write_report(rows: list[Row], folder: Path) -> str:
    """Write summary.json, summary.md and calibration.png; return the acceptance table."""
    if not rows:
        return "no case has been assessed; nothing to report"
    summary = summarize(rows)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    (folder / "summary.md").write_text(markdown(summary), encoding="utf-8")
    draw(rows, summary, folder / "calibration.png")
    return "\n".join(
        f"{'pass' if line['passed'] else 'FAIL'}  {line['demand']}: {line['found']}"
        for line in summary["acceptance"]
    )


if __name__ == "__main__":
    print(write_report(read_results(Path(sys.argv[1]) / RESULTS), Path(sys.argv[1])))
