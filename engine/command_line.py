"""What every command line of the project has in common: exit codes, errors without a traceback, JSON on stdout.

It needs no library for command lines, so that ``coldspot`` and ``coldspot-export`` share it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn

from engine import errors
from engine.errors import ColdspotError, InvalidRequestError, entry_for

INTERNAL_ERROR: Final = 1
REFUSED: Final = 3
TERMINATED: Final = 143
"""As a shell reports a program that SIGTERM ended."""

_STOPPED: Final = 130
"""As a shell reports a program that SIGINT ended."""

_READER_GONE: Final = 141
"""As a shell reports a program that SIGPIPE ended."""

_has_printed_json: Final[ContextVar[bool]] = ContextVar("_has_printed_json", default=False)

EXIT_CODE_MEANINGS: Final = {
    0: "done",
    INTERNAL_ERROR: "internal error",
    2: "bad input or request",
    REFUSED: "refused: the images were read, but no trustworthy number can be given",
    4: "a model that must not be used, or does not answer as its source",
    5: "device or backend",
    6: "busy, unavailable, cancelled or timed out",
    7: "self-test failed",
    _STOPPED: "stopped from the keyboard",
    TERMINATED: "ended by SIGTERM; nothing of the scans stays behind",
    _READER_GONE: "whoever read the output had enough, as in a pipe to head",
}

_EXIT_CODES: Final[dict[type[ColdspotError], int]] = {
    errors.ColdspotError: INTERNAL_ERROR,
    errors.InputError: 2,
    errors.StateError: 2,
    errors.UnauthenticatedError: 2,
    errors.ModelError: 4,
    errors.BackendError: 5,
    errors.CapacityError: 6,
    errors.InterruptedAssessmentError: 6,
    errors.ServiceUnavailableError: 6,
    errors.SelfTestError: 7,
}
"""Only the classes whose exit code differs from that of their parent."""


CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
"""What every command line understands in addition."""


def exit_code_of(kind: type[ColdspotError]) -> int:
    """Return the exit code of an error class."""
    return entry_for(kind, _EXIT_CODES)


def explain_exit_codes(*codes: int) -> str:
    """Return a sentence for ``--help`` that says what these exit codes mean."""
    return "Exit codes: " + "; ".join(f"{code} {EXIT_CODE_MEANINGS[code]}" for code in codes) + "."


def run_program(app: Callable[..., object]) -> None:
    """Run a program of commands; with ``--json`` a wrong option is told as one JSON object as well.

    Parameters
    ----------
    app : callable
        Of Typer.

    Raises
    ------
    SystemExit
    """
    _prepare_streams()
    with errors_shown(as_json="--json" in sys.argv):
        _require_no_empty_word(sys.argv[1:])
    if "--json" not in sys.argv:
        app()
        return
    with errors_shown(as_json=True):
        try:
            exit_code = app(standalone_mode=False)
        except Exception as error:
            # Commands handle their own errors; Typer's about options have this method under every name of their class.
            in_words = getattr(error, "format_message", None)
            if in_words is None:
                raise
            raise InvalidRequestError(f"{in_words()} (--help lists the options)") from error
    raise SystemExit(exit_code if isinstance(exit_code, int) else 0)


def _require_no_empty_word(words: Sequence[str]) -> None:
    """Refuse an empty word, which a shell makes of a variable that is not set: as a path it is the current folder.

    Raises
    ------
    InvalidRequestError
    """
    for before, word in pairwise(["", *words]):
        if word and not (word.startswith("--") and word.endswith("=")):
            continue
        name = word.removesuffix("=") or (before if before.startswith("--") else "a word of the command line")
        raise InvalidRequestError(
            f"{name} is empty, as where a shell variable is not set; give it a value, or leave it out"
        )


def _prepare_streams() -> None:
    """Make sure that whatever is printed can be printed; called once, before a command begins.

    Characters that the encoding of the terminal lacks are written as escapes. Without stdout nothing is begun: there
    would be nobody to tell the answer to, and the next file that is opened would take its place.

    Raises
    ------
    SystemExit
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    if sys.stdout is None:
        sys.stderr.write("standard output is closed; direct it to a terminal, to a file or to /dev/null\n")
        raise SystemExit(exit_code_of(errors.InvalidRequestError))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def errors_shown(*, as_json: bool, prefix: str = "") -> Iterator[None]:
    """Turn an error into a message and an exit code; a traceback is never shown.

    Parameters
    ----------
    as_json : bool
        Print ``{"error": {"code", "message"}}`` on stdout instead of a line on stderr; not after another object.
    prefix : str, optional
        What stands before the message on stderr; by default the code of the error.

    Raises
    ------
    SystemExit
    """
    _has_printed_json.set(False)
    try:
        yield
        print_text("")  # what others have printed is out as well, or the command has not succeeded
    except ColdspotError as error:
        _fail(error.code, str(error), exit_code_of(type(error)), as_json, prefix)
    except BrokenPipeError:  # printed by others
        _end_without_reader()
    except KeyboardInterrupt:
        _fail("cancelled", "stopped from the keyboard", _STOPPED, as_json, prefix)
    except Exception as error:  # noqa: BLE001 - the last resort of a command
        _fail("internal_error", f"{type(error).__name__}: {error}", INTERNAL_ERROR, as_json, prefix)


def _fail(code: str, message: str, exit_code: int, as_json: bool, prefix: str) -> NoReturn:
    if as_json and not _has_printed_json.get():
        try:
            print_json({"error": {"code": code, "message": message}})
        except InvalidRequestError as unwritable:
            sys.stderr.write(f"{unwritable}\n")
    else:
        sys.stderr.write(f"{prefix or code}: {message}\n")
    raise SystemExit(exit_code)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout.

    Raises
    ------
    ValueError
        If a number is not finite: nothing is printed then.
    InvalidRequestError, SystemExit
        As for :func:`print_text`.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    _has_printed_json.set(True)
    print_text(text)


def print_text(text: str) -> None:
    """Print a text on stdout, now: what stdout cannot take is noticed here, not when the program has ended.

    Raises
    ------
    InvalidRequestError
        If stdout cannot be written to, as on a full disk.
    SystemExit
        Quietly, if nobody reads it any more, as in ``coldspot … | head -1``.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _end_without_reader()
    except OSError as error:
        _discard_output()
        raise InvalidRequestError(
            f"standard output cannot be written to ({error.strerror}): what was printed is not complete"
        ) from error


def _end_without_reader() -> NoReturn:
    _discard_output()
    raise SystemExit(_READER_GONE) from None


def _discard_output() -> None:
    """Send to nowhere what is still to be printed: the interpreter would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
