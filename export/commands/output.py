"""What ``coldspot-export`` prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.command_line import errors_shown, print_json
from engine.errors import BackendError
from engine.manifest import ParityReport
from engine.progress import CountProgress, ShareProgress


class _Fit(Protocol):
    """What the commands print of a fit."""

    @property
    def bundle(self) -> Path:
        """Folder of the new bundle."""

    def described(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""

    def in_words(self) -> list[str]:
        """Return what a person reads, line by line."""


@contextmanager
def export_errors_shown(*, as_json: bool) -> Iterator[None]:
    """Turn an error into a message and an exit code; a missing library becomes a :class:`BackendError`.

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


def print_paths(paths: Iterable[Any], *, as_json: bool) -> None:
    """Print what was written, one path a line."""
    listed = [str(path) for path in paths]
    if as_json:
        print_json({"written": listed})
    else:
        typer.echo("\n".join(listed))


def print_fit(fit: _Fit, *, as_json: bool) -> None:
    """Print what a fit found, and where its bundle is."""
    if as_json:
        print_json(fit.described())
        return
    typer.echo("\n".join(fit.in_words()))
    print_paths([fit.bundle], as_json=False)


def print_parity(reports: Iterable[ParityReport]) -> None:
    """Print reports, two lines each."""
    for report in reports:
        typer.echo(f"{'passed' if report.passed else 'FAILED'}: {report.candidate}")
        typer.echo(f"    against {report.reference}, on {report.measured_on}: {_judged(report)}")


@contextmanager
def progress_shown() -> Iterator[ShareProgress]:
    """Yield a listener that draws a bar on stderr if that is a terminal, and nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda _task, _share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


def in_steps(listener: ShareProgress) -> CountProgress:
    """Pass steps on as shares."""
    return lambda phase, done, total: listener(phase, done / total if total else 0.0)


def _judged(report: ParityReport) -> str:
    """Return the figures that decided, in words."""
    if report.cosine_distance is None:
        text = f"largest difference {report.max_abs:.1e}"
    else:
        text = f"largest cosine distance {report.cosine_distance:.1e}"
    text += f" (tolerance {report.tolerance:.1e})"
    if report.label_flips is None:
        return text
    return (
        f"{text}, {report.label_flips} of {report.voxels} labels differ ({report.near_tie_flips} near ties)"
    )
