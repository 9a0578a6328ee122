"""What ``coldspot-export`` prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.command_line import errors_shown, explain_exit_codes, print_json
from engine.errors import BackendError
from engine.manifest import ParityReport

EXIT_CODES: Final = explain_exit_codes(0, 1, 2, 4, 5)

_ShareListener = Callable[[str, float], None]
"""Told what is being done and a share from 0 to 1."""

_StepListener = Callable[[str, int, int], None]
"""Told a phase, steps done and steps in all."""


@contextmanager
def export_errors_shown(*, as_json: bool) -> Iterator[None]:
    """Turn an error into a message and an exit code; a library that is missing is a :class:`BackendError`.

    Raises
    ------
    SystemExit
    """
    with errors_shown(as_json=as_json):
        try:
            yield
        except ModuleNotFoundError as error:
            raise BackendError(
                f"{error.name} is not installed; install coldspot[export] to make bundles"
            ) from error


def print_made(paths: Iterable[Any], *, as_json: bool) -> None:
    """Print what was written, one path a line."""
    made = [str(path) for path in paths]
    if as_json:
        print_json({"written": made})
    else:
        typer.echo("\n".join(made))


def print_parity(reports: Iterable[ParityReport]) -> None:
    """Print reports, two lines each."""
    for report in reports:
        typer.echo(f"{'passed' if report.passed else 'FAILED'}: {report.candidate}")
        typer.echo(f"    against {report.reference}, on {report.measured_on}: {_judged(report)}")


@contextmanager
def progress_shown() -> Iterator[_ShareListener]:
    """Yield a listener that draws a bar on stderr, only if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def in_steps(listener: _ShareListener) -> _StepListener:
    """Pass steps on as shares."""
    return lambda phase, done, total: listener(phase, done / total if total else 0.0)


def _judged(report: ParityReport) -> str:
    """The figures that decided."""
    said = f"largest difference {report.max_abs:.1e}"
    if report.cosine_distance is not None:
        said = f"largest cosine distance {report.cosine_distance:.1e}"
    said += f" (tolerance {report.tolerance:.1e})"
    if report.label_flips is None:
        return said
    return (
        f"{said}, {report.label_flips} of {report.voxels} labels differ ({report.near_tie_flips} near ties)"
    )
