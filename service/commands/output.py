"""What a command of ``coldspot`` prints: a report for a program or for a person, and errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from engine import command_line
from engine.command_line import print_json

if TYPE_CHECKING:
    from rich.table import Table

errors_shown = partial(command_line.errors_shown, prefix="coldspot")
"""Turns an error into a message and an exit code."""


def print_report(
    report: dict[str, Any], table_of: Callable[[dict[str, Any]], Table], *, as_json: bool
) -> None:
    """Print a report for a program or for a person."""
    if as_json:
        print_json(report)
        return
    from service.commands.terminal import print_table

    print_table(table_of(report))
