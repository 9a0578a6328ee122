"""Say at the end of a test run how the golden figures were compared."""

from __future__ import annotations

from collections import Counter
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each manner of comparison."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    properties = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    said = Counter(value for name, value in properties if name == "golden")
    for manner, cases in said.items():
        terminalreporter.write_line(f"Golden figures: {cases} cases compared {manner}.")
