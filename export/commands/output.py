"""What ``coldspot-export`` prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.errors import BackendError, ColdspotError
from engine.manifest import ParityReport
from export.commands.exit_codes import exit_code_of

_ShareListener = Callable[[str, float], None]
"""Told what is being done and a share from 0 to 1."""

_StepListener = Callable[[str, int, int], None]
"""Told a phase, steps done and steps in all."""


@contextmanager
def errors_shown(*, as_json: bool) -> Iterator[None]:
    """Turn errors into a message and an exit code; a traceback is never shown."""
    try:
        yield
    except ColdspotError as error:
        fail(error.code, str(error), exit_code_of(error), as_json=as_json)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; install coldspot[export] to make bundles"
        fail(BackendError.code, message, exit_code_of(BackendError(message)), as_json=as_json)
    except KeyboardInterrupt:
        fail("cancelled", "stopped from the keyboard", 130, as_json=as_json)
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:  # noqa: BLE001 - the last resort of a command
        fail("internal_error", f"{type(error).__name__}: {error}", 1, as_json=as_json)


def fail(code: str, message: str, exit_code: int, *, as_json: bool) -> NoReturn:
    """Print an error and leave."""
    if as_json:
        print_json({"error": {"code": code, "message": message}})
    else:
        typer.echo(f"{code}: {message}", err=True)
    raise typer.Exit(exit_code)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


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
